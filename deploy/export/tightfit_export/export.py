"""Writes a model directory, whole or not at all."""

from __future__ import annotations

import dataclasses
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tightfit_export import DTYPES, VAE_ENCODER, memory
from tightfit_export.errors import SourceError
from tightfit_export.export_summary import ExportSummary
from tightfit_export.manifest import SamplingDefaults, file_entry, manifest, manifest_text
from tightfit_export.manifest_limits import check_limits
from tightfit_export.partial_directory import (
    PartialDirectory,
    existing_parent,
    folder_of,
    identity_key,
    partial_directory,
    sha256_of,
)
from tightfit_export.progress import Progress
from tightfit_export.source_pipeline import SourcePipeline

_GRAPH_STEMS = {"vae": "vae_decoder"}  # of others the component's name

# Graphs and tokenizers, beside the weights, take no more than this.
_SPACE_BESIDE_WEIGHTS_BYTES = 128 << 20


@dataclass(frozen=True)
class ExportOptions:
    """Where a pipeline is to be exported to, and as what."""

    out: Path
    dtypes: tuple[str, ...] = DTYPES
    license: str | None = None  # None: what the source's model card says
    attribution: str = ""
    overwrite: bool = False
    defaults: SamplingDefaults = SamplingDefaults()


def check_destination(out: Path, overwrite: bool) -> None:
    """Errors: SourceError where writing would destroy something."""
    if not out.exists() and not out.is_symlink():
        existing = existing_parent(out)
        if not existing.is_dir():
            raise SourceError(f"{existing} is no directory")
        return
    if not out.is_dir() or out.is_symlink():
        raise SourceError(f"{out} exists and is no directory")
    if any(out.iterdir()):
        if not overwrite:
            raise SourceError(
                f"{out} exists and is not empty; --overwrite replaces a model directory"
            )
        if not (out / "model.json").is_file():
            raise SourceError(
                f"{out} holds no model.json; --overwrite replaces model directories only"
            )


def export(pipeline: SourcePipeline, options: ExportOptions, progress: Progress) -> ExportSummary:
    """Exports and verifies. Errors: ExportError; then `out` is as it was before."""
    check_destination(options.out, options.overwrite)
    check_limits(pipeline, _license(options, pipeline))
    key = identity_key(pipeline.identity())
    check_space(pipeline, options.out, key)
    for note in pipeline.notes:
        progress.note(note)
    if not pipeline.sampler_is_native and options.defaults.sampler is None:
        progress.note(
            f"{pipeline.scheduler['_class_name']} has no sampler of its own; the default is euler"
        )
    with partial_directory(options.out, key, options.overwrite, progress) as partial:
        summary = _write(partial, options, pipeline, progress)
    summary.seconds = progress.elapsed_seconds
    summary.peak_memory_bytes = memory.peak_bytes()
    return summary


def check_space(pipeline: SourcePipeline, out: Path, key: str) -> None:
    """Errors: SourceError where the disk of `out` cannot hold the weights."""
    # fp16 needs at most what the source has.
    weights = sum(origin.total_bytes for origin in pipeline.weights.values())
    begun = folder_of(out, key)
    if begun.is_dir():
        weights -= sum(path.stat().st_size for path in begun.glob("*.safetensors"))
    needed = max(0, weights) + _SPACE_BESIDE_WEIGHTS_BYTES
    place = existing_parent(out)
    free = shutil.disk_usage(place).free
    if free < needed:
        raise SourceError(
            f"{place} has {free / 1e9:.1f} GB free; "
            f"up to {needed / 1e9:.1f} GB are needed"
        )


def _write(
    partial: PartialDirectory, options: ExportOptions, pipeline: SourcePipeline, progress: Progress
) -> ExportSummary:
    folder = partial.folder
    # Vocabularies are read first: they are quick to refuse.
    tokenizers = _write_tokenizers(folder, pipeline, progress)
    with progress.stage("loading libraries"):
        from tightfit_export import component_export
    with progress.stage("matching names and shapes"):
        plans = component_export.plan_weights(pipeline)
    pipeline = _with_hashes(pipeline, progress)
    summary = ExportSummary(options.out, {})
    for component in pipeline.components:
        if component not in partial.finished:
            path = folder / f"{component}.safetensors"
            report = component_export.write_component_weights(
                path, component, plans[component], progress
            )
            partial.finish(component, report)
        component_export.describe(component, partial.finished[component], summary, progress)
    components = {}
    for component in pipeline.components:
        dtypes = [dtype for dtype in DTYPES if dtype in options.dtypes]
        if component == "vae" and "fp32" not in dtypes:
            dtypes.insert(0, "fp32")  # what a VAE that overflows in 16 bits falls back to
        if component == VAE_ENCODER:
            dtypes = ["fp32"]  # once a request, and on few channels: 16 bits would gain little
        components[component] = component_export.write_graphs(
            folder,
            _GRAPH_STEMS.get(component, component),
            component,
            partial.finished[component],
            pipeline,
            dtypes,
            summary,
            progress,
        )
        components[component].layers = plans[component].layers
    content = manifest(
        pipeline,
        components,
        tokenizers,
        _license(options, pipeline),
        options.attribution,
        options.defaults,
    )
    (folder / "model.json").write_text(manifest_text(content), encoding="utf-8", newline="\n")
    summary.content = content
    return summary


def _with_hashes(pipeline: SourcePipeline, progress: Progress) -> SourcePipeline:
    """The pipeline whose description has the SHA-256 of the single files that it came from."""
    description = dict(pipeline.description)
    for part, path in pipeline.hashed_files.items():
        with progress.bytes_stage(f"hashing {path.name}", path.stat().st_size) as on_bytes:
            entry = {"sha256": sha256_of(path, on_bytes)}
        if part:
            description[part] = description[part] | entry
        else:
            description |= entry
    return dataclasses.replace(pipeline, description=description)


def _write_tokenizers(
    folder: Path, pipeline: SourcePipeline, progress: Progress
) -> dict[str, dict[str, dict[str, Any]]]:
    from tightfit_export import clip_vocabulary, tokenizer_files, tokenizer_verification

    entries: dict[str, dict[str, dict[str, Any]]] = {}
    for encoder, name in pipeline.family.tokenizers.items():
        with progress.stage(f"{name}: reading, writing, comparing"):
            source = pipeline.tokenizers[name]
            pad_token = pipeline.family.pad_tokens[name]
            if source is None:
                vocabulary = clip_vocabulary.packaged_vocabulary(pad_token)
            else:
                vocabulary = tokenizer_files.read_vocabulary(
                    source, pipeline.configs[encoder]["vocab_size"]
                )
            tokenizer_files.write_vocabulary(folder / name, vocabulary)
            tokenizer_verification.verify(folder / name, source, pad_token)
            entries[name] = {
                file: file_entry(folder, f"{name}/{file}") for file in tokenizer_files.FILES
            }
    return entries


def _license(options: ExportOptions, pipeline: SourcePipeline) -> str:
    """The licence given, or the one that the model card's front matter names."""
    if options.license is not None:
        return options.license
    card = pipeline.model_card
    if card is not None and card.is_file():
        text = card.read_text(encoding="utf-8", errors="replace")
        front = re.match(r"---\s*\n(.*?)\n---\s*\n", text, re.DOTALL)
        if front:
            for key in ("license_name", "license"):
                found = re.search(rf"^{key}:\s*(\S.*)$", front.group(1), re.MULTILINE)
                if found:
                    return found.group(1).strip().strip("\"'")
    return ""
