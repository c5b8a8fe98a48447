"""`tightfit pack` as users run it, on the small random pipeline; its files as others read them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy
import pytest
from server_process import BUILD, CLI, SERVER

PACK = BUILD / "bin" / "tightfit-pack"
HASHED = ("unet", "text_encoder", "text_encoder_2", "vae")
COMPONENTS = (*HASHED, "vae_encoder")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PACK, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def pack(model: Path, out: Path, *flags: str) -> dict[str, Any]:
    done = run(model, "--out", out, "--json", *flags)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def manifest_of(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "model.json").read_text())
    return content


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_safetensors(path: Path) -> tuple[dict[str, dict[str, Any]], bytes, int]:
    """Entries in file order, all bytes, and where the data begins; by the format's description."""
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    by_offset = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    return dict(by_offset), data, start


def bytes_of(file: tuple[dict[str, dict[str, Any]], bytes, int], name: str) -> bytes:
    entries, data, start = file
    begin, end = entries[name]["data_offsets"]
    return data[start + begin : start + end]


@pytest.fixture(scope="module")
def packed(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed with formats of several kinds. Read only."""
    out = tmp_path_factory.mktemp("packed") / "model"
    pack(tiny_model_dir, out, "--format", "unet=hf8,text_encoder_2=q8,vae=e2m5r:linear")
    return out


def test_the_files_are_what_the_specification_says(packed: Path, tiny_model_dir: Path) -> None:
    manifest, original = manifest_of(packed), manifest_of(tiny_model_dir)
    for component in COMPONENTS:
        listed = manifest["components"][component]["weights"]
        assert listed["file"] == f"{component}.packed.safetensors"
        file = read_safetensors(packed / listed["file"])
        entries, data, start = file
        assert (len(data), sha256(data)) == (listed["bytes"], listed["sha256"])
        said = listed["packed"]
        source = original["components"][component]["weights"]
        assert said["version"] == 1 and said["original_sha256"] == source["sha256"]

        names = list(entries)
        assert names[:2] == ["tightfit.headers", "tightfit.sha256"]
        index_end = start + entries["tightfit.sha256"]["data_offsets"][1]
        assert sha256(data[:index_end]) == said["index_sha256"]
        headers, digests = bytes_of(file, names[0]), bytes_of(file, names[1])
        weights = names[2:]
        packed_names = [name for name in weights if entries[name]["dtype"] == "U8"]
        assert entries[names[0]]["shape"] == [len(packed_names), 128]
        assert entries[names[1]]["shape"] == [len(weights), 32]
        for number, name in enumerate(weights):
            wanted = digests[32 * number : 32 * number + 32]
            assert hashlib.sha256(bytes_of(file, name)).digest() == wanted, name

        before = read_safetensors(tiny_model_dir / source["file"])
        assert set(weights) == set(before[0])
        for number, name in enumerate(packed_names):
            header = headers[128 * number : 128 * number + 128]
            rank = struct.unpack("<H", header[12:14])[0]
            shape = list(struct.unpack("<4Q", header[16:48]))[:rank]
            assert header[:8] == b"TFPACKED" and shape == before[0][name]["shape"], name
            assert header[64:96] == hashlib.sha256(bytes_of(file, name)).digest()
        for name in set(weights) - set(packed_names):
            assert entries[name]["dtype"] == before[0][name]["dtype"]
            assert bytes_of(file, name) == bytes_of(before, name), name


def test_a_row_of_codes_is_channels_last(packed: Path, tiny_model_dir: Path) -> None:
    """hf8 has no scales: a convolution of one value in each channel shows the order."""
    entries, _, _ = file = read_safetensors(packed / "unet.packed.safetensors")
    before = read_safetensors(tiny_model_dir / "unet.safetensors")
    names = [name for name in entries if name.startswith("down_blocks") and "conv" in name]
    name = next(n for n in names if before[0][n]["shape"][2:] == [3, 3])
    k, c, r, s = before[0][name]["shape"]
    assert c % 16 == 0, "rows without padding"
    codes = numpy.frombuffer(bytes_of(file, name), numpy.uint8).reshape(k, r, s, c)
    weights = numpy.frombuffer(bytes_of(before, name), numpy.float16).reshape(k, c, r, s)
    # The code of a weight is a function of the weight alone: equal weights, equal codes.
    seen: dict[int, set[int]] = {}
    ordered = numpy.ascontiguousarray(weights.transpose(0, 2, 3, 1)).view(numpy.uint16)
    for pattern, code in zip(ordered.ravel().tolist(), codes.ravel().tolist(), strict=True):
        seen.setdefault(pattern, set()).add(code)
    assert max(len(of_one) for of_one in seen.values()) == 1
    wrong: dict[int, set[int]] = {}
    for pattern, code in zip(
        weights.view(numpy.uint16).ravel().tolist(), codes.ravel().tolist(), strict=True
    ):
        wrong.setdefault(pattern, set()).add(code)
    assert max(len(of_one) for of_one in wrong.values()) > 1, "control: another order is seen"


def test_everything_but_the_weights_goes_over_as_it_is(packed: Path, tiny_model_dir: Path) -> None:
    def others(directory: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(directory)): path.read_bytes()
            for path in directory.rglob("*")
            if path.is_file() and path.suffix != ".safetensors" and path.name != "model.json"
        }

    assert others(packed) == others(tiny_model_dir)
    manifest, original = manifest_of(packed), manifest_of(tiny_model_dir)
    for component in COMPONENTS:
        manifest["components"][component]["weights"] = original["components"][component]["weights"]
    assert json.dumps(manifest) == json.dumps(original), "keys and their order"


def test_the_document_tells_bytes_and_what_stays_unpacked(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    document = pack(tiny_model_dir, tmp_path / "out", "--format", "e3m4", "--exclude", "conv_in")
    unet, text_encoder, *_ = document["components"]
    assert unet["format"] == "e3m4" and text_encoder["format"] == "fp16"
    excluded = {"module": "conv_in", "why": "excluded by the configuration"}
    assert unet["unpacked_modules"] == [excluded]
    assert unet["bytes"] == (tmp_path / "out" / "unet.packed.safetensors").stat().st_size
    assert unet["bytes"] < 0.6 * unet["original_bytes"]
    assert unet["bits_per_weight"] == pytest.approx(8 * unet["bytes"] / unet["weight_count"])
    assert document["hash"] == manifest_of(tiny_model_dir)["hash"]


def test_equal_input_gives_equal_bytes_whatever_the_threads(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    for name, threads in (("one", "1"), ("three", "3")):
        pack(tiny_model_dir, tmp_path / name, "--threads", threads)
    one, three = ((tmp_path / name / "model.json").read_bytes() for name in ("one", "three"))
    assert one == three


def test_what_was_not_packed_is_the_original_again(tiny_model_dir: Path, tmp_path: Path) -> None:
    pack(tiny_model_dir, tmp_path / "packed", "--format", "fp16")
    done = run("--unpack", tmp_path / "packed", "--out", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert "the original's, bit for bit" in done.stdout
    for path in tiny_model_dir.rglob("*"):
        if path.is_file():
            again = tmp_path / "again" / path.relative_to(tiny_model_dir)
            if path.name == "model.json":
                assert manifest_of(tmp_path / "again") == manifest_of(tiny_model_dir)
            else:
                assert again.read_bytes() == path.read_bytes(), path.name


def test_unpacked_weights_are_close_and_the_hash_is_their_own(
    packed: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    done = run("--unpack", packed, "--out", tmp_path / "dense", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert not document["is_original"]
    originals = {row["name"]: row["is_original"] for row in document["components"]}
    assert originals == {c: c in ("text_encoder", "vae_encoder") for c in COMPONENTS}
    manifest = manifest_of(tmp_path / "dense")
    lines = "".join(
        f"{name} {manifest['components'][name]['weights']['sha256']}\n" for name in HASHED
    )
    assert manifest["hash"] == sha256(lines.encode()) == document["hash"]
    assert manifest["unpacked_from"]["hash"] == manifest_of(tiny_model_dir)["hash"]

    dense = read_safetensors(tmp_path / "dense" / "unet.safetensors")
    before = read_safetensors(tiny_model_dir / "unet.safetensors")
    assert {n: e["shape"] for n, e in dense[0].items()} == {
        n: e["shape"] for n, e in before[0].items()
    }
    signal_energy = noise_energy = 0.0
    for name in before[0]:
        one = numpy.frombuffer(bytes_of(before, name), numpy.float16).astype(numpy.float64)
        other = numpy.frombuffer(bytes_of(dense, name), numpy.float16).astype(numpy.float64)
        signal_energy += float((one**2).sum())
        noise_energy += float(((one - other) ** 2).sum())
    assert 20 < 10 * numpy.log10(signal_energy / noise_energy) < 60


def test_verify_names_each_damaged_file_and_tensor(packed: Path, tmp_path: Path) -> None:
    whole = run("--verify", packed)
    assert whole.returncode == 0 and "all as model.json says" in whole.stdout
    damaged = tmp_path / "damaged"
    shutil.copytree(packed, damaged)
    entries, data, start = read_safetensors(damaged / "unet.packed.safetensors")
    name = "conv_in.weight"
    changed = bytearray(data)
    changed[start + entries[name]["data_offsets"][0]] ^= 16
    (damaged / "unet.packed.safetensors").write_bytes(changed)
    (damaged / "tokenizer" / "merges.txt").unlink()
    found = run("--verify", damaged)
    assert found.returncode == 1 and found.stderr == ""
    lines = [line for line in found.stdout.splitlines() if line.startswith("damaged: ")]
    assert len(lines) == 2
    assert "unet.packed.safetensors" in lines[0] and f'"{name}"' in lines[0]
    assert "tokenizer/merges.txt" in lines[1]
    document = json.loads(run("--verify", damaged, "--json").stdout)
    assert [(part["file"], part["tensor"]) for part in document["damaged"]] == [
        ("unet.packed.safetensors", name),
        ("tokenizer/merges.txt", None),
    ]


@pytest.fixture(scope="module")
def cut(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packed directory in shards of 1.5 MiB. Read only."""
    out = tmp_path_factory.mktemp("cut") / "model"
    done = run(packed, "--upload-shards", "1.5MiB", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "tightfit pack --join" in done.stdout and "unet.packed.safetensors" in done.stdout
    return out


def files_in(directory: Path) -> dict[str, bytes]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_a_directory_in_shards_is_joined_to_the_byte(
    packed: Path, cut: Path, tmp_path: Path
) -> None:
    limit = 3 << 19
    stored, whole = files_in(cut), files_in(packed)
    assert max(map(len, stored.values())) == limit
    listed = json.loads(stored["shards.json"])
    assert listed["shard_bytes"] == limit
    assert {each["file"] for each in listed["files"]} == {
        name for name, data in whole.items() if len(data) > limit
    }
    for each in listed["files"]:
        shards = [stored[shard["file"]] for shard in each["shards"]]
        assert b"".join(shards) == whole[each["file"]]
        assert [sha256(data) for data in shards] == [shard["sha256"] for shard in each["shards"]]
        count = len(shards)
        assert [shard["file"] for shard in each["shards"]] == [
            f"{each['file']}.part-{number + 1:03}-of-{count:03}" for number in range(count)
        ]
    done = run("--join", cut, "--out", tmp_path / "joined", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["files"] == listed["files"] and document["hash"] == manifest_of(packed)["hash"]
    assert files_in(tmp_path / "joined") == whole


def test_whatever_reads_a_directory_in_shards_says_what_to_type(cut: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    commands: list[list[str | Path]] = [
        [PACK, "--verify", cut],
        [PACK, "--unpack", cut, "--out", out],
        [PACK, cut, "--out", out],
        [PACK, cut, "--upload-shards", "2MiB", "--out", out],
        [SERVER, f"--model=x={cut}", "--check"],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        assert "tightfit pack --join DIR --out NEW_DIR" in done.stderr + done.stdout
    assert not out.exists()


def test_a_damaged_upload_is_named_and_nothing_is_written(cut: Path, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    shutil.copytree(cut, upload)
    shard = upload / "unet.packed.safetensors.part-002-of-"
    (shard,) = upload.glob(f"{shard.name}*")
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.write_bytes(data)
    done = run("--join", upload, "--out", tmp_path / "joined")
    assert done.returncode == 1 and shard.name in done.stderr
    assert "its SHA-256 is not the one of shards.json" in done.stderr
    document = json.loads(run("--join", upload, "--out", tmp_path / "joined", "--json").stdout)
    assert document["error"]["reason"] == "CHECKSUM_MISMATCH"
    shard.unlink()
    done = run("--join", upload, "--out", tmp_path / "joined")
    assert done.returncode == 1 and shard.name in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["upload"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_pack_leaves_nothing_that_looks_whole(
    number: signal.Signals, tiny_model_dir: Path, tmp_path: Path
) -> None:
    # nf formats search long: there is time to interrupt.
    flags = ["--format", "unet=nf4.58,text_encoder=nf4.58,text_encoder_2=nf4.58,vae=nf4.58"]
    process = subprocess.Popen(
        [PACK, tiny_model_dir, "--out", tmp_path / "out", "--threads", "1", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.iterdir()) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("it was whole before the signal came")
    assert process.returncode == 128 + number
    assert errors == "interrupted: nothing was written\n"
    assert list(tmp_path.iterdir()) == []


def test_damaged_sources_are_refused_and_leave_nothing(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny_model_dir, source)
    with (source / "vae.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    done = run(source, "--out", tmp_path / "out")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "vae.safetensors" in done.stderr
    assert "CHECKSUM_MISMATCH" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["{model}"], 2, "--out: is missing"),
        (["--out", "{new}"], 2, "MODEL: is missing"),
        (["{model}", "--out", "{new}", "--format", "hf9"], 2, 'there is no format "hf9"'),
        (["{model}", "--out", "{new}", "--format", "unett=hf8"], 2, 'did you mean "unet"'),
        (["{model}", "--out", "{new}", "--scope", "conv"], 2, '"conv" is not attention'),
        (["{model}", "--out", "{new}", "--exclude", "conv_inn"], 1, 'did you mean "conv_in"'),
        (["{model}", "--verify", "{model}"], 2, "no meaning with --verify"),
        (["--unpack", "{model}", "--out", "{new}", "--format", "hf8"], 2, "no meaning with"),
        (["--unpack", "{model}", "--out", "{new}"], 1, "is not packed"),
        (["{packed}", "--out", "{new}"], 1, "unpack it first"),
        (["{model}", "--upload-shards", "2MiB", "--out", "{new}"], 1, "pack it first"),
        (["{packed}", "--upload-shards", "2GiB", "--out", "{new}"], 1, "upload it as it is"),
        (["{packed}", "--upload-shards", "2MiB"], 2, "--out: is missing"),
        (["--upload-shards", "2MiB", "--out", "{new}"], 2, "MODEL: is missing"),
        (["{packed}", "--upload-shards", "2", "--out", "{new}"], 2, "as 1900MiB"),
        (["{packed}", "--upload-shards", "2 TB", "--out", "{new}"], 2, "as 1900MiB"),
        (["{packed}", "--upload-shards", "-2MiB", "--out", "{new}"], 2, "as 1900MiB"),
        (["{packed}", "--upload-shards", "nanMiB", "--out", "{new}"], 2, "as 1900MiB"),
        (["{packed}", "--upload-shards", "0.5MiB", "--out", "{new}"], 2, "from 1.0 MiB to"),
        (
            ["{packed}", "--upload-shards", "2MiB", "--format", "hf8", "--out", "{new}"],
            2,
            "no meaning with --upload-shards",
        ),
        (["{packed}", "--join", "{packed}", "--out", "{new}"], 2, "no meaning with --join"),
        (["--join", "{packed}", "--out", "{new}"], 1, "nothing to join"),
        (["--join", "{packed}"], 2, "--out: is missing"),
        (["{model}", "--out", "{packed}"], 1, "it exists"),
        (["{new}", "--out", "{new}-2"], 1, "model.json"),
        (["--verify", "{new}"], 1, "model.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_misuse_is_one_line_that_says_what_to_do(
    arguments: list[str], code: int, text: str, tiny_model_dir: Path, packed: Path, tmp_path: Path
) -> None:
    places = {"model": tiny_model_dir, "packed": packed, "new": tmp_path / "new"}
    done = run(*(argument.format(**places) for argument in arguments))
    assert done.returncode == code and text in done.stderr, done.stderr
    assert done.stdout == "" and len(done.stderr.splitlines()) == (2 if code == 2 else 1)
    assert list(tmp_path.iterdir()) == []


def test_tightfit_hands_the_command_over(packed: Path) -> None:
    if not CLI.is_file():
        pytest.skip("tightfit was not built")
    done = subprocess.run([CLI, "pack", "--verify", packed], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, other = (
        subprocess.run([CLI, *words], capture_output=True, text=True).stdout
        for words in (["pack", "--help"], ["help", "pack"])
    )
    assert one == other and "Usage: tightfit pack" in one
