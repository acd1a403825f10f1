"""Pictures one after the other, as an environment drew them, written as an animated GIF or as an MP4."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wm_tutorial.data import Array
from wm_tutorial.errors import InputError
from wm_tutorial.figures.style import write_file

FASTEST_GIF = 50.0  # frames a second: browsers play faster ones slowly


def check_recording(path: str | Path) -> Path:
    """The path, if a recording can be written under this name on this machine.

    Raises:
        InputError: if it ends neither in .gif nor in .mp4, or in .mp4 and the library for that is missing.
    """
    path = Path(path)
    if path.suffix.lower() not in (".gif", ".mp4"):
        raise InputError(f"The film is {path.name!r}; give a name that ends in .gif or .mp4.")
    if path.suffix.lower() == ".mp4":
        _ffmpeg()
    return path


def recording(frames: Iterable[tuple[Array, float]], path: str | Path) -> Path:
    """Write pictures as an animated GIF, or as an MP4 (H.264) with the package imageio-ffmpeg; returns the path.

    Args:
        frames: each (height, width, 3) uint8, all of one size, with the seconds for which it is shown. They are taken
            one by one, so that they need not be in memory all at once. A GIF cannot be quicker than 50 a second.
        path: name.gif or name.mp4; missing folders are made.

    Raises:
        InputError: see `check_recording`; also if there are no frames.
        OutputError: if the file cannot be written.
    """
    path = check_recording(path)
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    write_file(path, lambda: write(frames, path))
    return path


def _write_gif(frames: Iterable[tuple[Array, float]], path: Path) -> None:
    """Each picture has a palette of its own; drawn ones seldom have more than 256 colours, which are then exact."""
    pictures, durations = [], []
    for frame, seconds in frames:
        pictures.append(Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE))
        durations.append(10 * round(100 * max(seconds, 1 / FASTEST_GIF)))  # a GIF counts hundredths
    if not pictures:
        raise InputError("A film was asked for of no frames.")
    options: dict[str, Any] = {"append_images": pictures[1:], "duration": durations, "loop": 0, "optimize": True}
    pictures[0].save(path, format="GIF", save_all=True, **options)


def _write_mp4(frames: Iterable[tuple[Array, float]], path: Path) -> None:
    """Frames of one duration: that of the first; one that is to stay longer is repeated."""
    write_frames, rate = _ffmpeg(), 0.0
    writer: Any = None
    try:
        for frame, seconds in frames:
            even = frame[: len(frame) // 2 * 2, : frame.shape[1] // 2 * 2]  # H.264 halves the colours both ways
            if writer is None:
                rate = 1.0 / seconds
                writer = write_frames(str(path), (even.shape[1], even.shape[0]), fps=rate, macro_block_size=2)
                writer.send(None)
            for _ in range(max(1, round(seconds * rate))):
                writer.send(np.ascontiguousarray(even))
    except BaseException:
        if writer:
            writer.close()
            path.unlink(missing_ok=True)  # half a film
        raise
    if writer is None:
        raise InputError("A film was asked for of no frames.")
    writer.close()


def _ffmpeg() -> Any:
    try:
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        raise InputError(
            f"An MP4 needs the package imageio-ffmpeg, which is not there ({error}). Install it: pip install "
            '"wm_tutorial[film]". A name that ends in .gif needs nothing.'
        ) from error
    return write_frames
