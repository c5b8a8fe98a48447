"""The names of emoji: Unicode's own from emoji-test.txt, and CLDR's English keywords.

Both files come from Debian packages, `unicode-data` and `unicode-cldr-core`.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

EMOJI_TEST = Path("/usr/share/unicode/emoji/emoji-test.txt")
CLDR = Path("/usr/share/unicode/cldr/common")

_LINE = re.compile(r"^([0-9A-F ]+?)\s*; fully-qualified\s*# \S+ E[\d.]+ (.+)$")
_VARIATION_SELECTOR = "\N{VARIATION SELECTOR-16}"


def read_emoji(path: Path = EMOJI_TEST) -> dict[str, str]:
    """The emoji of each name, in the file's order; flags and skin tones are left out."""
    emoji: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name = match.group(2)
        if name.startswith(("flag:", "keycap:")) or "skin tone" in name:
            continue
        emoji[name] = "".join(chr(int(code, 16)) for code in match.group(1).split())
    return emoji


def read_keywords(cldr: Path = CLDR) -> dict[str, list[str]]:
    """CLDR's English keywords of each emoji, by the emoji without variation selectors."""
    keywords: dict[str, list[str]] = defaultdict(list)
    for folder in ("annotations", "annotationsDerived"):
        for node in ElementTree.parse(cldr / folder / "en.xml").iter("annotation"):
            if node.get("type") is None and node.text:
                words = (word.strip() for word in node.text.split("|"))
                keywords[bare(node.get("cp", ""))] += [word for word in words if word]
    return dict(keywords)


def bare(emoji: str) -> str:
    """The emoji without variation selectors, as CLDR writes it."""
    return emoji.replace(_VARIATION_SELECTOR, "")
