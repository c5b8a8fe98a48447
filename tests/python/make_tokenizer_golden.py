"""Writes tests/golden/tokenizer/prompts.jsonl: prompts and the ids that transformers gives them.

One JSON object a line: `prompt` (or `prompt_hex`, the bytes of one that is not UTF-8), and for each
tokenizer directory of make_clip_vocabulary.py `[token count, id, id, ...]`: the count of the whole
prompt without start and end, then the 77 ids without the padding behind the end token. A directory
that is missing in a line gives the same as `tokenizer`, but for its padding.
"""

import argparse
import json
import tempfile
from pathlib import Path

from make_clip_vocabulary import CONFIGS, write_directories
from tokenizer_prompts import golden_prompts
from transformers import CLIPTokenizer
from transformers.utils import logging

GOLDEN_FILE = Path(__file__).parents[1] / "golden" / "tokenizer" / "prompts.jsonl"
MAX_LENGTH = 77


def encode(tokenizer: CLIPTokenizer, texts: list[str]) -> list[list[int]]:
    padded = tokenizer(texts, padding="max_length", max_length=MAX_LENGTH, truncation=True)
    whole = tokenizer(texts, add_special_tokens=False)
    rows = []
    for ids, all_ids in zip(padded["input_ids"], whole["input_ids"]):
        used = min(len(all_ids) + 2, MAX_LENGTH)
        assert len(ids) == MAX_LENGTH and set(ids[used:]) <= {tokenizer.pad_token_id}
        assert ids[used - 1] == tokenizer.eos_token_id
        rows.append([len(all_ids), *ids[:used]])
    return rows


def golden_lines() -> list[str]:
    logging.set_verbosity_error()
    prompts = golden_prompts()
    texts = [
        prompt.decode("utf-8", errors="replace") if isinstance(prompt, bytes) else prompt
        for prompt in prompts
    ]
    rows = {}
    with tempfile.TemporaryDirectory() as directory:
        write_directories(Path(directory))
        for name in CONFIGS:
            tokenizer = CLIPTokenizer.from_pretrained(Path(directory) / name)
            assert len(tokenizer) == 49408
            rows[name] = encode(tokenizer, texts)
    lines = []
    for index, prompt in enumerate(prompts):
        key, value = ("prompt", prompt) if isinstance(prompt, str) else ("prompt_hex", prompt.hex())
        line: dict[str, object] = {key: value, "tokenizer": rows["tokenizer"][index]}
        for name in CONFIGS:
            if rows[name][index] != rows["tokenizer"][index]:
                line[name] = rows[name][index]
        lines.append(json.dumps(line, separators=(",", ":")))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=GOLDEN_FILE, metavar="FILE")
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(golden_lines()) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
