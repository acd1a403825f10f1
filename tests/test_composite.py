"""Several observations and actions at once: nothing is lost on the way, and each part keeps to itself."""

import dataclasses
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Sequence, Text, Tuple, flatten
from helpers import randomise, receivers
from hypothesis import given
from hypothesis import strategies as st
from scripted import Fixed, Seeded, Space, assert_same, memory, snapshot, timeless, tiny
from torch import Tensor, nn
from torch.distributions import Normal, OneHotCategorical

from wm_tutorial.actor_critic import CompositeActor
from wm_tutorial.agent import Agent, told_spaces
from wm_tutorial.composite import CompositeSpaces, EachOneOf
from wm_tutorial.data import Batch, Spaces, State
from wm_tutorial.envs import Environments
from wm_tutorial.errors import EnvironmentFailure, InputError
from wm_tutorial.latents import OneHot
from wm_tutorial.learner import Learner
from wm_tutorial.play.page import page
from wm_tutorial.runs.doctor import diagnosis
from wm_tutorial.runs.doctor.finding import Told
from wm_tutorial.runs.doctor.symptoms_of_records import entropy_bounds
from wm_tutorial.runs.dream import dream, open_loop_errors
from wm_tutorial.spaces import describe, warn_of_large_images
from wm_tutorial.trainer import Trainer

SEEN = Dict(
    {
        "camera": Box(0, 255, (8, 9, 3), np.uint8),
        "map": Box(0, 255, (10, 8), np.uint8),
        "arm": Dict({"speed": memory(2), "gear": Discrete(3, start=1)}),
        "both": Tuple((MultiDiscrete([2, 4], start=[1, -1]), Box(-1.0, 1.0, (2, 2)))),
        "switches": MultiBinary(3),
    }
)
DONE = Dict(
    {
        "buttons": MultiBinary(2),
        "steer": Box(np.float32([-2, 0]), np.float32([3, 0.1])),
        "more": Tuple((Discrete(3, start=5), MultiDiscrete([[2, 3], [4, 2]]))),
    }
)
NAMES = ["arm/gear", "arm/speed", "both/0", "both/1", "camera", "map", "switches"]


class Busy(Seeded):
    """Sees and takes everything at once, and is a function of its seed and of every number of its actions."""

    def __init__(self, obs_space: Space = SEEN, action_space: Space = DONE) -> None:
        self.observation_space, self.action_space = obs_space, action_space

    def worth(self, action: Any) -> float:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        return float(1e3 * np.asarray(flatten(self.action_space, action), np.float64).sum() % 1.0)

    def observation(self) -> Any:
        self.observation_space.seed(self.moment)
        obs = self.observation_space.sample()
        if self.observation_space is SEEN:
            obs["arm"]["speed"] = np.array([self.number, self.total], np.float32)
        return obs


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    trainer = Trainer(Busy, tiny(steps=100, updates_per_step=0.1, log_every=50), tmp_path_factory.mktemp("run"))
    trainer.run()
    return trainer


# --- From the environment and back ------------------------------------------------------------------------------------


def nested(*leaves: st.SearchStrategy[Space]) -> st.SearchStrategy[Space]:
    """Dicts and tuples of dicts and tuples of these."""
    keys = st.sampled_from(["a", "b c", "d.e", "keys", "0"])
    return st.recursive(
        st.one_of(*leaves),
        lambda inner: st.one_of(
            st.dictionaries(keys, inner, min_size=1, max_size=3).map(Dict),
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: Tuple(tuple(parts))),
        ),
        max_leaves=6,
    )


COUNTS = st.lists(st.integers(1, 5), min_size=1, max_size=3)
CLASSES = (
    st.builds(lambda n, start: Discrete(n, start=start), st.integers(1, 5), st.integers(-3, 2**40)),
    COUNTS.map(lambda counts: MultiDiscrete(counts, start=[7 * count - 20 for count in counts])),
    COUNTS.map(lambda counts: MultiDiscrete([counts, counts])),
    st.sampled_from([MultiBinary(1), MultiBinary(4), MultiBinary([2, 3])]),
)
OBSERVED = nested(
    *CLASSES,
    st.sampled_from([memory(1), memory(4), Box(-1.0, 1.0, ()), Box(-5, 5, (2, 3), np.int16), Box(0, 1, (3,), bool)]),
    st.sampled_from([Box(0, 255, (9, 8, 1), np.uint8), Box(0, 255, (8, 11), np.uint8)]),
)
TAKEN = nested(*CLASSES, st.sampled_from([Box(-2.0, 3.0, (2,)), Box(0.0, 0.1, (1,), np.float64)]))


