#!/usr/bin/env python3
"""What a budget gains over uniform formats of as many bytes, as rows for docs/fidelity.md.

budget_gain.py FIDELITY.json

The file is of `tightfit fidelity --formats F,G --budgets F,G --scopes linear+conv`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def psnr(row: dict[str, Any]) -> tuple[float, float]:
    summary = row["samplers"][0]["picture_psnr"]
    return summary["mean_db"], summary["worst_db"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    document = json.loads(parser.parse_args().file.read_text())
    rows = {row["name"]: row for row in document["rows"]}
    print("| format | UNet MB | image PSNR (worst) | budget: UNet MB | image PSNR (worst) | gain |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, budget in rows.items():
        if not name.startswith("budget of ") or name.removeprefix("budget of ") not in rows:
            continue
        uniform = rows[name.removeprefix("budget of ")]
        if budget["resident_bytes"] > uniform["resident_bytes"]:
            raise SystemExit(f"{name} takes more bytes than the format itself")
        cells = [uniform["name"]]
        for row in (uniform, budget):
            mean, worst = psnr(row)
            cells += [f"{row['unet_weight_bytes'] / 1e6:.2f}", f"{mean:.1f} ({worst:.1f}) dB"]
        cells.append(f"{psnr(budget)[0] - psnr(uniform)[0]:+.1f} dB")
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
