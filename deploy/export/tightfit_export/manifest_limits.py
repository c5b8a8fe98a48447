"""What the server takes of model.json's names and sizes, so that an export is refused before it
takes minutes. The scheduler's settings have a table of their own (`scheduler_settings`).
"""

from __future__ import annotations

from tightfit_export.errors import SourceError
from tightfit_export.manifest import sample_size_px
from tightfit_export.source_pipeline import SourcePipeline

MAX_NAME_BYTES = 255
MAX_LICENSE_BYTES = 4096
MAX_SIDE_PX = 16384


def check_limits(pipeline: SourcePipeline, license_text: str) -> None:
    """Errors: SourceError with the first thing that no server would load."""
    if not 0 < len(pipeline.name.encode()) <= MAX_NAME_BYTES:
        raise SourceError(f"the model's name is longer than {MAX_NAME_BYTES} bytes; give a --name")
    if len(license_text.encode()) > MAX_LICENSE_BYTES:
        raise SourceError(
            f"the licence is longer than {MAX_LICENSE_BYTES} bytes; give its name or address "
            "with --license"
        )
    for side in pipeline.default_size_px:
        if not 0 < side <= MAX_SIDE_PX:
            raise SourceError(f"images of {side} px cannot be drawn: the UNet's sample_size")
    tile = sample_size_px(pipeline.configs["vae"])
    multiple = pipeline.pixels_per_latent
    if not 0 < tile <= MAX_SIDE_PX or tile % multiple:
        raise SourceError(
            f"the VAE's sample_size is {tile} px; it must be a multiple of {multiple}, at most "
            f"{MAX_SIDE_PX}"
        )
