#!/usr/bin/env bash
# What needs a GPU: kernels, packed operators, graphs and whole images against the CPU and diffusers, then
# what each format takes of the device, loaded and while sampling, and the time of a step, beside fp16.
#
#   ./tests/gpu/run.sh             on cuda:0; where there is none it says why and ends well
#   ./tests/gpu/run.sh --dry-run   all of it but the device: on the CPU, small
#   ./tests/gpu/run.sh --full      also a model of SDXL's size (random weights: 14 GB of disk, minutes)
set -euo pipefail
cd "$(dirname "$0")/../.."

device=cuda:0 full=0
case "${1:-}" in
  "") ;;
  --dry-run) device=cpu ;;
  --full) full=1 ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "$0"; [[ $1 == -h || $1 == --help ]] && exit 0 || exit 2 ;;
esac

say() { printf '\n== %s (at %d s)\n' "$*" "$SECONDS"; }
if [[ $device == cuda:0 ]]; then
  command -v nvidia-smi >/dev/null || { echo "skipped: this machine has no NVIDIA driver"; exit 0; }
  reason=$(nvidia-smi --list-gpus 2>&1) || { echo "skipped: no GPU answers: ${reason%%$'\n'*}"; exit 0; }
fi

say "install"
./deploy/install.sh --tests --cuda
export PATH="$PWD/.venv/bin:$PATH" PYTHONPATH="$PWD/deploy/export" PYTHONDONTWRITEBYTECODE=1
export TIGHTFIT_BUILD_DIR="$PWD/build/release" TIGHTFIT_DEVICE=$device
# Products of fp32 as exact as those of the oracles.
export NVIDIA_TF32_OVERRIDE=0 OMP_WAIT_POLICY=PASSIVE
source deploy/build.sh

say "build"
build_targets

# What is measured afterwards is worth knowing also where a test fails.
failed=0
say "kernels, operators and graphs"
if [[ $device == cpu ]]; then
  ctest --test-dir build/release --no-tests=error --output-on-failure -R "CudaCodec|runs_dry" || failed=1
else
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  ctest --test-dir build/release --no-tests=error --output-on-failure -L gpu || failed=1
fi

say "images against diffusers; models that leave and return"
python -m pytest -q -p no:cacheprovider -rs tests/python/test_parity.py tests/python/test_parity_prompts.py \
  tests/python/test_parity_vae.py tests/python/test_residency.py || failed=1

say "memory and time of emoji-xl"
unset NVIDIA_TF32_OVERRIDE
small=(--size 256 --steps 4)
[[ $device == cpu ]] && small=(--size 64 --steps 1 --formats fp16,hf8)
python tests/bench/device_memory.py deploy/models/emoji-xl/model --device "$device" "${small[@]}"

if ((full)); then
  say "memory and time at SDXL's size"
  model=build/test-models/sdxl-base
  [[ -f $model/model.json ]] ||
    python -m tightfit_export --random sdxl-base --dtypes fp16 --out "$model"
  python tests/bench/device_memory.py "$model" --device "$device" --scopes attention,linear,linear+conv
  build/release/tests/gpu/decode_bench
fi
((failed)) && { say "tests failed, see above"; exit 1; }
say "all passed"
