"""What is drawn is what was given: lines, boundaries, errors, frames and words are compared with the numbers."""

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from wm_tutorial import figures
from wm_tutorial.data import Array, Dream, Narrowing
from wm_tutorial.errors import InputError, OutputError
from wm_tutorial.figures import style
from wm_tutorial.figures.night import kept
from wm_tutorial.figures.svg import shade

T, CONTEXT = 10, 4


def vectors(entries: int = 4, environment: str = "", names: tuple[str, ...] = ()) -> Dream:
    rng = np.random.default_rng(entries)
    obs = rng.normal(size=(T, entries)).cumsum(axis=0).astype(np.float32)
    reward, continue_ = rng.normal(size=(2, T))
    return Dream(
        obs=obs,
        predicted_obs=obs + rng.normal(scale=0.1, size=obs.shape),
        reward=reward,
        predicted_reward=reward + 0.1,
        continue_=(continue_ > 0).astype(np.float32),
        predicted_continue=rng.uniform(size=T),
        context=CONTEXT,
        environment=environment,
        names=names,
    )


def images(channels: int = 3) -> Dream:
    """A bright pixel that moves right; the model sees it stand still once its eyes are closed."""
    obs = np.zeros((T, 16, 14, channels), np.uint8)
    predicted = np.zeros(obs.shape)
    for t in range(T):
        obs[t, 5, t] = 255
        predicted[t, 5, min(t, CONTEXT - 1)] = 1.0
    zero, one = np.zeros(T), np.ones(T)
    return Dream(obs, predicted, zero, zero, one, one, CONTEXT, "Pixels-v0")


CART = vectors(4, "CartPole-v1", ("x (m)", "x' (m/s)", "angle (rad)", "angle' (rad/s)"))


def panel(figure: Figure, title: str) -> Axes:
    (axes,) = (axes for axes in figure.axes if title in axes.get_title(loc="left"))
    return axes


def line(axes: Axes, label: str) -> Line2D:
    (found,) = (line for line in axes.lines if line.get_label() == label)
    return found


def points(axes: Axes, label: str) -> Array:
    return np.asarray(line(axes, label).get_xydata())


# --- The dream --------------------------------------------------------------------------------------------------------


def by_hand() -> Dream:
    obs = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [3.0, 5.0]])
    predicted = np.array([[0.0, 0.0], [3.0, 5.0], [1.0, 7.0], [3.0, 5.0]])
    zero, one = np.zeros(4), np.ones(4)
    return Dream(obs, predicted, zero, zero, one, one, context=2, environment="")


def test_errors_are_root_mean_squares_over_the_entries_of_a_row() -> None:
    dream = by_hand()
    np.testing.assert_allclose(dream.model_error, [0.0, np.sqrt(0.5), 5.0, 0.0])
    np.testing.assert_allclose(dream.persistence_error, [0.0, 0.0, np.sqrt(12.5), np.sqrt(0.5)])


def test_persistence_holds_the_last_value_seen() -> None:
    held = CART.persistence
    np.testing.assert_array_equal(held[:CONTEXT], CART.obs[:CONTEXT])
    np.testing.assert_array_equal(held[CONTEXT:], np.repeat(CART.obs[[CONTEXT - 1]], T - CONTEXT, axis=0))


def test_images_are_compared_in_0_to_1() -> None:
    dream = images()
    assert dream.truth.max() == 1.0
    wrong = np.sqrt(2 / (16 * 14))  # one pixel missing, one too many
    np.testing.assert_allclose(dream.model_error, [0.0] * CONTEXT + [wrong] * (T - CONTEXT))
    np.testing.assert_allclose(dream.persistence_error, dream.model_error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"obs": np.zeros((0, 4)), "predicted_obs": np.zeros((0, 4))}, "at least 2 rows"),
        ({"obs": CART.obs[None]}, "without a batch axis"),
        ({"obs": np.zeros((T, 8, 8, 3), np.float32)}, "uint8"),
        ({"predicted_obs": CART.predicted_obs[1:]}, "give both alike"),
        ({"predicted_reward": np.zeros(T + 1)}, r"predicted_reward has shape \(11,\).*give \(10,\)"),
        ({"context": 0}, "context is 0.*1 to 9"),
        ({"context": T}, "context is 10.*1 to 9"),
        ({"names": ("x",)}, "one name for each entry"),
        ({"predicted_obs": np.full((T, 4), np.nan)}, "predicted_obs.*finite"),
    ],
)
def test_a_dream_that_does_not_fit_together_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CART, **change)


def test_predicted_images_in_0_to_255_are_refused() -> None:
    with pytest.raises(InputError, match="divide by 255"):
        replace(images(), predicted_obs=images().predicted_obs * 255)


# --- Open loop --------------------------------------------------------------------------------------------------------


def test_open_loop_draws_the_numbers_it_was_given() -> None:
    figure, rows = figures.open_loop(CART), np.arange(T)
    for i, name in enumerate(CART.names):
        axes = panel(figure, name)
        np.testing.assert_allclose(points(axes, "truth"), np.c_[rows, CART.obs[:, i]])
        np.testing.assert_allclose(points(axes, "model"), np.c_[rows, CART.predicted_obs[:, i]])
        held = points(axes, "last seen value")
        np.testing.assert_array_equal(held[:, 0], rows[CONTEXT - 1 :])
        np.testing.assert_array_equal(held[:, 1], CART.obs[CONTEXT - 1, i])
    reward, goes_on = panel(figure, "reward"), panel(figure, "goes on")
    np.testing.assert_allclose(points(reward, "truth")[:, 1], CART.reward)
    np.testing.assert_allclose(points(reward, "model")[:, 1], CART.predicted_reward)
    np.testing.assert_allclose(points(goes_on, "truth")[:, 1], CART.continue_)
    np.testing.assert_allclose(points(goes_on, "model")[:, 1], CART.predicted_continue)


def test_the_error_panel_shows_the_errors() -> None:
    axes = panel(figures.open_loop(by_hand()), "error")
    np.testing.assert_allclose(points(axes, "model"), [[0, 0], [1, np.sqrt(0.5)], [2, 5], [3, 0]])
    np.testing.assert_allclose(points(axes, "last seen value"), [[1, 0], [2, np.sqrt(12.5)], [3, np.sqrt(0.5)]])


