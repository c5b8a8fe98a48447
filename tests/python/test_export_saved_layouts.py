"""A single file exports to the same bytes whatever program saved it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from emoji_checkpoint import DIFFUSERS, plain_tensors, save_checkpoint
from original_checkpoint import Tensors, component_weights

from tightfit_export.errors import SourceError
from tightfit_export.open_source import SourceOptions, open_source
from tightfit_export.progress import Progress

UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXT = "conditioner.embedders.0.transformer.text_model."
TEXT_2 = "conditioner.embedders.1.model."


def renamed(tensors: Tensors, *pairs: tuple[str, str]) -> Tensors:
    """With other prefixes: the first that fits is replaced."""
    result = {}
    for key, tensor in tensors.items():
        for old, new in pairs:
            if key.startswith(old):
                key = new + key.removeprefix(old)
                break
        result[key] = tensor
    return result


def in_transformers_names(tensors: Tensors, prefix: str, *, flat: bool = False) -> Tensors:
    """Text encoder 2 as transformers saves it."""
    result = {key: each for key, each in tensors.items() if not key.startswith(TEXT_2)}
    for key, tensor in component_weights(DIFFUSERS, "text_encoder_2").items():
        result[prefix + (key.removeprefix("text_model.") if flat else key)] = tensor
    return result


def with_linear_projection(tensors: Tensors) -> Tensors:
    result = dict(tensors)
    key = f"{TEXT_2}text_projection"
    result[f"{key}.weight"] = result.pop(key).T
    return result


def clip_extras(prefix: str, prefix_2: str) -> Tensors:
    """What CLIP models that were saved whole bring along."""
    ids = torch.arange(77)[None]
    return {
        f"{prefix}text_projection.weight": torch.zeros(64, 64),
        f"{prefix}logit_scale": torch.tensor(4.6),
        f"{prefix}embeddings.position_ids": ids,
        f"{prefix}vision_model.embeddings.class_embedding": torch.zeros(8),
        f"{prefix}visual_projection.weight": torch.zeros(8, 8),
        f"{prefix_2}logit_scale": torch.tensor(4.6),
        f"{prefix_2}attn_mask": torch.zeros(2, 2),
    }


def forge(tensors: Tensors) -> Tensors:
    return renamed(
        tensors,
        (TEXT, "text_encoders.clip_l.transformer.text_model."),
        (TEXT_2, "text_encoders.clip_g."),
        (VAE, "vae."),
    )


LAYOUTS: dict[str, Callable[[Tensors], Tensors]] = {
    "comfyui's extra key": lambda t: t
    | {"conditioner.embedders.0.transformer.text_projection.weight": torch.zeros(64, 64)},
    "clip's extras": lambda t: t | clip_extras(TEXT, TEXT_2),
    "clip's extras beside text_model": lambda t: t
    | clip_extras("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
    "flattened": lambda t: renamed(t, (TEXT, TEXT.removesuffix("text_model."))),
    "flattened, with extras": lambda t: renamed(t, (TEXT, TEXT.removesuffix("text_model.")))
    | clip_extras("conditioner.embedders.0.transformer.", TEXT_2),
    "projection as a linear layer": with_linear_projection,
    "projection in both forms": lambda t: t | with_linear_projection(t),
    "text encoder 2 under transformers' names": lambda t: in_transformers_names(
        t, "conditioner.embedders.1.transformer."
    ),
    "text encoder 2 flattened": lambda t: in_transformers_names(
        t, "conditioner.embedders.1.model.", flat=True
    ),
    "forge": forge,
    "forge, prefixes alone": lambda t: renamed(
        t, (TEXT, "text_encoders.clip_l."), (TEXT_2, "text_encoders.clip_g."), (VAE, "vae.")
    ),
    "forge, flattened": lambda t: renamed(
        forge(t),
        ("text_encoders.clip_l.transformer.text_model.", "text_encoders.clip_l.transformer."),
    ),
    "forge, transformers' names": lambda t: in_transformers_names(
        renamed(t, (TEXT, "text_encoders.clip_l.transformer.text_model."), (VAE, "vae.")),
        "text_encoders.clip_g.transformer.",
    ),
    "stable-diffusion.cpp": lambda t: in_transformers_names(
        renamed(
            t, (TEXT, "text_encoders.clip_l.transformer.text_model."), (VAE, "first_stage_model.")
        ),
        "text_encoders.clip_g.transformer.",
    ),
    "comfyui's inner names": lambda t: renamed(
        t, (UNET, "diffusion_model."), (TEXT, "clip_l.transformer.text_model."), (TEXT_2, "clip_g.")
    ),
    "the unet without a prefix": lambda t: renamed(t, (UNET, "")),
    "the vae without a prefix": lambda t: renamed(t, (VAE, "")),
    "a mix": lambda t: in_transformers_names(
        renamed(
            t,
            (UNET, "unet."),
            (VAE, "vae.first_stage_model."),
            (TEXT, "conditioner.embedders.0.transformer."),
        ),
        "text_encoders.clip_g.transformer.",
    )
    | clip_extras("conditioner.embedders.0.transformer.", "text_encoders.clip_g.transformer."),
}


def written(path: Path, folder: Path) -> dict[str, bytes]:
    """The weight files; graphs and tokenizers come from the configuration alone."""
    from tightfit_export.component_export import plan_weights, write_component_weights

    folder.mkdir()
    quiet = Progress(quiet=True)
    plans = plan_weights(open_source(SourceOptions(str(path), config=DIFFUSERS), quiet))
    for component, plan in plans.items():
        write_component_weights(folder / component, component, plan, quiet)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("plain")
    return written(save_checkpoint(folder / "plain.safetensors"), folder / "out")


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_savers_layout_exports_to_the_bytes_of_the_plain_one(
    name: str, plain: dict[str, bytes], tmp_path: Path
) -> None:
    changed = LAYOUTS[name](plain_tensors())
    assert changed.keys() != plain_tensors().keys()
    path = save_checkpoint(tmp_path / "saved.safetensors", changed)
    assert len(plain) == 5
    assert written(path, tmp_path / "out") == plain


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as refused:
        open_source(SourceOptions(str(path), config=DIFFUSERS), Progress(quiet=True))
    return str(refused.value)


def part(tensors: Tensors, prefix: str, new: str = "") -> Tensors:
    return {
        new + key.removeprefix(prefix): each
        for key, each in tensors.items()
        if key.startswith(prefix)
    }


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda t: part(t, UNET, UNET), "a UNet alone"),
        (lambda t: part(t, UNET), "a UNet alone"),
        (lambda t: part(t, UNET, "diffusion_model."), "a UNet alone"),
        (lambda t: part(t, TEXT, "text_model."), "a text encoder alone"),
        (lambda t: part(t, TEXT), "a text encoder alone"),
        (lambda t: part(t, TEXT_2), "a text encoder alone"),
        (lambda t: part(t, TEXT, "text_encoders.clip_l.transformer."), "text encoders alone"),
        (lambda t: part(t, VAE, "vae."), "a VAE alone"),
        (lambda t: part(t, VAE, "first_stage_model."), "a VAE alone"),
        (
            lambda t: {key: each for key, each in t.items() if not key.startswith(TEXT)},
            "has no text encoder 1",
        ),
    ],
)
def test_one_component_alone_is_named(
    make: Callable[[Tensors], Tensors], words: str, tmp_path: Path
) -> None:
    line = refusal(save_checkpoint(tmp_path / "part.safetensors", make(plain_tensors())))
    assert words in line and "\n" not in line


def test_a_tensor_that_is_there_twice_is_named_with_both_names(tmp_path: Path) -> None:
    key = f"{TEXT}final_layer_norm.weight"
    other = "conditioner.embedders.0.transformer.final_layer_norm.weight"
    tensors = plain_tensors()
    tensors[other] = tensors[key].clone()
    line = refusal(save_checkpoint(tmp_path / "twice.safetensors", tensors))
    assert key in line and other in line and "twice" in line


def test_a_foreign_tensor_is_named_as_the_file_has_it(tmp_path: Path) -> None:
    from tightfit_export.component_export import plan_weights

    tensors = forge(plain_tensors()) | {"vae.decoder.mid.extra.weight": torch.zeros(1)}
    path = save_checkpoint(tmp_path / "x.safetensors", tensors)
    pipeline = open_source(SourceOptions(str(path), config=DIFFUSERS), Progress(quiet=True))
    with pytest.raises(SourceError, match=r"holds vae\.decoder\.mid\.extra\.weight that SDXL"):
        plan_weights(pipeline)
