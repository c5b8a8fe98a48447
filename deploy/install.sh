#!/usr/bin/env bash
# Installs what building and running tightfit needs on Debian 12: packages through apt (with sudo when not
# root) and a Python environment in .venv. Does nothing where all of it is there.
#
#   deploy/install.sh              to build, and to serve on a CPU: LibTorch without its CUDA libraries
#   deploy/install.sh --export     also to export models: diffusers, what `import torch` needs, and the
#                                  command tightfit-export in .venv
#   deploy/install.sh --training   also what training emoji-xl needs: the emoji font and their names
#   deploy/install.sh --cuda       also to compute on a GPU: the CUDA compiler, LibTorch's CUDA libraries (2.7 GB)
#   deploy/install.sh --image      also what the Dockerfile's build stage needs: the CUDA compiler, patchelf
#   deploy/install.sh --package    also what deploy/package_deb.sh needs: help2man, dpkg-dev
#   deploy/install.sh --examples   also what compiles client/examples in Go
#   deploy/install.sh --tests      all but --cuda and --examples, and what tests/run.sh needs
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '== %s\n' "$*" >&2; }
die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }

with_export=0 with_tests=0 with_training=0 with_image=0 with_cuda=0 with_package=0 with_examples=0
for option in "$@"; do
  case "$option" in
    --export) with_export=1 ;;
    --training) with_export=1 with_training=1 ;;
    --cuda) with_cuda=1 ;;
    --image) with_image=1 ;;
    --package) with_package=1 ;;
    --examples) with_examples=1 ;;
    --tests) with_export=1 with_tests=1 with_training=1 with_image=1 with_package=1 ;;
    *) sed -n '2,13s/^# \{0,1\}//p' "$0"; [[ $option == --help ]] && exit 0 || exit 2 ;;
  esac
done

readonly TORCH_VERSION=2.11.0
packages=(
  g++ cmake ninja-build mold pkg-config git ca-certificates
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libssl-dev
  libspdlog-dev libfmt-dev prometheus-cpp-dev
  libtomlplusplus-dev libcli11-dev nlohmann-json3-dev
  libpng-dev libjpeg62-turbo-dev libwebp-dev zlib1g-dev libfreetype-dev fonts-dejavu-core libicu-dev libhwy-dev
  python3-venv python3-dev
)
if ((with_training)); then
  packages+=(fonts-noto-color-emoji unicode-data unicode-cldr-core)
fi
if ((with_image)); then
  packages+=(patchelf)
fi
if ((with_examples)); then
  packages+=(golang-go golang-google-grpc-dev golang-google-protobuf-dev golang-google-genproto-dev protoc-gen-go
    protoc-gen-go-grpc)
fi
if ((with_package)); then
  packages+=(dpkg-dev file help2man)
fi
if ((with_tests)); then
  packages+=(fish zsh debootstrap iproute2 libcpp-httplib-dev libgtest-dev libgmock-dev libbenchmark-dev clang clang-format
    clang-tidy libclang-rt-dev)
fi

