#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A full disk: writers are told, good values stay, nothing waits for ever, freed space is used again.
. "$(dirname "$0")/harness.sh"
need jq zstd mkfs.ext4 python3
[ "$(id -u)" = 0 ] || skip "a loop image needs root"

disk=$T/disk
mkdir "$disk"
truncate -s 48M "$T/image"
mkfs.ext4 -q -m 0 -b 4096 "$T/image"
mount -o loop "$T/image" "$disk" || skip "no loop devices here"
S=$disk/store
text 6000000 >"$T/t"
noise 8000000 >"$T/n"

free_kb() { df --output=avail -k "$disk" | tail -n 1; }
# error_of COMMAND...: its message, where it fails as it should
error_of() { if "$@" 2>"$T/err"; then fail "$* works"; else cat "$T/err"; fi; }
full() { case $(error_of "$@") in *"No space left"*) ;; *) fail "$*: $(cat "$T/err")" ;; esac; }
# fill KB: leaves about so much
fill() { fallocate -l $((($(free_kb) - $1) * 1024)) "$disk/ballast"; }

mk_store
mnt_up -o settle=1
cp "$T/t" "$M/packed"
cp "$T/t" "$M/two"
pack_now
ln "$M/two" "$M/links"
[ "$(store_form packed)" = packed ] || fail "it is $(store_form packed)"
claim "a small packed value takes one block: what is remembered of it fits its inode"
text 12000 >"$M/small"
pack_now
[ "$(store_form small)" = packed ] || fail "it is $(store_form small)"
blocks=$(($(stat -c %b "$S/small.zst") * 512)) size=$(stat -c %s "$S/small.zst")
[ "$blocks" = $(((size + 4095) / 4096 * 4096)) ] || fail "$size bytes take $blocks"
cp "$T/n" "$M/raw"
sync -f "$M"

claim "full: write(2), fallocate(2), mmap and msync, mkdir tell ENOSPC"
fill 300
full dd if=/dev/zero of="$M/new" bs=64k count=100 status=none
rm "$M/new"
full fallocate -l 20M "$M/new"
rm -f "$M/new"
python3 - "$M/mapped" <<'END' || fail "a mapping"
import errno, mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 4 << 20)
m = mmap.mmap(fd, 4 << 20)
for at in range(0, 4 << 20, 4096):
    m[at:at + 4] = b"full"
try:
    m.flush()
    os.fsync(fd)
except OSError as e:
    sys.exit(0 if e.errno in (errno.ENOSPC, errno.EIO) else str(e))
sys.exit("msync and fsync know nothing of it")
END
rm "$M/mapped"

claim "full: what needs room to be unpacked fails and is what it was"
full dd if=/dev/zero of="$M/packed" bs=1 seek=3000000 count=1 conv=notrunc status=none
full truncate -s 5000000 "$M/packed"
same "$T/t" "$M/packed"
[ "$(store_form packed)" = packed ] || fail "it is $(store_form packed)"
claim "full: a replacement that fails leaves the old value, and a later one takes its place"
full dd if="$T/n" of="$M/packed" bs=64K status=none
old_again() { cmp -s "$T/t" "$M/packed"; }
until_true 10 old_again
full sh -c 'exec 7>"$1" && head -c 60000000 /dev/zero >&7' - "$M/packed"
until_true 10 old_again
echo short >"$M/packed"
[ "$(cat "$M/packed")" = short ] || fail "the one that fits is not there"
until_true 10 grep -qx short "$S/packed"
rm "$disk/ballast"
cp "$T/t" "$M/packed"
pack_now
fill 100

claim "full: values are read, renamed, linked and removed"
mv "$M/raw" "$M/raw2"
same "$T/n" "$M/raw2"
mv "$M/packed" "$M/packed2"
same "$T/t" "$M/packed2"
claim "full: values are packed as far as there is room, and stay whole where there is none"
rm "$disk/ballast"
cp "$T/t" "$M/later"
sync -f "$M" || true # may tell again what the mapping's msync told
fill 100
"$DISKVFS" pack "$M" >>"$T/log" 2>&1 || true
same "$T/t" "$M/later"
until_true 10 cmp -s "$T/t" "$S/later"
all_zst_good

claim "freed space is used again, without a remount"
rm "$M/raw2"
pack_now
[ "$(store_form later)" = packed ] || fail "not packed although there is room"
cp "$T/t" "$M/after"
same "$T/t" "$M/after"
rm "$disk/ballast"
pack_now # later it would give back what is measured here
before=$(free_kb)
cp "$T/n" "$M/gone"
exec 7<"$M/gone"
rm "$M/gone"
[ "$(free_kb)" -lt $((before - 7000)) ] || fail "an open value was freed"
exec 7<&-
until_true 10 eval '[ "$(free_kb)" -ge $((before - 1000)) ]'

claim "what can not be finished at unmount is told, kept, and finished when there is room"
# Several links: the new bytes are written over the old ones, by way of a copy, and need room twice.
cat "$T/n" "$T/t" >"$T/n2"
noise 8000 | dd of="$M/links" bs=4000 seek=100 conv=notrunc status=none
cp "$M/links" "$T/links.new"
fill 200
status=0
"$DISKVFS" unmount "$M" >"$T/out" 2>&1 || status=$?
cat "$T/out" >>"$T/log"
! is_mounted || fail "it is mounted"
if [ $status != 0 ]; then
	grep -q "1 values could not be finished: No space left" "$T/out" || fail "$(cat "$T/out")"
	grep -qF "$S/.diskvfs/stage" "$T/out" || fail "it does not say where: $(cat "$T/out")"
	dv_wait_end "$dv_pid" 20 || fail "the daemon does not end"
	"$DISKVFS" info --json "$S" >"$T/info"
	jq -e '.pending[0].key == "links" or .pending[0].key == "two"' "$T/info" >>"$T/log" || fail "info: $(cat "$T/info")"
else
	cmp -s <(zstdcat "$S/two.zst") "$T/links.new" || fail "said to be finished, but it is not"
fi
dv_wait_end "$dv_pid" 20 || fail "the daemon does not end"
rm "$disk/ballast"
mnt_up
same "$T/links.new" "$M/links"
same "$T/links.new" "$M/two"

claim "a replacement that did not fit, cut off by a kill: info says that the old value stays, and so it is"
fill 200
exec 7>"$M/later"
full sh -c 'head -c 60000000 "$1" >&7' - "$T/n2"
kill -KILL "$dv_pid"
exec 7>&-
dv_wait_end "$dv_pid" 20 || fail "the daemon does not end"
"$DISKVFS" info "$S" >"$T/info" 2>"$T/err"
grep -q "later: the next mount leaves the old value: a write of the new one failed" "$T/info" || fail "$(cat "$T/info")"
[ ! -s "$T/err" ] || fail "it says twice: $(cat "$T/err")"
rm "$disk/ballast"
mnt_up
same "$T/t" "$M/later"
claim "full: one that fails over a packed value, and of which an fsync fails, is dropped at once"
pack_now
fallocate -l 100M "$disk/ballast" 2>>"$T/log" || true
dd if=/dev/zero of="$disk/ballast2" bs=4096 2>>"$T/log" || true
full dd if="$T/n" of="$M/later" bs=64K conv=fsync status=none
until_true 10 cmp -s "$T/t" "$M/later"
rm -f "$disk/ballast" "$disk/ballast2"
mnt_down
all_zst_good
[ "$(find "$S/.diskvfs" -path '*/stage/*' -type f | wc -l)" = 0 ] || fail "left: $(find "$S/.diskvfs" -type f)"
umount "$disk"
