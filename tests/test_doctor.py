"""The doctor of runs: each cause on a made-up run that shows it and one just on the sound side, then on real runs."""

import dataclasses
import json
import re
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from helpers import CONTINUOUS, VECTORS
from scripted import Scripted, assert_same, copied, snapshot, tiny

from wm_tutorial import Trainer, check, cli, train, zoo
from wm_tutorial.agent import Carry
from wm_tutorial.checkpoint import CHECKPOINT, METRICS, SETTINGS
from wm_tutorial.config import Config, make_config
from wm_tutorial.data import Batch, Row, State
from wm_tutorial.envs import Environments
from wm_tutorial.errors import CheckpointError, InputError
from wm_tutorial.imagination import imagine
from wm_tutorial.runs.consult import consult
from wm_tutorial.runs.doctor import diagnosis as doctor
from wm_tutorial.runs.doctor import evidence_of_model as of_model
from wm_tutorial.runs.doctor import evidence_of_play as of_play
from wm_tutorial.runs.doctor import evidence_of_replay as of_replay
from wm_tutorial.runs.doctor.diagnosis import Diagnosis, diagnose, examine
from wm_tutorial.runs.doctor.evidence_of_model import Known
from wm_tutorial.runs.doctor.evidence_of_play import Lived
from wm_tutorial.runs.doctor.evidence_of_replay import Handed, Stored
from wm_tutorial.runs.doctor.finding import ENOUGH, Finding, Told
from wm_tutorial.runs.doctor.symptoms_of_model import OF_BOTH, OF_MODEL
from wm_tutorial.runs.doctor.symptoms_of_play import OF_ACTING, OF_PLAY
from wm_tutorial.runs.doctor.symptoms_of_records import OF_RECORDS, entropy_bounds
from wm_tutorial.runs.doctor.symptoms_of_replay import OF_REPLAY
from wm_tutorial.runs.staged import StagedRun
from wm_tutorial.world_models_2018 import Agent as StagedAgent
from wm_tutorial.world_models_2018 import make_settings

ROOT = Path(__file__).parent.parent
NOTEBOOKS, TROUBLESHOOTING = ROOT / "notebooks", ROOT / "book" / "troubleshooting.md"
STEPS, PREFILL = 5000, 1000
LOSSES = {
    "dynamics": 1.2, "representation": 1.2, "actor": 0.1, "critic": 0.2, "entropy": 0.4, "imagined return": 60.0,
    "value": 55.0, "return scale": 20.0, "world model gradient": 5.0, "actor gradient": 0.1, "critic gradient": 0.1,
}  # fmt: skip


