"""A byte-level BPE vocabulary, apart from the files that it is in."""

from __future__ import annotations

from dataclasses import dataclass

CLIP_VOCABULARY_SIZE = 49408


@dataclass(frozen=True)
class Vocabulary:
    """Byte-level BPE: tokens by id, merges by rank, and the names of the special tokens."""

    ids: dict[str, int]
    merges: list[tuple[str, str]]
    special: dict[str, str]
