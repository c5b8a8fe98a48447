#!/usr/bin/env bash
# Installs what building and running tightfit needs on Debian 12: packages through apt (with sudo when not
# root) and a Python environment in .venv. Does nothing where all of it is there.
#
#   deploy/install.sh           to build, export and serve
#   deploy/install.sh --tests   also what tests/run.sh needs
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '== %s\n' "$*" >&2; }
die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }

with_tests=0
case "${1:-}" in
  "") ;;
  --tests) with_tests=1 ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "$0"; [[ $1 == --help ]] && exit 0 || exit 2 ;;
esac

readonly TORCH_VERSION=2.11.0
packages=(
  g++ cmake ninja-build mold pkg-config git ca-certificates
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libssl-dev
  libspdlog-dev libfmt-dev prometheus-cpp-dev libcpp-httplib-dev
  libtomlplusplus-dev libcli11-dev nlohmann-json3-dev
  libpng-dev libicu-dev libhwy-dev python3-venv python3-dev
)
test_packages=(libgtest-dev libgmock-dev libbenchmark-dev clang-format clang-tidy)
if ((with_tests)); then packages+=("${test_packages[@]}"); fi

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
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# The torch wheel without its 2.7 GB of CUDA libraries, and then only those that are missing: a machine
# with CUDA 13 has most of them.
install_torch() {
  say "installing the torch $TORCH_VERSION wheel (531 MB)"
  .venv/bin/pip install --quiet --no-warn-conflicts --no-deps "torch==$TORCH_VERSION" \
    nvidia-cusparselt-cu13==0.8.0 nvidia-nvshmem-cu13==3.4.5 nvidia-cufile==1.15.1.6
  .venv/bin/pip install --quiet --no-warn-conflicts -r deploy/requirements.txt
  # For CLIP's vocabulary alone; its dependencies would bring a second torch.
  .venv/bin/pip install --quiet --no-warn-conflicts --no-deps open-clip-torch==3.3.0
  if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
    say "this machine has no CUDA 13 libraries, which \`import torch\` needs: installing them (2 GB)"
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
    .venv/bin/pip install --quiet --no-warn-conflicts -r .venv/torch-requirements.txt
    .venv/bin/python -c 'import torch' || die "\`import torch\` fails in .venv; remove .venv and try again"
  fi
}

install_python() {
  local stamp wanted
  wanted=$(cat deploy/requirements.txt deploy/install.sh | sha256sum | cut -c1-16)
  stamp=.venv/.tightfit-stamp
  [[ -f $stamp && $(<"$stamp") == "$wanted" ]] && return
  local python=python3
  "$python" -c 'import sys, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
    2>/dev/null || python=/usr/bin/python3
  [[ -x .venv/bin/pip ]] || { say "making the Python environment .venv"; "$python" -m venv .venv; }
  install_torch
  printf '%s' "$wanted" > "$stamp"
}

# promtool alone: installing Debian's prometheus package would start a daemon.
install_promtool() {
  command -v promtool >/dev/null && return
  [[ -x .venv/bin/promtool ]] && return
  say "fetching promtool"
  local folder
  folder=$(mktemp -d)
  (cd "$folder" && apt-get -o APT::Sandbox::User=root download -qq prometheus >/dev/null && dpkg -x prometheus_*.deb .)
  install -m 755 "$folder/usr/bin/promtool" .venv/bin/promtool
  rm -rf "$folder"
}

# What compiles the CUDA kernels and looks at the result; neither needs a GPU. A compiler that the machine
# has is left alone. The wheels' parts come from one release, or headers and compiler would not match.
install_cuda_tools() {
  local tools
  tools=$(echo .venv/lib/python3*/site-packages/nvidia/cu13/bin)
  if [[ ! -x $tools/cuobjdump || ! -x $tools/nvdisasm ]]; then
    say "installing the CUDA disassembler"
    .venv/bin/pip install --quiet --no-warn-conflicts --no-deps \
      nvidia-cuda-cuobjdump==13.2.86 nvidia-cuda-nvdisasm==13.2.86
  fi
  [[ -x /usr/local/cuda/bin/nvcc || -x $tools/nvcc ]] && return
  command -v nvcc >/dev/null && return
  say "this machine has no nvcc: installing the CUDA 13.0 compiler"
  .venv/bin/pip install --quiet --no-warn-conflicts 'cuda-toolkit[nvcc,cccl,cudart]==13.0.2' \
    'nvidia-cuda-crt==13.0.*' 'nvidia-nvvm==13.0.*'
}

install_packages
install_python
if ((with_tests)); then
  install_promtool
  install_cuda_tools
fi