def test_the_shade_ends_between_the_last_row_seen_and_the_first_imagined() -> None:
    figure = figures.open_loop(CART)
    assert len(figure.axes) == 7
    for axes in figure.axes:
        (shade,) = (patch for patch in axes.patches if isinstance(patch, Rectangle))
        assert (shade.get_x(), shade.get_x() + shade.get_width()) == (-0.5, CONTEXT - 0.5)
    assert [text.get_text().strip() for text in panel(figure, "error").texts] == ["seen", "imagined"]


def test_nine_entries_are_eight_panels_and_a_word_about_the_ninth() -> None:
    figure = figures.open_loop(vectors(9))
    assert len(figure.axes) == 8 + 3
    assert "1 more entries are left out" in figure.legends[0].get_title().get_text()


def test_a_model_that_strays_far_does_not_flatten_the_truth() -> None:
    figure = figures.open_loop(replace(CART, predicted_obs=1e6 * CART.predicted_obs))
    low, high = panel(figure, CART.names[0]).get_ylim()
    assert low < CART.obs[:, 0].min() and high > CART.obs[:, 0].max()
    assert high - low < 4 * np.ptp(CART.obs[:, 0])


def test_strips_of_frames_show_the_rows_they_name() -> None:
    dream = images()
    figure = figures.open_loop(dream)
    strips = {axes.get_ylabel().split("\n")[0]: axes for axes in figure.axes if axes.images}
    assert list(strips) == ["truth", "model", "error"]
    rows = [int(label.get_text().removeprefix("row ")) for label in strips["error"].get_xticklabels()]
    assert (rows[0], rows[-1], len(rows)) == (0, T - 1, 8)
    for i, row in enumerate(rows):
        np.testing.assert_allclose(strips["truth"].images[i].get_array(), dream.truth[row])
        np.testing.assert_allclose(strips["model"].images[i].get_array(), dream.predicted_obs[row])
        wrong = np.asarray(strips["error"].images[i].get_array()).sum(axis=-1) > 1.0
        np.testing.assert_array_equal(wrong, (dream.truth[row] != dream.predicted_obs[row]).any(axis=-1))
    (edge,) = strips["truth"].lines[0].get_xdata()[:1]
    assert [row < CONTEXT for row in rows] == [i < edge for i in range(len(rows))]


def test_of_stacked_frames_the_last_is_shown() -> None:
    dream = images(channels=4)
    dream.obs[..., :3] = 0
    truth = figures.open_loop(dream).axes[0]
    np.testing.assert_allclose(truth.images[0].get_array(), np.repeat(dream.truth[0, ..., 3:], 3, axis=-1))


def test_an_odd_entry_gets_a_whole_line_with_numbers_of_its_own() -> None:
    figure = figures.open_loop(vectors(3))
    figure.draw_without_rendering()
    wide, *others = figure.axes[:5]
    assert all(wide.bbox.width > 1.9 * axes.bbox.width for axes in others)
    numbered = [axes.xaxis.get_tick_params()["labelbottom"] for axes in (wide, *others)]
    assert numbered == [True, False, False, True, True]


def test_alternative_text_holds_the_main_numbers() -> None:
    alt = figures.alt_text(figures.open_loop(by_hand()))
    model, held = np.sqrt((25.0 + 0.0) / 2), np.sqrt((12.5 + 0.5) / 2)
    assert "4 rows" in alt and "first 2 rows" in alt
    assert f"{model:.3g}, and that of holding the last seen row {held:.3g}; in the last row 0 and 0.707." in alt


# --- Drawings ---------------------------------------------------------------------------------------------------------


def drawn(environment: str, observation: list[float]) -> Axes:
    axes = Figure().add_subplot()
    figures.SKETCHES[environment](axes, np.array(observation), figures.REALITY)
    return axes


@pytest.mark.parametrize(
    ("angle", "tip"), [(0.0, (0.0, 1.0)), (np.pi / 6, (0.5, np.sqrt(0.75))), (-np.pi / 2, (-1, 0))]
)
def test_a_positive_angle_leans_the_pole_to_the_right(angle: float, tip: tuple[float, float]) -> None:
    hinge, end = points(drawn("CartPole-v1", [0.7, 9.0, angle, 9.0]), "pole")
    assert hinge[0] == 0.7
    np.testing.assert_allclose(end - hinge, tip, atol=1e-12)


def test_the_cart_pole_without_velocities_looks_the_same() -> None:
    full = points(drawn("CartPole-v1", [0.7, 9.0, 0.2, 9.0]), "pole")
    np.testing.assert_array_equal(points(drawn("wm_tutorial/PositionOnlyCartPole-v0", [0.7, 0.2]), "pole"), full)


def test_a_cart_out_of_sight_is_announced() -> None:
    assert not drawn("CartPole-v1", [2.0, 0, 0, 0]).texts
    assert [text.get_text() for text in drawn("CartPole-v1", [5.5, 0, 0, 0]).texts] == ["5.5 m →"]
    assert [text.get_text() for text in drawn("CartPole-v1", [-5.5, 0, 0, 0]).texts] == ["← -5.5 m"]


def test_the_pendulum_is_upright_at_zero_and_turns_anticlockwise() -> None:
    for angle, tip in ((0.0, (0, 1)), (np.pi / 2, (-1, 0)), (np.pi, (0, -1))):
        rod = points(drawn("Pendulum-v1", [np.cos(angle), np.sin(angle), 3.0]), "rod")
        np.testing.assert_allclose(rod, [(0, 0), tip], atol=1e-12)


# --- Film -------------------------------------------------------------------------------------------------------------


def frames(path: Path) -> Array:
    """(frames, height, width, 3)."""
    with Image.open(path) as film:
        pictures = []
        for i in range(film.n_frames):
            film.seek(i)
            pictures.append(np.asarray(film.convert("RGB")))
    return np.stack(pictures).astype(int)


