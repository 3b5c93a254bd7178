#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Hard links, as programs make and keep them: any number of names of one value, in all forms, over
# packing and a remount; rsync -H, cp -al and tar copy them as links.
. "$(dirname "$0")/harness.sh"
need jq python3 rsync tar

# groups DIR: which names are one file, by their number and count.
groups() {
	(cd "$1" && find . -type f -links +1 -printf '%i %n %P\n' | sort -k3) |
		awk '{ if (!($1 in g)) g[$1] = ++n; print g[$1], $2, $3 }'
}
# same_links A B: the same groups, counts and bytes.
same_links() {
	diff <(groups "$1") <(groups "$2") || fail "$2 has other links than $1"
	diff -r "$1" "$2" || fail "$2 has other bytes than $1"
}

# exchange A B: names in the mount.
exchange() {
	python3 -c 'import ctypes, os, sys
c = ctypes.CDLL(None, use_errno=True)
a, b = map(os.fsencode, sys.argv[1:])
if c.renameat2(-100, a, -100, b, 2):
    sys.exit(os.strerror(ctypes.get_errno()))' "$M/$1" "$M/$2"
}

mk_store
mnt_up -o settle=3600
mkdir -p "$T/plain/d/e"
text 200000 >"$T/plain/a"
text 5000 >"$T/plain/d/b"
text 300000 | tac >"$T/plain/d/e/c.zst"
for i in 1 2 3; do ln "$T/plain/a" "$T/plain/d/a$i"; done
ln "$T/plain/d/b" "$T/plain/d/e/b.raw"
ln "$T/plain/d/e/c.zst" "$T/plain/c"

claim "rsync -H, cp -a and tar bring links in, raw"
rsync -aH "$T/plain/" "$M/rsync/"
cp -a "$T/plain" "$M/cp"
mkdir "$M/tar"
tar -C "$T/plain" -cf - . | tar -C "$M/tar" -xf -
for copy in rsync cp tar; do same_links "$T/plain" "$M/$copy"; done

claim "links of packed values"
mkdir -p "$M/packed/d/e"
cp "$T/plain/a" "$T/plain/d/b" "$M/packed/"
cp "$T/plain/d/e/c.zst" "$M/packed/c"
pack_now
[ "$(store_form packed/a)" = packed ] || fail "a is not packed"
for i in 1 2 3; do ln "$M/packed/a" "$M/packed/d/a$i"; done
mv "$M/packed/b" "$M/packed/d/b"
ln "$M/packed/d/b" "$M/packed/d/e/b.raw"
ln "$M/packed/c" "$M/packed/d/e/c.zst"
[ "$(store_form packed/d/a2)" = packed ] || fail "a link has made it raw"
same_links "$T/plain" "$M/packed"

claim "exchanged with what is not packed it gives EINVAL at once, from either side, and all stays"
mkdir "$M/dir"
echo raw >"$M/raw"
for other in dir raw; do
	for pair in "packed/a $other" "$other packed/a"; do
		exchange $pair 2>"$T/err" && fail "$pair changed places"
		grep -q 'Invalid argument' "$T/err" || fail "$pair: $(cat "$T/err")"
	done
done
[ "$(cat "$M/raw")" = raw ] && [ -d "$M/dir" ] || fail "something changed"
exchange packed/a packed/c
same "$M/packed/c" "$T/plain/a"
exchange packed/a packed/c
rm -r "$M/dir" "$M/raw"
same_links "$T/plain" "$M/packed"

claim "cp -al makes a second tree of the same files, in no time and space"
cp -al "$M/packed" "$M/packed2"
[ "$(stat -c %h "$M/packed/a" "$M/packed2/d/a3" | tr '\n' ' ')" = "8 8 " ] ||
	fail "the counts are $(stat -c %h "$M/packed/a" "$M/packed2/d/a3" | tr '\n' ' ')"
[ "$M/packed/a" -ef "$M/packed2/d/a1" ] || fail "they are not one file"
rm -r "$M/packed2"
[ "$(stat -c %h "$M/packed/a")" = 4 ] || fail "the count is $(stat -c %h "$M/packed/a")"

claim "an edit by one name is seen by all, and they stay one file"
for dir in packed rsync; do
	printf X | dd of="$M/$dir/d/a2" bs=1 seek=100000 conv=notrunc status=none
	echo more >>"$M/$dir/a"
done
printf X | dd of="$T/plain/d/a2" bs=1 seek=100000 conv=notrunc status=none
echo more >>"$T/plain/a"
for dir in packed rsync; do same_links "$T/plain" "$M/$dir"; done

claim "all is so after packing and a remount, and what is copied out"
before=$(cd "$M" && find . -type f -printf '%i %P\n' | sort)
pack_now
mnt_down
mnt_up
[ "$(cd "$M" && find . -type f -printf '%i %P\n' | sort)" = "$before" ] || fail "numbers have changed"
for dir in packed rsync; do same_links "$T/plain" "$M/$dir"; done
rsync -aH "$M/packed/" "$T/out-rsync/"
cp -a "$M/packed" "$T/out-cp"
mkdir "$T/out-tar"
tar -C "$M/packed" -cf - . | tar -C "$T/out-tar" -xf -
for copy in rsync cp tar; do same_links "$T/plain" "$T/out-$copy"; done
all_zst_good
mnt_down
