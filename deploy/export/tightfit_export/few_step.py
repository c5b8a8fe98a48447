"""Models that were distilled to few steps: what they are called, and what their trainers ask for.

The trainers' words: SDXL Turbo 1 to 4 steps without guidance, trailing timesteps, Euler ancestral;
SDXL-Lightning 2, 4 or 8 steps without guidance, trailing, Euler, and its 1-step model predicts the
image; Hyper-SD 1 to 8 steps without guidance, trailing, DDIM; LCM 4 to 8 steps with guidance 1,
its own sampler, by which DMD2's models are drawn too, in 4 steps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tightfit_export.errors import SourceError


@dataclass(frozen=True)
class FewStepKind:
    """Defaults of one kind of models."""

    shown: str
    step_count: int  # where the name of the model tells none
    guidance_scale: float
    sampler: str
    timestep_spacing: str = "trailing"


KINDS: dict[str, FewStepKind] = {
    "turbo": FewStepKind("Turbo", 4, 0.0, "euler-a"),
    "lightning": FewStepKind("Lightning", 4, 0.0, "euler"),
    "hyper": FewStepKind("Hyper-SD", 8, 0.0, "ddim"),
    "lcm": FewStepKind("LCM", 4, 1.0, "lcm"),
}


def _word(text: str) -> str:
    """Matches a word of small letters by itself, or with a capital amid a name of several words."""
    capital = text.capitalize()
    return rf"(?:(?<![A-Za-z]){text}|{capital}|{text.upper()})(?![a-z])"


# The first that fits is taken: merges carry several names.
_NAMES = (
    (re.compile(r"dmd ?2?(?![a-z])", re.IGNORECASE), "DMD2", "lcm"),
    (re.compile(r"lightning(?![-_ ]?str)", re.IGNORECASE), "Lightning", "lightning"),
    (re.compile(_word("hyper") + r"(?![-_ ]?(?i:real))"), "Hyper-SD", "hyper"),
    (re.compile(r"hyper[-_ ]?sd", re.IGNORECASE), "Hyper-SD", "hyper"),
    (re.compile(_word("lcm")), "LCM", "lcm"),
    (re.compile("turbo", re.IGNORECASE), "Turbo", "turbo"),
)
_STEPS = re.compile(
    r"(?<![\d.])(?<!epoch)(?<!epoch[-_ ])([1-9]|[1-4]\d|50)[-_ ]?steps?(?![-_ ]?\d)",
    re.IGNORECASE,
)


def kind_of(name: str) -> tuple[str, str] | None:
    """What a model's name says it is, and the key of its defaults; None: nothing."""
    for pattern, shown, key in _NAMES:
        if pattern.search(name):
            return shown, key
    return None


def steps_in(name: str) -> int | None:
    """How many steps a name tells, as `4step` or `8-steps` do."""
    found = _STEPS.search(name)
    return int(found[1]) if found else None


def refuse_one_step_lightning(name: str, key: str | None) -> None:
    """Errors: SourceError for the model of the kind that predicts the image itself."""
    if key == "lightning" and steps_in(name) == 1:
        raise SourceError(
            "the 1-step Lightning model predicts the image itself (prediction type 'sample'), "
            "which cannot be served; take the one of 2, 4 or 8 steps"
        )
