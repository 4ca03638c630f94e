#!/usr/bin/env bash
# The one gate: everything a change must pass. Runs every step, then lists them.
#
#   scripts/check.sh            all steps
#   scripts/check.sh lint       scripts, formatting, clippy, rustdoc (no tests, no run)
#
# The step `tests` is the test command of the README; tests/tidy holds the rules about structure.
# The steps `scalar` and `v4` play the same worlds in other builds, which must come to the same hashes:
# with the definitions of the kernels instead of their SIMD products, and for x86-64-v4, if the CPU has
# AVX-512; else v4 is skipped, and the summary says so.
# The step `smoke` plays the product for five seconds on real sockets.
# The step `fuzz` fuzzes each target for 20 s (TIDELOCK_FUZZ_SECONDS); without a nightly compiler or
# cargo-fuzz it is skipped, and the summary says so. Corpora are replayed by `tests` in any case.
set -uo pipefail
cd "$(dirname "$0")/.."

only=${1:-all}
case "$only" in all | lint) ;; *) echo "usage: scripts/check.sh [lint]" >&2; exit 2 ;; esac

results=()
failed=0
skipped=0

# step NAME COMMAND...: runs it and remembers how it went.
step() {
  local name=$1 start=$SECONDS verdict=ok
  shift
  printf '\n== %s: %s\n' "$name" "$*"
  "$@" </dev/null || { verdict=FAILED; failed=$((failed + 1)); }
  results+=("$(printf '%-14s %-6s %4d s' "$name" "$verdict" $((SECONDS - start)))")
  printf '== %s: %s\n' "$name" "$verdict"
}

# skip NAME WHY: remembers that a step could not be taken here.
skip() {
  printf '\n== %s: skipped: %s\n' "$1" "$2"
  results+=("$(printf '%-14s %-6s %s' "$1" skip "$2")")
  skipped=$((skipped + 1))
}

# What holds a build to the others: kernels against their definitions, worlds against written hashes.
builds=(--lib --test shard_determinism --test world_model)

# Shares everything but the package itself with the step `tests`.
scalar_build() {
  cargo test --locked --quiet --features scalar "${builds[@]}"
}

# Its own folder, so that the usual build stays valid. Dependencies are not optimized: building them
# would take longer than all else here.
v4_build() {
  CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/x86-64-v4 RUSTFLAGS="-C target-cpu=x86-64-v4" \
    CARGO_PROFILE_DEV_DEBUG=0 cargo --config 'profile.dev.package."*".opt-level=0' \
    test --locked --quiet "${builds[@]}"
}

# The first feature that x86-64-v4 adds to v3 and this CPU lacks.
v4_lack() {
  local feature
  for feature in avx512f avx512bw avx512cd avx512dq avx512vl; do
    grep -qw "$feature" /proc/cpuinfo || { echo "$feature"; return; }
  done
}

scripts_parse() {
  local script
  for script in scripts/*.sh perf/*.sh .ci/run; do
    bash -n "$script" || return 1
    [ -x "$script" ] || { echo "$script is not executable: chmod +x $script"; return 1; }
  done
  # A mutant whose place has changed tests nothing: mend it with the change.
  scripts/mutants.sh apply
}

# A server and 200 players. The demo's own verdict includes latency, which says nothing on a busy
# machine; so what decides here is that everybody got in and nobody received anything wrong.
smoke() {
  local report=${CARGO_TARGET_DIR:-target}/smoke.json
  rm -f "$report"
  timeout 120 cargo run --locked --release --quiet -- \
    demo --players 200 --seconds 5 --json "$report"
  local verdict=$?
  [ -s "$report" ] || { echo "the demo wrote no report (exit code $verdict)"; return 1; }
  grep -q '"schema": "tidelock.run/1"' "$report" || { echo "not a run report"; return 1; }
  grep -q '"connected": 200,' "$report" || { echo "not all 200 players got in"; return 1; }
  grep -q '"decode_errors": 0,' "$report" || { echo "players received broken packets"; return 1; }
  grep -q '"server": {' "$report" || { echo "the server was not asked how it went"; return 1; }
}

step scripts scripts_parse
step format cargo fmt --all --check
# --all-targets covers the library, the binaries, the tests and the benches.
step clippy cargo clippy --locked --workspace --all-targets -- -D warnings
step rustdoc env RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
if [ "$only" = all ]; then
  step tests cargo test --workspace
  step scalar scalar_build
  lack=$(v4_lack)
  if [ -z "$lack" ]; then
    step v4 v4_build
  else
    skip v4 "this CPU has no $lack"
  fi
  # Apart from the run, so that building does not count against its time limit.
  step release cargo build --locked --release
  step smoke smoke
  # 300 worlds with faults of all kinds; docs/SIMULATION.md. Another stretch of seeds is for the night.
  step simulation timeout 300 cargo run --locked --release --quiet --bin sim -- \
    --seed 1 --seeds 300 --jobs 2
  lack=$(scripts/fuzz.sh lack)
  if [ -z "$lack" ]; then
    step fuzz scripts/fuzz.sh "${TIDELOCK_FUZZ_SECONDS:-20}"
  else
    skip fuzz "there is no $lack here"
  fi
fi
# Licences, doubled versions and sources, where the tool is installed. Advisories need a download:
# `cargo deny --workspace check advisories` before a release.
if command -v cargo-deny >/dev/null; then
  step dependencies cargo deny --offline --workspace check bans licenses sources
fi

printf '\n== summary\n'
printf '%s\n' "${results[@]}"
if [ "$failed" -gt 0 ]; then
  echo "$failed of ${#results[@]} steps FAILED"
  exit 1
fi
passed=$((${#results[@]} - skipped))
if [ "$skipped" -gt 0 ]; then
  echo "all $passed steps passed that could be taken here; skipped: $skipped"
else
  echo "all $passed steps passed"
fi
