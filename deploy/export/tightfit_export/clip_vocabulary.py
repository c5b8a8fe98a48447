"""The CLIP vocabulary from the data file that the package open-clip-torch carries."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from pathlib import Path

from tightfit_export.errors import SourceError
from tightfit_export.vocabulary import CLIP_VOCABULARY_SIZE, Vocabulary

_FILE = "bpe_simple_vocab_16e6.txt.gz"
_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
# All bytes, all bytes at a word's end, one token for each merge, two special tokens.
_MERGE_COUNT = CLIP_VOCABULARY_SIZE - 256 - 256 - len(_SPECIAL)


def packaged_vocabulary(pad_token: str) -> Vocabulary:
    """Errors: SourceError where the package is missing or its file is another one."""
    # find_spec runs none of the package's code, whose own dependencies need not be there.
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise SourceError(
            "the CLIP vocabulary is missing: pip install --no-deps open-clip-torch==3.3.0, "
            "or give a directory with tokenizer files: --vocabulary with --random, else --config"
        )
    data = (Path(next(iter(spec.submodule_search_locations))) / _FILE).read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise SourceError(
            f"{_FILE} of open-clip-torch is not the file that CLIP was published with"
        )
    # The first line is a comment; the file goes on after the merges that CLIP uses.
    lines = gzip.decompress(data).decode("utf-8").split("\n")[1 : _MERGE_COUNT + 1]
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    symbols = byte_symbols()
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols)]
    tokens += [left + right for left, right in merges]
    tokens += _SPECIAL
    ids = {token: index for index, token in enumerate(tokens)}
    start, end = _SPECIAL
    special = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": pad_token}
    return Vocabulary(ids, merges, special)


def byte_symbols() -> list[str]:
    """The character that stands for each byte, in CLIP's order.

    Printable Latin-1 characters stand for themselves and come first; the other bytes get the
    characters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = len(set(range(256)) - set(printable))
    return [chr(code) for code in printable] + [chr(0x100 + index) for index in range(others)]
