#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# diskvfs reshard: files are renamed to where another transform wants them, each value is what it was;
# killed at several moments it is gone on with, and nobody opens the store meanwhile.
# unit/reshard does it at every step.
. "$(dirname "$0")/harness.sh"
need jq
: "${PLUGINS:?the folder of the built plugins}"

mk_store --transform flat
mnt_up -o settle=0
text 100000 >"$M/text"
noise 50000 >"$M/noise"
for i in $(seq 400); do echo "value $i" >"$M/key$i"; done
touch -d 2001-02-03 "$M/text"
pack_now
(cd "$M" && md5sum -- * | sort) >"$T/sums"
stat -c '%n %i %s %a %Y' "$M"/* | sort >"$T/stats"

claim "a store that is mounted is refused"
! "$DISKVFS" reshard "$S" --transform split:2 2>"$T/err" || fail "mounted"
grep -q "is mounted on $M" "$T/err" || fail "$(cat "$T/err")"
mnt_down

same_values() {
	mnt_up
	(cd "$M" && md5sum -- * | sort) | cmp - "$T/sums" || fail "$1: bytes"
	stat -c '%n %i %s %a %Y' "$M"/* | sort | cmp - "$T/stats" || fail "$1: attributes"
	mnt_down
}

claim "each value is what it was, under each transform, and lies where that says"
for t in split:3 hash:sha256:2x2 path path:.txt hash:md5:1x1 flat; do
	[ "$("$DISKVFS" reshard "$S" --transform "$t")" = "402 values lie by $t now" ] || fail "$t"
	grep -qx "transform=$t" "$S/.diskvfs/config" || fail "$t: $(cat "$S/.diskvfs/config")"
	[ ! -e "$S/.diskvfs/reshard" ] || fail "$t: something is left"
	same_values "$t"
done
[ "$(find "$S" -mindepth 1 -type d ! -path '*/.diskvfs*' | wc -l)" = 0 ] || fail "folders are left"

claim "killed, it is gone on with; until then nobody opens the store, and nothing else is begun"
for delay in 0.005 0.01 0.02 0.03 0.05 0.08; do
	"$DISKVFS" reshard "$S" --transform hash:sha256:1x2 >"$T/out" 2>&1 &
	pid=$!
	sleep "$delay"
	kill -KILL "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	if [ -e "$S/.diskvfs/reshard/state" ]; then
		! "$DISKVFS" mount "$S" "$M" 2>"$T/err" || fail "mounted in between"
		grep -q "diskvfs reshard $S --transform hash:sha256:1x2" "$T/err" || fail "$(cat "$T/err")"
		! "$DISKVFS" reshard "$S" --transform split:2 2>"$T/err" || fail "another one"
	fi
	"$DISKVFS" reshard "$S" --transform hash:sha256:1x2 >"$T/out" 2>&1 || grep -q already "$T/out" || fail "$(cat "$T/out")"
	same_values "killed after $delay"
	"$DISKVFS" reshard "$S" --transform flat >>"$T/log"
done

claim "of two at once one is told so, or comes after the other"
for round in 1 2 3 4 5; do
	for t in split:2 hash:md5:2x1; do
		{ "$DISKVFS" reshard "$S" --transform "$t" >"$T/out.$t" 2>&1 || echo refused >>"$T/out.$t"; } &
	done
	wait
	now=$(sed -n 's/^transform=//p' "$S/.diskvfs/config")
	[ "$now" = split:2 ] || [ "$now" = hash:md5:2x1 ] || fail "it is $now: $(cat "$T"/out.*)"
	[ ! -e "$S/.diskvfs/reshard" ] || fail "something is left: $(cat "$T"/out.*)"
	grep -q "values lie by $now now" "$T/out.$now" || fail "$now: $(cat "$T"/out.*)"
	same_values "round $round"
	"$DISKVFS" reshard "$S" --transform flat >>"$T/log"
done