def color(name: str) -> Array:
    return np.array([int(name[i : i + 2], 16) for i in (1, 3, 5)])


def test_a_film_of_a_cart_pole(tmp_path: Path) -> None:
    obs = CART.obs.copy()
    obs[6] = obs[5]  # nothing happens in row 6
    path = tmp_path / "new" / "cart.gif"
    alt = figures.film(replace(CART, obs=obs), path, fps=20)
    film = frames(path)
    assert film.shape == (T, *film.shape[1:]) and film.shape[2] == 700
    assert path.stat().st_size < 20_000 * T

    reality = film[:, 62:220, 20:340]
    moved = [bool((reality[t] != reality[t - 1]).any()) for t in range(1, T)]
    assert moved == [t != 6 for t in range(1, T)]
    assert all((film[t] != film[t - 1]).any() for t in range(1, T))

    corner = film[:, 210, 370]  # the sky of the dream: day until the context ends, then night
    for t in range(T):
        sky = figures.EYES_OPEN.sky if t < CONTEXT else figures.EYES_CLOSED.sky
        np.testing.assert_allclose(corner[t], color(sky), atol=8)

    with Image.open(path) as opened:
        assert opened.info["comment"] == alt.encode()
        assert opened.info["duration"] == 50 and opened.info["loop"] == 0
    assert "10 rows of CartPole-v1" in alt


def test_a_film_of_images_enlarges_every_pixel_alike(tmp_path: Path) -> None:
    dream = images()
    figures.film(dream, tmp_path / "pixels.gif")
    film = frames(tmp_path / "pixels.gif")
    scale = 210 // 14
    assert len(film) == T
    middle = scale // 2
    for t in range(T):
        small = film[t, 62 + middle : 62 + 16 * scale : scale, 20 + middle : 20 + 14 * scale : scale]
        np.testing.assert_allclose(small, dream.obs[t], atol=8)  # a GIF has few colours
        block = film[t, 62 + 5 * scale : 62 + 6 * scale, 20 + t * scale : 20 + (t + 1) * scale]
        np.testing.assert_allclose(block[2:-2, 2:-2], 255, atol=8)
        border = figures.FAINT if t < CONTEXT else figures.MODEL
        np.testing.assert_allclose(film[t, 150, 245], color(border), atol=8)


def test_a_film_of_an_unknown_environment_is_lines(tmp_path: Path) -> None:
    alt = figures.film(vectors(1), tmp_path / "lines.gif")
    film = frames(tmp_path / "lines.gif")
    assert len(film) == T and all((film[t] != film[t - 1]).any() for t in range(1, T))
    assert alt.startswith("Film, one frame for each row. Lines of reality")


@pytest.mark.parametrize("entries", [1, 4, 8])
def test_a_film_shows_what_the_environment_drew_beside_the_lines(entries: int, tmp_path: Path) -> None:
    drawn = np.zeros((T, 20, 40, 3), np.uint8)
    for t in range(T):
        drawn[t, :, 4 * t :] = (200, 40, 40)
    alt = figures.film(replace(vectors(entries), frames=drawn), tmp_path / "drawn.gif")
    film = frames(tmp_path / "drawn.gif")
    assert len(film) == T and "as the environment draws it" in alt
    for t in range(T):
        for column in range(0, 40, 4):  # 40 columns of the drawing are 320 of the film, from 20 on
            expected = (200, 40, 40) if column >= 4 * t else (0, 0, 0)
            np.testing.assert_allclose(film[t, 152, 20 + 8 * column + 16], expected, atol=12)


def test_pictures_that_are_not_those_of_the_rows_are_refused() -> None:
    for shape in ((T - 1, 20, 40, 3), (T, 20, 40), (T, 20, 40, 4)):
        with pytest.raises(InputError, match=r"frames is uint8 of shape .*one of each of the 10 rows"):
            replace(CART, frames=np.zeros(shape, np.uint8))


def test_a_still_draws_lines_up_to_its_row_and_no_further() -> None:
    figure = figures.still(CART, 7)
    angle = panel(figure, "angle (rad)").lines
    shown = [np.asarray(line.get_xydata()) for line in angle if len(np.atleast_1d(line.get_xdata())) == 8]
    np.testing.assert_allclose(shown[0], np.c_[np.arange(8), CART.obs[:8, 2]])
    np.testing.assert_allclose(shown[1], np.c_[np.arange(8), CART.predicted_obs[:8, 2]])


def test_the_eyes_close_at_the_first_row_that_is_not_seen() -> None:
    for row, words in ((CONTEXT - 1, "eyes open"), (CONTEXT, "eyes closed, imagining")):
        figure = figures.still(CART, row)
        assert words in [text.get_text() for text in figure.texts]
        _eye, pupil = figure.artists
        assert pupil.get_visible() == (row < CONTEXT)
        assert words in figures.alt_text(figure)


