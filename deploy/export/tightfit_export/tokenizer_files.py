"""CLIP tokenizers, read in both layouts that diffusers directories have and written in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tightfit_export import MAX_TOKENS
from tightfit_export.errors import SourceError
from tightfit_export.vocabulary import CLIP_VOCABULARY_SIZE, Vocabulary

FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")

_START, _END = "<|startoftext|>", "<|endoftext|>"
_DEFAULTS = {"bos_token": _START, "eos_token": _END, "unk_token": _END, "pad_token": _END}


def read_vocabulary(folder: Path, vocabulary_size: int) -> Vocabulary:
    """Reads tokenizer.json, or vocab.json and merges.txt where there is none.

    `vocabulary_size` is the text encoder's. Errors: SourceError.
    """
    where = folder.name
    try:
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            ids = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
            merges = _merges_of((folder / "merges.txt").read_text(encoding="utf-8").split("\n"))
            added: list[dict[str, Any]] = []
        elif (folder / "tokenizer.json").is_file():
            content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
            model = content["model"]
            if model.get("type", "BPE") != "BPE" or model.get("end_of_word_suffix") != "</w>":
                raise SourceError(f"{where}: tokenizer.json is no CLIP tokenizer")
            ids, added = dict(model["vocab"]), content.get("added_tokens") or []
            merges = [_pair(merge) for merge in model["merges"]]
        else:
            raise SourceError(f"{where}: neither tokenizer.json nor vocab.json with merges.txt")
        special = _special_tokens(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{where}: cannot be read: {error!r}") from error
    for token in added:
        if token["content"] not in special.values():
            raise SourceError(f"{where}: has the added token {token['content']!r}; CLIP has none")
        ids.setdefault(token["content"], token["id"])
    _check(where, Vocabulary(ids, merges, special), vocabulary_size)
    return Vocabulary(dict(sorted(ids.items(), key=lambda item: item[1])), merges, special)


def write_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    """Writes the three files. The folder must not exist."""
    folder.mkdir()
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in vocabulary.merges)]
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_TOKENS,
        **{name: vocabulary.special[name] for name in _DEFAULTS},
    }
    texts = {
        "vocab.json": json.dumps(vocabulary.ids, ensure_ascii=False, separators=(",", ":")),
        "merges.txt": "\n".join(lines),
        "tokenizer_config.json": json.dumps(config, indent=2),
    }
    for name, text in texts.items():
        (folder / name).write_text(text + "\n", encoding="utf-8", newline="\n")


def _merges_of(lines: list[str]) -> list[tuple[str, str]]:
    if lines and lines[0].startswith("#version"):
        lines = lines[1:]
    return [_pair(line.rstrip("\r")) for line in lines if line.strip()]


def _pair(merge: Any) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _special_tokens(folder: Path) -> dict[str, str]:
    special = dict(_DEFAULTS)
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if not (folder / name).is_file():
            continue
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        for role in _DEFAULTS:
            token = content.get(role)
            if isinstance(token, dict):
                token = token["content"]
            if token is not None:
                special[role] = token
    return special


def _check(where: str, vocabulary: Vocabulary, vocabulary_size: int) -> None:
    ids = vocabulary.ids
    if len(ids) != vocabulary_size or sorted(ids.values()) != list(range(vocabulary_size)):
        raise SourceError(
            f"{where}: {len(ids)} tokens, the text encoder has {vocabulary_size} "
            f"(the full CLIP vocabulary is {CLIP_VOCABULARY_SIZE})"
        )
    for role, token in vocabulary.special.items():
        if token not in ids:
            raise SourceError(f"{where}: the {role} {token!r} is not in the vocabulary")
    for left, right in vocabulary.merges:
        if left + right not in ids:
            raise SourceError(f"{where}: the merge {left!r} {right!r} makes no token")
