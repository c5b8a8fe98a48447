"""The weight files of one component of a diffusers directory: safetensors only, never pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tightfit_export.errors import SourceError

if TYPE_CHECKING:
    import torch

_STEMS = ("diffusion_pytorch_model", "model")
_PICKLE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth")
_READABLE_DTYPES = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor's place and type as its file's header tells them."""

    file: Path
    dtype: str
    shape: tuple[int, ...]


class SourceWeights:
    """All tensors of a component, over one file or several shards. Opens files when asked."""

    def __init__(self, component: str, files: list[Path]) -> None:
        self._component = component
        self.files = files
        self._handles: dict[Path, Any] = {}
        self.tensors: dict[str, StoredTensor] = {}
        for file in files:
            handle = self._handle(file)
            for key in handle.keys():  # noqa: SIM118, not a dict
                part = handle.get_slice(key)
                stored = StoredTensor(file, part.get_dtype(), tuple(part.get_shape()))
                if key in self.tensors:
                    raise SourceError(f"{component}: tensor {key} is in two weight files")
                self.tensors[key] = stored

    def read(self, key: str) -> torch.Tensor:
        """The tensor as stored, backed by the file."""
        stored = self.tensors[key]
        if stored.dtype not in _READABLE_DTYPES:
            raise SourceError(
                f"{self._component}: tensor {key} is stored as {stored.dtype}; "
                f"{', '.join(_READABLE_DTYPES)} can be exported"
            )
        return self._handle(stored.file).get_tensor(key)

    def close(self) -> None:
        self._handles.clear()

    def _handle(self, file: Path) -> Any:
        from safetensors import SafetensorError, safe_open

        if file not in self._handles:
            try:
                self._handles[file] = safe_open(str(file), "pt")
            except (SafetensorError, OSError) as error:
                raise SourceError(f"{self._component}: cannot read {file.name}: {error}") from error
        return self._handles[file]


def find_weight_files(directory: Path, component: str, variant: str | None) -> list[Path]:
    """The safetensors files that hold a component's weights.

    Without `variant` the plain files are taken, then `fp16`, then the only variant there is.
    """
    folder = directory / component
    choices: dict[str | None, Path] = {}
    for path in sorted(folder.iterdir()):
        for stem in _STEMS:
            found, name = _variant_of(path.name, stem)
            # An index file comes before a single file of the same variant.
            if found and (name not in choices or path.name.endswith(".json")):
                choices[name] = path
    if variant is not None:
        if variant not in choices:
            raise SourceError(f"{component}: no safetensors weights of variant '{variant}'")
        return _files_of(choices[variant], component)
    if not choices:
        _refuse_pickle(folder, component)
        raise SourceError(f"{component}: no safetensors weights in {folder}")
    for name in (None, "fp16"):
        if name in choices:
            return _files_of(choices[name], component)
    if len(choices) > 1:
        names = ", ".join(str(name) for name in choices)
        raise SourceError(f"{component}: several variants ({names}); choose one with --variant")
    return _files_of(next(iter(choices.values())), component)


def _variant_of(file_name: str, stem: str) -> tuple[bool, str | None]:
    """Whether this is a component's whole weight file or index, and of which variant."""
    if not file_name.startswith(stem + "."):
        return False, None
    rest = file_name[len(stem) + 1 :]
    if rest in ("safetensors", "safetensors.index.json"):
        return True, None
    if rest.startswith("safetensors.index.") and rest.endswith(".json"):
        return True, rest[len("safetensors.index.") : -len(".json")]
    if rest.endswith(".safetensors") and "-of-" not in rest:
        return True, rest[: -len(".safetensors")]
    return False, None


def _files_of(path: Path, component: str) -> list[Path]:
    if path.suffix != ".json":
        return [path]
    try:
        names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise SourceError(f"{component}: {path.name} is not a shard index: {error!r}") from error
    files = []
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise SourceError(
                f"{component}: {path.name} names a file outside of its folder: {name}"
            )
        if Path(name).suffix in _PICKLE_SUFFIXES:
            raise SourceError(f"{component}: {name} is a pickle file; the exporter reads no pickle")
        if not (path.parent / name).is_file():
            raise SourceError(f"{component}: shard {name} is missing")
        files.append(path.parent / name)
    return files


def _refuse_pickle(folder: Path, component: str) -> None:
    for path in sorted(folder.iterdir()):
        if path.suffix in _PICKLE_SUFFIXES:
            raise SourceError(
                f"{component}: weights only as {path.name}; the exporter reads no pickle "
                "(a pickle runs code when read); save the pipeline with safe_serialization=True"
            )
