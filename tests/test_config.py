"""Every option: which values it takes, and that they arrive as they were given."""

import dataclasses
import inspect
import json
import math
import re
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wm_tutorial.config import (
    LAPTOP,
    PRESETS,
    RANGES,
    SECTIONS,
    SIZES,
    Config,
    Preset,
    from_plain,
    make_config,
    plain,
    section_options,
    size_options,
    sizes_of,
)
from wm_tutorial.errors import InputError

HINTS = get_type_hints(Config)
LIMITS = {name: (low, high) for names, low, high, _ in RANGES for name in names.split()}
NUMBERS = [name for name, hint in HINTS.items() if hint in (int, float)]
INTEGERS = [name for name in NUMBERS if HINTS[name] is int]
FLOATS = [name for name in NUMBERS if HINTS[name] is float]

COUNTED = [  # of these there must be at least one
    *("steps", "hidden", "layers", "latent_size", "conv_depth", "horizon", "envs", "capacity", "batch_size"),
    *("sequence_length", "eval_episodes", "log_every"),
]
ROOMY = {
    "capacity": 10**9,
    "envs": 1,
    "sequence_length": 1,
    "memory_blocks": 1,
    "imagined_starts": 0,
    "elites": 1,
}  # alone


def with_value(name: str, value: Any) -> Config:
    return Config(**{**ROOMY, name: value})


# --- One option at a time ---------------------------------------------------------------------------------------------


def test_every_number_has_a_range_and_every_range_an_option() -> None:
    assert sorted(LIMITS) == sorted(NUMBERS)
    assert sum(len(names.split()) for names, *_ in RANGES) == len(LIMITS)


@pytest.mark.parametrize("name", NUMBERS)
def test_the_ends_of_each_range_are_accepted_and_what_lies_beyond_is_not(name: str) -> None:
    """An integer without an upper limit may be as large as one likes."""
    low, high = LIMITS[name]
    for value in (low, high if math.isfinite(high) else 10**12):
        typed = int(value) if name in INTEGERS else float(value)
        if name == "capacity":
            typed = max(typed, 2)
        if name == "bins":
            typed = typed | 1  # an odd number
        roomy: dict[str, Any] = {}
        if name == "memory_blocks":
            roomy = {"memory_size": typed}
        if name == "elites":
            roomy = {"candidates": typed}
        assert getattr(Config(**{**ROOMY, **roomy, name: typed}), name) == typed
    below = low - 1 if name in INTEGERS else math.nextafter(low, -math.inf)
    above = [] if math.isinf(high) else [high + 1 if name in INTEGERS else math.nextafter(high, math.inf)]
    for value in (below, *above):
        with pytest.raises(InputError) as caught:
            with_value(name, value)
        assert str(caught.value).startswith(f"{name} is {value}; it must be ")


@pytest.mark.parametrize("name", NUMBERS)
def test_zero_and_negative_numbers_are_refused_where_they_mean_nothing(name: str) -> None:
    if name in COUNTED or name == "clip":
        with pytest.raises(InputError, match=f"^{name} is 0"):
            with_value(name, 0)
    with pytest.raises(InputError, match=f"^{name} is -1"):
        with_value(name, -1)


@pytest.mark.parametrize("name", FLOATS)
def test_not_a_number_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"^{name} is nan"):
        with_value(name, math.nan)
    if name != "clip":
        with pytest.raises(InputError, match=f"^{name} is inf"):
            with_value(name, math.inf)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["1", None, True, [1], 1j], ids=repr)
