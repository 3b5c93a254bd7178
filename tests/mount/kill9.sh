#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kill -9 of the daemon at random moments: every acknowledged byte is there after the next mount, every
# packed file passes zstd -t, no stray is listed. ROUNDS: how many kills (10). SEED: of the choices.
. "$(dirname "$0")/harness.sh"
need jq python3 zstd

mk_store --frame-size 16384
mkdir "$M"
claim "nothing acknowledged is lost over ${ROUNDS:-10} kills"
python3 "$here/kill9.py" "$DISKVFS" "$S" "$M" "${ROUNDS:-10}" "${SEED:-$RANDOM}" "$T/log" ||
	fail "see above"
claim "the store unmounts clean, mounts again and holds what it held"
mnt_up
before=$(cd "$M" && find . -type f -exec sha256sum {} + | sort -k2)
mnt_down
all_zst_good
mnt_up -o ro
[ "$before" = "$(cd "$M" && find . -type f -exec sha256sum {} + | sort -k2)" ] || fail "it does not"
mnt_down
[ -z "$(ls -A "$S/.diskvfs/stage" 2>/dev/null)" ] || fail "left in the stage: $(ls "$S/.diskvfs/stage")"