claim "to a shared object, to another one, and back; each is named"
cp "$PLUGINS"/{fields,initials,nested}.so "$T"
"$DISKVFS" reshard "$S" --transform "$T/fields.so:y" >"$T/out"
grep -q '^402 values lie by .*fields.so:y now$' "$T/out" || fail "$(cat "$T/out")"
[ -e "$S/ke/1.v" ] || fail "key1 does not lie at ke/1.v"
! "$DISKVFS" reshard "$S" --transform "$T/initials.so" 2>"$T/err" || fail "the old one is not named"
grep -q -- '--from FILE.so' "$T/err" || fail "$(cat "$T/err")"
for delay in 0.005 0.02 0.04; do
	"$DISKVFS" reshard "$S" --transform "$T/initials.so" --from "$T/fields.so:y" >"$T/out" 2>&1 &
	pid=$!
	sleep "$delay"
	kill -KILL "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	"$DISKVFS" reshard "$S" --transform "$T/initials.so" --from "$T/fields.so:y" >"$T/out" 2>&1 ||
		grep -q already "$T/out" || fail "$(cat "$T/out")"
	[ "$("$DISKVFS" keys "$S" --transform "$T/initials.so" | wc -l)" = 402 ] || fail "not all keys"
	"$DISKVFS" reshard "$S" --transform "$T/fields.so:y" --from "$T/initials.so" >>"$T/log"
done
! "$DISKVFS" reshard "$S" --transform flat --from "$T/initials.so" 2>"$T/err" || fail "another one"
"$DISKVFS" reshard "$S" --transform flat --from "$T/fields.so:y" >>"$T/log"
! "$DISKVFS" reshard "$S" --transform path --from "$T/fields.so:y" 2>"$T/err" || fail "it is of none"
grep -q 'leave out --from' "$T/err" || fail "$(cat "$T/err")"
same_values "from shared objects"

claim "where one value's file would be another's folder all are put back"
echo x >"$S/ke"
text 50000 >"$S/noi"
! "$DISKVFS" reshard "$S" --transform "$T/nested.so" 2>"$T/err" || fail "ke beside ke/key1"
grep -q 'the key ke has the name of a folder' "$T/err" || fail "$(cat "$T/err")"
rm "$S/ke" "$S/noi"
same_values "put back"

claim "keys in folders stay in them: path and path:SUFFIX"
"$DISKVFS" reshard "$S" --transform path >>"$T/log"
mkdir -p "$S/folder/deep"
mv "$S/key1" "$S/folder/deep/key1"
ln -s key2 "$S/link"
folder=$(stat -c %i "$S/folder/deep")
"$DISKVFS" reshard "$S" --transform path:.txt >"$T/out"
[ "$(cat "$T/out")" = "402 values lie by path:.txt now" ] || fail "$(cat "$T/out")"
[ "$(cat "$S/folder/deep/key1.txt")" = "value 1" ] || fail "folder/deep/key1"
[ "$(stat -c %i "$S/folder/deep")" = "$folder" ] && [ -L "$S/link" ] || fail "another folder"
"$DISKVFS" reshard "$S" --transform path >>"$T/log"
rm "$S/link"
mv "$S/folder/deep/key1" "$S/key1"
rm -r "$S/folder"
ln -s key2 "$S/link"
! "$DISKVFS" reshard "$S" --transform split:2 2>"$T/err" || fail "a link in shards"
grep -q '^diskvfs: link is no plain file' "$T/err" || fail "$(cat "$T/err")"
rm "$S/link"
"$DISKVFS" reshard "$S" --transform flat >>"$T/log"
same_values "from folders"

claim "what has no place is refused, by name, and nothing is changed"
mkdir "$S/folder"
! "$DISKVFS" reshard "$S" --transform split:2 2>"$T/err" || fail "a folder"
[ "$(wc -l <"$T/err")" = 1 ] && grep -q 'folder' "$T/err" || fail "$(cat "$T/err")"
rmdir "$S/folder"
for bad in '' '--transform nonsense' '--transform flat' '--transform ./x.so' '--what flat'; do
	! "$DISKVFS" reshard "$S" $bad 2>"$T/err" || fail "'$bad'"
done
same_values "refused"