def returned(step: int) -> float:
    """By chance about 20, then about 100."""
    return (20.0 if step <= PREFILL else 100.0) + (step // 50) % 5


def run_told(
    losses: dict[str, float] | None = None,
    evaluations: tuple[float, ...] = (90.0, 100.0, 100.0),
    pace: float = 1.0,
    returns: Any = returned,
    spaces: Any = VECTORS,
    **config: Any,
) -> Told:
    """What a sound run of the guide tells, with changes; `pace` multiplies its updates."""
    options = make_config(**{"steps": STEPS, "prefill": PREFILL, **config})
    episodes = [
        {"kind": "episode", "step": step, "return": returns(step), "length": int(returns(step))}
        for step in range(50, STEPS + 1, 50)
    ]
    lines = [
        {"kind": "train", "step": step, "updates": int(pace * (step - PREFILL) * options.updates_per_step),
         "losses": {**LOSSES, **(losses or {})}}
        for step in range(1500, STEPS + 1, 500)
    ]  # fmt: skip
    tests = [{"kind": "evaluation", "step": STEPS, "mean": mean} for mean in evaluations]
    return Told.by_metrics(options, [*episodes, *lines, *tests], spaces)


TOLD = run_told()
EPISODES = tuple((r["length"], r["return"], True) for r in TOLD.of("episode"))
STORED = Stored(
    rows=STEPS + len(EPISODES), held=STEPS + len(EPISODES), streams=4, episodes=EPISODES, starts=len(EPISODES),
    rewards=(0.0, 1.0), repeated=0.0, renewed=0.0, bent=0.05,
    paying=1.0, handed=Handed(length=32, torn=0.0, reach=0.95),
)  # fmt: skip
KNOWN = Known(
    seen=0.2, reward=0.2, divergence=1.2, floor=0.2, remembered=0.0, redrawn=1.0, dreamed=0.4, persistence=0.8,
    misled=1.3, moved=1.2, line=(0.01, 1.4), ends=64, missed=0.2, told_apart=0.95, invented=0.02,
    imagined=(62.0, 30.0), spread=20.0,
)  # fmt: skip
LIVED = Lived(
    greedy=(95.0, 100.0, 105.0, 110.0, 90.0), sampled=(80.0, 85.0, 75.0, 80.0, 90.0),
    chance=(20.0, 22.0, 18.0, 21.0, 19.0), starts=32, promised=50.0, paid=55.0, acting=0.3, observing=0.3, bent=0.04,
    paying=(1.0, 1.0),
)  # fmt: skip


def rising(more: float) -> Any:
    """Returns that go on rising after four fifths of the run, by `more`."""
    return lambda step: returned(step) + (more if step > 0.8 * STEPS else 0.0)


def scaled(share: float, by: float) -> tuple[tuple[int, float, bool], ...]:
    """The stored episodes, with the rewards of a share of them multiplied."""
    changed = int(share * len(EPISODES))
    return tuple((n, total * by if i < changed else total, end) for i, (n, total, end) in enumerate(EPISODES))


ALL_ALIKE = tuple((length, total, False) for length, total, _ in EPISODES)
TIMED = tuple((100, 100.0, False) for _ in EPISODES)
LIMIT = max(length for length, *_ in EPISODES)

# cause: (part, how it shows, how it does not quite)
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "KL that cannot be": (
        "world model",
        {"told": {"losses": {"dynamics": 0.98, "representation": 0.98}}},
        {"told": {"losses": {"dynamics": 1.0, "representation": 1.0}}},
    ),
    "entropy that cannot be": (
        "behaviour",
        {"told": {"losses": {"entropy": 0.02}}},
        {"told": {"losses": {"entropy": 0.032}}},
    ),
    "entropy gone": (
        "behaviour",
        {"told": {"losses": {"entropy": 0.034}, "evaluations": (90.0, 100.0, 55.0)}},
        {"told": {"losses": {"entropy": 0.034}, "evaluations": (90.0, 100.0, 65.0)}},
    ),
    "policy is still chance": (
        "behaviour",
        {"told": {"losses": {"entropy": 0.685}}},
        {"told": {"losses": {"entropy": 0.675}}},
    ),
    "updates not as asked": ("training", {"told": {"pace": 0.97}}, {"told": {"pace": 0.985}}),
    "world model without gradient": (
        "world model",
        {"told": {"losses": {"world model gradient": 1e-8}}},
        {"told": {"losses": {"world model gradient": 1e-6}}},
    ),
    "actor or critic without gradient": (
        "behaviour",
        {"told": {"losses": {"critic gradient": 0.0}}},
        {"told": {"losses": {"critic gradient": 1e-6}}},
    ),
    "gradient always clipped": (
        "training",
        {"told": {"losses": {"world model gradient": 101.0}}},
        {"told": {"losses": {"world model gradient": 99.0}}},
    ),
    "critic in another unit": (
        "behaviour",
        {"told": {"losses": {"value": 14.0}}},
        {"told": {"losses": {"value": 16.0}}},
    ),
    "return was higher before": (
        "outcome",
        {"told": {"evaluations": (90.0, 100.0, 60.0)}},
        {"told": {"evaluations": (90.0, 100.0, 62.0)}},
    ),
    "learning rates ended early": ("training", {"told": {"returns": rising(3.0)}}, {"told": {"returns": rising(0.5)}}),
    "replay tells another story": (
        "experience",
        {"stored": {"episodes": scaled(0.2, 0.01)}},
        {"stored": {"episodes": scaled(0.05, 0.01)}},
    ),
    "steps not as counted": (
        "experience",
        {"stored": {"rows": 5250}},
        {"stored": {"rows": 5200}},
    ),
    "rows repeat themselves": ("experience", {"stored": {"repeated": 0.16}}, {"stored": {"repeated": 0.14}}),
    "no row is terminal": ("experience", {"stored": {"episodes": ALL_ALIKE}}, {"stored": {"episodes": TIMED}}),
    "ends show the next beginning": (
        "experience",
        {"stored": {"renewed": 0.91}},
        {"stored": {"renewed": 0.91, "starts": len(EPISODES) // 3}},
    ),
    "time limit stored as a termination": (
        "experience",
        {"limit": LIMIT},
        {"limit": LIMIT, "stored": {"episodes": (*EPISODES, (LIMIT, float(LIMIT), False))}},
    ),
    "replay too small for its use": (
        "experience",
        {"stored": {"held": 1000, "episodes": EPISODES[:19]}},
        {"stored": {"held": 1000, "episodes": EPISODES[:20]}},
    ),
    "values beyond the world": (
        "behaviour",
        {"told": {"losses": {"imagined return": 370.0, "value": 370.0}}},
        {"told": {"losses": {"imagined return": 360.0, "value": 360.0}}},
    ),
    "rewards too large": (
        "experience",
        {"stored": {"rewards": (-101.0, 1.0)}},
        {"stored": {"rewards": (-99.0, 1.0)}},
    ),
    "posterior collapsed": (
        "world model",
        {"known": {"divergence": 0.04, "seen": 0.9}},
        {"known": {"divergence": 0.04, "seen": 0.7}},
    ),
    "observation not in the state": ("world model", {"known": {"seen": 0.81}}, {"known": {"seen": 0.79}}),
    "KL on its free nats": (
        "world model",
        {"known": {"floor": 0.91, "dreamed": 0.9}},
        {"known": {"floor": 0.91, "dreamed": 0.7}},
    ),
    "states remember the episode before": (
        "world model",
        {"known": {"remembered": 0.02}},
        {"known": {"remembered": None}},
    ),
    "replay unlike the world": ("experience", {"stored": {"bent": 0.21}}, {"stored": {"bent": 0.19}}),
    "sequences not as stored": (
        "experience",
        {"stored": {"handed": Handed(length=32, torn=0.001, reach=0.95)}},
        {"stored": {"handed": None}},
    ),
    "latent drawn without chance": ("world model", {"known": {"redrawn": 0.004}}, {"known": {"redrawn": 0.006}}),
    "KL not as logged": (
        "world model",
        {"told": {"losses": {"dynamics": 5.0, "representation": 5.0}}},
        {"told": {"losses": {"dynamics": 4.8, "representation": 4.8}}},
    ),
    "dream worse than persistence": ("world model", {"known": {"dreamed": 0.81}}, {"known": {"dreamed": 0.79}}),
    "dream deaf to actions": (
        "world model",
        {"known": {"misled": 0.42, "line": None}},
        {"known": {"misled": 0.43, "line": None}},
    ),
    "reward not known": ("world model", {"known": {"reward": 1.06}}, {"known": {"reward": 1.0}}),
    "ends taken for other rows": ("world model", {"known": {"told_apart": 0.74}}, {"known": {"told_apart": 0.76}}),
    "ends underrated": ("world model", {"known": {"missed": 0.51}}, {"known": {"missed": 0.5}}),
    "ends where there are none": ("world model", {"known": {"invented": 0.12}}, {"known": {"invented": 0.1}}),
    "returns not as imagined anew": (
        "behaviour",
        {"known": {"imagined": (67.0, 30.0)}},
        {"known": {"imagined": (66.0, 30.0)}},
    ),
    "policy worse than chance in its own dream": (
        "behaviour",
        {"known": {"imagined": (62.0, 70.0)}},
        {"known": {"imagined": (62.0, 68.0)}},
    ),
    "rewards too small": (
        "experience",
        {"known": {"spread": 0.02}, "stored": {"rewards": (0.0, 0.001)}, "told": {"losses": {"imagined return": 0.02}}},
        {"known": {"spread": 0.04}, "stored": {"rewards": (0.0, 0.001)}, "told": {"losses": {"imagined return": 0.04}}},
    ),
    "return at chance": (
        "outcome",
        {"lived": {"greedy": (20.0, 22.0, 19.0, 21.0, 19.0), "sampled": (18.0,) * 5}},
        {"lived": {"greedy": (22.0, 24.0, 21.0, 23.0, 21.0), "sampled": (18.0,) * 5}},
    ),
    "greedy actions worse than sampled": (
        "acting",
        {"lived": {"greedy": (45.0, 47.0, 50.0, 48.0, 46.0)}},
        {"lived": {"greedy": (55.0, 57.0, 60.0, 58.0, 56.0)}},
    ),
    "sampled actions worse than greedy": (
        "behaviour",
        {"lived": {"sampled": (55.0, 57.0, 60.0, 58.0, 56.0)}},
        {"lived": {"sampled": (65.0, 67.0, 70.0, 68.0, 66.0)}},
    ),
    "acts on other states than it learns": ("acting", {"lived": {"acting": 0.46}}, {"lived": {"acting": 0.44}}),
    "episodes begin all alike": ("experience", {"stored": {"starts": 4}}, {"stored": {"starts": 5}}),
    "values far below what is paid": ("behaviour", {"lived": {"promised": 6.8}}, {"lived": {"promised": 6.9}}),
    "values that are not paid": ("behaviour", {"lived": {"promised": 111.0}}, {"lived": {"promised": 109.0}}),
}
HINTS = {
    "gradient always clipped", "return was higher before", "learning rates ended early", "ends underrated",
    "sampled actions worse than greedy",
}  # fmt: skip


def found(changes: dict[str, Any]) -> dict[str, Finding]:
    """All findings in a sound run with changes, by name."""
    told = dataclasses.replace(run_told(**changes.get("told", {})), limit=changes.get("limit"))
    stored, known, lived = (
        dataclasses.replace(sound, **changes.get(name, {}))
        for name, sound in (("stored", STORED), ("known", KNOWN), ("lived", LIVED))
    )
    if "returns" in changes.get("told", {}):  # the replay holds what the metrics tell
        stored = dataclasses.replace(
            stored, episodes=tuple((r["length"], r["return"], True) for r in told.of("episode"))
        )
    return {finding.name: finding for finding in diagnose(told, stored, known, lived)}


def test_a_sound_run_has_no_finding() -> None:
    assert found({}) == {}


def test_every_cause_has_a_case() -> None:
    asked = [*OF_RECORDS, *OF_REPLAY, *OF_MODEL, *OF_BOTH, *OF_ACTING, *OF_PLAY]
    assert len(CASES) == len(set(asked)) + 1  # and the return at chance, of which there are two sources
    assert len(CASES) - len(HINTS) >= 12


@pytest.mark.parametrize("name", CASES)
def test_a_cause_is_seen_where_it_shows_and_not_on_the_sound_side(name: str) -> None:
    part, shows, does_not = CASES[name]
    finding = found(shows)[name]
    assert finding.part == part and finding.hint == (name in HINTS)
    assert re.search(r"\d", finding.seen) and finding.seen.endswith(".")
    assert finding.why.endswith(".") and finding.remedy.endswith((".", "mistake."))
    assert (NOTEBOOKS / f"{finding.chapter}.ipynb").exists()
    assert name not in found(does_not)


def test_the_book_lists_every_cause_with_its_part() -> None:
    rows = re.findall(r"^\| ([a-z ]+) \| (.+) \|$", TROUBLESHOOTING.read_text(encoding="utf-8"), re.MULTILINE)
    told = {(name.removeprefix("as a hint: "), part) for part, names in rows for name in names.split("; ")}
    assert {(name, part) for name, (part, *_) in CASES.items()} <= told


def test_remedies_name_options_and_checks_that_there_are() -> None:
    options = {field.name.replace("_", "-") for field in dataclasses.fields(Config)}
    for name, (_, shows, _) in CASES.items():
        remedy = found(shows)[name].remedy
        for option in re.findall(r"--([a-z-]+)", remedy):
            assert option in options, (name, option)
        for part in re.findall(r"check\.(\w+)", remedy):
            assert part in check.PARTS, (name, part)


def test_two_terms_of_the_kl_are_one_number() -> None:
    told = run_told({"dynamics": 1.2, "representation": 1.22})
    assert "differ by 2%" in next(f.seen for f in diagnose(told) if f.name == "KL that cannot be")
    assert not diagnose(run_told({"dynamics": 1.2, "representation": 1.205}))


def test_a_straight_line_says_whether_there_was_something_to_hear() -> None:
    def deaf(moved: float, *line: float, misled: float = 0.6) -> bool:
        changes = {"dreamed": 0.5, "misled": misled, "moved": moved, "line": line}
        return "dream deaf to actions" in found({"known": changes})

    assert deaf(0.19, 0.05, 0.8) and not deaf(0.21, 0.05, 0.8)
    assert not deaf(0.0, 0.05, 0.2)  # the world does not answer
    assert not deaf(0.0, 0.4, 0.8) and deaf(0.8, 0.4, 0.8, misled=0.51)  # a world that is no straight line


@pytest.mark.parametrize(("handed", "said"), [
    (Handed(31, 0.0, 0.9), "Sequences of 32 rows were asked for, and ones of 31"),
    (Handed(32, 0.0, 0.4), "All rows handed out lie within 40%"),
    (Handed(32, 0.0, 0.6), None),
])  # fmt: skip
def test_what_is_handed_out(handed: Handed, said: str | None) -> None:
    names = found({"stored": {"handed": handed}})
    assert said in names["sequences not as stored"].seen if said else not names


@pytest.mark.parametrize(("paying", "unlike"), [(0.02, True), (0.29, False), (1.0, False)])
def test_a_replay_that_is_paid_otherwise(paying: float, unlike: bool) -> None:
    assert ("replay unlike the world" in found({"stored": {"paying": paying}})) == unlike


def test_returns_that_still_rise_may_have_risen_further() -> None:
    def anew(imagined: float, *logged: float) -> bool:
        lines = [{**line, "losses": {**line["losses"], "imagined return": value}}
                 for line, value in zip(TOLD.of("train")[-len(logged) :], logged, strict=True)]  # fmt: skip
        told = dataclasses.replace(TOLD, records=[*TOLD.of("episode"), *lines])
        known = dataclasses.replace(KNOWN, imagined=(imagined, 10.0))
        return "returns not as imagined anew" in {f.name for f in diagnose(told, None, known)}

    assert not anew(80.0, 60.0, 70.0) and anew(90.0, 60.0, 70.0) and anew(60.0, 60.0, 70.0)
    assert not anew(500.0, 60.0)  # one line tells nothing


def test_a_limit_that_every_episode_reaches_may_be_an_end() -> None:
    timed = tuple((LIMIT, 1.0, True) for _ in EPISODES)
    assert "time limit stored as a termination" not in found({"limit": LIMIT, "stored": {"episodes": timed}})


def test_a_row_used_too_often_is_a_replay_too_small() -> None:
    changes = {"told": {"batch_size": 500}}
    assert "3,137 times" in found(changes)["replay too small for its use"].seen
    assert "replay too small for its use" not in found({"told": {"batch_size": 470}})


def test_the_entropy_that_a_policy_can_have() -> None:
    low, high = entropy_bounds(run_told()) or (0.0, 0.0)
    assert high == pytest.approx(np.log(2)) and low == pytest.approx(-0.995 * np.log(0.995) - 0.005 * np.log(0.005))
    assert entropy_bounds(run_told(policy_unimix=0.0)) == pytest.approx((0.0, np.log(2)))
    low, high = entropy_bounds(run_told(spaces=CONTINUOUS)) or (0.0, 0.0)
    normal = torch.distributions.Normal(torch.zeros(2), torch.tensor([0.1, 1.0])).entropy()
    assert (low, high) == pytest.approx((2 * float(normal[0]), 2 * float(normal[1])))
    assert entropy_bounds(run_told(spaces=None)) is None


def test_nobody_is_judged_too_early() -> None:
    lines = [{"kind": "train", "step": 1500, "updates": ENOUGH - 1, "losses": LOSSES}]
    early = Told.by_metrics(TOLD.config, lines, VECTORS)
    sick_model, sick_agent = dataclasses.replace(KNOWN, seen=2.0), dataclasses.replace(LIVED, acting=2.0)
    names = {finding.name for finding in diagnose(early, None, sick_model, sick_agent)}
    assert names == {"updates not as asked"}


def test_what_may_be_the_cause_of_others_comes_first_and_hints_last() -> None:
    changes = {"known": {"dreamed": 0.9, "missed": 1.0}, "stored": {"repeated": 0.3}, "lived": {"acting": 1.0}}
    assert list(found(changes)) == [
        "rows repeat themselves", "dream worse than persistence", "acts on other states than it learns",
        "ends underrated",
    ]  # fmt: skip


def test_the_words_say_what_why_and_what_to_try() -> None:
    diagnosis = Diagnosis(tuple(found({"known": {"dreamed": 0.9, "missed": 1.0}}).values()), ("metrics",), ("a dream",))
    text = str(diagnosis)
    assert text.startswith(
        "One thing looks wrong.\n\ndream worse than persistence (world model)\n  seen    Dreams from"
    )
    assert "  try     More updates, or a larger --world-model-lr." in text
    assert text.index("Worth knowing") < text.index("ends underrated")
    assert text.endswith("Looked at:\n  - metrics\n\nNot looked at:\n  - a dream")
    assert max(map(len, text.splitlines())) <= 98
    assert str(Diagnosis((), ("metrics",))).startswith("Nothing looks wrong.\n")
    assert "in what could be looked at" in str(Diagnosis((), (), ("the replay",)))


# --- What is known of real runs ---------------------------------------------------------------------------------------


def scripted_trainer(script: tuple[int, ...] = (3, -4), **options: Any) -> Trainer:
    trainer = Trainer(partial(Scripted, script), tiny(updates_per_step=0.0, steps=60, **options))
    trainer.run()
    return trainer


def test_what_the_replay_holds_is_what_was_lived() -> None:
    trainer = scripted_trainer()
    held = of_replay.stored(trainer.replay, vectors=True, length=4)
    assert held.rows == held.held == len(trainer.replay) and held.streams == 2
    lived = {(r["length"], r["return"]) for r in trainer.records if r["kind"] == "episode"}
    assert {(n, total) for n, total, _ in held.episodes} <= lived
    assert {(n, terminal) for n, _, terminal in held.episodes} == {(3, True), (4, False)}
    assert held.starts == len(held.episodes) / 2  # both environments say the number of the episode
    assert held.rewards[0] == 1.0 and held.repeated == 0.0
    told = Told(trainer.config, trainer.agent.spaces, trainer.records, trainer.steps, trainer.updates)
    assert not [f for f in diagnose(told, held) if f.part == "experience"]
    trainer.replay.columns["obs"][:, 1:] = trainer.replay.columns["obs"][:, :1]
    assert (of_replay.stored(trainer.replay, vectors=True, length=4).repeated or 0.0) > 0.6


def test_an_end_that_shows_the_next_beginning_is_seen() -> None:
    replay = scripted_trainer().replay
    assert of_replay.stored(replay, vectors=True, length=4).renewed == 0.0
    for stream in range(replay.streams):
        last = np.flatnonzero(replay.columns["is_last"][stream, : len(replay) // replay.streams - 1])
        replay.columns["obs"][stream, last] = replay.columns["obs"][stream, last + 1]
    assert of_replay.stored(replay, vectors=True, length=4).renewed == 1.0


@pytest.mark.parametrize("preset", ["guide", "planet", "dreamer_v2", "dreamer_v3"])
def test_what_is_remembered_over_a_beginning(preset: str) -> None:
    trainer = Trainer("CartPole-v1", tiny(**{**NUMBERS, "preset": preset, "free_nats": 0.0}))
    for _ in range(80):
        trainer.collect()
    shares = {}
    for name in ("none", "reset_missing", "action_not_reset", "first_late", "first_early"):
        with zoo.bug(name) if name != "none" else nullcontext():
            knows = of_model.known(trainer.agent, trainer.replay)
        assert knows is not None
        shares[name] = knows.remembered or 0.0
    assert shares.pop("none") == 0.0 and min(shares.values()) > 0.02, shares


def test_latents_that_are_drawn_differ_and_modes_do_not() -> None:
    trainer = Trainer("CartPole-v1", tiny())
    for _ in range(40):
        trainer.collect()
    drawn = of_model.known(trainer.agent, trainer.replay)
    with zoo.bug("mode_for_sample"):
        likeliest = of_model.known(trainer.agent, trainer.replay)
    assert drawn is not None and likeliest is not None and (drawn.redrawn, likeliest.redrawn) == (1.0, 0.0)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_how_far_actions_move_a_dream_leaves_chance_out(weight: float, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer("CartPole-v1", tiny())
    for _ in range(60):
        trainer.collect()

    def open_loop(batch: Batch, context: int) -> Any:
        obs = weight * batch.previous_action.repeat(1, 1, 2) + 0.1 * torch.randn_like(batch.obs)
        return SimpleNamespace(obs=obs)

    monkeypatch.setattr(trainer.agent.world_model, "open_loop", open_loop)
    knows = of_model.known(trainer.agent, trainer.replay)
    assert knows is not None and knows.moved is not None
    assert knows.moved > 5.0 if weight else knows.moved < 0.3


@pytest.mark.parametrize("preset", ["guide", "dreamer_v1", "dreamer_v2", "dreamer_v3"])
def test_what_is_imagined_anew_is_what_the_losses_are_of(preset: str) -> None:
    config = tiny(**{**NUMBERS, "preset": preset, "imagined_starts": 0, "horizon": 4})
    trainer = Trainer("CartPole-v1", config)
    for _ in range(40):
        trainer.collect()
    agent, start = trainer.agent, trainer.agent.initial(8).state
    with torch.no_grad():
        for head in (agent.world_model.reward_head, agent.behaviour.critic, agent.behaviour.slow_critic):
            head.net[-1].weight.normal_(std=0.3)
        torch.manual_seed(0)
        found, by_chance = of_model.imagined(agent, start)
        torch.manual_seed(0)
        dreams = imagine(agent.world_model, agent.behaviour.actor, start, config.horizon)
        metrics = agent.behaviour.losses(dreams)[1]
    assert found == pytest.approx(float(metrics["imagined return"]), rel=1e-4) and by_chance != found


@pytest.mark.parametrize("rows", [of_replay.LINE_LEAST // 2, 400])
def test_a_straight_line_knows_a_straight_world(rows: int) -> None:
    trainer = Trainer("CartPole-v1", tiny(envs=1))
    for _ in range(rows):
        trainer.collect()
    order = of_replay.held_rows(trainer.replay)
    columns = [trainer.replay.columns[name][:, order] for name in ("obs", "action", "is_first")]
    found = of_replay.straight_line(*columns)
    if rows < of_replay.LINE_LEAST:
        assert found is None
        return
    assert found is not None
    line, bent = found
    assert line.shape == (4 + 4 + 2 + 2 + 1, 4) and bent < 0.01
    other = of_replay.straight_line(columns[0], np.roll(columns[1], 1, axis=1), columns[2])
    assert other is not None and other[1] > 20 * bent
    first = np.flatnonzero(trainer.replay.columns["is_first"][0, order])
    start = int(first[np.diff(first).argmax()])
    batch = trainer.replay.sequences(np.array([0]), order[[start]], 12, "cpu")[0]
    predicted = of_model.gone_on(line, batch.obs, batch.previous_action)
    assert torch.equal(predicted[:, : of_model.CONTEXT].float(), batch.obs[:, : of_model.CONTEXT])
    torch.testing.assert_close(predicted.float(), batch.obs, atol=0.02, rtol=0.0)
    assert not torch.allclose(
        of_model.gone_on(line, batch.obs, batch.previous_action.flip(-1)).float(), batch.obs, atol=0.1
    )


@pytest.mark.parametrize(
    "source", ["CartPole-v1", lambda: gym.wrappers.TimeLimit(gym.make("CartPole-v1").unwrapped, 70)]
)
def test_the_limit_on_time_is_read_from_the_environment(source: Any) -> None:
    with closing(Environments(source, 1, (0,))) as environments:
        assert of_play.time_limit(environments) == (500 if isinstance(source, str) else 70)
    with closing(Environments(lambda: gym.make("CartPole-v1").unwrapped, 1, (0,))) as environments:
        assert of_play.time_limit(environments) is None


@pytest.mark.parametrize(("bug", "length", "reach"), [
    (None, 6, 0.8), ("rows_shuffled", 6, 0.8), ("sequences_halved", 3, 0.8), ("replay_too_small", 6, 0.1),
])  # fmt: skip
def test_what_the_replay_hands_out(bug: str | None, length: int, reach: float) -> None:
    replay = scripted_trainer(capacity=60).replay
    with zoo.bug(bug) if bug else nullcontext():
        handed = of_replay.handed(replay, 6)
    assert handed.length == length and (handed.torn > 0.5) == (bug == "rows_shuffled")
    assert handed.reach > reach if reach > 0.5 else handed.reach < 0.7


def test_a_ring_that_has_come_round_is_read_from_its_oldest_row() -> None:
    trainer = scripted_trainer(capacity=24)
    held = of_replay.stored(trainer.replay, vectors=True, length=4)
    assert held.held == 24 < held.rows
    lived = {(r["length"], r["return"]) for r in trainer.records if r["kind"] == "episode"}
    assert held.episodes and {(n, total) for n, total, _ in held.episodes} <= lived


def test_a_replay_of_few_rows_is_asked_about_what_it_holds() -> None:
    trainer = Trainer("CartPole-v1", tiny())
    for _ in range(24):
        trainer.collect()
        knows = of_model.known(trainer.agent, trainer.replay)
        assert (knows is None) == (trainer.replay.added <= of_replay.LENGTH)
    assert knows is not None and knows.dreamed is not None and knows.persistence is not None


def test_sequences_are_rows_in_their_order() -> None:
    replay = scripted_trainer(capacity=24).replay
    numbers = of_replay.held_rows(replay)
    batch, _ = replay.sequences(np.array([0, 1]), numbers[[0, 2]], 6, "cpu")
    for i, first in enumerate(numbers[[1, 3]]):
        rows = (first + np.arange(6)) % replay.length
        np.testing.assert_array_equal(batch.obs[i], replay.columns["obs"][i, rows])
        np.testing.assert_array_equal(batch.previous_action[i, 1:], batch.action[i, :-1])
        np.testing.assert_array_equal(batch.start.latent[i], replay.columns["latent"][i, (first - 1) % replay.length])


def test_errors_are_in_deviations() -> None:
    obs = torch.tensor([[[1.0, 5.0], [3.0, 5.0], [5.0, 5.0]]])  # the second entry never changes
    assert of_model.error(torch.full_like(obs, 3.0), obs) == pytest.approx(1.0)
    assert of_model.error(obs + torch.tensor([0.5 * (8 / 3) ** 0.5, 9.0]), obs) == pytest.approx(0.5)
    image = torch.tensor([0, 255], dtype=torch.uint8).view(1, 2, 1, 1, 1)
    assert of_model.error(torch.full((1, 2, 1, 1, 1), 0.5), image) == pytest.approx(1.0)
    assert of_model.scalar_error(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0])) == pytest.approx(1.0)
    assert of_model.scalar_error(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0])) == pytest.approx(0.5)


def test_what_was_promised_and_what_was_paid() -> None:
    agent = Trainer("CartPole-v1", tiny(discount=0.5)).agent
    with torch.no_grad():
        agent.behaviour.critic.net[-1].bias.fill_(4.0 / agent.behaviour.critic.unit)
    nothing = np.zeros(2, bool)
    over = [nothing, np.array([False, True]), nothing]
    rows = [Row(np.zeros((2, 4), np.float32), np.full(2, 1.0, np.float32), nothing, o, o) for o in over]
    carry = Carry(State(torch.zeros(2, 0), torch.zeros(2, agent.world_model.dynamics.latent_size)), torch.zeros(2, 2))
    played = of_play.Played([(row, carry) for row in rows], [], np.array([2, 1]), np.zeros(2), np.array([False, True]))
    promised, paid = of_play.promises(agent, played)
    assert promised == pytest.approx(4.0)
    # cut after two steps: 1 + 0.5 * 4 = 3, and 1 + 0.5 * 3 = 2.5 before it; terminated after one: 1
    assert paid == pytest.approx((3.0 + 2.5 + 1.0) / 3)


TRIED = {
    **{preset: {"preset": preset, "size": "nano"} for preset in ("planet", "dreamer_v1", "dreamer_v2", "dreamer_v3")},
    "guide": {"preset": "guide"},
    "random": {"behaviour": "random"},
    "one environment": {"envs": 1},
    "two-hot": {"heads": "two-hot"},
}
WORLDS = ("CartPole-v1", "Pendulum-v1", "wm_tutorial/Corridor-v0", "wm_tutorial/CatchInTheDark-v0")
NUMBERS = {"memory_size": 8, "memory_blocks": 2, "candidates": 8, "elites": 2, "plan_iterations": 1, "horizon": 3}
NUMBERS |= {"updates_per_step": 0.2, "prefill": 20, "steps": 120, "imagined_starts": 0, "bins": 5, "latent_classes": 2}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few short episodes; and whoever made an update may be judged."""
    monkeypatch.setattr(of_play, "EPISODES", 5)
    monkeypatch.setattr(of_play, "LONGEST", 40)
    monkeypatch.setattr(doctor, "ENOUGH", 1)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("env", "kind"), [*(("CartPole-v1", kind) for kind in TRIED), *((world, "guide") for world in WORLDS[1:])]
)
def test_every_kind_of_run_can_be_looked_at_and_stays_as_it_was(env: str, kind: str) -> None:
    trainer = Trainer(env, tiny(**{**NUMBERS, **TRIED[kind]}))
    trainer.run()
    before, noise = copied(snapshot(trainer)), torch.random.get_rng_state()
    diagnosis = examine(trainer)
    assert_same(snapshot(trainer), before)
    assert torch.equal(torch.random.get_rng_state(), noise)
    looked = " ".join(diagnosis.looked)
    assert "metrics.jsonl" in looked and "the replay" in looked and "the model" in looked and "new episodes" in looked
    impossible = {"replay tells another story", "steps not as counted", "updates not as asked"}
    impossible |= {"KL that cannot be", "entropy that cannot be", "no row is terminal"}
    assert not impossible & {finding.name for finding in diagnosis.findings}
    assert str(examine(trainer)) == str(diagnosis)


def test_a_run_stopped_between_two_lines_of_metrics_is_counted_as_it_is() -> None:
    trainer = scripted_trainer((-300,))
    for _ in range(20):
        trainer.collect()
    assert trainer.steps == 100 and max(record["step"] for record in trainer.records) == 60
    assert not examine(trainer).wrong


@pytest.mark.usefixtures("quick")
def test_of_world_models_2018_it_is_looked_at_how_it_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "EPISODES", 5)
    monkeypatch.setattr(doctor, "LONGEST", 12)
    world = "wm_tutorial/Rockfall-v0"
    with closing(Environments(world, 1, (0, 0))) as environments:
        agent = StagedAgent(environments.spaces, make_settings(latent_size=3, memory_size=5, hidden=8, conv_depth=2))
    diagnosis = StagedRun(Path("nowhere"), agent.eval(), world).doctor()
    assert "5 new episodes" in diagnosis.looked[0] and diagnosis.missed
    assert {finding.part for finding in diagnosis.findings} <= {"outcome", "acting", "behaviour"}


# --- Run folders ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run too short to be judged."""
    out = tmp_path_factory.mktemp("doctor") / "run"
    train("CartPole-v1", out=out, draw=True, **dataclasses.asdict(tiny()))
    return out


def test_a_run_that_is_too_short_is_told_so(folder: Path) -> None:
    diagnosis = consult(folder)
    assert not diagnosis.wrong and "too early to judge" in " ".join(diagnosis.missed)
    assert str(consult(folder / METRICS)) == str(diagnosis)


def test_the_page_of_a_run_says_what_the_doctor_says(folder: Path) -> None:
    page = (folder / "index.html").read_text()
    assert "<h2>Is it healthy?</h2>\n<p>Nothing looks wrong, in what could be looked at.</p>" in page
    assert "too early to judge" in page and "wm-tutorial doctor" in page


def test_without_a_checkpoint_the_metrics_are_judged(folder: Path, tmp_path: Path) -> None:
    for name in (METRICS, SETTINGS):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    diagnosis = consult(tmp_path)
    assert "no checkpoint" in " ".join(diagnosis.missed) and METRICS in " ".join(diagnosis.looked)
    (tmp_path / METRICS).unlink()
    assert "metrics.jsonl is missing or empty" in " ".join(consult(tmp_path).missed)
    (tmp_path / CHECKPOINT).write_bytes(b"half")
    assert "cannot be read" in " ".join(consult(tmp_path).missed) or "no checkpoint" in " ".join(
        consult(tmp_path).missed
    )


def test_a_run_of_another_version_or_no_run_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no run folder: there is neither"):
        consult(tmp_path)
    told = json.loads((folder / SETTINGS).read_text()) | {"free_lunch": 1}
    (tmp_path / SETTINGS).write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match=r"another version: There is no option 'free_lunch'.*wm_tutorial 0"):
        consult(tmp_path)


def test_a_callable_is_asked_for_and_the_metrics_are_judged_without_it(tmp_path: Path) -> None:
    def build() -> gym.Env[Any, Any]:
        return gym.make("CartPole-v1")

    train(build, out=tmp_path / "run", draw=False, **dataclasses.asdict(tiny())).close()
    assert "give the environment again" in " ".join(consult(tmp_path / "run").missed)
    assert "the replay" in " ".join(consult(tmp_path / "run", build).looked)


@pytest.mark.parametrize(("findings", "expected"), [({}, None), (CASES["reward not known"][1], 3)])
def test_the_command_exits_with_0_or_with_3(
    findings: dict[str, Any],
    expected: int | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    diagnosis = Diagnosis(tuple(found(findings).values()), ("everything",))
    monkeypatch.setattr(cli, "consult", lambda path, env: diagnosis)
    monkeypatch.setattr("sys.argv", ["wm-tutorial", "doctor", "somewhere"])
    code: Any = None
    try:
        cli.main()
    except SystemExit as ended:
        code = ended.code
    assert code == expected and capsys.readouterr().out == f"{diagnosis}\n"
