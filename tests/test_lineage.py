"""The table of the presets: what it says is what the presets have, and every value has a source."""

import math
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from wm_tutorial import lineage
from wm_tutorial.config import PRESETS, SIZES, Config, make_config, section_options, sizes_of
from wm_tutorial.presets import DIFFERENCES, REPOSITORIES, TABLE, WIDTHS, Cell

LINEAGE = [name for name in PRESETS if name != "guide"]
PAGE = Path(__file__).parent.parent / "book" / "presets.md"
LINES = {line.option: line for line in lineage.side_by_side()}
ELSEWHERE = ("The run", "Reports and machine")  # sections whose options no source has, but for the length of the run


def reference(preset: str) -> dict[str, Any]:
    """A preset as large as its source has it."""
    return asdict(make_config(preset, "size1m" if preset == "dreamer_v3" else "paper"))


def cells(preset: str) -> dict[str, Cell]:
    return {option: cell for option, line in LINES.items() if (cell := line.cells[preset]) is not None}


# --- The data ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", LINEAGE)
def test_every_value_that_a_preset_sets_has_a_source(preset: str) -> None:
    found = cells(preset)
    assert set(found) == set(PRESETS[preset].options) | set(PRESETS[preset].paper or SIZES["size1m"])
    for option, cell in found.items():
        assert re.search(r"\w+\.(py|yaml)|^paper, table D\.1", cell.source), option
        assert cell.theirs != lineage.shown(cell.value), option


@pytest.mark.parametrize("preset", LINEAGE)
def test_the_values_of_the_table_are_those_of_the_preset(preset: str) -> None:
    config, usual = reference(preset), asdict(Config())
    found = cells(preset)
    assert {option: cell.value for option, cell in found.items()} == {option: config[option] for option in found}
    untouched = set(config) - set(found) - {"preset", "size"}
    assert all(config[option] == usual[option] for option in untouched)


def test_every_option_of_an_agent_is_in_the_table() -> None:
    sections = {section: options for section, options in section_options().items() if section not in ELSEWHERE}
    assert [option for option in LINES if option != "steps"] == [o for options in sections.values() for o in options]
    assert set(TABLE) == set(LINES) and set(WIDTHS) < set(LINES)
    assert all(any(line.cells.values()) for line in LINES.values())


def test_every_column_belongs_to_a_preset_and_says_what_is_not_in_its_numbers() -> None:
    assert list(REPOSITORIES) == list(DIFFERENCES) == LINEAGE
    for said in DIFFERENCES.values():
        assert len(set(said)) == len(said) >= 5 and all(line.endswith(".") for line in said)


def test_only_the_small_sizes_of_v3_mix_chance_into_the_policy() -> None:
    shares = {size: make_config("dreamer_v3", size).policy_unimix for size in sizes_of("dreamer_v3")}
    assert shares == dict.fromkeys(SIZES, 0.0) | {"nano": 0.01, "micro": 0.01}


