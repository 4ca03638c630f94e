#!/usr/bin/env bash
# Breaks rules one by one, of replication, descriptions, rekeys, places in the world, and those
# that tests/museum/ is about, and expects a test to fail each time: a test that no mutant can fail
# proves nothing. On a 2-core VM a mutant takes half a minute to a minute, most of it for building,
# and all of them most of an hour; scripts/nightly.sh runs them.
#
#   scripts/mutants.sh            all mutants
#   scripts/mutants.sh NAME...    these
#   scripts/mutants.sh apply      only whether each applies to what lies here; builds nothing
#
# Works on a copy of HEAD with a target folder of its own; what is not committed is not tested. A
# mutant that no longer applies, or no longer compiles, is a failure like one that survives.
set -uo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
home=$(realpath "${CARGO_TARGET_DIR:-target}")/mutants
asked=("$@")
model=(--test replication_model)
slots=(--lib replicate::slots)
museum=(--test museum)
rekey=(--lib rekey)
places=(--lib gate::)
players=(--lib shard::)
results=()
failed=0

# is_asked NAME: whether it is one of those to try.
is_asked() {
  [ ${#asked[@]} -eq 0 ] || [[ " ${asked[*]} " == *" $1 "* ]]
}

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
  results+=("$(printf '%-30s %-18s %4d s' "$1" "$2" "$3")")
  [ "$2" = applicable ] || printf '== %s: %s\n' "$1" "$2"
}

# mutated FILE OLD NEW: what is in FILE, with NEW where OLD stands, if that is in one place only.
mutated() {
  local text rest
  text=$(<"$1") || return
  rest=${text/"$2"/}
  [ "$rest" != "$text" ] && [ "${rest/"$2"/}" = "$rest" ] || return
  printf '%s\n' "${text/"$2"/"$3"}"
}

# try FILE OLD NEW TESTS...: what becomes of TESTS with NEW for OLD in FILE.
try() {
  local file=$tree/$1 text what
  text=$(mutated "$file" "$2" "$3") || { echo "does not apply"; return; }
  [ "$only" = apply ] && { echo applicable; return; }
  printf '%s\n' "$text" >"$file"
  what=$(verdict "${@:4}")
  git -C "$tree" checkout --quiet -- .
  case $what in
    fails) echo killed ;;
    passes) echo SURVIVES ;;
    *) echo "$what" ;;
  esac
}

# mutant NAME FILE OLD NEW TESTS...: OLD stands once in FILE, and NEW in its place fails TESTS.
mutant() {
  local start=$SECONDS what
  is_asked "$1" || return
  what=$(try "${@:2}")
  [ "$what" = "$good" ] || failed=$((failed + 1))
  note "$1" "$what" $((SECONDS - start))
  [ "$only" = apply ] && return
  grep -h -A1 "panicked at" "$home/test.log" | sed -n '2s/^/   /p' | cut -c1-100
}

if [ "${asked[*]}" = apply ]; then
  only=apply good=applicable tree=. asked=()
else
  only=all good=killed tree=$home/tree
  mkdir -p "$home"
  git worktree remove --force "$tree" 2>/dev/null || rm -rf "$tree"
  git worktree prune
  git worktree add --quiet --detach "$tree" HEAD || exit 2
  trap 'git worktree remove --force "$tree"' EXIT
  export CARGO_TARGET_DIR=$home/target
  for tests in model slots museum rekey places players; do
    declare -n whole=$tests
    what=$(verdict "${whole[@]}")
    if [ "$what" != passes ]; then
      echo "without any mutant: ${whole[*]} $what"
      tail -20 "$home/test.log"
      exit 1
    fi
  done
fi

table=src/replicate/slots.rs
words=src/shard/describe.rs

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
mutant ack_of_the_discarded src/client/machine/messages.rs \
  'self.statistics.stale_snapshots += 1;' \
  'self.statistics.stale_snapshots += 1; session.processed(opened.sequence, now);' \
  "${model[@]}"

# What a player was told of an entity goes with it to another shard, and is not told again there.
mutant words_stay_behind $words \
  '*place = told.map_or(Told::NOTHING, |told| *told);' \
  '{ let _ = told; *place = Told::NOTHING; }' \
  "${model[@]}"

# Who was told of an entity is told when that changes.
mutant words_never_change $words \
  'self.stale |= told;' \
  'self.stale |= told & 0;' \
  "${model[@]}"

# What went out of sight is to be forgotten, and told again when it comes back.
mutant words_are_kept $words \
  'if !stays || !known.contains_key(&entity) {' \
  'if !stays && !known.contains_key(&entity) {' \
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

# A packet under the former key is from before the turn, and not older than three seconds.
mutant former_key_for_later_ones src/connection/rekey.rs \
  '_ if sequence < rekey.course.first && now' \
  '_ if now' \
  "${rekey[@]}"
