#!/usr/bin/env bash
# From a fresh Debian 12 to an image: installs what is missing, builds, serves the model emoji-xl packed as
# e2m5r, asks for an image, shows the bytes of each component, stops the server. Needs no GPU.
#
#   ./deploy/quickstart.sh ["red apple"]        writes out/quickstart.png
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
readonly PROMPT=${1:-"red apple"}
readonly BUILD=build/release
readonly MODEL=deploy/models/emoji-xl/model

say() { printf '\n== %s\n' "$*"; }
die() { printf 'quickstart.sh: %s\n' "$*" >&2; exit 1; }

started=$SECONDS
./deploy/install.sh
source deploy/build.sh
say "building (the first time takes some minutes)"
build_targets tightfit-server tightfit tightfit-pack

readonly SETUP_SECONDS=$((SECONDS - started))
mkdir -p out

state=$(mktemp -d)
server=0
stop_server() {
  if ((server)) && kill -TERM "$server" 2>/dev/null; then
    wait "$server" || die "the server did not stop cleanly; its log is out/quickstart.log"
  fi
  server=0
  rm -rf "$state"
}
trap stop_server EXIT
trap 'exit 130' INT TERM

say "starting the server on free ports, the UNet packed as e2m5r"

$BUILD/bin/tightfit-server --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --device cpu \
  --model "emoji-xl=$MODEL,format=e2m5r,scope=linear+conv,preload=true" --address-file "$state/addresses.json" \
  > out/quickstart.log 2>&1 &
server=$!
for ((tenths = 0; tenths < 600; ++tenths)); do
  [[ -s $state/addresses.json ]] && break
  kill -0 "$server" 2>/dev/null || { server=0; cat out/quickstart.log >&2; die "the server did not start"; }
  sleep 0.1
done
[[ -s $state/addresses.json ]] || die "the server does not listen; its log is out/quickstart.log"
TIGHTFIT_SERVER=$(.venv/bin/python -c 'import json, sys; print(json.load(open(sys.argv[1]))["listen"])' \
  "$state/addresses.json")
export TIGHTFIT_SERVER
# The address is there before the model is: calls wait for it.
for ((tenths = 0; tenths < 600; ++tenths)); do
  # Not piped into grep -q, which would not wait for the rest: a broken pipe is a failure.
  [[ $($BUILD/bin/tightfit models --json) =~ \"state\":\ *\"resident\" ]] && break
  kill -0 "$server" 2>/dev/null || { server=0; cat out/quickstart.log >&2; die "the model did not load"; }
  sleep 0.1
done

say "drawing \"$PROMPT\""
$BUILD/bin/tightfit generate --prompt "$PROMPT" --seed 1 --output out/quickstart.png

say "what the model holds"
$BUILD/bin/tightfit models emoji-xl

stop_server
say "out/quickstart.png is there: set-up took $SETUP_SECONDS s (next time: none), serving and drawing $((SECONDS - started - SETUP_SECONDS)) s"
cat <<END
What to type next: the same model as a server, which you stop with Ctrl-C
  $BUILD/bin/tightfit-server --model emoji-xl=$MODEL
and in another terminal
  $BUILD/bin/tightfit generate "green apple" -o apple.png
Your own checkpoint: README.md, "Your own checkpoint"
END
