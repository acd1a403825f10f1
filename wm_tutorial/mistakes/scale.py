"""Numbers of any size: the slope of a two-hot loss, the range of returns, and what advantages are divided by."""

import torch
from torch import Tensor

from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part
from wm_tutorial.mistakes.transforms import right_two_hot, right_two_hot_mean
from wm_tutorial.transforms import symlog

# The slope of a two-hot loss ------------------------------------------------------------------------------------------


def right_two_hot_slope(logits: Tensor, x: Tensor, bins: Tensor) -> Tensor:
    """The slope of the cross-entropy in the logits: (B, K), (B,), (K,) -> (B, K)."""
    return logits.softmax(-1) - right_two_hot(x, bins)


def _slope_of_mean(logits: Tensor, x: Tensor, bins: Tensor) -> Tensor:
    """That of (mean - x)^2, in the logits."""
    probabilities = logits.softmax(-1)
    mean = right_two_hot_mean(probabilities, bins)[:, None]
    return 2.0 * (mean - x[:, None]) * probabilities * (bins - mean)


def _nearest(x: Tensor, bins: Tensor) -> Tensor:
    """All the weight on the nearest bin, (B, K)."""
    return torch.eye(len(bins), dtype=x.dtype)[(x[:, None] - bins).abs().argmin(-1)]


def _of_weights(combine: Function) -> Function:
    """Something else made of logits and weights, both (B, K)."""
    return lambda logits, x, bins: combine(logits, right_two_hot(x, bins))


def _slope_case(seed: int, batch: int, dtype: torch.dtype) -> Arguments:
    bins = uniform(seed + 1, 7, dtype=dtype, low=0.3, high=1.5).cumsum(0).expm1()
    return {
        "logits": uniform(seed, batch, 7, dtype=dtype),
        "x": uniform(seed + 2, batch, dtype=dtype, low=-0.5, high=1.2) * bins[-1],
        "bins": bins - bins[3],
    }


