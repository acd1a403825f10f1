"""The command line from end to end: what it explains, writes, prints and refuses."""

import ast
import dataclasses
import inspect
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from PIL import Image
from scripted import TINY, timeless, tiny, tree, written

from wm_tutorial import Agent, Trainer, __version__, cli, lineage, zoo
from wm_tutorial import config as config_module
from wm_tutorial.config import PRESETS, SECTIONS, SIZES, Config, Preset, make_config, section_options, sizes_of
from wm_tutorial.play import page

CORRIDOR = "wm_tutorial/Corridor-v0"
COMMANDS = ["train", "resume", "evaluate", "dream", "film", "doctor", "export", "world-models-2018", "measure", "zoo"]
COMMANDS += ["bench", "presets", "notebooks", "grade"]

Main = Callable[..., tuple[str, str]]


def options(**changes: object) -> list[str]:
    """A tiny run, as it is written on the command line."""
    return [word for name, value in (TINY | changes).items() for word in (f"--{name.replace('_', '-')}", str(value))]


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """What `wm-tutorial ARGUMENTS` exits with: None when all is well, a message to print, or a number."""
    monkeypatch.setattr(sys, "argv", ["wm-tutorial", *arguments])
    try:
        cli.main()
    except SystemExit as exit_:
        return exit_.code
    return None


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Main:
    """Run a command that must succeed, on a wide terminal; returns what it printed."""
    monkeypatch.setenv("COLUMNS", "300")

    def call(*arguments: str) -> tuple[str, str]:
        capsys.readouterr()
        assert not run_main(monkeypatch, *arguments)
        return capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder made by `wm-tutorial train`, and what that printed."""
    folder, printed = tmp_path_factory.mktemp("cli") / "new" / "run", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *words, **_: printed.append(" ".join(map(str, words))))
        assert run_main(patch, "train", CORRIDOR, "--out", str(folder), *options(eval_every=30)) is None
    yield folder, "\n".join(printed)


@pytest.fixture
def folder(trained: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


# --- Help -------------------------------------------------------------------------------------------------------------


def documentation() -> dict[str, str]:
    """Each option of the dataclass with the sentence below it."""
    (body,) = (
        node.body
        for node in ast.parse(inspect.getsource(config_module)).body
        if isinstance(node, ast.ClassDef) and node.name == "Config"
    )
    found = {}
    for field, text in itertools.pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(sentence))):
                found[name] = " ".join(sentence.split())
    return found


def test_every_option_is_documented() -> None:
    assert list(documentation()) == [field.name for field in dataclasses.fields(Config)]


def plain(text: str) -> str:
    """Help without colours and frames, on one line."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│─╭╮╰╯]", " ", text).split())


