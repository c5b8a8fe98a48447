"""--source OWNER/NAME takes the needed files of a hub repository, and says why where it cannot.

The hub is played by a folder: its listing and its download are the two calls that are replaced.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import httpx2
import pytest
from huggingface_hub import constants, errors

from tightfit_export import COMPONENTS
from tightfit_export.cli import main
from tightfit_export.errors import SourceError
from tightfit_export.hub import looks_like_repository, needed_files
from tightfit_export.open_source import SourceOptions, open_source
from tightfit_export.progress import Progress
from tightfit_export.source_pipeline import SourcePipeline, WeightFiles

REPOSITORY = "somebody/some-xl"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """One repository; `cache` is what was downloaded of it."""

    def __init__(self, files: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files = files
        self.folder = cache / COMMIT
        self.calls: list[str] = []
        self.failure: Exception | None = None  # of the listing
        self.broken: Exception | None = None  # of the download
        # As it is where the exporter is imported before the hub's library.
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", self._model_info)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self._snapshot_download)

    def names(self) -> list[str]:
        return sorted(str(p.relative_to(self.files)) for p in self.files.rglob("*") if p.is_file())

    def downloaded(self) -> list[str]:
        paths = self.folder.rglob("*")
        return sorted(str(p.relative_to(self.folder)) for p in paths if p.is_file())

    def _model_info(self, repository: str, *, revision: Any = None, files_metadata: bool) -> Any:
        assert constants.HF_HUB_OFFLINE is False and files_metadata
        self.calls.append(f"list {repository} {revision}")
        if self.failure:
            raise self.failure
        return SimpleNamespace(
            siblings=[SimpleNamespace(rfilename=name, size=5) for name in self.names()]
        )

    def _snapshot_download(
        self,
        repository: str,
        *,
        revision: Any = None,
        allow_patterns: list[str],
        local_files_only: bool = False,
    ) -> str:
        self.calls.append(f"{'find' if local_files_only else 'download'} {repository} {revision}")
        if self.broken:
            raise self.broken
        if local_files_only:
            if not self.folder.is_dir():
                raise errors.LocalEntryNotFoundError("not there")
            return str(self.folder)
        for name in self.names():
            if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                place = self.folder / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(self.files / name)
        return str(self.folder)


@pytest.fixture
def hub(
    copy_of_source: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FakeHub:
    """Plain and fp16 weights, as the hub has them, with files that nobody here needs."""
    files = copy_of_source()
    for path in sorted(files.rglob("*.safetensors")):
        path.with_suffix(".fp16.safetensors").symlink_to(path.resolve())
    for name in ("unet/model.onnx", "unet/diffusion_pytorch_model.bin", "x.png"):
        (files / name).touch()
    (files / "sdxl.safetensors").touch()
    (files / "vae_decoder").mkdir()
    (files / "vae_decoder" / "model.safetensors").touch()
    (files / "README.md").write_text("---\nlicense: openrail++\n---\n")
    return FakeHub(files, tmp_path / "cache", monkeypatch)


def opened(**options: Any) -> SourcePipeline:
    return open_source(SourceOptions(REPOSITORY, **options), Progress(quiet=True))


def weight_names(pipeline: SourcePipeline) -> list[str]:
    names = []
    for component in COMPONENTS:
        origin = pipeline.weights[component]
        assert isinstance(origin, WeightFiles)
        names += [path.name for path in origin.files]
    return names


def test_only_what_an_export_reads_is_downloaded(hub: FakeHub) -> None:
    pipeline = opened(revision="main")
    # Configurations first, then weights.
    assert hub.calls == [f"list {REPOSITORY} main", *[f"download {REPOSITORY} main"] * 2]
    assert hub.downloaded() == sorted(
        [
            "README.md",
            "model_index.json",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/model.fp16.safetensors",
            "text_encoder_2/config.json",
            "text_encoder_2/model.fp16.safetensors",
            "tokenizer/tokenizer.json",
            "tokenizer/tokenizer_config.json",
            "tokenizer_2/tokenizer.json",
            "tokenizer_2/tokenizer_config.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.fp16.safetensors",
        ]
    )
    assert pipeline.description == {"kind": "hub", "name": REPOSITORY, "revision": COMMIT}
    assert pipeline.name == "some-xl"
    # Afterwards no library can fetch anything.
    assert constants.HF_HUB_OFFLINE is True


def test_what_cannot_be_served_is_refused_before_its_weights_are_fetched(hub: FakeHub) -> None:
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
    (hub.files / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match="flow matching"):
        opened()
    assert "scheduler/scheduler_config.json" in hub.downloaded()
    assert not [name for name in hub.downloaded() if name.endswith(".safetensors")]


def test_the_variant_is_fp16_unless_another_is_named(hub: FakeHub) -> None:
    assert all(".fp16." in name for name in weight_names(opened()))
    for component in ("unet", "vae", "text_encoder", "text_encoder_2"):
        for path in (hub.files / component).glob("*.fp16.safetensors"):
            path.rename(path.with_name(path.name.replace("fp16", "bf16")))
    hub.folder.rename(hub.folder.with_name("earlier"))
    assert not any("bf16" in name for name in weight_names(opened()))  # the plain files
    assert not any("bf16" in name for name in hub.downloaded())
    hub.folder.rename(hub.folder.with_name("plain"))
    assert all(".bf16." in name for name in weight_names(opened(variant="bf16")))


def test_shards_of_the_chosen_weights_are_taken_with_their_index() -> None:
    base = ["model_index.json"]
    for component in ("vae", "text_encoder", "text_encoder_2"):
        base.append(f"{component}/model.safetensors")
    stem = "unet/diffusion_pytorch_model"
    plain = [f"{stem}-0000{n}-of-00002.safetensors" for n in (1, 2)]
    half = [f"{stem}.fp16-0000{n}-of-00002.safetensors" for n in (1, 2)]
    indices = [f"{stem}.safetensors.index.json", f"{stem}.safetensors.index.fp16.json"]
    files = [*base, *plain, *half, *indices]
    assert set(needed_files(files, None)) == {*base, *half, indices[1]}
    files = [*base, *plain, indices[0], f"{stem}.non_ema-00001-of-00002.safetensors"]
    assert set(needed_files(files, None)) == {*base, *plain, indices[0]}


def test_a_repository_without_a_pipeline_says_what_it_has(hub: FakeHub) -> None:
    (hub.files / "model_index.json").unlink()
    with pytest.raises(SourceError, match="no diffusers pipeline; download sdxl.safetensors"):
        opened()
    assert hub.downloaded() == []


def test_offline_takes_the_cache_alone(hub: FakeHub) -> None:
    with pytest.raises(SourceError, match="not in the hub's cache; without --offline"):
        opened(offline=True)
    opened()
    hub.calls.clear()
    assert opened(offline=True).description["revision"] == COMMIT
    assert hub.calls == [f"find {REPOSITORY} None"]


def test_without_a_network_the_cache_serves(
    hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.failure = httpx2.ConnectError("[Errno -2] Name or service not known")
    with pytest.raises(SourceError, match=r"cannot be reached \(\[Errno -2\] Name or service"):
        opened()
    hub.failure = None
    opened()
    hub.failure = httpx2.ConnectError("down")
    assert opened().description["revision"] == COMMIT
    assert "is taken from the cache" in capsys.readouterr().err


def test_a_download_that_breaks_off_is_one_line(hub: FakeHub) -> None:
    hub.broken = errors.LocalEntryNotFoundError("gone\nand more")
    with pytest.raises(SourceError, match=r"cannot be reached \(gone\); .* goes on with the down"):
        opened()


def http_error(kind: type[errors.HfHubHTTPError], status: int, text: str) -> Exception:
    request = httpx2.Request("GET", "https://hub/api")
    return kind(text, response=httpx2.Response(status, request=request))


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        (errors.GatedRepoError, 403, "is gated: accept its terms .* `hf auth login`"),
        (errors.RepositoryNotFoundError, 401, "no repository of the hub that you may read"),
        (errors.RevisionNotFoundError, 404, "has no revision 'v9'"),
        (errors.HfHubHTTPError, 500, "the hub refuses: first line"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    hub: FakeHub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: type[errors.HfHubHTTPError],
    status: int,
    expected: str,
) -> None:
    hub.failure = http_error(kind, status, "first line\nsecond line")
    arguments = ["--source", REPOSITORY, "--revision", "v9", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(expected, line)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("stabilityai/stable-diffusion-xl-base-1.0", True),
        ("a/b", True),
        ("a/b/c", False),
        ("./a/b", False),
        ("../b", False),
        ("/a/b", False),
        ("a", False),
        ("a b/c", False),
    ],
)
def test_what_looks_like_a_repository(text: str, is_one: bool) -> None:
    assert looks_like_repository(text) is is_one


def test_a_path_comes_before_a_repository(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "somebody"
    place.mkdir()
    (place / "some-xl").symlink_to(hub.files)
    monkeypatch.chdir(tmp_path)
    assert opened().description["kind"] == "diffusers"
    assert hub.calls == []


def test_a_hub_pipelines_manifest_names_repository_and_commit(
    without_graphs: None, hub: FakeHub, tiny_model_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert main(["--source", REPOSITORY, "--out", str(out), "--dtypes", "fp32", "--quiet"]) == 0
    content = json.loads((out / "model.json").read_text())
    assert content["source"] == {"kind": "hub", "name": REPOSITORY, "revision": COMMIT}
    assert content["license"] == "openrail++"
    expected = json.loads((tiny_model_dir / "model.json").read_text())
    assert content["hash"] == expected["hash"]
