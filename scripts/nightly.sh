#!/usr/bin/env bash
# What takes too long for every change: many seeds of the model of replication, the mutants that the
# tests must kill, ten minutes of fuzzing for each target, bad networks and attacks.
set -uo pipefail
cd "$(dirname "$0")/.."

failed=0
TIDELOCK_MODEL_SEEDS=${TIDELOCK_MODEL_SEEDS:-500} \
  "${CARGO:-cargo}" test --locked --test replication_model -- --nocapture || failed=1
scripts/mutants.sh || failed=1
scripts/fuzz.sh "${TIDELOCK_FUZZ_SECONDS:-600}" || failed=1
# Bad networks and attacks on real sockets: ten minutes, and figures that need a quiet machine.
scripts/impair.sh || failed=1
exit $failed