def leaves(space: Space, value: Any) -> list[tuple[Space, Any]]:
    """The spaces that a nest is made of and the values there, in Gymnasium's order."""
    if isinstance(space, Dict):
        return [leaf for key, part in space.spaces.items() for leaf in leaves(part, value[key])]
    if isinstance(space, Tuple):
        return [leaf for part, one in zip(space.spaces, value, strict=True) for leaf in leaves(part, one)]
    return [(space, value)]


def flat(space: Space, value: Any) -> Any:
    """Gymnasium's own flat form of a leaf; only of what is yes or no it keeps one number, and the networks two."""
    vector = np.asarray(flatten(space, value), np.float32)
    return np.stack([1 - vector, vector], axis=-1).reshape(-1) if isinstance(space, MultiBinary) else vector


@given(space=OBSERVED, seed=st.integers(0, 99))
def test_encoders_see_every_part_as_gymnasium_flattens_it(space: Space, seed: int) -> None:
    spaces = describe(Tuple((space, memory(1))), Discrete(2))
    assert isinstance(spaces, CompositeSpaces)
    space.seed(seed)
    seen = [(space.sample(), np.array([i], np.float32)) for i in range(3)]
    packed = spaces.encode_obs(seen)
    assert packed.shape == (3, *spaces.obs_shape) and packed.dtype == spaces.obs_dtype == np.uint8
    parts = spaces.unpack(torch.from_numpy(packed))
    for i, obs in enumerate(seen):
        expected = leaves(Tuple((space, memory(1))), obs)
        assert len(expected) == len(parts)
        for (leaf, value), part in zip(expected, parts, strict=True):
            if part.dim() == 4:
                assert_same(part[i], torch.from_numpy(value.reshape(*value.shape[:2], -1)))
            else:
                assert_same(part[i].numpy(), flat(leaf, value))


@given(space=TAKEN, seed=st.integers(0, 99))
def test_actions_of_the_networks_become_those_of_the_environment(space: Space, seed: int) -> None:
    whole = Tuple((space, Discrete(2)))
    spaces = describe(memory(1), whole)
    whole.seed(seed)
    wanted = [whole.sample() for _ in range(3)]
    vectors = []
    for action in wanted:
        scaled = [
            2.0 * (value.astype(np.float64) - leaf.low) / (leaf.high - leaf.low) - 1.0
            if isinstance(leaf, Box)
            else flat(leaf, value)
            for leaf, value in leaves(whole, action)
        ]
        vectors.append(np.concatenate(scaled))
    assert len(vectors[0]) == spaces.action_size == sum(size for _, size in spaces.factors)
    numbers = spaces.decode_action(np.stack(vectors))
    for action, row in zip(wanted, numbers, strict=True):
        taken = spaces.structured(row)
        assert whole.contains(taken)
        for (leaf, value), (_, got) in zip(leaves(whole, action), leaves(whole, taken), strict=True):
            np.testing.assert_allclose(got, value, rtol=1e-6, atol=1e-7, err_msg=str(leaf))


@given(space=TAKEN, seed=st.integers(0, 99))
def test_actions_by_chance_are_ones_that_the_environment_takes(space: Space, seed: int) -> None:
    environments = Environments(lambda: Fixed(memory(1), Tuple((space,))), 2, (seed,))
    row = environments.reset()
    environments.step(row, environments.random_action(np.random.default_rng(seed)))
    for stream in environments.streams:
        (action,) = stream.unwrapped.taken  # type: ignore[attr-defined]
        assert Tuple((space,)).contains(action)


