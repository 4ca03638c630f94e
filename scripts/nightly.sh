#!/usr/bin/env bash
# What takes too long for every change: many seeds of the simulator and of the model of replication,
# the mutants that the tests must kill, ten minutes of fuzzing for each target, bad networks and
# attacks. What the simulator finds is kept in tests/seeds.
set -uo pipefail
cd "$(dirname "$0")/.."

failed=0
# The seeds of every night are others; TIDELOCK_SIM_SEED repeats a night.
seed=${TIDELOCK_SIM_SEED:-$(date +%Y%m%d)00000}
"${CARGO:-cargo}" run --locked --release --quiet --bin sim -- --seed "$seed" \
  --seeds "${TIDELOCK_SIM_SEEDS:-15000}" --jobs "$(nproc)" --vacuous --keep tests/seeds || failed=1
TIDELOCK_MODEL_SEEDS=${TIDELOCK_MODEL_SEEDS:-500} \
  "${CARGO:-cargo}" test --locked --test replication_model -- --nocapture || failed=1
scripts/mutants.sh || failed=1
scripts/fuzz.sh "${TIDELOCK_FUZZ_SECONDS:-600}" || failed=1
# Bad networks and attacks on real sockets: ten minutes, and figures that need a quiet machine.
scripts/impair.sh || failed=1
exit $failed
