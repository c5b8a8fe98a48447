"""Traces a network and saves its graph without weights."""

from __future__ import annotations

import warnings
from io import BytesIO

import torch
from torch import nn

from tightfit_export.graph_archive import canonical


def trace(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> bytes:
    """The archive of the module's graph, every parameter empty (shape [0]) in its dtype.

    The module keeps its weights. Equal modules give equal bytes under equal library versions.
    """
    # Types of earlier traces would be told apart from this one's by numbered names.
    torch._C._jit_clear_class_registry()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's, of branches that the chosen inputs settle
        traced = torch.jit.trace(module, inputs, check_trace=False)
        held = {name: parameter.data for name, parameter in traced.named_parameters()}
        try:
            for parameter in traced.parameters():
                parameter.data = torch.empty(0, dtype=parameter.dtype)
            buffer = BytesIO()
            torch.jit.save(traced, buffer)
        finally:
            for name, parameter in traced.named_parameters():
                parameter.data = held[name]
    return canonical(buffer.getvalue())