def test_numbers_must_be_numbers(name: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        with_value(name, value)
    assert str(caught.value) == f"{name} is {value!r}; it must be of type {HINTS[name].__name__}."


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_must_be_whole(name: str) -> None:
    with pytest.raises(InputError, match=f"^{name} is 2.0; it must be of type int"):
        with_value(name, 2.0)


@pytest.mark.parametrize("name", FLOATS)
def test_integers_may_stand_for_floats(name: str) -> None:
    low, high = LIMITS[name]
    value = 1 if low <= 1 <= high else 0
    assert getattr(with_value(name, value), name) == value


@pytest.mark.parametrize("name", [name for name, hint in HINTS.items() if get_origin(hint) is Literal])
def test_choices_are_listed(name: str) -> None:
    for value in get_args(HINTS[name]):
        assert getattr(with_value(name, value), name) == value
    for value in ("other", None, 3):
        with pytest.raises(InputError) as caught:
            with_value(name, value)
        assert str(caught.value).startswith(f"{name} is {value!r}; accepted are ")
        assert all(repr(choice) in str(caught.value) for choice in get_args(HINTS[name]))


def test_every_option_is_checked_by_one_of_the_tests_above() -> None:
    choices = [name for name, hint in HINTS.items() if get_origin(hint) is Literal]
    switches = [name for name, hint in HINTS.items() if hint is bool]
    assert sorted([*NUMBERS, *choices, *switches, "preset", "size"]) == sorted(
        field.name for field in dataclasses.fields(Config)
    )


def test_sizes_belong_to_presets_that_have_some() -> None:
    with pytest.raises(InputError, match="size is 'small'; the preset 'guide' comes in one size"):
        make_config(size="small")
    with pytest.raises(InputError, match="size is 3; it must be of type"):
        Config(size=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="preset is 3; it must be of type str"):
        Config(preset=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "guide"])
def test_sizes_that_do_not_exist_are_refused_with_those_that_do(preset: str) -> None:
    sizes = [*SIZES, "paper"] if PRESETS[preset].paper else [*SIZES]
    for wrong in ("small", "", 3, ["nano"], *({"paper"} - set(sizes))):
        with pytest.raises(InputError) as caught:
            make_config(preset, wrong)  # type: ignore[arg-type]
        assert str(caught.value) == f"size is {wrong!r}; the preset {preset!r} comes in {', '.join(sizes)}."
    assert [make_config(preset, size).size for size in sizes] == sizes
    assert make_config(preset) == make_config(preset, "nano")


def test_a_preset_that_cannot_be_one_is_refused_like_any_other() -> None:
    with pytest.raises(InputError, match="There is no preset"):
        make_config(["guide"])  # type: ignore[arg-type]


def test_options_win_over_the_size_and_the_size_over_the_preset() -> None:
    config = make_config("dreamer_v3", "micro", hidden=12)
    assert config.hidden == 12 and config.memory_size == SIZES["micro"]["memory_size"]
    assert config.batch_size == LAPTOP["batch_size"] and config.sequence_length == LAPTOP["sequence_length"]
    assert config.sequence_length != PRESETS["dreamer_v3"].options["sequence_length"]
    small = PRESETS["dreamer_v3"].small["updates_per_step"]  # what makes one preset learn at small sizes
    assert config.updates_per_step == small != LAPTOP["updates_per_step"]
    assert config.fresh_sequences_first and config.heads == "two-hot"  # what the size says nothing of


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_and_size_learns_within_its_own_budget(preset: str) -> None:
    for size in sizes_of(preset) or [None]:
        config = make_config(preset, size)
        assert (config.steps - config.prefill) * config.updates_per_step > 1000
        assert config.capacity > config.prefill
        assert make_config(**dataclasses.asdict(config)) == config


def test_presets_and_sizes_name_options_there_are_and_only_what_they_change() -> None:
    default = dataclasses.asdict(Config())
    for preset in PRESETS.values():
        for options in (preset.options, preset.paper or {}):
            assert set(options) <= set(default)
    assert all(set(options) <= set(default) for options in SIZES.values())
    widths = {"memory_size", "latent_size", "hidden", "conv_depth", "layers"}
    assert all(widths <= set(options) for options in [*SIZES.values(), *(p.paper for p in PRESETS.values() if p.paper)])


def test_the_lineage_differs_where_its_papers_do() -> None:
    """Read across, each row is what one of the papers is known for."""
    table = {
        "guide": ("feed-forward", "gaussian", "squared-error", "actor-critic", "reinforce"),
        "planet": ("rssm", "gaussian", "squared-error", "planner", None),
        "dreamer_v1": ("rssm", "gaussian", "squared-error", "actor-critic", "dynamics"),
        "dreamer_v2": ("rssm", "categorical", "squared-error", "actor-critic", "reinforce"),
        "dreamer_v3": ("rssm", "categorical", "two-hot", "actor-critic", "reinforce"),
    }
    assert set(table) == set(PRESETS)
    for preset, row in table.items():
        c = make_config(preset)
        gradient = c.policy_gradient if c.behaviour == "actor-critic" else None
        assert (c.memory, c.latent, c.heads, c.behaviour, gradient) == row
        share = c.dynamics_scale / (c.dynamics_scale + c.representation_scale)
        assert share == pytest.approx({"planet": 0.5, "dreamer_v1": 0.5, "dreamer_v2": 0.8}.get(preset, 1 / 1.1))
        assert (c.memory_cell == "block-gru") == (preset in ("guide", "dreamer_v3"))


