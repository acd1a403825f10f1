"""The stages of World Models 2018: resumed, refused, and used as every other run."""

import dataclasses
import json
import re
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_tutorial import train_in_stages
from wm_tutorial.cli import WorldModels2018, command_line
from wm_tutorial.data import Row
from wm_tutorial.envs import Environments
from wm_tutorial.errors import CheckpointError, InputError
from wm_tutorial.runs.dream import live
from wm_tutorial.runs.run import Run
from wm_tutorial.runs.staged import StagedRun, open_run
from wm_tutorial.world_models_2018 import STAGES, Agent, RealWorld, Stages, make_settings, play

ENV = "wm_tutorial/Rockfall-v0"
TINY: dict[str, Any] = {
    "rows": 200, "envs": 2, "sequence_length": 8, "latent_size": 3, "memory_size": 5, "hidden": 8, "conv_depth": 2,
    "vision_updates": 6, "vision_batch": 8, "memory_updates": 6, "memory_batch": 4, "generations": 3, "population": 4,
    "episodes": 2, "limit": 12, "save_every": 3,
}  # fmt: skip


def quiet(line: str) -> None:
    """Say nothing."""


def stages(folder: Path, **options: Any) -> Stages:
    folder.mkdir(exist_ok=True)
    return Stages(ENV, make_settings(**{**TINY, **options}), folder, quiet)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> StagedRun:
    pytest.importorskip("cma")
    return train_in_stages(ENV, tmp_path_factory.mktemp("finished") / "run", **TINY)


@pytest.fixture
def agent() -> Agent:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Agent(stages_spaces(), make_settings(**TINY))
        made.controller.take(np.random.default_rng(0).standard_normal(made.controller.weight.numel()))
        return made


def stages_spaces() -> Any:
    from wm_tutorial.spaces import describe

    env = gym.make(ENV)
    return describe(env.observation_space, env.action_space)


# --- One stage after another ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_without_the_one_before_it_is_one_clear_error(stage: Any, tmp_path: Path) -> None:
    before = STAGES[STAGES.index(stage) - 1]
    with pytest.raises(InputError, match=rf"^Stage {stage} needs stage {before}, which is not finished in "):
        stages(tmp_path).run((stage,))
    assert not list(tmp_path.glob("*.pt"))


@pytest.mark.parametrize("stage", ["vision", "memory"])
def test_a_stage_that_was_stopped_half_way_is_not_finished(stage: Any, tmp_path: Path) -> None:
    after = STAGES[STAGES.index(stage) + 1]
    running = stages(tmp_path)
    running.run(STAGES[: STAGES.index(stage)])
    stop_at_the_first_save(running)
    with pytest.raises(KeyboardInterrupt):
        running.run((stage,))
    with pytest.raises(InputError, match=f"Stage {after} needs stage {stage}, which is not finished"):
        stages(tmp_path).run((after,))


