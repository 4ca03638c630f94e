#!/usr/bin/env bash
# Breaks the rules of replication one by one and expects a test to fail each time: a test that no
# mutant can fail proves nothing. About ten minutes; scripts/nightly.sh runs it.
#
#   scripts/mutants.sh            all mutants
#   scripts/mutants.sh NAME...    these
#
# Works on a copy of HEAD with a target folder of its own; what is not committed is not tested. A
# mutant that no longer applies, or no longer compiles, is a failure like one that survives.
set -uo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
home=$(realpath "${CARGO_TARGET_DIR:-target}")/mutants
tree=$home/tree
mkdir -p "$home"
git worktree remove --force "$tree" 2>/dev/null || rm -rf "$tree"
git worktree prune
git worktree add --quiet --detach "$tree" HEAD || exit 2
trap 'git worktree remove --force "$tree"' EXIT
export CARGO_TARGET_DIR=$home/target

asked=("$@")
model=(--test replication_model)
slots=(--lib replicate::slots)
results=()
failed=0

# verdict TESTS...: builds and runs them; says how it went.
verdict() {
  : >"$home/test.log"
  (cd "$tree" && "$cargo" test --quiet --no-run "${@:1:2}" >"$home/build.log" 2>&1) ||
    { tail -20 "$home/build.log" >&2; echo "does not compile"; return; }
  (cd "$tree" && timeout 600 "$cargo" test --quiet "$@" >"$home/test.log" 2>&1)
  case $? in
    0) echo passes ;;
    124) echo "takes too long" ;;
    *) echo fails ;;
  esac
}

note() {
  results+=("$(printf '%-22s %-18s %4d s' "$1" "$2" "$3")")
  printf '== %s: %s\n' "$1" "$2"
}

# mutant NAME FILE OLD NEW TESTS...: OLD stands once in FILE, and NEW in its place fails TESTS.
mutant() {
  local name=$1 file=$tree/$2 old=$3 new=$4 start=$SECONDS text rest what
  shift 4
  if [ ${#asked[@]} -gt 0 ] && [[ " ${asked[*]} " != *" $name "* ]]; then return; fi
  text=$(<"$file") || { failed=$((failed + 1)); note "$name" "has no file" 0; return; }
  rest=${text/"$old"/}
  if [ "$rest" = "$text" ] || [ "${rest/"$old"/}" != "$rest" ]; then
    failed=$((failed + 1))
    note "$name" "does not apply" 0
    return
  fi
  printf '%s\n' "${text/"$old"/"$new"}" >"$file"
  what=$(verdict "$@")
  git -C "$tree" checkout --quiet -- .
  case $what in
    fails) what=killed ;;
    passes) what=SURVIVES; failed=$((failed + 1)) ;;
    *) failed=$((failed + 1)) ;;
  esac
  note "$name" "$what" $((SECONDS - start))
  grep -h -A1 "panicked at" "$home/test.log" | sed -n '2s/^/   /p' | cut -c1-100
}

for tests in model slots; do
  declare -n whole=$tests
  what=$(verdict "${whole[@]}")
  if [ "$what" != passes ]; then
    echo "without any mutant: ${whole[*]} $what"
    tail -20 "$home/test.log"
    exit 1
  fi
done

table=src/replicate/slots.rs

# A baseline is what was acknowledged, not what was sent.
mutant sent_is_enough $table \
  'self.clock = tick;' \
  'self.clock = tick; raise(&mut self.acknowledged, slots & self.live, tick as u16, tick as u16);' \
  "${model[@]}"

# An acknowledgment counts for the slots that its packet described.
mutant ack_for_all_slots $table \
  'described & self.live, tick, clock)' \
  'self.live, tick, clock)' \
  "${model[@]}"

# It counts for its packet, and not for the one that has its place in the ring by now.
mutant ack_of_the_next_lap $table \
  ' || sent != lap(sequence)' \
  ' || (false && sent != lap(sequence))' \
  "${model[@]}"

# A client acknowledges what it has applied, and not what it has discarded.
mutant ack_of_the_discarded src/client/machine.rs \
  'self.statistics.stale_snapshots += 1;' \
  'self.statistics.stale_snapshots += 1; session.processed(opened.sequence, now);' \
  "${model[@]}"

# What was sent of the last occupant of a slot says nothing about the next. (No honest client gets
# here: who acknowledges the removal acknowledges what was before it in the same block.)
mutant ack_for_the_next_one $table \
  'described[slot / 64] &= !(1 << (slot % 64));' \
  'let _ = described;' \
  "${slots[@]}"

# A slot is given to another only after its removal was acknowledged.
mutant slot_reused_early $table \
  'let empty = !(self.live | self.leaving);' \
  'let empty = !self.live;' \
  "${model[@]}"

# A removal is told until it was acknowledged.
mutant removal_told_once $table \
  'self.clock = tick;' \
  'self.clock = tick; self.leaving = 0;' \
  "${model[@]}"

# A packet from before the removal does not acknowledge it.
mutant removal_acked_before $table \
  'tick.wrapping_sub(self.acknowledged[usize::from(*slot)]) as i16 >= 0' \
  'tick.wrapping_sub(self.acknowledged[usize::from(*slot)]) as i16 >= i16::MIN' \
  "${model[@]}"

# Who is seen stays visible up to a larger radius.
mutant no_hysteresis src/world/index.rs \
  'let leave_factor = leave_factor.max(1.0);' \
  'let leave_factor = leave_factor.clamp(1.0, 1.0);' \
  "${model[@]}"

# Who came into a row after the last look is another than the slot stands for; so is nobody.
mutant row_of_another src/world/publish.rs \
  '*since = self.tick;' \
  '*since = 1;' \
  "${model[@]}"
mutant row_of_nobody src/exchange/member.rs \
  'let empty = PublishedRow::empty_since(self.next());' \
  'let empty = PublishedRow::EMPTY;' \
  "${model[@]}"

# Nobody is told about himself.
mutant sees_itself src/replicate/select.rs \
  'self.nearest.leave_out(eye.row);' \
  '' \
  "${model[@]}"

# Time does not go back.
mutant back_in_time src/client/snapshot.rs \
  'if head.tick <= newest {' \
  'if head.tick == newest {' \
  "${model[@]}"

# What is known of a viewer goes with him to another shard.
mutant forgotten_on_the_way src/shard/handover.rs \
  'self.replicator.put_in(slot, table);' \
  'drop(table); self.replicator.reset(slot);' \
  "${model[@]}"

printf '\n== summary\n'
printf '%s\n' "${results[@]}"
if [ "$failed" -gt 0 ] || [ ${#results[@]} -eq 0 ]; then
  echo "$failed of ${#results[@]} mutants were not killed"
  exit 1
fi
echo "all ${#results[@]} mutants were killed"
