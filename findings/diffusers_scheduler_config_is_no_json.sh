#!/usr/bin/env bash
# diffusers 0.42.1: save_pretrained of DPMSolverMultistepScheduler with its own defaults writes
# -Infinity into scheduler_config.json, which is no JSON: strict readers refuse the whole file.
#
# Seen: "lambda_min_clipped": -Infinity,
#       no JSON: -Infinity
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check diffusers==0.42.1 torch==2.11.0
"$folder/venv/bin/pip" freeze --disable-pip-version-check | grep -iE '^(diffusers|torch)=='
cd "$folder"
venv/bin/python - <<'PY'
import json
from pathlib import Path

from diffusers import DPMSolverMultistepScheduler

DPMSolverMultistepScheduler().save_pretrained("scheduler")
text = Path("scheduler/scheduler_config.json").read_text()
print(*[line.strip() for line in text.splitlines() if "Infinity" in line], sep="\n")
words = []
json.loads(text, parse_constant=words.append)
assert words == ["-Infinity"], f"the file is written in another way now: {words}"
print("no JSON:", words[0])
PY
echo "as written"