# The numbers once more, read off the sources and not off the table, in the words and units of the sources. An action of
# theirs is repeated for `repeat` frames; a logarithm of a Gaussian density is half a squared error.
FRAMES, REPEAT = 1000, 4  # of an episode of PlaNet's cheetah_run: planet/scripts/tasks.py
PLANET = {  # planet/scripts/configs.py
    "horizon": 12, "plan_iterations": 10, "candidates": 1000, "elites": 100, "action_noise": 0.3,
    "memory_size": 200, "latent_size": 30,  # model_size, state_size
    "free_nats": 3.0, "dynamics_scale": 1.0, "representation_scale": 1.0,  # free_nats, divergence_scale
    "decoder_scale": 1.0 / 2, "reward_scale": 10.0 / 2,  # image_loss_scale, reward_scale
    "final_lr": 1.0, "clip": 1000.0,  # no decay of the learning rate; gradient_clipping
    "batch_size": 50, "sequence_length": 50, "envs": 1,  # batch_shape, collect_batch_size
    "prefill": 5 * FRAMES / REPEAT,  # num_seed_episodes
    "updates_per_step": 5000 / 50 / (FRAMES / REPEAT),  # collect_every sequences, 50 to an update, for each episode
}  # fmt: skip
V1 = {  # dreamer.py, define_config; action_repeat = 2
    "memory_size": 200, "latent_size": 30,  # deter_size, stoch_size
    "free_nats": 3.0, "dynamics_scale": 1.0, "representation_scale": 1.0,  # kl_scale
    "decoder_scale": 1.0 / 2, "reward_scale": 1.0 / 2,
    "horizon": 15, "discount": 0.99, "lam": 0.95,  # disclam
    "entropy_scale": 0.0, "slow_critic_scale": 0.0, "replay_critic_scale": 0.0, "policy_unimix": 0.0,  # no such terms
    "world_model_lr": 6e-4, "actor_lr": 8e-5, "critic_lr": 8e-5, "final_lr": 1.0, "clip": 100.0,  # value_lr, grad_clip
    "envs": 1, "batch_size": 50, "sequence_length": 50,  # batch_length
    "prefill": 5000 / 2, "updates_per_step": 100 / (1000 / 2), "steps": 5e6 / 2,  # train_steps, train_every
}  # fmt: skip
V2 = {  # paper, table D.1, and dreamerv2/configs.yaml, atari; action_repeat: 4
    "layers": 4, "memory_size": 600, "latent_size": 32, "latent_classes": 32,
    "unimix": 0.0, "policy_unimix": 0.0, "free_nats": 0.0,
    "decoder_scale": 1.0 / 2, "reward_scale": 1.0 / 2, "continue_scale": 5.0,  # loss_scales.discount
    "dynamics_scale": 0.1 * 0.8, "representation_scale": 0.1 * (1 - 0.8),  # KL loss scale, KL balancing
    "horizon": 15, "discount": 0.995, "lam": 0.95, "entropy_scale": 1e-3,
    "slow_critic_scale": 0.0, "replay_critic_scale": 0.0,
    "world_model_lr": 2e-4, "actor_lr": 4e-5, "critic_lr": 1e-4, "final_lr": 1.0, "clip": 100.0,
    "envs": 1, "batch_size": 50, "sequence_length": 50,
    "prefill": 200_000 / 4, "updates_per_step": 1 / 4, "steps": 2e8 / 4,  # policy steps per gradient step: 4
}  # fmt: skip
V3 = {  # dreamerv3/configs.yaml; size1m, dmc_proprio
    "hidden": 64, "layers": 3, "latent_size": 32, "latent_classes": 4, "memory_size": 512, "memory_blocks": 8,
    "bins": 255, "conv_depth": 4, "unimix": 0.01, "policy_unimix": 0.0, "free_nats": 1.0,
    "decoder_scale": 1.0, "reward_scale": 1.0, "continue_scale": 1.0,  # rec, rew, con
    "dynamics_scale": 1.0, "representation_scale": 0.1, "replay_critic_scale": 0.3,  # dyn, rep, repval
    "horizon": 15, "discount": 1 - 1 / 333, "lam": 0.95, "entropy_scale": 3e-4,  # imag_length, horizon, actent
    "slow_critic_rate": 0.02, "slow_critic_scale": 1.0, "imagined_starts": 0,  # slowvalue.rate, slowreg, imag_last
    "world_model_lr": 4e-5, "actor_lr": 4e-5, "critic_lr": 4e-5, "final_lr": 1.0, "warmup": 1000,  # opt; no decay
    "clip": math.inf, "envs": 16, "batch_size": 16, "sequence_length": 64,
    "updates_per_step": 1024 / (16 * 64), "steps": 1.1e6,  # train_ratio
}  # fmt: skip
SAID_BY_THE_SOURCES = {"planet": PLANET, "dreamer_v1": V1, "dreamer_v2": V2, "dreamer_v3": V3}


@pytest.mark.parametrize("preset", LINEAGE)
def test_a_number_that_is_said_to_be_the_sources_is(preset: str) -> None:
    """The presets are made of the table, so a slip in it is in both; these numbers were written down apart from it."""
    said, config = SAID_BY_THE_SOURCES[preset], reference(preset)
    assert {option: config[option] for option in said} == pytest.approx(said)
    same = {o for o, cell in cells(preset).items() if not cell.theirs and type(cell.value) in (int, float)}
    assert same == set(said)


