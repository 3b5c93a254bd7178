#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Single calls in which a mount differs from ext4, as README's caveats tell: what is refused has the
# errno that makes programs fall back.
. "$(dirname "$0")/harness.sh"
[ "$(id -u)" = 0 ] || skip "owners are changed: needs root"
need jq python3

as_told() { python3 "$here/differs.py" "$M" "$1" || fail "see above"; }

mk_store
mkdir "$S/fresh"
(cd "$S/fresh" && touch $(seq 3000)) # more than one answer of the daemon holds
mnt_up -o settle=3600

claim "numbers in a listing are those of stat, or not known yet"
as_told unknown_numbers

text 300000 >"$M/value"
text 100 >"$M/other"
mkfifo "$M/fifo"
for form in raw packed; do
	[ $form = raw ] || pack_now
	[ "$(store_form value)" = $form ] || fail "the value is not $form"
	claim "$form: what is refused says so"
	as_told refused
	claim "$form: what is not told is not made up"
	as_told not_told
done

claim "what is taken that ext4 refuses, and what does not move"
as_told lenient
mnt_down
