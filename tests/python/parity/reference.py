"""diffusers on the CPU in fp32, from the fp16 weight files: the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    DiffusionPipeline,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UniPCMultistepScheduler,
)

from .jobs import Job, Weights
from .packing import pack_unet
from .probe import Images
from .weighted_prompts import embeddings

KARRAS = {"use_karras_sigmas": True}
SCHEDULERS = {
    "euler": (EulerDiscreteScheduler, {}),
    "euler-karras": (EulerDiscreteScheduler, KARRAS),
    "euler-exponential": (EulerDiscreteScheduler, {"use_exponential_sigmas": True}),
    "euler-a": (EulerAncestralDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "ddim": (DDIMScheduler, {"clip_sample": False}),
    "dpmpp-2m": (DPMSolverMultistepScheduler, {}),
    "dpmpp-2m-karras": (DPMSolverMultistepScheduler, KARRAS),
    "dpmpp-2m-sde-karras": (
        DPMSolverMultistepScheduler,
        KARRAS | {"algorithm_type": "sde-dpmsolver++"},
    ),
    "unipc": (UniPCMultistepScheduler, {}),
    "lcm": (LCMScheduler, {}),
    "kdpm2": (KDPM2DiscreteScheduler, {}),
    "kdpm2-karras": (KDPM2DiscreteScheduler, KARRAS),
    "kdpm2-a": (KDPM2AncestralDiscreteScheduler, {}),
    "kdpm2-a-karras": (KDPM2AncestralDiscreteScheduler, KARRAS),
    "deis": (DEISMultistepScheduler, {}),
    "deis-karras": (DEISMultistepScheduler, KARRAS),
    "pndm": (PNDMScheduler, {"skip_prk_steps": True}),
    "ddpm": (DDPMScheduler, {"clip_sample": False}),
}


class Reference:
    """One pipeline; draws each job once."""

    def __init__(self, pipeline_dir: Path) -> None:
        # The files hold fp16; what they hold is upcast, so both sides compute from the same values.
        self._pipeline = DiffusionPipeline.from_pretrained(
            pipeline_dir, dtype=torch.float32, use_safetensors=True
        )
        self._is_xl = isinstance(self._pipeline, StableDiffusionXLPipeline)
        assert self._is_xl or isinstance(self._pipeline, StableDiffusionPipeline)
        self._pipeline.set_progress_bar_config(disable=True)
        self._scheduler_config = dict(self._pipeline.scheduler.config)
        self.unet = self._pipeline.unet
        self._original = {k: v.clone() for k, v in self.unet.state_dict().items()}
        self.draw = cache(self._draw)
        self._current = Weights()
        self.packed_shapes: dict[Weights, dict[str, torch.Size]] = {}

    def all_parameters(self) -> Iterator[torch.nn.Parameter]:
        for component in self._pipeline.components.values():
            if isinstance(component, torch.nn.Module):
                yield from component.parameters()

    def use(self, weights: Weights) -> dict[str, torch.Size]:
        """Sets the UNet's weights; the shapes of the packed ones by layer."""
        if weights != self._current:
            self.unet.load_state_dict(self._original)
            if weights.format != "fp16":
                self.packed_shapes[weights] = pack_unet(self.unet, weights)
            self._current = weights
        return self.packed_shapes.get(weights, {})

    def _draw(self, weights: Weights, job: Job) -> Images:
        if job.init_image is not None and job.image_count > 1:
            # In a batch all images of an inpainting begin with one sample; alone each has its own.
            drawn = [
                self.draw(weights, job.but(image_count=1, seed=job.seed + i))
                for i in range(job.image_count)
            ]
            return Images(
                np.concatenate([images.latents for images in drawn]),
                np.concatenate([images.pixels for images in drawn]),
            )
        self.use(weights)
        pipeline = self._pipeline
        kind, settings = SCHEDULERS[job.sampler]
        if job.timestep_spacing is not None:
            settings = settings | {"timestep_spacing": job.timestep_spacing}
        pipeline.scheduler = kind.from_config(self._scheduler_config | settings)
        last: dict[str, torch.Tensor] = {}

        def keep_latents(_pipeline, _step, _timestep, tensors):
            last["latents"] = tensors["latents"].clone()
            return {}

        images = self._part_of_denoising(job)(
            **self._prompts(job),
            width=job.width_px,
            height=job.height_px,
            num_inference_steps=job.step_count,
            guidance_scale=job.guidance_scale,
            guidance_rescale=job.guidance_rescale,
            num_images_per_prompt=job.image_count,
            generator=[
                torch.Generator().manual_seed(job.seed + i) for i in range(job.image_count)
            ],
            **self._sizes(job),
            callback_on_step_end=keep_latents,
            output_type="pil",
        ).images
        return Images(last["latents"].numpy(), np.stack([np.asarray(i) for i in images]))

    def _sizes(self, job: Job) -> dict[str, Any]:
        if not self._is_xl:
            return {}
        return {
            "original_size": job.original_size,
            "target_size": job.target_size,
            "crops_coords_top_left": job.crop_top_left or (0, 0),
        }

    def draw_over_latents(self, job: Job, latents: torch.Tensor, skipped_draws: int) -> Images:
        """The job with these latents in place of the image, its noise being the draw after so many
        others."""
        generator = torch.Generator().manual_seed(job.seed)
        for _ in range(skipped_draws):
            torch.randn(latents.shape, generator=generator)
        self.use(Weights())
        kind, settings = SCHEDULERS[job.sampler]
        self._pipeline.scheduler = kind.from_config(self._scheduler_config | settings)
        pipeline = StableDiffusionXLImg2ImgPipeline(**self._pipeline.components)
        pipeline.set_progress_bar_config(disable=True)
        arguments = {
            "image": latents,
            "strength": job.strength,
            "num_inference_steps": job.step_count,
            "guidance_scale": job.guidance_scale,
            **self._prompts(job),
        }
        state = generator.get_state()
        drawn = pipeline(**arguments, generator=generator, output_type="latent").images
        generator.set_state(state)
        pixels = pipeline(**arguments, generator=generator, output_type="pil").images
        return Images(drawn.numpy(), np.stack([np.asarray(image) for image in pixels]))

    def _prompts(self, job: Job) -> dict[str, Any]:
        if job.prompt_syntax == "weighted":
            negative = job.negative_prompt
            return embeddings(
                self._pipeline,
                (job.prompt, job.prompt_2 or job.prompt),
                None if negative is None else (negative, job.negative_prompt_2 or negative),
                job.clip_skip,
                job.comma_backtrack_tokens,
            )
        if not self._is_xl:
            return self._prompts_of_one_encoder(job)
        return {
            "prompt": job.prompt,
            "prompt_2": job.prompt_2,
            "negative_prompt": job.negative_prompt,
            "negative_prompt_2": job.negative_prompt_2,
            "clip_skip": job.clip_skip or None,
        }

    def _prompts_of_one_encoder(self, job: Job) -> dict[str, Any]:
        """With clip_skip by its formula: diffusers 0.42.1 asks transformers 5 for a level of the
        encoder that is no longer there."""
        if job.clip_skip == 0:
            return {"prompt": job.prompt, "negative_prompt": job.negative_prompt}
        tokenizer, encoder = self._pipeline.tokenizer, self._pipeline.text_encoder

        def embedding(text: str, skipped: int) -> torch.Tensor:
            ids = tokenizer(
                text, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
            ).input_ids
            with torch.no_grad():
                states = encoder(ids, output_hidden_states=True).hidden_states
                return encoder.final_layer_norm(states[-1 - skipped])

        return {
            "prompt_embeds": embedding(job.prompt, job.clip_skip),
            "negative_prompt_embeds": embedding(job.negative_prompt or "", 0),
        }

    def _part_of_denoising(self, job: Job) -> Callable[..., Any]:
        """The pipeline that draws what of the denoising the job asks for."""
        end = None if job.denoising_end == 1.0 else job.denoising_end
        if job.init_image is not None:
            return self._over_image(job, end)
        if job.initial_latents is None:
            return partial(self._pipeline, denoising_end=end) if self._is_xl else self._pipeline
        shape = (job.image_count, 4, -1, job.width_px // self._pipeline.vae_scale_factor)
        values = np.fromfile(job.initial_latents, dtype="<f4").reshape(shape)
        second = StableDiffusionXLImg2ImgPipeline(**self._pipeline.components)
        second.set_progress_bar_config(disable=True)

        def call(width: int, height: int, **arguments: Any) -> Any:
            return second(
                image=torch.from_numpy(values),
                denoising_start=job.denoising_start,
                denoising_end=end,
                **arguments,
            )

        return call

    def _over_image(self, job: Job, end: float | None) -> Callable[..., Any]:
        """The pipeline that draws over the job's image."""
        if self._is_xl:
            kinds = StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline
        else:
            kinds = StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline
        more = {} if self._is_xl else {"requires_safety_checker": False}
        pipeline = kinds[job.mask is not None](**self._pipeline.components, **more)
        pipeline.set_progress_bar_config(disable=True)
        shape = (job.height_px, job.width_px)
        image = Image.fromarray(np.fromfile(job.init_image, np.uint8).reshape(*shape, 3))

        def call(width: int, height: int, **arguments: Any) -> Any:
            if job.mask is not None:
                mask = Image.fromarray(np.fromfile(job.mask, np.uint8).reshape(shape))
                arguments |= {"mask_image": mask, "width": width, "height": height}
            if self._is_xl:
                arguments |= {"denoising_end": end}
            else:
                # They take no guidance_rescale.
                del arguments["guidance_rescale"]
            return pipeline(image=image, strength=job.strength, **arguments)

        return call
