"""The command line of the exporter."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from tightfit_export import DTYPES, VAE_ENCODER, random_base
from tightfit_export.cli_options import parser
from tightfit_export.errors import ExportError, SourceError
from tightfit_export.export import ExportOptions, check_destination, export
from tightfit_export.export_summary import ExportSummary
from tightfit_export.open_source import SourceOptions, open_source
from tightfit_export.partial_directory import Interrupted
from tightfit_export.perturbed_weights import with_perturbed_unet
from tightfit_export.progress import Progress, size_text
from tightfit_export.sampling_defaults import AskedDefaults, with_defaults
from tightfit_export.source_pipeline import (
    SourcePipeline,
    open_pipeline,
    without_image_inputs,
)

_INTERRUPTED_EXIT_CODE = 130


def parse_dtypes(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in DTYPES:
            raise SourceError(f"unknown dtype '{name}'; choose from {', '.join(DTYPES)}")
    if not names:
        raise SourceError(f"--dtypes names none; choose from {', '.join(DTYPES)}")
    return names


def main(arguments: list[str] | None = None) -> int:
    """Runs one export and returns the exit code."""
    options = parser().parse_args(arguments)
    progress = Progress(quiet=options.quiet)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        summary = _run(options, progress)
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return SourceError.exit_code
    except KeyboardInterrupt as interrupted:
        what = str(interrupted) if isinstance(interrupted, Interrupted) else "nothing was written"
        print(f"interrupted; {what}", file=sys.stderr)
        return _INTERRUPTED_EXIT_CODE
    finally:
        signal.signal(signal.SIGTERM, previous)
    if options.json:
        print(json.dumps(summary_json(summary, options.save_source, progress), ensure_ascii=False))
    elif summary is not None and not options.quiet:
        print(summary_table(summary))
    return 0


def run() -> None:
    """The installed command."""
    sys.exit(main())


def _interrupt(signal_number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _run(options: argparse.Namespace, progress: Progress) -> ExportSummary | None:
    dtypes = parse_dtypes(options.dtypes)
    _check_flags(options)
    if options.save_source is not None:
        check_destination(options.save_source, overwrite=False)
    # A source that is at hand opens in no time: what is wrong with it is told first.
    is_at_hand = options.source is not None and not _source(options).is_remote
    if options.out is not None and not is_at_hand:
        check_destination(options.out, options.overwrite)
    with _pipeline(options, progress) as pipeline:
        if options.out is not None:
            check_destination(options.out, options.overwrite)
        if options.perturb_unet is not None:
            pipeline = with_perturbed_unet(pipeline, options.perturb_unet)
        if options.out is None:
            return None
        if not options.image_inputs:
            pipeline = without_image_inputs(pipeline)
        elif VAE_ENCODER not in pipeline.weights:
            progress.note("the VAE has no encoder: the model will take no images as inputs")
        asked = AskedDefaults(
            options.default_steps,
            options.default_guidance,
            options.timestep_spacing,
            options.defaults_from,
        )
        pipeline, defaults = with_defaults(pipeline, asked)
        return export(
            pipeline,
            ExportOptions(
                out=options.out,
                dtypes=dtypes,
                license=options.license,
                attribution=options.attribution,
                overwrite=options.overwrite,
                defaults=defaults,
            ),
            progress,
        )


def _source(options: argparse.Namespace) -> SourceOptions:
    flags = {each.name: getattr(options, each.name) for each in fields(SourceOptions)}
    return SourceOptions(**flags | {"name": _name(options)})


def _name(options: argparse.Namespace) -> str:
    """What the model is called: as it was asked for, else as the directory it is written to."""
    return options.name or ("" if options.out is None else options.out.resolve().name)


def _check_flags(options: argparse.Namespace) -> None:
    """Errors: SourceError for a flag that says nothing about this source."""
    wrong: tuple[str, ...] = ()
    if options.random is None:
        wrong, place = ("seed", "save_source", "vocabulary"), "--random"
    else:
        wrong = ("config", "prediction_type", "variant", "revision", "unet", "vae")
        wrong += ("zero_terminal_snr", "vae_fp16_safe", "timestep_spacing")
        place = "--source"
    for flag in wrong:
        if getattr(options, flag) not in (None, False):
            raise SourceError(f"--{flag.replace('_', '-')} goes with {place}")
    if options.random in random_base.NAMES:
        for flag in ("save_source", "vocabulary"):
            if getattr(options, flag) is not None:
                raise SourceError(f"--{flag.replace('_', '-')} goes with --random tiny")
    if options.out is None and not (options.random and options.save_source):
        raise SourceError("--out is missing")


@contextmanager
def _pipeline(options: argparse.Namespace, progress: Progress) -> Iterator[SourcePipeline]:
    """What is to be exported."""
    seed = options.seed or 0
    if options.random is None:
        yield open_source(_source(options), progress)
    elif options.random in random_base.NAMES:
        yield replace(random_base.random_base(seed, options.random), name=_name(options))
    else:
        with _tiny_source(options, seed, progress) as folder:
            pipeline = open_pipeline(folder, _name(options) or options.random, None)
            said = {"kind": "random", "name": options.random, "seed": seed}
            yield replace(pipeline, description=said)


@contextmanager
def _tiny_source(options: argparse.Namespace, seed: int, progress: Progress) -> Iterator[Path]:
    """The small random pipeline as a diffusers directory, which goes away if nobody keeps it."""
    place = options.save_source.absolute().parent if options.save_source else None
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tightfit-random-", dir=place) as holder:
        folder = Path(holder) / options.random
        with progress.stage(f"random {options.random}: making the pipeline"):
            from tightfit_export.random_pipeline import save_tiny_pipeline

            save_tiny_pipeline(folder, seed, options.vocabulary, options.random)
        if options.save_source is not None:
            folder = folder.rename(options.save_source)
        yield folder


def summary_json(
    summary: ExportSummary | None, saved_source: Path | None, progress: Progress
) -> dict[str, Any]:
    saved = {} if saved_source is None else {"saved_source": str(saved_source)}
    if summary is None:
        return saved
    return saved | {
        "out": str(summary.out),
        "name": summary.content["name"],
        "hash": summary.content["hash"],
        "source": summary.content["source"],
        "files": {entry["file"]: entry["bytes"] for entry in _files(summary.content)},
        "kept_fp32": summary.kept_fp32,
        "non_finite": summary.non_finite,
        "underflow": summary.underflow,
        "restored": summary.restored,
        "held_exactly": summary.held_exactly,
        "suggested_format": summary.suggested_format,
        "max_abs_difference": summary.max_abs_difference,
        "notes": progress.notes,
        "seconds": round(summary.seconds, 3),
        "peak_memory_bytes": summary.peak_memory_bytes,
    }


def summary_table(summary: ExportSummary) -> str:
    files = _files(summary.content)
    width = max(len(entry["file"]) for entry in files)
    lines = [f"{'file':{width}}  {'bytes':>14}  verified"]
    for entry in files:
        difference = summary.max_abs_difference.get(entry["file"])
        verdict = (
            "" if difference is None else "equal" if not difference else f"within {difference:.2g}"
        )
        lines.append(f"{entry['file']:{width}}  {entry['bytes']:>14,}  {verdict}".rstrip())
    total = sum(entry["bytes"] for entry in files)
    lines.append(f"{'total':{width}}  {total:>14,}")
    content = summary.content
    if "sha256" in content["source"]:
        lines.append(f"model hash {content['hash'][:10]}, that of {content['source']['name']}")
    lines.append(
        f"{content['name']} {content['hash'][:10]} is at {summary.out} "
        f"({summary.seconds:.1f} s, {size_text(summary.peak_memory_bytes)} of memory at most)"
    )
    suggested = summary.suggested_format
    if suggested:
        lines.append(
            f"packs without a second loss as {suggested['format']} (scope {suggested['scope']})"
        )
    lines.append(f"serve it: {serve_command(summary)}")
    return "\n".join(lines)


def serve_command(summary: ExportSummary) -> str:
    """What to type next, where the export was started."""
    built = Path("build/release/bin/tightfit-server")
    program = str(built) if built.is_file() else "tightfit-server"
    # What a server's configuration takes as a name, and as a path in a list with commas.
    name = re.sub(r"[^A-Za-z0-9._-]", "-", summary.content["name"])[:64]
    path = str(summary.out).replace(",", "\\,")
    path += "".join(f",{key}={value}" for key, value in summary.suggested_format.items())
    return shlex.join([program, "--model", f"{name}={path}"])


def _files(content: dict[str, Any]) -> list[dict[str, Any]]:
    entries = []
    for component in content["components"].values():
        entries += [*component["graphs"].values(), component["weights"]]
    for tokenizer in content["tokenizers"].values():
        entries += tokenizer.values()
    return entries
