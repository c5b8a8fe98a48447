"""Long and weighted prompts and clip skip draw what diffusers draws from the same embeddings.

The embeddings come from parity/weighted_prompts.py, which reads the syntax on its own and knows
transformers only.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from parity.check import assert_different, assert_same
from parity.jobs import Job, Weights
from parity.probe import ProbeResult, probe_binary, run_probe
from parity.reference import Reference

pytestmark = pytest.mark.skipif(not probe_binary().is_file(), reason="pipeline_probe is not built")

UNPACKED = Weights()
BASE = Job(prompt="a red apple on a table", prompt_syntax="weighted", seed=4)
LONG = ", ".join(f"a bowl of {number} green pears" for number in range(30))
PROMPTS = {
    "no markup": BASE,
    "a weight": BASE.but(prompt="a (red:1.7) apple on a table"),
    "less weight": BASE.but(prompt="a [red] apple on a [[table]]"),
    "nested weights": BASE.but(prompt="a ((red) (apple:0.5):1.5) on a \\(table\\)"),
    "a negative weight": BASE.but(prompt="a red apple on a (table:-0.8)"),
    "a weighted negative prompt": BASE.but(negative_prompt="(fog:1.9), night"),
    "two chunks": BASE.but(prompt="a red apple and a house " * 14),
    "five chunks against one": BASE.but(prompt=LONG, negative_prompt="fog"),
    "one chunk against five": BASE.but(negative_prompt=LONG),
    "five chunks against zeros": BASE.but(prompt=LONG, image_count=3),
    "chunks cut at no comma": BASE.but(prompt=LONG, comma_backtrack_tokens=0),
    "chunks cut at far commas": BASE.but(
        prompt=", ".join(["a red apple " * 15 + "(on a table:1.3)"] * 3), comma_backtrack_tokens=74
    ),
    "a break": BASE.but(prompt="a red apple BREAK on a table"),
    "a break in brackets": BASE.but(prompt="(a red apple BREAK on a table:1.4)", seed=9),
    "a long second prompt": BASE.but(prompt_2=LONG, negative_prompt="", negative_prompt_2="a (b)"),
    "padding tokens": BASE.but(prompt="stop! (now!:1.5)"),
    "clip skip 1": BASE.but(clip_skip=1, negative_prompt="fog"),
    "clip skip 2": BASE.but(clip_skip=2, negative_prompt="fog"),
    "clip skip of a plain prompt": BASE.but(clip_skip=1, prompt_syntax="plain"),
    "clip skip of a long prompt": BASE.but(clip_skip=2, prompt=LONG),
}


@pytest.fixture(scope="module")
def ours(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> ProbeResult:
    jobs = [(UNPACKED, job) for job in PROMPTS.values()]
    return run_probe(tiny_model_dir, jobs, tmp_path_factory.mktemp("parity"))


@pytest.fixture(scope="module")
def diffusers(tiny_pipeline_dir: Path) -> Reference:
    return Reference(tiny_pipeline_dir)


@pytest.mark.parametrize("job", PROMPTS.values(), ids=PROMPTS)
def test_prompts_draw_what_diffusers_draws(
    ours: ProbeResult, diffusers: Reference, job: Job
) -> None:
    assert_same(ours.images[UNPACKED, job], diffusers.draw(UNPACKED, job))


@pytest.mark.parametrize("name", [name for name in PROMPTS if name != "no markup"])
def test_every_prompt_draws_something_of_its_own(ours: ProbeResult, name: str) -> None:
    job = PROMPTS[name]
    for other in PROMPTS.values():
        if other != job and other.image_count == job.image_count:
            assert_different(ours.images[UNPACKED, job], ours.images[UNPACKED, other])


def test_a_prompt_without_markup_is_the_plain_one(diffusers: Reference, ours: ProbeResult) -> None:
    plain = diffusers.draw(UNPACKED, BASE.but(prompt_syntax="plain"))
    assert_same(ours.images[UNPACKED, BASE], plain)
