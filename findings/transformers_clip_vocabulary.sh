#!/usr/bin/env bash
# transformers 5.23.0: CLIPTokenizer(vocab_file=..., merges_file=...), the arguments of version 4,
# raises no error and reads neither file: the tokenizer has its two special tokens alone, and every
# letter becomes <|endoftext|>. The arguments are called vocab and merges.
#
# Seen: vocab_file= merges_file= 2 tokens, ['<|endoftext|>', '<|endoftext|>', '<|endoftext|>']
#       vocab= merges= 56 tokens, ['red</w>']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0
"$folder/venv/bin/pip" freeze --disable-pip-version-check | grep -iE '^(transformers)=='
cd "$folder"
venv/bin/python - 2>"$folder/log" <<'PY' || { cat "$folder/log" >&2; exit 1; }
import json

from transformers import CLIPTokenizer

# A vocabulary in CLIP's two files: single letters, ends of words, and merges of "red".
letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
words = [*letters, *(f"{letter}</w>" for letter in letters), "re", "red</w>"]
words += ["<|startoftext|>", "<|endoftext|>"]
with open("vocab.json", "w") as file:
    json.dump({word: index for index, word in enumerate(words)}, file)
with open("merges.txt", "w") as file:
    file.write("#version: 0.2\nr e\nre d</w>\n")

old = CLIPTokenizer(vocab_file="vocab.json", merges_file="merges.txt")
new = CLIPTokenizer(vocab="vocab.json", merges="merges.txt")
for name, tokenizer in (("vocab_file= merges_file=", old), ("vocab= merges=", new)):
    print(name, len(tokenizer), "tokens,", tokenizer.tokenize("red"))
assert len(new) == len(words) and new.tokenize("red") == ["red</w>"], "the new names changed"
assert len(old) < len(words) and old.tokenize("red") != ["red</w>"], "the old names are read now"
PY
echo "as written"
