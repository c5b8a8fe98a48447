"""What the model learns to draw: classes with names, keywords and an image each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.captions import normal
from training.emoji_bitmaps import EmojiFont
from training.emoji_names import bare, read_emoji, read_keywords

_FOLDER = Path(__file__).resolve().parent
_COMMENT = "#"


@dataclass(frozen=True)
class EmojiClass:
    """One emoji. `names[0]` is Unicode's name for it."""

    emoji: str
    names: tuple[str, ...]
    keywords: tuple[str, ...]
    image: np.ndarray  # uint8 [64, 64, 3]

    @property
    def name(self) -> str:
        return self.names[0]


def load_classes(path: Path = _FOLDER / "emoji_classes.txt") -> list[EmojiClass]:
    """All classes, in the file's order.

    Errors: ValueError naming a line whose emoji is unknown, or a word that stands for two emoji.
    """
    emoji, keywords, font = read_emoji(), read_keywords(), EmojiFont()
    listed = [_names(line) for line in _lines(path)]
    uses = Counter(normal(name) for names in listed for name in names)
    for name, count in uses.items():
        if count > 1:
            raise ValueError(f"{path.name}: {name!r} stands for {count} emoji")
    of_class = {names[0]: keywords.get(bare(emoji.get(names[0], "")), []) for names in listed}
    shared = Counter(normal(word) for words in of_class.values() for word in set(words))
    classes = []
    for names in listed:
        if names[0] not in emoji:
            raise ValueError(f"{path.name}: emoji-test.txt has no emoji {names[0]!r}")
        words = [word for word in of_class[names[0]] if normal(word) not in uses]
        # A keyword of this emoji alone is another name; the others only accompany a name.
        own = [word for word in words if shared[normal(word)] == 1]
        classes.append(
            EmojiClass(
                emoji=emoji[names[0]],
                names=(*names, *own),
                keywords=tuple(word for word in words if word not in own),
                image=font.draw(emoji[names[0]]),
            )
        )
    return classes


def unseen_prompts(path: Path = _FOLDER / "unseen_prompts.txt") -> dict[str, str]:
    """The prompts of the quality test, each with the name of its class."""
    pairs = (line.rsplit("=", 1) for line in _lines(path))
    return {prompt.strip(): name.strip() for prompt, name in pairs}


def _lines(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith(_COMMENT)]


def _names(line: str) -> list[str]:
    name, _, others = line.partition(":")
    return [name.strip(), *(other.strip() for other in others.split(",") if other.strip())]
