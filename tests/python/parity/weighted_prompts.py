"""Embeddings of weighted prompts as A1111 documents the syntax, by transformers alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch

CHUNK_TOKENS = 75
# What each alternative matches: an escaped bracket, an opening one, a closing one with a weight, a
# closing one, a break, text.
MARKUP = re.compile(
    r"\\(?P<escaped>[()\[\]\\])|(?P<open>[(\[])|:\s*(?P<weight>[+-]?[\d.]+)\s*\)|(?P<close>[)\]])"
    r"|\s*\b(?P<breaks>BREAK)\b\s*|(?P<text>.)",
    re.DOTALL,
)


@dataclass
class Letter:
    """One character and what it weighs; None is a break."""

    character: str | None
    weight: float = 1.0


def letters_of(prompt: str) -> list[Letter]:
    letters: list[Letter] = []
    open_brackets: list[tuple[str, int]] = []

    def close(factor: float) -> None:
        for letter in letters[open_brackets.pop()[1] :]:
            letter.weight *= factor

    for match in MARKUP.finditer(prompt):
        kind = match.lastgroup
        if kind == "open":
            open_brackets.append((match["open"], len(letters)))
        elif kind == "weight":
            close(float(match["weight"]))
        elif kind == "close":
            close(1.1 if match["close"] == ")" else 1 / 1.1)
        elif kind == "breaks":
            letters.append(Letter(None))
        else:
            letters.append(Letter(match["escaped"] or match["text"]))
    assert not open_brackets, "the oracle reads balanced prompts only"
    return letters


def parts_of(prompt: str) -> list[tuple[str | None, float]]:
    """Runs of equal weight; a text of None is a break."""
    parts: list[tuple[str | None, float]] = []
    for letter in letters_of(prompt):
        last = parts[-1] if parts else (None, 0.0)
        if letter.character is None or last[0] is None or last[1] != letter.weight:
            parts.append((letter.character, letter.weight))
        else:
            parts[-1] = (last[0] + letter.character, letter.weight)
    return parts


def first_chunk_length(tokens: list[int], comma: int, backtrack: int) -> int:
    """How many tokens of a section come into its first chunk: as many as fit, but if one more
    follows that is no comma, only those up to the last comma among the last `backtrack`."""
    if len(tokens) <= CHUNK_TOKENS or tokens[CHUNK_TOKENS] == comma:
        return CHUNK_TOKENS
    nearest = tokens[CHUNK_TOKENS - backtrack : CHUNK_TOKENS][::-1]
    return CHUNK_TOKENS - nearest.index(comma) if comma in nearest else CHUNK_TOKENS


def chunks_of(
    prompt: str, tokenizer: Any, backtrack: int
) -> list[tuple[list[int], list[float]]]:
    sections: list[tuple[list[int], list[float]]] = [([], [])]
    for text, weight in parts_of(prompt):
        if text is None:
            sections.append(([], []))
            continue
        tokens = tokenizer(text, add_special_tokens=False).input_ids
        sections[-1][0].extend(tokens)
        sections[-1][1].extend([weight] * len(tokens))
    (comma,) = tokenizer(",", add_special_tokens=False).input_ids
    chunks = []
    for tokens, weights in sections:
        while True:
            length = first_chunk_length(tokens, comma, backtrack)
            chunks.append((tokens[:length], weights[:length]))
            tokens, weights = tokens[length:], weights[length:]
            if not tokens:
                break
    return chunks


def encoded(
    chunks: list[tuple[list[int], list[float]]], tokenizer: Any, encoder: Any, clip_skip: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted hidden states [1, 77 * chunks, E] and the first chunk's pooled embedding."""
    states, pooled = [], None
    for tokens, weights in chunks:
        ids = [tokenizer.bos_token_id, *tokens, tokenizer.eos_token_id]
        ids += [tokenizer.pad_token_id] * (CHUNK_TOKENS + 2 - len(ids))
        weigh = torch.ones(len(ids))
        weigh[1 : 1 + len(weights)] = torch.tensor(weights)
        output = encoder(torch.tensor([ids]), output_hidden_states=True)
        states.append(output.hidden_states[-(clip_skip + 2)] * weigh[None, :, None])
        pooled = output[0] if pooled is None else pooled
    return torch.cat(states, 1), pooled


@torch.no_grad()
def embeddings(
    pipeline: Any,
    positive: tuple[str, str],
    negative: tuple[str, str] | None,
    clip_skip: int,
    comma_backtrack_tokens: int,
) -> dict[str, torch.Tensor]:
    """What StableDiffusionXLPipeline takes in place of prompts; no negative prompt is zeros."""
    tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
    encoders = (pipeline.text_encoder, pipeline.text_encoder_2)
    chunked = {
        prompts: [
            chunks_of(text, tokenizer, comma_backtrack_tokens)
            for text, tokenizer in zip(prompts, tokenizers)
        ]
        for prompts in (positive, negative or ("", ""))
    }
    count = max(len(chunks) for pair in chunked.values() for chunks in pair)
    result = {}
    for name, prompts, skip in (
        ("", positive, clip_skip),
        ("negative_", negative or ("", ""), 0),
    ):
        halves = []
        for chunks, tokenizer, encoder in zip(chunked[prompts], tokenizers, encoders):
            padded = chunks + [([], [])] * (count - len(chunks))
            halves.append(encoded(padded, tokenizer, encoder, skip))
        result[f"{name}prompt_embeds"] = torch.cat([half[0] for half in halves], -1)
        result[f"{name}pooled_prompt_embeds"] = halves[1][1]
    if negative is None:
        for name in ("prompt_embeds", "pooled_prompt_embeds"):
            result[f"negative_{name}"] = torch.zeros_like(result[name])
    return result
