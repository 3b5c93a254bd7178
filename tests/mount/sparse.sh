#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Sparse values stay raw and sparse; st_blocks and du tell what is stored, in every form.
. "$(dirname "$0")/harness.sh"
need jq getfattr python3 zstd

form() { [ "$(store_form "$1")" = "$2" ] || fail "$1 is $(store_form "$1"), not $2"; }
blocks() { stat -c %b "$M/$1"; }
# What the file of the store takes is what the mount shows.
as_stored() { [ "$(blocks "$1")" = "$(stat -c %b "$(store_path "$1")")" ] || fail "$1 shows $(blocks "$1") blocks"; }
extents() { python3 -c '
import os, sys
fd, at, out = os.open(sys.argv[1], os.O_RDONLY), 0, []
try:
    while True:
        data = os.lseek(fd, at, os.SEEK_DATA)
        at = os.lseek(fd, data, os.SEEK_HOLE)
        out.append((data, at))
except OSError:
    print(out)' "$1"; }

mk_store
mnt_up -o settle=3600
text 3000000 >"$T/t"

claim "a file that was only given a size stays raw, has no data, and takes nothing"
truncate -s 10G "$M/empty"
pack_now
form empty raw
[ "$(stat -c %s "$M/empty")" = 10737418240 ] || fail "its size"
[ "$(extents "$M/empty")" = '[]' ] || fail "$(extents "$M/empty")"
[ "$(blocks empty)" -le 8 ] || fail "it takes $(blocks empty) blocks"

claim "holes made by seeking, cp --sparse and punching are kept by packing and by copies"
dd if="$T/t" of="$M/gap" bs=1M seek=20 status=none
truncate -s 30M "$T/source"
dd if="$T/t" of="$T/source" bs=1M seek=10 conv=notrunc status=none
cp --sparse=always "$T/source" "$M/copy"
cp "$T/t" "$M/punched"
fallocate -p -o 1M -l 1M "$M/punched"
for k in gap copy punched; do
	before=$(extents "$M/$k")
	pack_now
	form $k raw
	as_stored $k
	[ "$(extents "$M/$k")" = "$before" ] || fail "$k: $(extents "$M/$k"), before $before"
	[ $(($(blocks $k) * 512)) -lt "$(stat -c %s "$M/$k")" ] || fail "$k is not sparse"
done
same "$T/source" "$M/copy"
cp --sparse=auto "$M/copy" "$T/back"
[ "$(stat -c %b "$T/back")" -le $(($(stat -c %b "$T/source") + 16)) ] || fail "the copy is not sparse"

claim "without holes a value is packed; made longer it is raw, and sparse"
cp "$T/t" "$M/plain"
raw=$(blocks plain)
[ "$raw" -ge $((3000000 / 512)) ] || fail "raw it takes $raw blocks"
as_stored plain
pack_now
form plain packed
as_stored plain
[ "$(blocks plain)" -lt "$raw" ] || fail "packed it takes $(blocks plain) blocks"
truncate -s 20M "$M/plain"
pack_now
form plain raw
as_stored plain
[ $(($(blocks plain) * 512)) -lt 10000000 ] || fail "it is not sparse: $(blocks plain)"
head -c 3000000 "$M/plain" | cmp - "$T/t" || fail "its bytes"

claim "a value that is replaced, edited, of one byte, or shares its object never takes 0"
cp "$T/t" "$M/v"
pack_now
exec 7>"$M/v"
printf x >&7
[ "$(stat -c %s "$M/v")" = 1 ] || fail "$(stat -c %s "$M/v")"
[ "$(blocks v)" -ge 1 ] || fail "replaced: $(blocks v)"
exec 7>&-
cp "$T/t" "$M/w"
pack_now
ln "$M/w" "$M/w2"
[ "$(blocks w)" = "$(blocks w2)" ] && [ "$(blocks w)" -ge 1 ] || fail "linked: $(blocks w) $(blocks w2)"
dd if="$T/t" of="$M/w" bs=1000 count=1 seek=5 conv=notrunc status=none
[ "$(blocks w2)" -ge 1 ] || fail "edited: $(blocks w2)"
printf x >"$M/one"
[ "$(blocks one)" -ge 1 ] || fail "one byte: $(blocks one)"

claim "du of the mount is du of the store's values"
mnt_down
mnt_up -o settle=3600
a=$(du -sk "$M" | cut -f1) b=$(du -sk --exclude=.diskvfs "$S" | cut -f1)
[ $((a - b)) -ge -16 ] && [ $((a - b)) -le 16 ] || fail "mount $a KiB, store $b KiB"
mnt_down
