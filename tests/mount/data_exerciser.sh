#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Random changes of one file's bytes against a shadow in memory: data_exerciser/.
#
#   SEED (random)   SEEDS (4) runs, one after the other, of STEPS (800) each, each with the next of
#                   the settings below
#   TRANSFORM (path) of the store
#   STEPS_FILE      the steps of a file instead, with OPTIONS
. "$(dirname "$0")/harness.sh"
. "$(dirname "$0")/backing.sh"
need jq zstd
: "${DATA_EXERCISER:?set DATA_EXERCISER to the program built from data_exerciser/}"

settings=('' cache_size=1M,frame_size=4K coherence=0 threads=1,frame_size=128K)

# exercise OPTIONS ARGUMENT...
exercise() {
	local options=$1
	shift
	mnt_up -o settle=1
	"$DATA_EXERCISER" "$DISKVFS" "$S" "$M" -o "$options" -x "$@" >"$T/steps" 2>"$T/told" || {
		tail -n 40 "$T/told"
		echo "the steps that matter (STEPS_FILE):"
		cat "$T/steps"
		fail "BACKING=${BACKING:-tmpfs} OPTIONS='$options' $*"
	}
	dv_pid=$(stat_json .pid)
	dv_watch "$dv_pid"
	rm "$M"/value*
	mnt_down
	all_zst_good
}

backing_up
mk_store --frame-size 16384 --transform "${TRANSFORM:-path}"
seed=${SEED:-$RANDOM}
if [ -n "${STEPS_FILE-}" ]; then
	claim "the steps of $STEPS_FILE: every byte is as it was written"
	exercise "${OPTIONS-}" -r "$STEPS_FILE"
	SEEDS=0
fi
for ((i = 0; i < ${SEEDS:-4}; i++)); do
	options=${settings[i % ${#settings[@]}]}
	claim "seed $((seed + i)), ${STEPS:-800} steps, ${options:-no options}: every byte is as it was written"
	exercise "$options" -s $((seed + i)) -n "${STEPS:-800}"
done
backing_down
