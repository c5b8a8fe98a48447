"""The command line of the exporter."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tightfit_export import DTYPES, __version__
from tightfit_export.errors import ExportError, SourceError
from tightfit_export.export import ExportOptions, ExportSummary, check_destination, export
from tightfit_export.manifest import SamplingDefaults
from tightfit_export.progress import Progress

_INTERRUPTED_EXIT_CODE = 130

_EXAMPLES = """\
examples:
  Export a pipeline for a server on a GPU (fp16) and on a CPU (bf16, fp32):
    python -m tightfit_export --source ./sdxl-base --out ./models/sdxl-base --dtypes fp16,bf16,fp32

  Make a small pipeline of random weights to try the server with; keep its diffusers directory:
    python -m tightfit_export --random tiny --out ./models/tiny --save-source ./tiny-diffusers

The source is a directory as StableDiffusionXLPipeline.save_pretrained writes it. Weights are
written once, in fp16; --dtypes says in which types the server may compute. The vae_decoder always
gets an fp32 graph. Every graph is loaded again and compared with the network in Python before the
directory appears at --out. On a busy machine, OMP_NUM_THREADS=1 makes small models much faster.

exit codes: 0 done; 1 what was written failed its verification; 2 wrong usage, source or
destination; 130 interrupted. Unless 0, --out is as it was before."""


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="python -m tightfit_export",
        description="Turns a diffusers SDXL directory into a model directory that tightfit serves.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    origin = result.add_mutually_exclusive_group(required=True)
    origin.add_argument("--source", type=Path, metavar="DIR", help="a diffusers SDXL directory")
    origin.add_argument(
        "--random", choices=("tiny",), help="a pipeline of random weights instead of a source"
    )
    result.add_argument("--out", type=Path, metavar="DIR", help="the model directory to write")
    result.add_argument(
        "--dtypes",
        default=",".join(DTYPES),
        metavar="LIST",
        help="graphs to write: fp32, bf16, fp16, separated by commas (default: all three)",
    )
    result.add_argument("--name", default="", help="the model's name (default: that of the source)")
    result.add_argument("--variant", help="which weights of the source to take, such as fp16")
    result.add_argument("--license", help="licence text (default: what the model card names)")
    result.add_argument("--attribution", default="", help="whom to credit")
    result.add_argument(
        "--default-steps",
        type=_whole_number,
        default=SamplingDefaults.step_count,
        metavar="N",
        help="denoising steps of a request that names none (default: %(default)s)",
    )
    result.add_argument(
        "--default-guidance",
        type=_guidance_scale,
        default=SamplingDefaults.guidance_scale,
        metavar="SCALE",
        help="guidance scale of a request that names none (default: %(default)s)",
    )
    result.add_argument(
        "--overwrite", action="store_true", help="replace the model directory that is at --out"
    )
    result.add_argument(
        "--seed", type=int, metavar="N", help="with --random: of the weights (default: 0)"
    )
    result.add_argument(
        "--save-source",
        type=Path,
        metavar="DIR",
        help="with --random: also keep the pipeline as a diffusers directory",
    )
    result.add_argument(
        "--vocabulary",
        type=Path,
        metavar="DIR",
        help="with --random: a directory with tokenizer files to take the vocabulary from "
        "(default: the one in the package open-clip-torch)",
    )
    result.add_argument("--quiet", action="store_true", help="no progress and no table")
    result.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    result.add_argument("--version", action="version", version=f"tightfit_export {__version__}")
    return result


def _whole_number(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError("must be from 1 to 1000")
    return value


def _guidance_scale(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 100.0:
        raise argparse.ArgumentTypeError("must be from 0 to 100")
    return value


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
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
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
    if options.random is None:
        for flag in ("seed", "save_source", "vocabulary"):
            if getattr(options, flag) is not None:
                raise SourceError(f"--{flag.replace('_', '-')} goes with --random")
    if options.out is None and not (options.random and options.save_source):
        raise SourceError("--out is missing")
    if options.save_source is not None:
        check_destination(options.save_source, overwrite=False)
    if options.out is not None:
        check_destination(options.out, options.overwrite)
    with _source(options, progress) as (source, description):
        if options.out is None:
            return None
        return export(
            ExportOptions(
                source=source,
                out=options.out,
                dtypes=dtypes,
                name=options.name or (options.random or ""),
                variant=options.variant,
                license=options.license,
                attribution=options.attribution,
                overwrite=options.overwrite,
                defaults=SamplingDefaults(options.default_steps, options.default_guidance),
                source_description=description,
            ),
            progress,
        )


@contextmanager
def _source(
    options: argparse.Namespace, progress: Progress
) -> Iterator[tuple[Path, dict[str, Any] | None]]:
    """The directory to export and, where it is random, what model.json says of it."""
    if options.random is None:
        yield options.source, None
        return
    place = options.save_source.absolute().parent if options.save_source else None
    seed = options.seed or 0
    with tempfile.TemporaryDirectory(prefix=".tightfit-random-", dir=place) as holder:
        folder = Path(holder) / options.random
        with progress.stage(f"random {options.random}: making the pipeline"):
            from tightfit_export.random_pipeline import save_tiny_pipeline

            save_tiny_pipeline(folder, seed, options.vocabulary)
        if options.save_source is not None:
            folder = folder.rename(options.save_source)
        yield folder, {"kind": "random", "name": options.random, "seed": seed}


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
        "files": {entry["file"]: entry["bytes"] for entry in _files(summary.content)},
        "kept_fp32": summary.kept_fp32,
        "non_finite": summary.non_finite,
        "max_abs_difference": summary.max_abs_difference,
        "notes": progress.notes,
        "seconds": round(summary.seconds, 3),
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
    lines.append(
        f"{content['name']} {content['hash'][:10]} is at {summary.out} ({summary.seconds:.1f} s)"
    )
    return "\n".join(lines)


def _files(content: dict[str, Any]) -> list[dict[str, Any]]:
    entries = []
    for component in content["components"].values():
        entries += [*component["graphs"].values(), component["weights"]]
    for tokenizer in content["tokenizers"].values():
        entries += tokenizer.values()
    return entries
