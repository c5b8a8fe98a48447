"""What a GPU bundle does on the other machine: it compares without numpy, keeps to its time, and
writes down what it found also where a step fails. The whole is tests/gpu/bundle_check.sh."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from server_process import ROOT

GPU = ROOT / "tests" / "gpu"
sys.path.insert(0, str(GPU))

import array_file  # noqa: E402
import bundle_images  # noqa: E402
import bundle_steps  # noqa: E402
from bundle_steps import Step  # noqa: E402

PYTHON = sys.executable


def saved(folder: Path, array: np.ndarray) -> array_file.Array:
    file = folder / "x.npy"
    np.save(file, array)
    return array_file.read(file)


def test_arrays_are_read_and_compared_as_numpy_does(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    one = generator.normal(size=(2, 4, 5, 3)).astype("<f4")
    other = one + generator.normal(size=one.shape).astype("<f4")
    ours, theirs = saved(tmp_path, one), saved(tmp_path, other)
    assert ours.shape == one.shape and list(ours.values) == one.ravel().tolist()
    wanted = np.abs(one.astype("f8") - other).max()
    assert array_file.largest_difference(ours, theirs) == wanted
    assert array_file.largest(ours) == np.abs(one).max()
    bytes_of = [generator.integers(0, 256, (1, 6, 6, 3), dtype=np.uint8) for _ in range(2)]
    pixels = [saved(tmp_path, each) for each in bytes_of]
    wanted_pixels = np.abs(bytes_of[0].astype(int) - bytes_of[1]).max()
    assert array_file.largest_difference(*pixels) == wanted_pixels


def test_what_is_no_array_of_ours_is_refused(tmp_path: Path) -> None:
    for wrong in (np.zeros(3), np.asfortranarray(np.zeros((2, 3), "<f4"))):
        with pytest.raises(ValueError):
            saved(tmp_path, wrong)
    file = tmp_path / "x.npy"
    np.save(file, np.zeros(8, "<f4"))
    for content in (file.read_bytes()[:-4], b"PNG", b""):
        file.write_bytes(content)
        with pytest.raises(ValueError):
            array_file.read(file)
    four = saved(tmp_path, np.zeros(4, "<f4"))
    with pytest.raises(ValueError):
        array_file.largest_difference(four, saved(tmp_path, np.zeros((2, 2), "<f4")))


def test_an_image_that_is_not_diffusers_is_noticed(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    latents = np.linspace(-4, 4, 64, dtype="<f4").reshape(1, 4, 4, 4)
    pixels = np.full((1, 8, 8, 3), 100, np.uint8)
    limits = {"latent_error": 1e-3, "pixel_error": 2}
    for folder, prefix in ((ours, "job-"), (theirs, "")):
        folder.mkdir()
        np.save(folder / f"{prefix}0.latents.npy", latents)
        np.save(folder / f"{prefix}0.pixels.npy", pixels)

    def judged(changed: np.ndarray, name: str) -> bool:
        file = ours / f"job-0.{name}.npy"
        before = file.read_bytes()
        np.save(file, changed)
        verdict = bundle_images.judge(bundle_images.compare(ours, theirs, 0), limits)
        file.write_bytes(before)
        return verdict

    assert judged(latents, "latents") and judged(pixels + np.uint8(2), "pixels")
    far, not_finite = latents.copy(), latents.copy()
    far[0, 0, 0, 0] += 0.005
    not_finite[0, 1, 2, 3] = np.nan
    assert not judged(far, "latents") and not judged(not_finite, "latents")
    assert not judged(pixels + np.uint8(3), "pixels")


def run(
    listed: list[Step], file: Path, seconds: float = 60.0
) -> tuple[bool, list[dict[str, object]]]:
    well = bundle_steps.run_all(listed, "cpu", seconds, file, {})
    return well, json.loads(file.read_text())["steps"]


def script(code: str) -> list[str]:
    return [PYTHON, "-c", code, "OUT"]


WRITES = 'import sys; open(sys.argv[1], "w").write("[1.5]")'


def test_every_step_is_told_with_its_figures_or_its_words(tmp_path: Path) -> None:
    listed = [
        Step("good", script(WRITES), 60),
        Step("fails", script('print("why"); raise SystemExit(3)'), 60),
        Step("fails with figures", script(WRITES + "; raise SystemExit(1)"), 60),
        Step("writes nothing", script("pass"), 60),
        Step("writes no JSON", script('import sys; open(sys.argv[1], "w").write("{")'), 60),
        Step("hangs", script('print("on", flush=True); import time; time.sleep(99)'), 3),
        Step("is not there", [str(tmp_path / "none")], 60),
        Step("lines", script('print("a"); print("b")'), 60, None),
        Step("needs more than there is", script(WRITES), 60, needs_device=True),
    ]
    well, rows = run(listed, tmp_path / "run.json")
    assert not well and [row["name"] for row in rows] == [step.name for step in listed]
    by_name = {str(row["name"]): row for row in rows}
    right = [name for name, row in by_name.items() if row["ok"]]
    assert right == ["good", "lines", "needs more than there is"]
    assert by_name["good"]["figures"] == by_name["fails with figures"]["figures"] == [1.5]
    assert by_name["fails"]["said"] == "why\n" and by_name["fails"]["exit_code"] == 3
    assert str(by_name["hangs"]["said"]).startswith("not done within 3 s\n")
    assert by_name["lines"]["figures"] == ["a", "b"]
    assert by_name["needs more than there is"]["skipped"]
    assert run(listed[:1], tmp_path / "run.json")[0]


def test_steps_without_time_left_are_told(tmp_path: Path) -> None:
    well, rows = run([Step("late", script(WRITES), 60)], tmp_path / "run.json", seconds=0.5)
    assert not well and rows == [{"name": "late", "ok": False, "said": "no time was left"}]


def report(*results: dict[str, object]) -> str:
    return json.dumps({"testsuites": [{"testsuite": list(results)}]})


def test_skipped_tests_do_not_pass_for_run_ones() -> None:
    ran = {"name": "a", "result": "COMPLETED"}
    skipped = {"name": "b", "result": "SKIPPED"}
    failed = {"name": "c", "result": "COMPLETED", "failures": [{}]}
    told = bundle_steps.gtest_figures(report(ran, skipped, failed))
    assert told == {"tests": 3, "skipped": ["b"], "failed": ["c"]}
    with pytest.raises(ValueError):
        bundle_steps.gtest_figures(report(skipped))


def test_all_of_the_gpu_run_that_needs_no_more_than_the_device_is_a_step() -> None:
    steps = bundle_steps.steps("cuda:0")
    commands = " ".join(word for step in steps for word in step.command)
    script_text = (GPU / "run.sh").read_text("utf-8")
    assert "-L gpu" in script_text and "kernels_gpu_test" in commands
    for part in ("test_parity", "test_residency", "device_memory.py", "decode_bench"):
        assert part in script_text
    for part in ("model_gpu_test", "bundle_images", "bundle_residency", "device_memory.py"):
        assert part in commands
    assert "--steps 1" not in commands and "--steps 1" in " ".join(
        word for step in bundle_steps.steps("cpu") for word in step.command
    )
