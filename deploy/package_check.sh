#!/usr/bin/env bash
# Installs a .deb of deploy/package_deb.sh into a bare Debian 12, draws an image there, and removes it again.
# Needs root, debootstrap and the network of apt; minutes.
#
#   deploy/package_check.sh FILE.deb [--work DIR] [--image FILE]
set -euo pipefail
exec python3 -u "$(dirname "$0")/packaging/check_deb.py" "$@"
