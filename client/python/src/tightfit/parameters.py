"""What may be asked of an image: keyword arguments with the names of the contract's fields."""

from __future__ import annotations

import difflib
import enum
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypedDict, TypeVar, get_type_hints

import PIL.Image

from tightfit.errors import FieldViolation, InvalidRequestError
from tightfit.input_images import INPUT_IMAGES, image_file
from tightfit.plain_numbers import problem_of
from tightfit.v1 import image_generation_pb2 as pb


class Size(NamedTuple):
    """Width and height, 1 to 8192 px each. A plain pair is taken as well."""

    width_px: int
    height_px: int


class Offset(NamedTuple):
    """Left and top, 0 to 8192 px each. A plain pair is taken as well."""

    left_px: int
    top_px: int


class Margins(NamedTuple):
    """Left, top, right and bottom, 0 to 2048 px each. A plain tuple is taken as well."""

    left_px: int
    top_px: int
    right_px: int
    bottom_px: int


class InpaintArea(str, enum.Enum):
    """What is drawn in: the whole image, or the surroundings of its mask alone."""

    UNSPECIFIED = "unspecified"
    WHOLE_IMAGE = "whole_image"
    MASKED = "masked"


class PromptSyntax(str, enum.Enum):
    """How prompts are read: with (weights:1.3), [less] and BREAK, or every character as text."""

    UNSPECIFIED = "unspecified"
    WEIGHTED = "weighted"
    PLAIN = "plain"


class ImageParameters(TypedDict, total=False):
    """Keyword arguments of `generate` and `stream` beside the prompt.

    One that is left out, or None, takes its default, which the answer's parameters tell. The server
    refuses what is outside the ranges, all fields at once.
    """

    model: Annotated[str | None, "name of a configured model; needed where there are several"]
    prompt_2: Annotated[str | None, "for text encoder 2; default: the prompt"]
    negative_prompt: Annotated[str | None, "what to keep away from; default: empty"]
    negative_prompt_2: Annotated[str | None, "for text encoder 2; default: the negative prompt"]
    width_px: Annotated[
        int | None, "in pixels, a multiple of the model's pixels_per_latent; default: the model's"
    ]
    height_px: Annotated[
        int | None, "in pixels, a multiple of the model's pixels_per_latent; default: the model's"
    ]
    step_count: Annotated[int | None, "denoising steps; default: the model's"]
    guidance_scale: Annotated[
        float | None,
        "classifier-free guidance; 1 or less: none, half the work; default: the model's",
    ]
    guidance_rescale: Annotated[float | None, "0 to 1; default: 0"]
    sampler: Annotated[
        str | None,
        'such as "euler" or "dpmpp-2m-karras"; `capabilities().samplers` lists them; '
        "default: the model's",
    ]
    seed: Annotated[int | None, "image i is drawn from seed + i; default: random, and told"]
    image_count: Annotated[int | None, "images of this request; default: 1"]
    original_size: Annotated[
        Size | tuple[int, int] | None, "(width, height) before cropping; default: the size"
    ]
    target_size: Annotated[
        Size | tuple[int, int] | None, "(width, height) aimed at; default: the size"
    ]
    crop_top_left: Annotated[
        Offset | tuple[int, int] | None, "(left, top) in pixels; default: (0, 0)"
    ]
    mime_type: Annotated[
        str | None,
        '"image/png", or "application/x-safetensors": latents, see `Image.latents`; '
        'default: "image/png"',
    ]
    embed_metadata: Annotated[
        bool | None, "write the parameters, prompt included, into the image; default: True"
    ]
    prompt_syntax: Annotated[
        PromptSyntax | str | None, '"weighted" or "plain"; default: "weighted"'
    ]
    clip_skip: Annotated[
        int | None,
        "layers of the text encoders to leave out, up to `model(name).max_clip_skip`; default: 0",
    ]
    denoising_start: Annotated[
        float | None,
        "0 to 1; with denoising_end the part of the denoising to do, of step_count steps in all; "
        "default: 0",
    ]
    denoising_end: Annotated[float | None, "0 to 1; default: 1"]
    initial_latents: Annotated[
        Sequence[bytes] | None,
        "what a denoising_start above 0 goes on from: for each image the `content` of such latents",
    ]
    timestep_spacing: Annotated[
        str | None,
        '"leading", "trailing" (few-step models) or "linspace"; default: the model\'s',
    ]
    comma_backtrack_tokens: Annotated[
        int | None,
        "a long prompt is cut at a comma up to so many tokens back; 0: never there; default: 20",
    ]
    init_image: Annotated[
        bytes | str | os.PathLike[str] | PIL.Image.Image | None,
        "draw over this image: a file (PNG, JPEG, WebP), its bytes, or Pillow's; width_px and "
        "height_px are its own by default; default: none",
    ]
    strength: Annotated[
        float | None,
        "above 0 to 1: how much of init_image is drawn anew; default: 0.3, with mask or outpaint "
        "0.9999",
    ]
    mask: Annotated[
        bytes | str | os.PathLike[str] | PIL.Image.Image | None,
        "draw only where this image, of the same size as init_image, is white; black is kept; "
        "default: everywhere",
    ]
    keep_unmasked_pixels: Annotated[
        bool | None, "what mask keeps is init_image's to the pixel; default: True"
    ]
    mask_blur_px: Annotated[
        int | None,
        "blur the mask by a Gaussian of this radius, 0 to 256, so that its edge shows less; "
        "default: 0",
    ]
    inpaint_area: Annotated[
        InpaintArea | str | None,
        '"whole_image", or "masked": the mask\'s surroundings alone are drawn, at width_px x '
        "height_px (default: the model's), and the image keeps its own size; "
        'default: "whole_image"',
    ]
    inpaint_padding_px: Annotated[
        int | None, "how far those surroundings reach, 0 to 2048; default: 32"
    ]
    outpaint: Annotated[
        Margins | tuple[int, int, int, int] | None,
        "(left, top, right, bottom) in pixels: make init_image larger by so much, and draw there; "
        "default: (0, 0, 0, 0)",
    ]


