#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Random steps on the mount and on a plain directory, in lockstep: exerciser/.
#
#   SEED (random)   SEEDS (6) runs, one after the other, of STEPS (1200) each, each with the next of
#                   the settings below
#   SUFFIX          the store has the transform path:SUFFIX
#   STEPS_FILE      the steps of a file instead, with OPTIONS
#
# A run that fails names its seed and options, is shrunk to the steps that matter, and prints them:
# the lines that begin with a number, kept in a file, replay it.
. "$(dirname "$0")/harness.sh"
. "$(dirname "$0")/backing.sh"
need jq zstd
: "${EXERCISER:?set EXERCISER to the program built from exerciser/}"

settings=('' cache_size=1M frame_size=4K coherence=0 noacl threads=1,frame_size=64K)

# exercise OPTIONS ARGUMENT...
exercise() {
	local options=$1
	shift
	mnt_up -o dev,settle=1
	"$EXERCISER" "$DISKVFS" "$S" "$M" "$P" -o "$options" -t "${SUFFIX-}" -x "$@" >"$T/steps" 2>"$T/told" || {
		tail -n 60 "$T/told"
		echo "the steps that matter (STEPS_FILE):"
		cat "$T/steps"
		fail "BACKING=${BACKING:-tmpfs} OPTIONS='$options' $*"
	}
	dv_pid=$(stat_json .pid)
	dv_watch "$dv_pid"
	mnt_down
	all_zst_good
}

backing_up
mk_store --frame-size 16384 --transform "path${SUFFIX:+:$SUFFIX}"
seed=${SEED:-$RANDOM}
if [ -n "${STEPS_FILE-}" ]; then
	claim "the steps of $STEPS_FILE: the mount and a plain directory do the same"
	exercise "${OPTIONS-}" -r "$STEPS_FILE"
	SEEDS=0
fi
for ((i = 0; i < ${SEEDS:-6}; i++)); do
	options=${settings[i % ${#settings[@]}]}
	claim "seed $((seed + i)), ${STEPS:-1200} steps, ${options:-no options}: the mount and a plain directory do the same"
	exercise "$options" -s $((seed + i)) -n "${STEPS:-1200}"
done
claim "no stray is left"
[ -z "$(ls -A "$S/.diskvfs/stage")" ] || fail "$(ls "$S/.diskvfs/stage")"
[ ! -e "$S/.diskvfs/lost" ] || fail "$(ls "$S/.diskvfs/lost")"
backing_down