@pytest.mark.parametrize(("envs", "length"), [(1, 1), (4, 32), (3, 9)])
def test_the_replay_must_hold_a_sequence_and_the_row_before_it_for_every_environment(envs: int, length: int) -> None:
    least = envs * (length + 1)
    assert Config(envs=envs, sequence_length=length, capacity=least).capacity == least
    with pytest.raises(InputError, match=f"capacity is {least - 1} .*{envs} env.*{length} rows.*at least {least}"):
        Config(envs=envs, sequence_length=length, capacity=least - 1)


def test_elites_are_some_of_the_candidates() -> None:
    assert Config(candidates=7, elites=7).elites == 7
    with pytest.raises(InputError, match="elites is 8 and candidates is 7; elites are the best of the candidates"):
        Config(candidates=7, elites=8)


def test_planet_searches_as_long_as_its_paper_but_on_laptops() -> None:
    def search(size: str) -> tuple[float, ...]:
        c = make_config("planet", size)
        return c.horizon, c.candidates, c.elites, c.plan_iterations, c.action_noise

    assert {search(size) for size in sizes_of("planet") if size not in ("nano", "micro")} == {(12, 1000, 100, 10, 0.3)}
    for size in ("nano", "micro"):
        horizon, candidates, elites, iterations, noise = search(size)
        assert noise == 0.3 and elites < candidates / 4
        assert horizon * candidates * iterations < 12 * 1000 * 10 / 20


def test_a_config_cannot_be_changed_but_replaced() -> None:
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.steps = 5  # type: ignore[misc]
    assert dataclasses.replace(config, steps=5).steps == 5
    with pytest.raises(InputError, match="steps is 0"):
        dataclasses.replace(config, steps=0)


# --- Sections ---------------------------------------------------------------------------------------------------------


def test_every_option_is_in_one_section_in_the_order_of_the_dataclass() -> None:
    sections = section_options()
    assert list(sections) == list(SECTIONS)
    assert [option for options in sections.values() for option in options] == list(HINTS)
    assert {section: options[0] for section, options in sections.items()} == SECTIONS


def test_the_comments_in_the_dataclass_are_its_sections() -> None:
    written = re.findall(r"^    # (.+)\n    (\w+):", inspect.getsource(Config), re.MULTILINE)
    assert written == list(SECTIONS.items())


# --- As JSON ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_and_size_survives_strict_json(preset: str) -> None:
    for size in sizes_of(preset) or [None]:
        config = make_config(preset, size)
        assert from_plain(json.loads(json.dumps(plain(config), allow_nan=False))) == config


def test_infinity_is_a_word_in_json_and_older_files_may_have_their_own() -> None:
    config = make_config("dreamer_v3", "size1m")
    assert config.clip == math.inf and plain(config)["clip"] == "inf"
    assert {name: value for name, value in plain(config).items() if name != "clip"} == {
        name: value for name, value in dataclasses.asdict(config).items() if name != "clip"
    }
    assert from_plain(json.loads(json.dumps(dataclasses.asdict(config)))) == config  # with Infinity, as Python writes


@pytest.mark.parametrize("options", [{"clip": "many"}, {"horizon": "inf"}, {"preset": "inf"}, {"lam": "inf"}, {"x": 1}])
def test_what_cannot_be_read_back_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        from_plain(options)


# --- make_config ------------------------------------------------------------------------------------------------------


def test_without_arguments_the_config_is_that_of_the_dataclass() -> None:
    assert make_config() == Config()


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_makes_a_config_that_carries_its_name(preset: str) -> None:
    config = make_config(preset)
    assert config.preset == preset
    options = PRESETS[preset].options | size_options(preset, None)
    assert {name: getattr(config, name) for name in options} == options


