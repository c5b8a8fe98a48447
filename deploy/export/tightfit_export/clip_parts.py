"""What pipelines of any size have in common, for those that are made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import CLIPTextConfig, CLIPTokenizer

from tightfit_export import MAX_TOKENS
from tightfit_export.clip_vocabulary import packaged_vocabulary
from tightfit_export.tokenizer_files import read_vocabulary
from tightfit_export.vocabulary import CLIP_VOCABULARY_SIZE, Vocabulary

SCHEDULER: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


def text_config(width: int, heads: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=CLIP_VOCABULARY_SIZE,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=3,
        num_attention_heads=heads,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=width,
        hidden_act=activation,
        bos_token_id=CLIP_VOCABULARY_SIZE - 2,
        eos_token_id=CLIP_VOCABULARY_SIZE - 1,
        pad_token_id=1,
    )


def clip_tokenizer(name: str, pad_token: str, folder: Path | None = None) -> CLIPTokenizer:
    """CLIP's tokenizer; from the packaged vocabulary where `folder` is None.

    `folder`: of a tokenizer's files, or of a pipeline that has them in its folder `name`.
    """
    if folder is None:
        vocabulary = packaged_vocabulary(pad_token)
    else:
        inner = folder / name
        vocabulary = read_vocabulary(inner if inner.is_dir() else folder, CLIP_VOCABULARY_SIZE)
    return _from_vocabulary(vocabulary, pad_token)


def _from_vocabulary(vocabulary: Vocabulary, pad_token: str) -> CLIPTokenizer:
    # transformers 5 takes `vocab` and `merges`, and ignores the older names without a word.
    tokenizer = CLIPTokenizer(
        vocab=vocabulary.ids,
        merges=vocabulary.merges,
        pad_token=pad_token,
        model_max_length=MAX_TOKENS,
    )
    assert len(tokenizer) == CLIP_VOCABULARY_SIZE
    return tokenizer
