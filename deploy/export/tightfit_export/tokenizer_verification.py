"""Checks that a written tokenizer does what its source does."""

from __future__ import annotations

from pathlib import Path

from transformers import CLIPTokenizer

from tightfit_export import MAX_TOKENS
from tightfit_export.clip_parts import clip_tokenizer
from tightfit_export.errors import VerificationError

_PROBES = (
    "",
    "a photo of an astronaut riding a horse on mars",
    "Hello!!! (masterpiece:1.2), it's they'll 1234",
    "  two\t lines\nand   spaces ",
    "caf\u00e9 nai\u0308ve \u6771\u4eac \U0001f3a8 \u0130stanbul \u00df",
    "before <|endoftext|> after",
    "supercalifragilisticexpialidocious " * 30,
)


def verify(written: Path, source: Path | None, pad_token: str) -> None:
    """Tokenizes with both; None is CLIP's own vocabulary, which has that `pad_token`.

    Errors: VerificationError naming the first text that differs.
    """
    new = CLIPTokenizer.from_pretrained(str(written), local_files_only=True)
    if source is None:
        old = clip_tokenizer(written.name, pad_token)
    else:
        old = CLIPTokenizer.from_pretrained(str(source), local_files_only=True)
    for text in _PROBES:
        results = [
            tokenizer(text, padding="max_length", max_length=MAX_TOKENS, truncation=True).input_ids
            for tokenizer in (new, old)
        ]
        if results[0] != results[1] or len(results[0]) != MAX_TOKENS:
            raise VerificationError(f"{written.name}: tokenizes {text[:40]!r} unlike the source")