@pytest.mark.parametrize("space", [MultiDiscrete([2, 3]), MultiBinary(3), Dict({"only": Discrete(2)})])
def test_single_spaces_need_no_nest(space: Space) -> None:
    trainer = Trainer(lambda: Busy(space, space), tiny(steps=24))
    trainer.run()
    space.seed(1)
    action, _ = trainer.agent.act(space.sample())
    assert space.contains(action)


@given(observed=OBSERVED, taken=TAKEN)
def test_files_tell_of_spaces_what_they_are(observed: Space, taken: Space) -> None:
    spaces = describe(Tuple((observed,)), taken)
    told = json.loads(json.dumps(dataclasses.asdict(spaces)))
    assert told_spaces(told) == spaces
    assert told_spaces(dataclasses.asdict(spaces)) == spaces


def spoilt(**changes: Any) -> dict[str, Any]:
    told = dataclasses.asdict(describe(SEEN, DONE))
    part = told["obs_parts"][0] | {name: value for name, value in changes.items() if name not in told}
    return told | {"obs_parts": (part, *told["obs_parts"][1:])} | {k: v for k, v in changes.items() if k in told}


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "sound"}, {"shape": (-1,)}, {"classes": (2, 2)}, {"classes": (2.0,)}, {"low": ()}, {"dtype": "U9"},
        {"path": (1.5,)}, {"path": ("camera",)}, {"path": "camera"}, {"more": 1}, {"obs_shape": (4,)},
        {"obs_parts": ()}, {"action_size": 3}, {"action_parts": 7}, {"obs_kind": "vector"}, {"action_low": (0.0,)},
    ],
)  # fmt: skip
def test_files_that_tell_of_impossible_parts_are_refused(changes: dict[str, Any]) -> None:
    told_spaces(spoilt())
    with pytest.raises((ValueError, TypeError, InputError)):
        told_spaces(spoilt(**changes))


def test_files_that_tell_of_no_parts_are_refused() -> None:
    told = dataclasses.asdict(describe(SEEN, DONE))
    with pytest.raises(ValueError, match="not of their parts"):
        told_spaces({name: value for name, value in told.items() if not name.endswith("parts")})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"camera": np.zeros((8, 9, 3))}, "under 'camera' an observation of type float64"),
        ({"camera": np.zeros((9, 8, 3), np.uint8)}, "under 'camera' an observation of shape (9, 8, 3)"),
        ({"arm": {"speed": np.zeros(2)}}, "an observation without 'arm/gear'"),
        ({"arm": {"speed": np.zeros(2), "gear": 0}}, "under 'arm/gear' the observation 0; it must be a whole number"),
        ({"arm": {"speed": np.array([0, np.nan]), "gear": 1}}, "under 'arm/speed' the observation nan"),
        ({"both": ([1, 3], np.zeros((2, 2)))}, "the observation 3; it must be a whole number from -1 to 2"),
        ({"switches": [0, 0.5, 1]}, "under 'switches' the observation 0.5"),
        ({"switches": "yes"}, "under 'switches'"),
        ({"both": 3}, "an observation without 'both/0'"),
    ],
)
def test_what_does_not_fit_its_part_is_refused(change: dict[str, Any], said: str) -> None:
    usual = Fixed(SEEN).usual
    Environments(lambda: Fixed(SEEN, observation=usual), 1, (0,)).reset()
    with pytest.raises(EnvironmentFailure, match=re.escape(said)):
        Environments(lambda: Fixed(SEEN, observation=usual | change), 1, (0,)).reset()


# --- Spaces that are not understood -----------------------------------------------------------------------------------


