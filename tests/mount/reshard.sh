#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# diskvfs reshard: files are renamed to where another transform wants them, each value is what it was;
# killed at several moments it is gone on with, and nobody opens the store meanwhile.
# unit/reshard does it at every step.
. "$(dirname "$0")/harness.sh"
need jq

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

claim "what has no place is refused, by name, and nothing is changed"
mkdir "$S/folder"
! "$DISKVFS" reshard "$S" --transform split:2 2>"$T/err" || fail "a folder"
[ "$(wc -l <"$T/err")" = 1 ] && grep -q 'folder' "$T/err" || fail "$(cat "$T/err")"
rmdir "$S/folder"
for bad in '' '--transform nonsense' '--transform flat' '--transform ./x.so' '--what flat'; do
	! "$DISKVFS" reshard "$S" $bad 2>"$T/err" || fail "'$bad'"
done
same_values "refused"
