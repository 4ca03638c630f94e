#!/usr/bin/env bash
# Records what a running shard thread does and draws it as a flame graph.
#
#   perf/record.sh                          the first shard of the newest tidelock process, 10 s
#   perf/record.sh --seconds 30 --thread gate
#   perf/record.sh --pid 1234 --thread shard-2
#
# Result: perf/out/TIME-THREAD.{data,folded,svg}. How to read it: perf/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0"; }
fail() { echo "perf/record.sh: $*" >&2; exit 1; }

pid='' thread=shard-1 seconds=10 frequency=499
while [ $# -gt 0 ]; do
  case "$1" in
    --pid | --thread | --seconds | --frequency)
      [ $# -ge 2 ] || fail "$1 wants a value"
      declare "${1#--}=$2"
      shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done

command -v perf >/dev/null ||
  fail "perf is not installed. Debian: apt install linux-perf; Ubuntu: apt install linux-tools-generic"
command -v inferno-flamegraph >/dev/null && command -v inferno-collapse-perf >/dev/null ||
  fail "inferno is not installed (or not in PATH): cargo install inferno --locked"

# The thread's name is what tells a shard from a gate, and a server from a load generator.
named() {
  local task
  for task in "/proc/$1/task"/*; do
    if [ "$(cat "$task/comm" 2>/dev/null)" = "$thread" ]; then echo "${task##*/}"; return; fi
  done
}
tid=''
if [ -n "$pid" ]; then
  [ -d "/proc/$pid" ] || fail "there is no process $pid"
  tid=$(named "$pid")
else
  for pid in $(pgrep -x tidelock | sort -rn); do
    tid=$(named "$pid")
    [ -z "$tid" ] || break
  done
fi
[ -n "$tid" ] || fail "no tidelock process with a thread '$thread' runs here. Start one, for example:
  target/release/tidelock demo --players 1000 --seconds 60"

mkdir -p perf/out
out=perf/out/$(date +%Y%m%d-%H%M%S)-$thread
echo "process $pid, thread $thread ($tid), $seconds s at $frequency Hz"
# cpu-clock is a timer of the kernel: it works where there are no hardware counters (most VMs).
# Release builds keep no frame pointers, so the stacks are copied and unwound afterwards.
perf record --quiet -F "$frequency" -e cpu-clock --call-graph dwarf,16384 -t "$tid" -o "$out.data" \
  -- sleep "$seconds" ||
  fail "perf cannot record. Without root it needs: sysctl -w kernel.perf_event_paranoid=1
  (and kernel.kptr_restrict=0 to see the names of kernel functions)"
# One stack per line; inlined functions are left out, because looking each up takes minutes.
perf script --no-inline -i "$out.data" 2>/dev/null | inferno-collapse-perf >"$out.folded"
[ -s "$out.folded" ] || fail "no samples: the thread slept the whole time, or ended"
inferno-flamegraph --title "$thread, $seconds s" --countname ns <"$out.folded" >"$out.svg"

# What the picture says, as text: in which functions the time was spent, callees left out.
echo
echo "self time:"
awk '{ n = $NF; sub(/ [0-9]+$/, ""); k = split($0, f, ";"); self[f[k]] += n; all += n }
     END { for (name in self) printf "%6.1f %%  %s\n", 100 * self[name] / all, name }' \
  "$out.folded" | sort -rn | head -15 | cut -c1-100 || true
echo
echo "$out.svg"
