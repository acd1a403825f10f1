"""Checks of chapter 13: pictures in, their sizes, pictures out, their loss, and what a state knows of them."""

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.mistakes.part import Function
from wm_tutorial.mistakes.pixels import COLUMN_PROBE, CONVOLUTION_SIZE, IMAGE_LOSS, PLANES, UPSAMPLE_CONVOLVE


def planes(function: Function) -> bool:
    """Check `planes(obs)`: pictures as environments give them -> pictures as convolutions take them.

    obs  (B, H, W, C) uint8
    ->   (B, C, H, W) float32: 0 becomes -0.5, and 255 becomes 0.5

    check.planes(my_planes)
    """
    return examine(PLANES, function)


def convolution_size(function: Function) -> bool:
    """Check `convolution_size(size, kernel, stride, padding)`: how many places a kernel has along a side.

    size     (N,) int64, pixels along one side of N pictures
    kernel   (N,) int64, pixels along the same side of the kernel
    stride   (N,) int64, pixels from one place to the next
    padding  (N,) int64, pixels that are added at either end
    ->       (N,) int64, places where the kernel stands wholly inside, padding included

    check.convolution_size(my_convolution_size)
    """
    return examine(CONVOLUTION_SIZE, function)


def upsample_convolve(function: Function) -> bool:
    """Check `upsample_convolve(x, weight, bias)`: a picture twice as large, convolved.

    x       (B, C, H, W)
    weight  (O, C, K, K), with K odd; not turned round, as in torch's conv2d
    bias    (O,)
    ->      (B, O, 2 H, 2 W): each pixel of x repeated 2 x 2 times, then convolved with K // 2 zeros around it; with
            gradient to all three

    check.upsample_convolve(my_upsample_convolve)
    """
    return examine(UPSAMPLE_CONVOLVE, function)


def image_loss(function: Function) -> bool:
    """Check `image_loss(mean, target)`: how far a drawn picture is from the true one.

    mean    (B, H, W, C) in 0..1
    target  (B, H, W, C) uint8
    ->      (B,) squared error of both in 0..1, summed over pixels and colours; with gradient to mean

    check.image_loss(my_image_loss)
    """
    return examine(IMAGE_LOSS, function)


def column_probe(function: Function) -> bool:
    """Check `column_probe(known, column, episode)`: how often a linear map of what is known names the ball's column.

    known    (N, F)
    column   (N,) int64, 0 and up
    episode  (N,) int64, the number of the episode that a row is from
    ->       () of the rows of odd episodes, the share whose column is named: least squares with a constant to the
             one-hot columns of the even episodes, and the largest of what it gives is the column named

    check.column_probe(my_column_probe)
    """
    return examine(COLUMN_PROBE, function)
