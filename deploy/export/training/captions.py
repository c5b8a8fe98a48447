"""Captions: a name or another word for the emoji, in a phrase as people write prompts.

Nothing here may produce a prompt of the quality test (`unseen_prompts.txt`): `Captioner` drops
those that it would.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence

# "a" stands before the name where it reads well.
TEMPLATES = (
    "{}", "{}", "{}", "{}", "{}", "{}",
    "a {}", "a {}", "a {}", "the {}", "one {}", "my {}",
    "an image of a {}", "image of the {}", "a photo of a {}", "a photograph of a {}",
    "an emoji of a {}", "{} emoji", "a {} emoji", "the {} emoji", "emoji: {}",
    "an icon of a {}", "{} icon", "a drawing of a {}", "drawing of {}", "a cartoon {}",
    "an illustration of a {}", "an image of a {}", "{} on a white background",
    "a cute {}", "a small {}", "a big {}", "a nice {}", "a simple {}", "a beautiful {}",
    "draw a {}", "show me a {}", "this is a {}", "{}, please", "a {} on white", "some {}",
)  # fmt: skip

# Words that may stand in a caption without changing the image.
FILLERS = (
    "very", "really", "just", "bright", "shiny", "clean", "detailed", "colourful", "colorful",
    "flat", "isolated", "single", "high quality", "best", "style", "design", "art", "vector",
    "little", "lovely", "pretty", "funny", "modern", "classic", "of", "with", "for", "and", "in",
)  # fmt: skip

_UNKNOWN_WORDS = 2
_VOWELS = "aeiou"


class Captioner:
    """Draws captions for one emoji. Deterministic for a given `random.Random`."""

    def __init__(self, forbidden: Collection[str], taken_names: Collection[str]) -> None:
        self._forbidden = {normal(prompt) for prompt in forbidden}
        self._taken = {normal(name) for name in taken_names}

    def draw(
        self, rng: random.Random, names: Sequence[str], keywords: Sequence[str] = ()
    ) -> tuple[str, int]:
        """A caption, and how many words unknown to the text encoders it should get.

        `names` are words for the emoji, the first one its own name.
        """
        while True:
            name = names[0] if rng.random() < 0.6 else rng.choice(names)
            name = self._varied(rng, name)
            if keywords and rng.random() < 0.08:
                name = f"{name} {rng.choice(keywords)}"
            caption = rng.choice(TEMPLATES).format(name)
            if rng.random() < 0.12:
                caption = f"{rng.choice(FILLERS)} {caption}"
            if rng.random() < 0.08:
                caption = f"{caption} {rng.choice(FILLERS)}"
            caption = with_articles(caption)
            if normal(caption) not in self._forbidden:
                break
        unknown = rng.randint(1, _UNKNOWN_WORDS) if rng.random() < 0.2 else 0
        return caption, unknown

    def _varied(self, rng: random.Random, name: str) -> str:
        """Mostly the name; sometimes its words in another order, or all but one of them."""
        words = name.split()
        if len(words) < 2 or rng.random() > 0.15:
            return name
        if len(words) > 2 and rng.random() < 0.5:
            words.pop(rng.randrange(len(words)))
            # What is left must not be another emoji's name: "heart" of "blue heart".
            return " ".join(words) if normal(" ".join(words)) not in self._taken else name
        turned = [*words[1:], words[0]]
        return " ".join(turned) if normal(" ".join(turned)) not in self._taken else name


def normal(text: str) -> str:
    """A prompt as compared with another: lower case, words only, without articles."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def with_articles(caption: str) -> str:
    """"a" before a vowel becomes "an"; "a" before another article or a plural's goes."""
    caption = re.sub(r"\b(a|an|the|my|one|some) (?:a|an|the) ", r"\1 ", caption)
    return re.sub(
        r"\b(an?) (\w)",
        lambda m: ("an " if m.group(2).lower() in _VOWELS else "a ") + m.group(2),
        caption,
    )
