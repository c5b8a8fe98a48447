#!/usr/bin/env bash
# Makes tightfit_VERSION_amd64.deb for Debian 12: the programs, LibTorch's libraries for a CPU, the service,
# manual pages and completions. All else are Debian's packages, which apt installs with it.
#
#   deploy/package_deb.sh [OUT_DIR]         OUT_DIR: build/package
#
#   apt-get install ./build/package/tightfit_*.deb
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
  -*) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
readonly OUT=${1:-build/package}

./deploy/install.sh --package
source deploy/build.sh
build_targets tightfit tightfit-fidelity tightfit-pack tightfit-server tightfit-weights tightfit_documents
# What cpack leaves beside the package stays out of the folder, which may hold files of the user.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cpack --config build/release/CPackConfig.cmake -B "$work" > "$work/log" 2>&1 ||
  { cat "$work/log" >&2; exit 1; }
mkdir -p "$OUT"
for made in "$work"/*.deb; do
  file=$OUT/${made##*/}
  cp "$made" "$file"
  printf '%s: %s MB, %s MB when it is installed\n' "$file" "$(($(stat -c %s "$file") / 1000000))" \
    "$(($(dpkg-deb -f "$file" Installed-Size) * 1024 / 1000000))"
done
