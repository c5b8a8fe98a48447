"""Exports SDXL pipelines as tightfit model directories."""

import os

# Whether the person forbids downloads.
OFFLINE = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")

# The libraries fetch nothing by themselves: what a source lacks is an error. hub.py alone
# downloads, what the person names.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")

__version__ = "0.1.0"

COMPONENTS = ("unet", "text_encoder", "text_encoder_2", "vae")
# Of models that take image inputs: the other half of the VAE, with weights of its own.
VAE_ENCODER = "vae_encoder"
TOKENIZERS = ("tokenizer", "tokenizer_2")
DTYPES = ("fp32", "bf16", "fp16")
MAX_TOKENS = 77


def max_clip_skip(layer_count: int) -> int:
    """How many layers before the last but one the graph of a text encoder can leave out.

    At most 11: where the sliders of other programs end.
    """
    return min(layer_count - 1, 11)
