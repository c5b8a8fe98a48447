"""Both layouts of a CLIP tokenizer become the same files, which give the same ids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from tightfit_export.clip_vocabulary import packaged_vocabulary
from tightfit_export.errors import SourceError, VerificationError
from tightfit_export.families import SDXL
from tightfit_export.tokenizer_files import FILES, read_vocabulary, write_vocabulary
from tightfit_export.tokenizer_verification import verify

# Known ids of CLIP's own vocabulary.
ASTRONAUT = "a photo of an astronaut riding a horse on mars"
ASTRONAUT_IDS = [49406, 320, 1125, 539, 550, 18376, 6765, 320, 4558, 525, 7496, 49407]


def in_older_layout(source: Path, folder: Path) -> Path:
    """vocab.json, merges.txt, and special tokens as objects, as transformers 4 wrote them."""
    model = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    config = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in model["merges"]), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    roles = ("bos_token", "eos_token", "unk_token")
    as_objects = {role: {"__type": "AddedToken", "content": config[role]} for role in roles}
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": config["pad_token"]}))
    (folder / "special_tokens_map.json").write_text(json.dumps(as_objects))
    return folder


@pytest.mark.parametrize(
    ("name", "pad_token", "pad_id"),
    [("tokenizer", "<|endoftext|>", 49407), ("tokenizer_2", "!", 0)],
)
def test_written_tokenizers_give_clips_ids(
    tiny_model_dir: Path, name: str, pad_token: str, pad_id: int
) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(str(tiny_model_dir / name))
    assert len(tokenizer) == 49408
    ids = tokenizer(ASTRONAUT, padding="max_length", max_length=77).input_ids
    assert ids == ASTRONAUT_IDS + [pad_id] * (77 - len(ASTRONAUT_IDS))
    config = json.loads((tiny_model_dir / name / "tokenizer_config.json").read_text())
    assert config == {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": pad_token,
    }


@pytest.mark.parametrize("name", ["tokenizer", "tokenizer_2"])
def test_the_older_layout_becomes_the_same_files(
    tiny_pipeline_dir: Path, tiny_model_dir: Path, tmp_path: Path, name: str
) -> None:
    source = in_older_layout(tiny_pipeline_dir / name, tmp_path / "older")
    assert not (source / "tokenizer.json").exists()
    write_vocabulary(tmp_path / name, read_vocabulary(source, 49408))
    for file in FILES:
        assert (tmp_path / name / file).read_bytes() == (tiny_model_dir / name / file).read_bytes()
    verify(tmp_path / name, source, SDXL.pad_tokens[name])


def test_the_packaged_vocabulary_is_clips() -> None:
    vocabulary = packaged_vocabulary("!")
    assert len(vocabulary.ids) == 49408 and len(vocabulary.merges) == 48894
    assert vocabulary.ids["!"] == 0 and vocabulary.ids["astronaut</w>"] == 18376
    assert vocabulary.ids["<|startoftext|>"] == 49406 and vocabulary.ids["<|endoftext|>"] == 49407


def small_tokenizer(folder: Path) -> Path:
    """A vocabulary of six tokens in tokenizer.json."""
    vocab = {token: index for index, token in enumerate(["a", "b", "ab", "b</w>"])}
    added = [{"id": 4, "content": "<|startoftext|>"}, {"id": 5, "content": "<|endoftext|>"}]
    model = {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": vocab, "merges": ["a b"]}
    folder.mkdir()
    content = {"added_tokens": added, "model": model}
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_small_vocabularies_take_their_size_from_the_text_encoder(tmp_path: Path) -> None:
    folder = small_tokenizer(tmp_path / "tokenizer")
    vocabulary = read_vocabulary(folder, 6)
    assert vocabulary.ids["<|endoftext|>"] == 5
    assert vocabulary.merges == [("a", "b")]
    assert vocabulary.special["pad_token"] == "<|endoftext|>"
    with pytest.raises(SourceError, match="6 tokens, the text encoder has 49408"):
        read_vocabulary(folder, 49408)


def test_tokenizers_that_are_not_clips_are_refused(tmp_path: Path) -> None:
    folder = small_tokenizer(tmp_path / "tokenizer")
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())

    def refusal(**changes: object) -> str:
        path.write_text(json.dumps(content | changes))
        with pytest.raises(SourceError) as refused:
            read_vocabulary(folder, 6)
        return str(refused.value)

    extra = [*content["added_tokens"], {"id": 6, "content": "<my-concept>"}]
    assert "'<my-concept>'" in refusal(added_tokens=extra)
    assert "no CLIP tokenizer" in refusal(model=content["model"] | {"type": "WordPiece"})
    assert "makes no token" in refusal(model=content["model"] | {"merges": ["b a"]})
    path.unlink()
    with pytest.raises(SourceError, match="neither tokenizer.json nor vocab.json"):
        read_vocabulary(folder, 6)


def test_a_tokenizer_that_gives_other_ids_fails_its_verification(
    tiny_pipeline_dir: Path, tmp_path: Path
) -> None:
    vocabulary = read_vocabulary(tiny_pipeline_dir / "tokenizer", 49408)
    vocabulary.merges.remove(("a", "n</w>"))
    write_vocabulary(tmp_path / "tokenizer", vocabulary)
    with pytest.raises(VerificationError, match="unlike the source"):
        verify(tmp_path / "tokenizer", tiny_pipeline_dir / "tokenizer", "!")
