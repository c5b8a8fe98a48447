#!/usr/bin/env python3
"""Copies a model directory with other weights in the UNet, for `tightfit fidelity` to measure.

reweight_model.py --model DIR --truncate hf8 --out OUT
    each weight of a Linear or Conv2d layer truncated to an HF format, as the published encoder
    does, instead of rounded
reweight_model.py --model DIR --weights PIPELINE --out OUT
    the UNet's fp32 weights of a diffusers directory

    tightfit fidelity --model OUT --against DIR --formats none --prompts FILE

Files that stay the same are linked. Needs what deploy/install.sh --export installs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "export"))

from tightfit_export.manifest import ComponentFiles, weights_hash  # noqa: E402

FORMATS = ("hf8", "hf8x", "hf10", "hf12")


def truncated(weights: np.ndarray, weight_format: str) -> np.ndarray:
    """The nearest value of the format that is no larger in magnitude; fp16 in, fp16 out."""
    table = np.fromfile(ROOT / "tests" / "golden" / f"{weight_format}_decode.u16", "<u2")
    values = np.unique(np.abs(table.view(np.float16)))
    magnitudes = np.abs(weights)
    if float(magnitudes.max(initial=0)) > float(values[-1]):
        raise ValueError(f"has a weight beyond {weight_format}'s largest, {values[-1]}")
    index = np.searchsorted(values, magnitudes, side="right") - 1
    return np.copysign(values[index], weights)


def sqnr_db(weights: list[np.ndarray], changed: list[np.ndarray]) -> float:
    signal = sum(float(np.square(w.astype(np.float64)).sum()) for w in weights)
    noise = sum(
        float(np.square(w.astype(np.float64) - c).sum())
        for w, c in zip(weights, changed, strict=True)
    )
    return 10 * np.log10(signal / noise)


def link_tree(source: Path, out: Path) -> None:
    """The same files under another name, without a copy where the file system can."""

    def link(old: str, new: str) -> None:
        try:
            os.link(old, new)
        except OSError:
            shutil.copyfile(old, new)

    shutil.copytree(source, out, copy_function=link)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="a model directory")
    parser.add_argument("--out", type=Path, required=True, help="the new one; must not exist")
    change = parser.add_mutually_exclusive_group(required=True)
    change.add_argument("--truncate", choices=FORMATS)
    change.add_argument("--weights", type=Path, metavar="PIPELINE")
    options = parser.parse_args()
    manifest = json.loads((options.model / "model.json").read_text())
    entry = manifest["components"]["unet"]["weights"]
    old = load_file(options.model / entry["file"])
    if options.truncate:
        names = [name for name, weight in old.items() if weight.ndim in (2, 4)]
        new = dict(old)
        for name in names:
            try:
                new[name] = truncated(old[name], options.truncate)
            except ValueError as error:
                print(f"note: {name} {error}; it stays as it is", file=sys.stderr)
        noise_db = sqnr_db([old[n] for n in names], [new[n] for n in names])
        print(f"{len(names)} tensors truncated to {options.truncate}, SQNR {noise_db:.2f} dB")
    else:
        file = options.weights / "unet" / "diffusion_pytorch_model.safetensors"
        new = load_file(file)
        if {n: w.shape for n, w in new.items()} != {n: w.shape for n, w in old.items()}:
            print(f"error: {file} is another network", file=sys.stderr)
            return 1
    link_tree(options.model, options.out)
    target = options.out / entry["file"]
    target.unlink()
    save_file(new, target)
    entry["bytes"] = target.stat().st_size
    entry["sha256"] = hashlib.sha256(target.read_bytes()).hexdigest()
    manifest["hash"] = weights_hash(
        {
            name: ComponentFiles(component["parameter_count"], component["weights"])
            for name, component in manifest["components"].items()
        }
    )
    (options.out / "model.json").unlink()
    (options.out / "model.json").write_text(json.dumps(manifest, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
