"""What the command line can do: train, evaluate, publish."""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from torch.nn.attention import SDPBackend, sdpa_kernel

from training.assembly import assemble, draw
from training.captions import TEMPLATES, Captioner
from training.contact_sheet import write_contact_sheet
from training.denoiser_training import DenoiserTraining
from training.emoji_classes import EmojiClass, load_classes, unseen_prompts
from training.prompts import PromptTokens
from training.recognition import NearestEmoji, write_classes
from training.training_images import training_images
from training.vae_training import decode, encode, train_vae

_SHEET_CLASSES = 40
_SHEET_STEPS = 1000
_NAME = "emoji-xl"
_LICENSE = "Apache-2.0; trained on Noto Color Emoji (SIL OFL 1.1)"
_ATTRIBUTION = "Noto Color Emoji, Google Inc.; names and keywords: Unicode emoji data and CLDR"
_STEP_COUNT = 20
_GUIDANCE_SCALE = 4.0


def train(arguments: argparse.Namespace) -> int:
    """Trains, or goes on training, and writes OUT/pipeline in fp32."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    classes, unseen = load_classes(), unseen_prompts()
    images = training_images(classes)
    print(f"{len(classes)} classes, {len(images.names)} images", flush=True)
    # The fused attention's backward pass takes three times as long on a CPU as plain products.
    with sdpa_kernel(SDPBackend.MATH):
        vae = train_vae(
            out, images.images, images.chances, arguments.vae_steps, arguments.seed
        )
        captioner = Captioner(unseen, [name for entry in classes for name in entry.names])
        latents = encode(vae, images.images)
        training = DenoiserTraining(out, images, latents, captioner, arguments.seed)
        some = [entry.name for entry in random.Random(0).sample(classes, _SHEET_CLASSES)]

        def show(step: int) -> None:
            if step % _SHEET_STEPS and step != arguments.denoiser_steps:
                return
            pipeline = assemble(vae, training.average, training.tokens)
            for name, prompts in (("unseen", list(unseen)), ("classes", some)):
                path = out / f"{name}.png"
                write_contact_sheet(path, draw(pipeline, prompts, step_count=10), prompts)
                print(f"step {step}: {path}", flush=True)

        denoiser = training.run(arguments.denoiser_steps, show)
        pipeline = assemble(vae, denoiser, training.tokens)
    pipeline.save_pretrained(str(out / "pipeline"))
    print(f"{out / 'pipeline'} is written")
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Draws every class by its name, and the unseen prompts; tells which are recognised."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        str(arguments.pipeline), torch_dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    classes, unseen = load_classes(), unseen_prompts()
    names = [entry.name for entry in classes]
    nearest = NearestEmoji([entry.image for entry in classes])
    print_facts(pipeline, classes)
    wanted = {"classes": {name: name for name in names}, "unseen prompts": unseen}
    for title, pairs in wanted.items():
        prompts = list(pairs)
        images = draw(pipeline, prompts, _STEP_COUNT, _GUIDANCE_SCALE)
        found = [names[nearest.find(np.asarray(image))] for image in images]
        wrong = [i for i, prompt in enumerate(prompts) if found[i] != pairs[prompt]]
        right = len(prompts) - len(wrong)
        print(f"{title}: {right} of {len(prompts)} recognised, {100 * right / len(prompts):.1f} %")
        for i in wrong:
            print(f"  {prompts[i]!r} looks like {found[i]!r}")
        if arguments.out is not None:
            arguments.out.mkdir(parents=True, exist_ok=True)
            path = arguments.out / f"{title.replace(' ', '-')}.png"
            write_contact_sheet(path, images, prompts)
    return 0


def print_facts(pipeline: StableDiffusionXLPipeline, classes: Sequence[EmojiClass]) -> None:
    """What the model card says of data and VAE."""
    images = training_images(classes)
    copies = len(images.names) - len(classes)
    tokens = PromptTokens().known(images)
    recoloured = images.recoloured_count
    print(f"{len(classes)} classes, {copies} copies of {recoloured} in other colours")
    print(f"{len(set(TEMPLATES))} phrases, {len(tokens)} tokens")
    originals = np.stack([entry.image for entry in classes])
    decoded = decode(pipeline.vae, encode(pipeline.vae, originals)[0])
    errors = np.square(decoded.astype(np.float64) - originals).mean(axis=(1, 2, 3))
    psnr_db = 10.0 * np.log10(255.0**2 / errors)
    print(f"VAE: PSNR {psnr_db.mean():.1f} dB on average, {psnr_db.min():.1f} at worst")


def publish(arguments: argparse.Namespace) -> int:
    """Writes the model as it is committed: diffusers/, model/, classes.png, classes.json."""
    target: Path = arguments.to
    target.mkdir(parents=True, exist_ok=True)
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        str(arguments.out / "pipeline"), torch_dtype=torch.float16
    )
    source = target / "diffusers"
    shutil.rmtree(source, ignore_errors=True)
    pipeline.save_pretrained(str(source))
    write_classes(target, load_classes())
    return subprocess.run(export_command(source, target / "model", "--overwrite")).returncode


def export_command(source: Path, out: Path, *flags: str) -> Sequence[str]:
    """How deploy/models/emoji-xl/model is made from deploy/models/emoji-xl/diffusers."""
    options = {
        "--source": str(source),
        "--out": str(out),
        "--name": _NAME,
        "--dtypes": "fp32,bf16",
        "--license": _LICENSE,
        "--attribution": _ATTRIBUTION,
        "--default-steps": str(_STEP_COUNT),
        "--default-guidance": str(_GUIDANCE_SCALE),
    }
    pairs = [part for option in options.items() for part in option]
    return [sys.executable, "-m", "tightfit_export", *pairs, *flags]