def advised(message: str, env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """The environment with the wrapper that an error recommends."""
    found = re.search(r"(gymnasium\.wrappers\.TransformObservation\(.*\)) (turns|writes)", message)
    assert found, message
    wrapped: gym.Env[Any, Any] = eval(found[1], {"gymnasium": gym, "env": env, "np": np})
    return wrapped


WAYS: list[Callable[[Space], Space]] = [
    lambda space: Dict({"eye": space, "speed": memory(1)}),
    lambda space: Tuple((memory(1), space, memory(2))),
    lambda space: Dict({"head": Tuple((Dict({"it's": space}), Discrete(2))), "speed": memory(1)}),
]


@pytest.mark.parametrize("nest", WAYS)
@pytest.mark.parametrize("space", [Box(0, 255, (3, 16, 20), np.uint8), Box(0.0, 1.0, (16, 16, 3)), Text(5)])
def test_a_part_that_is_not_understood_is_refused_with_a_wrapper_that_mends_it(nest: Any, space: Space) -> None:
    env = Fixed(nest(space))
    with pytest.raises(InputError, match=r"The observation space under .* is") as caught:
        describe(env.observation_space, Discrete(2))
    mended = advised(str(caught.value), env)
    spaces = describe(mended.observation_space, Discrete(2))
    assert isinstance(spaces, CompositeSpaces)
    assert sum(part.kind == "image" for part in spaces.obs_parts) == (0 if isinstance(space, Text) else 1)
    obs, _ = mended.reset()
    assert mended.observation_space.contains(obs)
    spaces.encode_obs([obs])


@pytest.mark.parametrize(
    ("space", "help_"),
    [
        (Text(5), "gymnasium.spaces.flatten"),
        (Sequence(memory(2)), "fill it up to its greatest length"),
        (Graph(memory(2), None), "nodes and edges as arrays"),
    ],
)
def test_what_has_no_fixed_size_is_refused_with_the_wrapper_that_helps(space: Space, help_: str) -> None:
    for whole in (space, Dict({"it": space, "speed": memory(1)})):
        with pytest.raises(InputError, match=f"The observation space.*accepted are.*TransformObservation.*{help_}"):
            describe(whole, Discrete(2))
        with pytest.raises(InputError, match=r"The action space.*accepted are.*TransformAction"):
            describe(memory(1), whole)


UNNAMED = [
    Dict({}), Tuple(()), Dict({"speed": memory(1), "rest": Tuple(())}), Dict({1: Discrete(2)}),  # type: ignore[dict-item]
    Dict({"a/b": Discrete(2), "a": Dict({"b": Discrete(2)})}),
]  # fmt: skip


@pytest.mark.parametrize("space", UNNAMED)
def test_parts_without_a_name_of_their_own_are_refused(space: Space) -> None:
    for spaces in ((space, Discrete(2)), (memory(1), space)):
        with pytest.raises(InputError, match="there must be at least one"):
            describe(*spaces)


def test_large_images_are_warned_of_in_a_dict_too() -> None:
    spaces = describe(Dict({"eye": Box(0, 255, (200, 210), np.uint8), "speed": memory(1)}), Discrete(2))
    with pytest.warns(UserWarning, match="200 x 210 pixels"):
        warn_of_large_images(spaces)


# --- What is learned --------------------------------------------------------------------------------------------------


def batch_of(spaces: Spaces, agent: Agent, rows: int = 5) -> Batch:
    rng, replay_rows = np.random.default_rng(0), 2
    environments = Environments(Busy, replay_rows, (0,))
    row, seen = environments.reset(), []
    for _ in range(rows):
        seen.append(row.obs)
        row = environments.step(row, environments.random_action(rng))
    actions = torch.from_numpy(rng.normal(size=(replay_rows, rows + 1, spaces.action_size)).astype(np.float32))
    no = torch.zeros(replay_rows, rows, dtype=torch.bool)
    start: State = agent.initial(replay_rows).state
    obs = torch.from_numpy(np.stack(seen, axis=1))
    return Batch(obs, actions[:, 1:], actions[:, :-1], torch.rand(replay_rows, rows), no, no, no, start)


@pytest.fixture
def agent() -> Agent:
    torch.manual_seed(0)
    made = Agent(describe(SEEN, DONE), tiny(free_nats=0.0))
    randomise(made)
    return made


def test_each_part_has_a_loss_of_its_own_and_the_decoder_scale_holds_for_all(agent: Agent) -> None:
    model, spaces = agent.world_model, agent.spaces
    assert isinstance(spaces, CompositeSpaces) and [part.name for part in spaces.obs_parts] == NAMES
    batch = batch_of(spaces, agent)
    torch.manual_seed(1)
    losses, states = model.losses(batch)
    assert list(losses) == [*(f"decoder/{name}" for name in NAMES), "reward", "continue", "dynamics", "representation"]
    parts = spaces.unpack(batch.obs)
    for i, (part, seen) in enumerate(zip(spaces.obs_parts, parts, strict=True)):
        prediction = model.decoder.decoders[i](states.feature)
        expected = prediction.loss(seen)
        if len(part.classes) > 1:  # of each number its own cross-entropy
            logits = prediction.logits.split(part.classes, -1)
            targets = seen.split(part.classes, -1)
            expected = torch.stack(
                [OneHotCategorical(logits=one).log_prob(target) for one, target in zip(logits, targets, strict=True)]
            ).sum(0).neg()  # fmt: skip
        torch.testing.assert_close(losses[f"decoder/{part.name}"], expected)
    learner = Learner(agent, dataclasses.replace(agent.config, clip=float("inf")))
    means = {name: loss.mean() for name, loss in losses.items() if name.startswith("decoder/")}
    parameters = list(model.encoder.parameters())
    added = agent.config.decoder_scale * torch.stack(list(means.values())).sum()
    expected_gradients = torch.autograd.grad(added, parameters, retain_graph=True)
    learner.backward(means)
    for parameter, gradient in zip(parameters, expected_gradients, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient)


def test_gradients_of_a_part_reach_its_own_decoder_and_no_other(agent: Agent) -> None:
    model = agent.world_model
    losses, _ = model.losses(batch_of(agent.spaces, agent))
    decoders: dict[str, nn.Module] = dict(zip(NAMES, model.decoder.decoders, strict=True))
    encoders: dict[str, nn.Module] = dict(zip(NAMES, model.encoder.encoders, strict=True))
    for name in NAMES:
        assert receivers(losses[f"decoder/{name}"], decoders) == {name}
        for other in NAMES:  # all encoders say together what the state is
            gradients = torch.autograd.grad(
                losses[f"decoder/{name}"].sum(), list(encoders[other].parameters()), retain_graph=True
            )
            assert any(bool(gradient.any()) for gradient in gradients), (name, other)


def test_each_encoder_sees_its_own_part(agent: Agent) -> None:
    spaces, encoder = agent.spaces, agent.world_model.encoder
    assert isinstance(spaces, CompositeSpaces)
    one, other = Fixed(SEEN).usual, Busy()
    other.reset(seed=0)
    sizes = [module.outputs for module in encoder.encoders]
    before = encoder(torch.from_numpy(spaces.encode_obs([one]))).split(sizes, -1)
    for changed in ("camera", "map", "switches"):
        obs = one | {changed: 255 - one[changed] if one[changed].dtype == np.uint8 else 1 - one[changed]}
        after = encoder(torch.from_numpy(spaces.encode_obs([obs]))).split(sizes, -1)
        moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert moved == [name == changed for name in NAMES]


def test_open_loop_predictions_do_not_see_what_they_predict(agent: Agent) -> None:
    batch = batch_of(agent.spaces, agent)
    obs = batch.obs.clone()
    obs[:, 3:] = obs[:, :1]
    torch.manual_seed(2)
    one = agent.world_model.open_loop(batch, 3)
    torch.manual_seed(2)
    other = agent.world_model.open_loop(dataclasses.replace(batch, obs=obs), 3)
    assert torch.equal(one.obs, other.obs) and torch.equal(one.reward, other.reward)
    assert one.obs.shape == (2, 5, 8, 9, 3) and not torch.equal(batch.obs, obs)


@given(
    classes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    seed=st.integers(0, 99),
    size=st.sampled_from([1.0, 1e3]),
)
def test_classes_side_by_side_are_each_a_distribution(classes: list[int], seed: int, size: float) -> None:
    logits = size * torch.randn(3, sum(classes), generator=torch.Generator().manual_seed(seed))
    logits.requires_grad_(True)
    alone = [OneHotCategorical(logits=one) for one in logits.split(classes, -1)]
    seen = torch.cat([one.sample() for one in alone], -1)
    found = EachOneOf(logits, tuple(classes))
    torch.testing.assert_close(found.mean, torch.cat([one.probs for one in alone], -1))
    expected = -torch.stack([one.log_prob(x) for one, x in zip(alone, seen.split(classes, -1), strict=True)]).sum(0)
    torch.testing.assert_close(found.loss(seen), expected)
    gradients = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (found.loss(seen), expected)]
    torch.testing.assert_close(*gradients)