@pytest.mark.parametrize("command", ["train", "measure", "bench"])
def test_help_lists_every_option_of_the_dataclass_with_its_sentence(
    command: str, main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")  # where there is room, a long help stands in columns side by side
    text = plain(main(command, "--help")[0])
    for name, sentence in documentation().items():
        assert f"--{name.replace('_', '-')} " in text
        assert sentence in text, name
    assert "--config" not in text  # options are not nested


@pytest.mark.parametrize("command", ["train", "measure", "zoo", "bench"])
def test_help_shows_the_sections_in_their_order(command: str, main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")  # one column of groups
    printed = re.sub(r"\x1b\[[0-9;]*m", "", main(command, "--help")[0])
    titles = [section.lower().replace(" ", "-") for section in SECTIONS]
    _, *parts = re.split(r"^\W*(\S+) options\b", printed, flags=re.M)
    assert parts[::2] == titles
    groups = dict(zip(titles, parts[1::2], strict=True))
    for title, options_of in zip(titles, section_options().values(), strict=True):
        listed = re.findall(r"^[│ ]*--([a-z][a-z-]+) ", groups[title], re.MULTILINE)
        assert listed == [option.replace("_", "-") for option in options_of]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_says_what_it_does_and_what_it_wants(command: str, main: Main) -> None:
    (kind,) = (kind for kind in known() if cli.command_name(kind) == command)
    text = plain(main(command, "--help")[0])
    assert inspect.getdoc(kind).split("\n")[0] in text  # type: ignore[union-attr]
    for field in dataclasses.fields(kind):
        flat = command == "world-models-2018" and field.name == "settings"  # its options stand there one by one
        if not flat and field.name not in ("env", "run", "folder", "config", "submissions"):
            assert f"--{field.name.replace('_', '-')} " in text
    assert ("(required)" in text) == (command not in ("bench", "presets"))


def known() -> list[type]:
    return [kind for kind in vars(cli).values() if dataclasses.is_dataclass(kind) and kind.__module__ == cli.__name__]


def test_help_of_the_whole_lists_every_command(main: Main) -> None:
    text = plain(main("--help")[0])
    assert len(known()) == len(COMMANDS)
    for command in COMMANDS:
        assert command in text
    assert cli.DESCRIPTION in text


# --- Presets ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Preset:
    """A second preset."""
    changes = {"horizon": 77, "lam": 0.5}
    preset = Preset("a", "b", "c", "d", "e", "f", changes)
    monkeypatch.setitem(PRESETS, "patient", preset)
    return preset


@pytest.mark.parametrize("words", [["--preset", "patient"], ["--preset=patient"]])
def test_a_preset_sets_the_defaults(words: list[str], patient: Preset, main: Main) -> None:
    command = cli.command_line(["train", "CartPole-v1", *words])
    assert isinstance(command, cli.Train)
    assert command.config == make_config("patient")
    assert {name: getattr(command.config, name) for name in ("horizon", "lam")} == {"horizon": 77, "lam": 0.5}
    assert "(default: 77)" in plain(main("train", *words, "--help")[0])


@pytest.mark.parametrize("order", [1, -1])
def test_explicit_options_win_over_the_preset_wherever_they_stand(order: int, patient: Preset) -> None:
    words = [["--preset", "patient"], ["--horizon", "9"], ["--hidden", "8"]][::order]
    command = cli.command_line(["train", "CartPole-v1", *(word for pair in words for word in pair)])
    assert isinstance(command, cli.Train)
    config = command.config
    assert (config.preset, config.horizon, config.lam, config.hidden) == ("patient", 9, 0.5, 8)
    assert config.discount == Config().discount


def test_without_a_preset_the_defaults_are_those_of_the_dataclass() -> None:
    command = cli.command_line(["train", "CartPole-v1"])
    assert command == cli.Train(env="CartPole-v1", out=None, config=Config())


def blocks(printed: str) -> dict[str, dict[str, str]]:
    """What `wm-tutorial presets` says of each preset."""
    names = re.split(r"^(\S+)$", printed, flags=re.MULTILINE)[1:]
    return {
        name: {label: " ".join(text.split()) for label, text in re.findall(r"^  (\w+) ((?:.|\n {14})+)", told, re.M)}
        for name, told in zip(names[::2], names[1::2], strict=True)
    }


def test_presets_lists_all_of_them_on_a_narrow_page(main: Main) -> None:
    printed = main("presets")[0]
    assert max(map(len, printed.splitlines())) <= 100
    found = blocks(printed)
    assert list(found) == list(PRESETS)
    for name, told in found.items():
        columns = {f.name: getattr(PRESETS[name], f.name) for f in dataclasses.fields(Preset)}
        assert told == {k: v for k, v in columns.items() if isinstance(v, str)} | {"parameters": told["parameters"]}
        sizes = re.findall(r"([a-z]\w+) ([\d,]+)", told["parameters"])
        assert [size for size, _ in sizes] == sizes_of(name)


@pytest.mark.parametrize(("form", "expected"), [("table", lineage.text), ("page", lineage.page)])
def test_presets_are_shown_side_by_side_when_asked(form: str, expected: Callable[[], str], main: Main) -> None:
    assert main("presets", "--form", form)[0].strip() == expected().strip()


def test_presets_counts_the_parameters_that_learn(main: Main) -> None:
    found = blocks(main("presets")[0])
    for preset, size in (("guide", None), ("planet", "nano"), ("dreamer_v3", "micro")):
        trainer = Trainer("CartPole-v1", make_config(preset, size))
        parts = trainer.learner.parts.values() if preset != "planet" else [trainer.learner.parts["world model"]]
        count = sum(parameter.numel() for part in parts for parameter in part.parameters())
        assert f"{size} {count:,}" in found[preset]["parameters"] or found[preset]["parameters"] == f"{count:,}"


def test_a_preset_and_a_size_set_the_defaults_of_the_command_line() -> None:
    for words in (["--preset", "dreamer_v3", "--size", "micro"], ["--size=micro", "--preset=dreamer_v3"]):
        for command in (["train", "CartPole-v1"], ["measure", "CartPole-v1", "--out", "x"]):
            assert cli.command_line([*command, *words]).config == make_config("dreamer_v3", "micro")  # type: ignore[union-attr]
    asked = cli.command_line(["train", "CartPole-v1", "--preset", "planet", "--batch-size", "3"]).config  # type: ignore[union-attr]
    assert asked == make_config("planet", batch_size=3) and asked.size == "nano"


def test_a_size_that_does_not_exist_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train", "CartPole-v1", "--preset", "dreamer_v3", "--size", "huge"]
    message = run_main(monkeypatch, *words)
    assert message == f"InputError: size is 'huge'; the preset 'dreamer_v3' comes in {', '.join(SIZES)}."


# --- Commands ---------------------------------------------------------------------------------------------------------


def test_train_says_what_came_out_and_where(trained: tuple[Path, str]) -> None:
    folder, printed = trained
    assert re.search(r"Greedy evaluation: return -?\d.* 100 episodes, greedy", printed)
    assert f"Run folder: {folder}  (open {folder / 'index.html'})" in printed


def test_train_leaves_everything_in_its_folder(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    names = set(tree(folder))
    assert {"config.json", "metrics.jsonl", "checkpoint.pt", "return.png", "dream.gif", "index.html"} <= names
    assert not {name for name in names if name.startswith(".")}
    assert set(tree(folder.parent)) == {"run", *(f"run/{name}" for name in names)}


def test_the_settings_are_those_of_the_command_line(trained: tuple[Path, str]) -> None:
    settings = json.loads((trained[0] / "config.json").read_text())
    config = tiny(eval_every=30)
    assert {name: settings[name] for name in TINY} == {**TINY, "eval_every": 30}
    assert settings["environment"] == "Corridor-v0"
    assert settings["wm_tutorial"] == __version__
    assert Config(**{name: settings[name] for name in dataclasses.asdict(config)}) == config


def test_the_run_is_the_one_the_package_would_make(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    trainer = Trainer(CORRIDOR, tiny(eval_every=30))
    trainer.run()
    assert timeless(written(folder)) == timeless(trainer.records)
    assert [record["step"] // 30 for record in trainer.records if record["kind"] == "evaluation"] == [1, 2]
    theirs, ours = Agent.load(folder).state_dict(), trainer.agent.state_dict()
    assert all((theirs[name] == ours[name]).all() for name in ours)


class Links(HTMLParser):
    """Everything a page points to, and the alternative texts of its images."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.alternatives: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.found += [values[name] or "" for name in ("src", "href") if name in values]
        if tag == "img":
            self.alternatives.append(values.get("alt") or "")


def test_the_page_shows_every_figure_through_relative_links(folder: Path) -> None:
    """The folder was copied: whatever the page shows must have come along."""
    links = Links(folder / "index.html")
    pictures = {path.name for path in folder.iterdir() if path.suffix in (".png", ".gif")}
    assert set(links.found) == pictures
    assert all(len(text) > 20 for text in links.alternatives)
    assert len(links.alternatives) == len(pictures)
    for name in pictures:
        with Image.open(folder / name) as image:
            assert image.width > 300 and image.height > 100
            assert (getattr(image, "n_frames", 1) > 3) == (name == "dream.gif")


def test_the_page_says_what_this_run_is(trained: tuple[Path, str]) -> None:
    folder, printed = trained
    page = (folder / "index.html").read_text()
    assert "Corridor-v0, preset guide, seed 0" in page
    steps, updates = re.search(r"(\d+) environment steps, (\d+) updates", page).groups()  # type: ignore[union-attr]
    trainer = Trainer.load(folder)
    assert (int(steps), int(updates)) == (trainer.steps, trainer.updates)
    said = re.search(r"Greedy evaluation: (return .+ of 100 episodes, greedy actions\))", printed)
    assert said and f"Evaluation: {said[1]}." in page
    assert f"wm-tutorial resume {folder}" in page
    assert "{" not in re.sub(r"<style>.*?</style>|<details>.*?</details>", "", page, flags=re.DOTALL)


def test_evaluate_prints_one_line_repeats_itself_and_writes_nothing(folder: Path, main: Main) -> None:
    before = tree(folder)
    one, same, other, sampled = (
        main("evaluate", str(folder), "--episodes", "7", *more)[0]
        for more in ([], [], ["--seed", "5"], ["--actions", "sampled"])
    )
    assert re.fullmatch(r"return -?\d+\.\d ± \d+\.\d \(mean and standard deviation of 7 episodes, greedy.*\)\n", one)
    assert one == same
    assert "sampled actions" in sampled
    assert "7 episodes" in other
    assert tree(folder) == before


def test_export_writes_the_page_of_an_agent(main: Main, tmp_path: Path) -> None:
    agent = Path(cli.__file__).parent / "course" / "agents" / "sound.safetensors"
    printed, _ = main("export", str(agent), "--out", str(tmp_path / "dream.html"))
    assert printed.strip() == f"Written: {tmp_path / 'dream.html'}"
    assert (tmp_path / "dream.html").read_text() == page(Agent.load(agent))


def test_export_says_which_worlds_can_be_played(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    message = run_main(monkeypatch, "export", str(folder), "--out", str(tmp_path / "dream.html"))
    assert "CartPole-v1, wm_tutorial/CatchInTheDark-v0 can" in str(message)
    assert not (tmp_path / "dream.html").exists()


def test_dream_draws_a_picture_and_a_film_of_the_episode_asked_for(folder: Path, main: Main) -> None:
    before = tree(folder)
    printed, _ = main("dream", str(folder), "--seed", "3", "--context", "2", "--horizon", "6")
    paths = [Path(line) for line in printed.splitlines()]
    assert paths == [folder / "dream-3.png", folder / "dream-3.gif"]
    with Image.open(paths[1]) as film:
        assert film.format == "GIF" and 3 <= film.n_frames <= 10  # type: ignore[attr-defined]
    with Image.open(paths[0]) as picture:
        assert picture.format == "PNG"
    assert tree(folder).keys() - before.keys() == {"dream-3.png", "dream-3.gif"}


def test_film_writes_what_the_environment_draws_and_says_what_was_earned(
    main: Main, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["film", "catch-in-the-dark-v3", "--episodes", "2", "--seed", "5"]
    printed, _ = main(*asked)
    assert re.fullmatch(r"runs/catch-in-the-dark-v3/film-5\.gif: 2 episodes, return \d+, \d+\n", printed)
    with Image.open("runs/catch-in-the-dark-v3/film-5.gif") as film:
        assert film.size == (256, 256) and film.n_frames > 20  # type: ignore[attr-defined]
    sampled, _ = main(*asked, "--actions", "sampled", "--out", "other.gif", "--steps", "3")
    assert sampled.startswith("other.gif: 2 episodes, return 0, 0; 2 of them cut")
    assert set(tree(tmp_path)) == {
        "runs",
        "runs/catch-in-the-dark-v3",
        "runs/catch-in-the-dark-v3/film-5.gif",
        "other.gif",
    }


def test_an_agent_that_comes_with_the_package_is_evaluated_and_dreams_by_its_name(
    main: Main, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    printed, _ = main("evaluate", "cartpole-guide", "--episodes", "2")
    assert printed.startswith("return 500.0 ± 0.0 ") and not tree(tmp_path)
    printed, _ = main("dream", "cartpole-guide", "--horizon", "4")
    assert printed == "runs/cartpole-guide/dream-0.png\nruns/cartpole-guide/dream-0.gif\n"
    assert "did you mean cartpole-guide" in str(run_main(monkeypatch, "evaluate", "cartpole-gide"))


@pytest.mark.parametrize("command", [["train", CORRIDOR], ["resume", "run"]])
def test_tensorboard_is_written_when_asked_for(
    command: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is written says tests/test_tensorboard.py; here, that the callback is there, and only then."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wm_tutorial.runs.tensorboard._summary_writer", lambda: None)
    given: list[object] = []

    def stop(*_: object, callbacks: list[object], **__: object) -> None:
        given.append([type(callback).__name__ for callback in callbacks])
        raise KeyboardInterrupt("Stopped.")

    monkeypatch.setattr(cli, command[0], stop)
    for words in ([], ["--tensorboard"]):
        assert run_main(monkeypatch, *command, *words) == 130
    assert given == [[], ["TensorBoard"]]


def test_dream_draws_a_plan_of_an_agent_that_plans(main: Main, tmp_path: Path) -> None:
    planned = ["--preset", "planet", "--candidates", "6", "--elites", "2", "--steps", "40", "--prefill", "30"]
    main("train", "CartPole-v1", "--out", str(tmp_path / "run"), *planned, "--eval-episodes", "1", "--horizon", "3")
    printed, _ = main("dream", str(tmp_path / "run"), "--horizon", "3")
    assert [Path(line).name for line in printed.splitlines()] == ["dream-0.png", "dream-0.gif", "plan-0.png"]
    with Image.open(tmp_path / "run" / "plan-0.png") as picture:
        assert picture.format == "PNG"


def test_resume_goes_on_to_the_new_budget(folder: Path, main: Main) -> None:
    before = written(folder)
    printed, _ = main("resume", str(folder), "--steps", "80")
    assert "Greedy evaluation: return" in printed
    assert f"Run folder: {folder}" in printed
    after = written(folder)
    assert timeless(after[: len(before)]) == timeless(before)
    assert {record["step"] for record in after[len(before) :]} <= set(range(61, 82))
    assert json.loads((folder / "config.json").read_text())["steps"] == 80
    assert re.search(r"8\d environment steps", (folder / "index.html").read_text())
    assert Trainer.load(folder).steps >= 80


def test_the_command_is_installed() -> None:
    (script,) = entry_points(group="console_scripts", name="wm-tutorial")
    assert script.load() is cli.main


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "NoSuchWorld-v0"], r"^InputError: .*'NoSuchWorld-v0'"),
        (["train", "CartPole-v1", "--preset", "unknown"], r"^InputError: There is no preset 'unknown'"),
        (["train", "CartPole-v1", "--out", "file/run", *options()], r"^OutputError: .*file/run"),
        (["evaluate", "missing"], r"^CheckpointError: .*missing"),
        (["resume", "missing"], r"^CheckpointError: .*missing"),
        (["dream", "missing"], r"^CheckpointError: .*missing"),
        (["train", "CartPole-v1", "--out", ""], r"^InputError: The path is ''"),
        (["train", "CartPole-v1", "--steps", "500"], r"^InputError: steps is 500 and prefill 1000"),
        (["measure", "CartPole-v1", "--out", ""], r"^InputError: The path is ''"),
        (["measure", "CartPole-v1", "--out", "x", "--seeds", "-1"], r"^InputError: seeds is -1"),
        (["zoo", "CartPole-v1", "--bugs", "all", "--out", ""], r"^InputError: The path is ''"),
        (["zoo", "CartPole-v1", "--bugs", "kl_reversd", "--out", "x"], r"^InputError: There is no bug 'kl_reversd'"),
        (["train", "no_such_module:World"], r"^InputError: .*importing 'no_such_module' raised"),
    ],
)
def test_errors_are_one_message(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("I am no folder")
    message = run_main(monkeypatch, *arguments)
    assert isinstance(message, str)  # which Python prints, and exits with 1
    assert re.search(expected, message)
    assert "\n" not in message
    assert "Traceback" not in "".join(capsys.readouterr())
    assert set(tree(tmp_path)) == {"file"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "train, resume, evaluate, dream"),
        (["fly"], "fly"),
        (["train"], "environment"),
        (["train", "CartPole-v1", "--horizn", "3"], "--horizon"),
        (["train", "CartPole-v1", "--steps", "many"], "many"),
        (["train", "CartPole-v1", "--steps", "0"], "steps is 0; it must be at least 1"),
        (["train", "CartPole-v1", "--device", "tpu"], "cuda"),
        (["trian", "CartPole-v1"], "wm-tutorial trian: there is no such command; did you mean train?"),
        (
            ["train", "CartPole-v1", "--preset", "guide", "--preset", "planet"],
            "--preset is given 2 times; give it once",
        ),
        (["train", "CartPole-v1", "--latent_size=4", "--latent-size", "8"], "--latent-size is given 2 times"),
        (["train", "CartPole-v1", "--prest=planet"], "there is no option --prest; did you mean --preset?"),
        (["evaluate", "run", "--horizon", "3"], "there is no option --horizon; there are --"),
        (["bench", "--zzz"], "there is no option --zzz"),
        (["train", "CartPole-v1", "--preset"], "--preset"),
        (["evaluate", "run", "--actions", "lazy"], "sampled"),
    ],
)
def test_what_cannot_be_read_is_explained(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    assert run_main(monkeypatch, *arguments) == 2
    output = "".join(capsys.readouterr())
    assert expected in plain(output)
    assert "Traceback" not in output
    assert not tree(tmp_path)


def test_a_typo_shows_one_hint_and_not_a_screen_of_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "train", "CartPole-v1", "--horizn", "3") == 2
    message = "wm-tutorial train: there is no option --horizn; did you mean --horizon?\n"
    assert "".join(capsys.readouterr()) == message


def test_the_help_says_what_stands_for_what(main: Main) -> None:
    for command, named in {"train": "ENV", "measure": "ENV", "zoo": "ENV", "resume": "RUN", "dream": "RUN"}.items():
        text = plain(main(command, "--help")[0])
        assert re.search(rf"usage: wm-tutorial {command} .* {named} ", text), text[:200]
        assert "--out DIR" in text or "--out {None}|DIR" in text or named == "RUN"


def test_zoo_lists_its_mistakes_and_asks_for_nothing_more(main: Main) -> None:
    printed = main("zoo", "--list")[0]
    assert re.findall(r"^(\w+)$", printed, re.M) == list(zoo.BUGS)
    assert max(map(len, printed.splitlines())) <= 100
    assert " ".join(zoo.BUGS["kl_reversed"].story.split()) in " ".join(printed.split())


MODULE = """
from wm_tutorial.worlds.known import Corridor

class Mine(Corridor):
    pass
"""


def test_a_callable_of_the_working_directory_serves_every_command(tmp_path: Path) -> None:
    """Real processes, and the hints that they print, pasted."""
    (tmp_path / "my_worlds.py").write_text(MODULE)

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        script = "import sys; from wm_tutorial.cli import main; sys.path = sys.path[1:]; main()"  # without the folder
        command = [sys.executable, "-c", script, *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)

    trained = call("train", "my_worlds:Mine", *options())
    assert trained.returncode == 0, trained.stderr
    folder = "runs/Mine-guide-seed0"
    assert f"Run folder: {folder}" in trained.stdout
    assert json.loads((tmp_path / folder / "config.json").read_text())["environment"] == "Mine"
    refused = call("evaluate", folder)
    assert refused.returncode == 1 and "--env module:callable" in refused.stderr
    for words in (["evaluate", folder, "--episodes", "2"], ["dream", folder], ["resume", folder, "--steps", "64"]):
        again = call(*words, "--env", "my_worlds:Mine")
        assert again.returncode == 0, again.stderr
    (tmp_path / "my_worlds.py").write_text(MODULE + "    def step(self, action): raise OSError('lost')")
    stopped = call("train", "my_worlds:Mine", "--out", "my run", *options())
    assert stopped.stderr.endswith("go on with: wm-tutorial resume 'my run' --env my_worlds:Mine\n")
    (tmp_path / "my_worlds.py").write_text(MODULE)
    pasted = shlex.split(stopped.stderr.rpartition("go on with: wm-tutorial ")[2])
    assert call(*pasted).returncode == 0
    assert call("measure", "my_worlds:Mine", "--out", "result", "--seeds", "0", *options()).returncode == 0
    assert json.loads((tmp_path / "result" / "seed-0.json").read_text())["environment"] == "Mine"


@pytest.mark.skipif(sys.platform == "win32", reason="another shell")
@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("wm presets | head -1", "guide\n"),
        ("wm presets | head -c 0", ""),
        ("wm train --help | head -c 5", "usage"),
        ("wm zoo --list | head -1", "reward_departing\n"),
        ("wm presets --form table >&- ", ""),
        ("wm evaluate missing 2>&-", ""),
        ("PYTHONUNBUFFERED=1 wm presets | head -c 0", ""),
    ],
)
def test_output_that_nobody_reads_is_no_error(line: str, printed: str, tmp_path: Path) -> None:
    line = line.replace("wm ", f"{shlex.quote(sys.executable)} -m wm_tutorial ")
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert result.stderr == ""
    assert printed in result.stdout and len(result.stdout) < 40


@pytest.mark.skipif(sys.platform == "win32", reason="another shell")
@pytest.mark.parametrize("ends", ["| head -c 0", "2>&-", "> printed"])
def test_a_run_needs_nobody_who_reads_its_output(ends: str, tmp_path: Path) -> None:
    words = shlex.join([sys.executable, "-m", "wm_tutorial", "train", "CartPole-v1", "--out", "run", *options()])
    line = f"PYTHONIOENCODING=ascii PYTHONUNBUFFERED=1 {words} {ends}"
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr
    assert (tmp_path / "run" / "index.html").exists() and Trainer.load(tmp_path / "run").steps >= TINY["steps"]
    assert all(json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    if ends == "> printed":
        assert re.search(r"return \d+\.\d \? \d+\.\d", (tmp_path / "printed").read_text())  # no plus-minus in ASCII


def test_ctrl_c_without_a_word_says_that_it_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "train", stopped)
    assert run_main(monkeypatch, "train", "CartPole-v1") == 130
    assert capsys.readouterr().err == "\nStopped.\n"


def test_ctrl_c_exits_as_programs_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt("Stopped. Saved at step 7; go on with: wm-tutorial resume runs/x")

    monkeypatch.setattr(cli, "train", stopped)
    assert run_main(monkeypatch, "train", "CartPole-v1") == 130
    assert capsys.readouterr().err == "\nStopped. Saved at step 7; go on with: wm-tutorial resume runs/x\n"


def test_errors_of_the_package_itself_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "train", broken)
    with pytest.raises(ZeroDivisionError):
        run_main(monkeypatch, "train", "CartPole-v1")


def test_python_m_is_the_same_command_line(tmp_path: Path) -> None:
    """A real process, its exit code, and what it leaves on the screen."""
    command = [sys.executable, "-m", "wm_tutorial", "evaluate", "missing"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert result.returncode == 1
    assert re.fullmatch(r"CheckpointError: There is no checkpoint at missing.*\n", result.stderr)
    assert result.stdout == ""
