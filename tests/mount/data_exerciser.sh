#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Random changes of one file's bytes against a shadow in memory: data_exerciser.c.
#
#   SEED (random)   SEEDS (3) runs, one after the other, of STEPS (2000) each
. "$(dirname "$0")/harness.sh"
. "$(dirname "$0")/backing.sh"
need jq zstd
: "${DATA_EXERCISER:?set DATA_EXERCISER to the program built from data_exerciser.c}"

backing_up
mk_store --frame-size 16384
seed=${SEED:-$RANDOM}
for ((i = 0; i < ${SEEDS:-3}; i++)); do
	mnt_up -o settle=1
	claim "seed $((seed + i)), ${STEPS:-2000} steps: every byte is as it was written"
	"$DATA_EXERCISER" "$DISKVFS" "$S" "$M" $((seed + i)) "${STEPS:-2000}" -v 2>"$T/told" || {
		tail -n 40 "$T/told"
		fail "replay: DATA_EXERCISER=... $0 with SEED=$((seed + i)) SEEDS=1 BACKING=${BACKING:-tmpfs}"
	}
	dv_pid=$(stat_json .pid)
	dv_pids="$dv_pids $dv_pid"
	rm "$M"/value*
	mnt_down
	all_zst_good
done
backing_down
