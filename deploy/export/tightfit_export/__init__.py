"""Exports diffusers SDXL pipelines as tightfit model directories."""

import os

# Nothing is ever fetched: what the source directory lacks is an error.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")

__version__ = "0.1.0"

COMPONENTS = ("unet", "text_encoder", "text_encoder_2", "vae")
TOKENIZERS = ("tokenizer", "tokenizer_2")
DTYPES = ("fp32", "bf16", "fp16")
MAX_TOKENS = 77
