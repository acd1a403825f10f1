"""V, M and C of World Models 2018, each compared with what can be computed in another way."""

import itertools
import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from helpers import CONTINUOUS, IMAGES, STANDARD_ERRORS, VECTORS, uniform
from torch import Tensor

from wm_tutorial.data import Spaces, State
from wm_tutorial.errors import InputError
from wm_tutorial.heads import Image
from wm_tutorial.latents import Gaussian
from wm_tutorial.world_models_2018 import (
    Controller,
    DreamedWorld,
    Memory,
    Mixture,
    Vision,
    bound,
    evolve,
    make_settings,
    play,
)
from wm_tutorial.world_models_2018.controller import act, look

Z, K = 3, 4


def mixture(seed: int, *leading: int, components: int = K) -> Mixture:
    return Mixture.of(uniform(*leading, 3 * Z * components, seed=seed, low=-1.5, high=1.5), components)


# --- V: the bound -----------------------------------------------------------------------------------------------------


def linear_case() -> tuple[Gaussian, Any, Tensor, Tensor]:
    """A Gaussian posterior, a linear decoder of pictures, pictures, and the decoder's matrix (Z, pixels)."""
    posterior = Gaussian(uniform(5, Z, seed=0), uniform(5, Z, seed=1, low=-3.0, high=0.0))
    matrix = uniform(Z, 8 * 9 * 2, seed=2, low=-0.2, high=0.2)
    obs = uniform(5, 8, 9, 2, seed=3, low=0, high=256).to(torch.uint8)
    return posterior, lambda z: Image((z @ matrix).reshape(*z.shape[:-1], 8, 9, 2)), obs, matrix


def test_the_bound_of_a_linear_decoder_is_its_closed_form() -> None:
    """E |x - W z|^2 = |x - W mean|^2 + sum over j of variance_j |W_j|^2."""
    posterior, decode, obs, matrix = linear_case()
    torch.manual_seed(0)
    drawn = torch.stack([bound(posterior, decode, obs, 0.0)["picture"] for _ in range(4000)])
    distance = ((obs.float() / 255.0).flatten(1) - posterior.mean @ matrix).square().sum(-1)
    expected = (distance + posterior.logvar.exp() @ matrix.square().sum(-1)).mean()
    error = drawn.std() / math.sqrt(len(drawn))
    assert abs(drawn.mean() - expected) < STANDARD_ERRORS * error < 0.02 * expected


def test_the_divergence_of_the_bound_is_the_integral_of_its_definition() -> None:
    """KL(q || N(0, 1)) of each number of z, by adding up q log(q / p) on a fine grid."""
    posterior, decode, obs, _ = linear_case()
    grid = torch.linspace(-12.0, 12.0, 20001, dtype=torch.float64)
    total = 0.0
    for mean, logvar in zip(posterior.mean.flatten().double(), posterior.logvar.flatten().double(), strict=True):
        q = torch.distributions.Normal(mean, (0.5 * logvar).exp()).log_prob(grid)
        total += float(torch.trapezoid(q.exp() * (q - torch.distributions.Normal(0.0, 1.0).log_prob(grid)), grid))
    assert bound(posterior, decode, obs, 0.0)["divergence"].item() == pytest.approx(total / len(obs), rel=1e-5)


def test_nats_below_the_tolerance_cost_nothing_and_those_above_cost_all() -> None:
    posterior, decode, obs, _ = linear_case()
    free = Gaussian(0.1 * posterior.mean, 0.1 * posterior.logvar)
    dear = Gaussian(10.0 * posterior.mean, posterior.logvar)
    for given, tolerance, moves in ((free, 0.5, False), (dear, 0.5, True), (free, 0.0, True)):
        mean = given.mean.clone().requires_grad_()
        loss = bound(Gaussian(mean, given.logvar), decode, obs, tolerance)["divergence"]
        (gradient,) = torch.autograd.grad(loss, mean)
        assert bool(gradient.any()) == moves
    assert bound(free, decode, obs, 0.5)["divergence"].item() == pytest.approx(0.5 * Z)


def test_each_picture_has_a_tolerance_of_its_own() -> None:
    posterior, decode, obs, _ = linear_case()
    mean = posterior.mean.clone()
    mean[0], mean[1:] = 10.0, 0.0
    uneven = Gaussian(mean, torch.zeros_like(mean))
    expected = (0.5 * 3 * 100.0 + 4 * 0.5 * Z) / 5  # one far away, four that know nothing
    assert bound(uneven, decode, obs, 0.5)["divergence"].item() == pytest.approx(expected)


