"""From the text that tightfit, A1111 or Forge writes into its images to a request.

The list of parameters is split as A1111 splits it; client/cpp/parameters_text does the same.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tightfit.input_images import read_bounded
from tightfit.parameters import (
    ImageParameters,
    InpaintArea,
    Margins,
    Offset,
    PromptSyntax,
    Size,
)
from tightfit.png_text import parameters_text_of_png
from tightfit.server_types import Model

MAX_NOTES = 24
_MAX_SHOWN = 80
_NEGATIVE = "Negative prompt:"
# A1111's number for SDXL's usual last but one layer.
_USUAL_CLIP_SKIP = 2
# A1111's pattern, but begun only where a run of a name's characters begins: linear in the line.
_FIELD = re.compile(
    r'(?<![\w \-/])[ \-/]*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"(?=,|$)|[^,]*)(?:,|$)'
)
# (shown name, schedule) -> ours; "" stands for the levels of the training timesteps themselves.
_SAMPLERS = {
    ("Euler", ""): "euler",
    ("Euler", "Karras"): "euler-karras",
    ("Euler", "Exponential"): "euler-exponential",
    ("Euler a", ""): "euler-a",
    ("Heun", ""): "heun",
    ("DDIM", ""): "ddim",
    ("DPM++ 2M", ""): "dpmpp-2m",
    ("DPM++ 2M", "Karras"): "dpmpp-2m-karras",
    ("DPM++ 2M SDE", "Karras"): "dpmpp-2m-sde-karras",
    ("DPM++ SDE", ""): "dpmpp-sde",
    ("DPM++ SDE", "Karras"): "dpmpp-sde-karras",
    ("DPM++ 2S a", ""): "dpmpp-2s-a",
    ("DPM++ 2S a", "Karras"): "dpmpp-2s-a-karras",
    ("DPM++ 3M SDE", ""): "dpmpp-3m-sde",
    ("DPM++ 3M SDE", "Karras"): "dpmpp-3m-sde-karras",
    ("DPM2", ""): "kdpm2",
    ("DPM2", "Karras"): "kdpm2-karras",
    ("DPM2 a", ""): "kdpm2-a",
    ("DPM2 a", "Karras"): "kdpm2-a-karras",
    ("DEIS", ""): "deis",
    ("DEIS", "Karras"): "deis-karras",
    ("UniPC", ""): "unipc",
    ("PLMS", ""): "pndm",
    ("DDPM", ""): "ddpm",
    ("LCM", ""): "lcm",
}
# Those that A1111 gives no choice of a schedule; it spaces their timesteps as "leading" does.
_BY_TIMESTEPS = ("ddim", "unipc", "pndm")
# What A1111 takes under "Automatic", where it is not the training timesteps.
_AUTOMATIC = {
    "dpm++ 2m": "Karras",
    "dpm++ 2m sde": "Exponential",
    "dpm++ sde": "Karras",
    "dpm++ 2s a": "Karras",
    "dpm++ 3m sde": "Exponential",
    "dpm2": "Karras",
    "dpm2 a": "Karras",
}
_SPACINGS = {
    "uniform": "linspace",
    "normal": "linspace",
    "sgm uniform": "trailing",
    "simple": "trailing",
    "ddim": "leading",
    "ddim uniform": "leading",
}
# What does not change the pixels, or is told where the image's model is chosen.
_HARMLESS = (
    *("version", "model", "model hash", "vae tile", "weight format", "weight scope"),
    *("compute dtype", "batch size", "batch pos", "user", "app", "backend", "hashes"),
    *("civitai resources", "civitai metadata", "template", "negative template"),
    *("created date", "pipeline", "parser", "diffusion in low bits"),
)

# As the command line has it.
_MAX_FILE_BYTES = 256 << 20


@dataclass(frozen=True)
class DrawnImage:
    """What an image says of its drawing.

    parameters: keyword arguments of `generate`; initial latents, and images to draw over, are no
        part of an image
    by_tightfit: written by a tightfit server, so nothing was guessed
    model_hash, format, scope, compute_dtype: of the model; empty where the text does not tell
    notes: a line for each thing that it was drawn with and that is not done here
    """

    prompt: str
    parameters: ImageParameters
    by_tightfit: bool
    model_hash: str
    format: str
    scope: str
    compute_dtype: str
    notes: tuple[str, ...]


def read_png(image: bytes | str | os.PathLike[str]) -> DrawnImage:
    """What a PNG file, or its bytes, says of its drawing.

    Raises ValueError, one line, where it holds no such text, and OSError.
    """
    png = image if isinstance(image, bytes) else read_bounded(Path(image), _MAX_FILE_BYTES)
    return read_parameters_text(parameters_text_of_png(png))


def read_parameters_text(text: str) -> DrawnImage:
    """The same of the text itself."""
    lines = [_trimmed(line) for line in text.split("\n")]
    while lines:
        fields = _fields_of(lines.pop())
        if len(fields) >= 3 and any(name == "Steps" for name, _ in fields):
            return _Reader(fields).read(lines)
    if _trimmed(text).startswith("{"):
        raise ValueError("its parameters are JSON, which is not read; only A1111's text is")
    raise ValueError(
        "its parameters have no list of A1111's form (Steps: 20, Sampler: Euler, Seed: 1, ...)"
    )


def with_parameters(image: DrawnImage, given: ImageParameters) -> DrawnImage:
    """With what is given in the place of what the image says; None takes that away."""
    both: Any = {**image.parameters, **given}
    told: Any = {name: value for name, value in both.items() if value is not None}
    if told.get("denoising_start", 0) > 0 and not told.get("initial_latents"):
        raise ValueError(
            "the image was drawn on from latents, which are not in it; give them as"
            " initial_latents"
        )
    notes = image.notes
    if image.parameters.get("strength") and not told.get("init_image") and "strength" not in given:
        if image.by_tightfit:
            raise ValueError(
                "the image was drawn over another one, which is not in it; give it as init_image"
            )
        del told["strength"]
        notes = (*notes, "drawn over another image; give it as init_image")
    dropped: tuple[str, ...] = ()
    has_mask = told.get("mask") or told.get("outpaint")
    if "mask_blur_px" in image.parameters and "mask_blur_px" not in given and not has_mask:
        dropped = ("mask_blur_px", "inpaint_area", "inpaint_padding_px")
        if told.get("init_image"):
            if image.by_tightfit:
                raise ValueError(
                    "the image was drawn in a mask, which is not in it; give it as mask"
                )
            notes = (*notes, "drawn in a mask; give it as mask")
    elif told.get("inpaint_area") == InpaintArea.WHOLE_IMAGE:
        dropped = ("inpaint_padding_px",)
    told = {name: value for name, value in told.items() if name not in dropped or name in given}
    return replace(image, parameters=told, notes=notes)


def choose_model(models: Iterable[Model], image: DrawnImage) -> DrawnImage:
    """With the one of `models` that the image names, or that has its hash.

    A model that differs in hash or packing is noted; the only model is taken whatever it is.
    Raises ValueError where there is none.
    """
    models = tuple(models)
    name = image.parameters.get("model") or ""
    notes = list(image.notes)

    def same_hash(model: Model) -> bool:
        return len(image.model_hash) >= 8 and model.hash.startswith(image.model_hash)

    chosen = next((model for model in models if model.name == name), None)
    chosen = chosen or next((model for model in models if same_hash(model)), None)
    if chosen is None and len(models) == 1:
        (chosen,) = models
        told = _shown(name) if name else "is not told"
        notes.append(f"its model {told}; {chosen.name} is taken, the only one of the server")
    if chosen is None:
        told = _shown(name) if name else "by its hash"
        raise ValueError(
            f"the server has no model {told} to draw the image with; name one of its own"
        )
    pairs = [
        ("weight format", image.format, chosen.format),
        ("weight scope", image.scope, chosen.scope),
        ("compute dtype", image.compute_dtype, chosen.compute_dtype),
    ]
    if not same_hash(chosen):
        pairs.insert(0, ("hash", image.model_hash, chosen.hash))
    notes += [
        f"its model had the {what} {_shown(drawn)}, here it has {here}: pixels differ"
        for what, drawn, here in pairs
        if drawn and here and drawn != here
    ]
    parameters: ImageParameters = {**image.parameters, "model": chosen.name}
    return replace(image, parameters=parameters, notes=tuple(notes))


class _Reader:
    """Fills one image from the fields of its list, of which the last of a name counts."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = {name.lower(): (name, value) for name, value in fields}
        self._told: dict[str, Any] = {}
        self._notes: list[str] = []
        self._by_tightfit = self._fields.get("version", ("", ""))[1].startswith("tightfit")

    def read(self, lines: list[str]) -> DrawnImage:
        facts = {
            key: self._fields.get(name, ("", ""))[1]
            for key, name in (
                ("model_hash", "model hash"),
                ("format", "weight format"),
                ("scope", "weight scope"),
                ("compute_dtype", "compute dtype"),
            )
        }
        self._told["model"] = self._fields.get("model", ("", ""))[1] or None
        prompt = self._prompts(lines)
        emphasis = self._take("Emphasis")
        plain = self._take("Prompt syntax") == "plain" or (emphasis or "").lower() == "none"
        self._told["prompt_syntax"] = PromptSyntax.PLAIN if plain else PromptSyntax.WEIGHTED
        self._numbers()
        self._sampler()
        self._noise()
        if not self._by_tightfit:
            self._weights(prompt, "Original" if emphasis is None else emphasis)
        for name in _HARMLESS:
            self._take(name)
        self._rest()
        told: Any = {name: value for name, value in self._told.items() if value is not None}
        return DrawnImage(
            prompt, told, self._by_tightfit, notes=tuple(self._notes[:MAX_NOTES]), **facts
        )

    def _take(self, name: str) -> str | None:
        return self._fields.pop(name.lower(), (name, None))[1]

    def _prompts(self, lines: list[str]) -> str:
        prompt = ""
        negative: str | None = None
        for line in lines:
            if line.startswith(_NEGATIVE):
                line = _trimmed(line.removeprefix(_NEGATIVE))
                negative = negative or ""
            if negative is None:
                prompt += f"\n{line}" if prompt else line
            else:
                negative += f"\n{line}" if negative else line
        exact = self._take("Prompt")
        exact_negative = self._take("Negative prompt")
        self._told["negative_prompt"] = negative if exact_negative is None else exact_negative
        self._told["prompt_2"] = self._take("Prompt 2")
        self._told["negative_prompt_2"] = self._take("Negative prompt 2")
        return prompt if exact is None else exact

    def _number(self, name: str, kind: type[int] | type[float]) -> Any:
        value = self._take(name)
        if value is None:
            return None
        if len(value) <= 40 and re.fullmatch(
            r"-?[0-9]+" if kind is int else r"-?[0-9]*\.?[0-9]+(e-?[0-9]+)?", value
        ):
            number = kind(value)
            if -(2**63) <= number < 2**63 and math.isfinite(number):
                return number
        raise _no_value(name, value, "no number that can be asked for")

    def _pair(self, name: str, separator: str) -> tuple[int, int] | None:
        value = self._take(name)
        if value is None:
            return None
        match = re.fullmatch(rf"(-?[0-9]{{1,9}}){separator}(-?[0-9]{{1,9}})", value)
        if match is None:
            raise _no_value(name, value, "no pair of numbers")
        return int(match[1]), int(match[2])

    def _numbers(self) -> None:
        told = self._told
        told["step_count"] = self._number("Steps", int)
        told["guidance_scale"] = self._number("CFG scale", float)
        told["seed"] = self._number("Seed", int)
        # Extensions and other programs have a spelling each.
        for name in ("Rescale CFG", "CFG Rescale phi", "CFG Rescale φ", "CFG Rescale"):
            rescale = self._number(name, float)
            told["guidance_rescale"] = told.get("guidance_rescale") if rescale is None else rescale
        told_skip = self._number("Clip skip", float)
        if told_skip is not None:
            # Some programs count in fractions of a layer.
            clip_skip = math.floor(max(-1000, min(1000, told_skip)) + 0.5)
            if clip_skip != told_skip:
                self._notes.append(
                    f"its clip skip lies between two layers; {clip_skip} is taken"
                )
            # A1111 draws SDXL with the usual layer under "1" too.
            told["clip_skip"] = max(clip_skip, _USUAL_CLIP_SKIP) - _USUAL_CLIP_SKIP
        left_out = self._number("Layers left out", int)
        if left_out is not None:
            told["clip_skip"] = left_out
        told["comma_backtrack_tokens"] = self._number("Comma backtrack", int)
        told["denoising_start"] = self._number("Denoising start", float)
        told["denoising_end"] = self._number("Denoising end", float)
        # Of an image that A1111 enlarged it is that of drawing over its own first image.
        if not any(n.startswith("hires") or n == "first pass size" for n in self._fields):
            told["strength"] = self._number("Denoising strength", float)
        self._mask()
        size = self._pair("Size", "x")
        if size is not None:
            told["width_px"], told["height_px"] = size
        for name in ("original_size", "target_size"):
            pair = self._pair(name.replace("_", " "), "x")
            told[name] = None if pair is None else Size(*pair)
        offset = self._pair("Crop top left", ",")
        told["crop_top_left"] = None if offset is None else Offset(*offset)

    def _mask(self) -> None:
        told = self._told
        told["mask_blur_px"] = self._foreign_number("Mask blur")
        area = self._fields.get("inpaint area", ("", ""))[1].lower()
        if area in ("only masked", "whole picture"):
            self._take("Inpaint area")
        if area == "only masked":
            told["inpaint_area"] = InpaintArea.MASKED
            told["inpaint_padding_px"] = self._foreign_number("Masked area padding")
        value = self._take("Outpaint") if self._by_tightfit else None
        if value is not None:
            sides = re.fullmatch(",".join(["(-?[0-9]{1,9})"] * 4), value)
            if sides is None:
                raise _no_value("Outpaint", value, "no four numbers")
            told["outpaint"] = Margins(*map(int, sides.groups()))

    def _foreign_number(self, name: str) -> Any:
        """Other programs may mean something else by the name, or write fractions."""
        value = self._fields.get(name.lower(), ("", ""))[1]
        if self._by_tightfit or re.fullmatch(r"-?[0-9]{1,9}", value):
            return self._number(name, int)
        return None

    def _sampler(self) -> None:
        shown = self._take("Sampler")
        given = self._take("Schedule type") or self._take("Scheduler")
        self._told["timestep_spacing"] = self._take("Timestep spacing")
        if shown is None:
            return
        schedule = given or ""
        # Older texts have both in one name.
        match = re.fullmatch("(.+) (Karras|Exponential)", shown, re.IGNORECASE)
        if match is not None:
            shown = match[1]
            schedule = match[2] if given is None else schedule
        same = [(s, ours) for (name, s), ours in _SAMPLERS.items() if name.lower() == shown.lower()]
        if not same:
            # Programs without a list of shown names write their own, which the server may know.
            if self._by_tightfit or re.fullmatch(r"[a-z0-9_-]*", shown):
                # A server knows such names with a schedule behind them, or refuses them.
                spacing = _SPACINGS.get(schedule.lower())
                alone = self._by_tightfit or not schedule or spacing
                self._told["sampler"] = shown if alone else f"{shown} {schedule}"
                if not self._by_tightfit and self._told["timestep_spacing"] is None:
                    self._told["timestep_spacing"] = spacing or "linspace"
            else:
                self._notes.append(
                    f'sampler "{_shown(shown)}" is not known; the model\'s default is taken'
                )
            return
        if schedule.lower() == "automatic":
            schedule = _AUTOMATIC.get(shown.lower(), "")
        spacing = _SPACINGS.get(schedule.lower())
        curve = "" if spacing else schedule.lower()
        exact = [ours for s, ours in same if ours in _BY_TIMESTEPS or s.lower() == curve]
        sampler = exact[0] if exact else same[0][1]
        self._told["sampler"] = sampler
        if not exact:
            self._notes.append(
                f'schedule "{_shown(schedule or "Uniform")}" of sampler "{shown}" is not there;'
                f" {sampler} is taken"
            )
        if not self._by_tightfit and self._told["timestep_spacing"] is None:
            by_timesteps = sampler in _BY_TIMESTEPS
            self._told["timestep_spacing"] = "leading" if by_timesteps else spacing or "linspace"

    def _noise(self) -> None:
        noise = self._take("RNG")
        if self._by_tightfit if noise is None else noise.lower() == "cpu":
            return
        self._notes.append(
            f"its noise was drawn on a GPU (RNG: {_shown(noise or 'GPU')}), here it is drawn on"
            " the CPU: another image comes out"
        )

    def _weights(self, prompt: str, emphasis: str) -> None:
        prompts = prompt + (self._told["negative_prompt"] or "")
        if emphasis.lower() not in ("no norm", "none") and re.search(r"[(\[]", prompts):
            self._notes.append(
                f'its weights were applied as "Emphasis: {_shown(emphasis)}", here they are as'
                ' "No norm"'
            )

    def _rest(self) -> None:
        """All else that is in the list, what belongs together in one line."""
        groups: dict[str, list[str]] = {}
        for name, value in self._fields.values():
            groups.setdefault(name.split(" ")[0], []).append(f"{_shown(name)}: {_shown(value)}")
        self._notes += [f"not done here: {', '.join(entries[:4])}" for entries in groups.values()]


def _fields_of(line: str) -> list[tuple[str, str]]:
    return [(_trimmed(name), _unquoted(_trimmed(value))) for name, value in _FIELD.findall(line)]


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        try:
            parsed = json.loads(value)
        except ValueError:
            return value
        return parsed if isinstance(parsed, str) else value
    return value


def _trimmed(text: str) -> str:
    return text.strip(" \t\n\v\f\r")


def _shown(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _no_value(name: str, value: str, kind: str) -> ValueError:
    return ValueError(f'its parameters say "{name}: {_shown(value)}", which is {kind}')
