#!/usr/bin/env bash
# The compiler of fuzz builds (RUSTC_WRAPPER of scripts/fuzz.sh). libfuzzer is told of the branches and
# comparisons of this repository, and of what parses for it; in all else, arithmetic of cryptography
# above all, it would learn nothing and spend most of its time. Sanitizers stay on everywhere.
set -u
crate=
for ((i = 1; i < $#; i++)); do
  [ "${!i}" != --crate-name ] || { next=$((i + 1)) crate=${!next}; break; }
done
home=$(dirname "$0")/../fuzz
case "$crate" in
  tidelock* | lz4_flex | toml* | winnow | serde* | '' | ___) exec "$@" ;;
esac
[ ! -e "$home/fuzz_targets/$crate.rs" ] || exec "$@"
args=()
for arg; do
  case "$arg" in
    -Cpasses=sancov-module | -Cllvm-args=-sanitizer-coverage-*) ;;
    *) args+=("$arg") ;;
  esac
done
exec "${args[@]}"
