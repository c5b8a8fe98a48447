#!/usr/bin/env bash
# Builds the fuzz targets with clang and runs each one for some time, from its corpus and what earlier
# runs found. Ends with the first input that breaks a promise; the input lies in build/fuzz/findings.
#
#   ./tests/fuzz/run.sh SECONDS [TARGET...]      ./tests/fuzz/run.sh 60 png_fuzz
set -euo pipefail
cd "$(dirname "$0")/../.."

[[ ${1:-} =~ ^[1-9][0-9]*$ ]] || { sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 2; }
seconds=$1
shift
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cd tests/fuzz && ls ./*_fuzz.cc | sed 's#^\./##; s/\.cc$//')

command -v clang++ >/dev/null || { echo "run.sh: needs clang: ./deploy/install.sh --tests" >&2; exit 1; }
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz

findings=build/fuzz/findings
mkdir -p "$findings"
for target in "${targets[@]}"; do
  found=build/fuzz/corpus/$target log=$findings/$target.log
  mkdir -p "$found"
  printf '%s for %d s ... ' "$target" "$seconds"
  if ! "build/fuzz/tests/fuzz/$target" -max_len=8192 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -max_total_time="$seconds" -artifact_prefix="$findings/$target-" \
    "$found" "tests/fuzz/corpus/${target%_fuzz}" >"$log" 2>&1; then
    echo "failed:"
    tail -40 "$log"
    exit 1
  fi
  sed -n 's/^stat::number_of_executed_units: */executions: /p' "$log"
done
