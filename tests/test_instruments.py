"""The instruments compute what the package computes, and stand in their chapters with what they need.

Their JavaScript runs here in Node, where there is one, and in Chromium with `make browser` (book/tests).
"""

import base64
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from course import chapters, code_cells, read
from helpers import SMALL, VECTORS, randomise
from instruments import data_of, name_of, shown_page

from wm_tutorial import instruments as kit
from wm_tutorial.course import notebook
from wm_tutorial.data import Dream, State
from wm_tutorial.errors import InputError
from wm_tutorial.figures import alt_text
from wm_tutorial.instruments.page import COLORS, HERE, LARGEST
from wm_tutorial.kl import balanced_kl, gaussian_kl
from wm_tutorial.latents import Gaussian, GaussianLatent, OneHot
from wm_tutorial.planner import GaussianPlan, elites_of
from wm_tutorial.returns import lambda_returns
from wm_tutorial.transforms import TwoHot, symexp, symexp_bins, symlog
from wm_tutorial.world_model import WorldModel
from wm_tutorial.world_models_2018.memory import Mixture

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="There is no Node here; `make browser` tests it in Chromium.")
EXACT = {"rtol": 1e-6, "atol": 1e-6}


def computed(script: str, given: Any, folder: Path) -> Any:
    """What an expression of JavaScript is after `maths.js`; `given` is what it may read under that name."""
    assert NODE is not None
    path = folder / "script.js"
    maths = (HERE / "maths.js").read_text()
    path.write_text(f"const given = {json.dumps(given)};\n{maths}\nconsole.log(JSON.stringify({script}));")
    done = subprocess.run([NODE, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- The mathematics --------------------------------------------------------------------------------------------------


@needs_node
def test_lambda_returns_are_those_of_the_package(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    reward, value, discount = rng.normal(size=(3, 20, 7))
    discount = rng.uniform(size=(20, 7)) * (rng.uniform(size=(20, 7)) > 0.2)  # ends inside
    lams = [0.0, 1.0, *rng.uniform(size=18)]
    rows = [[list(one[i]) for one in (reward, discount, value)] + [lams[i]] for i in range(20)]
    got = computed("given.map((row) => Maths.lambdaReturns(...row))", rows, tmp_path)
    for i in range(20):
        given = (torch.tensor(one[i : i + 1]) for one in (reward, discount, value))
        np.testing.assert_allclose(got[i], lambda_returns(*given, lams[i])[0], **EXACT)


@needs_node
def test_the_lanes_mixed_by_their_weights_are_the_lambda_return(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    reward, value = rng.normal(size=(2, 6))
    discount = rng.uniform(size=6)
    for lam in (0.0, 0.3, 0.95, 1.0):
        given = {"r": list(reward), "d": list(discount), "v": list(value), "lam": lam}
        script = "[Maths.nStepReturns(given.r, given.d, given.v), Maths.lambdaWeights(6, given.lam)]"
        lanes, weights = computed(script, given, tmp_path)
        whole = lambda_returns(*(torch.tensor(one[None]) for one in (reward, discount, value)), lam)[0, 0]
        assert abs(sum(weights) - 1.0) < 1e-12
        np.testing.assert_allclose(np.dot(lanes, weights), whole, **EXACT)
    for n in range(1, 7):  # n steps are a horizon of n with lambda 1
        short = (torch.tensor(one[None, :n]) for one in (reward, discount, value))
        np.testing.assert_allclose(lanes[n - 1], lambda_returns(*short, 1.0)[0, 0], **EXACT)


@needs_node
def test_divergences_of_bells_are_those_of_the_package_in_both_directions_and_with_free_nats(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    bells = np.stack([*rng.normal(size=(2, 50)) * 3, *rng.uniform(0.2, 4, size=(2, 50))], 1)  # means, deviations
    bells[0] = [1.0, 1.0, 2.0, 2.0]  # equal ones
    script = "given.map(([m, n, s, r]) => [Maths.gaussianKl(m, s, n, r), Maths.gaussianKl(n, r, m, s)])"
    got = np.array(computed(script, bells.tolist(), tmp_path))
    mean_q, mean_p, std_q, std_p = torch.tensor(bells.T)[:, :, None]
    q, p = (mean_q, 2 * std_q.log()), (mean_p, 2 * std_p.log())
    np.testing.assert_allclose(got, torch.stack([gaussian_kl(*q, *p), gaussian_kl(*p, *q)], 1), **EXACT)
    for free in (0.0, 1.0):
        counted = computed(
            "given[0].map((kl) => Maths.withFreeNats(kl, given[1]))", [got[:, 0].tolist(), free], tmp_path
        )
        np.testing.assert_allclose(counted, balanced_kl(Gaussian(*q), Gaussian(*p), free)[0], **EXACT)


@needs_node
def test_the_bounds_their_slopes_and_adam_are_those_of_torch(tmp_path: Path) -> None:
    bounds = {
        "clamp": lambda x: x.clamp(-10, 2),
        "tanh": lambda x: -4 + 6 * torch.tanh(x / 6),
        "sigmoid": lambda x: -10 + 12 * torch.sigmoid(x),
    }
    places = [-20.0, -10.5, -8.0, -0.1, 0.0, 1.9, 2.5, 8.0, 20.0]
    for name, bound in bounds.items():
        x = torch.tensor(places, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(bound(x).sum(), x)
        script = f"given.map((x) => [Maths.BOUNDS.{name}.value(x), Maths.BOUNDS.{name}.slope(x)])"
        got = np.array(computed(script, places, tmp_path))
        np.testing.assert_allclose(got, torch.stack([bound(x), slope], 1).detach(), **EXACT)
        raw = torch.tensor(8.0, dtype=torch.float64, requires_grad=True)
        optimiser, path = torch.optim.Adam([raw], lr=0.05), [raw.item()]
        for _ in range(300):
            optimiser.zero_grad()
            (bound(raw) + 4.0).square().backward()
            optimiser.step()
            path.append(raw.item())
        np.testing.assert_allclose(
            computed(f"Maths.adam(Maths.BOUNDS.{name}, 8, -4, 300)", None, tmp_path), path, **EXACT
        )
    said = GaussianLatent(1)(
        torch.tensor([[0.0, x] for x in places])
    ).logvar.flatten()  # the package bends as `sigmoid`
    np.testing.assert_allclose(said, bounds["sigmoid"](torch.tensor(places)), rtol=1e-6, atol=1e-5)


@needs_node
def test_two_hot_weights_bins_and_both_means_are_those_of_the_package(tmp_path: Path) -> None:
    bins = symexp(torch.linspace(-3, 3, 7, dtype=torch.float64))
    targets = [-30.0, bins[0].item(), -2.0, 0.0, 3.0, 6.0, bins[5].item(), 19.0, 40.0]
    script = "[Maths.symexpBins(7, 3), given.map((x) => Maths.twoHot(x, Maths.symexpBins(7, 3)))]"
    found, weights = computed(script, targets, tmp_path)
    np.testing.assert_allclose(found, bins, **EXACT)
    # the loss is linear in the weights: with logits that are 0 but for one bin it tells the weight of that bin
    for k in range(7):
        logits = torch.zeros(7, dtype=torch.float64).index_fill(0, torch.tensor([k]), 1.0)
        loss = TwoHot(logits, bins).loss(torch.tensor(targets, dtype=torch.float64))
        np.testing.assert_allclose([w[k] for w in weights], logits.logsumexp(0) - loss, **EXACT)
    np.testing.assert_allclose(computed("Maths.symexpBins(255, 20)", None, tmp_path), symexp_bins(255), rtol=1e-5)
    p = torch.rand(7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p = p / p.sum()
    got = computed("[Maths.expected(given.p, given.bins), given.bins.map(Maths.symlog)]",
                   {"p": p.tolist(), "bins": bins.tolist()}, tmp_path)  # fmt: skip
    np.testing.assert_allclose(got[0], TwoHot(p.log(), bins).mean, **EXACT)
    np.testing.assert_allclose(got[1], symlog(bins), **EXACT)


@needs_node
def test_the_elites_leave_the_plan_that_the_package_refits(tmp_path: Path) -> None:
    drawn = torch.Generator().manual_seed(0)
    candidates = torch.randn(12, 2, dtype=torch.float64, generator=drawn)
    returns = torch.randn(12, dtype=torch.float64, generator=drawn)
    for elites in (1, 4, 12):
        given = {"a": candidates.tolist(), "r": returns.tolist()}
        got = computed(f"Maths.refit(given.a, given.r, {elites})", given, tmp_path)
        best = elites_of(returns[None], elites)[0]
        assert set(got["chosen"]) == set(best.tolist())
        plan = GaussianPlan(torch.zeros(1, 1, 2), torch.ones(1, 1, 2)).refit(candidates[best][None, :, None])
        np.testing.assert_allclose(got["mean"], plan.mean[0, 0], **EXACT)
        np.testing.assert_allclose(got["std"], plan.std[0, 0], **EXACT)


@needs_node
def test_a_mixture_at_a_temperature_is_that_of_the_package(tmp_path: Path) -> None:
    weight, std = torch.tensor([[0.7, 0.2, 0.1], [0.3, 1.0, 2.0]], dtype=torch.float64)
    given = {"w": weight.log().tolist(), "s": std.log().tolist()}
    learned = Mixture(weight.log(), torch.zeros_like(std), std.log())
    for temperature in (0.1, 1.0, 2.0):
        got = computed(f"Maths.tempered(given.w, given.s, {temperature})", given, tmp_path)
        expected = learned.at(temperature)
        np.testing.assert_allclose(got["weight"], expected.log_weight.exp(), **EXACT)
        np.testing.assert_allclose(got["std"], expected.log_std.exp(), **EXACT)


@needs_node
def test_a_dart_lands_in_the_class_that_the_package_draws(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for probabilities in (torch.rand(8).softmax(-1), torch.tensor([0.0, 0.7, 0.3, 0.0]), torch.ones(1)):
        many = probabilities.expand(200, -1)
        with torch.random.fork_rng():
            darts = torch.rand_like(many[:, :1])[:, 0].tolist()
        drawn = OneHot(many).sample().argmax(-1)
        given = {"ends": probabilities.cumsum(-1).tolist(), "darts": darts}
        assert computed("given.darts.map((u) => Maths.pieceAt(given.ends, u))", given, tmp_path) == drawn.tolist()
    short = [0.5, 0.999]  # shares may sum to a little less than 1
    assert computed("[0, 0.5, 1].map((u) => Maths.pieceAt(given, u))", short, tmp_path) == [0, 1, 1]


# --- What an instrument is given --------------------------------------------------------------------------------------


def dreamed(rows: int = 8) -> list[Dream]:
    """One episode of three numbers, dreamed after 1, 2 and 3 rows."""
    rng = np.random.default_rng(0)
    obs, *_ = episode = rng.normal(size=(4, rows, 3)).astype(np.float32)
    rest = np.ones((4, rows), np.float32)
    names = ("a", "b", "c")
    return [Dream(obs, episode[c], *rest, context=c, environment="", names=names) for c in (1, 2, 3)]


@needs_node
def test_the_error_of_an_open_loop_prediction_is_the_root_of_the_mean_square_of_its_rows(tmp_path: Path) -> None:
    dreams, scale = dreamed(), torch.tensor([1.0, 0.5, 2.0])
    given = kit.of_dreams(dreams, scale, entry=1, context=2)
    script = """Object.entries(given.dreams).map(([context, rows]) => [1, 3, 5].map((h) => {
      const c = Number(context), real = given.real.slice(c, c + h);
      const guesses = [rows.slice(0, h), real.map(() => given.real[c - 1])];
      return guesses.map((guess) => Maths.apart(guess, real, given.scale));
    }))"""
    got = computed(script, given, tmp_path)
    for dream, errors in zip(dreams, got, strict=True):
        c = dream.context
        for h, (error, held) in zip((1, 3, 5), errors, strict=True):
            for guess, found in ((dream.predicted_obs, error), (dream.persistence, held)):
                rows = (guess[c : c + h].astype(float) - dream.obs[c : c + h]) / scale.numpy()
                np.testing.assert_allclose(found, np.sqrt(np.mean(rows**2)), **EXACT)


def test_dreams_that_do_not_belong_together_are_refused() -> None:
    first, second, third = dreamed()
    scale = torch.ones(3)
    with pytest.raises(InputError, match=r"The contexts are \[1, 3\]; give dreams whose contexts grow by 1"):
        kit.of_dreams([first, third], scale, context=1)
    with pytest.raises(InputError, match="of one episode"):
        kit.of_dreams([first, replace(second, obs=second.obs + 1)], scale, context=1)
    with pytest.raises(InputError, match="5 among them"):
        kit.of_dreams([first, second], scale)


def forking(latent: str, size: int) -> tuple[WorldModel, torch.Tensor]:
    """A small world model with a memory, and one row of it."""
    config = replace(SMALL, memory="rssm", latent=latent, latent_size=size, latent_classes=4)
    model = randomise(WorldModel(VECTORS, config))
    return model, torch.randn(model.dynamics.memory_size, generator=torch.Generator().manual_seed(1))


@needs_node
@pytest.mark.parametrize(("latent", "size"), [("categorical", 1), ("categorical", 3), ("gaussian", 1), ("gaussian", 3)])
def test_all_darts_together_lead_where_the_prior_of_the_package_does(latent: str, size: int, tmp_path: Path) -> None:
    model, memory = forking(latent, size)
    torch.manual_seed(0)
    given = kit.of_darts(model, memory, entry=1, throws=2000)
    assert given["bell"] == (latent == "gaussian")
    assert len(given["sides"]) == (2000 if size > 1 else 1)
    with torch.no_grad():
        z = model.dynamics.prior_given(memory.expand(20_000, -1)).sample()
        drawn = model.decode(State(memory.expand(20_000, -1), z).feature).mean[:, 1].numpy()
    half = float(np.quantile(np.abs(drawn), 0.4))
    script = """[Maths.mean(given.sides.map((one) => Maths.between(given.ends, one, given.half))),
      Maths.landed(given.ends, given.sides, given.low, given.wide, 10)]"""
    low, high = np.quantile(drawn, [0.05, 0.95])
    wide = float(high - low) / 10
    between, landed = computed(script, given | {"half": half, "low": float(low), "wide": wide}, tmp_path)
    heaps = np.clip(np.floor((drawn - low) / wide), 0, 9).astype(int)
    assert abs(between - np.mean(np.abs(drawn) < half)) < 0.05  # sides are rounded to thousandths
    np.testing.assert_allclose(landed, np.bincount(heaps, minlength=10) / len(drawn), atol=0.03)
    assert abs(sum(landed) - 1.0) < 1e-6


def test_the_dart_is_that_of_the_variable_that_moves_the_number_most() -> None:
    model, memory = forking("gaussian", 3)
    drawn = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        prior = model.dynamics.prior_given(memory)
        spreads = []
        for one in range(3):
            z = drawn[:1].repeat(500, 1)
            z[:, one] = drawn[:, one]
            z = prior.mean + torch.exp(0.5 * prior.logvar) * z
            spreads.append(model.decode(State(memory.expand(500, -1), z).feature).mean[:, 1].std().item())
    sides = np.array(kit.of_darts(model, memory, entry=1, throws=300)["sides"])
    assert abs(sides.std(1).mean() / max(spreads) - 1) < 0.3
    assert sorted(spreads)[-2] < 0.6 * max(spreads)  # it is told apart from the next


def test_a_world_model_without_a_memory_has_no_darts() -> None:
    model, memory = forking("gaussian", 1)
    with pytest.raises(InputError, match=r"memory is of shape \(1, \d+\); give .* the memory of one row, \(D,\)"):
        kit.of_darts(model, memory[None], entry=1)
    plain = WorldModel(VECTORS, SMALL)
    with pytest.raises(InputError, match="dynamics are FeedForward"):
        kit.of_darts(plain, memory, entry=1)


def test_a_page_is_whole_and_asks_for_nothing() -> None:
    text = kit.page("two_bells", {"free": 1.0})
    assert not re.search(r"""(?:src|href)=|@import|url\(|https?://(?!www\.w3\.org/2000/svg)""", text)
    assert 'Instruments["two_bells"](panel, {"free":1.0})' in text
    for name in COLORS:
        assert text.count(f"--{name}: ") == 2  # light and dark


def test_fractions_are_rounded_and_nothing_in_the_data_ends_the_script() -> None:
    text = kit.page("two_bells", {"free": 1 / 3, "names": ["</script>"], "count": 123456})
    assert '{"free":0.33333,"names":["<\\/script>"],"count":123456}' in text


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("three_bells", {}, r"no instrument 'three_bells'; there are two_bells, "),
        ("two_bells", {"free": float("nan")}, r"cannot be written as JSON .*: give finite numbers"),
        ("two_bells", {"free": torch.ones(1)}, r"tensor\.tolist\(\) makes a list"),
        ("two_bells", {"all": [1] * LARGEST}, r"take 80,\d+ characters, more than 40,000"),
    ],
)
def test_what_cannot_be_shown_is_refused(name: str, data: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        kit.page(name, data)


# --- In the chapters --------------------------------------------------------------------------------------------------


SHOWN = {
    (path.stem[:2], place): cell
    for path in chapters()
    for place, cell in enumerate(cell for cell in code_cells(read(path)) if name_of(cell))
}
EACH = pytest.mark.parametrize("place", SHOWN, ids=lambda place: f"{place[0]}-{place[1]}")


def test_every_instrument_stands_in_a_chapter() -> None:
    called = {name_of(cell) for cell in SHOWN.values()}
    assert called == set(kit.INSTRUMENTS) == {path.stem for path in HERE.glob("*.js")} - {"maths", "kit"}


@EACH
def test_the_page_in_a_chapter_is_the_one_that_is_tested(place: tuple[str, int]) -> None:
    cell = SHOWN[place]
    page, (output,) = shown_page(cell), cell.outputs
    told = output.data["text/html"]
    assert page == kit.page(name_of(cell), data_of(page)), "the instrument has changed: python tools/instruments.py"
    assert len(told) < 100_000
    assert alt_text(kit.still(name_of(cell), data_of(page))) in html.unescape(told)
    assert base64.b64decode(re.findall(r'data:image/svg\+xml;base64,([^"]+)', told)[0]).startswith(b"<svg")


@EACH
def test_a_question_stands_before_an_instrument_and_a_thing_to_find_behind_it(place: tuple[str, int]) -> None:
    cells = read(*chapters([place[0]])).cells
    (position,) = [i for i, cell in enumerate(cells) if cell.source == SHOWN[place].source]
    before = next(cell for cell in reversed(cells[:position]) if cell.cell_type == "markdown")
    assert before.source.split("\n\n")[-1].startswith("**Predict, then move.**")
    assert cells[position + 1].source.split("\n\n")[-1].startswith("Find ")


def test_who_runs_no_scripts_sees_the_opening_and_its_sentence() -> None:
    whole = notebook.instrument("two_bells", {"free": 1.0})
    frame = re.findall(r"<iframe [^>]*>", whole.as_html)[0]
    assert 'style="display: none;' in frame and 'title="Two bells, two divergences"' in frame
    assert re.search(r'<div class="wm-instrument">.*?<figure.*?</figure><iframe', whole.as_html, re.DOTALL)
    assert "KL(q || p) 0.443, KL(p || q) 1.307 nats" in whole.as_text
    assert "how it opens" in whole.as_text
