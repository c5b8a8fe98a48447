#!/usr/bin/env bash
# Gathers programs and the libraries that they link to and Debian does not have, so that they run from
# any place: OUT/bin, OUT/lib, OUT/licenses.
#
#   collect_runtime.sh BIN_DIR OUT PROGRAM...
set -euo pipefail
cd "$(dirname "$0")/../.."

die() { printf 'collect_runtime.sh: %s\n' "$*" >&2; exit 1; }
(($# >= 3)) || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
readonly BIN_DIR=$1 OUT=$2
shift 2
command -v patchelf >/dev/null || die "patchelf is missing: apt-get install patchelf"

# Debian's packages own /lib and /usr/lib, and nothing else does.
foreign_libraries() { ldd "$1" | awk '$2 == "=>" && $3 ~ "^/" && $3 !~ "^/(usr/)?lib" { print $3 }'; }

mkdir -p "$OUT/bin" "$OUT/lib" "$OUT/licenses"
for program in "$@"; do
  while read -r library; do
    [[ -e $OUT/lib/${library##*/} ]] || install -m 755 "$library" "$OUT/lib/${library##*/}"
  done < <(foreign_libraries "$BIN_DIR/$program")
  install -m 755 "$BIN_DIR/$program" "$OUT/bin/$program"
  patchelf --set-rpath '$ORIGIN/../lib' "$OUT/bin/$program"
done
# A fifth of libtorch_cpu is a symbol table that only debuggers read.
strip --strip-unneeded "$OUT"/lib/lib{torch,c10}*.so

for file in "$OUT"/bin/* "$OUT"/lib/*; do
  missing=$(ldd "$file" | grep 'not found' || true)
  [[ -z $missing ]] || die "${file##*/} lacks $missing"
  # libtorch_cpu has search paths of its own.
  stray=$(foreign_libraries "$file" | grep -v "^$(realpath "$OUT")/" || true)
  [[ -z $stray ]] || die "${file##*/} would still load $stray"
done

cp LICENSE "$OUT/licenses/tightfit"
for package in .venv/lib/python3*/site-packages/{torch,nvidia_cuda_runtime,nvidia_cuda_cupti}-*.dist-info; do
  [[ -d $package/licenses ]] || continue
  name=${package##*/}
  cp -r "$package/licenses" "$OUT/licenses/${name%%-*}"
done
