"""The hidden directory beside --out that an export grows in, and that an interrupted one leaves.

Its name tells what it was made from. Finished weight files in it are taken over by the next export
of the same source by the same exporter; everything else is written again.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tightfit_export import __version__
from tightfit_export.errors import SourceError
from tightfit_export.progress import Progress, size_text

if TYPE_CHECKING:
    from tightfit_export.weight_file import WeightReport

_FINISHED = "finished.json"
_BLOCK_BYTES = 4 << 20

# Less is written again in seconds, and nothing of it is left behind.
WORTH_KEEPING_BYTES = 256 << 20


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what to tell the person."""


@dataclass
class PartialDirectory:
    """An export that grows. `finished` holds the weight files that are whole, by component."""

    folder: Path
    finished: dict[str, WeightReport] = field(default_factory=dict)

    def finish(self, component: str, report: WeightReport) -> None:
        """The component's weight file is whole and will be found again."""
        self.finished[component] = report
        content = {name: asdict(each) for name, each in self.finished.items()}
        place = self.folder / _FINISHED
        place.with_suffix(".new").write_text(json.dumps(content), encoding="utf-8")
        place.with_suffix(".new").replace(place)

    @property
    def finished_bytes(self) -> int:
        return sum(report.bytes for report in self.finished.values())


def identity_key(identity: list[Any]) -> str:
    """Differs where the source, the exporter or one of its files does."""
    digest = hashlib.sha256(json.dumps([__version__, identity], sort_keys=True).encode())
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def folder_of(out: Path, key: str) -> Path:
    out = out.absolute()
    return out.parent / f".{out.name}.{key}.partial"


def existing_parent(out: Path) -> Path:
    """The nearest directory above `out` that is there; those below it are made by an export."""
    return next(folder for folder in out.absolute().parents if folder.exists())


@contextmanager
def made_parents(out: Path) -> Iterator[None]:
    """Directories above `out` are made; those that then hold nothing are taken away again."""
    missing = [folder for folder in out.absolute().parents if not folder.exists()]
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for folder in missing:
            try:
                folder.rmdir()
            except OSError:
                break  # it holds something


@contextmanager
def partial_directory(
    out: Path, key: str, overwrite: bool, progress: Progress
) -> Iterator[PartialDirectory]:
    """Becomes `out` when the block ends well.

    When the block is interrupted, finished weight files are kept if they are worth it, and
    Interrupted says so; after an error nothing is left. Errors: SourceError where another export is
    at work in it.
    """
    out = out.absolute()
    folder = folder_of(out, key)
    with made_parents(out):
        folder.mkdir(exist_ok=True)
        with _locked(folder), _growing(folder, out, overwrite, progress) as partial:
            yield partial


@contextmanager
def _growing(
    folder: Path, out: Path, overwrite: bool, progress: Progress
) -> Iterator[PartialDirectory]:
    partial = PartialDirectory(folder)
    keep = False
    try:
        partial.finished = _take_over(folder, progress)
        yield partial
        _move(folder, out, overwrite)
        _remove_others(out)
    except KeyboardInterrupt as error:
        keep = partial.finished_bytes >= WORTH_KEEPING_BYTES
        if not keep:
            raise Interrupted("nothing was written") from error
        _remove_unfinished(folder, partial.finished)
        raise Interrupted(
            f"{out.name} was not written; the same command goes on after the "
            f"{size_text(partial.finished_bytes)} of weights kept in {folder.name}"
        ) from error
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SourceError(f"another export is at work in {folder.name}") from error
        yield
    finally:
        os.close(descriptor)


def _take_over(folder: Path, progress: Progress) -> dict[str, WeightReport]:
    """The finished weight files of an earlier export that are still what they were."""
    from tightfit_export.weight_file import WeightReport

    finished: dict[str, WeightReport] = {}
    try:
        content = json.loads((folder / _FINISHED).read_text(encoding="utf-8"))
        for component, fields in content.items():
            report = WeightReport(**fields)
            path = folder / f"{component}.safetensors"
            if path.stat().st_size != report.bytes:
                continue
            what = f"{component}: finished earlier, checking"
            with progress.bytes_stage(what, report.bytes) as on_bytes:
                if sha256_of(path, on_bytes) == report.sha256:
                    finished[component] = report
    except (OSError, ValueError, TypeError, AttributeError):
        pass  # what cannot be read is written again
    _remove_unfinished(folder, finished)
    return finished


def sha256_of(path: Path, on_bytes: Callable[[int], None]) -> str:
    """Reads the file once. `on_bytes` is told of every block."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()


def _remove_unfinished(folder: Path, finished: dict[str, Any]) -> None:
    kept = {f"{component}.safetensors" for component in finished} | {_FINISHED}
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in kept:
            path.unlink()


def _move(folder: Path, out: Path, overwrite: bool) -> None:
    (folder / _FINISHED).unlink(missing_ok=True)
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


def _remove_others(out: Path) -> None:
    """What interrupted exports of other sources to the same place left."""
    for folder in out.parent.glob(f".{glob.escape(out.name)}.*.partial"):
        try:
            with _locked(folder):
                shutil.rmtree(folder, ignore_errors=True)
        except (SourceError, OSError):
            continue  # at work, or no directory of ours
