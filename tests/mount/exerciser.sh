#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Random steps on the mount and on a plain directory, in lockstep: exerciser.c.
#
#   SEED (random)   SEEDS (5) runs, one after the other, of STEPS (3000) each
#
# A run that fails names its seed, is shrunk to the steps that matter, and prints them.
. "$(dirname "$0")/harness.sh"
. "$(dirname "$0")/backing.sh"
need jq zstd
: "${EXERCISER:?set EXERCISER to the program built from exerciser.c}"

backing_up
mk_store --frame-size 16384
seed=${SEED:-$RANDOM}
for ((i = 0; i < ${SEEDS:-5}; i++)); do
	mnt_up -o dev,settle=1
	claim "seed $((seed + i)), ${STEPS:-3000} steps: the mount and a plain directory do the same"
	"$EXERCISER" "$DISKVFS" "$S" "$M" "$P" $((seed + i)) "${STEPS:-3000}" -s 2>"$T/told" || {
		tail -n 60 "$T/told"
		fail "replay: EXERCISER=... $0 with SEED=$((seed + i)) SEEDS=1 BACKING=${BACKING:-tmpfs}"
	}
	dv_pid=$(stat_json .pid)
	dv_pids="$dv_pids $dv_pid"
	mnt_down
	all_zst_good
done
claim "no stray is left"
[ -z "$(ls -A "$S/.diskvfs/stage")" ] || fail "$(ls "$S/.diskvfs/stage")"
[ ! -e "$S/.diskvfs/lost" ] || fail "$(ls "$S/.diskvfs/lost")"
backing_down
