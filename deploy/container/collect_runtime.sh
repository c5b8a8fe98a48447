#!/usr/bin/env bash
# Gathers programs and the libraries that they link to and Debian does not have, so that they run from
# any place: OUT/bin, OUT/lib, OUT/licenses.
#
#   collect_runtime.sh DEVICE BIN_DIR OUT PROGRAM...      DEVICE: cpu, or cuda for what a GPU needs, too
set -euo pipefail
cd "$(dirname "$0")/../.."

die() { printf 'collect_runtime.sh: %s\n' "$*" >&2; exit 1; }
[[ $# -ge 4 && ($1 == cpu || $1 == cuda) ]] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
readonly DEVICE=$1 BIN_DIR=$2 OUT=$3
shift 3
command -v patchelf >/dev/null || die "patchelf is missing: apt-get install patchelf"

# Debian's packages own /lib and /usr/lib, and nothing else does.
foreign_libraries() { ldd "$1" | awk '$2 == "=>" && $3 ~ "^/" && $3 !~ "^/(usr/)?lib" { print $3 }'; }

take() { [[ -e $OUT/lib/${1##*/} ]] || install -m 755 "$1" "$OUT/lib/${1##*/}"; }
take_what_it_links_to() {
  local library
  while read -r library; do take "$library"; done < <(foreign_libraries "$1")
}

mkdir -p "$OUT/bin" "$OUT/lib" "$OUT/licenses"
for program in "$@"; do
  take_what_it_links_to "$BIN_DIR/$program"
  install -m 755 "$BIN_DIR/$program" "$OUT/bin/$program"
  patchelf --set-rpath '$ORIGIN/../lib' "$OUT/bin/$program"
done
if [[ $DEVICE == cuda ]]; then
  # What the server and these libraries load by name, and nothing links to: of the wheels, or of the
  # system where they were not installed because it has them.
  shopt -s nullglob
  readonly packages=(.venv/lib/python3*/site-packages)
  by_name=("${packages[0]}"/torch/lib/lib{torch_cuda,caffe2_nvrtc}.so)
  for name in cudnn/lib/libcudnn cu13/lib/libnvrtc-builtins; do
    wheels=("${packages[0]}/nvidia/$name"*.so.*)
    if ((${#wheels[@]} == 0)); then
      mapfile -t wheels < <(ldconfig -p | awk -v name="${name##*/}" 'index($1, name) == 1 && /\.so\.[0-9]/ { print $NF }')
    fi
    ((${#wheels[@]})) || die "${name##*/} is not there: deploy/install.sh --cuda"
    by_name+=("${wheels[@]}")
  done
  for library in "${by_name[@]}"; do
    take "$(realpath -s "$library")"
    take_what_it_links_to "$library"
  done
fi
# A fifth of libtorch_cpu is a symbol table that only debuggers read.
strip --strip-unneeded "$OUT"/lib/lib{torch,c10}*.so

for file in "$OUT"/bin/* "$OUT"/lib/*; do
  # The driver's own library comes with the driver.
  missing=$(ldd "$file" | grep 'not found' | grep -v 'libcuda\.so\.1 ' || true)
  [[ -z $missing ]] || die "${file##*/} lacks $missing"
  # LibTorch's libraries have search paths of their own.
  stray=$(foreign_libraries "$file" | grep -v "^$(realpath "$OUT")/" || true)
  [[ -z $stray ]] || die "${file##*/} would still load $stray"
done

cp LICENSE "$OUT/licenses/tightfit"
for package in .venv/lib/python3*/site-packages/{torch,nvidia_*}-*.dist-info; do
  [[ -d $package/licenses ]] || continue
  name=${package##*/}
  cp -r "$package/licenses" "$OUT/licenses/${name%%-*}"
done
