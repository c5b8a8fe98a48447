"""Exports one component: its weight file, then a graph for each dtype, each one verified."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tightfit_export import architecture, memory, verification
from tightfit_export.architecture import TORCH_DTYPES, TRACED_BATCH, TRACED_LATENT_SIZE
from tightfit_export.export_summary import ExportSummary
from tightfit_export.graph import trace
from tightfit_export.layers import Layers, layers_of
from tightfit_export.manifest import ComponentFiles, FileEntry, file_entry
from tightfit_export.progress import Progress
from tightfit_export.source_pipeline import SourcePipeline
from tightfit_export.source_weights import ComponentWeights
from tightfit_export.tensor_file import check_dtype
from tightfit_export.weight_file import WeightReport, match_keys, read_weights, write_weights

# Where tracing took longer (a full-size network on a CPU), one small size is checked.
_SLOW_TRACE_SECONDS = 90.0
_SLOW_CHECKS = ((1, (9, 7)),)

# A loss to fp16's smallest numbers below this part of a tensor's norm is not worth a line.
_NOTED_LOSS = 1e-5


@dataclass(frozen=True)
class WeightPlan:
    """Which stored tensor becomes which parameter of a component."""

    source: ComponentWeights
    keys: dict[str, str]  # of the source, by parameter
    shapes: dict[str, torch.Size]
    layers: Layers

    @property
    def fp16_bytes(self) -> int:
        return sum(2 * shape.numel() for shape in self.shapes.values())


def plan_weights(pipeline: SourcePipeline) -> dict[str, WeightPlan]:
    """Matches names and shapes of every component before anything is written.

    Errors: SourceError with the first thing wrong.
    """
    opened = {}
    for component in pipeline.components:
        module = architecture.build(component, pipeline.config_of(component), pipeline.family)
        source = pipeline.weights[component].open(module)
        opened[component] = (module, source)
    pipeline.check_complete()
    plans = {}
    for component, (module, source) in opened.items():
        shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
        keys = match_keys(component, source, shapes)
        for key in keys.values():
            check_dtype(component, key, source.tensors[key])
        plans[component] = WeightPlan(source, keys, shapes, layers_of(module))
    return plans


def write_component_weights(
    path: Path, component: str, plan: WeightPlan, progress: Progress
) -> WeightReport:
    """Writes the component's weight file. Errors: ExportError, OSError."""
    with progress.bytes_stage(f"{component}: weights", plan.fp16_bytes) as on_bytes:
        report = write_weights(path, component, plan.source, plan.keys, plan.shapes, on_bytes)
    plan.source.close()
    return report


def describe(
    component: str, report: WeightReport, summary: ExportSummary, progress: Progress
) -> None:
    """Notes what was remarkable in the weights."""
    for name in report.kept_fp32:
        progress.note(f"{component}: {name} has values that fp16 cannot hold; it stays fp32")
    for name in report.kept_fp32_small:
        progress.note(f"{component}: {name} has values too small for fp16; it stays fp32")
    for name, count in report.non_finite.items():
        progress.note(
            f"{component}: {name} holds {count} values that are NaN or infinite, as its source"
        )
    for kind, count in report.restored.items():
        progress.note(f"{component}: {count:,} tensors were {kind}; they are written restored")
    if report.held_exactly:
        progress.note(f"{component}: {_held_text(report.held_exactly)}")
        summary.held_exactly[component] = report.held_exactly
    for name, count in report.zero_rows.items():
        progress.note(f"{component}: {name} came out of its scales with {count:,} rows of zeros")
    if report.worst_small_loss > _NOTED_LOSS:
        progress.note(
            f"{component}: of {report.parameter_count:,} weights fp16 made {report.to_zero:,} zero "
            f"and rounded {report.rounded_subnormal:,} that are close to it; no tensor lost more "
            f"than {report.worst_small_loss:.1e} of its norm"
        )
    kept = report.kept_fp32 + report.kept_fp32_small
    if kept:
        summary.kept_fp32[component] = kept
    if report.restored:
        summary.restored[component] = report.restored
    if component == "unet":
        summary.suggested_format = report.suggested
    if report.non_finite:
        summary.non_finite[component] = report.non_finite
    if report.to_zero or report.rounded_subnormal:
        summary.underflow[component] = {
            "to_zero": report.to_zero,
            "rounded_subnormal": report.rounded_subnormal,
            "worst_relative_loss": report.worst_small_loss,
        }


def _held_text(held: dict[str, Any]) -> str:
    count, exact = held["restored_count"], held["exact_count"]
    if not exact:
        return "no format of the server holds its restored weights bit for bit; packing rounds them"
    what = f"{held['format']} holds {exact:,} of its {count:,} restored weights bit for bit"
    return what if exact == count else f"{what} and rounds the others"


def write_graphs(
    folder: Path,
    graph_stem: str,
    component: str,
    report: WeightReport,
    pipeline: SourcePipeline,
    dtypes: list[str],
    summary: ExportSummary,
    progress: Progress,
) -> ComponentFiles:
    """Writes `STEM.DTYPE.ts` beside the component's finished weight file. Errors: ExportError."""
    weights_path = folder / f"{component}.safetensors"
    weights = {"file": weights_path.name, "bytes": report.bytes, "sha256": report.sha256}
    files = ComponentFiles(parameter_count=report.parameter_count, weights=weights)
    for dtype in dtypes:
        path = folder / f"{graph_stem}.{dtype}.ts"
        files.graphs[dtype] = _write_graph(
            path, weights_path, component, dtype, pipeline, summary, progress
        )
        memory.release()
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
    config = pipeline.config_of(component)

    def inputs_of(batch: int, latent_size: tuple[int, int]) -> tuple[torch.Tensor, ...]:
        return architecture.example_inputs(
            component,
            config,
            dtype=torch_dtype,
            batch=batch,
            latent_size=latent_size,
            pooled_size=pipeline.pooled_size,
            seed=batch,
            family=pipeline.family,
        )

    with progress.stage(f"{component} {dtype}: tracing"):
        # The weights are in memory once: module, trace and the graph that is loaded again share
        # them.
        module = architecture.build(component, config, pipeline.family)
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
