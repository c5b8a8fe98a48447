"""A pipeline of SDXL base's shapes with random weights, made tensor by tensor.

For measuring memory and time at full size without a download. The weights are well-conditioned, so
that activations stay finite in 16 bits; they draw noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tightfit_export import COMPONENTS, TOKENIZERS
from tightfit_export.bundled_configs import sdxl_base
from tightfit_export.source_pipeline import SourcePipeline
from tightfit_export.tensor_file import StoredTensor

if TYPE_CHECKING:
    import torch
    from torch import nn

# fp16 bytes of SDXL base's 3.47 billion parameters, without the VAE's encoder.
_TOTAL_BYTES = 6_870_000_000


class RandomTensors:
    """Values from a seed and a tensor's name alone; nothing is kept."""

    def __init__(self, component: str, module: nn.Module, seed: int) -> None:
        self._component = component
        self._seed = seed
        self._layers = dict(module.named_modules())
        self.tensors = {
            name: StoredTensor("F16", tuple(parameter.shape))
            for name, parameter in module.named_parameters()
        }

    def read(self, key: str) -> torch.Tensor:
        """The values in fp16."""
        import torch

        from tightfit_export.random_pipeline import random_tensor

        path, _, name = key.rpartition(".")
        shape = self.tensors[key].shape
        values = random_tensor(
            self._component, path, name, self._layers[path], shape, self._seed, single=True
        )
        return values.to(torch.float16)

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class RandomWeights:
    """One component of random weights."""

    component: str
    seed: int
    total_bytes: int

    def open(self, module: nn.Module) -> RandomTensors:
        return RandomTensors(self.component, module, self.seed)

    def identity(self) -> list[Any]:
        return ["random", self.component, self.seed]


def random_base(seed: int) -> SourcePipeline:
    """Equal seeds give equal bytes."""
    index, configs, scheduler = sdxl_base()
    sizes = {part: _TOTAL_BYTES if part == "unet" else 0 for part in COMPONENTS}
    return SourcePipeline(
        "sdxl-base-random",
        index,
        configs,
        scheduler,
        {part: RandomWeights(part, seed, sizes[part]) for part in COMPONENTS},
        dict.fromkeys(TOKENIZERS),
        {"kind": "random", "name": "sdxl-base", "seed": seed},
    )
