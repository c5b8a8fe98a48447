"""Pipelines of the Hugging Face hub: only the files that an export reads are downloaded.

Files lie in the hub's own cache, which goes on after an interruption and knows what it has.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tightfit_export import COMPONENTS, TOKENIZERS
from tightfit_export.errors import SourceError
from tightfit_export.progress import Progress, size_text
from tightfit_export.source_pipeline import SourcePipeline, open_pipeline, read_configuration
from tightfit_export.source_weights import choose_weights

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PLAIN_FILES = (
    "model_index.json",
    "README.md",
    "scheduler/scheduler_config.json",
    *(f"{component}/config.json" for component in COMPONENTS),
    *(f"{component}/quantization_config.json" for component in COMPONENTS),  # of SDNQ
)
_TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
# fp16 is what the export writes: the plain files are mostly fp32 and twice as large.
_PREFERRED = ("fp16", None)


def looks_like_repository(text: str) -> bool:
    """Whether a text that is no path may be OWNER/NAME of the hub."""
    return _REPOSITORY.fullmatch(text) is not None


def open_repository(
    repository: str,
    name: str,
    variant: str | None,
    revision: str | None,
    offline: bool,
    progress: Progress,
) -> SourcePipeline:
    """Downloads what is not in the cache and opens it. Errors: SourceError."""
    folder = _snapshot(repository, variant, revision, offline, progress)
    pipeline = open_pipeline(folder, name, variant, _PREFERRED)
    # The cache names a snapshot's folder by its commit.
    said = {"kind": "hub", "name": repository, "revision": folder.name}
    return dataclasses.replace(pipeline, description=said)


def needed_files(files: list[str], variant: str | None) -> list[str]:
    """Those of a repository's files that an export reads. Errors: SourceError."""
    wanted = [name for name in _PLAIN_FILES if name in files]
    if "model_index.json" not in files:
        checkpoints = [name for name in files if name.endswith(".safetensors") and "/" not in name]
        instead = f"; download {checkpoints[0]} and give its path" if checkpoints else ""
        raise SourceError(f"the repository holds no diffusers pipeline{instead}")
    folders = {name.partition("/")[0] for name in files}
    for tokenizer in TOKENIZERS:
        wanted += [path for name in _TOKENIZER_FILES if (path := f"{tokenizer}/{name}") in files]
    for component in COMPONENTS:
        if component not in folders and component.startswith("text_encoder"):
            continue  # models of other families have one
        inside = [
            name.removeprefix(f"{component}/")
            for name in files
            if name.startswith(f"{component}/") and name.count("/") == 1
        ]
        chosen = choose_weights(inside, component, variant, _PREFERRED)
        wanted += [f"{component}/{name}" for name in [chosen, *_shards(chosen, inside)]]
    return wanted


def _shards(chosen: str, names: list[str]) -> list[str]:
    """The shards beside an index; none beside a single file."""
    index = re.fullmatch(r"(.+)\.safetensors\.index(?:\.(.+))?\.json", chosen)
    if not index:
        return []
    stem, variant = index.groups()
    of_variant = rf"(\.{re.escape(variant)})" if variant else "()"
    number = r"-\d+-of-\d+"
    pattern = re.compile(
        rf"{re.escape(stem)}(?:{of_variant}{number}|{number}{of_variant})\.safetensors"
    )
    return [name for name in names if pattern.fullmatch(name)]


def _snapshot(
    repository: str, variant: str | None, revision: str | None, offline: bool, progress: Progress
) -> Path:
    """The folder of the repository's files in the cache."""
    import huggingface_hub
    from huggingface_hub import errors

    if progress.quiet:
        huggingface_hub.utils.disable_progress_bars()
    try:
        if offline:
            return _cached(repository, revision)
        with _online():
            try:
                info = huggingface_hub.HfApi().model_info(
                    repository, revision=revision, files_metadata=True
                )
            except Exception as error:
                if not _is_connection_error(error):
                    raise
                folder = _cached(repository, revision, unreachable=error)
                progress.note(f"the hub cannot be reached: {repository} is taken from the cache")
                return folder
            sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
            wanted = needed_files(list(sizes), variant)
            total = size_text(sum(sizes[name] for name in wanted))
            weights = [name for name in wanted if name.endswith(".safetensors")]
            # What cannot be served is refused before gigabytes are fetched.
            small = [name for name in wanted if name not in weights]
            read_configuration(
                Path(
                    huggingface_hub.snapshot_download(
                        repository, revision=revision, allow_patterns=small
                    )
                )
            )
            with progress.plain_stage(f"{repository}: {len(wanted)} files, {total}"):
                folder = Path(
                    huggingface_hub.snapshot_download(
                        repository, revision=revision, allow_patterns=weights
                    )
                )
        return folder
    except errors.GatedRepoError as error:
        raise SourceError(
            f"{repository} is gated: accept its terms on its page at the hub, then log in with "
            "`hf auth login` or set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise SourceError(
            f"{repository} is no path here and no repository of the hub that you may read; "
            "check the spelling, or log in with `hf auth login` if it is private"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SourceError(f"{repository} has no revision '{revision}'") from error
    except errors.HfHubHTTPError as error:
        raise SourceError(f"{repository}: the hub refuses: {_first_line(error)}") from error
    except SourceError:
        raise
    except Exception as error:
        # What breaks off a download has many classes, and the same cure.
        raise _unreachable(repository, error) from error


def _cached(repository: str, revision: str | None, unreachable: Exception | None = None) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(
            huggingface_hub.snapshot_download(
                repository,
                revision=revision,
                allow_patterns=["model_index.json"],
                local_files_only=True,
            )
        )
    except errors.LocalEntryNotFoundError as error:
        if unreachable is not None:
            raise _unreachable(repository, unreachable) from error
        raise SourceError(
            f"{repository} is no path here and not in the hub's cache; without --offline "
            "(HF_HUB_OFFLINE) it would be downloaded"
        ) from error


def _unreachable(repository: str, error: Exception) -> SourceError:
    return SourceError(
        f"{repository} is no path here, and the hub cannot be reached ({_first_line(error)}); "
        "check the network; the same command goes on with the download"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _is_connection_error(error: Exception) -> bool:
    # The client library's errors have no class in common with Python's own.
    names = {"TransportError", "ConnectError", "TimeoutException"}
    return isinstance(error, (ConnectionError, TimeoutError)) or any(
        kind.__name__ in names for kind in type(error).__mro__
    )


@contextmanager
def _online() -> Iterator[None]:
    """The libraries are kept from fetching anything (see the package); here it is asked for."""
    from huggingface_hub import constants

    before: Any = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = False
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
