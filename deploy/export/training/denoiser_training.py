"""Trains the UNet and both text encoders together, on latents of the finished VAE."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from training.captions import Captioner
from training.networks import KnownTokens, new_scheduler, new_text_encoders, new_unet
from training.prompts import PromptTokens, condition
from training.run_state import Checkpoint, TrainingLog, learning_rate
from training.training_images import TrainingImages

BATCH = 32
_PEAK_LEARNING_RATE = 8e-4
_EMA_DECAY = 0.999
_MIN_SNR = 5.0
_DROPPED_PROMPTS = 0.10  # become zeros: SDXL's empty negative prompt
_EMPTY_PROMPTS = 0.01
_RANDOM_TIME_IDS = 0.25
_CHECKPOINT_STEPS = 500
_SIZE_PX = 64


@dataclass(frozen=True)
class Denoiser:
    """The networks that turn a prompt and noise into latents."""

    unet: UNet2DConditionModel
    text_encoders: list[nn.Module]

    def parameters(self) -> list[nn.Parameter]:
        return [p for module in (self.unet, *self.text_encoders) for p in module.parameters()]

    def state_dict(self) -> list[dict[str, torch.Tensor]]:
        return [module.state_dict() for module in (self.unet, *self.text_encoders)]

    def load_state_dict(self, state: list[dict[str, torch.Tensor]]) -> None:
        for module, values in zip((self.unet, *self.text_encoders), state, strict=True):
            module.load_state_dict(values)


def new_denoiser(known_tokens: list[int]) -> Denoiser:
    encoders = list(new_text_encoders())
    for encoder in encoders:
        width = encoder.config.hidden_size
        encoder.set_input_embeddings(KnownTokens(known_tokens, width))
    return Denoiser(new_unet().to(memory_format=torch.channels_last), encoders)


class DenoiserTraining:
    """One run, deterministic but for the order of sums in parallel loops.

    `means` and `deviations` are the latents of `images`, fp32 [n, 4, 16, 16].
    """

    def __init__(
        self,
        folder: Path,
        images: TrainingImages,
        latents: tuple[torch.Tensor, torch.Tensor],
        captioner: Captioner,
        seed: int,
    ) -> None:
        torch.manual_seed(seed)
        self._folder = folder
        self._images = images
        self._means, self._deviations = latents
        self._captioner = captioner
        self._seed = seed
        self._chances = torch.from_numpy(images.chances)
        self.tokens = PromptTokens()
        known = self.tokens.known(images)
        self._known = set(known)
        self._live = new_denoiser(known)
        self.average = copy.deepcopy(self._live)
        self._optimizer = torch.optim.AdamW(
            self._live.parameters(), lr=0.0, betas=(0.9, 0.99), weight_decay=0.02, fused=True
        )
        alphas = new_scheduler().alphas_cumprod.float()
        self._signal, self._noise = alphas.sqrt(), (1.0 - alphas).sqrt()
        self._loss_weight = (alphas / (1.0 - alphas)).clamp(max=_MIN_SNR) * (1.0 - alphas) / alphas
        self._checkpoint = Checkpoint(folder / "denoiser.checkpoint")
        self.step = self._resume()

    def run(self, step_count: int, on_checkpoint: Callable[[int], None]) -> Denoiser:
        """Trains up to `step_count`; the result is the moving average of the weights."""
        log = TrainingLog("denoiser", self._folder, step_count)
        while self.step < step_count:
            rate = learning_rate(_PEAK_LEARNING_RATE, self.step, step_count, 100, 0.5)
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            loss = self._loss(self.step)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._live.parameters(), 1.0)
            self._optimizer.step()
            self._update_average()
            self.step += 1
            log.step(self.step, BATCH, {"loss": loss.item(), "rate": rate})
            if self.step % _CHECKPOINT_STEPS == 0 or self.step == step_count:
                self._save()
                on_checkpoint(self.step)
        return self.average

    def _loss(self, step: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        index = torch.multinomial(self._chances, BATCH, generator=generator)
        means, deviations = self._means[index], self._deviations[index]
        latents = means + deviations * torch.randn(means.shape, generator=generator)
        # One timestep from each of BATCH equal parts: the loss varies less from step to step.
        parts = torch.randperm(BATCH, generator=generator) + torch.rand(BATCH, generator=generator)
        timesteps = (parts * (1000.0 / BATCH)).long().clamp(max=999)
        noise = torch.randn(latents.shape, generator=generator)
        signal = self._signal[timesteps][:, None, None, None]
        noisy = signal * latents + self._noise[timesteps][:, None, None, None] * noise
        keep = (torch.rand(BATCH, generator=generator) >= _DROPPED_PROMPTS).float()
        with torch.autocast("cpu", torch.bfloat16):
            embeddings, pooled = condition(self._live.text_encoders, self._draw_tokens(step, index))
            predicted = self._live.unet(
                noisy.contiguous(memory_format=torch.channels_last),
                timesteps,
                embeddings * keep[:, None, None],
                added_cond_kwargs={
                    "text_embeds": pooled * keep[:, None],
                    "time_ids": _draw_time_ids(generator),
                },
            ).sample.float()
        errors = (predicted - noise).square().mean(dim=(1, 2, 3))
        return (errors * self._loss_weight[timesteps]).mean()

    def _draw_tokens(self, step: int, index: torch.Tensor) -> list[torch.Tensor]:
        rng = random.Random(f"{self._seed}/{step}")
        captions, unknown = [], []
        for image in index.tolist():
            names, keywords = self._images.names[image], self._images.keywords[image]
            caption, count = self._captioner.draw(rng, names, keywords)
            captions.append("" if rng.random() < _EMPTY_PROMPTS else caption)
            unknown.append(
                [(rng.random(), self.tokens.draw_unknown(rng, self._known)) for _ in range(count)]
            )
        return self.tokens.encode(captions, unknown)

    @torch.no_grad()
    def _update_average(self) -> None:
        # The average of few steps should not remember the first one.
        decay = min(_EMA_DECAY, (1.0 + self.step) / (10.0 + self.step))
        torch._foreach_lerp_(self.average.parameters(), self._live.parameters(), 1.0 - decay)

    def _save(self) -> None:
        self._checkpoint.save(
            {
                "live": self._live.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "step": self.step,
            }
        )

    def _resume(self) -> int:
        state = self._checkpoint.load()
        if state is None:
            return 0
        self._live.load_state_dict(state["live"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])


def _draw_time_ids(generator: torch.Generator) -> torch.Tensor:
    """Original size, crop, target size; mostly the model's own, so that those work best."""
    time_ids = torch.tensor([_SIZE_PX, _SIZE_PX, 0, 0, _SIZE_PX, _SIZE_PX]).repeat(BATCH, 1)
    other = torch.randint(0, 1025, (BATCH, 6), generator=generator)
    chosen = torch.rand(BATCH, generator=generator) < _RANDOM_TIME_IDS
    return torch.where(chosen[:, None], other, time_ids).float()
