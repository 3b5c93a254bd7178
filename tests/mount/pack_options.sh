#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# diskvfs pack --level, --older-than, --match: which values are packed, packed ones anew with another
# level, files of other makers become ours; killed, it is gone on with; what was saved is told.
. "$(dirname "$0")/harness.sh"
need jq zstd getfattr

frames() { getfattr --absolute-names --only-values -n user.diskvfs.frames "$M/$1"; }
stored() { stat -c %s "$(store_path "$1")"; }
# By name: while a folder is listed nothing in it is packed.
names=$(echo foreign{1,2,3,4} v{1..20}.txt old.log noise)
same_values() {
	(cd "$M" && md5sum -- $names) | cmp - "$T/sums" || fail "$1: bytes"
	(cd "$M" && stat -c '%n %i %s %a %Y %Z' $names) | cmp - "$T/stats" || fail "$1: attributes"
}

mk_store --compress zstd:1
seq 1 60000 >"$T/text"
for i in 1 2 3 4; do cp "$T/text" "$S/foreign$i"; done
zstd -q -1 --rm "$S"/foreign*
mnt_up -o settle=3600
for i in $(seq 1 20); do seq "$i" 20000 >"$M/v$i.txt"; done
seq 1 30000 >"$M/old.log"
touch -d '10 days ago' "$M/old.log" "$M/v1.txt"
noise 50000 >"$M/noise"
(cd "$M" && md5sum -- $names) >"$T/sums"
(cd "$M" && stat -c '%n %i %s %a %Y %Z' $names) >"$T/stats"

claim "a pattern and an age choose"
"$DISKVFS" pack "$M" --match '*.log' | grep -q '^packed 1 of 1 values' || fail match
[ "$(store_form old.log)" = packed ] && [ "$(store_form v1.txt)" = raw ] || fail "match"
"$DISKVFS" pack "$M" --older-than 9d | grep -q '^packed 1 of 2 values' || fail age
[ "$(store_form v1.txt)" = packed ] && [ "$(store_form v2.txt)" = raw ] || fail "age"
"$DISKVFS" pack "$M" --older-than 9d --match '*.none' | grep -q '^packed 0 of 0 values' || fail both
"$DISKVFS" pack "$M" | grep -q '^packed 19 of 26 values' || fail all

claim "a level packs all of it anew, mounted: smaller, the same values, and it tells what was saved"
before=$(stored v2.txt)
[ "$(frames foreign1)" = 1 ] || fail "foreign1 has $(frames foreign1) frames"
"$DISKVFS" pack "$M" --level 19 >"$T/out"
grep -q '^packed 25 of 26 values, .*, 25 of them anew, 1 left raw; saved [1-9][0-9]* bytes$' "$T/out" || fail "$(cat "$T/out")"
[ "$(stored v2.txt)" -lt "$before" ] || fail "not smaller"
[ "$(frames foreign1)" = 3 ] || fail "foreign1 has $(frames foreign1) frames"
all_zst_good
same_values "level 19"
mnt_down

claim "unmounted too, and only what matches"
"$DISKVFS" pack "$S" --level -5 --match 'v1?.txt' >"$T/out"
grep -q '^packed 10 of 10 values, .*10 of them anew; took [1-9][0-9]* bytes more$' "$T/out" || fail "$(cat "$T/out")"
[ ! -e "$S/.diskvfs/pack" ] || fail "a mark is left"

claim "killed, it is gone on with, and does not do again what is done"
mnt_up -o settle=3600
"$DISKVFS" pack "$M" --level 18 >"$T/out" 2>&1 &
pid=$!
enough() { [ "$(stat_json .values.packed)" -ge 5 ] || [ ! -e "/proc/$pid" ]; }
until_true 60 enough
kill -KILL "$dv_pid"
wait "$pid" || true
dv_wait_end "$dv_pid" 20 || fail "the daemon lives"
umount -l "$M"
mnt_up -o settle=3600
same_values "killed"
if [ -e "$S/.diskvfs/pack" ]; then
	"$DISKVFS" pack "$M" --level 18 >"$T/out"
	anew=$(sed -n 's/.*, \([0-9]*\) of them anew.*/\1/p' "$T/out")
	[ "${anew:-0}" -le 25 ] || fail "$(cat "$T/out")"
	[ ! -e "$S/.diskvfs/pack" ] || fail "a mark is left"
fi
"$DISKVFS" pack "$M" >>"$T/log"
same_values "gone on with"
all_zst_good
mnt_down

claim "what is wrong is told in one line"
for bad in '--level 20' '--level x' '--older-than soon' '--match [' '--wrong' '--level'; do
	! "$DISKVFS" pack "$S" $bad 2>"$T/err" || fail "$bad"
	[ "$(wc -l <"$T/err")" = 1 ] || fail "$bad: $(cat "$T/err")"
done
! "$DISKVFS" pack "$S" --match '' 2>"$T/err" || fail "an empty pattern"
grep -q 'the pattern is empty' "$T/err" || fail "$(cat "$T/err")"
