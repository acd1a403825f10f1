"""The map of the agent."""

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch

from wm_tutorial.errors import InputError
from wm_tutorial.figures import PAPER, agent_diagram, alt_text
from wm_tutorial.figures.diagram import BOXES, FRAMES
from wm_tutorial.figures.style import apart, contrast


def faces(*lit: str) -> dict[str, str]:
    """The colour that each box is filled with."""
    (axes,) = agent_diagram(lit).axes
    boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)][len(FRAMES) :]
    return {name: to_hex(box.get_facecolor()).upper() for name, box in zip(BOXES, boxes, strict=True)}


def test_exactly_the_parts_asked_for_are_lit() -> None:
    plain, lit = faces(), faces("encoder", "actor")
    assert {name for name in BOXES if plain[name] != lit[name]} == {"encoder", "actor"}
    for name in ("encoder", "actor"):  # in their own colours, as deep as the words in them need
        assert lit[name] == apart(BOXES[name].color, PAPER) and contrast(lit[name], PAPER) >= 4.5


def test_the_alternative_text_says_what_is_lit() -> None:
    assert "Lit" not in alt_text(agent_diagram())
    assert alt_text(agent_diagram({"heads", "encoder"})).endswith("Lit: encoder, heads.")


def test_every_box_stays_within_the_picture() -> None:
    figure = agent_diagram()
    figure.draw_without_rendering()
    (axes,) = figure.axes
    inside = axes.get_window_extent().padded(1.0)
    for text in axes.texts:
        if text.get_text():
            extent = text.get_window_extent()
            assert inside.containsx(extent.x0) and inside.containsx(extent.x1), text.get_text()


def test_a_part_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no 'planner' in the diagram; there are environment"):
        agent_diagram({"planner"})