def test_a_preset_changes_the_defaults_and_options_change_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"horizon": 77, "lam": 0.5}
    monkeypatch.setitem(PRESETS, "other", Preset("", "", "", "", "", "", options))
    nano = dataclasses.replace(Config(**size_options("other", "nano")), preset="other")
    assert make_config("other") == dataclasses.replace(nano, horizon=77, lam=0.5)
    assert make_config("other", lam=0.25, seed=3) == dataclasses.replace(nano, horizon=77, lam=0.25, seed=3)
    assert options == {"horizon": 77, "lam": 0.5}
    assert make_config() == Config()


def test_unknown_presets_and_options_are_refused_with_what_there_is() -> None:
    with pytest.raises(InputError, match=r"There is no preset 'dreamer'; there are guide"):
        make_config("dreamer")
    for wrong, right in [("horizn", "horizon"), ("batchsize", "batch_size"), ("lambda", "lam"), ("step", "steps")]:
        with pytest.raises(InputError, match=f"There is no option '{wrong}'; did you mean '{right}'"):
            make_config(**{wrong: 1})
    with pytest.raises(InputError, match=r"There is no option 'xyzzy'; `wm-tutorial train --help` lists all"):
        make_config(xyzzy=1)


# --- Any valid value --------------------------------------------------------------------------------------------------


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Some options, each with any value in its range."""
    options: dict[str, Any] = {}
    for name in draw(st.sets(st.sampled_from(sorted(HINTS)))):
        if name in INTEGERS:
            low, high = LIMITS[name]
            largest = {"memory_blocks": 10**5, "envs": 500}.get(name, high)  # with which others still fit
            options[name] = draw(st.integers(int(low), int(largest) if math.isfinite(high) else 10**6))
        elif name in FLOATS:
            low, high = LIMITS[name]
            options[name] = draw(st.floats(low, high))
        elif get_origin(HINTS[name]) is Literal:
            options[name] = draw(st.sampled_from(get_args(HINTS[name])))
    options["preset"] = draw(st.sampled_from(sorted(PRESETS)))
    default = make_config(options["preset"])
    envs, length = options.get("envs", default.envs), options.get("sequence_length", default.sequence_length)
    options["capacity"] = max(options.get("capacity", default.capacity), envs * (length + 1))
    options["bins"] = options.get("bins", default.bins) | 1
    if options.get("replay_critic_scale", default.replay_critic_scale):
        options["imagined_starts"] = 0
    options["elites"] = min(options.get("elites", default.elites), options.get("candidates", default.candidates))
    options["memory_size"] = draw(st.integers(1, 9)) * options.get("memory_blocks", default.memory_blocks)
    return options


@given(options=configs())
def test_any_valid_value_arrives_and_survives_being_written_down(options: dict[str, Any]) -> None:
    config = make_config(**options)
    assert {name: getattr(config, name) for name in options} == options
    others = {name: value for name, value in dataclasses.asdict(config).items() if name not in options}
    assert others == {name: getattr(make_config(options["preset"]), name) for name in others}
    assert make_config(**dataclasses.asdict(config)) == config
    assert make_config(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_bins_are_odd_and_blocks_divide_the_memory() -> None:
    with pytest.raises(InputError, match="bins is 64; it must be odd"):
        Config(bins=64)
    with pytest.raises(InputError, match=r"memory_size is 100.*multiple of 8"):
        Config(memory_size=100, memory_blocks=8)
    assert Config(memory_size=100, memory_blocks=8, memory_cell="gru").memory_size == 100  # which has no blocks


def test_the_critics_loss_on_real_sequences_needs_a_return_of_every_state() -> None:
    with pytest.raises(InputError, match="set imagined_starts to 0"):
        Config(replay_critic_scale=0.3)
    assert Config(replay_critic_scale=0.3, imagined_starts=0).replay_critic_scale == 0.3


@pytest.mark.parametrize("name", [name for name, hint in HINTS.items() if hint is bool])
def test_a_switch_is_true_or_false_and_nothing_else(name: str) -> None:
    assert getattr(Config(**{name: True}), name) is True
    for value in (1, 0, "yes", None):
        with pytest.raises(InputError, match=f"{name} is {value!r}; it must be of type bool"):
            Config(**{name: value})
