#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Interoperation with diskv v3 itself (tests/apps/diskv/driver.go): stores that it wrote are mounted,
# read, listed and changed; what the mount wrote is read by it; both at once on one store.
#
# The driver is built with Debian's Go and diskv; GOCACHE is kept where ctest says (DISKV_BUILD).
. "$(dirname "$0")/../mount/harness.sh"
need go jq
gopath=/usr/share/gocode
[ -e "$gopath/src/github.com/peterbourgon/diskv/diskv.go" ] || skip "golang-github-peterbourgon-diskv-dev is not installed"

build=${DISKV_BUILD:-$T/build}
mkdir -p "$build"
export GO111MODULE=off GOPATH=$gopath GOFLAGS= GOPROXY=off GOCACHE=$build/cache CGO_ENABLED=0
# One at a time: several tests may want it.
driver=$build/driver.$$
flock "$build" go build -o "$driver" "$(dirname "$0")/diskv/driver.go" || fail "the driver does not build"
mv "$driver" "$T/driver"

keys=${APPS_SCALE:-1}
keys=$((40 * keys))
head -c 5000 "$here/harness.sh" >"$T/dict"

at_rest() { until_true 30 no_stage; }
no_stage() { [ "$(stat_json .values.pending)" = 0 ]; }

# round LAYOUT TRANSFORM DISKV_TRANSFORM DISKV_COMPRESSION TEMPDIR
round() {
	local d=("$T/driver" -transform "$3" -compress "$4" $5 "$S") init=() k=key
	rm -rf "$S" "$T/tmp"
	mkdir -p "$S"
	case $4 in dict:*) init=(--dict "${4#dict:}") ;; esac

	claim "$1 $2, diskv's $3 $4${5:+ with TempDir}: what diskv wrote is read and listed"
	"${d[@]}" fill "$keys"
	"$DISKVFS" init "$S" --adopt --layout "$1" --transform "$2" "${init[@]}"
	mnt_up -o settle=0
	"${d[@]}" keys >"$T/keys"
	(cd "$M" && find . -type f -printf '%P\n' | sort) >"$T/seen"
	LC_ALL=C sort "$T/keys" >"$T/want"
	LC_ALL=C sort "$T/seen" | cmp - "$T/want" || fail "listed"
	cp -r "$M" "$T/plain"

	claim "$1 $2, diskv's $3 $4${5:+ with TempDir}: what the mount changed diskv reads"
	[ "$2" != path:.txt ] || { mkdir -p "$M/a/b"; k=a/b/key; }
	echo created >"$M/$k"
	seq 1 50000 >"$M/large"
	echo overwritten >"$M/k1x"
	echo appended >>"$M/k2xx"
	printf EDIT | dd of="$M/k4" bs=1 seek=30000 conv=notrunc 2>/dev/null
	truncate -s 100 "$M/k5x"
	rm "$M/k3xxx"
	mv "$M/k7xxx" "$M/moved"
	cp "$M/k2xx" "$T/k2"; cp "$M/k4" "$T/k4"; cp "$M/moved" "$T/moved"
	at_rest
	[ "$("${d[@]}" get "$k")" = created ] || fail created
	"${d[@]}" get large | cmp - <(seq 1 50000) || fail large
	[ "$("${d[@]}" get k1x)" = overwritten ] || fail overwritten
	"${d[@]}" get k2xx | cmp - "$T/k2" || fail appended
	"${d[@]}" get k4 | cmp - "$T/k4" || fail edited
	[ "$("${d[@]}" get k5x | wc -c)" = 100 ] || fail truncated
	[ "$("${d[@]}" has k3xxx)$("${d[@]}" has k7xxx)" = nono ] || fail removed
	"${d[@]}" get moved | cmp - "$T/moved" || fail moved
	tail -n 1 "$T/k2" | grep -q appended || fail "not appended"
	grep -q EDIT "$T/k4" || fail "not edited"

	claim "$1 $2, diskv's $3 $4${5:+ with TempDir}: diskv beside the mount is seen within coherence"
	echo beside | "${d[@]}" put k6xx
	"${d[@]}" erase k1x
	"${d[@]}" import "$T/dict" imported
	sleep 1.1
	[ "$(cat "$M/k6xx")" = beside ] || fail "put beside"
	[ ! -e "$M/k1x" ] || fail "erased beside"
	cmp "$M/imported" "$T/dict" || fail "imported beside"
	"${d[@]}" keys | LC_ALL=C sort >"$T/want"
	(cd "$M" && find . -type f -printf '%P\n') | LC_ALL=C sort | cmp - "$T/want" || fail "listed after"
	mnt_down

	claim "$1 $2, diskv's $3 $4${5:+ with TempDir}: written by the mount alone, read by diskv, without .diskvfs too"
	rm -rf "$S"
	mkdir "$S"
	"$DISKVFS" init "$S" --layout "$1" --transform "$2" "${init[@]}"
	mnt_up
	(cd "$T/plain" && cp -r . "$M")
	mnt_down
	rm -r "$S/.diskvfs"
	"${d[@]}" check "$keys" || fail check
	rm -rf "$T/plain"
}

round diskv flat flat none ''
round diskv split:2 block:2 none "-tmp $T/tmp"
round diskv:gzip flat flat gzip "-tmp $T/tmp"
round diskv:zlib:9 path:.txt path:.txt zlib:9 ''
round diskv:zlib split:3 block:3 "dict:$T/dict" ''
if [ "${APPS_SCALE:-1}" -gt 1 ]; then
	for tmp in '' "-tmp $T/tmp"; do
		round diskv split:3 block:3 none "$tmp"
		round diskv path:.txt path:.txt none "$tmp"
		round diskv:gzip:9 split:2 block:2 gzip:9 "$tmp"
		round diskv:gzip:1 path:.txt path:.txt gzip:1 "$tmp"
		round diskv:zlib flat flat zlib "$tmp"
	done
fi

# spin LAYOUT COMPRESSION: diskv writes one value over and over with a TempDir, programs read it in
# the mount. Each value is one line of equal digits: a mixture has two.
spin() {
	claim "$1: no read mixes two values that diskv wrote with a TempDir, which is on the same disk"
	rm -rf "$S" "$T/stop"
	mkdir "$S"
	"$DISKVFS" init "$S" --layout "$1" --transform flat
	"$T/driver" -compress "$2" -tmp "$T/tmp" "$S" put spun < <(echo 7777)
	mnt_up -o coherence=0
	"$T/driver" -compress "$2" -tmp "$T/tmp" "$S" spin spun "$T/stop" &
	local spinner=$! reads=0 stale=0 v
	while [ "$reads" -lt "$((100 * ${APPS_SCALE:-1}))" ]; do
		# Replaced between open and the first read: ESTALE, as on NFS.
		if v=$(cat "$M/spun" 2>"$T/err"); then
			[[ $v =~ ^(0+|1+|2+|3+|4+|5+|6+|7+|8+|9+)$ ]] || fail "a mixture: ${#v} bytes"
		else
			grep -q 'Stale file handle' "$T/err" || fail "$(cat "$T/err")"
			stale=$((stale + 1))
		fi
		reads=$((reads + 1))
	done
	: >"$T/stop"
	wait "$spinner" || fail "the writer"
	[ "$stale" -lt "$reads" ] || fail "no read came through"
	mnt_down
}
spin diskv none
spin diskv:gzip gzip
