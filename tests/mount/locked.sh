#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A program in the store keeps files of values locked (flock LOCK_EX): who writes them waits, and is told
# EBUSY in the end; whatever else is done goes on meanwhile.
. "$(dirname "$0")/harness.sh"
need jq python3 zstd

for part in let_go kept; do
	claim "files are locked by a program in the store while they are written to: $part"
	mk_store --nopack 'raw*'
	mnt_up -o "settle=3600,coherence=1"
	for key in raw packed; do text 100000 >"$M/$key"; done
	pack_now
	mnt_down # and with it its own lock on what it wrote
	mnt_up -o "settle=3600,coherence=1"
	[ "$(store_form packed) $(store_form raw)" = "packed raw" ] || fail "the forms are not as wanted"
	python3 "$here/locked.py" "$M" "$S" $part || fail "see above"
	mnt_down
	all_zst_good
	rm -rf "$S"
done
