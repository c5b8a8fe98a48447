"""How one tensor comes back out of what a quantiser stored of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tightfit_export.errors import SourceError
from tightfit_export.tensor_file import ELEMENT_BITS, READABLE_DTYPES, StoredTensor

if TYPE_CHECKING:
    import torch

_MAX_JSON_BYTES = 64 << 10  # of one tensor's description


class StoredTensors(Protocol):
    """A file's tensors, or those of a component, as they are stored."""

    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]

    def read(self, key: str) -> torch.Tensor:
        """Floats as they are stored. Errors: SourceError, OSError."""

    def read_stored(self, key: str) -> torch.Tensor:
        """In the stored type, whatever it is. Errors: SourceError, OSError."""

    def read_bytes(self, key: str) -> bytes:
        """Errors: SourceError, OSError."""

    def close(self) -> None:
        """Nothing is read afterwards."""


@dataclass(frozen=True)
class Recipe:
    """`make` reads a few stored tensors and gives floats of `shape`."""

    kind: str  # for people: "fp8 (e4m3) with scales"
    shape: tuple[int, ...]
    make: Callable[[StoredTensors], torch.Tensor]
    dtype: str = "F32"  # what the values are as exactly


@dataclass
class Plan:
    """The tensors of one source: which nobody has looked at yet, and what became of the others."""

    what: str  # begins every message
    stored: StoredTensors
    # Shapes of the network's parameters by their names, where they are known.
    shapes: Mapping[str, tuple[int, ...]] | None = None
    rest: dict[str, StoredTensor] = field(default_factory=dict)
    recipes: dict[str, Recipe] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rest = dict(self.stored.tensors)

    def take(self, key: str) -> StoredTensor | None:
        """The tensor is spoken for. None: there is none of that name."""
        return self.rest.pop(key, None)

    def need(self, key: str, whose: str) -> StoredTensor:
        """Errors: SourceError if there is none of that name."""
        stored = self.take(key)
        if stored is None:
            raise self.error(f"tensor {whose} lacks {key}")
        return stored

    @staticmethod
    def stored_bits(stored: StoredTensor) -> int:
        """The size of the tensor in the file; 0 for a type that nobody knows."""
        return ELEMENT_BITS.get(stored.dtype, 0) * math.prod(stored.shape)

    def add(self, name: str, recipe: Recipe) -> None:
        """Errors: SourceError where the file has a tensor of that name as well."""
        if name in self.recipes or name in self.rest:
            raise self.error(f"tensor {name} is there twice, quantised and plain")
        self.recipes[name] = recipe

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """What the network wants; text encoders are saved with and without their prefix."""
        if self.shapes is None:
            return None
        inner = name.removeprefix("text_model.")
        for each in (name, inner, f"text_model.{inner}"):
            if each in self.shapes:
                return tuple(self.shapes[each])
        return None

    def json_of(self, key: str) -> dict[str, Any]:
        """A description in a tensor of bytes. Errors: SourceError."""
        stored = self.stored.tensors[key]
        if stored.dtype not in ("U8", "I8") or math.prod(stored.shape) > _MAX_JSON_BYTES:
            raise self.error(
                f"tensor {key} is {shown(stored)}, no description of at most 64 KiB of JSON"
            )
        return self.parsed(key, self.stored.read_bytes(key))

    def parsed(self, where: str, text: bytes | str) -> dict[str, Any]:
        """An object of JSON. Errors: SourceError."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.error(f"{where} holds no JSON ({type(error).__name__})") from error
        if not isinstance(value, dict):
            raise self.error(f"{where} holds no object of JSON")
        return value

    def error(self, message: str) -> SourceError:
        return SourceError(f"{self.what}: {message}")


def shown(stored: StoredTensor) -> str:
    """Type and shape in a message."""
    return f"{stored.dtype} {list(stored.shape)}"


def check_floats(plan: Plan, key: str, stored: StoredTensor) -> None:
    """Errors: SourceError where scales are of no type that floats are."""
    if stored.dtype not in READABLE_DTYPES:
        raise plan.error(f"tensor {key} is stored as {stored.dtype}, scales are floats")


def row_scale_shape(shape: tuple[int, ...], scale: tuple[int, ...]) -> tuple[int, ...] | None:
    """How a scale for the whole tensor or for each row is laid out; None: it is neither.

    A flat list of as many scales as rows is neither: of a square matrix nobody could tell whether
    rows or columns are meant.
    """
    if math.prod(scale) == 1 and len(scale) <= max(1, len(shape)):
        return (1,) * len(shape)
    if len(scale) == len(shape) and scale[:1] == shape[:1] and math.prod(scale[1:]) == 1:
        return scale
    return None


def finite_scale(what: str, key: str, scale: torch.Tensor) -> torch.Tensor:
    """The scales as fp32. Errors: SourceError where one is negative, infinite or NaN."""
    import torch

    scale = scale.to(torch.float32)
    if not bool((torch.isfinite(scale) & (scale >= 0)).all()):
        raise SourceError(f"{what}: {key} holds scales that are negative, infinite or NaN")
    return scale


def finite(what: str, name: str, values: torch.Tensor) -> torch.Tensor:
    """The same. Errors: SourceError where one is infinite or NaN."""
    import torch

    if values.numel() and not bool(torch.isfinite(torch.stack(torch.aminmax(values))).all()):
        raise SourceError(
            f"{what}: {name} is NaN or infinite once it is restored; the file is damaged"
        )
    return values
