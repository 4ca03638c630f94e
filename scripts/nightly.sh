#!/usr/bin/env bash
# What takes too long for every change: many seeds of the model of replication, and the mutants that
# its tests must kill.
set -uo pipefail
cd "$(dirname "$0")/.."

failed=0
TIDELOCK_MODEL_SEEDS=${TIDELOCK_MODEL_SEEDS:-500} \
  "${CARGO:-cargo}" test --locked --test replication_model -- --nocapture || failed=1
scripts/mutants.sh || failed=1
exit $failed
