#!/usr/bin/env bash
# Builds and passes every test that needs no GPU.
#
#   ./tests/run.sh          what CI runs
#   ./tests/run.sh --full   also the sanitizer build, the long tests, an hour of fuzzing and the container image
set -euo pipefail
cd "$(dirname "$0")/.."

full=0
case "${1:-}" in
  "") ;;
  --full) full=1 ;;
  *) sed -n '2,5s/^# \{0,1\}//p' "$0"; [[ $1 == -h || $1 == --help ]] && exit 0 || exit 2 ;;
esac

phase() { printf '\n== %s (at %d s)\n' "$1" "$SECONDS"; }
jobs=$(nproc)

phase "install"
./deploy/install.sh --tests
if ((full)); then ./deploy/install.sh --examples; fi
export PATH="$PWD/.venv/bin:$PATH" PYTHONPATH="$PWD/deploy/export" PYTHONDONTWRITEBYTECODE=1
# Spinning OpenMP threads of one test starve the others on two cores.
export OMP_WAIT_POLICY=PASSIVE
source deploy/build.sh

phase "build"
build_targets

phase "ctest"
TIGHTFIT_FULL=$full ctest --test-dir build/release --output-on-failure --parallel "$jobs"

# A worker holds up to 1 GB: not one for each processor of a large machine.
workers=$((jobs < 4 ? jobs : 4))
python_tests() {
  TIGHTFIT_BUILD_DIR="$PWD/build/release" TIGHTFIT_FULL=$full \
    python -m pytest tests/python -q -p no:cacheprovider --durations=8 "$@"
}
phase "pytest, $workers at a time"
# Files stay whole, which keep one server for their tests, and begin in the order of conftest.py.
python_tests -m "not alone" -n "$workers" --dist loadfile --no-loadscope-reorder
phase "pytest, what must run alone"
python_tests -m alone

if ((full)); then
  phase "address and undefined-behaviour sanitizers"
  cmake --preset asan && cmake --build --preset asan
  ctest --preset asan --parallel "$jobs"

  phase "thread sanitizer"
  cmake --preset tsan && cmake --build --preset tsan
  # Not over rpc: what gRPC, which is built without the sanitizer, orders by itself is reported as races.
  for test in base config engine image memory model/model_files security telemetry; do
    # Without randomised addresses, which some kernels spread wider than the sanitizer's shadow.
    setarch -R "build/tsan/tests/unit/${test%/*}/${test##*/}_test" --gtest_brief=1
  done

  phase "fuzz targets, ten minutes each"
  ./tests/fuzz/run.sh 600

  phase "what needs a GPU, but for the GPU"
  ./tests/gpu/run.sh --dry-run

  phase "the GPU bundle, but for the GPU, in a bare Debian"
  if ((EUID == 0)); then
    ./tests/gpu/bundle.sh
    ./tests/gpu/bundle_check.sh build/gpu-bundle.tar.xz --json build/gpu-bundle.json
  else
    echo "skipped: debootstrap and chroot need root"
  fi

  phase "the Debian package, in a bare Debian"
  if ((EUID == 0)); then
    ./deploy/package_deb.sh
    ./deploy/package_check.sh build/package/*.deb
  else
    echo "skipped: debootstrap and chroot need root"
  fi

  phase "the container image, without Docker"
  if ((EUID == 0)); then
    ./deploy/container_check.sh
  else
    echo "skipped: debootstrap and chroot need root"
  fi
fi
phase "all passed"
