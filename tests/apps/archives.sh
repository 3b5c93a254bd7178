#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# tar with ACLs, xattrs and holes, cp --sparse, cp --reflink=auto, dpkg-deb, dpkg --root, 7z.
. "$(dirname "$0")/apps.sh"
need setfacl setfattr dpkg dpkg-deb 7z

# What tar keeps, of everything below a folder.
listing() {
	(cd "$1" && find . -printf '%y %m %U:%G %s %T@ %n %l %p\n' | sed 's/^\(d [^ ]* [^ ]*\) [0-9]* \([^ ]*\) [0-9]*/\1 \2/' | sort &&
		find . -print0 | sort -z | xargs -0 getfacl -nP &&
		find . -print0 | sort -z | xargs -0 getfattr -hd -m -)
}
same_tree() {
	diff -r --no-dereference "$1" "$2" || fail "contents differ"
	diff <(listing "$1") <(listing "$2") || fail "attributes differ"
}
blocks() { stat -c %b "$1"; }

source_tree "$T/src" $((5 * APPS_SCALE))
(
	cd "$T/src"
	text 200000 >acl && setfacl -m u:1234:rw,g:4321:r acl
	mkdir dir && setfacl -d -m u:1234:rx,o::- dir && text 50000 >dir/inherits
	text 300000 >attr && setfattr -n user.note -v hello attr && setfattr -n user.empty attr
	text 30000 >one && ln one two
	touch -d @1.000000001 one
)
app_up
claim "tar --acls --xattrs in: equal, packed too, and after a remount"
tar -C "$T/src" --acls --xattrs -cf "$T/a.tar" .
mkdir "$M/t"
tar -C "$M/t" --acls --xattrs -xpf "$T/a.tar"
same_tree "$T/src" "$M/t"
pack_now
same_tree "$T/src" "$M/t"
mnt_down
app_up
same_tree "$T/src" "$M/t"
claim "tar of a folder whose values are packed meanwhile: its times have not moved"
mkdir "$M/fresh"
for i in 1 2 3; do text 200000 >"$M/fresh/$i"; done
export DISKVFS M # for what tar runs after 200 KiB: it packs, and has the kernel ask for the times anew
tar -C "$M" -b1 -cf /dev/null --checkpoint=400 \
	--checkpoint-action=exec='"$DISKVFS" pack "$M" >/dev/null && stat --cached=never "$M/fresh" >/dev/null' fresh \
	>"$T/out" 2>&1 || { cat "$T/out"; fail "tar finds the folder changed"; }
[ "$(getfattr --only-values -n user.diskvfs.form "$M/fresh/3")" = packed ] || fail "nothing was packed"
rm -r "$M/fresh"
claim "out again: equal"
tar -C "$M/t" --acls --xattrs -cf - . >"$M/b.tar"
mkdir "$T/back"
tar -C "$T/back" --acls --xattrs -xpf "$M/b.tar"
same_tree "$T/src" "$T/back"
tar -C "$M/t" --acls --xattrs -df "$M/b.tar" || fail "tar -d"

claim "tar -S and cp --sparse keep holes"
truncate -s 20M "$T/holes"
text 50000 | dd of="$T/holes" bs=4096 seek=1000 conv=notrunc status=none
noise 5000 | dd of="$T/holes" bs=4096 seek=4000 conv=notrunc status=none
cp --sparse=always "$T/holes" "$M/holes"
cp --sparse=auto "$M/holes" "$M/holes2"
tar -C "$M" -Scf - holes holes2 >"$T/s.tar"
[ "$(stat -c %s "$T/s.tar")" -lt 1000000 ] || fail "tar -S does not see the holes"
mkdir "$M/s"
tar -C "$M/s" -Sxf "$T/s.tar"
pack_now
for f in holes holes2 s/holes s/holes2; do
	same "$T/holes" "$M/$f"
	[ "$(blocks "$M/$f")" -lt 2000 ] || fail "$f takes $(blocks "$M/$f") blocks"
done
claim "holes that were packed away come back right: punched, written, truncated up"
text 3000000 >"$M/solid" && text 3000000 >"$T/solid"
pack_now
for d in "$M" "$T"; do
	fallocate -p -o 100000 -l 500000 "$d/solid"
	truncate -s 5000000 "$d/solid"
	noise 1000 | dd of="$d/solid" bs=1 seek=4500000 conv=notrunc status=none
done
same "$T/solid" "$M/solid"
pack_now
same "$T/solid" "$M/solid"
cp --reflink=auto "$M/solid" "$M/solid2" && same "$T/solid" "$M/solid2"

if command -v dpkg-deb >/dev/null; then
	claim "dpkg-deb: built on the mount, unpacked on the mount"
	mkdir -p "$M/deb/DEBIAN"
	printf 'Package: a\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: a\n' >"$M/deb/DEBIAN/control"
	cp -a "$M/t" "$M/deb/t"
	pack_now
	dpkg-deb --root-owner-group -b "$M/deb" "$M/a.deb" >/dev/null
	pack_now
	dpkg-deb -x "$M/a.deb" "$M/x"
	diff -r --no-dereference "$T/src" "$M/x/t" || fail "contents differ"
fi

claim "dpkg --root: installed, replaced, verified, removed, in a tree on the mount"
r=$M/root
mkdir -p "$r/var/lib/dpkg/info" "$r/var/lib/dpkg/updates" "$r/var/lib/dpkg/triggers" "$T/pkg/DEBIAN" "$T/pkg/usr/share/doc"
touch "$r/var/lib/dpkg/status" "$r/var/lib/dpkg/available"
for version in 1 2; do
	printf 'Package: a\nVersion: %s\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: a\n' \
		$version >"$T/pkg/DEBIAN/control"
	for i in 1 2 3 4 5 6; do text $((30000 * i + version)) >"$T/pkg/usr/share/doc/$i"; done
	dpkg-deb --root-owner-group -b "$T/pkg" "$T/pkg.deb" >/dev/null
	pack_now
	dpkg --root="$r" --force-not-root --force-script-chrootless --log=/dev/null -i "$T/pkg.deb" >"$T/out" 2>&1 ||
		{ cat "$T/out"; fail "dpkg -i"; }
	diff -r "$T/pkg/usr" "$r/usr" || fail "version $version differs"
	pack_now
	[ -z "$(dpkg --root="$r" -V)" ] || fail "dpkg -V: $(dpkg --root="$r" -V)"
done
[ -z "$(find "$r/usr" -name '*.dpkg-*')" ] || fail "files of dpkg stay"
dpkg --root="$r" --force-not-root --log=/dev/null -P a >"$T/out" 2>&1 || { cat "$T/out"; fail "dpkg -P"; }
[ ! -e "$r/usr/share/doc/1" ] || fail "not removed"

claim "7z: files are added to, taken out of, and replaced in an archive on the mount"
7z a -bso0 -bsp0 "$M/a.7z" "$T/src" >/dev/null
pack_now
text 90000 >"$T/more"
7z a -bso0 -bsp0 "$M/a.7z" "$T/more"
7z d -bso0 -bsp0 "$M/a.7z" src/acl
pack_now
7z t -bso0 -bsp0 "$M/a.7z" || fail "7z t"
7z e -so "$M/a.7z" more | cmp - "$T/more" || fail "7z e"
app_end