mutant former_key_for_ever src/connection/rekey.rs \
  'sequence < rekey.course.first && now < rekey.course.hold_until' \
  'sequence < rekey.course.first' \
  "${rekey[@]}"
mutant former_key_at_the_client src/client/rekey.rs \
  '(sequence >= self.first || now >= self.hold_until)' \
  '(now >= self.hold_until)' \
  "${rekey[@]}"

# Who has derived the next keys seals with them, and names them in the header.
mutant derived_and_not_used src/connection/rekey.rs \
  'keys.seal_with(seal.bytes());' \
  '' \
  "${rekey[@]}"
mutant parity_is_not_told src/connection/seal.rs \
  'out[FLAGS_AT] |= keys.seals.0;' \
  '' \
  "${rekey[@]}"
mutant client_opens_and_does_not_seal src/client/rekey.rs \
  'self.seal = PacketKey::new(self.next_seal.bytes());' \
  '' \
  "${rekey[@]}"

# One part per epoch and side, the first one, and only if it was asked for.
mutant last_answer_counts src/connection/rekey.rs \
  'if course.answer.is_none() {' \
  '{' \
  "${rekey[@]}"
mutant answer_to_any_epoch src/connection/rekey.rs \
  'let is_next = part.epoch == course.epoch.wrapping_add(1);' \
  'let is_next = true;' \
  "${rekey[@]}"

# When and how many, and what ends a session instead.
mutant no_spacing src/connection/rekey.rs \
  'course.since.plus(spacing).max(course.hold_until)' \
  'course.hold_until' \
  "${rekey[@]}"
mutant bytes_go_on_counting src/connection/rekey.rs \
  'keys.carried = 0;' \
  '' \
  "${rekey[@]}"
mutant all_derive_at_once src/connection/rekey.rs \
  ' if self.supply.derived < REKEYS_DERIVED_PER_TICK' \
  '' \
  "${rekey[@]}"
mutant endless_patience src/connection/rekey.rs \
  '&& now.since(course.asked_at) >= PATIENCE' \
  '&& now.since(course.asked_at) >= KEY_AGE_MAX' \
  "${rekey[@]}"
mutant no_jitter src/connection/rekey.rs \
  'course.plan(self.config.rekey, dice,' \
  'course.plan(self.config.rekey, dice & 1,' \
  "${rekey[@]}"

# Secrets go when they have served, and go along when the session does.
mutant ephemeral_stays src/connection/rekey.rs \
  'self.ephemeral.erase();' \
  '' \
  "${rekey[@]}"
mutant sealing_key_untold src/connection/rekey.rs \
  'course.epoch != 0 || course.phase == Phase::Derived;' \
  'false;' \
  "${rekey[@]}"
mutant farewell_under_the_first_parity src/gate/sessions.rs \
  'farewell.epoch = epoch;' \
  '' \
  --lib farewells

# A place in the world is had by one, given back once, and no old ticket leads to it.
mutant former_tickets_stay_good src/gate/valid.rs \
  'Some(newest) => newest.ticket == Some(*id),' \
  'Some(newest) => newest.ticket.is_some(),' \
  "${places[@]}"
mutant goodbye_keeps_tickets src/gate/valid.rs \
  'may_return.then_some(id)' \
  'Some(id)' \
  "${places[@]}"
mutant refused_parcel_stays_booked src/gate/mod.rs \
  'self.arrived(id);' \
  '' \
  "${places[@]}"
mutant who_lingers_takes_no_room src/gate/sessions.rs \
  'self.room_in(*shard).min(rows(*shard))' \
  'self.room_in(*shard)' \
  "${places[@]}"
mutant ban_lost_on_the_way src/gate/mod.rs \
  'Some(reason) => self.tell_ending(to, reason),' \
  'Some(_) => {}' \
  "${places[@]}"
mutant heir_of_nobody_has_nothing src/shard/lingering.rs \
  'None => Stage::Orphan,' \
  'None => Stage::Nobody,' \
  "${players[@]}"
mutant full_world_keeps_waiting src/shard/players.rs \
  'let Ok(row) = row else {' \
  'if row.is_err() { return true; } let Ok(row) = row else {' \
  "${players[@]}"

# Whoever is given up for a bad network may come back to its entity.
mutant given_up_like_a_culprit src/connection/liveness.rs \
  '(DisconnectReason::TimedOut, CloseReason::TimedOut)' \
  '(DisconnectReason::TimedOut, CloseReason::Unconfirmed)' \
  --test fuzz_corpora every_input