def test_a_sketch_of_ones_own_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Array, figures.Light]] = []
    monkeypatch.setitem(figures.SKETCHES, "Mine-v0", lambda axes, obs, light: seen.append((obs, light)))
    dream = vectors(2, "Mine-v0")
    figures.still(dream, CONTEXT)
    (reality, by_day), (shadow, _), (imagined, at_night) = seen
    np.testing.assert_array_equal(reality, dream.obs[CONTEXT])
    np.testing.assert_array_equal(shadow, dream.obs[CONTEXT])
    np.testing.assert_array_equal(imagined, dream.predicted_obs[CONTEXT])
    assert by_day is figures.REALITY and at_night is figures.EYES_CLOSED


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: figures.film(CART, path / "a.gif", fps=0), "fps is 0"),
        (lambda path: figures.film(CART, path / "a.gif", fps=60), "fps is 60.*at most 50"),
        (lambda path: figures.film(CART, path / "a.mp4"), "ends in .gif"),
        (lambda path: figures.still(CART, T), "row is 10.*0 to 9"),
        (lambda path: figures.still(CART, -1), "row is -1"),
    ],
)
def test_films_refuse_what_they_cannot_show(call: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


# --- Learning curves --------------------------------------------------------------------------------------------------

EPISODES = [{"kind": "episode", "step": 10 * i, "return": float(i), "length": 10} for i in range(1, 31)]
EVALUATIONS = [
    {"kind": "evaluation", "step": 100, "mean": 5.0, "std": 3.2, "returns": [0.0, 5.0, 10.0]},
    {"kind": "evaluation", "step": 300, "mean": 25.0, "std": 3.2, "returns": [20.0, 25.0, 30.0]},
]
TRAIN = [
    {"kind": "train", "step": 100, "updates": 1, "losses": {"decoder": 100.0, "actor": -0.5}},
    {"kind": "train", "step": 200, "updates": 2, "losses": {"decoder": 1.0, "actor": 0.5, "critic": 2.0}},
    {"kind": "train", "step": 300, "updates": 3, "losses": {"decoder": 0.5, "actor": 0.1, "critic": 1.0}},
]


def test_the_return_curve_shows_episodes_their_running_mean_and_evaluations() -> None:
    figure = figures.return_curve([*EPISODES, *EVALUATIONS, *TRAIN])
    (axes,) = figure.axes
    returns = np.arange(1.0, 31.0)
    np.testing.assert_allclose(points(axes, "training episode"), np.c_[10 * returns, returns])
    mean = points(axes, "mean of the last 20")[:, 1]
    np.testing.assert_allclose(mean, [returns[max(i - 20, 0) : i].mean() for i in range(1, 31)])
    evaluation = points(axes, "evaluation (mean, 10th to 90th percentile)")
    np.testing.assert_allclose(evaluation, [(100, 5), (300, 25)])
    bars = [bar[:, 1].tolist() for bar in axes.collections[0].get_segments()]
    np.testing.assert_allclose(bars, [(1, 9), (21, 29)])
    assert "30 training episodes up to step 300" in figure.alt
    assert "mean 25 (10th to 90th percentile 21 to 29)" in figure.alt


def test_a_run_is_drawn_over_the_band_of_the_measured_seeds() -> None:
    measured = {1: ([100, 200, 300], [1.0, 5.0, 9.0]), 2: ([100, 300], [3.0, 5.0]), 3: ([100, 300], [2.0, 10.0])}
    figure = figures.return_curve([*EPISODES, *EVALUATIONS], measured)
    (axes,) = figure.axes
    (band,) = [shape for shape in axes.collections if shape.get_label() == "3 measured seeds, lowest to highest"]
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert corners == {(100, 1), (200, 4), (300, 5), (100, 3), (200, 6), (300, 10)}
    assert "at step 300 it reaches from 5 to 10" in figure.alt


def test_what_hardly_moves_does_not_look_as_if_it_did() -> None:
    still = [{"kind": "episode", "step": 10 * i, "return": 500.0 + 1e-4 * (i % 2), "length": 1} for i in range(1, 9)]
    level = [{"kind": "train", "step": i, "updates": i, "losses": {"rate": 1.0 + 1e-6 * i}} for i in range(1, 9)]
    imagined = figures.imagined_trajectory(np.full(3, 1.0), np.ones(4), 333 + 1e-4 * np.arange(4.0), np.full(3, 333.0))
    for figure in (figures.return_curve(still), figures.losses(level), imagined):
        for axes in figure.axes:
            low, high = axes.get_ylim()
            assert high - low > 0.019 * high


@pytest.mark.parametrize("records", [EPISODES, EPISODES[:1], EVALUATIONS, EVALUATIONS[:1]])
def test_the_return_curve_needs_one_record_only(records: list[dict[str, Any]], tmp_path: Path) -> None:
    figures.save(figures.return_curve(records), tmp_path / "returns.png")


def test_each_loss_has_a_panel_and_a_scale_that_fits() -> None:
    figure = figures.losses([*EPISODES, *TRAIN])
    scales = {axes.get_title(loc="left"): axes.get_yscale() for axes in figure.axes}
    assert scales == {"decoder": "log", "actor": "linear", "critic": "linear"}
    np.testing.assert_allclose(panel(figure, "critic").lines[0].get_xydata(), [(200, 2), (300, 1)])
    assert "decoder from 100 to 0.5, actor from -0.5 to 0.1, critic from 2 to 1." in figure.alt


@pytest.mark.parametrize("draw", [figures.return_curve, figures.losses])
def test_curves_without_records_say_what_is_missing(draw: Callable[[Any], object]) -> None:
    with pytest.raises(InputError, match="got no records; this figure needs"):
        draw([])
    with pytest.raises(InputError, match="got 1 records of the kinds start"):
        draw([{"kind": "start"}])


def test_a_record_without_its_numbers_is_refused() -> None:
    with pytest.raises(InputError, match=r"kind 'evaluation'.*no returns"):
        figures.return_curve([{"kind": "evaluation", "step": 1, "mean": 1.0}])


# --- Imagined trajectories --------------------------------------------------------------------------------------------


def test_every_imagined_number_stands_at_the_state_it_belongs_to() -> None:
    reward, continue_, value, returns = [1.0, 2.0, 3.0], [1.0, 0.9, 0.8, 0.7], [4.0, 5.0, 6.0, 7.0], [9.0, 8.0, 7.5]
    figure = figures.imagined_trajectory(reward, continue_, value, returns)
    np.testing.assert_allclose(points(panel(figure, "reward"), "reward"), np.c_[[1, 2, 3], reward])
    np.testing.assert_allclose(points(panel(figure, "goes on"), "continue"), np.c_[[0, 1, 2, 3], continue_])
    np.testing.assert_allclose(points(panel(figure, "value"), "value"), np.c_[[0, 1, 2, 3], value])
    np.testing.assert_allclose(points(panel(figure, "value"), "lambda return"), np.c_[[0, 1, 2], returns])
    assert "3 steps" in figure.alt and "rewards sum to 6" in figure.alt


def searched(iterations: int = 3, candidates: int = 5) -> Narrowing:
    """Candidates fan out from 1 over four rows, by half as much in each iteration; the two highest are elites."""
    fan = np.linspace(-1, 1, candidates)[:, None] * np.arange(4)
    paths = 1.0 + np.stack([fan / 2**i for i in range(iterations)])
    elites = np.tile(np.arange(candidates) >= candidates - 2, (iterations, 1))
    return Narrowing(paths, paths.sum(2), elites, np.array([1.0, 2.5, 4.0]), 6, "angle (rad)", "Swing-v0")


def test_every_candidate_is_drawn_from_the_row_that_is_planned_in_with_the_elites_apart() -> None:
    found = searched()
    figure = figures.narrowing(found)
    assert len(figure.axes) == 3
    for i, axes in enumerate(figure.axes):
        assert axes.get_title(loc="left") == f"iteration {i + 1}: mean return 4"
        drawn = {
            color: [x for x in axes.lines if x.get_color() == color] for color in ("#667080", "#D55E00", "#0072B2")
        }
        np.testing.assert_allclose([x.get_ydata() for x in drawn["#667080"]], found.paths[i][~found.elites[i]])
        np.testing.assert_allclose([x.get_ydata() for x in drawn["#D55E00"]], found.paths[i][found.elites[i]])
        assert all(list(x.get_xdata()) == [6, 7, 8, 9] for x in drawn["#667080"] + drawn["#D55E00"])
        (happened,) = drawn["#0072B2"]
        np.testing.assert_allclose(happened.get_xydata(), [(6, 1), (7, 2.5), (8, 4)])
        assert axes.get_ylim() == figure.axes[0].get_ylim()
    ends = found.paths[:, :, -1].std(1)
    assert "5 candidates of 3 steps in 3 iterations" in figure.alt
    assert f"goes from {ends[0]:.3g} to {ends[-1]:.3g}" in figure.alt


@pytest.mark.parametrize(
    ("iterations", "shown"), [(1, [1]), (4, [1, 2, 3, 4]), (5, [1, 2, 3, 4, 5]), (11, [1, 3, 5, 7, 9, 11])]
)
def test_of_many_iterations_the_first_and_the_last_are_among_those_shown(iterations: int, shown: list[int]) -> None:
    figure = figures.narrowing(searched(iterations, candidates=130))
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.axison]
    assert [int(title.split()[1].rstrip(":")) for title in titles] == shown
    assert len(figure.axes[0].lines) == 101  # a hundred candidates, and what happened
    assert sum(axes.get_xlabel() == "row t" for axes in figure.axes) == min(len(shown), 2 if len(shown) == 4 else 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"happened": np.ones(5)}, "happened .5,. do not fit"),
        ({"elites": np.ones((3, 4), bool)}, r"elites \(3, 4\)"),
        ({"elites": np.ones((3, 5))}, "float64"),
        ({"returns": np.full((3, 5), np.nan)}, "returns holds a value that is no finite number"),
    ],
)
def test_a_search_that_does_not_fit_together_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(searched(), **change)


