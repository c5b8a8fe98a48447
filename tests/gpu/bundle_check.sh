#!/usr/bin/env bash
# Runs an archive of tests/gpu/bundle.sh, but for the device, in a bare Debian with Python and nothing else but
# the torch wheel of this machine, without a network. Needs root, debootstrap and the network of apt.
#
#   tests/gpu/bundle_check.sh ARCHIVE [--work DIR] [--json FILE]
set -euo pipefail
exec python3 -u "$(dirname "$0")/check_bundle.py" "$@"
