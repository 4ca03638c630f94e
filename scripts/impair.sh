#!/usr/bin/env bash
# Bad networks and attacks on real sockets: every profile of `loadgen impair` between a server and 50
# players, then every scenario of `loadgen attack` beside 200. Prints a line each and ends with the
# exit code 1 if a figure did not hold; docs/ATTACKS.md says which. Ten minutes, on an idle machine.
#
#   scripts/impair.sh                     everything
#   scripts/impair.sh wifi,4g             these profiles, no attacks
#   scripts/impair.sh none garbage        no profile, these attacks
set -uo pipefail
cd "$(dirname "$0")/.."

profiles=${1:-all}
attacks=${2:-}
[ $# -eq 0 ] && attacks=all
loadgen() { "${CARGO:-cargo}" run --locked --release --quiet -p loadgen -- "$@"; }

failed=0
if [ "$profiles" != none ]; then
  loadgen impair --players 50 --profile "$profiles" || failed=1
fi
if [ -n "$attacks" ]; then
  loadgen attack --players 200 --scenario "$attacks" || failed=1
fi
exit $failed