def test_row_chooses_one_of_many_trajectories() -> None:
    reward, states = np.arange(6.0).reshape(2, 3), np.zeros((2, 4))
    figure = figures.imagined_trajectory(reward, states, states, reward, row=1)
    np.testing.assert_allclose(points(panel(figure, "reward"), "reward")[:, 1], [3, 4, 5])


@pytest.mark.parametrize(
    ("steps", "row", "message"),
    [
        ((3, 3, 3, 3), 0, "must have H, H"),
        ((3, 4, 4, 4), 0, "must have H, H"),
        ((0, 1, 1, 0), 0, "H at least 1"),
        ((3, 4, 4, 3), 1, "row is 1"),
    ],
)
def test_trajectories_that_do_not_fit_are_refused(steps: tuple[int, ...], row: int, message: str) -> None:
    reward, continue_, value, returns = (np.zeros(n) for n in steps)
    with pytest.raises(InputError, match=message):
        figures.imagined_trajectory(reward, continue_, value, returns, row)


# --- Seeds ------------------------------------------------------------------------------------------------------------


def band(axes: Axes) -> tuple[Array, Array]:
    """Lower and upper edge of the interval, at the steps 1, 2, ..."""
    vertices = axes.collections[0].get_paths()[0].vertices
    steps = np.unique(vertices[:, 0])
    heights = [vertices[vertices[:, 0] == x, 1] for x in steps]
    return np.array([y.min() for y in heights]), np.array([y.max() for y in heights])


def test_the_interval_of_two_seeds_is_the_seeds_themselves() -> None:
    """Each is drawn twice in a quarter of the draws, far more than 2.5 %."""
    figure = figures.seed_curves({0: ([1, 2, 3], [0, 10, 20]), 7: ([1, 2, 3], [2, 20, 20])}, threshold=15)
    (axes,) = figure.axes
    np.testing.assert_allclose(points(axes, "mean"), [(1, 1), (2, 15), (3, 20)])
    np.testing.assert_allclose(points(axes, "seed 7"), [(1, 2), (2, 20), (3, 20)])
    np.testing.assert_allclose(band(axes), [(0, 10, 20), (2, 20, 20)])
    assert "2 of 2 seeds reached the threshold of 15" in figure.alt and "interval 20 to 20" in figure.alt
    assert "threshold 15" in [text.get_text() for text in axes.texts]


def test_the_interval_covers_the_true_mean_of_many_seeds() -> None:
    """A hundred seeds around 5: 95 % of such intervals cover it, and theirs is about 4 standard errors wide."""
    rng = np.random.default_rng(0)
    figure = figures.seed_curves({seed: ([1.0], [rng.normal(5, 1)]) for seed in range(100)})
    low, high = band(figure.axes[0])
    assert low[0] < 5 < high[0]
    assert 0.3 < high[0] - low[0] < 0.5


def test_seeds_are_averaged_where_all_of_them_have_been_evaluated() -> None:
    figure = figures.seed_curves({0: ([0, 10, 20], [0, 10, 20]), 1: ([5, 15], [0, 0])})
    np.testing.assert_allclose(points(figure.axes[0], "mean"), [(5, 2.5), (10, 5), (15, 7.5)])


