"""A film of the real environment shows what an agent does there, picture by picture, and can be made again."""

import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image
from scripted import Scripted, Seeded, tiny, tree

from wm_tutorial import Agent, figures
from wm_tutorial.envs import EnvSource
from wm_tutorial.errors import EnvironmentFailure, InputError, OutputError
from wm_tutorial.evaluation import evaluate
from wm_tutorial.runs.film import film
from wm_tutorial.spaces import describe


class Drawn(Seeded):
    """Draws where it is: a row for each step of the episode, of the colour of its last action, on grey."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 (Gymnasium's own type)
    shape: tuple[int, ...] = (12, 8, 3)

    def __init__(self, render_mode: str | None = "rgb_array") -> None:
        super().__init__()
        self.render_mode = render_mode
        self.canvas = np.full(self.shape, 100, np.uint8)

    def reset(self, **options: Any) -> Any:
        self.canvas[:] = 100
        return super().reset(**options)

    def step(self, action: Any) -> Any:
        returned = super().step(action)
        self.canvas[self.moment - 1] = (200, 40, 0) if action else (0, 40, 200)
        return returned

    def render(self) -> Any:
        return self.canvas  # always the same memory


def agent_for(source: EnvSource) -> Agent:
    env = gym.make(source) if isinstance(source, str) else source()
    return Agent(describe(env.observation_space, env.action_space), tiny()).eval()


def pictures(path: Path) -> tuple[list[Any], list[int]]:
    """The pictures of a GIF, and for how many milliseconds each is shown."""
    shown, durations = [], []
    with Image.open(path) as gif:
        for i in range(gif.n_frames):  # type: ignore[attr-defined]
            gif.seek(i)
            shown.append(np.asarray(gif.convert("RGB")))
            durations.append(gif.info["duration"])
    return shown, durations


def test_a_film_shows_every_step_of_every_episode_in_its_time(tmp_path: Path) -> None:
    agent = agent_for(Drawn)
    made = film(agent, Drawn, tmp_path / "new" / "a.gif", episodes=3, seed=4)
    shown, durations = pictures(tmp_path / "new" / "a.gif")
    painted = [int((picture != 100).any(axis=(1, 2)).sum()) for picture in shown]
    assert painted == [row for length in made.lengths for row in range(length + 1)]
    assert durations == [1000 if row == length else 200 for length in made.lengths for row in range(length + 1)]
    assert {tuple(color) for picture in shown for color in picture.reshape(-1, 3)} <= {
        (100, 100, 100), (200, 40, 0), (0, 40, 200),
    }  # fmt: skip
    assert made.cut == 0 and f"a.gif: 3 episodes, return {made.returns[0]:.4g}, " in str(made)


def test_the_film_of_a_seed_is_that_of_its_evaluation_and_the_same_again(tmp_path: Path) -> None:
    agent = agent_for(Drawn)
    made = film(agent, Drawn, tmp_path / "a.gif", episodes=4, seed=3)
    evaluation = evaluate(agent, Drawn, 4, 3)
    assert sorted(made.lengths) == sorted(evaluation.lengths)
    np.testing.assert_allclose(sorted(made.returns), sorted(evaluation.returns), rtol=1e-6)
    film(agent, Drawn, tmp_path / "b.gif", episodes=4, seed=3)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    assert film(agent, Drawn, tmp_path / "c.gif", episodes=4, seed=5).returns != made.returns


def test_sampled_actions_are_others_than_greedy_ones_and_repeat_themselves(tmp_path: Path) -> None:
    agent = agent_for(Drawn)
    files = [tmp_path / f"{i}.gif" for i in range(3)]
    for path, greedy in zip(files, (True, False, False), strict=True):
        film(agent, Drawn, path, episodes=5, greedy=greedy)
    greedy, one, other = (path.read_bytes() for path in files)
    assert one == other != greedy


def test_an_id_is_asked_for_pictures(tmp_path: Path) -> None:
    source = "wm_tutorial/CatchInTheDark-v0"
    made = film(agent_for(source), source, tmp_path / "a.gif")
    shown, durations = pictures(tmp_path / "a.gif")
    assert shown[0].shape == (256, 256, 3) and sum(durations) == 1000 + 170 * made.lengths[0]  # six a second


def test_a_long_episode_is_cut(tmp_path: Path) -> None:
    class Long(Drawn):
        shape = (60, 2, 3)

        def reset(self, **options: Any) -> Any:
            returned = super().reset(**options)
            self.length = 50
            return returned

    made = film(agent_for(Long), Long, tmp_path / "a.gif", steps=7)
    assert made.lengths == (7,) and made.cut == 1 and str(made).endswith("; 1 of them cut")
    assert len(pictures(tmp_path / "a.gif")[0]) == 8


# --- What cannot be filmed --------------------------------------------------------------------------------------------


def mute() -> gym.Env[Any, Any]:
    return Drawn(render_mode=None)


class Failing(Drawn):
    def render(self) -> Any:
        raise ModuleNotFoundError("No module named 'pygame'")


class Odd(Drawn):
    def render(self) -> Any:
        return self.canvas[..., 0] / 255


class Growing(Drawn):
    def render(self) -> Any:
        return np.zeros((5 + self.moment, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("source", "kind", "expected"),
    [
        ("wm_tutorial/Corridor-v0", InputError, "Corridor-v0 does not draw itself: its render modes are none"),
        (mute, InputError, "has render_mode None, and a film needs 'rgb_array'"),
        (Failing, EnvironmentFailure, "ModuleNotFoundError when it was to draw itself: No module named 'pygame'."),
        (Odd, EnvironmentFailure, "drew float64 of shape (12, 8); a film needs uint8"),
        (Growing, EnvironmentFailure, "shape (6, 4, 3) after those of shape (5, 4, 3)"),
    ],
)
def test_an_environment_that_cannot_be_filmed_is_one_error_and_no_file(
    source: EnvSource, kind: type[Exception], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=re.escape(expected)):
        film(agent_for(source), source, tmp_path / "a.gif")
    assert not tree(tmp_path)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"path": "a.avi"}, "'a.avi'; give a name that ends in .gif or .mp4"),
        ({"path": ""}, "The path is ''"),
        ({"episodes": 0}, "episodes is 0"),
        ({"episodes": 101}, "episodes is 101; a film has at most 100"),
        ({"steps": 0}, "steps is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"greedy": "no"}, "greedy is 'no'"),
    ],
)
def test_films_nobody_can_make(asked: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(expected)):
        film(agent_for(Drawn), Drawn, **{"path": tmp_path / "a.gif", **asked})


def test_an_agent_of_another_environment_is_not_filmed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="made for vector observations"):
        film(agent_for(Scripted), Drawn, tmp_path / "a.gif")


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am no folder")
    with pytest.raises(OutputError, match="cannot be written"):
        film(agent_for(Drawn), Drawn, tmp_path / "file" / "a.gif")


# --- MP4 --------------------------------------------------------------------------------------------------------------


def test_without_its_library_an_mp4_is_refused_before_anything_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    played: list[Callable[[], Any]] = []
    with pytest.raises(InputError, match=re.escape('pip install "wm_tutorial[film]". A name that ends in .gif')):
        film(agent_for(Drawn), lambda: played.append(Drawn) or Drawn(), tmp_path / "a.mp4")  # type: ignore[func-returns-value]
    assert not played


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its library leaves pipes open
def test_an_mp4_has_the_pictures_in_their_time(tmp_path: Path) -> None:
    library = pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed: no MP4 to try")
    frames = [(np.full((33, 48, 3), shade, np.uint8), seconds) for shade, seconds in ((0, 0.2), (250, 0.2), (120, 1.0))]
    figures.recording(iter(frames), tmp_path / "a.mp4")
    reader = library.read_frames(str(tmp_path / "a.mp4"))
    told = next(reader)
    shades = [np.frombuffer(frame, np.uint8).mean() for frame in reader]
    del reader
    gc.collect()
    assert told["size"] == (48, 32) and told["fps"] == 5.0  # even numbers of lines only
    np.testing.assert_allclose(shades, [0, 250, *[120] * 5], atol=6)


def test_a_film_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frames"):
        figures.recording([], tmp_path / "a.gif")


def test_a_gif_is_no_quicker_than_browsers_are(tmp_path: Path) -> None:
    frames = [(np.full((4, 4, 3), shade, np.uint8), 1 / 200) for shade in (0, 90, 180)]
    assert pictures(figures.recording(frames, tmp_path / "a.gif"))[1] == [20, 20, 20]
