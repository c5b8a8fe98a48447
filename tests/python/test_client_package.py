"""The Python client as a package: whole, typed, installable, and its README true."""

from __future__ import annotations

import dataclasses
import enum
import re
import shutil
import subprocess
import sys
import sysconfig
import typing
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from client_sides import PACKAGE, generate_stubs, tightfit
from PIL import Image, ImageChops
from server_process import ROOT, ServerProcess
from tightfit.conversion import fields_of
from tightfit.parameters import build_parameters
from tightfit.v1 import image_generation_pb2, model_pb2, server_pb2


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(PACKAGE, tmp_path_factory.mktemp("wheel"))


def build_wheel(source: Path, out: Path) -> Path:
    arguments = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(out)]
    run([sys.executable, "-m", "pip", "wheel", *arguments, str(source)])
    (built,) = out.glob("*.whl")
    return built


def run(command: list[str], **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


MESSAGES = {
    tightfit.ResolvedParameters: image_generation_pb2.ResolvedParameters,
    tightfit.Size: image_generation_pb2.Size,
    tightfit.Offset: image_generation_pb2.Offset,
    tightfit.Margins: image_generation_pb2.Margins,
    tightfit.Queued: image_generation_pb2.Queued,
    tightfit.Started: image_generation_pb2.Started,
    tightfit.Progress: image_generation_pb2.Progress,
    tightfit.ImageMetadata: image_generation_pb2.ImageMetadata,
    tightfit.Timings: image_generation_pb2.Timings,
    tightfit.PromptTokens: image_generation_pb2.PromptTokens,
    tightfit.Completed: image_generation_pb2.Completed,
    tightfit.RequestWarning: image_generation_pb2.Warning,
    tightfit.Estimate: image_generation_pb2.EstimateImagesResponse,
    tightfit.Model: model_pb2.Model,
    tightfit.ModelDefaults: model_pb2.Model.Defaults,
    tightfit.Component: model_pb2.Component,
    tightfit.Layer: model_pb2.Layer,
    tightfit.ModuleLeft: model_pb2.ModuleLeft,
    tightfit.PurposeBytes: model_pb2.PurposeBytes,
    tightfit.ServerInfo: server_pb2.GetServerInfoResponse,
    tightfit.Device: server_pb2.Device,
    tightfit.Capabilities: server_pb2.GetCapabilitiesResponse,
    tightfit.WeightFormat: server_pb2.WeightFormat,
}


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_every_field_of_the_contract_has_its_place(kind: type) -> None:
    told = {source for source, _ in fields_of(kind).values()}
    assert told == {field.name for field in MESSAGES[kind].DESCRIPTOR.fields}


def test_every_field_of_a_request_is_a_keyword() -> None:
    fields = {field.name for field in image_generation_pb2.ImageParameters.DESCRIPTOR.fields}
    assert set(typing.get_type_hints(tightfit.ImageParameters)) | {"prompt"} == fields


def test_every_keyword_reaches_its_field() -> None:
    values = {str: "x", int: 7, float: 0.5, bool: True, tightfit.Size: (3, 4)}
    values[tightfit.PromptSyntax] = tightfit.PromptSyntax.PLAIN
    values[tightfit.InpaintArea] = tightfit.InpaintArea.MASKED
    values[tightfit.Margins] = (5, 6, 7, 8)
    values[Sequence[bytes]] = [b"x", b"y"]
    values[bytes] = b"x"
    given = {}
    for name, hint in typing.get_type_hints(tightfit.ImageParameters).items():
        kinds = typing.get_args(hint)
        given[name] = (5, 6) if tightfit.Offset in kinds else values[kinds[0]]
    message = build_parameters("a cat", given)
    assert message.prompt == "a cat"
    for name, value in given.items():
        if isinstance(value, tuple):
            pair = getattr(message, name)
            assert tuple(each for _, each in pair.ListFields()) == value
        elif isinstance(value, enum.Enum):
            number = getattr(message, name)
            described = message.DESCRIPTOR.fields_by_name[name].enum_type
            assert described.values_by_number[number].name.endswith(f"_{value.name}")
            by_name = build_parameters("a cat", {name: value.value})
            assert getattr(by_name, name) == getattr(message, name)
        elif isinstance(value, list):
            assert list(getattr(message, name)) == value
        else:
            assert getattr(message, name) == value
            assert type(getattr(message, name)) is type(value)
    assert build_parameters("", dict.fromkeys(given)).ByteSize() == 0


def test_enums_name_every_value_of_the_contract() -> None:
    for kind, described in (
        (tightfit.Stage, image_generation_pb2.Stage.DESCRIPTOR),
        (tightfit.PromptSyntax, image_generation_pb2.PromptSyntax.DESCRIPTOR),
        (tightfit.InpaintArea, image_generation_pb2.InpaintArea.DESCRIPTOR),
        (tightfit.ModelState, model_pb2.Model.State.DESCRIPTOR),
        (tightfit.Admission, image_generation_pb2.EstimateImagesResponse.Admission.DESCRIPTOR),
    ):
        prefix = described.values[0].name.removesuffix("UNSPECIFIED")
        names = [value.name.removeprefix(prefix).lower() for value in described.values]
        assert [member.value for member in kind] == names


def test_results_are_frozen_and_everything_is_exported() -> None:
    for kind in MESSAGES:
        if dataclasses.is_dataclass(kind):
            assert kind.__dataclass_params__.frozen, kind  # type: ignore[attr-defined]
    assert sorted(tightfit.__all__) == tightfit.__all__
    missing = [name for name in tightfit.__all__ if not hasattr(tightfit, name)]
    assert not missing


def test_the_types_pass_mypy_strict(tmp_path: Path) -> None:
    """And users' mistakes do not: the keyword arguments are typed."""
    good = """import tightfit
reveal_type(tightfit.Client().generate("x", seed=1).images[0].pil)
with tightfit.Client().watch_models() as models:
    reveal_type(next(models))
async def watch() -> None:
    async with tightfit.AsyncClient().watch_models(timeout=1.5) as models:
        async for model in models:
            reveal_type(model.state)
"""
    (tmp_path / "good.py").write_text(good)
    bad = """import tightfit
tightfit.Client().generate("x", seed="1")
tightfit.AsyncClient().stream("x", sede=1)
tightfit.Client().watch_models("emoji-xl")
"""
    (tmp_path / "bad.py").write_text(bad)
    command = [sys.executable, "-m", "mypy", "--config-file", str(PACKAGE / "pyproject.toml")]
    cache = ["--cache-dir", str(ROOT / "build" / "mypy-cache")]
    files = [str(PACKAGE / "src" / "tightfit"), str(tmp_path / "good.py")]
    done = run([*command, *cache, *files, "--strict"], cwd=PACKAGE)
    revealed = re.findall(r'Revealed type is "(.*)"', done)
    assert revealed == [
        "PIL.Image.Image",
        "tightfit.server_types.Model",
        "tightfit.server_types.ModelState",
    ]
    refused = subprocess.run(
        [*command, *cache, str(tmp_path / "bad.py")], capture_output=True, text=True, cwd=PACKAGE
    )
    assert refused.returncode == 1
    assert re.search(r'bad.py:2: error: .*"seed".*"str"', refused.stdout), refused.stdout
    assert re.search(r'bad.py:3: error: .*"sede"', refused.stdout), refused.stdout
    assert re.search(r"bad.py:4: error: Too many positional", refused.stdout), refused.stdout


def test_the_wheel_carries_the_contract_of_this_checkout(wheel: Path, tmp_path: Path) -> None:
    generated = generate_stubs.generate(ROOT / "proto", tmp_path)
    wanted = {f"tightfit/v1/{path.name}": path.read_bytes() for path in generated}
    sources = {
        f"tightfit/{path.name}": path.read_bytes()
        for path in (PACKAGE / "src" / "tightfit").iterdir()
        if path.is_file()
    }
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert {name: archive.read(name) for name in names} == {**wanted, **sources}
        metadata = archive.read(f"tightfit-{tightfit.__version__}.dist-info/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert {line.split()[1] for line in metadata.splitlines() if line.startswith("Requires-Dist")}


def test_a_source_distribution_builds_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    out = tmp_path / "sdist"
    run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(out)], cwd=PACKAGE)
    (archive,) = out.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path)
    again = build_wheel(tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert first.namelist() == second.namelist()


def test_the_wheel_installs_in_a_fresh_environment_and_draws(
    wheel: Path, server: ServerProcess, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    run([sys.executable, "-m", "venv", "--without-pip", str(environment)])
    python = str(environment / "bin" / "python")
    command = [sys.executable, "-m", "pip", "--python", python, "install"]
    run([*command, "--no-index", "--no-deps", str(wheel)])
    # The dependencies come from the environment of the tests; the package does not.
    (site,) = environment.glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    code = (
        "import sys, tightfit\n"
        "assert tightfit.__file__.startswith(sys.prefix), tightfit.__file__\n"
        "with tightfit.Client(sys.argv[1]) as client:\n"
        "    client.generate('red apple', step_count=2).images[0].save('apple.png')\n"
    )
    run([python, "-I", "-W", "error", "-c", code, server.address], cwd=tmp_path)
    assert Image.open(tmp_path / "apple.png").size == (64, 64)


def readme_blocks(language: str) -> list[str]:
    text = (PACKAGE / "README.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_readmes_example_draws(server: ServerProcess, tmp_path: Path) -> None:
    example = readme_blocks("python")[0]
    assert len(example.splitlines()) <= 20
    environment = {**server.environment(), "PYTHONPATH": str(PACKAGE / "src")}
    told = run([sys.executable, "-c", example], cwd=tmp_path, env=environment)
    assert "denoise 30 of 30" in told and "unet hf8 " in told
    assert [Image.open(file).size for file in sorted(tmp_path.glob("apple-*.png"))] == [
        (512, 512),
        (512, 512),
    ]
    assert Image.open(tmp_path / "apple.png").size == (64, 64)


def test_the_readmes_parts_of_the_denoising_draw(server: ServerProcess, tmp_path: Path) -> None:
    environment = {**server.environment(), "PYTHONPATH": str(PACKAGE / "src")}
    told = run([sys.executable, "-c", readme_blocks("python")[1]], cwd=tmp_path, env=environment)
    with tightfit.Client(server.address) as client:
        asked = {"seed": 1, "step_count": 20, "sampler": "euler"}
        wanted = client.generate("red apple", **asked).images[0].pil
    drawn = Image.open(tmp_path / "apple.png")
    differences = ImageChops.difference(drawn, wanted).getextrema()
    # bf16 where the CPU has it: latents are handed over in fp32, so nothing more is rounded.
    assert max(most for _, most in differences) <= 1, differences
    assert told.startswith("(4, ")


def test_the_readmes_image_to_draw_over_is_drawn_over(
    server: ServerProcess, tmp_path: Path
) -> None:
    environment = {**server.environment(), "PYTHONPATH": str(PACKAGE / "src")}
    run([sys.executable, "-c", readme_blocks("python")[2]], cwd=tmp_path, env=environment)
    assert (tmp_path / "green.png").is_file() and (tmp_path / "worm.png").is_file()


def test_the_readmes_stubs_draw_without_the_package(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "proto").symlink_to(ROOT / "proto")
    install, *commands = readme_blocks("bash")[0].splitlines()
    assert install == "pip install grpcio-tools"  # which the tests' environment has
    environment = server.environment()
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment.pop("PYTHONPATH", None)
    run(["bash", "-ec", "\n".join(commands)], cwd=tmp_path, env=environment)
    example = readme_blocks("python")[3]
    assert len(example.splitlines()) <= 25
    told = run([sys.executable, "-c", example], cwd=tmp_path, env=environment)
    assert "seed 1" in told and "step 20 of 20" in told
    with tightfit.Client(server.address) as client:
        wanted = client.generate("red apple", seed=1).images[0].content
    assert (tmp_path / "apple.png").read_bytes() == wanted
