"""Agents that come with the package are found by their names, wherever it is installed."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from scripted import tree

from wm_tutorial import Agent, pretrained
from wm_tutorial.envs import Environments, name_of
from wm_tutorial.errors import CheckpointError, InputError
from wm_tutorial.runs import shipped
from wm_tutorial.runs.shipped import SHIPPED
from wm_tutorial.runs.staged import open_run

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "book" / "results"


def test_every_agent_of_the_results_has_a_name_and_no_other() -> None:
    assert sorted(SHIPPED) == sorted(path.parent.name for path in RESULTS.glob("*/*.safetensors")) == list(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_an_agent_is_that_of_its_file_and_of_its_environment(name: str) -> None:
    (file,) = (RESULTS / name).glob("*.safetensors")
    agent, expected = pretrained(name), Agent.load(file).state_dict()
    assert all(bool((tensor == expected[key]).all()) for key, tensor in agent.state_dict().items())
    environments = Environments(SHIPPED[name], 1, (0,))
    agent.check_fits(environments.spaces)
    environments.close()
    if name != "chapter-18":  # whose page names its command
        result = json.loads(file.with_suffix(".json").read_text())
        assert result["environment"] == name_of(SHIPPED[name])
    else:
        assert f"train {SHIPPED[name]} " in (file.parent / "README.md").read_text()


@pytest.mark.parametrize(("name", "hint"), [("cartpole-v3", "did you mean cartpole-v3-"), ("ant", "There are acrobot")])
def test_an_unknown_name_is_answered_with_those_there_are(name: str, hint: str) -> None:
    with pytest.raises(InputError, match=re.escape(hint)) as caught:
        pretrained(name)
    assert all(known in str(caught.value) for known in SHIPPED)


def test_a_name_stands_for_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_run("cartpole-guide") as run:
        assert run.evaluate(3, seed=1).returns == (500.0,) * 3  # as its result says of a hundred
        assert run.dream(2, 3).environment == "CartPole-v1"
        assert run.path == Path("runs/cartpole-guide") and repr(run) == "AgentAlone('runs/cartpole-guide')"
    assert not tree(tmp_path)  # until something is drawn
    with open_run("cartpole-guide", "wm_tutorial/PaidCartPole-1e6-v0") as other:
        assert other.source != "CartPole-v1"


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cartpole-guide").mkdir()
    with pytest.raises(CheckpointError, match="no checkpoint at cartpole-guide"):
        open_run("cartpole-guide")


def test_a_mistyped_name_is_told_from_a_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no run folder 'cartpole-guid', and no agent of this name; did you mean"):
        open_run("cartpole-guid")
    for path in ("mine", "runs/cartpole-guide"):
        with pytest.raises(CheckpointError, match="There is no checkpoint at"):
            open_run(path)


def test_an_installation_without_agents_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "a" / "b" / "shipped.py"))
    with pytest.raises(InputError, match="This installation has no agents"):
        pretrained("cartpole-guide")


def test_a_wheel_brings_the_agents_and_nothing_else_of_the_results(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    brought = tmp_path / "site" / "wm_tutorial" / "runs" / "agents"
    files = {path.relative_to(brought) for path in brought.rglob("*") if path.is_file()}
    assert files == {path.relative_to(RESULTS) for path in RESULTS.glob("*/*.safetensors")}
    code = "import wm_tutorial; print(wm_tutorial.__file__, wm_tutorial.pretrained('pendulum-v3').spaces)"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "site", check=True, capture_output=True, text=True
    ).stdout
    assert told.startswith(str(tmp_path / "site")) and "vector observations (3,)" in told
