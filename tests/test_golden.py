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
from torch import Tensor, nn

from wm_tutorial.actor_critic import ActorCritic, BoundedNormal
from wm_tutorial.config import Config
from wm_tutorial.data import Batch, Spaces, State, Trajectory
from wm_tutorial.dynamics import RSSM, BlockGRU
from wm_tutorial.encoder import ImageEncoder, VectorEncoder
from wm_tutorial.heads import Bernoulli, ImageDecoder, VectorDecoder
from wm_tutorial.kl import balanced_kl
from wm_tutorial.latents import CategoricalLatent, Categoricals, OneHot
from wm_tutorial.networks import CHANNEL_GROWTH
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


def from_file(g: dict[str, Any], **options: Any) -> tuple[ActorCritic, Tensor]:
    """A behaviour whose critics say what is written in a file, and states that name the entry they stand for.

    Gamma lies in the continue probability, as in the reference's settings.
    """
    config = Config(discount=1.0 - 1.0 / 333.0, discount_in_continue=True, **options)
    behaviour = ActorCritic(1, Spaces("vector", (1,), "discrete", 2, (0.0,), (1.0,)), config)
    bins = symexp_bins(g["value_logits"].shape[-1])
    for critic, name in (("critic", "value_logits"), ("slow_critic", "slow_logits")):
        said = g[name].flatten(0, 1)
        setattr(behaviour, critic, Through(lambda entry, said=said: TwoHot(said[entry.long().squeeze(-1)], bins)))
    return behaviour, torch.arange(g["rew"].numel(), dtype=torch.float32).reshape(*g["rew"].shape, 1)


def test_golden_imag_loss() -> None:
    g = golden("imag_loss")
    behaviour, entries = from_file(g, entropy_scale=3e-4, lam=0.95, slow_critic_scale=1.0)
    said = g["policy_logits"].flatten(0, 1)
    behaviour.actor = Through(lambda entry: OneHot.mixed(said[entry.long().squeeze(-1)], 0.0))
    behaviour.normalizer = ReturnNormalizer(decay=1.0)  # which stays at the scale of the file
    behaviour.normalizer.high.fill_(g["retscale"])
    action = torch.nn.functional.one_hot(g["act"].long(), said.shape[-1]).float()
    states = State(torch.zeros(*entries.shape[:-1], 0), entries)
    trajectory = Trajectory(states, action[:, :-1], g["rew"][:, 1:], g["con"])
    losses, metrics, range_ = behaviour.losses(trajectory)
    assert_close(losses["actor"], g["policy"], absolute=1e-4 * float(g["policy"].abs().max()))
    assert_close(losses["critic"], g["value"])
    assert losses.keys() == {"actor", "critic"} and range_.tolist() == [0.0, g["retscale"]]
    returns = behaviour.returns(trajectory, behaviour.critic(entries).mean)
    assert_close(returns, g["ret"], absolute=1e-4 * float(g["ret"].abs().max()))
    assert_close(metrics["imagined return"], g["ret"].mean(), absolute=1e-4 * float(g["ret"].abs().max()))


def test_golden_repl_loss() -> None:
    g = golden("repl_loss")
    last, terminal = g["last"].bool(), g["term"].bool()
    discount = (1.0 - 1.0 / 333.0) * (1.0 - terminal.float())
    running = 0.95 * (1.0 - last.float())
    assert_close(lambda_returns(g["rew"][:, 1:], discount[:, 1:], g["boot"][:, 1:], running[:, 1:]), g["ret"])

    behaviour, entries = from_file(g)
    nothing = torch.zeros_like(entries)
    batch = Batch(
        nothing, nothing, nothing, g["rew"], torch.zeros_like(last), last, terminal, State(nothing[:, 0], nothing[:, 0])
    )
    assert_close(behaviour.replay_loss(entries, batch, g["boot"]), g["repval"])


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


def filled(layers: list[nn.Module], weights: dict[str, Any], *names: str) -> None:
    """Give linear layers, convolutions and normalisations, in order, the reference's weights of these names.

    Its matrices are (inputs, outputs), its kernels (height, width, inputs, outputs).
    """
    with torch.no_grad():
        for layer, name in zip(layers, names, strict=True):
            if isinstance(layer, nn.RMSNorm):
                layer.weight.copy_(torch.tensor(weights[f"{name}/scale"]))
                continue
            kernel = torch.tensor(weights[f"{name}/kernel"])
            layer.weight.copy_(kernel.permute(3, 2, 0, 1) if kernel.dim() == 4 else kernel.T)
            layer.bias.copy_(torch.tensor(weights[f"{name}/bias"]))


