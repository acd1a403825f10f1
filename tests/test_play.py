"""The player in the browser computes what the package computes, and its worlds are the worlds.

Its JavaScript runs here in Node, where there is one, and in Chromium with `make browser` (book/tests).
"""

import base64
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import numpy as np
import pytest
import torch
from safetensors.torch import load

from wm_tutorial import Agent, worlds
from wm_tutorial.config import make_config
from wm_tutorial.data import Spaces
from wm_tutorial.errors import InputError
from wm_tutorial.play import PLAYABLE, export, page, weights
from wm_tutorial.play.whole import HERE

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="There is no Node here; `make browser` tests it in Chromium.")

CART_POLE = Spaces("vector", (4,), "discrete", 2, (0.0,), (1.0,))
CATCH = Spaces("image", (16, 16, 3), "discrete", 3, (0.0,), (2.0,))
AGENTS = {
    "feed-forward, Gaussian, layer norm": (CART_POLE, make_config("guide")),
    "block GRU, categorical, two-hot, RMS norm": (CART_POLE, make_config("dreamer_v3", "nano")),
    "GRU, Gaussian, continuous": (
        Spaces("vector", (3,), "continuous", 2, (-1.0, -1.0), (1.0, 1.0)), make_config("dreamer_v1", "nano"),
    ),
    "GRU, categorical, squared errors": (CART_POLE, make_config("dreamer_v2", "nano")),
    "pictures with a memory": (CATCH, make_config("dreamer_v3", "nano", latent_size=8)),
    "pictures of odd sizes": (Spaces("image", (18, 17, 2), "discrete", 3, (0.0,), (2.0,)), make_config("guide")),
    "classes": (Spaces("discrete", (5,), "discrete", 2, (0.0,), (1.0,)), make_config("dreamer_v3", "nano")),
}  # fmt: skip


