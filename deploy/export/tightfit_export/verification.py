"""Runs what was written against the network in Python."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO

import torch
from torch import nn

from tightfit_export.errors import VerificationError

# Largest difference allowed, relative to the largest magnitude of the output. Equal bits are
# expected; the room is for kernels that choose another order of additions in another call.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-3}

# (batch, latent height and width): none is the traced size.
CHECKS = ((1, (16, 16)), (3, (9, 13)))


def load_graph(archive: bytes, weights: dict[str, torch.Tensor]) -> torch.jit.ScriptModule:
    """The saved graph with weights in its slots. Errors: VerificationError where names differ."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch.jit.load(BytesIO(archive), map_location="cpu")
    parameters = dict(graph.named_parameters())
    different = sorted(set(parameters) ^ set(weights))
    if different:
        raise VerificationError(
            f"graph and weight file differ in the names they hold: {different[0]}"
        )
    for name, parameter in parameters.items():
        if tuple(parameter.shape) != (0,):
            raise VerificationError(f"the saved graph holds a weight: {name}")
        parameter.requires_grad_(False)
        parameter.data = weights[name]
    return graph


def compare(
    what: str,
    graph: torch.jit.ScriptModule,
    module: nn.Module,
    inputs_of: Callable[[int, tuple[int, int]], tuple[torch.Tensor, ...]],
    dtype: torch.dtype,
    checks: tuple[tuple[int, tuple[int, int]], ...] = CHECKS,
) -> float:
    """Largest absolute difference over `checks`; 0 means equal bits. Errors: VerificationError."""
    largest = 0.0
    for batch, size in checks:
        inputs = inputs_of(batch, size)
        with torch.no_grad(), torch.jit.optimized_execution(False):
            expected = module(*inputs)
            try:
                found = graph(*inputs)
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[-1]
                raise VerificationError(
                    f"{what}: fails at batch {batch}, latents {size[0]}x{size[1]}: {reason}"
                ) from error
        if isinstance(expected, torch.Tensor):
            expected, found = (expected,), (found,)
        for index, (want, got) in enumerate(zip(expected, found, strict=True)):
            where = f"{what}: output {index} at batch {batch}, latents {size[0]}x{size[1]}"
            difference = _difference(where, want, got)
            peak = want.float().nan_to_num(posinf=0, neginf=0).abs().max().item()
            if difference > TOLERANCE[dtype] * peak:
                raise VerificationError(
                    f"{where} differs by {difference:.3g} (largest value {peak:.3g})"
                )
            largest = max(largest, difference)
    return largest


def _difference(where: str, want: torch.Tensor, got: torch.Tensor) -> float:
    if want.shape != got.shape or want.dtype != got.dtype:
        raise VerificationError(
            f"{where} is {got.dtype} {list(got.shape)}, not {want.dtype} {list(want.shape)}"
        )
    finite = torch.isfinite(want)
    # NaN and infinity must stand in the same places.
    if not torch.equal(want.nan_to_num(0, 1, -1)[~finite], got.nan_to_num(0, 1, -1)[~finite]) or (
        not torch.equal(finite, torch.isfinite(got))
    ):
        raise VerificationError(f"{where} has NaN or infinity in other places")
    if not finite.any():
        return 0.0
    return (want.float() - got.float())[finite].abs().max().item()
