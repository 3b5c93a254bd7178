#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Single calls in which a mount differs from ext4, as README's caveats tell: what is refused has the
# errno that makes programs fall back.
. "$(dirname "$0")/harness.sh"
[ "$(id -u)" = 0 ] || skip "owners are changed: needs root"
need jq python3

as_told() { python3 "$here/differs.py" "$M" "$1" "$T/mnt2" || fail "see above"; }

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

for form in raw packed; do
	[ $form = packed ] || { "$DISKVFS" unpack "$M" value >>"$T/log" 2>&1; }
	[ $form = raw ] || pack_now
	[ "$(store_form value)" = $form ] || fail "the value is not $form"
	claim "$form: truncate(2) to the same size moves times at most"
	as_told same_size
done

claim "locks of programs hold within one mount, not between two of a store"
one=$M one_pid=$dv_pid
M=$T/mnt2
mnt_up -o settle=3600
M=$one
as_told locks
M=$T/mnt2
mnt_down
M=$one dv_pid=$one_pid

claim "what is taken that ext4 refuses, and what does not move"
as_told lenient
mnt_down