def run(script: str, given: Any, folder: Path, *files: str) -> Any:
    """What a script returns in Node, after the player's files; `given` is what it may read under that name."""
    assert NODE is not None
    (folder / "given.json").write_text(json.dumps(given))
    sources = "\n".join((HERE / f"{name}.js").read_text().replace('"use strict";', "") for name in files)
    path = folder / "script.js"
    path.write_text(f'const given = JSON.parse(require("fs").readFileSync(process.argv[2]));\n{sources}\n{script}')
    done = subprocess.run([NODE, path, folder / "given.json"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def recorded() -> Iterator[dict[str, list[float]]]:
    """All random numbers that the package draws, in order."""
    drawn: dict[str, list[float]] = {"uniform": [], "normal": []}
    uniform, normal = torch.rand_like, torch.randn_like

    def keep(kind: str, numbers: torch.Tensor) -> torch.Tensor:
        drawn[kind] += numbers.flatten().tolist()
        return numbers

    with (
        patch.object(torch, "rand_like", lambda x: keep("uniform", uniform(x))),
        patch.object(torch, "randn_like", lambda x: keep("normal", normal(x))),
    ):
        yield drawn


def made(spaces: Spaces, config: Any) -> Agent:
    """An agent that has an opinion of everything: no layer is left at zero."""
    torch.manual_seed(0)
    agent = Agent(spaces, config)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        if config.heads == "two-hot":  # its bins reach to e^20, where float32 has no digits left for a mean of all
            head = agent.world_model.reward_head
            head.net[-1].bias[head.bins.abs() > 100.0] = -40.0  # type: ignore[index, operator, union-attr]
    return agent


def some(spaces: Spaces, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An observation, and an action as the network sees it."""
    obs: np.ndarray = 2 * rng.normal(size=spaces.obs_shape).astype(np.float32)
    if spaces.obs_kind == "image":
        obs = rng.integers(0, 256, spaces.obs_shape).astype(np.uint8)
    if spaces.obs_kind == "discrete":
        obs = np.eye(spaces.obs_shape[0], dtype=np.float32)[rng.integers(spaces.obs_shape[0])]
    if spaces.action_kind == "continuous":
        return obs, 1.5 * rng.normal(size=spaces.action_size).astype(np.float32)  # beyond the bounds, too
    return obs, np.eye(spaces.action_size, dtype=np.float32)[rng.integers(spaces.action_size)]


def life(agent: Agent, rows: int = 100) -> tuple[dict[str, Any], list[list[float]]]:
    """What the player is given, and what it must answer: eyes open and closed, over three episodes."""
    rng, model, steps, answers = np.random.default_rng(0), agent.world_model, [], []
    torch.manual_seed(1)
    state = model.dynamics.initial(1)
    with recorded() as drawn, torch.no_grad():
        for t in range(rows):
            obs, action = some(agent.spaces, rng)
            first, opened = t % 40 == 0, t % 20 < 8
            taken = torch.from_numpy(action)[None]
            if opened:
                embedding = model.encoder(torch.from_numpy(obs)[None])
                state = model.dynamics.step(state, taken, torch.tensor([first]), embedding)
            else:
                state = model.imagine(state, taken)
            feature = state.feature
            policy = agent.behaviour.actor(feature)
            said = model.decode(feature).mean, model.reward(feature).mean, model.continues(feature).mean
            numbers = *said, policy.mode, policy.sample(), feature
            answers.append(torch.cat([x.flatten() for x in numbers]).tolist())
            steps.append({"obs": obs.flatten().tolist(), "action": action.tolist(), "first": first, "open": opened})
    return {"steps": steps, "drawn": drawn}, answers


LIVE = """
const file = Uint8Array.from(atob(given.file), (letter) => letter.charCodeAt(0)).buffer;
const agent = WorldModel.load(file), { uniform, normal } = given.drawn;
agent.uniform = () => uniform.shift();
agent.normal = () => normal.shift();
let state = agent.initial();
const answers = given.steps.map(({ obs, action, first, open }) => {
  state = open ? agent.infer(state, action, first, obs) : agent.imagine(state, action);
  return [...agent.decode(state), agent.reward(state), agent.continues(state), ...agent.act(state, true),
    ...agent.act(state, false), ...agent.feature(state)];
});
console.log(JSON.stringify({ answers, left: uniform.length + normal.length }));
"""


@needs_node
@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_the_player_computes_what_the_package_computes(kind: str, half: bool, tmp_path: Path) -> None:
    agent = made(*AGENTS[kind])
    if half:
        with torch.no_grad():
            for tensor in agent.state_dict().values():
                tensor.copy_(tensor.half())
    given, answers = life(agent)
    given["file"] = base64.b64encode(weights(agent, half)).decode()
    got = run(LIVE, given, tmp_path, "model")
    assert got["left"] == 0  # as many draws, in the same order
    np.testing.assert_allclose(got["answers"], answers, rtol=1e-4, atol=1e-4)


@needs_node
def test_the_cart_of_the_player_is_that_of_gymnasium(tmp_path: Path) -> None:
    env, rng, episodes = gym.make("CartPole-v1"), np.random.default_rng(0), []
    for seed in range(20):
        env.reset(seed=seed)
        rows, actions, over = [list(map(float, env.unwrapped.state))], [], False  # type: ignore[attr-defined]
        while not over:
            actions.append(int(rng.integers(2)))
            _, _, over, _, _ = env.step(actions[-1])
            rows.append(list(map(float, env.unwrapped.state)))  # type: ignore[attr-defined]
        episodes.append({"rows": rows, "actions": actions})
    got = run(
        """
        const { World } = Worlds["CartPole-v1"];
        console.log(JSON.stringify(given.map(({ rows, actions }) => {
          const world = new World();
          world.reset();
          world.state = rows[0];
          return actions.map((action) => { const { obs, over } = world.step(action); return [...obs, Number(over)]; });
        })));""",
        episodes, tmp_path, "worlds",
    )  # fmt: skip
    for episode, found in zip(episodes, got, strict=True):
        np.testing.assert_allclose([row[:4] for row in found], episode["rows"][1:], rtol=0, atol=1e-9)
        assert [row[4] for row in found] == [0] * (len(found) - 1) + [1]


@needs_node
def test_the_game_of_the_player_is_that_of_the_package(tmp_path: Path) -> None:
    env, rng = worlds.CatchInTheDark(), np.random.default_rng(0)
    balls, actions = [], [int(a) for a in rng.integers(3, size=80)]
    pictures, rewards = [env.reset(seed=0)[0]], []
    balls.append((env.column, env.velocity))
    for action in actions:
        obs, reward, *_ = env.step(np.int64(action))
        pictures.append(obs)
        rewards.append(reward)
        if env.row == 0:
            balls.append((env.column, env.velocity))
    draws = [share for column, velocity in balls for share in ((column + 0.5) / 7, (velocity + 1.5) / 3)]
    got = run(
        """
        const { World } = Worlds["wm_tutorial/CatchInTheDark-v0"], world = new World(() => given.draws.shift());
        const pictures = [[...world.reset()]], rewards = [];
        let over = false;
        for (const action of given.actions) {
          const step = world.step(action);
          pictures.push([...step.obs]);
          rewards.push(step.reward);
          over = step.over;
        }
        console.log(JSON.stringify({ pictures, rewards, over }));""",
        {"draws": draws, "actions": actions}, tmp_path, "worlds",
    )  # fmt: skip
    np.testing.assert_array_equal(got["pictures"], np.reshape(pictures, (81, -1)))
    assert got["rewards"] == rewards
    assert sum(rewards) > 0
    assert got["over"] is True


def test_a_page_is_whole_and_holds_the_agent(tmp_path: Path) -> None:
    agent = made(CART_POLE, make_config("guide"))
    text = page(agent)
    assert "://" not in re.sub(r"http://www\.w3\.org/\S+", "", text)  # nothing is loaded from elsewhere
    assert "src=" not in text
    assert "$" not in re.sub(r"<script>.*</script>", "", text, flags=re.S)
    file = re.search(r'const FILES = \{"the agent": "([^"]+)"\}', text)
    assert file is not None
    held = load(base64.b64decode(file[1]))
    for name, tensor in held.items():
        assert torch.equal(tensor, agent.state_dict()[name].half())
    assert not any("critic" in name for name in held)
    assert "world_model.encoder.net.0.0.weight" in held
    assert len(text) < 200_000


def test_a_page_of_several_agents_lets_one_choose() -> None:
    agent = made(CART_POLE, make_config("guide"))
    text = page({"sound": agent, "</script> & <b>": agent})
    assert "<option>sound</option><option>&lt;/script&gt; &amp; &lt;b&gt;</option>" in text
    assert text.count("</script>") == 1


@pytest.mark.parametrize("name", ["dream.html", "dream.safetensors"])
def test_export_writes_what_was_asked_for(name: str, tmp_path: Path) -> None:
    agent = made(CART_POLE, make_config("guide"))
    saved = agent.save(tmp_path / "agent.safetensors")
    out = export(saved, tmp_path / "new" / name)
    assert out == tmp_path / "new" / name
    expected = page(agent).encode() if name.endswith("html") else weights(agent, half=True)
    assert out.read_bytes() == expected
    full = export(saved, tmp_path / "full.safetensors", half=False)
    assert full.stat().st_size > 1.8 * len(weights(agent, half=True))


def test_what_cannot_be_played_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    pendulum = Agent(Spaces("vector", (3,), "continuous", 1, (-2.0,), (2.0,)), make_config("guide"))
    cart = made(CART_POLE, make_config("guide"))
    with pytest.raises(InputError, match=r"continuous.*CartPole-v1, wm_tutorial/CatchInTheDark-v0 can"):
        page(pendulum)
    with pytest.raises(InputError, match="give agents of one"):
        page({"a": cart, "b": made(CATCH, make_config("guide"))})
    with pytest.raises(InputError, match="no world"):
        page({})
    with pytest.raises(InputError, match=r"ends in \.html"):
        export(cart.save(tmp_path / "agent.safetensors"), tmp_path / "dream.gif")
    assert {path.name for path in tmp_path.iterdir()} == {"agent.safetensors"}


def test_every_world_of_the_page_is_one_of_the_player() -> None:
    source = (HERE / "worlds.js").read_text()
    for name, world in PLAYABLE.items():
        assert f'"{name}": {{ World:' in source
        env = gym.make(name)
        _, shape, actions, kind = world.spaces
        assert env.observation_space.shape == shape
        assert kind == "discrete"
        assert isinstance(env.action_space, gym.spaces.Discrete)
        assert env.action_space.n == actions


def test_numbers_of_the_file_are_finite_and_told(tmp_path: Path) -> None:
    content = weights(made(CATCH, make_config("dreamer_v3", "nano")), half=True)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(io.BytesIO(content[8 : 8 + length]).read())
    told = json.loads(header.pop("__metadata__")["wm_tutorial"])
    assert told["spaces"]["obs_shape"] == [16, 16, 3]
    assert told["config"]["latent"] == "categorical"
    assert {entry["dtype"] for entry in header.values()} == {"F16"}
    assert all(tensor.isfinite().all() for tensor in load(content).values())
