"""Writes a model directory, whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tightfit_export import COMPONENTS, DTYPES, TOKENIZERS
from tightfit_export.errors import SourceError
from tightfit_export.manifest import (
    ComponentFiles,
    SamplingDefaults,
    file_entry,
    manifest,
    manifest_text,
)
from tightfit_export.progress import Progress
from tightfit_export.source_pipeline import SourcePipeline, open_pipeline

_GRAPH_STEMS = {name: name for name in COMPONENTS} | {"vae": "vae_decoder"}

# Graphs and tokenizers, beside the weights, take no more than this.
_SPACE_BESIDE_WEIGHTS_BYTES = 128 << 20


@dataclass(frozen=True)
class ExportOptions:
    """What is to be exported, and to where."""

    source: Path
    out: Path
    dtypes: tuple[str, ...] = DTYPES
    name: str = ""  # "": that of the source directory
    variant: str | None = None
    license: str | None = None  # None: what the source's model card says
    attribution: str = ""
    overwrite: bool = False
    defaults: SamplingDefaults = SamplingDefaults()
    source_description: dict[str, Any] | None = None  # None: the source is a diffusers directory


@dataclass
class ExportSummary:
    """What was written."""

    out: Path
    content: dict[str, Any]  # model.json
    kept_fp32: dict[str, list[str]] = field(default_factory=dict)  # by component
    non_finite: dict[str, dict[str, int]] = field(default_factory=dict)  # by component
    max_abs_difference: dict[str, float] = field(default_factory=dict)  # by graph file
    seconds: float = 0.0


def check_destination(out: Path, overwrite: bool) -> None:
    """Errors: SourceError where writing would destroy something."""
    if not out.exists() and not out.is_symlink():
        if not out.absolute().parent.is_dir():
            raise SourceError(f"{out.absolute().parent}: no such directory")
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


def export(options: ExportOptions, progress: Progress) -> ExportSummary:
    """Exports and verifies. Errors: ExportError; then `out` is as it was before."""
    check_destination(options.out, options.overwrite)
    name = options.name or options.source.resolve().name
    pipeline = open_pipeline(options.source, name, options.variant)
    check_space(pipeline, options.out)
    if not pipeline.sampler_is_native:
        progress.note(
            f"{pipeline.scheduler['_class_name']} has no sampler of its own; the default is euler"
        )
    with _new_directory(options.out, options.overwrite) as folder:
        summary = _write(folder, options, pipeline, progress)
    summary.seconds = progress.elapsed_seconds
    return summary


def check_space(pipeline: SourcePipeline, out: Path) -> None:
    """Errors: SourceError where the disk of `out` cannot hold the weights."""
    needed = _SPACE_BESIDE_WEIGHTS_BYTES
    for files in pipeline.weight_files.values():
        # fp16 needs at most what the source has.
        needed += sum(file.stat().st_size for file in files)
    free = shutil.disk_usage(out.absolute().parent).free
    if free < needed:
        raise SourceError(
            f"{out.absolute().parent} has {free / 1e9:.1f} GB free; "
            f"up to {needed / 1e9:.1f} GB are needed"
        )


def _write(
    folder: Path, options: ExportOptions, pipeline: SourcePipeline, progress: Progress
) -> ExportSummary:
    # Vocabularies are read first: they are quick to refuse.
    tokenizers = _write_tokenizers(folder, pipeline, progress)
    with progress.stage("loading libraries"):
        from tightfit_export.component_export import write_component
    summary = ExportSummary(options.out, {})
    components: dict[str, ComponentFiles] = {}
    for component in COMPONENTS:
        dtypes = [dtype for dtype in DTYPES if dtype in options.dtypes]
        if component == "vae" and "fp32" not in dtypes:
            dtypes.insert(0, "fp32")  # what a VAE that overflows in 16 bits falls back to
        components[component] = write_component(
            folder, _GRAPH_STEMS[component], component, pipeline, dtypes, summary, progress
        )
    content = manifest(
        pipeline,
        options.source_description or {"kind": "diffusers", "name": options.source.resolve().name},
        components,
        tokenizers,
        _license(options),
        options.attribution,
        options.defaults,
    )
    (folder / "model.json").write_text(manifest_text(content), encoding="utf-8", newline="\n")
    summary.content = content
    return summary


def _write_tokenizers(
    folder: Path, pipeline: SourcePipeline, progress: Progress
) -> dict[str, dict[str, dict[str, Any]]]:
    from tightfit_export import tokenizer_files

    entries: dict[str, dict[str, dict[str, Any]]] = {}
    for name, encoder in zip(TOKENIZERS, ("text_encoder", "text_encoder_2"), strict=True):
        with progress.stage(f"{name}: reading, writing, comparing"):
            source = pipeline.directory / name
            vocabulary = tokenizer_files.read_vocabulary(
                source, pipeline.configs[encoder]["vocab_size"]
            )
            tokenizer_files.write_vocabulary(folder / name, vocabulary)
            tokenizer_files.verify(folder / name, source)
            entries[name] = {
                file: file_entry(folder, f"{name}/{file}") for file in tokenizer_files.FILES
            }
    return entries


@contextmanager
def _new_directory(out: Path, overwrite: bool) -> Iterator[Path]:
    """A directory beside `out` that becomes `out` when the block ends well, else is gone."""
    out = out.absolute()
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        folder.chmod(0o777 & ~_umask())
        yield folder
        replaced = folder.with_suffix(".replaced")
        if overwrite and out.exists():
            out.rename(replaced)
        try:
            # Replaces an empty directory too.
            os.rename(folder, out)
        except OSError:
            if replaced.exists():
                replaced.rename(out)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _license(options: ExportOptions) -> str:
    """The licence given, or the one that the model card's front matter names."""
    if options.license is not None:
        return options.license
    card = options.source / "README.md"
    if card.is_file():
        text = card.read_text(encoding="utf-8", errors="replace")
        front = re.match(r"---\s*\n(.*?)\n---\s*\n", text, re.DOTALL)
        if front:
            for key in ("license_name", "license"):
                found = re.search(rf"^{key}:\s*(\S.*)$", front.group(1), re.MULTILINE)
                if found:
                    return found.group(1).strip().strip("\"'")
    return ""
