"""The flags of the command line, and what --help teaches."""

from __future__ import annotations

import argparse
from pathlib import Path

from tightfit_export import DTYPES, OFFLINE, __version__
from tightfit_export.few_step import KINDS
from tightfit_export.manifest import SamplingDefaults
from tightfit_export.scheduler_settings import PREDICTION_TYPES, TIMESTEP_SPACINGS

_EXAMPLES = """\
examples:
  A checkpoint of one file, as model sites and web UIs have them, for a server on a GPU:
    tightfit-export --source my-model.safetensors --out models/my-model --dtypes fp16

  The same with another VAE, one that does not overflow in fp16:
    tightfit-export --source my-model.safetensors --vae sdxl-vae-fp16-fix.safetensors \\
        --vae-fp16-safe --out models/my-model --dtypes fp16

  A UNet as GGUF or of its own, with all else from a model that is at hand:
    tightfit-export --source sdxl-base.safetensors --unet my-unet-Q5_K_M.gguf --out models/mine \
        --dtypes fp16

  A diffusers directory, for GPU (fp16) and CPU (bf16, fp32):
    tightfit-export --source ./sdxl-base --out ./models/sdxl-base --dtypes fp16,bf16,fp32

  A repository of the hub (about 7 GB in fp16, into the hub's own cache):
    tightfit-export --source stabilityai/stable-diffusion-xl-base-1.0 --out models/sdxl \\
        --dtypes bf16

  A model of few steps (Turbo, Lightning, Hyper-SD, LCM, DMD2), with its trainers' defaults:
    tightfit-export --source my-model-lightning-8step.safetensors --out models/fast \\
        --dtypes fp16 --defaults-from lightning

  Random weights, to try the server without a download: a small pipeline, or one of full size:
    tightfit-export --random tiny --out ./models/tiny --save-source ./tiny-diffusers
    tightfit-export --random sdxl-base --out ./models/random --dtypes bf16

sources: safetensors only. Pickle (.ckpt, .pt, .pth, .bin) is a program that runs when it is opened
and is never read. A single file has Stability's original layout, or what ComfyUI, Forge and
converters make of it; its SHA-256 becomes the model's hash, whose first 10 digits web UIs and model
sites show. What a file says of its training (the keys v_pred and ztsnr, ModelSpec, kohya's and
OneTrainer's metadata) is taken; --prediction-type and --zero-terminal-snr go over it. Refused, with
the reason: InstructPix2Pix, the refiner, LoRA, flow matching, EDM, SD 3, Flux.

Weights that other programs made smaller are read, tensor by tensor, and written as what they stand
for: fp8 with and without scales, ComfyUI's int8 and fp8 (comfy_quant, ConvRot), GGUF UNets
(--unet), and diffusers directories of bitsandbytes, torchao (int8), quanto and SDNQ. What is lost
stays lost; the summary names a format that packs them without a second loss, where there is one.
NVFP4, MXFP8, SVDQuant, HQQ, GPTQ and AWQ are refused by name.

Weights are written once, in fp16; --dtypes says in which types the server may compute. The
vae_decoder always gets an fp32 graph, the vae_encoder, by which images become latents, no other.
Every graph is loaded again and compared with the network in
Python before the directory appears at --out. An interrupted export of a large model keeps its
finished weight files in a hidden directory beside --out, and the same command goes on from there.
At full size memory peaks at about 6 GB for bf16 or fp16 graphs and twice that for fp32. On a busy
machine, OMP_NUM_THREADS=1 makes small models much faster.

exit codes: 0 done; 1 what was written failed its verification; 2 wrong usage, source or
destination; 130 interrupted. Unless 0, --out is as it was before."""