def test_a_candidate_is_judged_by_its_own_episodes(
    finished: StagedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An episode pays ten times the first weight of who played it, and every second one 1 more."""
    shutil.copytree(finished.path, tmp_path / "run")
    (tmp_path / "run" / "controller.pt").unlink()
    candidates: list[torch.Tensor] = []

    def play_nothing(world: Any, controllers: torch.Tensor, *rest: Any) -> torch.Tensor:
        first = controllers[:, 0, 0]
        candidates.append(first[::2])
        return 10.0 * first + torch.arange(len(first)) % 2

    monkeypatch.setattr("wm_tutorial.world_models_2018.stages.play", play_nothing)
    stages(tmp_path / "run").run(("controller",))
    scores = torch.load(tmp_path / "run" / "controller.pt")["scores"]
    assert len(scores) == len(candidates) == TINY["generations"]
    for given, weights in zip(scores, candidates, strict=True):
        assert given.tolist() == pytest.approx((10.0 * weights + 0.5).tolist(), abs=1e-5)


def stop_at_the_first_save(running: Stages) -> None:
    def tell(line: str) -> None:
        raise KeyboardInterrupt

    running.tell = tell


def test_a_run_that_is_stopped_in_every_stage_ends_bit_for_bit_as_one_that_is_not(
    finished: StagedRun, tmp_path: Path
) -> None:
    for _ in range(6):
        running = stages(tmp_path)
        stop_at_the_first_save(running)
        with pytest.raises(KeyboardInterrupt):
            running.run()
    agent = stages(tmp_path).run()
    for name, tensor in finished.agent.state_dict().items():
        assert torch.equal(tensor, agent.state_dict()[name]), name


def test_what_is_finished_is_not_done_again(tmp_path: Path) -> None:
    stages(tmp_path).run(("experience", "vision"))
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")}
    told: list[str] = []
    running = stages(tmp_path)
    running.tell = told.append
    running.run(("experience", "vision"))
    assert before == {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")} and not told


def test_each_stage_says_how_far_it_is(tmp_path: Path) -> None:
    told: list[str] = []
    running = stages(tmp_path)
    running.tell = told.append
    running.run(("experience", "vision", "memory"))
    assert [line.partition(",")[0] for line in told] == [
        "experience: 200 rows of random play are recorded", "vision: 3 of 6 updates", "vision: 6 of 6 updates",
        "memory: 3 of 6 updates", "memory: 6 of 6 updates",
    ]  # fmt: skip


def test_m_may_stay_untrained(tmp_path: Path) -> None:
    running = stages(tmp_path, memory_updates=0)
    born = {name: tensor.clone() for name, tensor in running.agent.memory.state_dict().items()}
    running.run(("experience", "vision", "memory"))
    kept = stages(tmp_path, memory_updates=0)
    kept._take("memory")
    for name, tensor in kept.agent.memory.state_dict().items():
        assert torch.equal(tensor, born[name])


def test_learning_the_dream_does_not_touch_the_random_numbers_of_others(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    stages(tmp_path).run(("experience", "vision", "memory"))
    assert torch.equal(torch.rand(1), expected)


def test_other_settings_are_refused_before_anything_is_lost(tmp_path: Path) -> None:
    train_in_stages(ENV, tmp_path / "run", ("experience", "vision"), **TINY)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(InputError, match=r"latent_size is 4, and stage vision in .* was made with 3"):
        train_in_stages(ENV, tmp_path / "run", **{**TINY, "latent_size": 4})
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    again = train_in_stages(ENV, tmp_path / "run", ("vision",), **{**TINY, "temperature": 1.3})  # a later stage's
    assert again.agent.settings.temperature == 1.3


def test_v_was_trained_on_what_was_recorded(tmp_path: Path) -> None:
    running = stages(tmp_path)
    running.run(("experience", "vision"))
    replay = running.experience()
    assert len(replay) == 200 and replay.columns["obs"].max() == 255
    mean, logvar = running.codes()
    row = torch.from_numpy(replay.columns["obs"][1, 17:18])
    code = running.agent.vision.encode(row)
    torch.testing.assert_close(mean[1, 17], code.mean[0].detach())
    torch.testing.assert_close(logvar[1, 17], code.logvar[0].detach())


# --- What cannot be used ----------------------------------------------------------------------------------------------


def test_an_environment_without_pictures_is_told_before_anything_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"V learns to see pictures, and this environment has vector obs"):
        train_in_stages("CartPole-v1", tmp_path / "run", **TINY)
    assert not list(tmp_path.glob("run/*.pt"))


@pytest.mark.parametrize("wrong", [("sight",), ()])
def test_stages_that_are_none_are_told(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give some of experience, vision, memory, controller"):
        train_in_stages(ENV, tmp_path, wrong, **TINY)


def test_the_folder_of_another_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"mine": 1}')
    with pytest.raises(InputError, match=r"holds config\.json, which no run of this package has left there"):
        train_in_stages(ENV, tmp_path, **TINY)
    assert (tmp_path / "config.json").read_text() == '{"mine": 1}'


def test_a_run_without_a_controller_cannot_be_opened_yet(tmp_path: Path) -> None:
    train_in_stages(ENV, tmp_path / "run", ("experience",), **TINY)
    with pytest.raises(CheckpointError, match=r"has no controller yet\. Give the command that began it once more"):
        open_run(tmp_path / "run")


def test_a_file_of_another_stage_is_told(tmp_path: Path) -> None:
    running = stages(tmp_path)
    running.run(("experience", "vision"))
    (tmp_path / "memory.pt").write_bytes((tmp_path / "vision.pt").read_bytes())
    with pytest.raises(CheckpointError, match=r"memory\.pt was not left by stage memory"):
        stages(tmp_path).run(("memory",))


# --- The agent --------------------------------------------------------------------------------------------------------


def test_c_sees_h_of_its_own_row(agent: Agent) -> None:
    """The memory of a row has been told the z and the action of the row before, and nothing of this one."""
    rng = np.random.default_rng(0)
    nothing, begins = np.zeros(1, bool), np.ones(1, bool)

    def row(first: Any) -> Row:
        return Row(rng.integers(0, 256, (1, 16, 16, 3), np.uint8), np.zeros(1, np.float32), first, nothing, nothing)

    carry = agent.policy(row(begins), agent.initial(1), greedy=True)
    assert not carry.state.memory.any()
    after = agent.policy(row(nothing), carry, greedy=True)
    expected = agent.memory.step(carry.state.memory, carry.state.latent, carry.action)
    torch.testing.assert_close(after.state.memory, expected.detach())
    seen = torch.cat([after.state.latent, after.state.memory[:, : agent.memory.memory_size]], -1)[0]
    scores = agent.controller.weight[:, :-1] @ seen + agent.controller.weight[:, -1]
    assert after.action.argmax() == scores.argmax()
    anew = agent.policy(row(begins), after, greedy=True)
    assert not anew.state.memory.any()  # an episode begins: what was carried is forgotten
    agent.controller.weight[:, : agent.settings.latent_size] = agent.controller.weight[:, -1:] = 0.0  # h alone decides
    for _ in range(20):  # one action may be right by chance
        anew = agent.policy(row(nothing), anew, greedy=True)
        torch.testing.assert_close(anew.action, agent.controller(anew.state))


def test_where_c_is_evolved_in_reality_h_knows_the_action_that_led_there(agent: Agent) -> None:
    with closing(Environments(ENV, 3, (0,))) as environments:
        world = RealWorld(agent.vision, agent.memory, environments, (0,))
        begun = world.begin(3, 0)
        assert not begun.memory.any()
        for _ in range(2):
            action = torch.eye(3)
            state, _, _ = world.step(action)
            torch.testing.assert_close(state.memory, agent.memory.step(begun.memory, begun.latent, action).detach())
            begun = state


def test_the_agent_acts_as_every_other_one(agent: Agent, tmp_path: Path) -> None:
    loaded = Agent.load(agent.save(tmp_path / "mine.safetensors"))
    env = gym.make(ENV)
    obs, _ = env.reset(seed=0)
    carry, carry_of_loaded = None, None
    for _ in range(5):
        action, carry = agent.act(obs, carry)
        again, carry_of_loaded = loaded.act(obs, carry_of_loaded)
        assert action == again and env.action_space.contains(action)
        obs, *_ = env.step(action)
    two, _ = agent.act(np.stack([obs, obs]))
    assert two.shape == (2,)
    with pytest.raises(InputError, match="carry is that of shapes"):
        agent.act(np.stack([obs, obs]), carry)
    with pytest.raises(InputError, match="act was given an observation of shape"):
        agent.act(obs[:8])


def test_predictions_do_not_depend_on_what_was_not_seen(agent: Agent) -> None:
    batch = live(agent, ENV, 12, seed=0)
    changed = dataclasses.replace(batch, obs=batch.obs.clone())
    changed.obs[:, 5:] = 255
    predicted = []
    for one in (batch, changed):
        torch.manual_seed(0)
        predicted.append(agent.open_loop(one, 5))
    torch.testing.assert_close(predicted[0].obs, predicted[1].obs)
    torch.testing.assert_close(predicted[0].reward, predicted[1].reward)
    changed.obs[:, 4] = 255
    torch.manual_seed(0)
    assert not torch.equal(agent.open_loop(changed, 5).obs, predicted[0].obs)
    with pytest.raises(InputError, match="The context is 13 rows"):
        agent.open_loop(batch, 13)


def test_agents_of_another_kind_are_told(agent: Agent, tmp_path: Path) -> None:
    import wm_tutorial
    from wm_tutorial.config import Config

    other = wm_tutorial.Agent(stages_spaces(), dataclasses.replace(Config(), hidden=8, conv_depth=2))
    with pytest.raises(CheckpointError, match=r"another kind of agent; wm_tutorial\.Agent\.load reads it"):
        Agent.load(other.save(tmp_path / "other.safetensors"))
    with pytest.raises(CheckpointError, match="holds no whole agent"):
        wm_tutorial.Agent.load(agent.save(tmp_path / "mine.safetensors"))
    with pytest.raises(InputError, match=r"whose name ends in \.safetensors"):
        agent.save(tmp_path / "mine.pt")


# --- A finished run, in Python and on the command line ----------------------------------------------------------------


def test_a_run_is_evaluated_and_dreams_as_every_other(finished: StagedRun) -> None:
    opened = open_run(finished.path)
    assert isinstance(opened, StagedRun)
    for run in (finished, opened):
        assert run.evaluate(3).returns == finished.evaluate(3).returns
    dream = opened.dream(context=3, horizon=6)
    assert dream.obs.shape[1:] == (16, 16, 3) and dream.is_image and dream.context == 3
    np.testing.assert_array_equal(dream.predicted_obs, finished.dream(context=3, horizon=6).predicted_obs)


def test_runs_of_the_other_kind_are_opened_by_the_same_door(tmp_path: Path) -> None:
    from wm_tutorial import train

    options: dict[str, Any] = {"steps": 100, "prefill": 100, "updates_per_step": 0.0, "hidden": 8, "eval_episodes": 1}
    with train("CartPole-v1", out=tmp_path / "run", draw=False, **options):
        pass
    with open_run(tmp_path / "run") as opened:
        assert isinstance(opened, Run)


def test_the_dream_of_a_run_can_be_played_at_any_temperature(finished: StagedRun) -> None:
    running = Stages(ENV, finished.agent.settings, finished.path, quiet)
    running._take("memory")
    for temperature in (0.1, 1.0, 2.0):
        scores = play(running.dream(temperature), torch.zeros(6, 3, 9), "z and h", "discrete", 5, 0)
        assert ((scores.abs() < 50) & scores.isfinite()).all()
    with pytest.raises(InputError, match=r"the temperature is 0\.0"):
        running.dream(0.0)


def test_the_command_trains_evaluates_and_dreams(
    finished: StagedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    words = ["world-models-2018", ENV, "--out", str(folder)]
    for name, value in TINY.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    asked = command_line(words)
    assert isinstance(asked, WorldModels2018) and asked.settings == make_settings(**TINY) and asked.stages == STAGES

    def told(*words: str) -> str:
        command_line(words)()
        return capsys.readouterr().out

    assert re.search(r"\nEvaluation: return .+, sampled actions\)", told(*words))  # C was evolved on samples
    assert json.loads((folder / "config.json").read_text())["env"] == ENV
    assert told("evaluate", str(folder), "--episodes", "3").startswith("return ")
    assert told("dream", str(folder), "--context", "2", "--horizon", "3").splitlines()[0].endswith("dream-0.png")
    assert (folder / "dream-0.gif").exists()
    for name, tensor in finished.agent.state_dict().items():
        assert torch.equal(tensor, Agent.load(folder).state_dict()[name])


def test_the_command_names_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["world-models-2018", ENV, "--temprature", "1"], "did you mean --temperature?"),
        (["world-models-2018", ENV, "--temperature", "0"], "temperature is 0.0; it must be above 0"),
        (["world-model", ENV], "did you mean world-models-2018?"),
    ):
        with pytest.raises(SystemExit):
            command_line(words)
        assert said in capsys.readouterr().err


def test_continuous_actions_are_controlled_too(tmp_path: Path) -> None:
    pytest.importorskip("cma")

    class Drifting(gym.Env[Any, Any]):
        """A bright picture where the action was high."""

        observation_space = gym.spaces.Box(0, 255, (16, 16, 1), np.uint8)
        action_space = gym.spaces.Box(-2.0, 2.0, (2,), np.float32)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            self.now = 0
            return np.zeros((16, 16, 1), np.uint8), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            self.now += 1
            return np.full((16, 16, 1), 60 * (action[0] + 2), np.uint8), float(action[0]), self.now == 9, False, {}

    run = train_in_stages(Drifting, tmp_path / "run", **{**TINY, "plays_in": "reality"})
    action, _ = run.agent.act(np.zeros((16, 16, 1), np.uint8))
    assert action.shape == (2,) and (np.abs(action) <= 2.0).all()
    with pytest.raises(InputError, match="give the environment again"):
        open_run(run.path)
    assert isinstance(open_run(run.path, Drifting), StagedRun)


def test_codes_do_not_depend_on_how_many_pictures_v_is_shown_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = stages(tmp_path)
    running.run(("experience", "vision"))
    together = running.codes()
    monkeypatch.setattr("wm_tutorial.world_models_2018.stages.AT_ONCE", 16 * 16 * 7)
    for one, other in zip(running.codes(), together, strict=True):
        torch.testing.assert_close(one, other)
