#!/usr/bin/env bash
# From a fresh clone to a running vmxsys. The only place that installs anything, and only what is missing.
#
#   ./bootstrap.sh              build, then say what to do next
#   ./bootstrap.sh test [...]   build everything and run the daily tests; further words go to ctest
#   ./bootstrap.sh test -L long build everything and run the long tests: sanitizers, fuzzing, deletion, planted mistakes
#   ./bootstrap.sh WORDS...     build, then run: vmxsys WORDS...
#
# --all as the first word also installs what only the long tests need: clang with its run-time libraries, python3.
# VMXSYS_BUILD_DIR names another build directory than build/.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${VMXSYS_BUILD_DIR:-$root/build}
compiler=${CXX:-c++}
all=
if [[ ${1:-} == --all ]]; then
  all=yes
  shift
fi

say() { printf 'bootstrap: %s\n' "$*" >&2; }

# ---- what is missing ----

has_header() { # a preprocessor condition that holds when the header is there and new enough
  printf '%s\n#if !(%s)\n#error missing\n#endif\n' "${2:-}" "$1" |
    "$compiler" -std=c++20 -x c++ -fsyntax-only - >/dev/null 2>&1
}

has_library() {
  printf 'int main() {}\n' | "$compiler" -x c++ - -o /dev/null "-l$1" >/dev/null 2>&1
}

missing_for_long_tests() {
  command -v python3 >/dev/null || echo python3
  command -v clang++ >/dev/null || echo clang
  printf '#include <cstddef>\nextern "C" int LLVMFuzzerTestOneInput(const unsigned char*, std::size_t) { return 0; }\n' |
    clang++ -fsanitize=fuzzer,address -x c++ - -o /dev/null >/dev/null 2>&1 || echo libclang-rt-14-dev
}

missing_packages() {
  if [[ -n $all ]]; then missing_for_long_tests; fi
  if ! command -v cmake >/dev/null || ! printf '3.25\n%s\n' "$(cmake --version | sed -n '1s/[^0-9]*//p')" | sort -V -C; then
    echo cmake
  fi
  command -v ninja >/dev/null || echo ninja-build
  if ! command -v "$compiler" >/dev/null; then
    # Without a compiler nothing else can be tried.
    echo g++ pkg-config libsystemc-dev libboost1.81-dev libboost-json1.81-dev libboost-program-options1.81-dev \
      libgtest-dev libbenchmark-dev
    return
  fi
  # Not libboost-dev: on Debian 12 that is 1.74 and cannot be installed beside 1.81.
  has_header 'BOOST_VERSION >= 108100' '#include <boost/version.hpp>' || echo libboost1.81-dev
  { has_header '__has_include(<boost/json.hpp>)' && has_library boost_json; } || echo libboost-json1.81-dev
  { has_header '__has_include(<boost/program_options.hpp>)' && has_library boost_program_options; } ||
    echo libboost-program-options1.81-dev
  if [[ -z ${SYSTEMC_HOME:-} ]]; then
    has_header '__has_include(<systemc>)' || echo libsystemc-dev
    command -v pkg-config >/dev/null || echo pkg-config
  fi
  { has_header '__has_include(<gtest/gtest.h>)' && has_library gtest; } || echo libgtest-dev
  { has_header '__has_include(<benchmark/benchmark.h>)' && has_library benchmark; } || echo libbenchmark-dev
}

install_missing() {
  local packages
  packages=$(missing_packages | tr '\n' ' ')
  packages=${packages% }
  [[ -z $packages ]] && return
  if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
    say "missing: $packages"
    say "on Debian 12, as root: apt-get update && apt-get install -y --no-install-recommends $packages"
    say "elsewhere: cmake 3.25, ninja, g++ 12 or clang++ 14, pkg-config, SystemC 2.3.4 (or SYSTEMC_HOME), Boost 1.81"
    say "with json and program_options, GoogleTest, Google Benchmark"
    exit 1
  fi
  say "installing: $packages"
  # Word splitting is meant. --no-remove: a Boost of another version on this machine is not ours to take away.
  # shellcheck disable=SC2086
  if ! { DEBIAN_FRONTEND=noninteractive apt-get -q update &&
    DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends --no-remove $packages; } >&2; then
    say "could not install: $packages"
    say "a conflict with libboost-dev (1.74) is settled by: apt-get remove libboost-dev libboost1.74-dev"
    exit 1
  fi
  packages=$(missing_packages | tr '\n' ' ')
  if [[ -n ${packages% } ]]; then
    say "installed, yet still not usable with $compiler: $packages"
    exit 1
  fi
}

# ---- build ----

configure() {
  local home
  home=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$build/CMakeCache.txt" 2>/dev/null || true)
  [[ $home == "$root" && -f $build/build.ninja ]] && return
  rm -rf "$build/CMakeCache.txt" "$build/CMakeFiles"
  local launcher=()
  if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  fi
  cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release "${launcher[@]}" >&2
}

# What a compiler cache needs to know to work with precompiled headers.
export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros,include_file_mtime,include_file_ctime}

install_missing
configure

if [[ ${1:-} == test ]]; then
  shift
  cmake --build "$build" >&2
  labels=(-L '^daily$')
  for word in "$@"; do
    if [[ $word == -L* ]]; then labels=(-C long); fi  # the words choose by label
  done
  status=0
  ctest --test-dir "$build" --output-on-failure --test-output-size-passed 1000000 -j2 "${labels[@]}" "$@" || status=$?
  awk -f "$root/tests/skipped.awk" "$build/Testing/Temporary/LastTest.log"
  exit "$status"
fi

# Standard output belongs to vmxsys.
cmake --build "$build" --target vmxsys_cli >&2
if [[ $# -eq 0 ]]; then
  cat <<'NEXT'
vmxsys is built. What to do next:

  ./bootstrap.sh list studies       published experiments that can be re-run
  ./bootstrap.sh study NAME         run one of them
  ./bootstrap.sh list parameters    everything a machine can be told
  ./bootstrap.sh run FILE           your own machine
  ./bootstrap.sh test               the tests of every day

NEXT
  exec "$build/vmxsys" --help
fi
exec "$build/vmxsys" "$@"