# Nobody is told what is wrong with a token but who has shown a cookie.
mutant denied_without_a_cookie src/gate/handshake.rs \
  'if !self.cookies.verify(at.now, connect.cookie(), &attempt) {' \
  'let is_good = connect.token_expiry_s() > at.unix_s;
        if !self.cookies.verify(at.now, connect.cookie(), &attempt) && is_good {' \
  --test fuzz_corpora every_input

# The museum: each piece with the bug that it shows, named like its test.

mutant forged_packet_advances_no_window src/connection/open.rs \
  'let Ok(plaintext) = keys.open.open(datagram) else {' \
  'ingress.window.commit(admitted.header.sequence);
        let Ok(plaintext) = keys.open.open(datagram) else {' \
  "${museum[@]}" forged_packet

mutant forged_packet_at_the_client src/client/session.rs \
  'self.window.peek(header.sequence).map_err(|_| ClientError::Replay)?;' \
  'self.window.peek(header.sequence).map_err(|_| ClientError::Replay)?;
        self.window.commit(header.sequence);' \
  "${museum[@]}" forged_packet

mutant end_of_the_sequences_wraps src/crypto/replay.rs \
  'if sequence > self.newest {
            return' \
  'if sequence.wrapping_add(Self::POSITIONS) > self.newest + Self::POSITIONS {
            return' \
  "${museum[@]}" end_of_the_sequences

mutant garbage_is_acknowledged src/connection/open.rs \
  'self.count_failed_open(index);' \
  'self.count_failed_open(index);
            self.flow[index].processed.add(admitted.header.sequence, now);' \
  "${museum[@]}" garbage_moves

mutant window_too_narrow src/crypto/replay.rs \
  'pub const POSITIONS: u64 = WORDS as u64 * 64;' \
  'pub const POSITIONS: u64 = WORDS as u64 * 8;' \
  "${museum[@]}" half_a_second

mutant window_of_the_last_session src/connection/table.rs \
  'endpoint: Endpoint::from(admission.address),
            window: ReplayWindow::default(),' \
  'endpoint: Endpoint::from(admission.address),
            window: self.ingress[slot].window,' \
  "${museum[@]}" a_new_session

mutant token_from_before_the_restart src/gate/handshake.rs \
  'token.issued_at_ms < self.config.boot_unix_ms' \
  'token.issued_at_ms < self.config.boot_unix_ms.min(0)' \
  "${museum[@]}" a_restarted_server

mutant token_table_takes_too_many src/gate/tokens.rs \
  'None if self.is_full() => Err(DropReason::TokenTableFull),' \
  '' \
  "${museum[@]}" a_full_token_table

mutant sniffed_token_joins src/crypto/noise.rs \
  'state.mix_key_and_hash(psk);' \
  'state.mix_key_and_hash(&[psk[0] & 0; 32]);' \
  "${museum[@]}" a_sniffed_token

mutant prologue_with_the_cookie src/wire/handshake.rs \
  'head.copy_from_slice(&self.0.as_bytes()[..32]);' \
  'head.copy_from_slice(&self.0.as_bytes()[32..64]);' \
  "${museum[@]}" every_resend

mutant unwrap_in_a_parser src/wire/control.rs \
  'DisconnectReason::from_wire(reader.u8()?).ok_or(ReadError::Value)?' \
  'DisconnectReason::from_wire(reader.u8()?).unwrap()' \
  "${museum[@]}" no_message_of_any

mutant acknowledged_below_the_first src/wire/ack.rs \
  'if block.largest > span { Ok(block)' \
  'if block.largest > span.min(0) { Ok(block)' \
  "${museum[@]}" acknowledgments_that

mutant memory_held_by_gaps src/reliable/receiver.rs \
  'self.waiting.bytes as usize + body.len() <= REORDER_BYTES' \
  'self.waiting.bytes as usize + body.len() <= 2 * REORDER_BYTES' \
  "${museum[@]}" a_gap_that

mutant fragment_size_unchecked src/reliable/sets.rs \
  '&& fragment.bytes.len() == rest.min(FRAGMENT_LEN);' \
  '&& fragment.bytes.len() <= rest.max(FRAGMENT_LEN);' \
  "${museum[@]}" parts_of_a_wrong

mutant fragment_offset_underflows src/reliable/sets.rs \
  '(total as usize).saturating_sub(offset_len)' \
  '(total as usize).wrapping_sub(offset_len)' \
  "${museum[@]}" parts_of_a_wrong

mutant repeated_part_counts_twice src/reliable/sets.rs \
  'if set.there & bit != 0 {' \
  'if set.there & bit != 0 && offset > 63_000 {' \
  "${museum[@]}" parts_in_any_order

mutant lz4_shorter_than_it_says src/wire/lz4.rs \
  'if written.is_ok_and(|written| written == raw_len) {' \
  'if written.is_ok() {' \
  "${museum[@]}" no_block_shows

mutant port_without_a_lock src/net/lock.rs \
  'format!("tidelock-udp-{port}")' \
  'format!("tidelock-udp-{port}-{}", std::process::id())' \
  "${museum[@]}" a_second_process

[ "$only" = apply ] || printf '\n== summary\n%s\n' "$(printf '%s\n' "${results[@]}")"
if [ "$failed" -gt 0 ] || [ ${#results[@]} -eq 0 ]; then
  echo "$failed of ${#results[@]} mutants are not $good"
  exit 1
fi
echo "all ${#results[@]} mutants: $good"
