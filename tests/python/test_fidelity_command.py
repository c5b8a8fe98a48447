"""`tightfit fidelity` as a user runs it, on the small random pipeline."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity.jobs import Job, Weights
from parity.probe import probe_binary, run_probe
from PIL import Image
from server_process import CLI, ROOT


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(CLI), "fidelity", *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.txt"
    file.write_text("# two\na red apple\na house by the sea\n")
    return file


@pytest.fixture
def quick(tiny_model_dir: Path, prompts: Path, tmp_path: Path) -> list[str | Path]:
    """Arguments that every run here has."""
    out = tmp_path / "out"
    return ["--model", tiny_model_dir, "--prompts", prompts, "--steps", "2", "--out", out]


def test_every_scope_is_measured_beside_its_floors(quick: list[str | Path], tmp_path: Path) -> None:
    done = run(*quick, "--formats", "hf12,hf8", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "out" / "fidelity.json").read_text())
    rows = {(row["name"], row["scope"]): row for row in document["rows"]}
    scopes = ["attention", "linear", "linear+conv"]
    floors = ["unpacked", "the same again", "the next seed", "computed in bf16"]
    packed = [(name, scope) for name in ("hf12", "hf8") for scope in scopes]
    assert list(rows) == [(name, None) for name in floors] + packed
    assert rows["unpacked", None]["one_step_latent_psnr"]["different_count"] == 0

    def psnr(name: str, scope: str | None) -> float:
        return rows[name, scope]["one_step_latent_psnr"]["mean_db"]

    for scope in scopes:
        assert psnr("hf12", scope) > psnr("hf8", scope) > psnr("the next seed", None)
        assert rows["hf8", scope]["unet_weight_bytes"] < rows["hf12", scope]["unet_weight_bytes"]
        assert 20 < rows["hf8", scope]["weight_sqnr_db"] < 30
    for one, other in zip(scopes, scopes[1:], strict=False):
        assert rows["hf8", one]["resident_bytes"] > rows["hf8", other]["resident_bytes"]
    sheet = Image.open(tmp_path / "out" / "contact-sheet.png")
    assert sheet.height > 10 * 128 and sheet.width > 2 * 128


def test_another_models_weights_can_be_the_reference(
    quick: list[str | Path], tiny_model_dir: Path, tmp_path: Path
) -> None:
    truncated = tmp_path / "truncated"
    script = ROOT / "tests" / "bench" / "reweight_model.py"
    subprocess.run(
        [
            *(sys.executable, script, "--model", tiny_model_dir),
            *("--truncate", "hf8", "--out", truncated),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    rounded = run(*quick, "--formats", "hf8", "--scopes", "linear+conv", "--no-floors", "--json")
    quick[1] = truncated
    cut = run(*quick, "--against", tiny_model_dir, "--formats", "none", "--no-floors", "--json")
    assert rounded.returncode == 0 and cut.returncode == 0, rounded.stderr + cut.stderr

    def last(document: str) -> dict[str, Any]:
        return json.loads(document)["rows"][-1]

    assert last(cut.stdout)["name"] == "unpacked"
    key = "one_step_latent_psnr"
    # What rounding to nearest gains.
    assert last(rounded.stdout)[key]["mean_db"] > last(cut.stdout)[key]["mean_db"] + 2


@pytest.mark.parametrize(
    ("flags", "code", "text"),
    [
        (["--formats", "hf9"], 2, '--formats: there is no "hf9"'),
        (["--scopes", "conv"], 2, '--scopes: there is no "conv"'),
        (["--steps", "0"], 2, "--steps"),
        (["--samplers", "plms"], 1, 'the model has no "plms"'),
        (["--width", "70"], 1, "must be multiples of 8"),
        (["--classes", "absent.json"], 1, "absent.json"),
        (["--model", "absent"], 1, "model.json"),
        (["--prompts", "absent.txt"], 1, "absent.txt"),
        (["--compute-dtype", "fp16"], 1, "fp32, bf16"),
    ],
)
def test_a_mistake_costs_one_line(
    quick: list[str | Path], flags: list[str], code: int, text: str
) -> None:
    kept = [quick[i : i + 2] for i in range(0, len(quick), 2) if quick[i] != flags[0]]
    done = run(*[part for pair in kept for part in pair], *flags)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == code and len(errors) == 1 and text in errors[0], done.stderr
    assert done.stdout == ""


BIFURCATION_DROP = 0.05


def cosines_of(model: Path, weights: Weights, jobs: list[Job], folder: Path) -> list[np.ndarray]:
    """The latents of every job, each alone, from the pipeline without the command."""
    folder.mkdir()
    drawn = run_probe(model, [(weights, job) for job in jobs], folder).images
    return [drawn[weights, job].latents.astype(np.float64).ravel() for job in jobs]


@pytest.mark.skipif(not probe_binary().is_file(), reason="pipeline_probe is not built")
@pytest.mark.parametrize("name", ["nf2.81", "q8"])
def test_cosines_and_bifurcations_are_those_that_numpy_finds_in_the_latents(
    quick: list[str | Path], tiny_model_dir: Path, tmp_path: Path, name: str
) -> None:
    """The latents after each step are those of a request that denoises up to there."""
    steps, seeds, prompts = 4, 3, ["a red apple", "a house by the sea"]
    quick[quick.index("--steps") + 1] = str(steps)
    flags = ["--formats", name, "--scopes", "linear+conv", "--samplers", "euler", "--no-floors"]
    done = run(*quick, *flags, "--seeds", "3", "--seed", "11", "--guidance", "5", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["seed_count"] == seeds and document["prompts"] == prompts
    side = {key: document[key] for key in ("width_px", "height_px")}
    # Shares of the training's timesteps that end between two of the four steps.
    shares = [0.3, 0.55, 0.8, 1.0]
    jobs = [
        Job(
            prompt=prompts[image % 2], sampler="euler", step_count=steps, guidance_scale=5.0,
            seed=11 + image, denoising_end=share, **side,
        )
        for image in range(seeds * len(prompts))
        for share in shares
    ]  # fmt: skip
    wanted = cosines_of(tiny_model_dir, Weights(), jobs, tmp_path / "unpacked")
    packed = cosines_of(tiny_model_dir, Weights(name, "linear+conv"), jobs, tmp_path / "packed")
    for one, other in zip(wanted, wanted[1:], strict=False):
        assert not np.array_equal(one, other), "each share must end after another step"
    pairs = zip(wanted, packed, strict=True)
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]
    by_image = np.array(cosines).reshape(-1, steps)
    drops = -np.diff(by_image, axis=1, prepend=1.0)
    found = document["rows"][1]["samplers"][0]
    assert found["latent_cosine"]["mean"] == pytest.approx(by_image[:, -1].mean(), abs=1e-6)
    assert found["latent_cosine"]["worst"] == pytest.approx(by_image[:, -1].min(), abs=1e-6)
    assert found["latent_cosine"]["largest_drop"] == pytest.approx(drops.max(), abs=1e-6)
    bifurcated = (drops.max(axis=1) > BIFURCATION_DROP).sum()
    assert found["bifurcated_count"] == bifurcated
    # The reference beside itself, and that the figures are of the format and not of anything.
    itself = document["rows"][0]["samplers"][0]
    assert itself["latent_cosine"] == {"mean": 1.0, "worst": 1.0, "largest_drop": 0.0}
    assert itself["bifurcated_count"] == 0
    assert by_image[:, -1].min() < 1 - 1e-6


def test_seeds_draw_each_prompt_again_from_the_seeds_that_follow(
    quick: list[str | Path],
) -> None:
    flags = ["--formats", "nf2.81", "--scopes", "linear", "--samplers", "euler", "--no-floors"]

    def psnr(*more: str) -> list[float]:
        done = run(*quick, *flags, *more, "--json")
        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout)["rows"][1]["samplers"][0]["latent_psnr"]
        return [summary["mean_db"], summary["different_count"]]

    # Of two prompts the images of seeds 5, 6 and 7, 8.
    once, again = psnr("--seed", "5"), psnr("--seed", "7")
    both = psnr("--seed", "5", "--seeds", "2")
    assert (once[1], both[1]) == (2, 4) and once[0] != again[0]
    assert both[0] == pytest.approx((once[0] + again[0]) / 2, abs=1e-9)


def test_the_protocol_is_a_default_for_what_is_not_given(
    least: list[str | Path],
) -> None:
    def settings(*flags: str) -> list[Any]:
        arguments = [each for each in least if each not in ("--samplers", "euler")]
        at = arguments.index("--steps")
        done = run(*arguments[:at], *arguments[at + 2 :], "--protocol", *flags, "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        sampler = told["rows"][0]["samplers"][0]["sampler"]
        return [told["seed_count"], told["step_count"], told["guidance_scale"], sampler]

    assert settings("--seeds", "1") == [1, 25, 7.0, "dpmpp-2m-karras"]
    assert settings("--steps", "1") == [25, 1, 7.0, "dpmpp-2m-karras"]
    own = ["--seeds", "2", "--steps", "3", "--guidance", "4", "--samplers", "euler"]
    assert settings(*own) == [2, 3, 4.0, "euler"]


@pytest.mark.parametrize("flags", [["--protocol"], ["--seeds", "3"]])
def test_single_layers_are_measured_without_the_protocol(
    quick: list[str | Path], flags: list[str]
) -> None:
    done = run(*quick, "--sensitivity", *flags)
    assert done.returncode == 2 and f"{flags[0]}: has no meaning with --sensitivity" in done.stderr


def test_help_teaches(tmp_path: Path) -> None:
    done = run("--help")
    assert done.returncode == 0
    words = ("--model", "--prompts", "--formats", "Examples", "contact-sheet.png", "floors")
    for word in (*words, "--protocol", "bifurcated", "0.05"):
        assert word in done.stdout
    # The list of commands knows it.
    assert "fidelity" in subprocess.run([CLI, "--help"], capture_output=True, text=True).stdout


def test_without_its_program_the_command_says_what_is_missing(tmp_path: Path) -> None:
    alone = tmp_path / "tightfit"
    shutil.copy2(CLI, alone)
    done = subprocess.run([alone, "fidelity", "--help"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "tightfit-fidelity must lie beside tightfit" in done.stderr


def test_ctrl_c_keeps_the_rows_that_are_complete(quick: list[str | Path], tmp_path: Path) -> None:
    process = subprocess.Popen(
        [str(CLI), "fidelity", *map(str, quick)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        bufsize=0,  # what is not read here is left for communicate
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stderr is not None
    # A line every few seconds names the row that is drawn; all of them take far longer.
    while process.stderr.readline().startswith(b"unpacked "):
        pass
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"nothing was written" not in told and b"rows that are complete are in" in told
    document = json.loads((tmp_path / "out" / "fidelity.json").read_text())
    assert document["is_complete"] is False
    assert 1 <= len(document["rows"]) < 79
    assert "interrupted" in (tmp_path / "out" / "fidelity.md").read_text()


FILES = ["fidelity.md", "fidelity.json", "contact-sheet.png"]


@pytest.fixture
def least(quick: list[str | Path]) -> list[str | Path]:
    """One image in one step, as quick as a whole run gets."""
    return [*quick, "--limit", "1", "--formats", "none", "--no-floors", "--samplers", "euler"]


def test_links_are_followed_and_files_replaced(least: list[str | Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for file in FILES:
        (tmp_path / f"real-{file}").write_text("old")
        (out / file).symlink_to(f"../real-{file}")
    done = run(*least)
    assert done.returncode == 0, done.stderr
    for file in FILES:
        assert (out / file).is_symlink() and (tmp_path / f"real-{file}").read_bytes() != b"old"
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    json.loads((tmp_path / "real-fidelity.json").read_text())


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", ["fifo", "directory", "circle"])
def test_what_is_no_file_is_refused_before_the_work(
    least: list[str | Path], tmp_path: Path, file: str, kind: str
) -> None:
    place = tmp_path / "out" / file
    place.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    else:
        place.symlink_to(file)
    done = run(*least)
    assert done.returncode == 1 and f"cannot write {place}: " in done.stderr
    assert [path.name for path in place.parent.iterdir()] == [file]
    assert done.stderr.count("\n") == 1  # no model was loaded, no progress told
    assert place.is_fifo() or place.is_dir() or place.is_symlink()


def test_the_folder_may_be_no_file(least: list[str | Path], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    done = run(*least)
    assert done.returncode == 1 and "--out" in done.stderr
    assert (tmp_path / "out").read_text() == "a file"


def test_inputs_are_files_without_a_byte_order_mark(
    least: list[str | Path], prompts: Path, tmp_path: Path
) -> None:
    prompts.write_bytes(b"\xef\xbb\xbfred apple\n")
    done = run(*least, "--json")
    assert json.loads(done.stdout)["prompts"] == ["red apple"]
    prompts.write_text("red apple = nope\n")
    done = run(*least)
    assert done.returncode == 1 and 'names the class "nope", but no --classes' in done.stderr
    least[least.index("--prompts") + 1] = tmp_path
    done = run(*least)
    assert done.returncode == 1 and f"cannot read {tmp_path}: it is a folder" in done.stderr


def test_what_is_named_twice_is_drawn_once(quick: list[str | Path]) -> None:
    twice = ["--formats", "hf8,hf8", "--scopes", "linear,linear", "--samplers", "euler,euler"]
    done = run(*quick, *twice, "--no-floors", "--limit", "1", "--json")
    rows = json.loads(done.stdout)["rows"]
    assert [(row["name"], row["scope"]) for row in rows] == [("unpacked", None), ("hf8", "linear")]
    assert [each["sampler"] for each in rows[1]["samplers"]] == ["euler"]


@pytest.mark.parametrize(
    "flag",
    ["--steps", "--guidance", "--seed", "--seeds", "--limit", "--width", "--height", "--threads"],
)
def test_a_number_is_a_plain_one(quick: list[str | Path], flag: str) -> None:
    for text in ("nan", "inf", "-inf", "1e400", "0x10", "-0", "0x1p3"):
        done = run(*quick, f"{flag}={text}")
        assert done.returncode == 2 and done.stderr.startswith(f"error: {flag}"), done.stderr
