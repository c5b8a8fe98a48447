"""How a model was trained, by a single file's own words and by the command line, which goes over
them: what the UNet predicts, zero terminal SNR, the size of images.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from tightfit_export.file_metadata import Said, read_metadata
from tightfit_export.source_pipeline import SourcePipeline, with_scheduler

# Empty tensors that mark the kind of training.
_V_PREDICTION_MARK, _ZERO_SNR_MARK = "v_pred", "ztsnr"
_V_IN_NAME = re.compile(r"(?<![a-z])v[-_ ]?pred", re.IGNORECASE)
# What a server draws unless it is told otherwise.
_MIN_PX, _MAX_PX = 16, 2048


def with_words_of_file(
    pipeline: SourcePipeline,
    file_name: str,
    metadata: Mapping[str, str],
    tensors: Mapping[str, Any],
    prediction_type: str | None,
    zero_terminal_snr: bool | None,
) -> SourcePipeline:
    """The pipeline with what the file says of its training.

    `prediction_type` and `zero_terminal_snr` are the command line's; what the file says against
    them becomes a note. Errors: SourceError for a training that cannot be served.
    """
    said = read_metadata(file_name, metadata, prediction_type, pipeline.family)
    said = _with_marks(said, tensors)
    notes = [said.contradiction] if said.contradiction and prediction_type is None else []
    if said.prediction_type is not None:
        words = f"{file_name} says {said.prediction_type} of itself ({said.prediction_key})"
        if prediction_type not in (None, said.prediction_type):
            notes.append(f"{words}; --prediction-type {prediction_type} goes over it")
        elif said.prediction_type != pipeline.prediction_type and prediction_type is None:
            notes.append(f"{words}: the model is taken for one")
            pipeline = with_scheduler(pipeline, prediction_type=said.prediction_type)
    elif prediction_type is None and pipeline.prediction_type == "epsilon":
        if _V_IN_NAME.search(f"{file_name} {said.title}"):
            notes.append(
                f"by its name {file_name} predicts v, but nothing in it says so, and it is taken "
                "for a model that predicts noise; --prediction-type v_prediction, mostly with "
                "--zero-terminal-snr, makes it one of v"
            )
    if said.zero_terminal_snr:
        words = f"{file_name} says zero terminal SNR of itself ({said.zero_snr_key})"
        if zero_terminal_snr is False:
            notes.append(f"{words}; --no-zero-terminal-snr goes over it")
        else:
            notes.append(f"{words}: noise reaches down to zero signal, timesteps are trailing")
            pipeline = with_zero_terminal_snr(pipeline)
    if said.size_px is not None and said.size_px != pipeline.default_size_px:
        pipeline, note = _with_size(pipeline, file_name, said.size_px)
        notes.append(note)
    title = said.title or pipeline.title
    return dataclasses.replace(pipeline, title=title, notes=(*pipeline.notes, *notes))


def with_zero_terminal_snr(pipeline: SourcePipeline) -> SourcePipeline:
    """A model trained down to pure noise has to begin there, which `leading` does not."""
    return with_scheduler(pipeline, rescale_betas_zero_snr=True, timestep_spacing="trailing")


def with_flags(
    pipeline: SourcePipeline,
    prediction_type: str | None,
    zero_terminal_snr: bool | None,
    timestep_spacing: str | None,
) -> SourcePipeline:
    """The pipeline with what the command line says of the training; None: nothing."""
    if prediction_type is not None:
        pipeline = with_scheduler(pipeline, prediction_type=prediction_type)
    if zero_terminal_snr:
        pipeline = with_zero_terminal_snr(pipeline)
    elif zero_terminal_snr is False:
        pipeline = with_scheduler(pipeline, rescale_betas_zero_snr=False)
    if timestep_spacing is None:
        return pipeline
    pipeline = with_scheduler(pipeline, timestep_spacing=timestep_spacing)
    if pipeline.scheduler.get("rescale_betas_zero_snr") and timestep_spacing != "trailing":
        note = f"with {timestep_spacing} timesteps a model of zero terminal SNR begins too late"
        pipeline = dataclasses.replace(pipeline, notes=(*pipeline.notes, note))
    return pipeline


def _with_marks(said: Said, tensors: Mapping[str, Any]) -> Said:
    """A tensor is put in on purpose; metadata is often another model's."""
    marks = {name.rpartition(".")[2] for name in tensors}
    if _V_PREDICTION_MARK in marks:
        contradiction = said.contradiction
        if said.prediction_type == "epsilon":
            contradiction = (
                f"the tensor {_V_PREDICTION_MARK} says v-prediction and {said.prediction_key} "
                "epsilon; v-prediction is taken, --prediction-type goes over it"
            )
        said = dataclasses.replace(
            said,
            prediction_type="v_prediction",
            prediction_key=f"the tensor {_V_PREDICTION_MARK}",
            contradiction=contradiction,
        )
    if _ZERO_SNR_MARK in marks:
        key = f"the tensor {_ZERO_SNR_MARK}"
        said = dataclasses.replace(said, zero_terminal_snr=True, zero_snr_key=key)
    return said


def _with_size(
    pipeline: SourcePipeline, file_name: str, size_px: tuple[int, int]
) -> tuple[SourcePipeline, str]:
    shown = f"{size_px[0]}x{size_px[1]}"
    multiple = pipeline.pixels_per_latent
    if any(not _MIN_PX <= side <= _MAX_PX or side % multiple for side in size_px):
        return pipeline, f"{file_name} says {shown} of itself, which is no size for an image"
    note = f"images are {shown} where a request says nothing, as {file_name} says of itself"
    return dataclasses.replace(pipeline, size_px=size_px), note
