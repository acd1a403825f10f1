"""Pictures: how they go in, how large they are on the way, how they come out, and how far off they are."""

import torch
from torch import Tensor
from torch.nn import functional as F

from wm_tutorial.mistakes.bug import Bug
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.linear import with_ones
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part

# In -------------------------------------------------------------------------------------------------------------------


def right_planes(obs: Tensor) -> Tensor:
    """Pictures (B, H, W, C) uint8 -> (B, C, H, W) float32 in -0.5..0.5."""
    return obs.permute(0, 3, 1, 2).float() / 255.0 - 0.5


def _planes(scale: Function) -> Function:
    """The right axes, and other numbers."""
    return lambda obs: scale(obs.permute(0, 3, 1, 2))


def _pictures(seed: int, shape: tuple[int, int]) -> Tensor:
    """(B, H, W, C) of bytes, no two sizes alike where there is more than one picture."""
    return uniform(seed, shape[0], shape[1], 6, 3, dtype=torch.float32, low=0.0, high=256.0).to(torch.uint8)


PLANES = Part(
    name="planes",
    right=right_planes,
    batched=("obs",),
    cases=(
        {"obs": torch.tensor([[[[0, 51, 255], [102, 51, 204]]]], dtype=torch.uint8)},
        *({"obs": _pictures(seed, shape)} for seed, shape, dtype in variations() if dtype == torch.float32),
    ),
    mistakes={
        "planes_reshaped": Mistake(
            "the axes have the right lengths and the pixels are in the wrong places: each plane mixes all colours.",
            "reshape reads the numbers in the order in which they lie in memory; it never moves an axis.",
            (lambda obs: obs.reshape(len(obs), obs.shape[3], *obs.shape[1:3]).float() / 255.0 - 0.5,),
        ),
        "planes_on_their_side": Mistake(
            "height and width have changed places: every picture lies on its side.",
            "transpose(1, 3) brings the channels to the front and takes the height to the back.",
            (lambda obs: obs.transpose(1, 3).float() / 255.0 - 0.5,),
        ),
        "planes_not_centred": Mistake(
            "the numbers lie in 0..1; the encoder is given -0.5..0.5.",
            "0..1 is what the decoder is compared with, and what pictures have everywhere else.",
            (_planes(lambda x: x.float() / 255.0),),
        ),
        "planes_not_scaled": Mistake(
            "the numbers are still those of bytes, up to 255.",
            "the cast to float was taken for the scaling; some libraries do both at once.",
            (_planes(torch.Tensor.float), _planes(lambda x: x.float() - 0.5), _planes(lambda x: x.float() - 128.0)),
        ),
        "planes_to_one": Mistake(
            "the numbers lie in -1..1, twice as far out as they should.",
            "that is the habit of other networks for pictures.",
            (_planes(lambda x: x.float() / 127.5 - 1.0),),
        ),
        "planes_wrapped": Mistake(
            "a byte has no numbers below 0: what is subtracted from it wraps around, and dark becomes bright.",
            "the middle was subtracted before the cast to float.",
            (
                _planes(lambda x: (x - 128).float() / 255.0),
                _planes(lambda x: (x - 127).float() / 255.0),
                _planes(lambda x: (x - 128) / 255.0),
            ),
        ),
        "planes_whole_numbers": Mistake(
            "the division is one of whole numbers: all but the brightest pixels are alike.",
            "// keeps bytes bytes.",
            (_planes(lambda x: (x // 255).float() - 0.5),),
        ),
        "planes_by_their_brightest": Mistake(
            "the numbers are divided by the largest in the batch, so the same picture looks different beside others.",
            "that brings any numbers into 0..1, and is right as long as something white is to be seen.",
            (
                _planes(lambda x: x.float() / x.max() - 0.5),
                _planes(lambda x: (x.float() - x.min()) / (x.max() - x.min()) - 0.5),
                _planes(lambda x: x.float() / x.amax((1, 2, 3), keepdim=True) - 0.5),
            ),
        ),
        "planes_standardised": Mistake(
            "mean and deviation of the pictures themselves are taken out, so a pixel's number depends on all others.",
            "that is good for vectors; where pixels hardly ever change it divides by next to nothing.",
            (_planes(lambda x: (x.float() - x.float().mean()) / (x.float().std() + 1e-8)),),
        ),
        "planes_by_256": Mistake(
            "it is divided by 256: 255 does not become 0.5.",
            "a byte has 256 values, and the largest of them is 255.",
            (lambda obs: obs.permute(0, 3, 1, 2).float() / 256 - 0.5,),
        ),
    },
)


# Sizes ----------------------------------------------------------------------------------------------------------------


def right_convolution_size(size: Tensor, kernel: Tensor, stride: Tensor, padding: Tensor) -> Tensor:
    """How many places a kernel has along one side: all (N,) int64."""
    return (size + 2 * padding - kernel) // stride + 1


def _size_case(*rows: tuple[int, int, int, int]) -> Arguments:
    """Sides, kernels, strides and paddings."""
    columns = torch.tensor(rows).unbind(1)
    return dict(zip(("size", "kernel", "stride", "padding"), columns, strict=True))


CONVOLUTION_SIZE = Part(
    name="convolution_size",
    right=right_convolution_size,
    batched=("size", "kernel", "stride", "padding"),
    cases=(
        _size_case((5, 3, 1, 0)),
        _size_case((16, 5, 1, 2), (16, 4, 2, 1), (64, 4, 2, 0), (7, 3, 2, 1)),
        _size_case((31, 4, 2, 0), (14, 4, 2, 0), (6, 4, 2, 0)),
        _size_case((84, 8, 4, 0), (20, 4, 2, 0), (9, 3, 1, 0), (96, 5, 3, 2), (2, 2, 2, 0)),
    ),
    mistakes={
        "size_without_first_place": Mistake(
            "one place is missing: the kernel has a place before its first step.",
            "steps were counted, and there is one place more than steps.",
            (lambda n, k, s, p: (n + 2 * p - k) // s,),
        ),
        "size_padded_once": Mistake(
            "the padding is counted on one side only.",
            "one number is given for both sides.",
            (lambda n, k, s, p: (n + p - k) // s + 1,),
        ),
        "size_without_padding": Mistake(
            "the padding is left out.",
            "it is 0 in many networks.",
            (lambda n, k, s, p: (n - k) // s + 1,),
        ),
        "size_rounded_up": Mistake(
            "the last step is rounded up: a kernel that would stand half outside has no place.",
            "some poolings do round up, the package's among them.",
            (lambda n, k, s, p: -((k - n - 2 * p) // s) + 1,),
        ),
        "size_stride_alone": Mistake(
            "the size is divided by the stride, as if kernel and padding always made up for each other.",
            "that is true for padding='same', which rounds up.",
            (lambda n, k, s, p: n // s, lambda n, k, s, p: -(-n // s)),
        ),
        "size_stride_ignored": Mistake(
            "these are the places of a stride of 1.",
            "the formula was remembered without its denominator.",
            (lambda n, k, s, p: n + 2 * p - k + 1,),
        ),
        "size_one_too_early": Mistake(
            "1 is added before the division by the stride, and not after it.",
            "for a stride of 1 both are the same.",
            (lambda n, k, s, p: (n + 2 * p - k + 1) // s,),
        ),
        "size_of_the_way_back": Mistake(
            "this is the size after a transposed convolution, which makes pictures larger.",
            "a page on convolution arithmetic has both formulas.",
            (lambda n, k, s, p: (n - 1) * s - 2 * p + k,),
        ),
    },
)


# Out ------------------------------------------------------------------------------------------------------------------


def right_upsample_convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Repeat each pixel 2 x 2 times, then convolve: (B, C, H, W), (O, C, K, K), (O,) -> (B, O, 2 H, 2 W)."""
    return right_convolve(_repeated(x), weight, bias)


def _repeated(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def _holes(x: Tensor) -> Tensor:
    """Each pixel in the upper left of four, and nothing in the other three."""
    larger = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    larger[..., ::2, ::2] = x
    return larger


def _smooth(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear")


def _enlarged(
    enlarge: Function = _repeated, kernel: Function = lambda weight: weight, shift: Function = lambda bias: bias
) -> Function:
    """The two steps, with another enlargement, kernel or bias."""

    def upsample_convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return right_convolve(enlarge(x), kernel(weight), shift(bias))

    return upsample_convolve


def right_convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution that keeps height and width: (B, C, H, W), (O, C, K, K), (O,) -> (B, O, H, W)."""
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def _bilinear_aligned(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def _upsample_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    height, kernel = 2 + shape[1] % 5, 3 + 2 * (seed // 10 % 2)
    return {
        "x": uniform(seed, shape[0], 2, height + 1, height + 2, dtype=dtype),
        "weight": uniform(seed + 1, 3, 2, kernel, kernel, dtype=dtype),
        "bias": uniform(seed + 2, 3, dtype=dtype),
    }


UPSAMPLE_CONVOLVE = Part(
    name="upsample_convolve",
    right=right_upsample_convolve,
    batched=("x",),
    gradient_to=("x", "weight", "bias"),
    cases=(
        {
            "x": torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]),
            "weight": torch.tensor([[[[0.0, 0.0, 0.0], [1.0, 10.0, 0.0], [0.0, 0.0, 0.0]]]]),
            "bias": torch.tensor([0.5]),
        },
        *(_upsample_case(*variation) for variation in variations()),
    ),
    mistakes={
        "upsampled_by_tiling": Mistake(
            "the picture is laid four times side by side; each pixel must be repeated where it is.",
            "repeat repeats the whole; repeat_interleave repeats each piece.",
            (_enlarged(lambda x: x.repeat(1, 1, 2, 2)),),
        ),
        "upsampled_with_holes": Mistake(
            "of the four pixels one is filled and three are 0: the picture is full of holes.",
            "that is how a transposed convolution of stride 2 begins.",
            (_enlarged(_holes),),
        ),
        "upsampled_smoothly": Mistake(
            "the new pixels are averages of their neighbours; they must be equal to the pixel they come from.",
            "interpolate was asked for 'bilinear'; 'nearest' repeats.",
            (_enlarged(_smooth), _enlarged(_bilinear_aligned)),
        ),
        "upsampled_afterwards": Mistake(
            "the small picture is convolved, and then repeated: whatever comes out is made of squares of 2 x 2.",
            "both orders give the right size.",
            (lambda x, weight, bias: _repeated(right_convolve(x, weight, bias)),),
        ),
        "upsampled_kernel_turned": Mistake(
            "the kernel is turned round by half a turn.",
            "a transposed convolution, and the convolution of mathematics, do that; that of networks does not.",
            (_enlarged(kernel=lambda weight: weight.flip(-2, -1)),),
        ),
        "upsampled_kernel_on_its_side": Mistake(
            "rows and columns of the kernel have changed places.",
            "the kernel is square, so no shape complains.",
            (_enlarged(kernel=lambda weight: weight.transpose(-2, -1)),),
        ),
        "upsampled_without_padding": Mistake(
            "there is no padding, so the picture shrinks at every stage.",
            "a convolution has none unless it is asked for it.",
            (lambda x, weight, bias: F.conv2d(_repeated(x), weight, bias),),
        ),
        "upsampled_bias_forgotten": Mistake(
            "the bias is missing.",
            "conv2d has it as its third argument, and does without it.",
            (_enlarged(shift=torch.zeros_like),),
        ),
    },
)


# How far off ----------------------------------------------------------------------------------------------------------


def right_image_loss(mean: Tensor, target: Tensor) -> Tensor:
    """Squared error of pictures: (B, H, W, C) in 0..1 and uint8 -> (B,), summed over pixels and colours."""
    return _error(mean, target).square().sum((1, 2, 3))


def _error(mean: Tensor, target: Tensor) -> Tensor:
    return mean - target.to(mean) / 255.0


def _of_error(loss: Function) -> Function:
    """Another loss of the right error."""
    return lambda mean, target: loss(_error(mean, target))


def _of_target(change: Function) -> Function:
    """The right loss against another target, given as a float in 0..255."""
    return lambda mean, target: (mean - change(target.to(mean))).square().sum((1, 2, 3))


def _cross_entropy(mean: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy(mean, target.to(mean) / 255.0, reduction="none").sum((1, 2, 3))


def _image_case(seed: int, shape: tuple[int, int]) -> Arguments:
    target = _pictures(seed, shape)
    return {"mean": uniform(seed + 1, *target.shape, dtype=torch.float32, low=0.01, high=0.99), "target": target}


IMAGE_LOSS = Part(
    name="image_loss",
    right=right_image_loss,
    batched=("mean", "target"),
    gradient_to=("mean",),
    cases=(
        {
            "mean": torch.tensor([[[[0.2, 0.4, 0.9], [0.5, 0.5, 0.5]]]]),
            "target": torch.tensor([[[[0, 51, 255], [102, 51, 204]]]], dtype=torch.uint8),
        },
        *(_image_case(seed, shape) for seed, shape, dtype in variations() if dtype == torch.float32),
    ),
    mistakes={
        "image_loss_mean_of_pixels": Mistake(
            "this is the mean over pixels and colours: hundreds of times smaller than the sum, and nothing beside the "
            "KL.",
            "mean is the habit, and for a loss that stands alone it changes only the learning rate.",
            (_of_error(lambda error: error.square().mean((1, 2, 3))),
             _of_error(lambda error: error.square().mean((1, 2)).sum(-1))),
        ),
        "image_loss_mean_of_colours": Mistake(
            "the pixels are summed and the colours averaged: a third of the loss.",
            "a pixel was taken for one number; it is three.",
            (_of_error(lambda error: error.square().mean(-1).sum((1, 2))),),
        ),
        "image_loss_over_the_batch": Mistake(
            "one number for the whole batch; each picture has a loss of its own.",
            "that is what mse_loss returns.",
            (_of_error(lambda error: error.square().sum()), _of_error(lambda error: error.square().mean()),
             _of_error(lambda error: error.square().sum((1, 2, 3)).mean()),
             _of_error(lambda error: error.square().sum((1, 2, 3)).mean().expand(len(error)))),
        ),
        "image_target_in_bytes": Mistake(
            "the target is still in 0..255, where a prediction in 0..1 can never be.",
            "a byte and a float can be subtracted, and nobody complains.",
            (_of_target(lambda target: target),
             lambda mean, target: (255.0 * mean - target.to(mean)).square().sum((1, 2, 3))),
        ),
        "image_target_centred": Mistake(
            "the target lies in -0.5..0.5, as the encoder has it; the sigmoid of the decoder gives 0..1.",
            "the same scaled picture was used for both.",
            (_of_target(lambda target: target / 255.0 - 0.5),),
        ),
        "image_loss_halved": Mistake(
            "this is half of it.",
            "the logarithm of a bell has one half; the decoder's loss here has none.",
            (_of_error(lambda error: 0.5 * error.square().sum((1, 2, 3))),),
        ),
        "image_loss_rooted": Mistake(
            "a root is taken, so a picture that is nearly right is pulled as hard as one that is all wrong.",
            "the error of films and curves is a root; the loss is not.",
            (_of_error(lambda error: error.square().sum((1, 2, 3)).sqrt()),
             _of_error(lambda error: error.square().mean((1, 2, 3)).sqrt())),
        ),
        "image_loss_absolute": Mistake(
            "this is the sum of absolute errors: it is content with the most frequent colour of a pixel.",
            "for pictures it is often chosen because it looks sharper; the mean it does not give.",
            (_of_error(lambda error: error.abs().sum((1, 2, 3))),),
        ),
        "image_loss_cross_entropy": Mistake(
            "this is a cross-entropy, which takes a colour for a probability.",
            "the decoder ends in a sigmoid, as heads for yes and no do.",
            (_cross_entropy, lambda mean, target: _cross_entropy(mean, target) / mean[0].numel()),
        ),
    },
)  # fmt: skip


# What a state knows ---------------------------------------------------------------------------------------------------


def right_column_probe(known: Tensor, column: Tensor, episode: Tensor) -> Tensor:
    """Share of rows of odd episodes whose column a linear map of `known` names, fitted to the even episodes: ()."""
    share: Tensor = _probe()(known, column, episode)
    return share


def _largest(x: Tensor, weights: Tensor) -> Tensor:
    return (x @ weights).argmax(1)


def _agreement(guess: Tensor, column: Tensor) -> Tensor:
    return (guess == column).double().mean()


def _probe(
    fit: Function = lambda episode: episode % 2 == 0,
    judge: Function = lambda episode: episode % 2 == 1,
    inputs: Function = with_ones,
    wanted: Function = lambda column: F.one_hot(column).double(),
    guess: Function = _largest,
    score: Function = _agreement,
) -> Function:
    """Least squares of the columns as classes, with other rows to fit or to judge, other inputs, targets or scores."""

    def column_probe(known: Tensor, column: Tensor, episode: Tensor) -> Tensor:
        x, there, here = inputs(known.double()), fit(episode), judge(episode)
        weights = torch.linalg.lstsq(x[there], wanted(column)[there], driver="gelsd").solution
        share: Tensor = score(guess(x[here], weights), column[here])
        return share.to(known)

    return column_probe


def _all_rows(episode: Tensor) -> Tensor:
    return torch.ones_like(episode, dtype=torch.bool)


def _row_number(episode: Tensor) -> Tensor:
    return torch.arange(len(episode))


def _rounded(x: Tensor, weights: Tensor) -> Tensor:
    return (x @ weights)[:, 0].round().long()


def _probe_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    """Rows of episodes that each have a colour of their own, which says nothing about the next one."""
    episodes, rows, columns = 10, 8 + shape[0], 4
    episode = torch.arange(episodes).repeat_interleave(rows)
    column = uniform(seed, len(episode), dtype=dtype, low=0.0, high=columns).long()
    column[:columns] = torch.arange(columns)
    told = uniform(seed + 1, columns, 5, dtype=dtype)[column]
    colour = uniform(seed + 2, episodes, 5, dtype=dtype)[episode]
    return {
        "known": 3.0 + told + 0.5 * colour + uniform(seed + 3, len(episode), 5, dtype=dtype, low=-1.5, high=1.5),
        "column": column,
        "episode": episode,
    }


COLUMN_PROBE = Part(
    name="column_probe",
    right=right_column_probe,
    cases=(
        {
            "known": torch.tensor([[0.0], [1.0], [0.2], [1.3], [0.4], [0.9], [0.6], [1.1]]),
            "column": torch.tensor([0, 1, 0, 1, 0, 1, 1, 0]),
            "episode": torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]),
        },
        *(_probe_case(*variation) for variation in variations()),
    ),
    mistakes={
        "columns_judged_where_fitted": Mistake(
            "the probe is judged on the episodes it was fitted to.",
            "with as many weights as rows it would be right there whatever it is given.",
            (_probe(judge=lambda episode: episode % 2 == 0),),
        ),
        "columns_fitted_everywhere": Mistake(
            "the episodes that judge were among those it was fitted to.",
            "the split was made after the fit.",
            (_probe(fit=_all_rows), _probe(fit=_all_rows, judge=_all_rows)),
        ),
        "columns_split_by_rows": Mistake(
            "every other row judges, and its neighbours of the same ball were fitted: the probe has seen nearly all.",
            "a random split is the habit where rows have nothing to do with one another; rows of an episode have.",
            (
                _probe(fit=lambda e: _row_number(e) % 2 == 0, judge=lambda e: _row_number(e) % 2 == 1),
                _probe(fit=lambda e: _row_number(e) < len(e) // 2, judge=lambda e: _row_number(e) >= len(e) // 2),
            ),
        ),
        "columns_sides_swapped": Mistake(
            "odd episodes are fitted and even ones judge.",
            "the two halves have the same shape as often as not.",
            (_probe(fit=lambda episode: episode % 2 == 1, judge=lambda episode: episode % 2 == 0),),
        ),
        "columns_without_constant": Mistake(
            "there is no constant, so the map must go through zero.",
            "a product with a matrix has none; a column of ones adds it.",
            (_probe(inputs=lambda known: known),),
        ),
        "columns_as_a_number": Mistake(
            "the column is fitted as a number and rounded: what is unsure between columns 0 and 6 is said to be 3.",
            "columns look like numbers; as classes each gets weights of its own.",
            (_probe(wanted=lambda column: column.double()[:, None], guess=_rounded),),
        ),
        "columns_error_for_share": Mistake(
            "this is the share of rows that are named wrongly.",
            "one minus was forgotten, or == became !=.",
            (_probe(score=lambda guess, column: (guess != column).double().mean()),),
        ),
        "columns_counted": Mistake(
            "this is how many rows are right, not which share.",
            "a sum in place of a mean.",
            (_probe(score=lambda guess, column: (guess == column).double().sum()),),
        ),
    },
)

PARTS = (PLANES, CONVOLUTION_SIZE, UPSAMPLE_CONVOLVE, IMAGE_LOSS, COLUMN_PROBE)

BUGS: tuple[Bug, ...] = ()
