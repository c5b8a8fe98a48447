#!/usr/bin/env python3
"""The table of docs/fidelity.md, from documents of `tightfit fidelity`.

fidelity_table.py FIDELITY.json... [--against LABEL FIDELITY.json]...

The first files hold floors and formats in all three scopes, with the samplers euler and euler-a;
their rows are joined. Each --against adds the last row of a document under another label, such as
"`hf8` truncated" for a model directory of reweight_model.py.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

HEADING = """\
| weights | UNet MB | weight SQNR | UNet output SQNR | latents, 1 step | `attention` | `linear` | \
`linear+conv` (worst) | SSIM | `euler-a` (worst) | recognised |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"""

Row = dict[str, Any]


def decibels(summary: dict[str, Any], with_worst: bool = False) -> str:
    if summary["mean_db"] is None:
        return "identical"
    worst = f" ({summary['worst_db']:.1f})" if with_worst else ""
    return f"{summary['mean_db']:.1f}{worst}"


def line(label: str, row: Row, prompt_count: int, scopes: tuple[str, str] = ("", "")) -> str:
    euler, ancestral = row["samplers"]
    sqnr_db = row["weight_sqnr_db"]
    cells = [
        label,
        f"{row['unet_weight_bytes'] / 1e6:.1f}",
        "" if sqnr_db is None else f"{sqnr_db:.1f}",
        decibels(row["unet_output_sqnr"]),
        decibels(row["one_step_latent_psnr"]),
        *scopes,
        decibels(euler["picture_psnr"], with_worst=True),
        f"{euler['mean_ssim']:.4f}",
        decibels(ancestral["picture_psnr"], with_worst=True),
        f"{euler['recognised_count']}/{prompt_count}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    against = parser.add_argument("--against", nargs=2, action="append", default=[])
    against.metavar = ("LABEL", "FILE")
    options = parser.parse_args()
    documents = [json.loads(file.read_text()) for file in options.files]
    count = documents[0]["labelled_prompt_count"]
    floors = [row for row in documents[0]["rows"] if row["scope"] is None]
    packed = [row for document in documents for row in document["rows"] if row["scope"]]
    by_scope = {(row["name"], row["scope"]): row for row in packed}
    whole = [row for row in packed if row["scope"] == "linear+conv"]
    # By size, then by what is lost.
    whole.sort(
        key=lambda row: (
            row["unet_weight_bytes"] // 100_000,
            row["samplers"][0]["picture_psnr"]["mean_db"],
        )
    )
    print(HEADING)
    for row in floors:
        print(line(f"*{row['name']}*", row, count))
    for row in whole:
        others = [by_scope[row["name"], scope] for scope in ("attention", "linear")]
        scopes = [decibels(other["samplers"][0]["picture_psnr"]) for other in others]
        print(line(f"`{row['name']}`", row, count, (scopes[0], scopes[1])))
    for label, file in options.against:
        print(line(label, json.loads(Path(file).read_text())["rows"][-1], count))


if __name__ == "__main__":
    main()
