#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Two mounts of one store and programs in the store, all changing the same 50 keys: no mixture of versions,
# no loss of what was closed, nothing stale, and at rest all three agree. STORM_SECONDS, SEED.
. "$(dirname "$0")/harness.sh"
need jq zstd python3

: "${STORM_SECONDS:=8}" "${SEED:=$RANDOM}"
A=$T/a B=$T/b

agree() { # where they do not, the log tells in what
	diff -r "$A" "$B" >"$T/out" 2>&1 || { tail -n 5 "$T/out" >>"$T/log" && false; }
}

storm() { # storm COHERENCE
	M=$A
	mnt_up -o "settle=0,coherence=$1"
	a_pid=$dv_pid
	M=$B
	mnt_up -o "settle=0,coherence=$1"
	python3 "$here/storm.py" "$A" "$B" "$S" "$STORM_SECONDS" "$SEED" "$1" >"$T/out" 2>&1 || {
		cat "$T/out"
		fail "see above (SEED=$SEED)"
	}
	cat "$T/out"
	for m in "$A" "$B"; do M=$m pack_now; done
	until_true 20 agree
	M=$B
	mnt_down
	M=$A dv_pid=$a_pid
	mnt_down
	all_zst_good
	[ -z "$(find "$S" -name '*.zst' | while IFS= read -r f; do [ ! -e "${f%.zst}" ] || echo "$f"; done)" ] ||
		fail "two forms are left"
	[ -z "$(ls -A "$S/.diskvfs/stage")" ] || fail "left in the stage: $(ls "$S/.diskvfs/stage")"
	find "$S" -mindepth 1 ! -path "$S/.diskvfs*" -delete
}
mk_store
claim "each open looks at the store (coherence=0), seed $SEED"
storm 0
claim "what was looked at is good for 1 s"
storm 1
