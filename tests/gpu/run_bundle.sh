#!/usr/bin/env bash
# Tries a GPU with an archive of tests/gpu/bundle.sh, most important first, within eight minutes: kernels,
# operators and graphs, images beside those of diffusers, models that leave and return, memory and time by
# format. Every figure is in one JSON file, which is written anew after each step.
#
#   tests/gpu/run_bundle.sh ARCHIVE [--dry-run] [--seconds 480] [--json gpu-bundle.json]
#
# --dry-run: all of it but the device, on the CPU. Needs Python 3.10 to 3.14 with the torch 2.11 wheel.
set -euo pipefail
[[ $# -ge 1 && $1 != -* ]] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; [[ ${1:-} == --help ]] && exit 0 || exit 2; }
readonly ARCHIVE=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# By Python, which is there: tar would need xz.
python3 - "$ARCHIVE" "$work" <<'PY'
import sys, tarfile
with tarfile.open(sys.argv[1], "r:xz", ignore_zeros=True) as archive:
    safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    archive.extractall(sys.argv[2], **safe)
PY
python3 "$work/bundle/tests/gpu/bundle_steps.py" "$@"
