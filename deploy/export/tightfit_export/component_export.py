"""Exports one component: its weight file, then a graph for each dtype, each one verified."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from tightfit_export import architecture, verification
from tightfit_export.architecture import TORCH_DTYPES, TRACED_BATCH, TRACED_LATENT_SIZE
from tightfit_export.graph import trace
from tightfit_export.manifest import ComponentFiles, FileEntry, file_entry
from tightfit_export.progress import Progress
from tightfit_export.source_pipeline import SourcePipeline
from tightfit_export.source_weights import SourceWeights
from tightfit_export.weight_file import match_keys, read_weights, write_weights

if TYPE_CHECKING:
    import torch

    from tightfit_export.export import ExportSummary

# Where tracing took longer (fp16 of a full-size network on a CPU), one small size is checked.
_SLOW_TRACE_SECONDS = 90.0
_SLOW_CHECKS = ((1, (9, 7)),)


def write_component(
    folder: Path,
    graph_stem: str,
    component: str,
    pipeline: SourcePipeline,
    dtypes: list[str],
    summary: ExportSummary,
    progress: Progress,
) -> ComponentFiles:
    """Writes `COMPONENT.safetensors` and `STEM.DTYPE.ts` into `folder`. Errors: ExportError."""
    weights_path = folder / f"{component}.safetensors"
    files = _write_weights(weights_path, component, pipeline, summary, progress)
    for dtype in dtypes:
        path = folder / f"{graph_stem}.{dtype}.ts"
        files.graphs[dtype] = _write_graph(
            path, weights_path, component, dtype, pipeline, summary, progress
        )
    return files


def _write_graph(
    path: Path,
    weights_path: Path,
    component: str,
    dtype: str,
    pipeline: SourcePipeline,
    summary: ExportSummary,
    progress: Progress,
) -> FileEntry:
    """Traces with the written weights and compares what comes back from the disk."""
    torch_dtype = TORCH_DTYPES[dtype]
    config = pipeline.configs[component]

    def inputs_of(batch: int, latent_size: tuple[int, int]) -> tuple[torch.Tensor, ...]:
        return architecture.example_inputs(
            component,
            config,
            dtype=torch_dtype,
            batch=batch,
            latent_size=latent_size,
            pooled_size=pipeline.pooled_size,
            seed=batch,
        )

    with progress.stage(f"{component} {dtype}: tracing"):
        module = architecture.build(component, config)
        weights = read_weights(weights_path, torch_dtype)
        architecture.set_weights(module, weights)
        started = time.monotonic()
        path.write_bytes(trace(module, inputs_of(TRACED_BATCH, TRACED_LATENT_SIZE)))
        slow = time.monotonic() - started > _SLOW_TRACE_SECONDS
    with progress.stage(f"{component} {dtype}: verifying"):
        if slow:
            progress.note(f"{path.name}: slow on this machine, verified at one size only")
        summary.max_abs_difference[path.name] = verification.compare(
            path.name,
            verification.load_graph(path.read_bytes(), weights),
            module,
            inputs_of,
            torch_dtype,
            _SLOW_CHECKS if slow else verification.CHECKS,
        )
    return file_entry(path.parent, path.name)


def _write_weights(
    path: Path,
    component: str,
    pipeline: SourcePipeline,
    summary: ExportSummary,
    progress: Progress,
) -> ComponentFiles:
    module = architecture.build(component, pipeline.configs[component])
    shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
    source = SourceWeights(component, pipeline.weight_files[component])
    written_bytes = 0

    def on_bytes(count: int) -> None:
        nonlocal written_bytes
        written_bytes += count
        progress.detail(f"{component}: weights, {written_bytes / 1e6:.0f} MB")

    with progress.stage(f"{component}: weights"):
        keys = match_keys(component, source, shapes)
        report = write_weights(path, component, source, keys, shapes, on_bytes)
    source.close()
    for name in report.kept_fp32:
        progress.note(f"{component}: {name} has values that fp16 cannot hold; it stays fp32")
    for name, count in report.non_finite.items():
        progress.note(
            f"{component}: {name} holds {count} values that are NaN or infinite, as its source"
        )
    if report.kept_fp32:
        summary.kept_fp32[component] = report.kept_fp32
    if report.non_finite:
        summary.non_finite[component] = report.non_finite
    entry = {"file": path.name, "bytes": report.bytes, "sha256": report.sha256}
    return ComponentFiles(parameter_count=report.parameter_count, weights=entry)
