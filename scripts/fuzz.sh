#!/usr/bin/env bash
# Fuzzes the targets of fuzz/, as many at a time as there are cores. Needs a nightly compiler, a C++
# compiler and cargo-fuzz (`cargo install cargo-fuzz`).
#
#   scripts/fuzz.sh SECONDS [TARGET...]   each target so long, from its corpus and what was found before
#   scripts/fuzz.sh lack                  says what is missing here, or nothing
#   scripts/fuzz.sh keep [TARGET...]      minimises what was found into the committed corpora
#
# What is found lies in target/fuzz/found. An input that fails is in target/fuzz/failed: mend the code,
# and keep the input under the name of its bug in fuzz/corpus/TARGET, where tests/fuzz_corpora.rs
# replays it for ever. Inputs with names are never minimised away.
set -uo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '5,7s/^# *//p' "$0" >&2; exit 2; }

lack() {
  command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz"; return; }
  command -v c++ >/dev/null || { echo "C++ compiler"; return; }
  cargo +nightly --version >/dev/null 2>&1 || echo "nightly compiler"
}

what=${1:-}
shift
case "$what" in
  lack) lack; exit ;;
  keep) ;;
  '' | *[!0-9]*) usage ;;
esac
missing=$(lack)
[ -z "$missing" ] || { echo "there is no $missing" >&2; exit 1; }

home=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
unset CARGO_TARGET_DIR
# cargo-fuzz sets RUSTFLAGS, which replaces what .cargo/config.toml says. Panics name their line without
# debug information, and what fails is replayed by tests/fuzz_corpora.rs, which has it.
export RUSTFLAGS="-C target-cpu=x86-64-v3 -C debuginfo=0 -C strip=debuginfo"
export RUSTC_WRAPPER=$PWD/scripts/fuzz_rustc.sh ASAN_OPTIONS=detect_odr_violation=0
cargo +nightly fuzz build --codegen-units 16 --target-dir "$home" || exit 1
unset RUSTC_WRAPPER
programs=$home/x86_64-unknown-linux-gnu/release

targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(basename -s .rs -a fuzz/fuzz_targets/*.rs)

# one TARGET: runs it for the time asked for and prints a line.
one() {
  local target=$1 log=$home/$1.log verdict=ok
  mkdir -p "$home/found/$target" "$home/failed/$target"
  "$programs/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=2048 \
    -print_final_stats=1 -artifact_prefix="$home/failed/$target/" \
    "$home/found/$target" "fuzz/corpus/$target" >"$log" 2>&1 || verdict=FAILED
  printf '%-18s %-6s %8s executions/s, %5s edges, %4s inputs new\n' "$target" "$verdict" \
    "$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")" \
    "$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)" \
    "$(sed -n 's/^stat::new_units_added: *//p' "$log")"
  [ "$verdict" = ok ] && return
  grep -A3 -m1 "panicked at\|ERROR: " "$log"
  grep -o "Test unit written to.*" "$log"
  return 1
}

# keep_one TARGET: what has a name stays; of the rest the fewest that reach as much.
keep_one() {
  local target=$1 out=$home/keep/$1 corpus=fuzz/corpus/$1
  mkdir -p "$corpus" "$home/found/$target"
  rm -rf "$out"
  mkdir -p "$out"
  find "$corpus" -type f | grep -vE '/[0-9a-f]{40}$' | xargs -r cp -t "$out"
  "$programs/$target" -set_cover_merge=1 -use_counters=0 -max_len=1024 "$out" "$corpus" \
    "$home/found/$target" >"$home/$target.log" 2>&1 || { tail -5 "$home/$target.log"; return 1; }
  rm -rf "$corpus"
  cp -r "$out" "$corpus"
  echo "$target: $(find "$corpus" -type f | wc -l) inputs, $(du -sb "$corpus" | cut -f1) bytes"
}

export -f one keep_one
export home programs
export seconds=$what
step=one
[ "$what" != keep ] || step=keep_one
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c "$step {}" || exit 1
