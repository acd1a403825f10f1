"""Linear maps around the memory: a matrix in blocks, and a probe that reads what is held."""

import torch
from torch import Tensor

from wm_tutorial.mistakes.bug import Bug
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part, of_wrong

# Matrices in blocks ---------------------------------------------------------------------------------------------------


def right_block_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x (B, G I), weight (G, I, O), bias (G, O) -> (B, G O): each block of x through its own matrix."""
    return torch.einsum("bgi,gio->bgo", _blocks(x, weight), weight).add(bias).flatten(1)


def _blocks(x: Tensor, weight: Tensor) -> Tensor:
    return x.reshape(len(x), *weight.shape[:2])


def _every_other(x: Tensor, weight: Tensor) -> Tensor:
    """Block g takes each G-th number."""
    return x.reshape(len(x), weight.shape[1], weight.shape[0]).transpose(1, 2)


def _outputs_interleaved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y = right_block_linear(x, weight, bias)
    return y.reshape(len(x), *bias.shape).transpose(1, 2).flatten(1)


def _block_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    batch, blocks = shape[0], 2 + seed // 10  # 2 to 5
    outputs = 2 + shape[1] % 3
    return {
        "x": uniform(seed, batch, 3 * blocks, dtype=dtype),
        "weight": uniform(seed + 1, blocks, 3, outputs, dtype=dtype),
        "bias": uniform(seed + 2, blocks, outputs, dtype=dtype),
    }


BLOCK_LINEAR = Part(
    name="block_linear",
    right=right_block_linear,
    batched=("x",),
    gradient_to=("x", "weight", "bias"),
    cases=(
        {
            "x": torch.tensor([[1.0, 2.0, 3.0, 4.0]]),
            "weight": torch.tensor([[[1.0, 0.0], [1.0, 1.0]], [[2.0, 1.0], [0.0, 2.0]]]),
            "bias": torch.tensor([[0.1, 0.2], [0.3, 0.4]]),
        },
        *(_block_case(*variation) for variation in variations()),
    ),
    mistakes={
        "blocks_interleaved": Mistake(
            "block g gets every G-th number of x; it must get I numbers in a row.",
            "the two sizes were swapped when x was cut up; reshape does not complain.",
            (lambda x, weight, bias: right_block_linear(_every_other(x, weight).reshape_as(x), weight, bias),),
        ),
        "outputs_interleaved": Mistake(
            "the outputs of the blocks alternate in the answer; those of one block must lie side by side.",
            "the axes of blocks and outputs were swapped before they were merged.",
            (_outputs_interleaved,),
        ),
        "first_block_for_all": Mistake(
            "all blocks go through the matrix of the first one.",
            "one matrix for all is a layer, too, with G times fewer numbers to learn.",
            of_wrong(right_block_linear, 1, lambda weight: weight[:1].expand_as(weight)),
        ),
        "block_transposed": Mistake(
            "the matrices are read as (outputs, inputs); they are (inputs, outputs).",
            "torch's own linear layer keeps its weight that way round.",
            (lambda x, weight, bias: (torch.einsum("bgi,goi->bgo", _blocks(x, weight), weight) + bias).flatten(1),),
        ),
        "block_bias_forgotten": Mistake(
            "the bias is missing.",
            "a matrix product has none.",
            of_wrong(right_block_linear, 2, torch.zeros_like),
        ),
        "block_bias_of_the_first": Mistake(
            "all blocks get the bias of the first one.",
            "a bias (O,) is what a linear layer has; here each block has its own.",
            of_wrong(right_block_linear, 2, lambda bias: bias[:1].expand_as(bias)),
        ),
        "blocks_added_up": Mistake(
            "the blocks' outputs are added up; each has places of its own in the answer.",
            "an einsum without the letter of the blocks on its right side sums over them: that is one full matrix.",
            (
                lambda x, weight, bias: torch.einsum("bgi,gio->bo", _blocks(x, weight), weight) + bias.sum(0),
                lambda x, weight, bias: right_block_linear(x, weight, bias).reshape(len(x), *bias.shape).sum(1),
            ),
        ),
    },
)


# What can be read out of it -------------------------------------------------------------------------------------------


def right_linear_probe(known: Tensor, wanted: Tensor, fitted: int) -> Tensor:
    """Share of the variance of each of `wanted` (N, K) that `known` (N, F) explains in the rows not fitted: (K,)."""
    share: Tensor = _probe()(known, wanted, fitted)
    return share


def _explained(error: Tensor, target: Tensor) -> Tensor:
    return 1.0 - error.square().mean(0) / target.var(0, correction=0)


def with_ones(known: Tensor) -> Tensor:
    """A column of ones beside what is known: the constant of a linear map."""
    return torch.cat([known, torch.ones_like(known[:, :1])], 1)


def _probe(
    fit: Function = lambda n, fitted: slice(fitted),
    judge: Function = lambda n, fitted: slice(fitted, n),
    inputs: Function = with_ones,
    score: Function = _explained,
) -> Function:
    """Least squares, with other rows to fit or to judge, other inputs or another score."""

    def linear_probe(known: Tensor, wanted: Tensor, fitted: int) -> Tensor:
        there, here = fit(len(known), fitted), judge(len(known), fitted)
        x, y = inputs(known.double()), wanted.double()
        weights = torch.linalg.lstsq(x[there], y[there]).solution
        share: Tensor = score(x[here] @ weights - y[here], y[here])
        # rounded: the last digit of a least squares depends on where in memory the rows lie
        return share.round(decimals=9).to(wanted)

    return linear_probe


def _correlated(error: Tensor, target: Tensor) -> Tensor:
    guess = target + error
    both = ((guess - guess.mean(0)) * (target - target.mean(0))).mean(0)
    return both.square() / (guess.var(0, correction=0) * target.var(0, correction=0))


def _probe_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    rows, features, targets = 40 + seed, 1 + shape[0], 3
    known = uniform(seed, rows, features, dtype=dtype) + 1.0
    noise = uniform(seed + 1, rows, targets, dtype=dtype)
    told = known @ uniform(seed + 2, features, targets, dtype=dtype)
    return {
        "known": known,
        "wanted": 2.0 + told + noise * torch.tensor([0.5, 1.0, 2.0], dtype=dtype),
        "fitted": 25,
    }


LINEAR_PROBE = Part(
    name="linear_probe",
    right=right_linear_probe,
    cases=(
        {
            "known": torch.tensor([[0.0], [1.0], [2.0], [3.0], [0.0], [2.0], [4.0]]),
            "wanted": torch.tensor([[1.0], [3.0], [5.0], [7.0], [1.5], [4.0], [9.0]]),
            "fitted": 4,
        },
        *(_probe_case(*variation) for variation in variations()),
    ),
    mistakes={
        "probe_judged_where_fitted": Mistake(
            "the probe is judged on the rows it was fitted to.",
            "the error of a fit is at hand; with as many weights as rows it would be zero, whatever the memory holds.",
            (_probe(judge=lambda n, fitted: slice(fitted)),),
        ),
        "probe_fitted_everywhere": Mistake(
            "the rows that judge were among those it was fitted to.",
            "the split was made after the fit.",
            (_probe(fit=lambda n, fitted: slice(n)),
             _probe(fit=lambda n, fitted: slice(n), judge=lambda n, fitted: slice(n))),
        ),
        "probe_sides_swapped": Mistake(
            "the first rows judge and the later ones are fitted.",
            "the two halves have the same shape as often as not.",
            (_probe(fit=lambda n, fitted: slice(fitted, n), judge=lambda n, fitted: slice(fitted)),),
        ),
        "probe_without_constant": Mistake(
            "the line must go through zero: there is no constant.",
            "a product with a matrix has none; a column of ones adds it.",
            (_probe(inputs=lambda known: known),),
        ),
        "probe_error_for_share": Mistake(
            "this is what is left unexplained; the share that is explained is 1 minus it.",
            "an error is what the fit has at hand.",
            (_probe(score=lambda error, target: error.square().mean(0) / target.var(0, correction=0)),
             _probe(score=lambda error, target: error.square().mean(0))),
        ),
        "probe_correlation": Mistake(
            "this is the squared correlation, which forgives a wrong scale and a wrong offset.",
            "on the rows of the fit both are the same number; on other rows they are not.",
            (_probe(score=_correlated),),
        ),
        "probe_against_zero": Mistake(
            "the error is compared with the squares of `wanted`, not with its variance: guessing the mean gets credit.",
            "the mean was not subtracted; where it is large, everything looks explained.",
            (_probe(score=lambda error, target: 1.0 - error.square().mean(0) / target.square().mean(0)),),
        ),
        "probe_targets_pooled": Mistake(
            "all targets are put together, so the largest one decides.",
            "a mean without an axis is the mean of everything.",
            (_probe(score=lambda error, target: (
                1.0 - error.square().mean() / target.var(0, correction=0).mean()).expand(target.shape[1])),
             _probe(score=lambda error, target: 1.0 - error.square().mean(0) / target.var(0, correction=0).mean())),
        ),
    },
)  # fmt: skip

PARTS = (BLOCK_LINEAR, LINEAR_PROBE)

BUGS: tuple[Bug, ...] = ()
