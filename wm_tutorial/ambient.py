"""PyTorch's global settings, kept out: what the user has set around a call must not change its numbers."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

KINDS = ("cpu", "cuda", "mps")  # of devices, each with an autocast of its own


@contextmanager
def as_usual() -> Iterator[None]:
    """Inside, PyTorch computes as in a new process; outside, everything is as before.

    That is: in float32 and with the full precision of matrix products, with gradients, on the CPU unless another device
    is named, and without autocast. What is as usual already is left alone, since some settings slow every call down.
    """
    dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in KINDS:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if dtype != torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        if precision != "highest":
            stack.callback(torch.set_float32_matmul_precision, precision)
            torch.set_float32_matmul_precision("highest")
        yield
