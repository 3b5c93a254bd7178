#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Real files in, packed, out again: by the mount, by shell tools alone, and after .diskvfs is gone.
# SOURCE_MB: how much of /usr is taken (20).
. "$(dirname "$0")/harness.sh"
need jq zstd diff

budget=$((${SOURCE_MB:-20} * 1000 * 1000))
dirs=()
for d in include share/doc share/perl lib/python3; do
	[ ! -d "/usr/$d" ] || dirs+=("$d")
done

claim "the source: files of /usr, and the odd ones"
mkdir "$T/src"
(cd /usr && find "${dirs[@]}" \( -type f -o -type l \) -printf '%s %p\n' | sort -k2) |
	awk -v left="$budget" '{ if (left < $1) next; left -= $1; sub(/^[0-9]+ /, ""); print }' >"$T/list"
tar -C /usr -T "$T/list" -cf - | tar -C "$T/src" -xf -
odd=$T/src/odd
mkdir -p "$odd/d.zst" "$odd/d.zst.raw" "$odd/empty"
: >"$odd/nothing"
text 100 >"$odd/small"
text 50000 >"$odd/foo.zst"
text 300 >"$odd/foo.zst.raw"
text 131072 >"$odd/frame"
text 131073 >"$odd/frame+1"
text 3000000 >"$odd/frames"
noise 300000 >"$odd/noise"
text 20000 >"$odd/d.zst/inside.zst"
ln -s nowhere "$odd/link.zst"
ln -s foo.zst "$odd/link"
text 20000 >"$odd/$(printf 'n%.0s' {1..255})"
text 20000 >"$odd/$(printf 'm%.0s' {1..251})"
text 20000 >"$odd"/$'new\nline \x01*?[\\'
text 20000 >"$odd"/$'\xff\xfe'
truncate -s 10M "$odd/holes"
text 40000 | dd of="$odd/holes" bs=4096 seek=1000 conv=notrunc status=none
text 30000 >"$odd/twice" && ln "$odd/twice" "$odd/twice.2"
chmod 4755 "$odd/small"
chmod 400 "$odd/frame"
find "$T/src" -type f | wc -l

# Everything but the link count and size of directories, which differ between filesystems.
listing() {
	(cd "$1" && find . -name .diskvfs -prune -o \( -type d -printf 'd %m %U:%G %T@ %p\0' \) -o \
		-printf '%y %m %U:%G %s %T@ %n %l %p\0' | sort -z | tr '\0\n' '\n?')
}

equal() { # equal DIR: the same tree as the source
	diff -r --no-dereference "$T/src" "$1" || fail "$1 differs from the source"
	diff <(listing "$T/src") <(listing "$1") || fail "attributes in $1 differ from the source"
}

# %s makes find stat: of a name that nobody has looked up the listing itself does not tell the number.
same_inodes() {
	diff <(echo "$inodes") <(cd "$M" && find . -printf '%i %s %p\n' | sort) | head -n 10 | grep . &&
		fail "inode numbers have moved"
	return 0
}

claim "cp -a in: the mount equals the source"
mk_store
mnt_up
cp -a "$T/src/." "$M/"
equal "$M"

claim "packed: the mount equals the source, directory times too, inode numbers stay"
inodes=$(cd "$M" && find . -printf '%i %s %p\n' | sort)
pack_now
equal "$M"
same_inodes
[ "$(stat_json .values.packed)" -gt 10 ] || fail "only $(stat_json .values.packed) values were packed"
[ "$(store_form odd/frames)" = packed ]
[ "$(store_form odd/noise)" = raw ]
[ "$(store_form odd/small)" = raw ]
[ "$(store_form odd/holes)" = raw ]

claim "st_blocks is what is stored, and 0 only for values without data"
[ "$(stat -c %b "$M/odd/nothing")" = 0 ]
[ -z "$(find "$M" -type f -size +0 -printf '%b %p\n' | sed -n '/^0 /p')" ] || fail "0 blocks with data"
[ "$(stat -c %b "$M/odd/frames")" -lt "$(stat -c %b "$T/src/odd/frames")" ]

claim "every packed file passes zstd -t"
all_zst_good

claim "the store decoded with shell tools alone equals the source"
decode_store "$S" "$T/decoded"
diff -r --no-dereference "$T/src" "$T/decoded" || fail "the decoded store differs"
rm -rf "$T/decoded"

claim "remounted: equal, the same inode numbers"
mnt_down
mnt_up
equal "$M"
same_inodes
mnt_down

claim "after rm -r .diskvfs and init --adopt --decode-zst: equal"
rm -r "$S/.diskvfs"
status=0
mkdir -p "$M"
"$DISKVFS" mount "$S" "$M" 2>"$T/err" || status=$?
[ "$status" = 32 ] || fail "a folder without .diskvfs is mounted (status $status)"
mk_store --adopt --decode-zst
mnt_up
touch -r "$T/src" "$M" # removing .diskvfs moved it
equal "$M"
same_inodes

claim "a program that looks at size, times and inode number re-reads nothing"
if command -v restic >/dev/null && [ "$budget" -gt 100000000 ]; then
	export RESTIC_PASSWORD=x RESTIC_REPOSITORY=$T/restic
	restic init -q
	restic backup -q "$M"
	mnt_down
	rm -r "$S/.diskvfs"
	mk_store --adopt --decode-zst
	mnt_up
	restic backup --json "$M" | jq -e 'select(.message_type == "summary") |
		.files_new == 0 and .files_changed == 0' >/dev/null || fail "restic reads files again"
fi
mnt_down