install_packages() {
  local missing=() package
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  ((${#missing[@]} == 0)) && return
  command -v apt-get >/dev/null || die "needs Debian's apt-get to install: ${missing[*]}"
  local sudo=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "run as root, or install sudo, to install: ${missing[*]}"
    sudo=(sudo)
  fi
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${missing[@]}" > "$([[ -t 2 ]] && echo /dev/stderr || echo /dev/null)"
}

# Whoever watches sees what is fetched; a log does not need it.
pip_install() {
  local quiet=--quiet
  [[ -t 2 ]] && quiet=--progress-bar=on
  .venv/bin/python -m pip install $quiet --no-warn-conflicts "$@" >&2
}

# The torch wheel alone, without 2.7 GB of CUDA libraries and triton. libtorch_cpu is linked against two of
# those libraries even where there is no GPU.
install_libtorch() {
  say "installing the torch $TORCH_VERSION wheel (531 MB)"
  pip_install -r deploy/requirements.txt
  pip_install --no-deps "torch==$TORCH_VERSION"
  local library
  for library in libcudart.so.13 libcupti.so.13; do
    [[ $(ldconfig -p) == *$library* ]] || { pip_install 'cuda-toolkit[cudart,cupti]==13.0.2'; break; }
  done
}

# What LibTorch needs on a GPU, and `import torch` in Python everywhere: a machine with CUDA 13 has most of
# it, and only then is the rest not installed.
install_cuda_libraries() {
  pip_install --no-deps nvidia-cusparselt-cu13==0.8.0 nvidia-nvshmem-cu13==3.4.5 nvidia-cufile==1.15.1.6
  local load="import ctypes, glob; ctypes.CDLL(glob.glob('.venv/lib/python3*/site-packages/torch/lib/libtorch_cuda.so')[0])"
  .venv/bin/python -c "$load" 2>/dev/null && return
  say "this machine has no CUDA 13 libraries, which LibTorch needs on a GPU: installing them (2 GB)"
  pip_install packaging
  .venv/bin/python - > .venv/torch-requirements.txt <<'PY'
# What torch's own metadata asks for, but triton: no part of tightfit compiles kernels in Python.
import importlib.metadata, re
from packaging.requirements import Requirement
for line in importlib.metadata.requires("torch") or []:
    requirement = Requirement(line)
    wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    if wanted and re.match(r"(nvidia|cuda)-", requirement.name):
        print(line.split(";")[0].strip())
PY
  pip_install -r .venv/torch-requirements.txt
  .venv/bin/python -c "$load" || die "LibTorch's CUDA libraries do not load; remove .venv and try again"
}

install_exporter() {
  say "installing diffusers and what it needs"
  pip_install -r deploy/export/requirements.txt
  pip_install --no-deps -r deploy/export/requirements-vocabulary.txt
  install_cuda_libraries
  .venv/bin/python -c 'import torch' || die "\`import torch\` fails in .venv; remove .venv and try again"
}

# `source .venv/bin/activate` puts it on the PATH. It runs the sources where they are.
install_exporter_command() {
  say "installing the command tightfit-export into .venv"
  pip_install --no-deps --no-build-isolation -e deploy/export
}

# once NAME FILE... COMMAND: runs COMMAND unless it ran with these files and this script before.
once() {
  local stamp=.venv/.tightfit-$1 command=${*: -1} wanted
  wanted=$(cat deploy/install.sh "${@:2:$#-2}" | sha256sum | cut -c1-16)
  [[ -f $stamp && $(<"$stamp") == "$wanted" ]] && return
  "$command"
  printf '%s' "$wanted" > "$stamp"
}

# The scripts of an environment hold its path: after a move they would run that of the old place.
mend_moved_environment() {
  local place=$PWD/.venv old script
  [[ -L .venv ]] && return
  old=$(.venv/bin/python -c 'import re, sys
found = re.search(r"^VIRTUAL_ENV=(.*)$", open(".venv/bin/activate").read(), re.M)
print(found[1].strip("\"\x27") if found else sys.argv[1])' "$place")
  [[ $old == "$place" ]] && return
  say "the environment was made in another place: mending its paths"
  .venv/bin/python -m venv --without-pip .venv
  for script in .venv/bin/*; do
    if [[ -f $script && ! -L $script && $(head -c 2 "$script") == '#!' ]]; then
      sed -i "1s|^#!$old/|#!$place/|" "$script"
    fi
  done
  rm -f .venv/.tightfit-exporter-command
}

make_environment() {
  if [[ -x .venv/bin/pip ]]; then
    mend_moved_environment
    return
  fi
  local python=python3
  "$python" -c 'import sys, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
    2>/dev/null || python=/usr/bin/python3
  say "making the Python environment .venv"
  "$python" -m venv .venv
}

install_pytest() { pip_install -r tests/requirements.txt; }

# The two programs alone: installing Debian's prometheus package would start a daemon.
install_prometheus() {
  local program missing=()
  for program in prometheus promtool; do
    command -v "$program" >/dev/null || [[ -x .venv/bin/$program ]] || missing+=("$program")
  done
  ((${#missing[@]} == 0)) && return
  say "fetching ${missing[*]}"
  local folder
  folder=$(mktemp -d)
  (cd "$folder" && apt-get -o APT::Sandbox::User=root download -qq prometheus >/dev/null && dpkg -x prometheus_*.deb .)
  for program in "${missing[@]}"; do
    install -m 755 "$folder/usr/bin/$program" ".venv/bin/$program"
  done
  rm -rf "$folder"
}

readonly cuda_tools=".venv/lib/python3*/site-packages/nvidia/cu13/bin"

# What looks at compiled CUDA kernels; it needs no GPU.
install_cuda_disassembler() {
  local tools
  tools=$(echo $cuda_tools)
  [[ -x $tools/cuobjdump && -x $tools/nvdisasm ]] && return
  say "installing the CUDA disassembler"
  pip_install --no-deps nvidia-cuda-cuobjdump==13.2.86 nvidia-cuda-nvdisasm==13.2.86
}

# A compiler that the machine has is left alone. The wheels' parts come from one release, or headers and
# compiler would not match.
install_cuda_compiler() {
  local tools
  tools=$(echo $cuda_tools)
  [[ -x /usr/local/cuda/bin/nvcc || -x $tools/nvcc ]] && return
  command -v nvcc >/dev/null && return
  say "this machine has no nvcc: installing the CUDA 13.0 compiler"
  pip_install 'cuda-toolkit[nvcc,cccl,cudart]==13.0.2' \
    'nvidia-cuda-crt==13.0.*' 'nvidia-nvvm==13.0.*'
}

install_packages
make_environment
once libtorch deploy/requirements.txt install_libtorch
if ((with_export)); then
  once exporter deploy/export/requirements.txt deploy/export/requirements-vocabulary.txt install_exporter
  once exporter-command deploy/export/pyproject.toml install_exporter_command
fi
if ((with_cuda)); then
  once cuda install_cuda_libraries
fi
if ((with_cuda || with_image)); then
  install_cuda_compiler
fi
if ((with_tests)); then
  once pytest tests/requirements.txt install_pytest
  install_prometheus
  install_cuda_disassembler
fi
say "all there"