def parser() -> argparse.ArgumentParser:
    """All flags."""
    result = argparse.ArgumentParser(
        prog="tightfit-export",
        description="Turns a checkpoint of SDXL, Stable Diffusion 1.x or 2.x into a model "
        "directory that tightfit serves.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_source(result.add_argument_group("what to export"))
    _add_unet(result.add_argument_group("another UNet"))
    _add_vae(result.add_argument_group("another VAE"))
    output = result.add_argument_group("what to write")
    _add_output(output)
    _add_image_inputs(output)
    _add_random(result.add_argument_group("random weights"))
    result.add_argument("--quiet", action="store_true", help="no progress and no table")
    result.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    result.add_argument("--version", action="version", version=f"tightfit_export {__version__}")
    return result


def _add_source(result: argparse._ArgumentGroup) -> None:
    origin = result.add_mutually_exclusive_group(required=True)
    origin.add_argument(
        "--source",
        metavar="SOURCE",
        help="a .safetensors checkpoint, a diffusers directory, or OWNER/NAME of the hub",
    )
    origin.add_argument(
        "--random",
        choices=("tiny", "tiny-sd1", "tiny-sd2", "sdxl-half", "sdxl-base", "sd1-base", "sd2-base"),
        help="a pipeline of random weights instead of a source: a few MB of SDXL's, SD 1.x's or "
        "SD 2.x's kind; SDXL base at half its width (2.4 GB); or the shapes of SDXL base (6.9 GB), "
        "SD 1.5 (2.1 GB) or SD 2.1 (2.6 GB)",
    )
    result.add_argument(
        "--config",
        type=Path,
        metavar="DIR",
        help="with a single file: a diffusers directory whose configurations and tokenizers go "
        "with its weights (default: those of SDXL base, SD 1.5 or SD 2.1)",
    )
    result.add_argument(
        "--prediction-type",
        choices=PREDICTION_TYPES,
        help="what the UNet predicts (default: what the source says)",
    )
    result.add_argument(
        "--zero-terminal-snr",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="the model was trained down to pure noise: rescale_betas_zero_snr, trailing timesteps "
        "(default: what the source says)",
    )
    result.add_argument(
        "--timestep-spacing",
        choices=TIMESTEP_SPACINGS,
        help="where the steps lie among the training's; few-step models need trailing (default: "
        "what the source says; leading for a single file)",
    )
    result.add_argument(
        "--variant",
        help="which weights of a diffusers source to take, such as fp16 (default: the plain ones "
        "of a directory, fp16 of the hub, where there are any)",
    )
    result.add_argument(
        "--perturb-unet",
        type=int,
        metavar="SEED",
        help="add a little noise to the UNet's weights: a stand-in for a fine-tune, to try models "
        "that share all other components",
    )
    result.add_argument("--revision", metavar="REV", help="of the hub: a branch, tag or commit")
    result.add_argument(
        "--offline",
        action="store_true",
        default=OFFLINE,
        help="of the hub: only what its cache holds (also with HF_HUB_OFFLINE=1)",
    )


def _add_unet(result: argparse._ArgumentGroup) -> None:
    result.add_argument(
        "--unet",
        type=Path,
        metavar="PATH",
        help="a UNet in place of the source's: a .gguf file, a .safetensors file of the original "
        "or diffusers' layout, or a diffusers UNet directory",
    )


def _add_vae(result: argparse._ArgumentGroup) -> None:
    result.add_argument(
        "--vae",
        type=Path,
        metavar="PATH",
        help="a VAE in place of the source's: a diffusers VAE directory, or a .safetensors file",
    )
    result.add_argument(
        "--vae-fp16-safe",
        action="store_true",
        help="the VAE does not overflow in fp16, as sdxl-vae-fp16-fix (default: what its "
        "configuration says; a file is taken to overflow)",
    )


def _add_image_inputs(result: argparse._ArgumentGroup) -> None:
    result.add_argument(
        "--image-inputs",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="the VAE's encoder too, without which a model draws over no images (default: with it, "
        "70 MB of SDXL)",
    )


def _add_output(result: argparse._ArgumentGroup) -> None:
    result.add_argument("--out", type=Path, metavar="DIR", help="the model directory to write")
    result.add_argument(
        "--dtypes",
        default=",".join(DTYPES),
        metavar="LIST",
        help="graphs to write: fp32, bf16, fp16, separated by commas (default: all three)",
    )
    result.add_argument("--name", default="", help="the model's name (default: that of --out)")
    result.add_argument("--license", help="licence text (default: what the model card names)")
    result.add_argument("--attribution", default="", help="whom to credit")
    result.add_argument(
        "--defaults-from",
        choices=tuple(KINDS),
        help="steps, guidance, timestep spacing and sampler as the trainers of such models ask "
        "for; steps as the name tells, if it does (4step, 8steps); other flags go over it",
    )
    result.add_argument(
        "--default-steps",
        type=_whole_number,
        metavar="N",
        help="denoising steps of a request that names none "
        f"(default: {SamplingDefaults.step_count})",
    )
    result.add_argument(
        "--default-guidance",
        type=_guidance_scale,
        metavar="SCALE",
        help="guidance scale of a request that names none "
        f"(default: {SamplingDefaults.guidance_scale})",
    )
    result.add_argument(
        "--overwrite", action="store_true", help="replace the model directory that is at --out"
    )


def _add_random(result: argparse._ArgumentGroup) -> None:
    result.add_argument(
        "--seed", type=int, metavar="N", help="with --random: of the weights (default: 0)"
    )
    result.add_argument(
        "--save-source",
        type=Path,
        metavar="DIR",
        help="with --random tiny: also keep the pipeline as a diffusers directory",
    )
    result.add_argument(
        "--vocabulary",
        type=Path,
        metavar="DIR",
        help="with --random tiny: a directory with tokenizer files to take the vocabulary from "
        "(default: the one in the package open-clip-torch)",
    )


def _whole_number(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError("must be from 1 to 1000")
    return value


def _guidance_scale(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 100.0:
        raise argparse.ArgumentTypeError("must be from 0 to 100")
    return value
