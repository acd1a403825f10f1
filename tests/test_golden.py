"""Golden numbers: inputs and outputs of the reference implementation (danijar/dreamerv3), reproduced.

They are read from tests/golden/, or from the folder that the environment variable WM_GOLDEN names.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Through
from torch import Tensor

from wm_tutorial.actor_critic import ActorCritic, BoundedNormal, actor_loss, critic_loss
from wm_tutorial.config import Config
from wm_tutorial.data import Batch, Spaces, State
from wm_tutorial.dynamics import RSSM, BlockGRU
from wm_tutorial.heads import Bernoulli
from wm_tutorial.kl import balanced_kl
from wm_tutorial.latents import CategoricalLatent, Categoricals, OneHot
from wm_tutorial.optim import LaProp
from wm_tutorial.returns import ReturnNormalizer, lambda_returns
from wm_tutorial.transforms import TwoHot, symexp_bins

FOLDER = Path(os.environ.get("WM_GOLDEN", Path(__file__).parent / "golden"))


def golden(name: str) -> dict[str, Any]:
    """The numbers of one file, lists as tensors."""
    return {
        key: torch.tensor(value, dtype=torch.bool if np.asarray(value).dtype == bool else torch.float32)
        if isinstance(value, list) and name != "laprop_agc"
        else value
        for key, value in json.loads((FOLDER / f"{name}.json").read_text()).items()
    }


def assert_close(ours: Tensor, reference: Tensor, absolute: float = 1e-6) -> None:
    torch.testing.assert_close(ours.float(), reference.float(), rtol=1e-4, atol=absolute)


def test_golden_lambda_return() -> None:
    g = golden("lambda_return")
    live, running = g["disc"] * (1.0 - g["term"]), g["lam"] * (1.0 - g["last"])
    assert_close(lambda_returns(g["rew"][:, 1:], live[:, 1:], g["boot"][:, 1:], running[:, 1:]), g["out"])


def test_golden_twohot() -> None:
    g = golden("twohot")
    bins = symexp_bins(g["logits"].shape[-1])
    middle = len(bins) // 2
    assert_close(bins[: len(g["bins_head"])], g["bins_head"])
    assert_close(bins[middle - 2 : middle + 3], g["bins_mid"])
    prediction = TwoHot(g["logits"], bins)
    assert_close(prediction.loss(g["target"]), g["loss"])
    assert_close(prediction.mean, g["pred"], absolute=1e-4 * float(g["pred"].abs().max()))
    assert TwoHot(torch.zeros(len(bins)), bins).mean.item() == g["uniform_pred"].item() == 0.0


def test_golden_kl() -> None:
    g = golden("kl")
    latent = CategoricalLatent(*g["post"].shape[-2:], unimix=g["unimix"])
    logits = [g[name].clone().requires_grad_() for name in ("post", "prior")]
    posterior, prior = (latent(x.flatten(-2)) for x in logits)
    assert_close(posterior.kl(prior), g["kl"])
    assert_close(posterior.entropy(), g["ent"])
    dynamics, representation = balanced_kl(posterior, prior, free_nats=1.0)
    assert_close(dynamics, g["kl_free1"])
    assert_close(representation, g["kl_free1"])
    for loss, index, name in ((dynamics, 1, "grad_dyn_wrt_prior"), (representation, 0, "grad_rep_wrt_post")):
        (ours,) = torch.autograd.grad(loss.mean(), logits[index], retain_graph=True)
        assert_close(ours, g[name])


def test_golden_bounded_normal() -> None:
    g = golden("bounded_normal")
    policy = BoundedNormal.bounded(g["mean_in"], g["std_in"])
    for ours, name in ((policy.mean, "mean"), (policy.std, "std")):
        assert_close(ours, g[name])
    assert_close(policy.log_prob(g["event"]), g["logp"].sum(-1))
    assert_close(policy.entropy(), g["entropy"].sum(-1))


def test_golden_binary_soft() -> None:
    g = golden("binary_soft")
    assert_close(Bernoulli(g["logit"]).loss(torch.full_like(g["logit"], g["target"])), g["loss"])


def test_golden_retnorm() -> None:
    g = golden("retnorm")
    normalizer = ReturnNormalizer(decay=0.99, floor=1.0)
    for returns, reference in zip(g["xs"], g["stats"], strict=True):
        scale = normalizer.update(returns)
        assert_close(torch.stack([normalizer.low, scale]), reference)


def test_golden_imag_loss() -> None:
    g = golden("imag_loss")
    bins = symexp_bins(g["value_logits"].shape[-1])
    value, slow = TwoHot(g["value_logits"], bins).mean, TwoHot(g["slow_logits"], bins).mean
    weight = torch.cumprod(g["con"], dim=1)[:, :-1]  # the discount is inside the continue probability
    returns = lambda_returns(g["rew"][:, 1:], g["con"][:, 1:], value[:, 1:], 0.95)
    assert_close(returns, g["ret"], absolute=1e-4 * float(g["ret"].abs().max()))
    policy = OneHot.mixed(g["policy_logits"][:, :-1], 0.0)
    action = torch.nn.functional.one_hot(g["act"].long(), g["policy_logits"].shape[-1])[:, :-1].float()
    advantage = (returns - value[:, :-1]) / g["retscale"]
    actor = actor_loss(policy.log_prob(action), policy.entropy(), advantage, weight, 3e-4)
    assert_close(actor, g["policy"], absolute=1e-4 * float(g["policy"].abs().max()))
    critic = critic_loss(TwoHot(g["value_logits"][:, :-1], bins), returns, slow[:, :-1], weight, 1.0)
    assert_close(critic, g["value"])


def test_golden_repl_loss() -> None:
    g = golden("repl_loss")
    bins = symexp_bins(g["value_logits"].shape[-1])
    last, terminal = g["last"].bool(), g["term"].bool()
    discount = (1.0 - 1.0 / 333.0) * (1.0 - terminal.float())
    running = 0.95 * (1.0 - last.float())
    assert_close(lambda_returns(g["rew"][:, 1:], discount[:, 1:], g["boot"][:, 1:], running[:, 1:]), g["ret"])

    behaviour = ActorCritic(
        1, Spaces("vector", (1,), "discrete", 2, (0.0,), (1.0,)), Config(discount=1.0 - 1.0 / 333.0)
    )
    features = torch.arange(g["rew"].numel()).reshape(*g["rew"].shape, 1)  # which entry of the file a state stands for
    behaviour.critic = Through(lambda feature: TwoHot(g["value_logits"].flatten(0, 1)[feature.squeeze(-1)], bins))
    behaviour.slow_critic = Through(lambda feature: TwoHot(g["slow_logits"].flatten(0, 1)[feature.squeeze(-1)], bins))
    nothing = torch.zeros(*g["rew"].shape, 1)
    batch = Batch(
        nothing, nothing, nothing, g["rew"], torch.zeros_like(last), last, terminal, State(nothing[:, 0], nothing[:, 0])
    )
    assert_close(behaviour.replay_loss(features, batch, g["boot"]), g["repval"])


def test_golden_laprop_agc() -> None:
    g = golden("laprop_agc")
    names = list(g["grads"][0])
    params = {name: torch.nn.Parameter(torch.tensor(g["params"][0][name])) for name in names}
    optimizer = LaProp(
        params.values(), g["lr"], tuple(g["betas"]), g["eps"], g["agc"], smallest=g["pmin"], warmup=g["warmup"]
    )
    # The first update has learning rate 0, so the parameters after it are those before it.
    for gradients, reference in zip(g["grads"], g["params"], strict=True):
        for name, parameter in params.items():
            parameter.grad = torch.tensor(gradients[name])
        optimizer.step()
        for name, parameter in params.items():
            assert_close(parameter.detach(), torch.tensor(reference[name]))


def rssm(g: dict[str, Any]) -> RSSM:
    """An RSSM with the reference's weights: its kernels are (inputs, outputs), ours (outputs, inputs)."""
    cfg, weights = g["cfg"], {name: torch.tensor(value) for name, value in g["weights"].items()}
    latent = CategoricalLatent(cfg["stoch"], cfg["classes"], cfg["unimix"])
    core = BlockGRU(cfg["deter"], latent.size, g["action"].shape[-1], cfg["hidden"], cfg["blocks"])
    model = RSSM(core, g["tokens"].shape[-1], latent, cfg["deter"], cfg["hidden"])
    linears = {
        "dynin0": core.memory_in, "dynin1": core.latent_in, "dynin2": core.action_in, "obs0": model.posterior_net[0],
        "prior0": model.prior_net[0], "prior1": model.prior_net[1],
    }  # fmt: skip
    with torch.no_grad():
        for name, part in linears.items():
            part[0].weight.copy_(weights[f"dyn/{name}/kernel"].T)
            part[0].bias.copy_(weights[f"dyn/{name}/bias"])
            part[1].weight.copy_(weights[f"dyn/{name}norm/scale"])
        for name, layer in (("obslogit", model.posterior_net[1]), ("priorlogit", model.prior_net[2])):
            layer.weight.copy_(weights[f"dyn/{name}/kernel"].T)
            layer.bias.copy_(weights[f"dyn/{name}/bias"])
        for name, layer in (("dynhid0", core.mix), ("dyngru", core.gates)):
            layer.weight.copy_(weights[f"dyn/{name}/kernel"])
            layer.bias.copy_(weights[f"dyn/{name}/bias"].reshape(layer.bias.shape))
        core.mix_norm.weight.copy_(weights["dyn/dynhid0norm/scale"])
    return model


def normalised(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits, -1)


def test_golden_rssm_step() -> None:
    g = golden("rssm_step")
    model, cfg = rssm(g), g["cfg"]
    start = State(g["deter"], g["stoch"].flatten(-2))
    is_first = g["is_first"].bool().unsqueeze(1)
    states, posterior, prior = model.observe(g["tokens"].unsqueeze(1), g["action"].unsqueeze(1), is_first, start)
    assert isinstance(posterior, Categoricals) and isinstance(prior, Categoricals)
    assert_close(states.memory[:, 0], g["deter_out"])
    for ours, name in ((posterior, "post_logits"), (prior, "prior_logits")):
        mixed = OneHot.mixed(g[name], cfg["unimix"]).logits
        assert_close(ours.logits[:, 0], mixed, absolute=1e-5)
    torch.manual_seed(0)
    stepped = model.step(start, g["action"], is_first[:, 0], g["tokens"])
    assert_close(stepped.memory, g["deter_out"])


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")))
def test_every_golden_file_has_a_test(name: str) -> None:
    assert f"test_golden_{name}" in globals()
