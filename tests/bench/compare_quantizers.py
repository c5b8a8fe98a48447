#!/usr/bin/env python3
"""Compares tightfit's formats with other quantizers on the same weights.

compare_quantizers.py --model DIRECTORY       the UNet of a diffusers pipeline
compare_quantizers.py FILE                    any safetensors file

Bits per weight and signal to noise of every format of tightfit, bitsandbytes' NF4, torchao's int8
and float8, and torch's cast to fp8, as a Markdown table. No test calls it: run it by hand with the
packages of requirements-compare.txt. No GPU is needed.

All see the same matrices: the tensors that `tightfit-weights report` measured, rounded to fp16, a
convolution as [output channel, kernel height x kernel width x input channel]. The others never see
a convolution as such: they are given each matrix as the weight of a Linear layer, and their result
is decoded by their own code, to fp16. Signal and noise are summed over all tensors. Stored are
codes and scales; tables that are the same for every tensor (NF4's 16 levels) are not counted, nor
are headers of files. SQNR is "-" where there is no noise, or where a quantizer makes NaN.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TIGHTFIT_BUILD_DIR", ROOT / "build" / "release"))
REQUIREMENTS = "tests/bench/requirements-compare.txt"

try:
    import bitsandbytes.functional as bnb
    import torch
    from safetensors import SafetensorError, safe_open
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_
except ImportError as _error:
    sys.exit(f"error: {_error}: see {REQUIREMENTS}")


class CompareError(Exception):
    """A failure for people: one line."""


@dataclass
class Row:
    """One line of the table; energies are sums over all tensors."""

    name: str
    kind: str
    stored_bytes: int = 0
    weight_count: int = 0
    signal_energy: float = 0.0
    noise_energy: float = 0.0
    left_tensor_count: int = 0  # left in fp16, as the format cannot take them

    @property
    def bits_per_weight(self) -> float:
        return self.stored_bytes * 8 / self.weight_count

    @property
    def sqnr_db(self) -> float | None:
        """None where there is no noise, or no finite one."""
        if not (0 < self.noise_energy < math.inf) or self.signal_energy == 0:
            return None
        return 10 * math.log10(self.signal_energy / self.noise_energy)


# A matrix of fp16 -> what its codes decode to, and the bytes of codes and scales.
Quantize = Callable[[torch.Tensor], tuple[torch.Tensor, int]]


@dataclass
class Quantizer:
    """Another project's format."""

    name: str
    kind: str
    package: str
    quantize: Quantize = field(repr=False)


