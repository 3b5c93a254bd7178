#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What happens to a mount whose backing filesystem goes under it, and to a daemon that is stopped, or killed by
# the kernel for its memory: the right errno, no hang, nothing lost of what was synced, and the next mount
# goes on. In a mount namespace of its own.
[ -n "${GONE_NAMESPACE-}" ] || { unshare -m true 2>/dev/null &&
	GONE_NAMESPACE=1 exec unshare -m --propagation private bash "$0" "$@"; }
. "$(dirname "$0")/harness.sh"
need jq python3 mkfs.ext4 mkfs.xfs zstd
[ "$(id -u)" = 0 ] && [ -n "${GONE_NAMESPACE-}" ] || skip "needs root and a mount namespace"
soon() { timeout --kill-after=5 60 "$@"; }
disk=$T/disk
mkdir "$disk"

disk_up() { # disk_up FS: an image is made and mounted, a store on it
	rm -f "$T/image"
	truncate -s 320M "$T/image"
	case $1 in
	ext4) mkfs.ext4 -q -F "$T/image" ;;
	xfs) mkfs.xfs -q "$T/image" ;;
	esac
	disk_again
	S=$disk/store
	mk_store
}
disk_again() {
	mount -o loop "$T/image" "$disk" 2>>"$T/log" || skip "no loop devices here"
}
# values: packed, raw, synced; and one whose replacement is pending when it ends.
values() {
	text 300000 >"$M/packed"
	pack_now
	noise 200000 >"$M/raw"
	text 5000 >"$M/replaced"
	sync "$M/packed" "$M/raw" "$M/replaced" "$M"
	exec 7>"$M/replaced"
	echo half >&7
}
values_are() {
	same "$M/packed" <(text 300000)
	same "$M/raw" <(noise 200000)
}
# told ERRNO-TEXT COMMAND...
told() {
	local text=$1 status=0
	shift
	soon "$@" >"$T/out" 2>"$T/err" || status=$?
	case $status in
	0) fail "it succeeds: $*" ;;
	124 | 137) fail "it hangs: $*" ;;
	esac
	grep -qiE "$text" "$T/err" || fail "$*: $(cat "$T/err")"
}
lives() { ! dv_ended "$dv_pid" || fail "the daemon has ended"; }

for fs in ext4 xfs; do
	claim "$fs is gone under a mount: EIO, no hang; what was synced is there when it is back"
	disk_up $fs
	mnt_up -o settle=3600,cache_size=1M,coherence=0
	values
	python3 - "$disk" <<-'END'
		import fcntl, os, struct, sys
		# EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN: no log is written, every call fails from now on.
		fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))
	END
	told "input/output error" sh -c 'echo new >"$0/new"' "$M"
	told "input/output error" dd if=/dev/zero of="$M/raw" bs=4k count=1 conv=notrunc,fsync
	told "input/output error" sync "$M/raw"
	soon ls -l "$M" >/dev/null 2>&1 || [ $? != 124 ] || fail "ls hangs"
	soon cat "$M/packed" >/dev/null 2>&1 || [ $? != 124 ] || fail "cat hangs"
	lives
	exec 7>&- 2>/dev/null || true
	soon "$DISKVFS" unmount "$M" >"$T/out" 2>"$T/err" || [ $? -lt 124 ] || fail "unmount hangs"
	dv_wait_end "$dv_pid" 120 || fail "the daemon does not end"
	! is_mounted || umount -l "$M"
	umount "$disk"
	disk_again
	mnt_up -o coherence=0
	values_are
	case $(head -c 5 "$M/replaced") in half*) ;; 1*) same "$M/replaced" <(text 5000) ;; *) fail "$(head -c 99 "$M/replaced")" ;; esac
	mnt_down
	all_zst_good
	"$DISKVFS" verify -q "$S" || fail "verify: status $?"
	umount "$disk"
done

claim "the backing becomes read-only by an error: EROFS, what is there is read, the next mount goes on"
disk_up ext4
mnt_up -o settle=3600
values
loop=$(findmnt -no SOURCE "$disk")
if echo test >"/sys/fs/ext4/$(basename "$loop")/trigger_fs_error" 2>/dev/null &&
	mount -o remount,ro,abort "$disk" 2>/dev/null || findmnt -no OPTIONS "$disk" | grep -qE '(^|,)(ro|emergency_ro)'; then
	told "read-only file system|input/output error" sh -c 'echo new >"$0/new"' "$M"
	told "read-only file system|input/output error" dd if=/dev/zero of="$M/raw" bs=4k count=1 conv=notrunc,fsync
	told "read-only file system|input/output error" mkdir "$M/dir"
	values_are
	lives
else
	echo "  (it can not be made so here)"
fi
exec 7>&-
soon "$DISKVFS" unmount "$M" >"$T/out" 2>"$T/err" || [ $? -lt 124 ] || fail "unmount hangs"
dv_wait_end "$dv_pid" 120 || fail "the daemon does not end"
! is_mounted || umount -l "$M"
umount "$disk"
e2fsck -fy "$T/image" >>"$T/log" 2>&1 || [ $? -le 1 ] || fail "e2fsck"
disk_again
mnt_up
values_are
mnt_down
"$DISKVFS" verify -q "$S" || fail "verify: status $?"

