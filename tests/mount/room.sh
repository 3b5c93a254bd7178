#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Space: packing goes before ENOSPC, a large edit keeps nobody waiting and fails before it has harmed
# anything, what is removed is free at once, inodes run out too.
. "$(dirname "$0")/harness.sh"
need jq zstd mkfs.ext4 fsfreeze python3
[ "$(id -u)" = 0 ] || skip "a loop image needs root"

disk=$T/disk
mkdir "$disk"
# A disk that stayed frozen could not be unmounted, nor those be killed who wait for it.
ended() {
	local status=$?
	trap - ERR
	set +eE
	fsfreeze -u "$disk" 2>/dev/null
	(exit "$status")
	cleanup
}
trap ended EXIT

# new_disk SIZE [mkfs options]: an empty store on it, at $S.
new_disk() {
	local size=$1
	shift
	rm -f "$T/image"
	truncate -s "$size" "$T/image"
	mkfs.ext4 -q -m 0 -b 4096 "$@" "$T/image"
	mount -o loop "$T/image" "$disk" || skip "no loop devices here"
	S=$disk/store
	mk_store
}
free_kb() { df --output=avail -k "$disk" | tail -n 1; }
full() {
	if "$@" 2>"$T/err"; then fail "$* works"; fi
	grep -q "No space left" "$T/err" || fail "$*: $(cat "$T/err")"
}

# Text that takes some 1 % when it is packed.
yes "$(seq 1 400 | tr '\n' ' ')" | head -c 200000000 >"$T/large" || true
text 3000000 >"$T/t"
noise 3000000 >"$T/n"

new_disk 320M
mnt_up -o settle=3600
cp "$T/large" "$M/large"
cp "$T/t" "$M/small"
pack_now
[ "$(store_form large)" = packed ] || fail "it is $(store_form large)"
mnt_down
mnt_up -o settle=3600

claim "while a large value is unpacked for an edit, it and others are read"
fsfreeze -f "$disk"
dd if="$T/n" of="$M/large" bs=1000 count=1 seek=100000 conv=notrunc status=none &
writer=$!
# It waits for the frozen disk, with a thread of its own, and nobody else does.
asked() { [ "$(stat_json ".messages.WRITE // 0")" -ge 1 ]; }
until_true 20 asked
for at in 1 50 150; do
	timeout 20 dd if="$M/large" bs=1000000 skip=$at count=1 iflag=direct status=none >"$T/piece" ||
		fail "a read of it waits"
	cmp -s "$T/piece" <(dd if="$T/large" bs=1000000 skip=$at count=1 status=none) ||
		fail "it reads as something else"
done
timeout 20 cmp "$T/t" "$M/small" || fail "another value waits"
kill -0 $writer || fail "the edit did not wait for the disk"
fsfreeze -u "$disk"
wait $writer
dd if="$T/n" of="$T/large" bs=1000 count=1 seek=100000 conv=notrunc status=none
same "$T/large" "$M/large"
packed_again() { pack_now && [ "$(store_form large)" = packed ]; }
until_true 20 packed_again # the keeper may have it in hand just now
same "$T/large" "$M/large"

claim "eight large values edited at once keep nobody waiting"
for i in $(seq 8); do head -c 20000000 "$T/large" >"$M/e$i"; done
pack_now
mnt_down
mnt_up -o settle=3600
fsfreeze -f "$disk"
writers=
for i in $(seq 8); do
	dd if="$T/n" of="$M/e$i" bs=1000 count=1 seek=9000 conv=notrunc status=none &
	writers="$writers $!"
done
asked() { [ "$(stat_json ".messages.WRITE // 0")" -ge 8 ]; }
until_true 20 asked
for i in 1 8; do
	# Not the page that is written: the kernel keeps it locked.
	timeout 20 cmp -n 4000000 "$M/e$i" "$T/large" ||
		fail "a read of e$i waits"
done
timeout 20 cmp "$T/t" "$M/small" || fail "another value waits"
fsfreeze -u "$disk"
wait $writers
head -c 20000000 "$T/large" >"$T/e"
dd if="$T/n" of="$T/e" bs=1000 count=1 seek=9000 conv=notrunc status=none
for i in $(seq 8); do same "$T/e" "$M/e$i"; done
rm "$M"/e?

claim "an edit without room fails at once, and nobody else lacks the room meanwhile"
fallocate -l $((($(free_kb) - 100000) * 1024)) "$disk/ballast"
full dd if="$T/n" of="$M/large" bs=1000 count=1 conv=notrunc status=none
full truncate -s 150000000 "$M/large"
full fallocate -o 10 -l 1000 "$M/large"
[ "$(free_kb)" -ge 99000 ] || fail "it took room: $(free_kb) KiB are left"
same "$T/large" "$M/large"
[ "$(store_form large)" = packed ] || fail "it is $(store_form large)"
rm "$disk/ballast"
mnt_down
umount "$disk"

claim "packing goes first: more than twice as much is written as there is room for, none is refused"
new_disk 56M
mnt_up -o settle=3600
for i in $(seq 40); do
	cp "$T/t" "$M/t$i" || fail "cp $i: $(free_kb) KiB free, $(stat_json .values.packed) packed"
done
[ "$(stat_json .values.packed)" -ge 15 ] || fail "$(stat_json .values.packed) are packed"
for i in $(seq 40); do same "$T/t" "$M/t$i"; done

claim "where nothing can be packed the writer is told"
pack_now
room=$(($(free_kb) / 1024 - 4)) # the log grows too
full dd if=/dev/urandom of="$M/noise" bs=64K count=1000 status=none

claim "what is removed is free at once"
for i in 1 2 3 4 5; do
	rm "$M/noise"
	dd if=/dev/urandom of="$M/noise" bs=1M count=$room status=none || fail "round $i: $room MiB, $(free_kb) KiB free: $(stat_json)"
	for j in $(seq 10); do cat "$M/t$j" >/dev/null; done
done
rm "$M/noise"
mnt_down
all_zst_good
umount "$disk"