TWO_HOT_SLOPE = Part(
    name="two_hot_slope",
    right=right_two_hot_slope,
    batched=("logits", "x"),
    cases=(
        {
            "logits": torch.tensor([[0.25, 0.25, 0.125, 0.25, 0.125]]).log(),
            "x": torch.tensor([3.0]),
            "bins": torch.tensor([-4.0, -1.0, 0.0, 1.0, 5.0]),
        },
        *(_slope_case(seed, shape[0], dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "slope_reversed": Mistake(
            "the sign is the other one: this is the direction to go, weights - probabilities.",
            "the slope of a loss points upwards, and a descent goes against it.",
            (_of_weights(lambda logits, weights: weights - logits.softmax(-1)),),
        ),
        "slope_without_softmax": Mistake(
            "the weights are subtracted from the logits, or from the logarithms of the probabilities.",
            "the slope is a difference of two distributions; logits are not one yet.",
            (_of_weights(lambda logits, weights: logits - weights),
             _of_weights(lambda logits, weights: logits.log_softmax(-1) - weights)),
        ),
        "slope_in_two_bins": Mistake(
            "only the bins beside the number get a slope; all others must fall, by their probability.",
            "the loss reads two logarithms; but the softmax in them has all logits under its fraction line.",
            (_of_weights(lambda logits, weights: (logits.softmax(-1) - weights) * (weights > 0)),
             _of_weights(lambda logits, weights: (logits.softmax(-1) - 1.0) * weights),  # d ln p_k / d l_k alone
             _of_weights(lambda logits, weights: -weights)),
        ),
        "slope_of_squared_error": Mistake(
            "this is the slope of (mean - x)^2, or grows with the error of the mean as that does.",
            "a number is predicted, so its error looks like the thing to descend on.",
            (_slope_of_mean, lambda logits, x, bins: _slope_of_mean(logits, x, bins) / 2.0,
             lambda logits, x, bins: right_two_hot_slope(logits, x, bins)
             * (right_two_hot_mean(logits.softmax(-1), bins) - x)[:, None]),
        ),
        "slope_to_nearest_bin": Mistake(
            "all the weight lies on the nearest bin, as for classes.",
            "the slope of a cross-entropy with one label is known as probability minus one-hot.",
            (lambda logits, x, bins: logits.softmax(-1) - _nearest(x, bins),),
        ),
        "slope_of_squashed": Mistake(
            "the number is squashed with symlog, the bins are not.",
            "bins that are symexp-spaced have done the squashing already.",
            (lambda logits, x, bins: right_two_hot_slope(logits, symlog(x), bins),),
        ),
        "slope_one_bin_off": Mistake(
            "the weights lie one bin beside their place.",
            "searchsorted gives the bin above; the one below is that minus 1.",
            tuple(lambda logits, x, bins, by=by: logits.softmax(-1) - right_two_hot(x, bins).roll(by, 1)
                  for by in (1, -1)),
        ),
        "slope_averaged": Mistake(
            "it is divided by the number of bins, or of numbers.",
            "a mean over the batch belongs to the loss of all; this is the slope of each.",
            (lambda logits, x, bins: right_two_hot_slope(logits, x, bins) / len(bins),
             lambda logits, x, bins: right_two_hot_slope(logits, x, bins) / len(x)),
        ),
    },
)  # fmt: skip


# The range of returns -------------------------------------------------------------------------------------------------


def _percentiles(returns: Tensor, low: float = 0.05, high: float = 0.95, way: str = "linear") -> Tensor:
    shares = torch.tensor([low, high], dtype=returns.dtype)
    return torch.quantile(returns.flatten(), shares, interpolation=way)


def _tracked(found: Function) -> Function:
    """The moving average of a range (2,) that is found in the returns of a batch."""
    return lambda range_, returns, decay: (decay * range_ + (1.0 - decay) * found(returns)).detach()


right_return_range = _tracked(_percentiles)


def _over(axis: int) -> Function:
    """Percentiles along one axis alone, averaged over the other."""
    return lambda returns: torch.stack([returns.quantile(share, dim=axis).mean() for share in (0.05, 0.95)])


def _around_mean(widths: float) -> Function:
    return lambda returns: torch.stack([returns.mean() + by * returns.std() for by in (-widths, widths)])


def _range_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    return {
        "range_": torch.tensor([-3.0, 7.0 + seed], dtype=dtype),
        "returns": uniform(seed, *shape, dtype=dtype, low=-20.0, high=50.0),
        "decay": 0.9 - 0.01 * seed,
    }


RETURN_RANGE = Part(
    name="return_range",
    right=right_return_range,
    batched=("returns",),
    no_gradient_to=("returns",),
    cases=(
        {
            "range_": torch.tensor([0.0, 40.0]),
            "returns": torch.tensor([[90.0, 20.0, 30.0], [10.0, 50.0, 60.0], [70.0, 80.0, 400.0]]),
            "decay": 0.75,
        },
        *(_range_case(seed, shape, dtype) for seed, shape, dtype in variations()),
        {"range_": torch.zeros(2), "returns": uniform(5, 3, 7, dtype=torch.float32, high=1e4), "decay": 0.99},
    ),
    mistakes={
        "decay_reversed": Mistake(
            "the decay and 1 - decay have changed places: what was tracked so far is nearly forgotten at each update.",
            "0.99 is the share that stays, and 0.01 the rate at which the new one comes in; texts give either.",
            (lambda range_, returns, decay: right_return_range(range_, returns, 1.0 - decay),),
        ),
        "range_not_tracked": Mistake(
            "the range is that of this batch alone; nothing of the old one stays.",
            "one batch has a range of its own, which jumps from one to the next.",
            (lambda range_, returns, decay: _percentiles(returns),),
        ),
        "range_added_up": Mistake(
            "the old range stays in full, and a share of the new one is added: it grows at every update.",
            "one of the two factors of a moving average is easily forgotten.",
            (lambda range_, returns, decay: range_ + (1.0 - decay) * _percentiles(returns),
             lambda range_, returns, decay: decay * range_ + _percentiles(returns)),
        ),
        "range_begins_with_first": Mistake(
            "the first batch sets the range in full; the moving average begins at zero here.",
            "a moving average from zero is too small at first; the floor of 1 covers that for small returns alone.",
            (lambda range_, returns, decay:
                right_return_range(range_, returns, decay if bool(range_.any()) else 0.0),),
        ),
        "range_max_min": Mistake(
            "the smallest and the largest return in place of percentiles: one extreme return sets the range.",
            "max minus min is what range means elsewhere.",
            (_tracked(lambda returns: torch.stack([returns.min(), returns.max()])),),
        ),
        "range_of_deviation": Mistake(
            "the mean and some standard deviations around it, in place of percentiles.",
            "standardising is the usual way to bring numbers to one size; an extreme return moves both.",
            tuple(_tracked(_around_mean(widths)) for widths in (0.5, 1.0, 1.645, 1.96, 2.0)),
        ),
        "range_over_time": Mistake(
            "the percentiles are taken over one axis alone, time or batch, and averaged over the other.",
            "dim=1 is where most functions of this chapter work; here all returns of the batch are one heap.",
            (*map(_tracked, (_over(1), _over(0))), _tracked(lambda returns: _percentiles(returns.mean(1))),
             _tracked(lambda returns: _percentiles(returns[:, 0]))),
        ),
        "other_percentiles": Mistake(
            "these are other percentiles than the 5th and the 95th.",
            "quartiles are more usual, and 95 per cent of all numbers lie between 2.5 and 97.5.",
            tuple(_tracked(lambda returns, low=low: _percentiles(returns, low, 1.0 - low))
                  for low in (0.25, 0.1, 0.025, 0.01, 0.005)),
        ),
        "percentile_not_between": Mistake(
            "one of the sorted returns is taken; a percentile between two of them is in proportion between them.",
            "sorted(x)[int(0.05 * n)] is a percentile, too, of another definition.",
            tuple(_tracked(lambda returns, way=way: _percentiles(returns, way=way))
                  for way in ("lower", "higher", "nearest", "midpoint")),
        ),
        "range_leaks": Mistake(
            "gradient flows through the range into the returns.",
            "torch.quantile has a gradient; the range is a number to divide by.",
            (lambda range_, returns, decay: decay * range_ + (1.0 - decay) * _percentiles(returns),),
        ),
        "range_exchanged": Mistake(
            "the high end comes first.",
            "95 minus 5 is written in that order.",
            (_tracked(lambda returns: _percentiles(returns, 0.95, 0.05)),
             lambda range_, returns, decay: right_return_range(range_, returns, decay).flip(0)),
        ),
    },
)  # fmt: skip


# What advantages are divided by ---------------------------------------------------------------------------------------


def _spread(range_: Tensor) -> Tensor:
    return range_[1] - range_[0]


def _advantage(scale: Function) -> Function:
    """The advantage, divided by what `scale` makes of range and floor."""
    return lambda returns, value, range_, floor: (returns - value) / scale(range_, floor)


def _scale(range_: Tensor, floor: float) -> Tensor:
    return _spread(range_).clamp(min=floor)


right_scaled_advantage = _advantage(_scale)


def of_own_size(size: Function) -> Function:
    """The advantages, divided by a size of their own."""
    return lambda returns, value, range_, floor: (returns - value) / size(returns - value, floor)


def standardised(correction: int) -> Function:
    """Advantages of mean 0 and deviation 1."""

    def advantage(returns: Tensor, value: Tensor, range_: Tensor, floor: float) -> Tensor:
        found = returns - value
        return (found - found.mean()) / (found.std(correction=correction) + 1e-8)

    return advantage


def _shifted(returns: Tensor, value: Tensor, range_: Tensor, floor: float) -> Tensor:
    """The returns lose the low end of the range, as if it were an offset; the values do not."""
    return (returns - range_[0] - value) / _scale(range_, floor)


def _advantage_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    return {
        "returns": uniform(seed, *shape, dtype=dtype, low=-9.0, high=30.0),
        "value": uniform(seed + 1, *shape, dtype=dtype, low=-9.0, high=30.0),
        "range_": torch.tensor([-5.0, 0.5 * seed - 4.2], dtype=dtype),  # narrow first, and then wide
        "floor": 1.0 if seed < 20 else 2.0,
    }


SCALED_ADVANTAGE = Part(
    name="scaled_advantage",
    right=right_scaled_advantage,
    batched=("returns", "value"),
    cases=(
        {
            "returns": torch.tensor([[12.0, 4.0, 9.0]]),
            "value": torch.tensor([[8.0, 6.0, 9.0]]),
            "range_": torch.tensor([2.0, 10.0]),
            "floor": 1.0,
        },
        {
            "returns": torch.tensor([[0.5, 0.25]]),
            "value": torch.tensor([[0.25, 0.375]]),
            "range_": torch.tensor([0.25, 0.5]),
            "floor": 1.0,
        },
        *(_advantage_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "floor_added": Mistake(
            "the floor is added to the range; the range is kept from falling below it.",
            "a small number is added to most things one divides by; 1 is no small number.",
            (_advantage(lambda range_, floor: _spread(range_) + floor),),
        ),
        "floor_as_ceiling": Mistake(
            "the range is kept below the floor, and not above it.",
            "clamp(max=1) and minimum(1, S) read much like clamp(min=1) and maximum(1, S).",
            (_advantage(lambda range_, floor: _spread(range_).clamp(max=floor)),),
        ),
        "floor_of_each_end": Mistake(
            "the floor is applied to the ends of the range before they are subtracted.",
            "the clamp is written one line too early.",
            (_advantage(lambda range_, floor: range_[1].clamp(min=floor) - range_[0]),
             _advantage(lambda range_, floor: _spread(range_.abs().clamp(min=floor)))),
        ),
        "never_divided": Mistake(
            "the advantage is left in the units of the rewards, or divided by the floor alone.",
            "with rewards of about 1 nobody sees the difference.",
            (_advantage(lambda range_, floor: 1.0), _advantage(lambda range_, floor: floor)),
        ),
        "divided_by_one_end": Mistake(
            "it is divided by the high end of the range alone, or by the larger of its ends.",
            "with returns that begin at 0 the high end is the range.",
            (_advantage(lambda range_, floor: range_[1].clamp(min=floor)),
             _advantage(lambda range_, floor: range_.abs().max().clamp(min=floor))),
        ),
        "returns_alone_divided": Mistake(
            "only the returns are divided; the value stays in the units of the rewards.",
            "it is called normalising returns; but a difference needs one unit on both sides.",
            (lambda returns, value, range_, floor: returns / _scale(range_, floor) - value,),
        ),
        "value_alone_divided": Mistake(
            "only the value is divided, for want of a pair of brackets.",
            "returns - value / scale divides first and subtracts afterwards.",
            (lambda returns, value, range_, floor: returns - value / _scale(range_, floor),),
        ),
        "low_end_subtracted": Mistake(
            "the low end of the range is subtracted from the returns and not from the values.",
            "to normalise is to shift and to divide; in an advantage a shift of both drops out.",
            (_shifted, lambda returns, value, range_, floor: (returns - range_[0]) / _scale(range_, floor) - value),
        ),
        "advantage_for_return_range": Mistake(
            "the advantages are divided by their own size, and not by the range of returns.",
            "it is they that the loss uses; near the best policy they are noise, which then gets full size.",
            (of_own_size(lambda found, floor: found.std()), of_own_size(lambda found, floor: found.std() + 1e-8),
             of_own_size(lambda found, floor: found.std(correction=0)),
             of_own_size(lambda found, floor: found.std().clamp(min=floor)),
             of_own_size(lambda found, floor: found.abs().max()), of_own_size(lambda found, floor: found.abs().mean()),
             of_own_size(lambda found, floor: _spread(_percentiles(found)).clamp(min=floor)),
             of_own_size(lambda found, floor: _spread(_percentiles(found)))),
        ),
        "range_of_this_batch": Mistake(
            "the range is found anew in these returns; the one that was tracked is ignored.",
            "the returns are at hand, the range is an argument more.",
            (lambda returns, value, range_, floor:
                right_scaled_advantage(returns, value, _percentiles(returns), floor),),
        ),
        "multiplied_by_range": Mistake(
            "it is multiplied by the range.",
            "a scale is something one multiplies by, as often as not.",
            (_advantage(lambda range_, floor: 1.0 / _scale(range_, floor)),),
        ),
        "value_less_returns": Mistake(
            "the difference is value - returns: what was better than expected is avoided.",
            "as an error of the critic, it is often written that way round.",
            (lambda returns, value, range_, floor: right_scaled_advantage(value, returns, range_, floor),),
        ),
    },
)  # fmt: skip

PARTS = (TWO_HOT_SLOPE, RETURN_RANGE, SCALED_ADVANTAGE)
BUGS = ()