# --- The policy -------------------------------------------------------------------------------------------------------


def policy_in(features: Tensor, unimix: float = 0.25) -> Any:
    torch.manual_seed(0)
    actor = CompositeActor(features.shape[-1], describe(SEEN, DONE), hidden=16, layers=1, unimix=unimix)
    randomise(actor)
    return actor(features)


def test_the_policy_is_a_product_of_independent_distributions() -> None:
    policy = policy_in(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
    spaces = describe(SEEN, DONE)
    assert [size for _, size in spaces.factors] == [2, 2, 3, 2, 3, 4, 2, 2] == list(policy.sizes)
    torch.manual_seed(1)
    action = policy.sample()
    log_prob, entropy = torch.zeros(4), torch.zeros(4)
    for (kind, _), factor, chosen in zip(spaces.factors, policy.factors, action.split(policy.sizes, -1), strict=True):
        if kind == "discrete":
            assert isinstance(factor, OneHot)
            assert (factor.probabilities >= 0.25 / chosen.shape[-1] - 1e-6).all()  # every factor has its uniform share
            assert torch.equal(chosen.sum(-1), torch.ones(4)) and torch.equal(chosen.max(-1).values, torch.ones(4))
            log_prob = log_prob + OneHotCategorical(factor.probabilities).log_prob(chosen)
            entropy = entropy + OneHotCategorical(factor.probabilities).entropy()
        else:
            log_prob = log_prob + Normal(factor.mean, factor.std).log_prob(chosen).sum(-1)
            entropy = entropy + Normal(factor.mean, factor.std).entropy().sum(-1)
    torch.testing.assert_close(policy.log_prob(action), log_prob)
    torch.testing.assert_close(policy.entropy(), entropy)
    assert policy.log_prob(policy.mode).shape == (4,) and (policy.log_prob(policy.mode) >= log_prob).all()


def test_factors_are_drawn_independently_and_as_often_as_they_are_likely() -> None:
    policy = policy_in(torch.zeros(20_000, 6))
    action = policy.sample()
    expected = torch.cat([f.probabilities if isinstance(f, OneHot) else f.mean for f in policy.factors], -1)
    torch.testing.assert_close(action.mean(0), expected[0], atol=0.03, rtol=0)
    first, *others = action.split(policy.sizes, -1)
    for other in others:
        together = (first[:, :1] * other).mean(0)
        torch.testing.assert_close(together, first[:, 0].mean() * other.mean(0), atol=0.02, rtol=0)


def test_gradients_reach_every_factor_through_actions_as_well() -> None:
    features = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    for gradient_of in (lambda p: p.rsample().square().sum(), lambda p: p.log_prob(p.sample()).sum()):
        actor = CompositeActor(6, describe(SEEN, DONE), hidden=16, layers=1, unimix=0.01)
        randomise(actor)
        gradient_of(actor(features)).backward()
        output = actor.net[-1]
        assert isinstance(output, nn.Linear) and output.weight.grad is not None
        assert output.weight.grad.any(-1).all()


# --- A run ------------------------------------------------------------------------------------------------------------


class Boxed(gym.ObservationWrapper[Any, Any, Any]):
    """The same environment, whose observation lies in a dict."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.observation_space = Dict({"it": env.observation_space})

    def observation(self, observation: Any) -> Any:
        return {"it": observation}


@pytest.mark.parametrize(
    ("obs_space", "action_space"),
    [
        (memory(3), Discrete(3, start=2)),
        (Discrete(4, start=-1), Box(-1.0, 2.0, (2,))),
        (Box(0, 255, (8, 8, 3), np.uint8), Discrete(2)),
    ],
)
def test_a_dict_of_one_key_is_learned_from_as_that_key_alone(obs_space: Space, action_space: Space) -> None:
    """To the last digit: the same networks, the same draws, the same losses under another name."""

    def plain() -> Busy:
        return Busy(obs_space, action_space)

    config = tiny(memory="rssm", memory_size=8, memory_blocks=1)
    alone, boxed = Trainer(plain, config), Trainer(lambda: Boxed(plain()), config)
    alone.run()
    boxed.run()
    told = json.dumps(timeless(boxed.records)).replace('"decoder/it"', '"decoder"')
    assert json.loads(told) == timeless(alone.records) and '"decoder/it"' in json.dumps(boxed.records)
    weights = [list(trainer.agent.parameters()) for trainer in (alone, boxed)]
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


@pytest.mark.parametrize("options", [{}, {"policy_gradient": "dynamics", "memory": "rssm"}])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(options: dict[str, Any], tmp_path: Path) -> None:
    config = tiny(steps=50, updates_per_step=0.15, **options)
    unbroken = Trainer(Busy, config)
    unbroken.run()
    stopped = Trainer(Busy, config, tmp_path)
    while stopped.steps < 37:
        while stopped.updates < stopped.updates_due:
            stopped._add_up(stopped.train_step())
        stopped.collect()
    stopped.save()
    resumed = Trainer.load(tmp_path, Busy)
    assert_same(snapshot(resumed), snapshot(stopped))
    resumed.run()
    mine, theirs = snapshot(resumed), snapshot(unbroken)
    assert_same({k: v for k, v in mine.items() if k != "sums"}, {k: v for k, v in theirs.items() if k != "sums"})


def test_a_saved_agent_acts_as_before_in_the_users_own_structure(trained: Trainer) -> None:
    assert trained.folder
    agent = Agent.load(trained.folder)
    assert agent.spaces == trained.agent.spaces
    SEEN.seed(5)
    seen = [SEEN.sample() for _ in range(3)]
    action, carry = agent.act(seen[0])
    again, _ = trained.agent.act(seen[0])
    assert DONE.contains(action)
    assert_same(action, again)
    assert DONE.contains(agent.act(seen[1], carry)[0])
    many = gym.vector.utils.concatenate(SEEN, seen, gym.vector.utils.create_empty_array(SEEN, 3))
    actions, _ = agent.act(many)
    for i, one in enumerate(gym.vector.utils.iterate(gym.vector.utils.batch_space(DONE, 3), actions)):
        alone, _ = agent.act(seen[i])
        np.testing.assert_allclose(flatten(DONE, one), flatten(DONE, alone), atol=1e-5)
    with pytest.raises(InputError, match=r"act was given an observation without 'camera'.* The agent was made for obs"):
        agent.act({name: value for name, value in seen[0].items() if name != "camera"})
    with pytest.raises(InputError, match="act was given"):
        agent.act(many | {"camera": many["camera"][:2]})
    with pytest.raises(InputError, match="act was given"):
        agent.act(3)


def test_agents_of_several_parts_are_evaluated_dream_and_are_measured(trained: Trainer) -> None:
    agent = trained.agent
    assert trained.evaluate(3) == trained.evaluate(3)
    dreamt = dream(agent, Busy, context=1, horizon=4)
    assert dreamt.is_image and dreamt.obs.shape[1:] == (8, 9, 3) and dreamt.names == ()
    assert (dreamt.obs[0] == Fixed(SEEN).usual["camera"]).all() or dreamt.obs.any()
    errors = open_loop_errors(agent, Busy, episodes=3, context=1, horizon=2)
    assert len(errors.obs) == len(errors.persistence) == 2 and np.isfinite(errors.obs).all()
    with pytest.raises(InputError, match=r"The agent was made for observations .*camera.* No world that can be played"):
        page(agent)


def test_the_doctor_looks_at_agents_of_several_parts(trained: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "ENOUGH", 1)
    found = diagnosis.examine(trained)
    assert any(line.startswith("the model") for line in found.looked)
    bounds = entropy_bounds(Told.by_metrics(trained.config, [], trained.agent.spaces))
    assert bounds is not None and bounds[0] < bounds[1]
    high = [math.log(n) if kind == "discrete" else n * 0.5 * math.log(2 * math.pi * math.e)
            for kind, n in trained.agent.spaces.factors]  # fmt: skip
    assert len(high) > 1 and bounds[1] == pytest.approx(sum(high))


def test_a_dream_without_images_shows_every_number_by_its_name() -> None:
    space = Dict({"speed": memory(1), "gear": Discrete(2), "arm": memory(2)})
    trainer = Trainer(lambda: Busy(space, MultiBinary(2)), tiny(steps=24))
    trainer.run()
    dreamt = dream(trainer.agent, lambda: Busy(space, MultiBinary(2)), context=1, horizon=3)
    assert dreamt.names == ("arm 0", "arm 1", "gear 0", "gear 1", "speed")
    env = Busy(space, MultiBinary(2))
    env.moment = 0
    first = env.observation()
    assert_same(
        dreamt.obs[0], np.concatenate([first["arm"], np.eye(2)[first["gear"]], first["speed"]]).astype("float32")
    )
    assert not dreamt.is_class


def test_a_planner_sees_several_parts_and_does_one_thing() -> None:
    options: dict[str, Any] = {"behaviour": "planner", "candidates": 6, "elites": 2, "plan_iterations": 1, "steps": 24}
    planner = Trainer(lambda: Busy(SEEN, Dict({"steer": Box(-2.0, 3.0, (2,))})), tiny(**options))
    planner.run()
    with pytest.raises(InputError, match=r"behaviour is 'planner'.*one discrete or continuous action.*actor-critic"):
        Trainer(Busy, tiny(**options))


def test_other_environments_than_the_one_it_was_made_for_are_refused(trained: Trainer) -> None:
    with pytest.raises(InputError, match=r"made for observations .*camera.*this environment has vector observations"):
        trained.agent.check_fits(describe(memory(2), Discrete(2)))
    with pytest.raises(InputError, match="made for"):
        trained.agent.check_fits(describe(SEEN, Tuple((DONE,))))


# --- It learns --------------------------------------------------------------------------------------------------------


class Signals(gym.Env[Any, Any]):
    """Keep the lamp on and the dial at 0: a button changes the lamp, a wheel turns the dial, and a clock runs.

    Reward in each of 10 steps: 1 if the lamp is on, and 1 less the distance of the dial from 0.
    """

    observation_space = Dict(
        {
            "lamp": Discrete(2, start=1),
            "dial": Box(-1.0, 1.0, (1,)),
            "clock": MultiDiscrete([2, 10]),
        }
    )
    action_space = Dict({"button": Discrete(2), "wheel": Box(-1.0, 1.0, (1,))})

    def look(self) -> Any:
        clock = np.array([self.moment // 10, self.moment % 10])
        return {"lamp": 1 + self.lamp, "dial": np.float32([self.dial]), "clock": clock}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.moment, self.lamp = 0, int(self.np_random.integers(2))
        self.dial = float(self.np_random.uniform(-1, 1))
        return self.look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.moment += 1
        self.lamp ^= int(action["button"])
        self.dial = float(np.clip(self.dial + 0.5 * action["wheel"][0], -1.0, 1.0))
        return self.look(), self.lamp + 1.0 - abs(self.dial), False, self.moment == 10, {}


def test_the_model_learns_to_see_and_foresee_every_part() -> None:
    config = tiny(
        behaviour="random", steps=240, prefill=100, hidden=32, latent_size=8, batch_size=16, sequence_length=4,
        updates_per_step=0.75, log_every=50, world_model_lr=0.003, final_lr=1.0, decoder_scale=3.0, free_nats=0.1,
    )  # fmt: skip
    trainer = Trainer(Signals, config)
    trainer.run()
    first, *_, last = [record["losses"] for record in trainer.records if record["kind"] == "train"]
    names = [f"decoder/{name}" for name in ("clock", "dial", "lamp")]
    assert names == [name for name in first if name.startswith("decoder")]
    for name in names:
        assert last[name] < 0.5 * first[name], (name, first[name], last[name])
    errors = open_loop_errors(trainer.agent, Signals, episodes=50, context=3, horizon=2)
    assert errors.obs[0] < errors.persistence[0]
