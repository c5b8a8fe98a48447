"""Steps, guidance, spacing and sampler of requests that name none."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from tightfit_export.errors import SourceError
from tightfit_export.few_step import KINDS, FewStepKind, kind_of, steps_in
from tightfit_export.manifest import SamplingDefaults
from tightfit_export.samplers import MAX_STEPS, can_draw
from tightfit_export.source_pipeline import SourcePipeline, with_scheduler

_BASE = SamplingDefaults()
# Hyper-SD's models that were distilled to keep guidance say so in their names.
_KEEPS_GUIDANCE = re.compile(r"cfg", re.IGNORECASE)
_GUIDANCE_KEPT = 5.0


@dataclass(frozen=True)
class AskedDefaults:
    """What the command line says; None: nothing."""

    step_count: int | None = None
    guidance_scale: float | None = None
    timestep_spacing: str | None = None
    defaults_from: str | None = None  # a key of few_step.KINDS


def with_defaults(
    pipeline: SourcePipeline, asked: AskedDefaults
) -> tuple[SourcePipeline, SamplingDefaults]:
    """The pipeline with its spacing and with notes, and the defaults of its requests.

    Errors: SourceError for more steps than the default sampler takes.
    """
    names = pipeline.names
    if asked.defaults_from is None:
        notes = _warnings(pipeline, asked, names)
        chosen = SamplingDefaults(
            _BASE.step_count if asked.step_count is None else asked.step_count,
            asked.guidance_scale,
        )
    else:
        kind = KINDS[asked.defaults_from]
        chosen = _of_kind(kind, asked, names)
        if asked.timestep_spacing is None:
            pipeline = with_scheduler(pipeline, timestep_spacing=kind.timestep_spacing)
        if not can_draw(kind.sampler, pipeline.scheduler):
            raise SourceError(
                f"{kind.sampler}, the sampler of {kind.shown} models, cannot begin at zero signal "
                "with a model that predicts noise; leave --zero-terminal-snr out"
            )
        notes = (_what_was_set(kind, chosen, pipeline, asked, names),)
    chosen = _within_limits(pipeline, chosen, asked)
    return dataclasses.replace(pipeline, notes=(*pipeline.notes, *notes)), chosen


def _of_kind(kind: FewStepKind, asked: AskedDefaults, names: str) -> SamplingDefaults:
    step_count, guidance_scale = asked.step_count, asked.guidance_scale
    if step_count is None:
        step_count = steps_in(names) or kind.step_count
    if guidance_scale is None:
        keeps = asked.defaults_from == "hyper" and _KEEPS_GUIDANCE.search(names)
        guidance_scale = _GUIDANCE_KEPT if keeps else kind.guidance_scale
    return SamplingDefaults(step_count, guidance_scale, kind.sampler)


def _what_was_set(
    kind: FewStepKind,
    chosen: SamplingDefaults,
    pipeline: SourcePipeline,
    asked: AskedDefaults,
    names: str,
) -> str:
    told = asked.step_count is None and steps_in(names) is not None
    return (
        f"defaults of {kind.shown} models: {chosen.step_count} steps"
        f"{' as the name tells' if told else ''}, guidance {chosen.guidance_scale:g}, "
        f"{pipeline.scheduler['timestep_spacing']} timesteps, {kind.sampler}"
    )


def _warnings(pipeline: SourcePipeline, asked: AskedDefaults, names: str) -> tuple[str, ...]:
    """A note if a name says that the defaults are those of another kind of model."""
    found = kind_of(names)
    steps = steps_in(names)
    if found is None and steps is None:
        return ()
    left_out = [
        f"{_BASE.step_count} steps" if asked.step_count is None else "",
        f"guidance {pipeline.family.guidance_scale:g}" if asked.guidance_scale is None else "",
    ]
    spacing = pipeline.scheduler["timestep_spacing"]
    if asked.timestep_spacing is None and spacing != "trailing":
        left_out.append(f"{spacing} timesteps")
    left_out = [each for each in left_out if each]
    if not left_out:
        return ()
    shown, key = found or (f"for {steps} steps", "|".join(KINDS))
    return (
        f"by its name this is a model of the kind {shown}, but its defaults are those of "
        f"{pipeline.family.shown}: {', '.join(left_out)}; --defaults-from {key} sets those of its "
        "kind",
    )


def _within_limits(
    pipeline: SourcePipeline, chosen: SamplingDefaults, asked: AskedDefaults
) -> SamplingDefaults:
    sampler = chosen.sampler or pipeline.default_sampler
    most = min(
        MAX_STEPS.get(sampler, pipeline.train_timestep_count), pipeline.train_timestep_count
    )
    if chosen.step_count <= most:
        return chosen
    if asked.step_count is not None:
        raise SourceError(
            f"--default-steps {asked.step_count}: {sampler} takes at most {most} of this model"
        )
    return dataclasses.replace(chosen, step_count=most)
