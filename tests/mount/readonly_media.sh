#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# -o ro from what can not be written: a read-only image, bind mount, snapshot, immutable files. With work of
# a killed daemon in it, whose old values are shown and whose number is told. Without ro: refused in one line.
. "$(dirname "$0")/harness.sh"
need jq zstd mkfs.ext4 chattr
[ "$(id -u)" = 0 ] || skip "needs root, to mount images"

truncate -s 64M "$T/image"
mkfs.ext4 -q -F -I 256 "$T/image"
mkdir "$T/disk"
mount -o loop "$T/image" "$T/disk" || skip "no loop devices"
S=$T/disk/store
mk_store
mnt_up
text 300000 >"$M/packed"
text 100 >"$M/small"
mkdir "$M/dir"
text 20000 >"$M/dir/value"
ln -s packed "$M/symlink"
pack_now
text 30000 >"$M/raw"
exec 7>"$M/dir/value"
text 5000 >&7 # pending
kill -KILL "$dv_pid"
exec 7>&- || true
umount -l "$M"
dv_wait_end "$dv_pid" 20

all_there() {
	cmp "$M/packed" <(text 300000)
	cmp "$M/small" <(text 100)
	cmp "$M/dir/value" <(text 20000)
	cmp "$M/raw" <(text 30000)
	cmp "$M/symlink" <(text 300000)
	[ "$(ls "$M" | wc -l)" = 5 ] || fail "lists $(ls "$M")"
}
shown() { # shown STORE: ro works, without fails in one line
	local status=0
	S=$1
	"$DISKVFS" mount "$S" "$M" >"$T/err" 2>&1 || status=$?
	[ "$status" = 32 ] || [ "$status" = 1 ] || fail "mounting it for writing: status $status"
	[ "$(wc -l <"$T/err")" = 1 ] && grep -q -- '-o ro' "$T/err" || fail "says: $(cat "$T/err")"
	: >"$T/log"
	mnt_up -o ro
	all_there
	[ "$(stat_json .values.left_pending)" = 1 ] || fail "left_pending is $(stat_json .values.left_pending)"
	grep -q 'left pending by ended mounts: 1;' "$T/log" || fail "says nothing of what is pending: $(cat "$T/log")"
	mnt_down
	S=$T/disk/store
}

claim "from a read-only bind mount"
mkdir "$T/bound"
mount --bind "$T/disk" "$T/bound"
mount -o remount,bind,ro "$T/bound"
shown "$T/bound/store"
umount "$T/bound"

claim "where folders and files are immutable"
immutable() { find "$S" ! -type l -exec chattr "$1" {} +; }
immutable +i
shown "$S"
immutable -i

# Another test's mount namespace, which began as a copy of this one, may hold the filesystem for a while.
disk_is_gone() { [ -z "$(losetup -j "$T/image")" ]; }
claim "from an image that is mounted read-only"
umount "$T/disk"
until_true 60 disk_is_gone
before=$(sha256sum <"$T/image")
mount -o loop,ro,noload "$T/image" "$T/disk"
shown "$S"
umount "$T/disk"
until_true 60 disk_is_gone
[ "$before" = "$(sha256sum <"$T/image")" ] || fail "the image has changed"
mount -o loop "$T/image" "$T/disk"

if command -v mkfs.btrfs >/dev/null && grep -qw btrfs /proc/filesystems; then
	claim "from a read-only snapshot (btrfs)"
	truncate -s 128M "$T/image2"
	mkfs.btrfs -q "$T/image2" >/dev/null 2>&1
	mkdir "$T/btrfs"
	mount -o loop "$T/image2" "$T/btrfs"
	btrfs -q subvolume create "$T/btrfs/sub"
	cp -a "$S" "$T/btrfs/sub/store"
	btrfs -q subvolume snapshot -r "$T/btrfs/sub" "$T/btrfs/snapshot"
	S=$T/btrfs/snapshot/store
	mnt_up -o ro
	all_there
	mnt_down
	umount "$T/btrfs"
	S=$T/disk/store
fi
if command -v mksquashfs >/dev/null && grep -qw squashfs /proc/filesystems; then
	claim "from a squashfs image"
	mksquashfs "$T/disk" "$T/image3" -quiet -no-progress >/dev/null
	mkdir "$T/squash"
	mount -o loop,ro "$T/image3" "$T/squash"
	S=$T/squash/store
	mnt_up -o ro
	all_there
	mnt_down
	umount "$T/squash"
	S=$T/disk/store
fi

claim "and for writing again: what was pending is put in place"
mnt_up
cmp "$M/dir/value" <(text 5000)
mnt_down
umount "$T/disk"
