#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# cas put and verify; gc: what was used longest ago goes first, and nothing that is in use.
. "$(dirname "$0")/harness.sh"
need jq sha256sum

claim "cas put prints the digest, which is the key, and is the same twice"
mk_store
text 500000 >"$T/a"
text 700 >"$T/b"
want=$(sha256sum <"$T/a" | cut -d' ' -f1)
[ "$("$DISKVFS" cas put "$S" <"$T/a")" = "$want" ] || fail "another digest"
"$DISKVFS" cas put "$S" "$T/a" "$T/b" >"$T/out"
sha256sum "$T/a" "$T/b" | cmp - "$T/out"
[ "$("$DISKVFS" keys "$S" | wc -l)" = 2 ] || fail "$("$DISKVFS" keys "$S")"
before=$(stat -c %i "$(store_path "$want")")
"$DISKVFS" cas put "$S" "$T/a" >/dev/null
[ "$(stat -c %i "$(store_path "$want")")" = "$before" ] || fail "it was written again"
"$DISKVFS" get "$S" "$want" | cmp - "$T/a"
"$DISKVFS" cas put "$S" "$T/b" --prefix blobs/ --sync >/dev/null
"$DISKVFS" has "$S" "blobs/$(sha256sum <"$T/b" | cut -d' ' -f1)" || fail "no prefix"

claim "standard input is a file of the name -"
"$DISKVFS" cas put "$S" "$T/b" - <"$T/a" >"$T/out"
[ "$(cut -d' ' -f1 "$T/out")" = "$(cat "$T/b" | sha256sum | cut -d' ' -f1)"$'\n'"$want" ] || fail "$(cat "$T/out")"

claim "cas put does not tell that a value is there which is of another length"
echo damaged | "$DISKVFS" put "$S" "$(sha256sum <"$T/b" | cut -d' ' -f1)"
status=0
"$DISKVFS" cas put "$S" "$T/b" >"$T/out" 2>"$T/err" || status=$?
[ "$status" = 2 ] && grep -q 'is damaged' "$T/err" && [ ! -s "$T/out" ] || fail "$status $(cat "$T/out" "$T/err")"
"$DISKVFS" rm "$S" "$(sha256sum <"$T/b" | cut -d' ' -f1)"
"$DISKVFS" cas put "$S" "$T/b" >/dev/null

claim "cas put --sync makes a value durable that was there already, and writes nothing"
if strace -o "$T/calls" true 2>/dev/null; then
	for sync in '' --sync; do
		ASAN_OPTIONS="${ASAN_OPTIONS-}:detect_leaks=0" strace -f -o "$T/calls" -e trace=syncfs \
			"$DISKVFS" cas put "$S" "$T/a" "$T/b" $sync >/dev/null
		[ "$(grep -c 'syncfs(' "$T/calls")" = "$([ -z "$sync" ]; echo $?)" ] || fail "'$sync': $(cat "$T/calls")"
	done
	[ "$(stat -c %i "$(store_path "$want")")" = "$before" ] || fail "it was written again"
fi

claim "a cas put whose file can not be read leaves nothing"
status=0
"$DISKVFS" cas put "$S" "$T" >/dev/null 2>"$T/err" || status=$?
[ "$status" = 2 ] && [ "$("$DISKVFS" keys "$S" | wc -l)" = 3 ] || fail "$status $("$DISKVFS" keys "$S")"

claim "cas verify finds what is not what its name says, damaged or exchanged"
"$DISKVFS" cas verify "$S" >"$T/out"
grep -q '^2 are what their names say, 0 are not, 1 have other names' "$T/out" || fail "$(cat "$T/out")"
printf other | "$DISKVFS" put "$S" "$(sha256sum <"$T/b" | cut -d' ' -f1)"
printf damage | dd of="$(store_path "$want")" bs=1 seek=3000 conv=notrunc status=none
status=0
"$DISKVFS" cas verify "$S" >"$T/out" 2>/dev/null || status=$?
[ "$status" = 1 ] || fail "status $status"
grep -q "^$want: can not be read" "$T/out" || fail "$(cat "$T/out")"
grep -q "^$(sha256sum <"$T/b" | cut -d' ' -f1): is $(printf other | sha256sum | cut -d' ' -f1)" "$T/out" ||
	fail "$(cat "$T/out")"
status=0
[ "$("$DISKVFS" cas verify "$S" --json 2>/dev/null | jq -c .)" = '{"good":0,"bad":2,"others":1}' ] || fail "json"
"$DISKVFS" keys -0 "$S" | xargs -0 "$DISKVFS" rm "$S"

# ten SECONDS: ten values of 64 KiB that do not pack, the n-th used n hours ago.
ten() {
	local i
	for i in $(seq 10); do
		noise 65536 | "$DISKVFS" put "$S" "v$i"
		touch -a -d "-$i hours" "$S/v$i"
		touch -m -d "-20 hours" "$S/v$i"
	done
}
left() { "$DISKVFS" keys "$S" | sort -V | tr '\n' ' '; }

