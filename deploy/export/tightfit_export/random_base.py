"""Pipelines of real models' shapes with random weights, made tensor by tensor.

For measuring memory and time at full size, or at half the width, without a download. The weights
are well-conditioned, so that activations stay finite in 16 bits; they draw noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tightfit_export.bundled_configs import bundled
from tightfit_export.families import SD1, SD2, SDXL, Family
from tightfit_export.source_pipeline import SourcePipeline, WeightOrigin, encoder_entry
from tightfit_export.tensor_file import StoredTensor

if TYPE_CHECKING:
    import torch
    from torch import nn

BASE = "sdxl-base"
HALF = "sdxl-half"
_FAMILIES: dict[str, Family] = {BASE: SDXL, HALF: SDXL, "sd1-base": SD1, "sd2-base": SD2}
NAMES = tuple(_FAMILIES)

# In fp16.
_TOTAL_BYTES = {
    BASE: 6_940_000_000,
    HALF: 2_420_000_000,
    "sd1-base": 2_140_000_000,
    "sd2-base": 2_600_000_000,
}


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


def _halved(configs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """UNet and VAE of half as many channels, text encoders of half as many layers."""
    halved = {part: dict(config) for part, config in configs.items()}
    for part in ("unet", "vae"):
        channels = halved[part]["block_out_channels"]
        halved[part]["block_out_channels"] = [count // 2 for count in channels]
    for part in ("text_encoder", "text_encoder_2"):
        halved[part]["num_hidden_layers"] //= 2
    return halved


def random_base(seed: int, name: str = BASE) -> SourcePipeline:
    """`name`: one of NAMES. Equal seeds give equal bytes."""
    family = _FAMILIES[name]
    index, configs, scheduler = bundled(family)
    if name == HALF:
        configs = _halved(configs)
    sizes = {part: _TOTAL_BYTES[name] if part == "unet" else 0 for part in family.components}
    weights: dict[str, WeightOrigin] = {
        part: RandomWeights(part, seed, sizes[part]) for part in family.components
    }
    return SourcePipeline(
        f"{name}-random",
        index,
        configs,
        scheduler,
        weights | encoder_entry(weights["vae"], True),
        dict.fromkeys(family.tokenizers.values()),
        {"kind": "random", "name": name, "seed": seed},
        family=family,
    )
