"""The pipeline draws what diffusers draws, unpacked and packed, on a small random pipeline.

Every image of ours comes from one run of pipeline_probe; diffusers draws the same jobs in fp32 on
the CPU from the same fp16 weight files. For packed weights diffusers' own are replaced by
decode(encode(w)), looked up in the golden tables.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from parity.check import assert_different, assert_same
from parity.jobs import FORMATS, SCOPES, Job, Weights
from parity.packing import PLANE_BITS, layout_bytes, selected_layers
from parity.probe import DEVICE, ProbeResult, load_status, probe_binary, run_probe
from parity.reference import SCHEDULERS, Reference

pytestmark = [
    pytest.mark.skipif(not probe_binary().is_file(), reason="pipeline_probe is not built"),
    # Of numpy, to diffusers' DEIS and KDPM2.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

UNPACKED = Weights()
BASE = Job()
# Sizes: the latents of the random pipeline are an eighth: 8x8, 12x8, 9x10 (no multiple of 4), 13x7.
IMAGES = {
    "euler": BASE,
    "euler-a": BASE.but(sampler="euler-a"),
    "one step": BASE.but(step_count=1),
    "three images": BASE.but(image_count=3, seed=11),
    "three images, noise at every step": BASE.but(image_count=3, seed=11, sampler="euler-a"),
    "wide": BASE.but(width_px=96, seed=2**40),
    "latents of 9x10": BASE.but(height_px=72, width_px=80, sampler="euler-a", image_count=3),
    "latents of 13x7": BASE.but(height_px=104, width_px=56, seed=5),
    "empty negative prompt": BASE.but(negative_prompt=""),
    "negative prompt": BASE.but(negative_prompt="blurry, dark", sampler="euler-a", seed=3),
    "without guidance": BASE.but(guidance_scale=1.0, negative_prompt="ignored"),
    "weak guidance": BASE.but(guidance_scale=1.5, image_count=3),
    "rescaled guidance": BASE.but(guidance_scale=7.5, guidance_rescale=0.7, image_count=3),
    "second prompts": BASE.but(
        prompt_2="a green pear", negative_prompt="night", negative_prompt_2="fog"
    ),
    "micro-conditioning": BASE.but(
        original_size=(512, 1024), crop_top_left=(16, 40), target_size=(1000, 999)
    ),
    "trailing steps": BASE.but(timestep_spacing="trailing"),
    "steps from end to end": BASE.but(timestep_spacing="linspace", sampler="unipc"),
    "empty prompt": BASE.but(prompt=""),
    "other scripts": BASE.but(prompt="ein Äpfel, 红苹果, 🍎 İ ﬁ", seed=2**31),
    "prompt of more than 77 tokens": BASE.but(prompt="a red apple and " * 40, seed=8),
}
# Some samplers walk the same path: ddim's is euler's in other coordinates.
SAMPLED = {
    f"{sampler}, {step_count} steps": BASE.but(sampler=sampler, step_count=step_count, seed=31)
    for sampler in SCHEDULERS
    for step_count in (5, 16)
}
# What the published SDXL base model's UNet differs in from the defaults of its class.
SDXL_UNET = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "projection_class_embeddings_input_dim": 2816,
    "transformer_layers_per_block": [1, 2, 10],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "use_linear_projection": True,
}
PACKED_JOB = Job(prompt="a house by the sea", negative_prompt="fog", sampler="euler-a", seed=21)
PACKED = [Weights(f, s) for f, s in itertools.product(FORMATS, SCOPES)]
NEIGHBOUR = {"hf8": "hf8x", "hf8x": "hf8", "hf10": "hf12", "hf12": "hf10", "e2m5r": "hf8x"}
GRAPH_CONSTANT_BYTES = 1 << 10
# On a GPU each of a UNet's tensors takes whole blocks.
PADDING_BYTES = 0 if DEVICE == "cpu" else 512 * 1000
CONTROLS = {
    "another prompt": lambda job: job.but(prompt="a blue bird in the snow"),
    "one step more": lambda job: job.but(step_count=job.step_count + 1),
    "another seed": lambda job: job.but(seed=job.seed + 1),
}


def name_of(weights: Weights) -> str:
    return f"{weights.format} {weights.scope}"


def same_shape(one: Job, other: Job) -> bool:
    shapes = [(job.image_count, job.height_px, job.width_px) for job in (one, other)]
    return shapes[0] == shapes[1]


@pytest.fixture(scope="module")
def ours(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> ProbeResult:
    jobs = [(UNPACKED, job) for job in [*IMAGES.values(), *SAMPLED.values(), PACKED_JOB]]
    jobs += [(UNPACKED, change(BASE)) for change in CONTROLS.values()]
    jobs += [(weights, PACKED_JOB) for weights in PACKED]
    jobs += [(PACKED[0], change(PACKED_JOB)) for change in CONTROLS.values()]
    return run_probe(tiny_model_dir, jobs, tmp_path_factory.mktemp("parity"))


@pytest.fixture(scope="module")
def diffusers(tiny_pipeline_dir: Path) -> Reference:
    return Reference(tiny_pipeline_dir)


@pytest.mark.parametrize("job", [*IMAGES.values(), *SAMPLED.values()], ids=[*IMAGES, *SAMPLED])
def test_images_are_those_of_diffusers(ours: ProbeResult, diffusers: Reference, job: Job) -> None:
    assert_same(ours.images[UNPACKED, job], diffusers.draw(UNPACKED, job))


@pytest.mark.parametrize("name", [name for name in IMAGES if name != "euler"])
def test_every_case_draws_something_of_its_own(ours: ProbeResult, name: str) -> None:
    # A setting without effect would agree with diffusers whatever we made of it.
    job = IMAGES[name]
    for other in IMAGES.values():
        if other != job and same_shape(other, job):
            assert_different(ours.images[UNPACKED, job], ours.images[UNPACKED, other])


@pytest.mark.parametrize("change", CONTROLS.values(), ids=CONTROLS)
def test_the_check_notices(ours: ProbeResult, diffusers: Reference, change) -> None:
    assert_different(ours.images[UNPACKED, change(BASE)], diffusers.draw(UNPACKED, BASE))


@pytest.mark.parametrize("weights", PACKED, ids=name_of)
def test_packed_images_are_those_of_diffusers_with_packed_weights(
    ours: ProbeResult, diffusers: Reference, weights: Weights
) -> None:
    reference = diffusers.draw(weights, PACKED_JOB)
    assert_same(ours.images[weights, PACKED_JOB], reference)
    # The same check must fail where nothing was packed, and for the format next to this one.
    assert_different(ours.images[UNPACKED, PACKED_JOB], reference)
    neighbour = Weights(NEIGHBOUR[weights.format], weights.scope)
    assert_different(ours.images[neighbour, PACKED_JOB], reference)


@pytest.mark.parametrize("change", CONTROLS.values(), ids=CONTROLS)
def test_the_check_notices_with_packed_weights(
    ours: ProbeResult, diffusers: Reference, change
) -> None:
    assert_different(
        ours.images[PACKED[0], change(PACKED_JOB)], diffusers.draw(PACKED[0], PACKED_JOB)
    )


@pytest.mark.parametrize("weights", PACKED, ids=name_of)
def test_every_representable_weight_of_the_scope_is_packed(
    ours: ProbeResult, diffusers: Reference, weights: Weights
) -> None:
    packed = diffusers.use(weights)
    unet = ours.loads[weights].description["components"]["unet"]
    left = {unpacked["module"] for unpacked in unet["unpacked_modules"]}
    assert unet["packed_module_count"] == len(packed)
    assert left == set(selected_layers(diffusers.unet, weights.scope)) - set(packed)
    assert unet["packed_bytes"] == sum(layout_bytes(s, weights.format) for s in packed.values())
    assert unet["packed_parameter_count"] == sum(shape.numel() for shape in packed.values())


@pytest.mark.parametrize("weights", PACKED, ids=name_of)
def test_nothing_of_the_fp16_copy_remains(
    ours: ProbeResult, diffusers: Reference, weights: Weights
) -> None:
    load = ours.loads[weights]
    unet = load.description["components"]["unet"]
    unpacked_bytes = 4 * (unet["parameter_count"] - unet["packed_parameter_count"])
    expected = unet["packed_bytes"] + unpacked_bytes
    account = load.accounts["unet", "weights"]
    assert account["current_bytes"] == unet["weight_bytes"]
    # Beside the weights the graph keeps its constants.
    assert expected <= account["current_bytes"] <= expected + GRAPH_CONSTANT_BYTES + PADDING_BYTES
    assert load.accounts["unet", "scratch"]["current_bytes"] == 0


@pytest.mark.parametrize("weights", [UNPACKED, *PACKED], ids=name_of)
def test_loading_takes_no_more_than_the_weights_and_two_staging_buffers(
    ours: ProbeResult, diffusers: Reference, weights: Weights
) -> None:
    load = ours.loads[weights]
    staging = 2 * 2 * max(parameter.numel() for parameter in diffusers.unet.parameters())
    account = load.accounts["unet", "weights"]
    assert account["peak_bytes"] - account["current_bytes"] <= GRAPH_CONSTANT_BYTES
    assert load.accounts["unet", "scratch"]["peak_bytes"] <= staging
    # Over all components together: what is loaded, and two buffers of the largest tensor of any.
    largest = 2 * 2 * max(parameter.numel() for parameter in diffusers.all_parameters())
    assert load.peak_bytes <= load.bytes_while_loaded + largest + GRAPH_CONSTANT_BYTES
    assert load.progress_bytes[0] == load.progress_bytes[1] > 0


@pytest.mark.parametrize("weights", PACKED, ids=name_of)
def test_padding_takes_less_than_half_a_percent_of_a_full_sdxl_unet(weights: Weights) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SDXL_UNET)
    shapes = [layer.weight.shape for layer in selected_layers(unet, weights.scope).values()]
    exact = sum(PLANE_BITS[weights.format]) * sum(shape.numel() for shape in shapes) / 8
    padded = sum(layout_bytes(shape, weights.format) for shape in shapes)
    assert exact <= padded <= exact * 1.005


def test_a_finished_request_leaves_no_activations(ours: ProbeResult) -> None:
    for accounts in ours.accounts_after_job.values():
        for component in ("text_encoder", "text_encoder_2", "unet", "vae"):
            account = accounts[component, "activations"]
            assert account["current_bytes"] == 0 < account["peak_bytes"]


def test_an_unloaded_model_leaves_nothing_but_the_decode_scratch(
    ours: ProbeResult, diffusers: Reference
) -> None:
    # One buffer of the process, as large as the largest weight that a format was decoded to.
    largest = 4 * max(parameter.numel() for parameter in diffusers.unet.parameters())
    for weights, load in ours.loads.items():
        assert 0 <= load.bytes_after_unload <= largest, weights


def test_a_compute_dtype_without_graphs_is_refused_with_those_there_are(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    status = load_status(tiny_model_dir, tmp_path, compute_dtype="fp16")
    assert status["reason"] == "COMPUTE_DTYPE_UNAVAILABLE"
    assert "fp32, bf16" in status["message"]


@pytest.mark.parametrize(("key", "value"), [("format", "hf9"), ("scope", "everything")])
def test_an_unknown_format_or_scope_is_refused_by_name(
    tiny_model_dir: Path, tmp_path: Path, key: str, value: str
) -> None:
    status = load_status(tiny_model_dir, tmp_path, **{key: value})
    assert not status["ok"]
    assert value in status["message"]
