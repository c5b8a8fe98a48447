"""The training of emoji-xl keeps its promises; what it draws is tested on the committed model."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from training import denoiser_training, vae_training
from training.assembly import assemble
from training.captions import Captioner, normal, with_articles
from training.denoiser_training import DenoiserTraining
from training.emoji_classes import EmojiClass, load_classes, unseen_prompts
from training.networks import new_vae
from training.prompts import condition
from training.recognition import NearestEmoji
from training.recolouring import recolour
from training.run_state import Checkpoint, learning_rate
from training.training_images import TrainingImages, training_images


@pytest.fixture(scope="module")
def classes() -> list[EmojiClass]:
    return load_classes()


@pytest.fixture(scope="module")
def some(classes: list[EmojiClass]) -> TrainingImages:
    return training_images(classes[::60])


def captioner(classes: list[EmojiClass]) -> Captioner:
    return Captioner(unseen_prompts(), [name for entry in classes for name in entry.names])


def test_there_are_enough_classes_and_each_has_a_image(classes: list[EmojiClass]) -> None:
    assert len(classes) >= 300
    assert len({entry.image.tobytes() for entry in classes}) == len(classes)
    for entry in classes:
        assert entry.image.shape == (64, 64, 3)
        # On white, and nothing touches the border.
        assert (entry.image[0] > 240).all() and (entry.image[:, 0] > 240).all(), entry.name
        assert (entry.image < 250).any(axis=2).mean() > 0.02, entry.name


def test_the_quality_test_asks_for_known_emoji_in_forty_ways(classes: list[EmojiClass]) -> None:
    prompts = unseen_prompts()
    assert len(prompts) == 40
    assert set(prompts.values()) <= {entry.name for entry in classes}


def test_no_caption_is_a_prompt_of_the_quality_test(classes: list[EmojiClass]) -> None:
    forbidden = {normal(prompt) for prompt in unseen_prompts()}
    asked_for = set(unseen_prompts().values())
    draws, rng = captioner(classes), random.Random(1)
    for entry in classes:
        if entry.name not in asked_for:
            continue
        for _ in range(500):
            caption, unknown = draws.draw(rng, entry.names, entry.keywords)
            assert normal(caption) not in forbidden
            assert 0 <= unknown <= 2


def test_a_shortened_caption_never_names_another_emoji() -> None:
    draws, rng = Captioner([], ["heart", "blue heart", "light blue heart"]), random.Random(2)
    captions = {draws.draw(rng, ["light blue heart"])[0] for _ in range(3000)}
    assert any("heart light blue" in c or "blue heart light" in c for c in captions)
    assert not any(normal(c) in ("heart", "blue heart") for c in captions)


def test_articles_are_those_of_english() -> None:
    assert with_articles("a apple and a pear") == "an apple and a pear"
    assert with_articles("a the moon") == "a moon"


def test_copies_have_another_hue_and_the_same_white(classes: list[EmojiClass]) -> None:
    heart = next(entry for entry in classes if entry.name == "broken heart")
    recolouring = recolour(heart.image)
    assert recolouring.own_colour == "red"
    assert "red" not in recolouring.copies and "blue" in recolouring.copies
    blue = recolouring.copies["blue"].astype(int)
    middle = blue[25:35, 12:22].mean(axis=(0, 1))
    assert middle[2] > middle[0] + 50
    white = (heart.image > 250).all(axis=2)
    assert (blue[white] > 240).all()


def test_a_grey_image_is_not_recoloured() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    assert recolour(grey).copies == {} and recolour(grey).own_colour == ""


def test_noisy_images_are_recognised(classes: list[EmojiClass]) -> None:
    nearest = NearestEmoji([entry.image for entry in classes])
    rng = np.random.default_rng(3)
    for index in range(0, len(classes), 40):
        noise = rng.normal(0, 25, (64, 64, 3))
        image = np.clip(classes[index].image + noise, 0, 255).astype(np.uint8)
        assert nearest.find(image) == index


def test_the_learning_rate_warms_up_stays_and_falls() -> None:
    rates = [learning_rate(1.0, step, 1000, 100, 0.5) for step in range(1000)]
    assert rates[0] == 0.01 and rates[99] == 1.0
    assert set(rates[99:500]) == {1.0}
    assert all(a >= b for a, b in zip(rates[500:], rates[501:], strict=False))
    assert 0.02 <= rates[-1] < 0.03


def test_a_checkpoint_is_whole_or_the_one_before(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.checkpoint")
    assert checkpoint.load() is None
    checkpoint.save({"step": 1})
    (tmp_path / "run.partial").write_bytes(b"half a file")
    assert checkpoint.load() == {"step": 1}
    checkpoint.save({"step": 2})
    assert checkpoint.load() == {"step": 2}


def latents_of(images: TrainingImages) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (len(images.names), 4, 16, 16)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator), torch.full(shape, 0.05)


def test_a_stopped_run_goes_on_to_the_same_weights(
    classes: list[EmojiClass],
    some: TrainingImages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(denoiser_training, "BATCH", 2)
    monkeypatch.setattr(denoiser_training, "_CHECKPOINT_STEPS", 2)

    def training(folder: Path) -> DenoiserTraining:
        folder.mkdir(exist_ok=True)
        return DenoiserTraining(folder, some, latents_of(some), captioner(classes), seed=5)

    whole = training(tmp_path / "whole").run(4, lambda step: None)
    steps: list[int] = []

    def stop(step: int) -> None:
        steps.append(step)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training(tmp_path / "parts").run(4, stop)
    again = training(tmp_path / "parts")
    assert again.step == 2 and steps == [2]
    resumed = again.run(4, lambda step: None)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def test_the_published_text_encoders_are_those_that_were_trained(
    classes: list[EmojiClass], some: TrainingImages, tmp_path: Path
) -> None:
    training = DenoiserTraining(tmp_path, some, latents_of(some), captioner(classes), seed=6)
    pipeline = assemble(new_vae(), training.average, training.tokens)
    tokens = training.tokens.encode(["a red apple, zorglub 红苹果", ""])
    trained = condition(training.average.text_encoders, tokens)
    published = condition([pipeline.text_encoder, pipeline.text_encoder_2], tokens)
    for one, other in zip(trained, published, strict=True):
        assert torch.equal(one, other)
    table = pipeline.text_encoder.get_input_embeddings().weight
    # Tokens that no caption holds mean the same.
    unknown = pipeline.tokenizer(["zorglub"]).input_ids[0][1]
    rng = random.Random(4)
    other_unknown = training.tokens.draw_unknown(rng, set(training.tokens.known(some)))
    assert torch.equal(table[unknown], table[other_unknown])


def test_the_prompts_tokens_are_those_of_the_pipeline(
    classes: list[EmojiClass], some: TrainingImages, tmp_path: Path
) -> None:
    training = DenoiserTraining(tmp_path, some, latents_of(some), captioner(classes), seed=6)
    pipeline = assemble(new_vae(), training.average, training.tokens)
    encoders = [pipeline.text_encoder, pipeline.text_encoder_2]
    ours = condition(encoders, training.tokens.encode(["fox"]))
    theirs = pipeline.encode_prompt("fox", do_classifier_free_guidance=False)
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[2])


def test_trained_latents_have_unit_variance_at_sdxls_scaling_factor(
    some: TrainingImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vae_training, "_BATCH", 2)
    vae = vae_training.train_vae(tmp_path, some.images, some.chances, 3, seed=1)
    assert vae.config.scaling_factor == 0.13025
    means, deviations = vae_training.encode(vae, some.images)
    variance = means.var(dim=(0, 2, 3)) + deviations.square().mean(dim=(0, 2, 3))
    assert torch.allclose(variance, torch.ones(4), atol=0.02)
    assert torch.allclose(means.mean(dim=(0, 2, 3)), torch.zeros(4), atol=0.02)
    # Folding the scale into the network changes no image: decode(encode(x)) as before.
    checkpoint = torch.load(tmp_path / "vae.checkpoint", weights_only=True)
    before = new_vae()
    before.load_state_dict(checkpoint["vae"])
    old = vae_training.decode(before.eval(), vae_training.encode(before, some.images)[0])
    new = vae_training.decode(vae, means)
    assert np.abs(old.astype(int) - new.astype(int)).max() <= 1