def test_v_refuses_an_environment_without_pictures() -> None:
    with pytest.raises(InputError, match=r"V learns to see pictures, and this environment has vector observations"):
        Vision(VECTORS, 4, 8, 2)


def test_v_learns_to_tell_two_pictures_apart() -> None:
    torch.manual_seed(0)
    vision = Vision(IMAGES, 2, 8, 2)
    obs = torch.stack([torch.zeros(8, 9, 2), torch.full((8, 9, 2), 255.0)]).to(torch.uint8)
    optimizer = torch.optim.Adam(vision.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        sum(vision.losses(obs, 0.5).values(), torch.zeros(())).backward()
        optimizer.step()
    dark, bright = vision.decode(vision.encode(obs).mean).mean
    assert dark.max() < 0.3 and bright.min() > 0.7


# --- M: the mixture ---------------------------------------------------------------------------------------------------


def test_the_likelihood_is_the_sum_of_all_components() -> None:
    m, z = mixture(0, 2, 5), uniform(2, 5, Z, seed=1, low=-3.0, high=3.0)
    found = m.log_prob(z)
    for b, t, i in itertools.product(range(2), range(5), range(Z)):
        density = 0.0
        for k in range(K):
            std = math.exp(m.log_std[b, t, i, k])
            error = (float(z[b, t, i]) - float(m.mean[b, t, i, k])) / std
            density += math.exp(m.log_weight[b, t, i, k]) * math.exp(-0.5 * error**2) / (std * math.sqrt(2 * math.pi))
        assert found[b, t, i].item() == pytest.approx(math.log(density), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_the_density_integrates_to_one_at_every_temperature(temperature: float) -> None:
    grid = torch.linspace(-60.0, 60.0, 24001, dtype=torch.float64)
    m = mixture(2).at(temperature)
    density = Mixture(*(x.double() for x in (m.log_weight, m.mean, m.log_std))).log_prob(
        grid.unsqueeze(-1).expand(-1, Z)
    )
    np.testing.assert_allclose(torch.trapezoid(density.exp(), grid, dim=0), 1.0, rtol=1e-5)


def test_a_likelihood_far_from_every_component_is_still_finite() -> None:
    """exp(-0.5 * 1000^2) is no number; its logarithm is."""
    m = mixture(3)
    z = torch.full((Z,), 1000.0, requires_grad=True)
    loss = -m.log_prob(z).sum()
    (gradient,) = torch.autograd.grad(loss, z)
    assert loss.isfinite() and gradient.isfinite().all() and gradient.min() > 0.0


def test_the_weights_are_normalised_over_the_components_of_each_number() -> None:
    raw = uniform(6, 3 * Z * K, seed=4)
    m = Mixture.of(raw, K)
    np.testing.assert_allclose(m.log_weight.exp().sum(-1), 1.0, rtol=1e-6)
    alone = Mixture.of(raw[2:3], K)
    np.testing.assert_array_equal(alone.log_weight[0], m.log_weight[2])  # the others of a batch change nothing


def test_samples_have_the_weights_means_and_deviations_of_the_mixture() -> None:
    """Components far apart: each sample tells which one it is of."""
    log_weight = torch.tensor([[0.5, 0.3, 0.2]]).log()
    m = Mixture(log_weight, torch.tensor([[-100.0, 0.0, 100.0]]), torch.tensor([[0.1, 1.0, 2.0]]).log())
    torch.manual_seed(0)
    count = 40_000
    z = Mixture(*(x.expand(count, 1, 3) for x in (m.log_weight, m.mean, m.log_std))).sample()[:, 0]
    for k, (weight, mean, std) in enumerate([(0.5, -100.0, 0.1), (0.3, 0.0, 1.0), (0.2, 100.0, 2.0)]):
        mine = z[((z + 100.0) / 100.0).round() == k]
        assert abs(len(mine) / count - weight) < STANDARD_ERRORS * math.sqrt(weight * (1 - weight) / count)
        assert abs(mine.mean() - mean) < STANDARD_ERRORS * std / math.sqrt(len(mine))
        assert abs(mine.std() - std) < STANDARD_ERRORS * std / math.sqrt(2 * len(mine))
    assert m.expected.item() == pytest.approx(-30.0, abs=1e-3)


def test_the_numbers_of_z_are_drawn_independently() -> None:
    even = Mixture(torch.full((20_000, 2, 2), 0.5).log(), torch.tensor([-1.0, 1.0]).expand(20_000, 2, 2),
                   torch.full((20_000, 2, 2), -6.0))  # fmt: skip
    torch.manual_seed(0)
    first, second = even.sample().T
    assert abs((first * second).mean()) < STANDARD_ERRORS / math.sqrt(20_000)


@pytest.mark.parametrize("temperature", [0.25, 0.5, 1.3, 4.0])
def test_temperature_multiplies_the_variance_and_sharpens_the_weights(temperature: float) -> None:
    m = mixture(5)
    changed = m.at(temperature)
    np.testing.assert_allclose((2 * changed.log_std).exp(), temperature * (2 * m.log_std).exp(), rtol=1e-5)
    powers = m.log_weight.exp() ** (1 / temperature)
    np.testing.assert_allclose(changed.log_weight.exp(), powers / powers.sum(-1, keepdim=True), rtol=1e-4)
    np.testing.assert_array_equal(changed.mean, m.mean)


def test_a_temperature_of_one_changes_nothing_and_towards_zero_the_likeliest_is_left() -> None:
    m = mixture(6, 500)
    same = m.at(1.0)
    np.testing.assert_allclose(same.log_weight, m.log_weight, atol=1e-6)
    np.testing.assert_array_equal(same.log_std, m.log_std)
    torch.manual_seed(0)
    likeliest = m.mean.gather(-1, m.log_weight.argmax(-1, keepdim=True)).squeeze(-1)
    np.testing.assert_allclose(m.at(1e-6).sample(), likeliest, atol=0.05)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_that_is_none_is_told(temperature: float) -> None:
    with pytest.raises(InputError, match=r"the temperature is .*; it must be a number above 0"):
        mixture(7).at(temperature)


# --- M: the memory ----------------------------------------------------------------------------------------------------


def sequences(batch: int = 4, length: int = 6, seed: int = 0) -> dict[str, Tensor]:
    no = torch.zeros(batch, length, dtype=torch.bool)
    return {
        "z": uniform(batch, length, Z, seed=seed),
        "action": uniform(batch, length, 2, seed=seed + 1),
        "reward": uniform(batch, length, seed=seed + 2),
        "is_first": no,
        "is_terminal": no.clone(),
    }


def test_what_is_said_of_a_row_never_depends_on_that_row_or_a_later_one() -> None:
    torch.manual_seed(0)
    memory, given = Memory(Z, 2, 8, K), sequences()
    z = given["z"].clone().requires_grad_()
    action = given["action"].clone().requires_grad_()
    state = memory.initial(4)
    for t in range(3):
        state = memory.step(state, z[:, t], action[:, t])
    said = memory.predict(state)  # of row 3
    total = said.z.mean.sum() + said.z.log_weight[..., 0].sum() + said.reward.mean.sum() + said.done.logit.sum()
    for gradient in torch.autograd.grad(total, (z, action)):
        assert gradient[:, :3].any(-1).all() and not gradient[:, 3:].any()


@torch.no_grad()
def test_the_losses_are_those_of_each_row_said_one_by_one() -> None:
    torch.manual_seed(1)
    memory, given = Memory(Z, 2, 8, K), sequences()
    given["is_first"][1, 3] = given["is_first"][2, 0] = True
    given["is_terminal"][1, 2] = given["is_terminal"][0, 5] = True
    total, count = {"z": 0.0, "reward": 0.0, "done": 0.0}, 0
    for b in range(4):
        state = memory.initial(1)
        for t in range(5):
            if given["is_first"][b, t]:
                state = memory.initial(1)
            state = memory.step(state, given["z"][b : b + 1, t], given["action"][b : b + 1, t])
            if given["is_first"][b, t + 1]:
                continue
            said, over = memory.predict(state), float(given["is_terminal"][b, t + 1])
            count += 1
            total["z"] -= float(said.z.log_prob(given["z"][b : b + 1, t + 1]).mean())
            total["reward"] += float((said.reward.mean - given["reward"][b, t + 1]) ** 2)
            total["done"] -= math.log(float(said.done.mean if over else 1.0 - said.done.mean))
    for name, loss in memory.losses(**given).items():
        assert loss.item() == pytest.approx(total[name] / count, rel=1e-4)


def test_an_episode_that_begins_forgets_what_was_before() -> None:
    """Two episodes in one sequence cost what they cost in two; row 3, in which the second begins, costs nothing."""
    torch.manual_seed(2)
    memory, given = Memory(Z, 2, 8, K), sequences()
    given["is_first"][:, 3] = True
    both = memory.losses(**given)
    first, second = (
        memory.losses(**{name: x[:, rows] for name, x in given.items()}) for rows in (slice(3), slice(3, 6))
    )
    for name, loss in both.items():
        assert loss.item() == pytest.approx((first[name].item() + second[name].item()) / 2, rel=1e-5)


def test_m_learns_a_choice_between_two_futures_and_not_their_middle() -> None:
    torch.manual_seed(0)
    memory = Memory(1, 1, 8, 2)
    optimizer = torch.optim.Adam(memory.parameters(), 2e-2)
    rng = np.random.default_rng(0)
    for _ in range(300):
        z = torch.from_numpy(rng.choice([-1.0, 1.0], (64, 2, 1), p=[0.25, 0.75])).float()
        z = z + 0.05 * torch.from_numpy(rng.standard_normal((64, 2, 1))).float()
        z[:, 0] = 0.0
        no = torch.zeros(64, 2, dtype=torch.bool)
        loss = memory.losses(z, torch.zeros(64, 2, 1), torch.zeros(64, 2), no, no)["z"]
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    said = memory.predict(memory.step(memory.initial(1), torch.zeros(1, 1), torch.zeros(1, 1))).z
    order = said.mean.flatten().argsort()
    np.testing.assert_allclose(said.mean.flatten()[order].detach(), [-1.0, 1.0], atol=0.1)
    np.testing.assert_allclose(said.log_weight.exp().flatten()[order].detach(), [0.25, 0.75], atol=0.08)


# --- C ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spaces", [IMAGES, CONTINUOUS])
def test_a_controller_is_its_numbers_in_a_row(spaces: Spaces) -> None:
    controller = Controller(spaces, 5, "z and h")
    numbers = np.random.default_rng(0).standard_normal(spaces.action_size * 6)
    controller.take(numbers)
    np.testing.assert_allclose(controller.vector, numbers, rtol=1e-6)
    again = Controller(spaces, 5, "z and h")
    again.take(controller.vector)
    state = State(uniform(7, 4, seed=1), uniform(7, 3, seed=2))
    np.testing.assert_array_equal(again(state), controller(state))


@pytest.mark.parametrize("wrong", [np.zeros(11), np.zeros((2, 6)), np.full(12, np.nan)])
def test_numbers_that_are_no_controller_are_told(wrong: np.ndarray) -> None:
    with pytest.raises(InputError, match="it takes 12 finite ones"):
        Controller(IMAGES, 5, "z").take(wrong)


def test_the_action_is_linear_in_what_is_seen() -> None:
    weights, seen = uniform(6, 2, 4, seed=0), uniform(6, 3, seed=1)
    scores = torch.stack([w[:, :3] @ x + w[:, 3] for w, x in zip(weights, seen, strict=True)])
    np.testing.assert_allclose(act(weights, seen, "continuous"), torch.tanh(scores), rtol=1e-5)
    discrete = act(weights, seen, "discrete")
    np.testing.assert_array_equal(discrete.argmax(-1), scores.argmax(-1))
    np.testing.assert_array_equal(discrete.sum(-1), 1.0)


def test_c_sees_h_and_not_c() -> None:
    state = State(torch.tensor([[1.0, 2.0, 30.0, 40.0]]), torch.tensor([[5.0]]))
    assert look(state, "z and h").tolist() == [[5.0, 1.0, 2.0]]
    assert look(state, "z").tolist() == [[5.0]]


# --- The dream --------------------------------------------------------------------------------------------------------


def known_memory(done: float = -50.0, reward: float = 1.0) -> Memory:
    """An M that says the same of every row: reward, and the logit of the end."""
    torch.manual_seed(0)
    memory = Memory(Z, 2, 4, K)
    with torch.no_grad():
        for layer, value in ((memory.reward, reward), (memory.done, done)):
            layer.weight.zero_()
            layer.bias.fill_(value)
    return memory


STARTS = Gaussian(uniform(5, Z, seed=0), torch.full((5, Z), -9.0))


def test_a_dream_counts_nothing_after_its_end() -> None:
    controllers = torch.zeros(2000, 2, Z + 5)
    torch.manual_seed(0)
    ends_at_once = play(DreamedWorld(known_memory(50.0), STARTS, 1.0), controllers, "z and h", "discrete", 10, 0)
    np.testing.assert_allclose(ends_at_once, 1.0)
    never = play(DreamedWorld(known_memory(), STARTS, 1.0), controllers, "z and h", "discrete", 10, 0)
    np.testing.assert_allclose(never, 10.0)
    half = play(DreamedWorld(known_memory(0.0), STARTS, 1.0), controllers, "z and h", "discrete", 50, 0)
    assert abs(half.mean() - 2.0) < STANDARD_ERRORS * math.sqrt(2.0 / 2000)  # geometric, with chance 1/2


def test_temperature_reaches_the_end_of_the_dream() -> None:
    controllers = torch.zeros(4000, 2, Z + 5)
    for temperature in (0.5, 1.0, 3.0):
        torch.manual_seed(0)
        world = DreamedWorld(known_memory(-1.0), STARTS, temperature)
        lengths = play(world, controllers, "z and h", "discrete", 400, 0)
        chance = 1.0 / (1.0 + math.exp(1.0 / temperature))
        assert abs(lengths.mean() - 1.0 / chance) < STANDARD_ERRORS * math.sqrt(1.0 - chance) / chance / math.sqrt(4000)


def test_a_dream_at_a_low_temperature_stays_in_what_is_likeliest() -> None:
    memory = known_memory()
    torch.manual_seed(1)
    world = DreamedWorld(memory, STARTS, 1e-6)
    world.begin(3, 0)
    action = torch.eye(2)[[0, 1, 0]]
    before = world.state
    state, _, _ = world.step(action)
    said = memory.predict(memory.step(before.memory, before.latent, action)).z
    likeliest = said.mean.gather(-1, said.log_weight.argmax(-1, keepdim=True)).squeeze(-1)
    np.testing.assert_allclose(state.latent, likeliest.detach(), atol=0.02)


def test_a_dream_begins_where_recorded_episodes_began() -> None:
    world = DreamedWorld(known_memory(), STARTS, 1.0)
    state = world.begin(50, 3)
    nearest = torch.cdist(state.latent, STARTS.mean).min(-1)
    assert nearest.values.max() < 0.1 and len(set(nearest.indices.tolist())) == 5
    assert not state.memory.any()


def test_h_of_a_row_knows_the_action_that_led_there() -> None:
    """In reality and in the dream alike: what C sees at row t + 1 has been told z_t and a_t."""
    memory = known_memory()
    world = DreamedWorld(memory, STARTS, 1.0)
    begun = world.begin(2, 0)
    action = torch.eye(2)
    state, _, _ = world.step(action)
    np.testing.assert_array_equal(state.memory, memory.step(begun.memory, begun.latent, action).detach())


# --- Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; it must be above 0"),
        ({"temperature": True}, "temperature is True; it must be of type float"),
        ({"population": 3}, "population is 3; it must be at least 4"),
        ({"sees": "h"}, "sees is 'h'; accepted are 'z', 'z and h'"),
        ({"rows": 100}, "rows is 100 in 8 environments; sequences of 48 rows need at least 392"),
        ({"generations": 2.5}, "generations is 2.5; it must be of type int"),
        ({"mixtures": 5}, "There is no option 'mixtures'"),
        ({"memory_updates": -1}, "memory_updates is -1; it must be 0 or more"),
    ],
)
def test_settings_that_cannot_be_used_are_told(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        make_settings(**wrong)
    assert said in str(error.value)


# --- Evolution --------------------------------------------------------------------------------------------------------


def test_a_population_that_is_none_is_told() -> None:
    with pytest.raises(InputError, match=r"a population of 2 and a spread of 0\.5; give at least 4"):
        next(evolve(lambda number, candidates: candidates[:, 0], np.zeros(3), 0.5, 2, 0))


def search(past: int, generations: int, seed: int = 0) -> list[np.ndarray]:
    """Towards (1, 2, 3); the first `past` generations are lived again from their scores."""
    target, scores, found = np.array([1.0, 2.0, 3.0]), [], []

    def score(number: int, candidates: np.ndarray) -> np.ndarray:
        return -((candidates - target) ** 2).sum(1)

    running = evolve(score, np.zeros(3), 0.5, 8, seed)
    for _ in range(generations):
        generation = next(running)
        scores.append(generation.scores)
        found.append(generation.mean)
        if len(scores) == past:
            running = evolve(score, np.zeros(3), 0.5, 8, seed, list(scores))
    return found


def test_evolution_finds_the_top_of_a_hill() -> None:
    pytest.importorskip("cma")
    np.testing.assert_allclose(search(0, 60)[-1], [1.0, 2.0, 3.0], atol=0.05)


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been() -> None:
    pytest.importorskip("cma")
    np.testing.assert_array_equal(search(4, 9), search(0, 9))
    assert not np.array_equal(search(0, 3, seed=1), search(0, 3))


def test_evolution_leaves_the_random_numbers_of_others_alone() -> None:
    pytest.importorskip("cma")
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    search(0, 3)
    assert np.random.rand() == expected


def test_without_cma_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cma", None)
    with pytest.raises(InputError, match="pip install cma"):
        next(evolve(lambda number, candidates: candidates[:, 0], np.zeros(3), 0.5, 8, 0))