claim "the backing is unmounted (umount -l) under a mount: it works on, and is let go when the mount is"
mnt_up -o settle=3600
umount -l "$disk"
values_are
text 70000 >"$M/later"
mkdir "$M/folder"
text 80000 >"$M/folder/value"
pack_now
sync "$M/later" "$M/folder/value" "$M/folder" "$M"
same "$M/later" <(text 70000)
mnt_down
until_true 60 sh -c '! losetup -j "$0" | grep -q .' "$T/image"
disk_again
mnt_up
same "$M/later" <(text 70000)
same "$M/folder/value" <(text 80000)
values_are
mnt_down
umount "$disk"

claim "a daemon that is stopped under load: others mount the store and go on, and so does it"
S=$T/store
mk_store
mnt_up -o settle=0,coherence=0
for i in $(seq 20); do text $((i * 3000)) >"$M/k$i"; done
( # until it is told
	n=0
	until [ -e "$T/enough" ]; do
		n=$((n + 1))
		text $((n % 7 * 4000 + 100)) >"$M/written$((n % 5))"
		echo "$n" >"$T/written"
	done
) &
writer=$!
until_true 60 sh -c '[ "$(cat "$0" 2>/dev/null || echo 0)" -gt 3 ]' "$T/written"
kill -STOP "$dv_pid"
mkdir "$T/mnt2"
soon "$DISKVFS" mount "$S" "$T/mnt2" -o settle=0,coherence=0 >>"$T/log" 2>&1 || fail "not mounted beside it"
second=$(jq -r .pid "$T/mnt2/.diskvfs/stats")
dv_watch "$second"
for i in $(seq 20); do soon cmp "$T/mnt2/k$i" <(text $((i * 3000))) || fail "k$i is not served"; done
for i in $(seq 5); do soon sh -c 'echo "other $2" >"$0/k$1"; sync "$0/k$1"' "$T/mnt2" "$i" "$i" || fail "k$i is not written"; done
soon "$DISKVFS" keys "$S" >/dev/null || fail "keys hangs"
kill -CONT "$dv_pid"
was=$(cat "$T/written")
until_true 60 sh -c '[ "$(cat "$0")" -gt "$1" ]' "$T/written" "$((was + 3))"
touch "$T/enough"
wait "$writer"
for i in $(seq 5); do [ "$(cat "$M/k$i")" = "other $i" ] || fail "k$i: $(head -c 50 "$M/k$i")"; done
for i in $(seq 6 20); do same "$M/k$i" <(text $((i * 3000))); done
n=$(cat "$T/written")
same "$M/written$((n % 5))" <(text $((n % 7 * 4000 + 100)))

claim "a client that is stopped in the middle of a replacement keeps nobody waiting"
(
	exec >"$M/k10"
	echo half
	kill -STOP "$BASHPID"
	echo whole
) &
client=$!
until_true 60 sh -c 'grep -q "^State:.T" "/proc/$0/status"' "$client"
soon cat "$T/mnt2/k10" >"$T/got" || fail "held up"
same "$T/got" <(text 30000)
soon sh -c 'ls -l "$0"; echo x >"$0/k11"; mv "$0/k11" "$0/k12"' "$M" >/dev/null || fail "held up"
soon "$DISKVFS" pack "$M" >>"$T/log" 2>&1 || [ $? != 124 ] || fail "pack is held up"
kill -CONT "$client"
wait "$client"
[ "$(cat "$M/k10" | tr '\n' ,)" = half,whole, ] || fail "$(cat "$M/k10")"
soon "$DISKVFS" unmount "$T/mnt2" >>"$T/log" 2>&1 || fail "unmount"
mnt_down
"$DISKVFS" verify -q "$S" || fail "verify: status $?"

claim "a daemon that the kernel kills for its memory: as after any kill, nothing acknowledged is lost"
group=/sys/fs/cgroup/memory/dv-gone-$$
if mkdir "$group" 2>/dev/null; then
	trap 'rmdir "$group" 2>/dev/null; cleanup' EXIT
	mnt_up -o settle=0
	echo "$dv_pid" >"$group/cgroup.procs"
	text 400000 >"$M/kept"
	sync "$M/kept"
	echo "12M" >"$group/memory.limit_in_bytes" 2>/dev/null || true
	n=0
	# Pages of the store count too, and are given up first: what is read in pieces by many fills the cache.
	until dv_ended "$dv_pid" || [ "$n" = 60 ]; do
		n=$((n + 1))
		{ text 3000000 >"$M/load$n" && cat "$M/load$n" >/dev/null && echo "$n" >>"$T/acknowledged"; } 2>/dev/null || break
		[ "$n" != 5 ] || echo "$(($(grep VmRSS "/proc/$dv_pid/status" | tr -dc 0-9) - 1000))K" \
			>"$group/memory.limit_in_bytes" 2>/dev/null || true
	done
	dv_ended "$dv_pid" || kill -KILL "$dv_pid" # it can do with so little: then by hand
	dv_wait_end "$dv_pid" 20 || fail "it lives"
	umount -l "$M"
	rmdir "$group"
	trap cleanup EXIT
	mnt_up
	same "$M/kept" <(text 400000)
	while read -r i; do same "$M/load$i" <(text 3000000); done <"$T/acknowledged"
	mnt_down
	all_zst_good
else
	echo "  (no memory cgroup here)"
fi
