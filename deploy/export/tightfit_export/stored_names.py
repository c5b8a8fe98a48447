"""Which names of the original layout a single file's tensors stand for, whoever saved them.

SD 1.x and 2.x have their text encoder in the place of SDXL's first (CLIP) or second (OpenCLIP).
Savers put other prefixes before a component (Forge, ComfyUI, stable-diffusion.cpp), leave
`text_model.` out as transformers does since 5.6, or write text encoder 2 under transformers' names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tightfit_export.errors import SourceError
from tightfit_export.original_layout import (
    TEXT_2_PREFIX,
    TEXT_2_TRANSFORMERS_PREFIX,
    TEXT_PREFIX,
    UNET_PREFIX,
    VAE_PREFIX,
)

if TYPE_CHECKING:
    import torch

    from tightfit_export.quantisation.restored import RestoredTensors
    from tightfit_export.tensor_file import StoredTensor

_UNET = re.compile(
    r"(?:model\.diffusion_model\.|diffusion_model\.|unet\.)?"
    r"((?:input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\..+)"
)
_VAE = re.compile(
    r"(?:first_stage_model\.|vae\.)?(?:first_stage_model\.)?"
    r"((?:decoder|encoder)\.(?:conv_in|mid|up|down|norm_out|conv_out)\..+"
    r"|(?:post_)?quant_conv\..+|loss\..+)"
)
# CLIP's images' side, which savers of whole CLIP models leave in, is known to be of no use here.
_TRANSFORMERS = (
    r"((?:embeddings|encoder|final_layer_norm|vision_model|visual_projection)\..+"
    r"|text_projection(?:\.weight)?|logit_scale)"
)
_OPEN_CLIP = (
    r"((?:token_embedding|transformer\.resblocks|ln_final|visual)\..+|positional_embedding"
    r"|text_projection(?:\.weight)?|logit_scale|attn_mask)"
)
_TEXT = re.compile(
    r"(?:conditioner\.embedders\.0|text_encoders\.clip_l|clip_l|text_encoder|cond_stage_model)\."
    rf"(?:transformer\.)?(?:text_model\.)?{_TRANSFORMERS}"
)
_TEXT_2 = (
    r"(?:conditioner\.embedders\.1|text_encoders\.clip_[gh]|clip_[gh]|text_encoder_2"
    r"|cond_stage_model)\.(?:model\.)?"
)
_TEXT_2_OPEN_CLIP = re.compile(_TEXT_2 + r"(?:transformer\.(?!resblocks\.))?" + _OPEN_CLIP)
_TEXT_2_TRANSFORMERS = re.compile(
    rf"{_TEXT_2}(?:transformer\.)?(?:text_model\.)?{_TRANSFORMERS}"
)
# The first that fits is taken.
_RULES = (
    (_TEXT, TEXT_PREFIX),
    (_TEXT_2_OPEN_CLIP, TEXT_2_PREFIX),
    (_TEXT_2_TRANSFORMERS, TEXT_2_TRANSFORMERS_PREFIX),
    (_UNET, UNET_PREFIX),
    (_VAE, VAE_PREFIX),
)


def standard_name(key: str) -> str:
    """The original layout's name for a stored tensor; the key itself if no rule knows it."""
    for pattern, prefix in _RULES:
        found = pattern.fullmatch(key)
        if found:
            return prefix + found[1]
    return key


def stored_by_standard_name(keys: Iterable[str], file_name: str) -> dict[str, str]:
    """Stored keys by the names they stand for. Errors: SourceError if two stand for one."""
    result: dict[str, str] = {}
    for key in keys:
        other = result.setdefault(standard_name(key), key)
        if other != key:
            raise SourceError(
                f"{file_name} holds one tensor twice, as {other} and {key}; "
                "save the checkpoint again with one of them"
            )
    return result


class StandardFile:
    """A single file whose tensors go by the original layout's names."""

    def __init__(self, file: RestoredTensors, file_name: str) -> None:
        """Errors: SourceError where two tensors stand for one."""
        self._file = file
        self.stored_keys = stored_by_standard_name(file.tensors, file_name)
        self.tensors: dict[str, StoredTensor] = {
            name: file.tensors[key] for name, key in self.stored_keys.items()
        }

    def read(self, key: str) -> torch.Tensor:
        """The values as stored. Errors: SourceError, OSError."""
        return self._file.read(self.stored_keys[key])

    @property
    def fp16_bytes(self) -> int:
        """What all tensors take in fp16."""
        return self._file.fp16_bytes

    def fp16_bytes_beside(self, prefix: str) -> int:
        """What those take whose names begin otherwise."""
        others = [each for key, each in self.tensors.items() if not key.startswith(prefix)]
        return sum(2 * math.prod(each.shape) for each in others)

    def close(self) -> None:
        self._file.close()
