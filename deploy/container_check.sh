#!/usr/bin/env bash
# Builds the image of the Dockerfile where there is no Docker, and serves an image from it: every
# instruction runs in a debootstrap root. Needs root and the network of a build; ten minutes on two cores.
#
#   deploy/container_check.sh [--device cuda|cpu] [--work DIR] [--given STAGE=DIR] [--plan] [--help]
set -euo pipefail
exec python3 "$(dirname "$0")/container" "$@"