def test_one_seed_has_no_interval() -> None:
    figure = figures.seed_curves({3: ([1, 2], [5, 6])})
    assert not figure.axes[0].collections and "interval" not in figure.alt


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "curves is empty"),
        ({0: ([1, 2], [1])}, "seed 0"),
        ({0: ([], [])}, "seed 0"),
        ({0: ([2, 1], [1, 1])}, "steps that increase"),
        ({0: ([1, 2], [1, 1]), 1: ([3, 4], [1, 1])}, "evaluate them over the same range"),
    ],
)
def test_curves_that_cannot_be_averaged_are_refused(curves: dict[int, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        figures.seed_curves(curves)


# --- Light and dark pages ---------------------------------------------------------------------------------------------

HOUSE = {name: value for name, value in vars(style).items() if name.isupper() and str(value).startswith("#")}
STRONG = [figures.BLUE, figures.VERMILION, figures.GREEN, figures.ORANGE, figures.PURPLE]  # told apart by colour
NO_WORDS = {figures.FAINT, figures.SEEN, figures.PAPER, figures.NIGHT}  # grid, backgrounds, and a sky
SHADES = re.compile(r"\.(c\d+)\{([^}]*)\}")

# What a colour is to a person who lacks one kind of cone. Source: Machado, Oliveira & Fernandes 2009, severity 1.
LACKING = {
    "none": np.eye(3),
    "red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
# Linear red, green and blue to lightness and two directions of colour. Source: Ottosson 2020, "Oklab".
CONES = [[0.4122215, 0.5363325, 0.0514460], [0.2119035, 0.6806995, 0.1073970], [0.0883025, 0.2817188, 0.6299787]]
OKLAB = [[0.2104543, 0.7936178, -0.0040720], [1.9779985, -2.4285922, 0.4505937], [0.0259040, 0.7827718, -0.8086758]]


def seen(color: str, lacking: str) -> Array:
    """Where a colour lies for a person: distances are differences one sees."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.asarray(OKLAB) @ np.cbrt(np.asarray(CONES) @ np.clip(np.asarray(LACKING[lacking]) @ linear, 0, 1))


def least_difference(colors: Sequence[str], lacking: str) -> float:
    return min(float(np.linalg.norm(seen(a, lacking) - seen(b, lacking))) for a, b in combinations(colors, 2))


def shades(drawn: str) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """The colours of each class of an SVG on a light page, and those on a dark one."""
    sheet = ElementTree.fromstring(drawn)[0].text or ""
    light, dark = sheet.split("@media(prefers-color-scheme:dark)")
    return tuple(
        {name: dict(re.findall(r"(fill|stroke):(#\w{6})", rule)) for name, rule in SHADES.findall(mode)}
        for mode in (light, dark)
    )


def drawn_shades(draw: Callable[[Axes], object], dark: bool = True) -> list[dict[str, str]]:
    """The colours of what one call draws: those that axes without it do not have."""
    every = []
    for call in (lambda _: None, draw):
        figure = Figure()
        call(figure.add_subplot())
        every.append(list(shades(figures.to_svg(figure))[dark].values()))
    return [shade for shade in every[1] if shade not in every[0]]


def pictures_in(drawn: str) -> list[Array]:
    found = re.findall(r'href="data:image/png;base64,([^"]+)"', drawn)
    return [np.asarray(Image.open(BytesIO(base64.b64decode(data))).convert("RGBA")) for data in found]


EVERY_KIND = {
    "vectors": lambda: figures.open_loop(CART),
    "images": lambda: figures.open_loop(images()),
    "narrowing": lambda: figures.narrowing(searched()),
    "a night": lambda: figures.still(CART, CONTEXT),
    "a day": lambda: figures.still(CART, 0),
    "curves": lambda: figures.return_curve([*EPISODES, *EVALUATIONS]),
    "seeds": lambda: figures.seed_curves({0: ([1, 2, 3], [0, 10, 20]), 7: ([1, 2, 3], [2, 20, 20])}, threshold=15),
    "the map": lambda: figures.agent_diagram({"replay", "encoder", "actor"}),
    "the update": lambda: figures.update_diagram({"dream", "scissors"}, replay_critic=True),
}


def test_every_colour_of_the_house_has_a_partner_for_dark_pages() -> None:
    assert set(HOUSE.values()) == set(style.DARK)
    assert {color for color, partner in style.DARK.items() if color == partner} == {figures.NIGHT}


@pytest.mark.parametrize("name", EVERY_KIND)
def test_whatever_has_a_colour_has_one_for_dark_pages_too(name: str) -> None:
    light, dark = shades(figures.to_svg(EVERY_KIND[name]()))
    colored = {name: set(colors) for name, colors in light.items() if colors}
    assert colored == {name: set(colors) for name, colors in dark.items()} and len(colored) > 5


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("color", sorted(set(HOUSE.values()) - NO_WORDS))
def test_words_of_every_colour_can_be_read_on_every_background(color: str, dark: bool) -> None:
    for background in (figures.PAPER, figures.SEEN):
        assert style.contrast(shade(color, "word", dark), shade(background, "area", dark)) >= 4.5


@pytest.mark.parametrize("color", STRONG)
def test_words_can_be_read_on_areas_of_every_colour(color: str) -> None:
    """On a dark page; on a light one, the drawing chooses. Of a faint area, the page is the background."""
    for ink in (figures.INK, figures.PAPER):
        assert style.contrast(shade(ink, "word", True), shade(color, "area", True)) >= 4.5
    assert shade(color, "area", True, opacity=0.2) == style.DARK[color]


@pytest.mark.parametrize("color", sorted({*HOUSE.values(), "#000000", "#1F77B4", "#00008B"} - NO_WORDS))
def test_lines_and_areas_can_be_seen_on_a_dark_page(color: str) -> None:
    page = style.DARK[figures.PAPER]
    assert style.contrast(shade(color, "line", True), page) >= 3.0
    assert style.contrast(shade(color, "area", True), page) >= 2.4


@pytest.mark.parametrize("lacking", LACKING)
def test_colours_are_told_apart_on_a_dark_page_at_least_as_well_as_on_a_light_one(lacking: str) -> None:
    dark = [style.DARK[color] for color in STRONG]
    assert least_difference(dark, lacking) >= least_difference(STRONG, lacking)


def test_contrast_is_that_of_the_standard() -> None:
    assert style.contrast("#000000", "#FFFFFF") == style.contrast("#FFFFFF", "#000000") == 21
    assert style.contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)
    assert style.apart(figures.BLUE, figures.PAPER) == figures.BLUE  # strong enough as it is
    for color, other in ((figures.ORANGE, "#FFFFFF"), ("#333333", "#000000")):
        assert style.contrast(style.apart(color, other), other) == pytest.approx(4.5, abs=0.3)


def test_black_and_white_change_places() -> None:
    for role in ("line", "area"):
        assert shade("#FFFFFF", role, True) == style.DARK[figures.PAPER]
        assert shade("#000000", role, True) == style.DARK[figures.INK]
    assert shade("#FFFFFF", "word", True) == figures.PAPER  # on an area
    assert shade("#000000", "word", True) == style.DARK[figures.INK]


def test_markers_and_heads_of_arrows_have_the_colour_of_their_line() -> None:
    bright = style.DARK[figures.VERMILION]
    arrow = {"arrowstyle": "-|>", "color": figures.VERMILION}
    for draw in (
        lambda axes: axes.plot([1, 2], "o-", color=figures.VERMILION, ms=5),
        lambda axes: axes.plot([1, 2], ".", color=figures.VERMILION, mec="none"),
        lambda axes: axes.scatter([1], [1], color=figures.VERMILION, lw=0),
        lambda axes: axes.annotate("", (1, 1), (0, 0), arrowprops=arrow),
    ):
        inside = [colors["fill"] for colors in drawn_shades(draw) if "fill" in colors]
        assert inside and set(inside) == {bright}


def test_areas_are_deep_and_their_borders_bright() -> None:
    deep = shade(figures.BLUE, "area", True)
    assert deep != style.DARK[figures.BLUE]
    for draw in (
        lambda axes: axes.bar([1], [1], color=figures.BLUE),
        lambda axes: axes.bar([1], [1], color=figures.BLUE, hatch="//", ec="white"),
        lambda axes: axes.fill_between([0, 1], [1, 2], color=figures.BLUE, lw=0),
        lambda axes: axes.plot(0, 0, "o", ms=30, color=figures.BLUE, mec="none"),
    ):
        assert deep in [colors.get("fill") for colors in drawn_shades(draw)]
    (boxed,) = drawn_shades(lambda axes: axes.bar([1], [1], color=figures.BLUE, ec=figures.BLUE))
    assert boxed == {"fill": deep, "stroke": style.DARK[figures.BLUE]}


def test_a_marker_on_the_edge_of_its_panel_is_drawn_whole_and_what_lies_beyond_is_not() -> None:
    for limits, cut in (((1.0, 3.0), False), ((1.0, 2.5), True)):
        figure = Figure()
        axes = figure.add_subplot(xlim=limits)
        (line,) = axes.plot([1, 2, 3], [1.0, np.nan, 3.0], "o-")
        figures.to_svg(figure)
        assert line.get_clip_on() == cut


def test_a_frame_around_words_is_no_word() -> None:
    frame = {"fc": figures.PAPER, "ec": figures.ORANGE}
    colors = drawn_shades(lambda axes: axes.text(0, 0, "x", color=figures.ORANGE, bbox=frame), dark=False)
    assert {"fill": figures.PAPER, "stroke": figures.ORANGE} in colors
    assert {"fill": shade(figures.ORANGE, "word", False)} in colors


def test_images_and_what_a_colormap_colours_stay_as_they_are() -> None:
    figure = Figure()
    axes = figure.add_subplot()
    axes.axis("off")
    axes.imshow(np.eye(8), cmap="magma", interpolation="nearest")
    (image,) = pictures_in(figures.to_svg(figure))
    assert {tuple(pixel) for pixel in image[..., :3].reshape(-1, 3)} >= {(0, 0, 3), (251, 252, 191)}
    for draw in (
        lambda axes: axes.pcolormesh(np.eye(8)),
        lambda axes: axes.scatter([0, 1], [0, 1], c=[0.0, 1.0]),
    ):
        assert not drawn_shades(draw)
        figure = Figure()
        draw(figure.add_subplot())
        (image,) = pictures_in(figures.to_svg(figure))
        assert (np.abs(image[..., :3].astype(int) - [253, 231, 36]).max(-1) < 3).any()  # the top of viridis


def test_what_is_written_on_a_picture_stays_and_what_stands_beside_it_does_not() -> None:
    figure = Figure()
    axes = figure.add_subplot()
    axes.pcolormesh(np.eye(8))
    axes.text(4, 4, "on it", color=figures.PAPER)
    axes.text(2, 2, "in black", color="black")
    axes.axvline(4, color=figures.ORANGE)
    axes.text(0, -1, "below it", color=figures.VERMILION)
    light, dark = shades(figures.to_svg(figure))
    changes = {color: dark[name][part] for name, colors in light.items() for part, color in colors.items()}
    for color in (figures.PAPER, figures.ORANGE):
        assert changes[color] == color
    assert {"fill": "#000000"} in dark.values()
    assert style.DARK[figures.VERMILION] not in changes and shade(figures.VERMILION, "word", True) in changes.values()


@pytest.mark.parametrize("kind", ["plot", "scatter"])
def test_thousands_of_markers_are_an_image(kind: str) -> None:
    def drawing(count: int) -> str:
        figure = Figure()
        axes = figure.add_subplot()
        where = np.linspace(0, 1, count)
        axes.plot(where, where, ".", color=figures.BLUE) if kind == "plot" else axes.scatter(where, where, s=3)
        return figures.to_svg(figure)

    assert not pictures_in(drawing(1000)) and drawing(1000).count("<use") > 1000
    assert pictures_in(drawing(20_000)) and len(drawing(20_000)) < 100_000


@pytest.mark.parametrize("name", EVERY_KIND)
def test_the_same_figure_is_the_same_file_and_nothing_in_it_is_missing(name: str) -> None:
    drawn = figures.to_svg(EVERY_KIND[name]())
    assert drawn == figures.to_svg(EVERY_KIND[name]())
    defined = re.findall(r' id="([^"]+)"', drawn)
    needed = set(re.findall(r"url\(#([^)]+)\)", drawn)) | set(re.findall(r'href="#([^"]+)"', drawn))
    assert needed == set(defined) and len(set(defined)) == len(defined)
    classes = {name for name, _ in SHADES.findall(drawn)}
    assert set(re.findall(r' class="([^"]+)"', drawn)) == classes


def test_words_are_outlines_that_no_font_can_change() -> None:
    drawn = figures.to_svg(figures.open_loop(CART))
    assert "<text" not in drawn and "font" not in drawn


# --- Files, notebooks, and what belongs to the user -------------------------------------------------------------------


def test_the_png_carries_its_alternative_text(tmp_path: Path) -> None:
    figure = figures.open_loop(CART)
    path = figures.save(figure, tmp_path / "new" / "figure.png")
    with Image.open(path) as picture:
        assert picture.info["Description"] == figures.alt_text(figure) != ""
        assert picture.width == 1050
    figures.save(figure, path, alt="Другое – ±")
    with Image.open(path) as picture:
        assert picture.info["Description"] == "Другое – ±"


def test_figures_without_alternative_text_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no alternative text"):
        figures.save(Figure(), tmp_path / "figure.png")
    figures.save(Figure(), tmp_path / "figure.png", alt="Nothing.")
    with pytest.raises(InputError, match=r"ends in \.png"):
        figures.save(Figure(), tmp_path / "figure.svg", alt="Nothing.")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="choose another place"):
        figures.save(Figure(), tmp_path / "file" / "figure.png", alt="Nothing.")


def test_a_notebook_shows_a_figure_at_book_width_with_its_alternative_text() -> None:
    figure = figures.return_curve(EPISODES)
    data, metadata = figure._repr_mimebundle_(include=None, exclude=None)
    assert data["image/png"].startswith(b"\x89PNG")
    assert metadata["image/png"] == {"width": 700, "alt": figure.alt}


def test_the_users_settings_are_neither_changed_nor_followed(tmp_path: Path) -> None:
    def draw(name: str) -> bytes:
        drawn = (figures.open_loop(by_hand()), figures.still(CART, 3), figures.seed_curves({0: ([1, 2], [5, 6])}))
        return b"".join(figures.save(figure, tmp_path / name).read_bytes() for figure in drawn)

    plain = draw("plain.png")
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 30.0, "axes.titlepad": 40.0, "savefig.dpi": 30}):
        before = dict.copy(mpl.rcParams)  # as it is: asking for the backend would choose one
        assert draw("other.png") == plain
        assert dict.copy(mpl.rcParams) == before


# --- Numbers at the edge, and classes ---------------------------------------------------------------------------------


def dreamed(obs: Array, predicted: Array, tmp_path: Path) -> tuple[Dream, Any]:
    rows = len(obs)
    zeros, ones = np.zeros(rows, np.float32), np.ones(rows, np.float32)
    dream = Dream(obs, predicted, zeros, zeros, ones, ones, 2, "World-v0")
    figure = figures.open_loop(dream)
    figure.savefig(tmp_path / "open_loop.png")
    figures.film(dream, tmp_path / "film.gif")
    return dream, figure


@pytest.mark.parametrize("size", [1e19, 1e38])
def test_observations_of_any_size_can_be_drawn(size: float, tmp_path: Path) -> None:
    obs = size * np.array([[0.0, 1.0], [1.0, 0.5], [-1.0, 1.0], [0.5, 0.0]], np.float32)
    dream, _ = dreamed(obs, np.zeros_like(obs), tmp_path)
    assert dream.model_error[0] == pytest.approx(size / np.sqrt(2))


def test_a_class_is_drawn_as_one_and_not_as_as_many_curves(tmp_path: Path) -> None:
    told, guessed = [3, 7, 7, 15, 2], [3, 7, 6, 15, 4]
    dream, figure = dreamed(np.eye(16, dtype=np.float32)[told], 0.2 / 16 + 0.8 * np.eye(16)[guessed], tmp_path)
    assert dream.is_class
    first = next(axes for axes in figure.axes if "observation (class)" in (axes.get_title(), axes.get_title("left")))
    lines = {line.get_label(): line.get_ydata() for line in first.lines}
    assert list(lines["truth"]) == told and list(lines["model"]) == guessed
    assert not any("entry" in axes.get_title() + axes.get_title("left") for axes in figure.axes)
    assert "left out" not in figure.legends[0].get_title().get_text()


# --- A film on a dark page --------------------------------------------------------------------------------------------


def gif_of(*boxes: tuple[tuple[int, int, int, int], str]) -> bytes:
    """A film of 300 by 200 pixels: two frames of paper, the second with filled rectangles."""
    first = Image.new("RGB", (300, 200), figures.PAPER)
    last = first.copy()
    for box, color in boxes:
        last.paste(color, box)
    file = BytesIO()
    first.save(file, "GIF", save_all=True, append_images=[last])
    return file.getvalue()


def test_on_a_dark_page_a_film_keeps_its_pictures_and_its_night_but_not_what_is_drawn_by_day() -> None:
    camera, night, day = (10, 20, 90, 120), (110, 20, 190, 120), (210, 20, 290, 120)
    gif = gif_of((camera, "#AA3311"), (night, figures.EYES_CLOSED.sky), (day, figures.REALITY.sky))
    assert kept(gif) == [camera, night]
    assert kept(gif_of(((10, 20, 59, 120), "#AA3311"))) == []  # too narrow: a bar, a line
    assert kept(gif_of(((10, 10, 130, 70), "#AA3311"), ((10, 10, 70, 190), "#AA3311"))) == []  # no rectangle


def test_what_turns_dark_is_all_of_a_film_but_these_pictures() -> None:
    path = figures.turned(gif_of(((30, 20, 90, 120), "#AA3311")))
    assert path.startswith("polygon(evenodd,0% 0%,100% 0%,100% 100%,0% 100%,0% 0%")
    assert "10% 10%,30% 10%,30% 60%,10% 60%,10% 10%" in path
