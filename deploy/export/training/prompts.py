"""Prompts as the UNet sees them: SDXL's two tokenizers and text encoders."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import torch
from tightfit_export import MAX_TOKENS
from tightfit_export.clip_parts import clip_tokenizer
from tightfit_export.families import SDXL

from training.captions import FILLERS, TEMPLATES
from training.training_images import TrainingImages


class PromptTokens:
    """Tokenizes captions for both text encoders."""

    def __init__(self) -> None:
        self.tokenizers = [clip_tokenizer(*each) for each in SDXL.pad_tokens.items()]
        self._end = self.tokenizers[0].eos_token_id

    def known(self, images: TrainingImages) -> list[int]:
        """Every token that a caption may hold, sorted, the special ones included."""
        texts = {*TEMPLATES, *FILLERS, "an", "a", "!"}
        for names, keywords in zip(images.names, images.keywords, strict=True):
            texts.update(names, keywords)
        ids = self.tokenizers[0]([text.replace("{}", " ") for text in sorted(texts)]).input_ids
        return sorted({token for tokens in ids for token in tokens})

    def draw_unknown(self, rng: random.Random, known: set[int]) -> int:
        while True:
            token = rng.randrange(self._end - 1)
            if token not in known:
                return token

    def encode(
        self, captions: Sequence[str], unknown_tokens: Iterable[Sequence[tuple[float, int]]] = ()
    ) -> list[torch.Tensor]:
        """int64 [n, 77] for each text encoder.

        `unknown_tokens` puts tokens into a caption, each at a place from 0 (front) to 1 (end).
        """
        rows = [
            list(tokens)
            for tokens in self.tokenizers[0](
                list(captions), truncation=True, max_length=MAX_TOKENS
            ).input_ids
        ]
        for tokens, extra in zip(rows, unknown_tokens, strict=False):
            for place, token in extra:
                if len(tokens) < MAX_TOKENS:
                    tokens.insert(1 + round(place * (len(tokens) - 2)), token)
        padded = []
        for tokenizer in self.tokenizers:
            pad = tokenizer.pad_token_id
            padded.append(torch.tensor([row + [pad] * (MAX_TOKENS - len(row)) for row in rows]))
        return padded


def condition(
    text_encoders: Sequence[torch.nn.Module], tokens: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """SDXL's conditioning: both penultimate layers joined, [n, 77, 160], and the pooled one."""
    first = text_encoders[0](tokens[0], output_hidden_states=True)
    second = text_encoders[1](tokens[1], output_hidden_states=True)
    joined = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    return joined, second.text_embeds
