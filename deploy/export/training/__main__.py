"""The command line of the training."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

_DESCRIPTION = """\
Trains emoji-xl, a small pipeline with SDXL's architecture that draws emoji, from scratch on a CPU.

Needs Debian's fonts-noto-color-emoji, unicode-data and unicode-cldr-core, and .venv from
deploy/install.sh. About two hours on two cores; a stopped run goes on where its last checkpoint was.
While it trains, DIR/sheet.png shows how far it is."""

_EXAMPLES = """\
examples:
  python -m training --out out/emoji-xl                 train; the diffusers directory is out/emoji-xl/pipeline
  python -m training --out out/emoji-xl --sheet         draw the contact sheets again
"""

_SHEET_CLASSES = 40


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="python -m training",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoints, logs, result")
    result.add_argument("--vae-steps", type=int, default=4800, metavar="N")
    result.add_argument("--denoiser-steps", type=int, default=10000, metavar="N")
    result.add_argument("--seed", type=int, default=1, metavar="N")
    result.add_argument("--threads", type=int, default=0, metavar="N", help="default: LibTorch's")
    return result


def main(arguments: argparse.Namespace) -> int:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from training.assembly import assemble, draw
    from training.captions import Captioner
    from training.contact_sheet import write_contact_sheet
    from training.denoiser_training import DenoiserTraining
    from training.emoji_classes import load_classes, unseen_prompts
    from training.training_pictures import training_pictures
    from training.vae_training import encode, train_vae

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    classes, unseen = load_classes(), unseen_prompts()
    pictures = training_pictures(classes)
    print(f"{len(classes)} classes, {len(pictures.names)} pictures", flush=True)
    # The fused attention's backward pass takes three times as long on a CPU as plain products.
    with sdpa_kernel(SDPBackend.MATH):
        vae = train_vae(
            arguments.out, pictures.pictures, pictures.chances, arguments.vae_steps, arguments.seed
        )
        captioner = Captioner(unseen, [name for entry in classes for name in entry.names])
        latents = encode(vae, pictures.pictures)
        training = DenoiserTraining(arguments.out, pictures, latents, captioner, arguments.seed)
        some = [entry.name for entry in random.Random(0).sample(classes, _SHEET_CLASSES)]

        def sheet(step: int) -> None:
            pipeline = assemble(vae, training.average, training.tokens)
            for name, prompts in (("unseen", list(unseen)), ("classes", some)):
                path = arguments.out / f"{name}.png"
                write_contact_sheet(path, draw(pipeline, prompts, step_count=10), prompts)
                print(f"step {step}: {path}", flush=True)

        denoiser = training.run(arguments.denoiser_steps, sheet)
        pipeline = assemble(vae, denoiser, training.tokens)
    pipeline.save_pretrained(str(arguments.out / "pipeline"))
    print(f"{arguments.out / 'pipeline'} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main(parser().parse_args()))
