"""Which modules of a component multiply by a weight that the server can pack."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Layers = dict[str, list[str]]  # "linear", "conv2d": names of modules


def layers_of(module: torch.nn.Module) -> Layers:
    """The Linear and Conv2d modules by name, those that hold a weight of their own."""
    from torch import nn

    layers: Layers = {"linear": [], "conv2d": []}
    for name, part in module.named_modules():
        if type(part) is nn.Linear:
            layers["linear"].append(name)
        elif type(part) is nn.Conv2d:
            layers["conv2d"].append(name)
    return layers