# What other programs and libraries call the same.
_ELSEWHERE = {
    "batch_size": "image_count",
    "cfg": "guidance_scale",
    "denoise": "strength",
    "denoising_strength": "strength",
    "image": "init_image",
    "mask_image": "mask",
    "mask_blur": "mask_blur_px",
    "mask_blur_factor": "mask_blur_px",
    "padding_mask_crop": "inpaint_padding_px",
    "inpaint_full_res": "inpaint_area",
    "inpaint_full_res_padding": "inpaint_padding_px",
    "cfg_scale": "guidance_scale",
    "generator": "seed",
    "guidance": "guidance_scale",
    "model_name": "model",
    "n": "image_count",
    "n_iter": "image_count",
    "num_images": "image_count",
    "num_images_per_prompt": "image_count",
    "num_inference_steps": "step_count",
    "num_steps": "step_count",
    "sampler_name": "sampler",
    "scheduler": "sampler",
}

Method = TypeVar("Method", bound=Callable[..., Any])


def documented(method: Method) -> Method:
    """For `help`: the fields of ImageParameters in the signature and in the docstring."""
    signature = inspect.signature(method)
    fields = get_type_hints(ImageParameters, include_extras=True)
    kept = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
        for name in fields
        if name not in signature.parameters
    ]
    lines = [inspect.cleandoc(method.__doc__ or ""), ""]
    lines += [f"{name}: {hint.__metadata__[0]}" for name, hint in fields.items()]
    method.__doc__ = "\n".join(lines)
    signed: Any = method
    signed.__signature__ = signature.replace(parameters=[*kept, *added])
    return method


def build_parameters(prompt: str, values: Mapping[str, object]) -> pb.ImageParameters:
    """The message for a prompt and the fields of the contract that are not None.

    Raises TypeError for a name that is no field, InvalidRequestError that names every value that
    its field cannot hold, and OSError for a file that cannot be read.
    """
    message = pb.ImageParameters()
    known = message.DESCRIPTOR.fields_by_name
    violations = []
    for name, value in {"prompt": prompt, **values}.items():
        if name not in known:
            raise TypeError(f"there is no parameter {name!r}{_suggestion(name, list(known))}")
        if value is None:
            # protobuf would take it for a field that was left out, and the server draw the empty
            # prompt.
            if name == "prompt":
                violations.append(FieldViolation(name, "text is needed, not None"))
            continue
        if (problem := _problem(known[name], value)) is not None:
            violations.append(FieldViolation(name, problem))
            continue
        try:
            message.MergeFrom(pb.ImageParameters(**{name: _plain(known[name], value)}))
        except (KeyError, TypeError, ValueError):  # UnicodeEncodeError is a ValueError
            kind = _kind(known[name])
            violations.append(FieldViolation(name, f"{kind} cannot be {_shown(value)}"))
    if violations:
        raise InvalidRequestError(
            "; ".join(f"{v.field}: {v.description}" for v in violations),
            reason="INVALID_PARAMETER",
            field_violations=tuple(violations),
        )
    return message


def _problem(field: Any, value: object) -> str | None:
    """What protobuf would take, but no server: it makes infinity of a number too large for fp32."""
    if field.type not in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return None
    problem = problem_of(value)
    if problem is None:
        return None
    return f"a number cannot be {_shown(value)}, which {problem}"


def _shown(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _suggestion(name: str, known: list[str]) -> str:
    # "steps" is nearer to "step_count" than letters alone tell.
    near = [_ELSEWHERE[name]] if name in _ELSEWHERE else []
    near += [field for field in known if field.startswith(name.rstrip("s") + "_")]
    near += difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


# Descriptors have no useful types in their stubs.
def _plain(field: Any, value: object) -> Any:
    """As protobuf takes it: a pair is a mapping, the name of an enum's value its number."""
    if field.name in INPUT_IMAGES:
        return image_file(value)
    if field.enum_type is not None and isinstance(value, str):
        values = field.enum_type.values_by_name
        return values[_enum_prefix(field) + str.upper(value)].number
    if field.message_type is None or not isinstance(value, tuple):
        return value
    names = [part.name for part in field.message_type.fields]
    return dict(zip(names, value, strict=True))


def _kind(field: Any) -> str:
    if field.name in INPUT_IMAGES:
        return "an image (a path, a file's bytes, or Pillow's)"
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