def layers(*parts: nn.Module) -> list[nn.Module]:
    """What has weights in these parts, in order."""
    kinds = nn.Linear | nn.Conv2d | nn.RMSNorm
    return [layer for part in parts for layer in part.modules() if isinstance(layer, kinds)]


def test_golden_vector_coder() -> None:
    g = golden("vector_coder")
    cfg, feature = g["cfg"], torch.cat([g["deter"], g["stoch"].flatten(-2)], -1)
    size = g["vector"].shape[-1]
    encoder = VectorEncoder(size, cfg["units"], cfg["layers"], "rms")
    decoder = VectorDecoder(feature.shape[-1], cfg["units"], cfg["layers"], size, "rms")
    filled(layers(encoder), g["weights"], *(f"venc/mlp{i}{what}" for i in (0, 1) for what in ("", "norm")))
    names = [f"vdec/mlp/{what}{i}" for i in (0, 1) for what in ("linear", "norm")]
    filled(layers(decoder), g["weights"], *names, "vdec/vec/vector/pred")
    with torch.no_grad():  # there the latent comes first, here the memory
        first = decoder.net[0][0].weight
        first.copy_(first.roll(cfg["deter"], 1))
    assert_close(encoder(g["vector"]), g["tokens"])
    assert_close(decoder(feature).symlog_mean, g["mean"])
    assert_close(decoder(feature).loss(g["vector"]), g["loss"])


def test_golden_image_encoder() -> None:
    g = golden("image_encoder")
    shape, stages = g["image"].shape[1:], len(CHANNEL_GROWTH)
    encoder = ImageEncoder(tuple(shape), g["cfg"]["depth"], "rms")
    filled(layers(encoder), g["weights"], *(f"cnn{i}{what}" for i in range(stages) for what in ("", "norm")))
    side = shape[0] // 2**stages
    tokens = g["tokens"].reshape(-1, side, side, g["cfg"]["depth"] * CHANNEL_GROWTH[-1])  # flattened as H, W, C
    assert_close(encoder(g["image"].to(torch.uint8)), tokens.movedim(-1, 1).flatten(1))  # ours as C, H, W


def test_golden_image_decoder() -> None:
    g = golden("image_decoder")
    cfg, weights, shape = g["cfg"], g["weights"], tuple(g["image"].shape[1:])
    latent = cfg["stoch"] * cfg["classes"]
    options = {"hidden": cfg["units"], "conv_depth": cfg["depth"], "memory_blocks": cfg["bspace"], "norm": "rms"}
    decoder = ImageDecoder(cfg["deter"], latent, shape, Config(**options))
    start, stages = decoder.net.start, len(CHANNEL_GROWTH)
    channels, height, width = start.shape
    filled(layers(start.from_latent, start.finish), weights, "sp1", "sp1norm", "sp2", "spnorm")
    names = [f"conv{i}{what}" for i in reversed(range(stages - 1)) for what in ("", "norm")]
    filled(layers(decoder.net.stack), weights, *names, "imgout")
    with torch.no_grad():  # both ways in are flattened as H, W, C there and as C, H, W here
        for parameter in start.from_latent[-1].parameters():
            parameter.copy_(parameter.unflatten(0, (height, width, channels)).movedim(2, 0).flatten(0, 2))
        each = channels // cfg["bspace"]
        for parameter, name in ((start.from_memory.weight, "kernel"), (start.from_memory.bias, "bias")):
            blocks = torch.tensor(weights[f"sp0/{name}"]).reshape(cfg["bspace"], -1, height, width, each)
            parameter.copy_(blocks.movedim(-1, 2).flatten(2).reshape(parameter.shape))
    prediction = decoder(torch.cat([g["deter"], g["stoch"].flatten(-2)], -1))
    assert_close(prediction.mean, g["mean"])
    assert_close(prediction.loss(g["image"].to(torch.uint8)), g["loss"])


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")))
def test_every_golden_file_has_a_test(name: str) -> None:
    assert f"test_golden_{name}" in globals()
