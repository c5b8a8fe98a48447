# Sourced by quickstart.sh and tests/run.sh: both share one build tree.

# build_targets [TARGET...]: configures once and builds the targets; all of them when none is named.
build_targets() {
  local targets=("$@")
  if [[ ! -f build/release/build.ninja ]]; then
    cmake --preset release > build-configure.log 2>&1 || { cat build-configure.log >&2; return 1; }
    rm -f build-configure.log
  fi
  cmake --build build/release ${targets[@]+--target "${targets[@]}"}
}
