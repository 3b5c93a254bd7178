#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Values that are replaced whole are atomic registers: for one mount, for two where each open looks at the store, and
# for each of four within the coherence time. LINEAR_SECONDS for each, SEED, LIBRARY (libdiskvfs.so; may be unset).
. "$(dirname "$0")/harness.sh"
need jq zstd python3

: "${LINEAR_SECONDS:=3}" "${SEED:=$RANDOM}"

linear() { # linear MOUNTS COHERENCE
	local mounts=() pids=() i
	for i in $(seq "$1"); do
		M=$T/mnt$i
		mnt_up -o "settle=0,coherence=$2"
		mounts+=("$M") pids+=("$dv_pid")
	done
	python3 "$here/linear.py" "$S" "$LINEAR_SECONDS" "$SEED" "$2" "${mounts[@]}" >"$T/out" 2>&1 || {
		cat "$T/out"
		fail "see above (SEED=$SEED)"
	}
	tail -n 1 "$T/out"
	for i in "${!mounts[@]}"; do
		M=${mounts[i]} dv_pid=${pids[i]}
		mnt_down
	done
	all_zst_good
	"$DISKVFS" verify -q "$S" >"$T/out" 2>&1 || fail "verify: $(cat "$T/out")"
	[ -z "$(ls -A "$S/.diskvfs/stage")" ] || fail "left in the stage: $(ls "$S/.diskvfs/stage")"
	rm -rf "$S"
}

claim "a history is judged as trying all orders does"
python3 "$here/history.py"
claim "one mount: all is one register, seed $SEED"
mk_store --nopack '*[sz]?'
linear 1 1
claim "two mounts, and programs in the store, with coherence=0: all is one register"
mk_store --nopack '*[sz]?'
linear 2 0
claim "four mounts with coherence=1: each sees one register, not older than that"
mk_store --nopack '*[sz]?'
linear 4 1
