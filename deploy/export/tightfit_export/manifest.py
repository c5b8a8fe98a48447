"""model.json, as MODEL_DIRECTORY.md specifies it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tightfit_export import COMPONENTS, MAX_TOKENS, __version__
from tightfit_export.families import guidance_embedding_size, inputs_of, outputs_of
from tightfit_export.layers import Layers
from tightfit_export.source_pipeline import SourcePipeline

SCHEMA_VERSION = 3

FileEntry = dict[str, Any]


@dataclass(frozen=True)
class SamplingDefaults:
    """What a request gets that leaves these out."""

    step_count: int = 25
    guidance_scale: float | None = None  # None: the family's
    sampler: str | None = None  # None: the source's own


@dataclass
class ComponentFiles:
    """What the manifest says of one component."""

    parameter_count: int
    weights: FileEntry
    layers: Layers = field(default_factory=dict)
    graphs: dict[str, FileEntry] = field(default_factory=dict)  # by dtype


def file_entry(root: Path, name: str) -> FileEntry:
    """Name, size and SHA-256 of a written file."""
    digest = hashlib.sha256()
    with (root / name).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        return {"file": name, "bytes": file.tell(), "sha256": digest.hexdigest()}


def model_hash(source: dict[str, Any], components: dict[str, ComponentFiles]) -> str:
    """What viewers show of a model: for a single file its own SHA-256, as web UIs have it."""
    return source.get("sha256") or weights_hash(components)


def weights_hash(components: dict[str, ComponentFiles]) -> str:
    """The hash of a model without a file of its own: over the weight files alone."""
    lines = "".join(
        f"{name} {components[name].weights['sha256']}\n"
        for name in COMPONENTS
        if name in components
    )
    return hashlib.sha256(lines.encode()).hexdigest()


def manifest(
    pipeline: SourcePipeline,
    components: dict[str, ComponentFiles],
    tokenizers: dict[str, dict[str, FileEntry]],
    license_text: str,
    attribution: str,
    defaults: SamplingDefaults,
) -> dict[str, Any]:
    """The content of model.json."""
    vae = pipeline.configs["vae"]
    family = pipeline.family
    width_px, height_px = pipeline.default_size_px
    return {
        "schema_version": SCHEMA_VERSION,
        "name": pipeline.name,
        "family": family.name,
        "hash": model_hash(pipeline.description, components),
        "exporter": _versions(),
        "source": pipeline.description,
        "license": license_text,
        "attribution": attribution,
        "prediction_type": pipeline.prediction_type,
        "scheduler": pipeline.scheduler,
        "vae": {
            "scaling_factor": vae["scaling_factor"],
            "shift_factor": vae.get("shift_factor") or None,
            "force_upcast": family.heeds_upcast and bool(vae.get("force_upcast", True)),
            "latent_channels": vae["latent_channels"],
            "sample_size_px": sample_size_px(vae),
        },
        "pixels_per_latent": pipeline.pixels_per_latent,
        "force_zeros_for_empty_prompt": bool(
            pipeline.model_index.get("force_zeros_for_empty_prompt", family.forces_zeros)
        ),
        "defaults": {
            "width_px": width_px,
            "height_px": height_px,
            "step_count": defaults.step_count,
            "guidance_scale": (
                family.guidance_scale
                if defaults.guidance_scale is None
                else defaults.guidance_scale
            ),
            "sampler": defaults.sampler or pipeline.default_sampler,
        },
        "text": {
            "max_length": MAX_TOKENS,
            "encoders": [
                {"component": encoder, "tokenizer": tokenizer}
                for encoder, tokenizer in family.tokenizers.items()
            ],
            "embedding_size": pipeline.embedding_size,
            "pooled_size": pipeline.pooled_size,
            "max_clip_skip": pipeline.max_clip_skip,
            "usual_clip_skip": 1 if family.is_text_normed else 2,
        },
        "time_ids": list(family.time_ids),
        "guidance_embedding_size": guidance_embedding_size(pipeline.configs["unet"]),
        "components": {
            name: {
                "inputs": list(inputs_of(name, family, pipeline.config_of(name))),
                "outputs": list(outputs_of(name, family)),
                "parameter_count": files.parameter_count,
                "layers": files.layers,
                "graphs": files.graphs,
                "weights": files.weights,
            }
            for name, files in components.items()
        },
        "tokenizers": tokenizers,
    }


def sample_size_px(vae: dict[str, Any]) -> int:
    """Side of the images that the VAE was trained on; larger ones are best decoded in tiles."""
    size = vae.get("sample_size") or 512  # diffusers' tiling takes 512 where nothing is said
    return min(size) if isinstance(size, list) else size


def manifest_text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _versions() -> dict[str, str]:
    import diffusers
    import torch
    import transformers

    return {
        "tightfit": __version__,
        "torch": torch.__version__.split("+")[0],
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }
