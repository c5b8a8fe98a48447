"""A stand-in for a fine-tune: the same pipeline with a UNet of slightly other weights."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tightfit_export.source_pipeline import SourcePipeline, WeightOrigin
from tightfit_export.source_weights import ComponentWeights, StoredTensor

if TYPE_CHECKING:
    import torch
    from torch import nn

# Of a tensor's own standard deviation: enough that images differ, too little to break them.
_NOISE_SHARE = 0.02


class PerturbedWeights:
    """Adds noise to every tensor as it is read; the same noise for the same seed and name."""

    def __init__(self, weights: ComponentWeights, seed: int) -> None:
        self._weights = weights
        self._seed = seed
        # What is changed is no longer what a quantiser had made.
        self.tensors: Mapping[str, StoredTensor] = {
            key: dataclasses.replace(stored, kind="") for key, stored in weights.tensors.items()
        }

    def read(self, key: str) -> torch.Tensor:
        import torch

        values = self._weights.read(key)
        exact = values.float()
        # torch takes 32 bits of a seed.
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self._seed} {key}".encode()))
        noise = torch.randn(exact.shape, generator=generator)
        spread = exact.std() if exact.numel() > 1 else exact.abs().mean()
        return (exact + _NOISE_SHARE * spread * noise).to(values.dtype)

    def close(self) -> None:
        self._weights.close()


@dataclasses.dataclass(frozen=True)
class PerturbedOrigin:
    """The weights of another origin, perturbed."""

    origin: WeightOrigin
    seed: int

    @property
    def total_bytes(self) -> int:
        return self.origin.total_bytes

    def open(self, module: nn.Module) -> ComponentWeights:
        return PerturbedWeights(self.origin.open(module), self.seed)

    def identity(self) -> list[Any]:
        return [*self.origin.identity(), "perturbed", self.seed]


def with_perturbed_unet(pipeline: SourcePipeline, seed: int) -> SourcePipeline:
    """The pipeline with noise on its UNet; all other files stay equal byte for byte.

    Its hash is that of the written weights: it is no longer the source's file.
    """
    hashed = {part: path for part, path in pipeline.hashed_files.items() if part}
    return dataclasses.replace(
        pipeline,
        weights=pipeline.weights | {"unet": PerturbedOrigin(pipeline.weights["unet"], seed)},
        description=pipeline.description | {"perturbed_unet_seed": seed},
        hashed_files=hashed,
    )