def test_the_sizes_of_the_reference_have_its_widths() -> None:
    """danijar/dreamerv3 `dreamerv3/configs.yaml:120-153`: deter, hidden and units, classes and depth."""
    widths = {
        "size1m": (512, 64, 4), "size12m": (2048, 256, 16), "size25m": (3072, 384, 24), "size50m": (4096, 512, 32),
        "size100m": (6144, 768, 48), "size200m": (8192, 1024, 64), "size400m": (12288, 1536, 96),
    }  # fmt: skip
    for size, (deter, units, depth) in widths.items():
        config = make_config("dreamer_v3", size)
        found = (config.memory_size, config.hidden, config.latent_classes, config.conv_depth)
        assert found == (deter, units, depth, depth), size
        assert (config.latent_size, config.memory_blocks, config.layers, config.bins) == (32, 8, 3, 255)
    assert [*widths] == [size for size in SIZES if size.startswith("size")]


# --- What is nano's own -----------------------------------------------------------------------------------------------


def test_every_value_that_is_nanos_own_is_marked_and_no_other() -> None:
    nano, theirs = asdict(make_config("dreamer_v3")), reference("dreamer_v3")
    own = {option for option in nano if nano[option] != theirs[option] and option != "size"}
    assert {option for option, line in LINES.items() if line.own} == own
    assert {option for option, line in LINES.items() if line.shown()[-1].endswith(" *")} == own
    assert lineage.own_values("dreamer_v3") == {option: (theirs[option], nano[option]) for option in own}
    widths = own & set(WIDTHS)
    counted = [int(number) for number in re.findall(r"\d+", lineage.summary())]
    assert counted == [len(own), len(widths), len(own - widths)]


@pytest.mark.parametrize("preset", LINEAGE)
def test_the_page_names_what_nano_changes_in_every_preset(preset: str) -> None:
    changed = {option for option in lineage.own_values(preset) if option not in WIDTHS}
    said = lineage.own_of(preset)
    assert set(re.findall(r"`(\w+)` ", said)) - {"nano"} == changed
    assert f"changes {len(changed)} of" in said


# --- What is printed --------------------------------------------------------------------------------------------------


def test_the_table_is_aligned_and_marks_what_the_source_has_otherwise() -> None:
    head, *rest = lineage.text().split("\n")
    starts = [found.start() for found in re.finditer(r"(?<=  )\S", head)]
    rows = {line.split()[0]: line for line in rest if re.match(r"[a-z_]+  ", line)}
    assert list(rows) == list(LINES)
    for option, row in rows.items():
        printed = [row[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        assert printed == LINES[option].shown()
        for text, cell in zip(printed, LINES[option].cells.values(), strict=False):
            assert (text == "-") == (cell is None)
            assert text.endswith(" ~") == bool(cell and cell.theirs)


def test_values_are_shown_as_a_person_writes_them() -> None:
    shown = [lineage.shown(value) for value in (True, False, 1_000_000, 4e-5, float("inf"), 0.997002, "gru")]
    assert shown == ["yes", "no", "1,000,000", "4e-05", "inf", "0.997", "gru"]


def test_the_page_of_the_book_is_the_one_that_is_printed() -> None:
    assert PAGE.read_text() == lineage.page(), "older than the presets: wm-tutorial presets --form page > " + str(PAGE)


def test_the_page_shows_every_value_every_source_and_every_difference() -> None:
    page = PAGE.read_text()
    for preset, (repository, commit, _) in REPOSITORIES.items():
        (part,) = re.findall(rf"^## {preset}\n(.+?)(?=^## |\Z)", page, re.M | re.S)
        assert f"https://github.com/{repository}/tree/{commit}" in part
        assert re.findall(r"^- (.+)$", part, re.M) == list(DIFFERENCES[preset])
        rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", part, re.M)
        expected = [(o, lineage.shown(c.value), c.theirs or "the same", c.source) for o, c in cells(preset).items()]
        assert rows == expected
    assert len(fields(Config)) > len(LINES) > 40
