#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What others do in the store to a file that programs of the mount have open: it stays one file, for
# locks and mappings, while it is changed in place; a replaced one is another, and never mixed.
. "$(dirname "$0")/harness.sh"
need jq python3 zstd

for coherence in 1 0; do
	claim "locked, mapped and open files beside changes in the store, coherence=$coherence"
	mk_store --nopack 'raw-*'
	mnt_up -o "settle=3600,coherence=$coherence"
	python3 "$here/external.py" "$M" "$S" "$coherence" make
	pack_now
	[ "$(store_form packed-a) $(store_form raw-a)" = "packed raw" ] || fail "the forms are not as wanted"
	python3 "$here/external.py" "$M" "$S" "$coherence" || fail "see above"
	mnt_down
	rm -rf "$S"
done
