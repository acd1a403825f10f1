"""The story through Part I: the agents are what agents.json says, fare as it says, and are seen doing so."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import gymnasium as gym
import numpy as np
import pytest
import story as tool  # tools/story.py
import torch
from test_notebook import picture

from wm_tutorial import figures, zoo
from wm_tutorial.agent import Agent
from wm_tutorial.config import make_config
from wm_tutorial.course import story
from wm_tutorial.data import Array
from wm_tutorial.errors import InputError
from wm_tutorial.evaluation import evaluate
from wm_tutorial.figures.episode import how_it_ended
from wm_tutorial.parts import any_replaced
from wm_tutorial.zoo.experiment import missing_options

RECORDS = story.records()
EACH = pytest.mark.parametrize("name", RECORDS["agents"])
CHAPTER = pytest.mark.parametrize("chapter", story.CHAPTERS)


# --- The agents -------------------------------------------------------------------------------------------------------


def test_every_chapter_from_01_to_08_has_an_agent_and_a_mistake_of_its_own() -> None:
    assert list(story.CHAPTERS) == [f"{number:02}" for number in range(1, 9)]
    assert list(RECORDS["agents"]) == [*story.CHAPTERS, story.SOUND]
    assert {path.stem for path in story.AGENTS.glob("*.safetensors")} == set(RECORDS["agents"])
    assert len({told.bug for told in story.CHAPTERS.values()}) == 8


@CHAPTER
def test_the_zoo_knows_the_mistake_and_it_makes_a_difference_with_these_options(chapter: str) -> None:
    bug = story.CHAPTERS[chapter].bug
    assert RECORDS["agents"][chapter]["bug"] == bug and bug in zoo.BUGS
    assert missing_options(bug, make_config(**RECORDS["options"])) == {}


@EACH
def test_an_agent_has_learned_with_the_options_and_the_seed_that_are_written_down(name: str) -> None:
    agent = Agent.load(story.AGENTS / f"{name}.safetensors")
    assert agent.config == make_config(**RECORDS["options"], seed=RECORDS["seed"])
    assert (RECORDS["options"], RECORDS["seed"]) == (tool.OPTIONS, tool.SEEDS[0])


@EACH
def test_an_agent_plays_as_is_written_down(name: str) -> None:
    written = RECORDS["agents"][name]
    with story.playing(name) as agent:
        measured = evaluate(agent, RECORDS["environment"], RECORDS["episodes"], RECORDS["evaluation_seed"]).mean
    # another processor rounds otherwise, which a long episode feels
    assert measured == pytest.approx(written["mean"], rel=0.1, abs=1.0)
    assert written["mean"] == written["means"][str(RECORDS["seed"])]


@CHAPTER
def test_the_mistake_and_not_the_seed_is_to_blame(chapter: str) -> None:
    sound = RECORDS["agents"][story.SOUND]["means"]
    broken = RECORDS["agents"][chapter]["means"]
    assert broken.keys() == sound.keys() and len(sound) > 1
    assert all(mean < 0.7 * sound[seed] for seed, mean in broken.items())


def test_the_mistake_is_out_while_the_agent_acts_and_gone_afterwards() -> None:
    seen = torch.tensor([[[0.0, 0.0, 0.1, 0.0]], [[0.0, 0.0, -0.1, 0.0]]])

    def states(agent: Agent) -> Any:
        carry = agent.initial(1)
        embeddings = map(agent.world_model.encoder, seen)
        first = torch.tensor([True])
        dynamics = agent.world_model.dynamics
        return [dynamics.step(carry.state, carry.action, first, one, True).feature for one in embeddings]

    with story.playing("01") as agent:
        assert torch.equal(*states(agent))  # blind: leaning left or right is all the same
    assert not torch.equal(*states(agent)) and not any_replaced()


# --- What is shown ----------------------------------------------------------------------------------------------------


def played(name: str) -> Array:
    with story.playing(name) as agent:
        return story.episode(agent)


@CHAPTER
def test_a_chapter_shows_its_broken_agent_and_then_the_sound_one_from_the_same_start(chapter: str) -> None:
    before, after = played(chapter), played(story.SOUND)
    assert np.array_equal(before[0], after[0]) and 2 * len(before) < len(after)
    for obs, name, repaired in ((before, chapter, False), (after, story.SOUND, True)):
        shown, mean = story.show(chapter, repaired), RECORDS["agents"][name]["mean"]
        kind, svg, alt = picture(shown)
        assert kind == "svg+xml" and len(svg) < 100_000 and how_it_ended(obs) in alt
        assert shown.as_text.startswith("Repaired: " if repaired else "Broken: ")
        assert f"This episode: {len(obs) - 1} of 500 steps." in shown.as_text
        assert f"Mean of 100 others, measured when it had learned for 8,000 steps: {mean:.0f}." in shown.as_text
        assert repaired or f"({story.CHAPTERS[chapter].bug} in the bug zoo)" in shown.as_text


def test_a_film_changes_no_random_number_of_its_chapter_and_is_the_same_again() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    wanted = torch.rand(3), np.random.rand(3)
    torch.manual_seed(0)
    np.random.seed(0)
    first = story.show("01").as_html
    assert torch.equal(torch.rand(3), wanted[0]) and np.array_equal(np.random.rand(3), wanted[1])
    assert story.show("01").as_html == first


def test_a_chapter_without_a_story_is_refused() -> None:
    with pytest.raises(InputError, match="The story has no chapter '09'; it has 01, 02,"):
        story.show("09")


# --- The film ---------------------------------------------------------------------------------------------------------

LEANS = np.array([[0.0, 0.0, 0.0, 0.0], [0.5, 0.0, 0.1, 0.0], [1.0, 0.0, 0.25, 0.0]])
STANDS = np.zeros((501, 4))


def poses(film: str, part: str) -> list[tuple[float, ...]]:
    """The numbers of each keyframe of a part of a film."""
    frames = film.partition(f"@keyframes {part}{{")[2].partition("}}")[0]
    return [tuple(map(float, re.findall(r"(-?[\d.]+)(?:px|deg)", frame))) for frame in frames.split("}")]


def test_the_cart_goes_where_it_was_and_the_pole_turns_about_it() -> None:
    film, _ = figures.cart_pole_film(LEANS, "leans")
    (_, metres), carts, poles = (0.0, 0.5), poses(film, "cart"), poses(film, "pole")
    half, whole = carts[1][0], carts[2][0]
    assert carts[0] == (0.0,) and whole == pytest.approx(2 * half, abs=0.1) and half > 10 * metres
    assert [angle for _, angle in poles[:3]] == pytest.approx(np.degrees(LEANS[:, 2]), abs=0.05)
    assert [shift for shift, _ in poles[:3]] == [shift for (shift,) in carts[:3]]
    assert carts[-1] == carts[-2] and poles[-1] == poles[-2]  # the last moment is held


def test_a_metre_of_the_cart_is_a_metre_of_its_rail() -> None:
    at_the_end = np.zeros((2, 4))
    at_the_end[1, 0] = 2.4
    film, _ = figures.cart_pole_film(at_the_end, "at the end")
    rails = [path.get("d", "") for path in ElementTree.fromstring(film).iter("{http://www.w3.org/2000/svg}path")]
    lengths = [
        abs(float(d.split()[4]) - float(d.split()[1])) for d in rails if re.fullmatch(r"M [\d. ]+ L [\d. ]+", d.strip())
    ]
    assert any(length == pytest.approx(2 * poses(film, "cart")[-1][0], abs=0.2) for length in lengths)


def test_all_parts_of_the_cart_move_and_nothing_else() -> None:
    film, _ = figures.cart_pole_film(LEANS, "leans")
    moved = [element.get("class") for element in ElementTree.fromstring(film).iter("{http://www.w3.org/2000/svg}g")]
    counts = {part: moved.count(part) for part in ("cart", "pole", "bar", "end")}
    assert counts == {"cart": 4, "pole": 1, "bar": 1, "end": 1}  # two wheels, box, hinge


def test_a_long_episode_is_whole_and_has_few_poses() -> None:
    film, alt = figures.cart_pole_film(STANDS, "stands")
    assert 100 < len(poses(film, "cart")) < 130 and "after 500 steps time is up, and the pole stands" in alt


def test_a_film_is_dark_on_a_dark_page_and_at_rest_for_who_asks_for_that() -> None:
    film, _ = figures.cart_pole_film(LEANS, "leans")
    assert "@media(prefers-color-scheme:dark)" in film
    assert "@media(prefers-reduced-motion:reduce){.cart,.pole,.bar,.end{animation:none}}" in film


@pytest.mark.parametrize("shape", [(5,), (5, 3), (1, 4), (502, 4)])
def test_what_is_no_episode_of_cart_pole_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"it must be \(T \+ 1, 4\)"):
        figures.cart_pole_film(np.zeros(shape), "none")


@pytest.mark.parametrize(
    ("obs", "says"),
    [
        (LEANS, "after 2 steps the pole leans 14° to the right"),
        (-LEANS, "after 2 steps the pole leans 14° to the left"),
        (np.array([[0.0] * 4, [2.3, 0, 0, 0], [2.5, 0, 0, 0]]), "after 2 steps the cart has left its rail"),
        (STANDS, "after 500 steps time is up, and the pole stands"),
        (STANDS[:9], "after 8 steps the film stops here"),
    ],
)
def test_why_an_episode_ended_is_said(obs: Array, says: str) -> None:
    assert how_it_ended(obs) == says


def test_the_limits_in_the_words_are_those_of_gymnasium() -> None:
    env: Any = gym.make(story.ENVIRONMENT)
    assert env.spec.max_episode_steps == figures.CART_POLE_LIMIT
    assert (env.unwrapped.x_threshold, env.unwrapped.tau) == (2.4, 0.02)
    assert env.unwrapped.theta_threshold_radians == pytest.approx(np.radians(12))


# --- The tool ---------------------------------------------------------------------------------------------------------


def test_the_tool_trains_with_the_mistake_let_out_and_without_it_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "EPISODES", 2)
    few = {"steps": 424, "prefill": 400}
    broken, mean = tool.learn("03", 0, **few)
    sound, _ = tool.learn(story.SOUND, 0, **few)
    assert broken.config == sound.config and 5 <= mean <= 500 and not any_replaced()
    weights = [agent.world_model.state_dict() for agent in (broken, sound)]
    assert any(not torch.equal(one, weights[1][name]) for name, one in weights[0].items())


def test_the_tool_writes_down_what_it_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "AGENTS", tmp_path)
    learned = Agent.load(Path(tool.__file__).parent.parent / "wm_tutorial/course/agents/sound.safetensors")
    monkeypatch.setattr(tool, "learn", lambda name, seed: (learned, 10.0 + seed))
    tool.main(["sound"])
    tool.main(["02"])
    written = json.loads((tmp_path / "agents.json").read_text())
    assert written["agents"] == {
        "02": {"bug": story.CHAPTERS["02"].bug, "mean": 10.0, "means": {"0": 10.0, "1": 11.0}},
        "sound": {"bug": None, "mean": 10.0, "means": {"0": 10.0, "1": 11.0}},
    }
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == ["02.safetensors", "sound.safetensors"]


def test_the_tool_names_the_agents_there_are() -> None:
    with pytest.raises(SystemExit, match="no agent 12; it has 01, 02, 03"):
        tool.main(["12"])
