# Sourced by quickstart.sh and tests/run.sh: both share one build tree.

# A build tree holds absolute paths: one that was configured in another place is configured anew.
forget_moved_tree() {
  local cache=build/release/CMakeCache.txt place
  [[ -f $cache && ! -L build && ! -L build/release ]] || return 0
  place=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$cache")
  [[ $place -ef . ]] && return
  printf '== the build tree was configured in %s: configuring it anew\n' "$place" >&2
  rm -rf build/release/CMakeFiles "$cache" build/release/build.ninja
}

# Ninja's output with percent and time left: on a terminal in one line, elsewhere every ten seconds. What
# compilers say passes.
show_progress() {
  local line done total elapsed percent left shown=-10
  while IFS= read -r line; do
    if [[ ! $line =~ ^@([0-9]+)\ ([0-9]+)\ ([0-9]+)[.0-9]*@ ]]; then
      if [[ -t 1 ]]; then printf '\r\033[K'; fi
      printf '%s\n' "$line"
      continue
    fi
    done=${BASH_REMATCH[1]} total=${BASH_REMATCH[2]} elapsed=${BASH_REMATCH[3]}
    percent=$((100 * done / total)) left=
    # Too little is known before.
    if ((elapsed >= 5 && done > 0)); then left=", about $((elapsed * (total - done) / done)) s left"; fi
    if [[ -t 1 ]]; then
      printf '\r\033[K%3d %% built%s' "$percent" "$left"
      if ((done == total)); then printf '\r\033[K'; fi
    elif ((elapsed - shown >= 10 || done == total)); then
      printf '%3d %% built%s\n' "$percent" "$left"
      shown=$elapsed
    fi
  done
}

# build_targets [TARGET...]: configures where needed and builds the targets; everything, the tests
# included, when none is named. Named targets need no packages of the tests. Where the last time no CUDA
# compiler was found, it looks again.
build_targets() {
  local targets=("$@") tests=ON
  forget_moved_tree
  if (($#)); then tests=OFF; fi
  if [[ ! -f build/release/build.ninja ]] ||
    grep -q '^TIGHTFIT_NVCC:.*-NOTFOUND' build/release/CMakeCache.txt ||
    { [[ $tests == ON ]] && grep -q '^TIGHTFIT_BUILD_TESTS:BOOL=OFF' build/release/CMakeCache.txt; }; then
    if [[ -f build/release/CMakeCache.txt ]] && grep -q '^TIGHTFIT_BUILD_TESTS:BOOL=ON' build/release/CMakeCache.txt; then
      tests=ON
    fi
    cmake --preset release -DTIGHTFIT_BUILD_TESTS=$tests > build-configure.log 2>&1 ||
      { cat build-configure.log >&2; return 1; }
    rm -f build-configure.log
  fi
  NINJA_STATUS='@%f %t %e@ ' cmake --build build/release ${targets[@]+--target "${targets[@]}"} | show_progress
}
