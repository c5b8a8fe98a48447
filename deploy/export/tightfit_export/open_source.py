"""Finds out what --source names, and opens it with what the command line says of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tightfit_export.errors import SourceError
from tightfit_export.few_step import kind_of, refuse_one_step_lightning
from tightfit_export.foreign_layouts import refuse_pickle
from tightfit_export.hub import looks_like_repository, open_repository
from tightfit_export.progress import Progress
from tightfit_export.single_file import open_checkpoint
from tightfit_export.source_pipeline import SourcePipeline, open_pipeline
from tightfit_export.training_words import with_flags
from tightfit_export.unet_source import with_unet
from tightfit_export.vae_source import with_vae, without_upcast


@dataclass(frozen=True)
class SourceOptions:
    """What the command line says of the source."""

    source: str  # a path, or OWNER/NAME of the hub
    name: str = ""  # "": that of the source
    variant: str | None = None
    revision: str | None = None
    offline: bool = False
    config: Path | None = None
    unet: Path | None = None
    vae: Path | None = None
    vae_fp16_safe: bool = False
    prediction_type: str | None = None
    zero_terminal_snr: bool | None = None
    timestep_spacing: str | None = None

    @property
    def is_remote(self) -> bool:
        """Whether it is nothing of this machine, but may be a repository of the hub."""
        return not Path(self.source).exists() and looks_like_repository(self.source)


def open_source(options: SourceOptions, progress: Progress) -> SourcePipeline:
    """Errors: SourceError with the first thing wrong."""
    pipeline = _open(options, progress)
    if options.unet is not None:
        pipeline = with_unet(
            pipeline,
            options.unet,
            options.variant,
            options.prediction_type,
            options.zero_terminal_snr,
        )
    pipeline = with_flags(
        pipeline,
        options.prediction_type,
        options.zero_terminal_snr,
        options.timestep_spacing,
    )
    if options.prediction_type is None:
        refuse_one_step_lightning(pipeline.names, (kind_of(pipeline.names) or ("", None))[1])
    if options.vae is not None:
        return with_vae(pipeline, options.vae, options.variant, options.vae_fp16_safe)
    return without_upcast(pipeline) if options.vae_fp16_safe else pipeline


def _open(options: SourceOptions, progress: Progress) -> SourcePipeline:
    path = Path(options.source)
    if path.is_file():
        _refuse_flags(options, ("variant", "revision"), "a single file")
        name = options.name or path.stem
        return open_checkpoint(
            path,
            name,
            options.config,
            has_vae=options.vae is None,
            has_unet=options.unet is None,
            prediction_type=options.prediction_type,
            zero_terminal_snr=options.zero_terminal_snr,
        )
    _refuse_flags(options, ("config",), "a diffusers pipeline, which has its own")
    if path.is_dir():
        _refuse_flags(options, ("revision",), "a directory")
        return open_pipeline(path, options.name or path.resolve().name, options.variant)
    refuse_pickle(path)
    if not looks_like_repository(options.source) or path.suffix == ".safetensors":
        raise SourceError(f"{path}: no such file or directory")
    return open_repository(
        options.source,
        options.name or options.source.rpartition("/")[2],
        options.variant,
        options.revision,
        options.offline,
        progress,
    )


def _refuse_flags(options: SourceOptions, flags: tuple[str, ...], what: str) -> None:
    for flag in flags:
        if getattr(options, flag) is not None:
            raise SourceError(f"--{flag} does not go with {what}")
