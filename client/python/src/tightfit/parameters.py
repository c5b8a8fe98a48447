"""What may be asked of a picture: keyword arguments with the names of the contract's fields."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from tightfit.errors import FieldViolation, InvalidRequestError
from tightfit.v1 import image_generation_pb2 as pb


class Size(NamedTuple):
    """Width and height, 1 to 8192 px each. A plain pair is taken as well."""

    width_px: int
    height_px: int


class Offset(NamedTuple):
    """Left and top, 0 to 8192 px each. A plain pair is taken as well."""

    left_px: int
    top_px: int


class PromptSyntax(str, enum.Enum):
    """How prompts are read: with (weights:1.3), [less] and BREAK, or every character as text."""

    UNSPECIFIED = "unspecified"
    WEIGHTED = "weighted"
    PLAIN = "plain"


class ImageParameters(TypedDict, total=False):
    """Keyword arguments of `generate` and `stream` beside the prompt.

    One that is left out, or None, takes the model's default, which the answer's parameters tell.
    Ranges stand in proto/tightfit/v1/image_generation.proto; the server refuses what is outside,
    all fields at once.
    """

    model: str | None
    """Name of a configured model; needed where the server has several."""
    prompt_2: str | None
    """For text encoder 2; default: the prompt."""
    negative_prompt: str | None
    negative_prompt_2: str | None
    width_px: int | None
    height_px: int | None
    step_count: int | None
    guidance_scale: float | None
    """Classifier-free guidance; 1 or less turns it off and halves the work."""
    guidance_rescale: float | None
    """0 to 1."""
    sampler: str | None
    """Such as "euler" or "dpmpp-2m-karras"; `capabilities().samplers` lists them."""
    seed: int | None
    """Image i uses seed + i; default: drawn at random and told."""
    image_count: int | None
    original_size: Size | tuple[int, int] | None
    target_size: Size | tuple[int, int] | None
    crop_top_left: Offset | tuple[int, int] | None
    mime_type: str | None
    """"image/png" (the default), or "application/x-safetensors": latents, see `Image.latents`."""
    embed_metadata: bool | None
    """Write the parameters, prompt included, into the picture; default: True."""
    prompt_syntax: PromptSyntax | str | None
    """"weighted" (the default) or "plain"."""
    clip_skip: int | None
    """Layers of the text encoders to leave out; `model(name).max_clip_skip` is the most."""
    denoising_start: float | None
    """0 to 1; with denoising_end the part of the denoising to do, of step_count steps in all."""
    denoising_end: float | None
    initial_latents: Sequence[bytes] | None
    """What a denoising_start above 0 goes on from: for each image the `content` of such latents."""
    timestep_spacing: str | None
    """"leading", "trailing" (few-step models) or "linspace"; default: the model's."""
    comma_backtrack_tokens: int | None
    """A long prompt is cut at a comma up to so many tokens back; default: 20; 0: never there."""


def build_parameters(prompt: str, values: Mapping[str, object]) -> pb.ImageParameters:
    """The message for a prompt and the fields of the contract that are not None.

    Raises TypeError for a name that is no field, and InvalidRequestError that names every value
    that its field cannot hold.
    """
    message = pb.ImageParameters()
    known = message.DESCRIPTOR.fields_by_name
    violations = []
    for name, value in {"prompt": prompt, **values}.items():
        if name not in known:
            raise TypeError(f"there is no parameter {name!r}{_suggestion(name, list(known))}")
        if value is None:
            continue
        try:
            message.MergeFrom(pb.ImageParameters(**{name: _plain(known[name], value)}))
        except (KeyError, TypeError, ValueError):  # UnicodeEncodeError is a ValueError
            shown = ascii(value)
            shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
            violations.append(FieldViolation(name, f"{_kind(known[name])} cannot be {shown}"))
    if violations:
        raise InvalidRequestError(
            "; ".join(f"{v.field}: {v.description}" for v in violations),
            reason="INVALID_PARAMETER",
            field_violations=tuple(violations),
        )
    return message


def _suggestion(name: str, known: list[str]) -> str:
    # "steps" is nearer to "step_count" than letters alone tell.
    near = [field for field in known if field.startswith(name.rstrip("s") + "_")]
    near += difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


# Descriptors have no useful types in their stubs.
def _plain(field: Any, value: object) -> Any:
    """As protobuf takes it: a pair is a mapping, the name of an enum's value its number."""
    if field.enum_type is not None and isinstance(value, str):
        values = field.enum_type.values_by_name
        return values[_enum_prefix(field) + str.upper(value)].number
    if field.message_type is None or not isinstance(value, tuple):
        return value
    names = [part.name for part in field.message_type.fields]
    return dict(zip(names, value, strict=True))


def _kind(field: Any) -> str:
    if field.message_type is not None:
        names = [part.name for part in field.message_type.fields]
        return f"({', '.join(names)})"
    if field.enum_type is not None:
        prefix = _enum_prefix(field)
        names = [value.name.removeprefix(prefix).lower() for value in field.enum_type.values]
        return " or ".join(repr(name) for name in names[1:])
    kinds = {
        field.TYPE_INT32: "a 32-bit integer",
        field.TYPE_INT64: "a 64-bit integer",
        field.TYPE_FLOAT: "a number",
        field.TYPE_DOUBLE: "a number",
        field.TYPE_BOOL: "True or False",
        field.TYPE_STRING: "text that UTF-8 can encode",
        field.TYPE_BYTES: "bytes",
    }
    kind = kinds.get(field.type, "this field")
    return f"a list of {kind}" if field.is_repeated else kind


def _enum_prefix(field: Any) -> str:
    """PROMPT_SYNTAX_, of PROMPT_SYNTAX_UNSPECIFIED: the names of an enum begin alike."""
    return str(field.enum_type.values[0].name).removesuffix("UNSPECIFIED")