def bytes_of(*tensors: torch.Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def nf4(double: bool) -> Quantize:
    """bitsandbytes, 64 weights a block. `double`: the scales quantized too, 256 to an fp32."""

    def quantize(matrix: torch.Tensor) -> tuple[torch.Tensor, int]:
        packed, state = bnb.quantize_4bit(
            matrix, blocksize=64, compress_statistics=double, quant_type="nf4"
        )
        stored = [packed, state.absmax]
        if double:
            stored += [state.state2.absmax, state.offset]
        return bnb.dequantize_4bit(packed, state), bytes_of(*stored)

    return quantize


def torchao(config: Any) -> Quantize:
    """What torchao's quantize_ makes of the weight of a Linear layer."""

    def quantize(matrix: torch.Tensor) -> tuple[torch.Tensor, int]:
        rows, columns = matrix.shape
        layer = torch.nn.Linear(columns, rows, bias=False, device="meta")
        layer.weight = torch.nn.Parameter(matrix, requires_grad=False)
        quantize_(layer, config)
        weight: Any = layer.weight
        names, _ = weight.__tensor_flatten__()
        return weight.dequantize(), bytes_of(*(getattr(weight, name) for name in names))

    return quantize


def fp8_cast(matrix: torch.Tensor) -> tuple[torch.Tensor, int]:
    codes = matrix.to(torch.float8_e4m3fn)
    return codes.to(torch.float16), bytes_of(codes)


QUANTIZERS = (
    Quantizer("NF4", "fp32 scale per 64", "bitsandbytes", nf4(double=False)),
    Quantizer("NF4, double", "uint8 scale per 64", "bitsandbytes", nf4(double=True)),
    Quantizer(
        "int8 weight-only",
        "fp32 scale and int8 zero point a row",
        "torchao",
        torchao(Int8WeightOnlyConfig()),
    ),
    Quantizer(
        "float8 weight-only", "fp32 scale a row", "torchao", torchao(Float8WeightOnlyConfig())
    ),
    Quantizer("float8_e4m3fn cast", "no scale", "torch", fp8_cast),
)
SCALINGS = {  # of tightfit-weights formats --json
    "none": "no scale",
    "tensor": "2^n a tensor, side list",
    "row": "fp16 scale a row",
    "block32": "fp16 scale per 32",
    "block64": "uint8 scale per 64",
}


def tightfit_json(program: Path, *arguments: str) -> Any:
    """The document that `tightfit-weights ARGUMENTS --json` writes. Its progress is shown."""
    command = [str(program), *arguments, "--json"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise CompareError(
            f"cannot run {program}: {error.strerror}; name it with --tightfit-weights"
        ) from error
    if done.returncode == 1:
        sys.exit(1)  # it has told why on stderr
    if done.returncode != 0:
        raise CompareError(f"tightfit-weights {arguments[0]} ended with code {done.returncode}")
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise CompareError(f"tightfit-weights {arguments[0]} wrote no JSON: {error}") from error


def tightfit_rows(report: Any, formats: Any) -> list[Row]:
    """Every format of the report, all tensors together."""
    scaling = {f["name"]: f["scaling"] for f in formats["formats"]}
    return [
        Row(
            name=f["format"],
            kind=f"tightfit, {SCALINGS.get(scaling[f['format']], scaling[f['format']])}",
            stored_bytes=f["stored_bytes"],
            weight_count=report["weight_count"],
            signal_energy=f["signal_energy"],
            noise_energy=f["noise_energy"],
            left_tensor_count=f["left_tensor_count"],
        )
        for f in report["all_tensors"]["formats"]
    ]


def matrices(file: Path, report: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The report's tensors as matrices of fp16, one at a time."""
    with safe_open(file, framework="pt") as source:
        for entry in report["tensors"]:
            name = entry["name"]
            tensor = source.get_tensor(name).to(torch.float16)
            if tensor.dim() == 4:
                tensor = tensor.permute(0, 2, 3, 1)
            matrix = tensor.reshape(tensor.shape[0], -1).contiguous()
            if not torch.isfinite(matrix).all():
                raise CompareError(f"{name} holds what fp16 cannot: nothing to compare")
            signal = energy(matrix)
            told = entry["formats"][0]["signal_energy"]
            if not math.isclose(signal, told, rel_tol=1e-9):
                raise CompareError(f"{name}: {signal} of signal here, {told} in tightfit's report")
            yield name, matrix


def energy(tensor: torch.Tensor) -> float:
    return float(tensor.double().square().sum())


def other_rows(file: Path, report: Any) -> list[Row]:
    """What the others make of the report's tensors."""
    versions = {q.package: importlib.metadata.version(q.package) for q in QUANTIZERS}
    rows = [Row(q.name, f"{q.package} {versions[q.package]}, {q.kind}") for q in QUANTIZERS]
    shown = time.monotonic()
    for index, (name, matrix) in enumerate(matrices(file, report)):
        signal = energy(matrix)
        for quantizer, row in zip(QUANTIZERS, rows, strict=True):
            decoded, stored_bytes = quantizer.quantize(matrix)
            if decoded.shape != matrix.shape or decoded.dtype != torch.float16:
                raise CompareError(
                    f"{name}: {quantizer.package}'s {quantizer.name} decodes to "
                    f"{decoded.dtype} of shape {list(decoded.shape)}"
                )
            row.stored_bytes += stored_bytes
            row.weight_count += matrix.numel()
            row.signal_energy += signal
            row.noise_energy += energy(decoded.double() - matrix.double())
        if time.monotonic() - shown > 2:
            shown = time.monotonic()
            print(f"others {index + 1}/{report['tensor_count']}", file=sys.stderr)
    return rows


def markdown(rows: list[Row]) -> str:
    lines = [
        "| name | kind | bits per weight | SQNR | bytes |",
        "|---|---|---:|---:|---:|",
    ]
    for row in rows:
        left = f" ({row.left_tensor_count} left in fp16)" if row.left_tensor_count else ""
        sqnr = "-" if row.sqnr_db is None else f"{row.sqnr_db:.2f} dB"
        lines.append(
            f"| `{row.name}`{left} | {row.kind} | {row.bits_per_weight:.3f} | {sqnr} "
            f"| {row.stored_bytes:,} |"
        )
    return "\n".join(lines)


def document(rows: list[Row], file: Path, report: Any) -> dict[str, Any]:
    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "file": str(file),
        "scope": report["scope"],
        "tensor_count": report["tensor_count"],
        "weight_count": report["weight_count"],
        "torch_version": torch.__version__,
        "rows": [
            {
                **asdict(row),
                "noise_energy": finite(row.noise_energy),
                "bits_per_weight": row.bits_per_weight,
                "sqnr_db": row.sqnr_db,
            }
            for row in rows
        ],
    }


def unet_of(model: Path) -> Path:
    """The one file of weights of a diffusers pipeline's UNet."""
    files = sorted((model / "unet").glob("*.safetensors"))
    if len(files) != 1:
        raise CompareError(
            f"{model / 'unet'} holds {len(files)} safetensors files, not one; name a file instead"
        )
    return files[0]


def compare(arguments: argparse.Namespace) -> str:
    file = arguments.file or unet_of(arguments.model)
    program = arguments.tightfit_weights
    formats = tightfit_json(program, "formats")
    report = tightfit_json(program, "report", str(file), "--scope", arguments.scope)
    rows = tightfit_rows(report, formats) + other_rows(file, report)
    rows.sort(key=lambda row: (row.bits_per_weight, -(row.sqnr_db or 0.0)))
    if arguments.json:
        return json.dumps(document(rows, file, report), indent=2, allow_nan=False)
    return markdown(rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("file", nargs="?", type=Path, help="a safetensors file")
    source.add_argument("--model", type=Path, help="a diffusers directory: its UNet")
    parser.add_argument(
        "--tightfit-weights",
        type=Path,
        default=BUILD / "bin" / "tightfit-weights",
        help="the program; default: of the folder TIGHTFIT_BUILD_DIR, or of build/release",
    )
    parser.add_argument(
        "--scope",
        choices=("attention", "linear", "linear+conv"),
        default="linear+conv",
        help="which tensors, as a server's scope; default: linear+conv",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    try:
        print(compare(arguments))
    except (CompareError, OSError, SafetensorError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
