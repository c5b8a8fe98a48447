"""Writes CLIP's vocabulary as tokenizer directories for the tests.

The merges come from the file that open-clip-torch ships (MIT licence), checked by its SHA-256, so
that the repository need not carry 1.5 MB. DIR/tokenizer pads with the end token as SDXL's first
tokenizer does, DIR/tokenizer_2 with `!` as its second, and DIR/tokenizer_any_case describes the
special tokens as normalized, as older files of the hub do. DIR/tokenizer_json is tokenizer_2 in one
file, tokenizer.json, as transformers 5 writes it. Directories that are complete stay.
"""

import argparse
import gzip
import hashlib
import importlib.util
import json
from pathlib import Path

SOURCE_NAME = "bpe_simple_vocab_16e6.txt.gz"
SOURCE_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
MERGE_COUNT = 49152 - 256 - 2
START, END = "<|startoftext|>", "<|endoftext|>"


def read_merges() -> list[str]:
    """The `LEFT RIGHT` lines in rank order. The package is located, not imported."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise SystemExit("No CLIP vocabulary: pip install --no-deps open-clip-torch==3.3.0")
    packed = (Path(spec.origin).parent / SOURCE_NAME).read_bytes()
    if hashlib.sha256(packed).hexdigest() != SOURCE_SHA256:
        raise SystemExit(f"{SOURCE_NAME} is not the file that CLIP was trained with")
    return gzip.decompress(packed).decode("utf-8").split("\n")[1 : MERGE_COUNT + 1]


def byte_characters() -> list[str]:
    """The 256 characters that stand for bytes, in the order of their ids."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    substituted = 256 - len(printable)
    return [chr(code) for code in printable] + [chr(0x100 + i) for i in range(substituted)]


def make_vocabulary(merges: list[str]) -> dict[str, int]:
    characters = byte_characters()
    tokens = [*characters, *(character + "</w>" for character in characters)]
    tokens += [merge.replace(" ", "") for merge in merges] + [START, END]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    assert len(vocabulary) == len(tokens) == 49408
    return vocabulary


def special_token(content: str, any_case: bool) -> object:
    if not any_case:
        return content
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    return {"__type": "AddedToken", "content": content, **flags}


def make_config(padding: str, any_case: bool) -> dict[str, object]:
    return {
        "bos_token": special_token(START, any_case),
        "eos_token": special_token(END, any_case),
        "model_max_length": 77,
        "pad_token": padding,
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": special_token(END, any_case),
    }


CONFIGS = {
    "tokenizer": make_config(END, any_case=False),
    "tokenizer_2": make_config("!", any_case=False),
    "tokenizer_any_case": make_config("!", any_case=True),
}


def write_directories(out: Path) -> None:
    merges = read_merges()
    vocabulary_json = json.dumps(make_vocabulary(merges), ensure_ascii=False)
    merges_text = "#version: 0.2\n" + "\n".join(merges) + "\n"
    for name, config in CONFIGS.items():
        texts = {
            "vocab.json": vocabulary_json,
            "merges.txt": merges_text,
            "tokenizer_config.json": json.dumps(config, indent=2) + "\n",
        }
        directory = out / name
        directory.mkdir(parents=True, exist_ok=True)
        for file_name, text in texts.items():
            content = text.encode("utf-8")
            path = directory / file_name
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)


def write_tokenizer_json(out: Path) -> None:
    """Asks transformers for it. Needs DIR/tokenizer_2."""
    directory = out / "tokenizer_json"
    if (directory / "tokenizer.json").is_file():
        return
    from transformers import CLIPTokenizer

    CLIPTokenizer.from_pretrained(out / "tokenizer_2").save_pretrained(directory)
    assert not (directory / "vocab.json").exists()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    out = parser.parse_args().out
    write_directories(out)
    write_tokenizer_json(out)


if __name__ == "__main__":
    main()