gc_claims() { # gc_claims WHERE
	claim "$1: --max-age erases what was not used for so long"
	ten
	"$DISKVFS" gc "$where" --max-age 450m -n >"$T/out"
	grep -q '^would erase 3 of 10' "$T/out" || fail "$(cat "$T/out")"
	[ "$(left)" = "v1 v2 v3 v4 v5 v6 v7 v8 v9 v10 " ] || fail "a dry run erased: $(left)"
	"$DISKVFS" gc "$where" --max-age 450m -l >"$T/out"
	[ "$(left)" = "v1 v2 v3 v4 v5 v6 v7 " ] || fail "$(left) $(cat "$T/out")"
	[ "$(grep -c ' v[0-9]' "$T/out")" = 3 ] || fail "$(cat "$T/out")"

	claim "$1: --max-size erases what was used longest ago, and no more"
	"$DISKVFS" gc "$where" --max-size 300K --json >"$T/out"
	[ "$(left)" = "v1 v2 v3 v4 " ] || fail "$(left) $(cat "$T/out")"
	[ "$(jq -c '[.values, .erased, .in_use]' "$T/out")" = '[7,3,0]' ] || fail "$(cat "$T/out")"
	"$DISKVFS" gc "$where" --max-size 300K --max-age 1w >/dev/null
	[ "$(left)" = "v1 v2 v3 v4 " ] || fail "$(left)"
}
where=$S gc_claims "not mounted"
"$DISKVFS" keys -0 "$S" | xargs -0 "$DISKVFS" rm "$S"
mnt_up -o settle=3600
where=$M gc_claims "mounted"

claim "what was written since gc looked at it stays"
mkdir "$T/many"
long=$(printf '%0200d' 0) # what gc prints is more than a pipe holds
for i in $(seq 1001 1500); do echo old >"$T/many/$i$long"; done
touch -d '-9 hours' "$T/many/"*
touch -d '-10 hours' "$T/many/1001$long"
touch -d '-8 hours' "$T/many/1500$long"
"$DISKVFS" init "$T/slow"
"$DISKVFS" import "$T/slow" "$T/many/" >/dev/null
mkfifo "$T/fifo"
exec 9<>"$T/fifo"
"$DISKVFS" gc "$T/slow" --max-age 1h -l >"$T/fifo" 9<&- &
collector=$!
has_not() { ! "$DISKVFS" has "$T/slow" "$1"; }
until_true 60 has_not "1001$long" # now it erases, the oldest first, and waits for its reader
echo new | "$DISKVFS" put "$T/slow" "1500$long"
cat <&9 >"$T/out" &
reader=$!
wait $collector
exec 9<&-
kill $reader 2>/dev/null || true
wait $reader 2>/dev/null || true
[ "$("$DISKVFS" keys "$T/slow")" = "1500$long" ] || fail "$("$DISKVFS" keys "$T/slow" | wc -l) keys"
[ "$("$DISKVFS" get "$T/slow" "1500$long")" = new ] || fail "not the new value"

claim "what is open in the mount, for reading or writing, or mapped, stays; what was just written too"
ten
exec 7<"$M/v10" 8<>"$M/v9"
printf new >"$M/fresh"
"$DISKVFS" gc "$M" --max-size 1 >"$T/out"
[ "$(left)" = "fresh v9 v10 " ] || fail "$(left) $(cat "$T/out")"
grep -q '3 are in use' "$T/out" || fail "$(cat "$T/out")"
noise 65536 | cmp - <(cat <&7) || fail "v10 has other bytes"
exec 7<&- 8>&-
"$DISKVFS" gc "$M" --max-age 8h >/dev/null
[ "$(left)" = "fresh v10 " ] || fail "$(left)" # v10 has been read
mnt_down

claim "values whose times are to come, since the clock was set back, go last, and go"
"$DISKVFS" keys -0 "$S" | xargs -0 "$DISKVFS" rm "$S"
ten
touch -d '+1 hour' "$S/v3"
"$DISKVFS" gc "$S" --max-size 100K >/dev/null
[ "$(left)" = "v3 " ] || fail "$(left)"
"$DISKVFS" gc "$S" --max-size 1 >/dev/null
[ -z "$("$DISKVFS" keys "$S")" ] || fail "$(left)"
ten

claim "max_age= and max_size= keep a mount small, and leave alone what is open"
"$DISKVFS" keys -0 "$S" | xargs -0 "$DISKVFS" rm "$S"
ten
mnt_up -o max_age=18000,settle=3600
exec 7<"$M/v10"
few() { [ "$(left)" = "$1" ]; }
until_true 60 few "v1 v2 v3 v4 v10 "
exec 7<&-
mnt_down
for i in $(seq 40); do noise 65536 | "$DISKVFS" put "$S" "v$i"; touch -d "-$i hours" "$S/v$i"; done
mnt_up -o max_size=1M,settle=3600
small() { [ "$("$DISKVFS" keys "$S" | wc -l)" = 16 ]; }
until_true 60 small
"$DISKVFS" has "$S" v1 v16 || fail "$(left)"
mnt_down
refused=0
"$DISKVFS" mount "$S" "$M" -o max_size=1 2>"$T/err" || refused=$?
[ "$refused" = 1 ] && grep -q max_size "$T/err" || fail "$refused $(cat "$T/err")"

claim "wrong usage is told"
status=0
"$DISKVFS" gc "$S" 2>"$T/err" || status=$?
[ "$status" = 2 ] && grep -q 'max-size N or --max-age' "$T/err" || fail "$status $(cat "$T/err")"
status=0
"$DISKVFS" gc "$S" --max-age soon 2>"$T/err" || status=$?
[ "$status" = 2 ] && grep -q "max-age: 'soon' is not an age" "$T/err" || fail "$status $(cat "$T/err")"
