"""A reader of A1111's text, written from the form that it documents: the oracle for what we write.

The prompts stand before the last line; the last line is a list of names and values, which are JSON
strings where they hold what would break the list. Written with Python's `re` alone, apart from both
readers of ours.
"""

from __future__ import annotations

import json
import re

_PARAMETER = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def parse(text: str) -> dict[str, str]:
    """Name -> value, with "Prompt" and "Negative prompt"; sizes as NAME-1 and NAME-2."""
    *lines, last = text.strip().split("\n")
    if len(_PARAMETER.findall(last)) < 3:
        lines.append(last)
        last = ""
    prompts: dict[str, list[str]] = {"Prompt": [], "Negative prompt": []}
    kind = "Prompt"
    for line in map(str.strip, lines):
        if line.startswith("Negative prompt:"):
            kind, line = "Negative prompt", line[len("Negative prompt:") :].strip()
        if line or prompts[kind]:
            prompts[kind].append(line)
    values = {name: "\n".join(found) for name, found in prompts.items()}
    for name, value in _PARAMETER.findall(last):
        if value and value[0] == value[-1] == '"':
            value = json.loads(value)
        size = re.fullmatch(r"(\d+)x(\d+)", value)
        if size is not None:
            values[f"{name}-1"], values[f"{name}-2"] = size.groups()
        else:
            values[name] = value
    return values
