#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Files of the store are changed in all ways while a mount reads them: no mixture, nothing older than the coherence
# time. COHERENT_SECONDS for each, SEED.
. "$(dirname "$0")/harness.sh"
need jq zstd python3

: "${COHERENT_SECONDS:=4}" "${SEED:=$RANDOM}"
for coherence in 0 1; do
	claim "changes in the store beside readers, coherence=$coherence, seed $SEED"
	mk_store
	mnt_up -o "settle=0,coherence=$coherence"
	python3 "$here/coherent.py" "$M" "$S" "$COHERENT_SECONDS" "$SEED" "$coherence" >"$T/out" 2>&1 || {
		cat "$T/out"
		fail "see above (SEED=$SEED)"
	}
	tail -n 1 "$T/out"
	mnt_down
	rm -rf "$S"
done
