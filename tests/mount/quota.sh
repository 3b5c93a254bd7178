#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A quota of the backing filesystem, and one that has no inodes left: the writer is told, values stay.
. "$(dirname "$0")/harness.sh"
need jq zstd mkfs.ext4 mkfs.btrfs btrfs
[ "$(id -u)" = 0 ] || skip "a loop image needs root"

disk=$T/disk
mkdir "$disk"
text 3000000 >"$T/t"
noise 30000000 >"$T/n"
refused() { # refused TEXT COMMAND...
	local text=$1
	shift
	if "$@" 2>"$T/err"; then fail "$* works"; fi
	grep -q "$text" "$T/err" || fail "$*: $(cat "$T/err")"
}

claim "no inodes: making, packing and replacing fail, values stay, and writing in place goes on"
truncate -s 32M "$T/image"
mkfs.ext4 -q -m 0 -b 4096 -N 64 "$T/image"
mount -o loop "$T/image" "$disk" || skip "no loop devices here"
S=$disk/store
mk_store
mnt_up -o settle=3600
cp "$T/t" "$M/t"
echo old >"$M/small"
for i in $(seq 100); do : >"$M/i$i" || break; done 2>"$T/err"
grep -q "No space left" "$T/err" || fail "$(cat "$T/err")"
"$DISKVFS" pack "$M" >"$T/out" 2>&1 && fail "it is packed without an inode: $(cat "$T/out")"
same "$T/t" "$M/t"
refused "No space left" sh -c 'echo new >"$1"' - "$M/small"
[ "$(cat "$M/small")" = old ] || fail "it is $(cat "$M/small")"
echo more >>"$M/small"
rm "$M/i1" "$M/i2"
pack_now
[ "$(store_form t)" = packed ] || fail "it is $(store_form t)"
same "$T/t" "$M/t"
mnt_down
umount "$disk"

claim "over quota: EDQUOT reaches write(2) or fsync(2), good values stay"
rm "$T/image"
truncate -s 256M "$T/image"
mkfs.btrfs -q "$T/image" >>"$T/log" 2>&1
mount -o loop "$T/image" "$disk" || skip "no btrfs here"
btrfs -q subvolume create "$disk/sub"
btrfs -q quota enable "$disk"
btrfs -q qgroup limit 30M "$disk/sub"
S=$disk/sub/store
mk_store
mnt_up -o settle=3600
cp "$T/t" "$M/t"
pack_now
cp "$T/t" "$M/raw"
sync -f "$M"
refused "quota exceeded" dd if="$T/n" of="$M/big" bs=64K conv=fsync status=none
same "$T/t" "$M/t"
same "$T/t" "$M/raw"
refused "quota exceeded" dd if="$T/n" of="$M/t" bs=64K conv=fsync status=none
old_again() { cmp -s "$T/t" "$M/t"; }
until_true 20 old_again
rm "$M/big"
sync -f "$disk"
room() { cp "$T/t" "$M/again" 2>/dev/null; }
until_true 20 room # btrfs gives it back with its next transaction
same "$T/t" "$M/again"
mnt_down
all_zst_good
umount "$disk"
