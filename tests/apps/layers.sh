#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What an administrator lays over a mount: overlayfs, images of filesystems in it, swap, bind mounts;
# capabilities and set-user-id bits of programs; another store in the mount.
. "$(dirname "$0")/apps.sh"
need unshare setcap getcap mkfs.ext4 e2fsck mksquashfs fstrim mkswap swapon
[ "$(id -u)" = 0 ] || skip "needs root"

app_up -o suid
mkdir "$T/over" "$T/upper" "$T/work" "$M/low"
text 100000 >"$M/low/a"
text 100000 >"$M/low/removed"
pack_now

claim "the lower layer of an overlay: read, copied up, hidden; the mount is not written to"
if mount -t overlay overlay -o "lowerdir=$M/low,upperdir=$T/upper,workdir=$T/work" "$T/over"; then
	same <(text 100000) "$T/over/a"
	echo more >>"$T/over/a"
	rm "$T/over/removed"
	[ "$(ls "$T/over")" = a ] || fail "$(ls "$T/over")"
	umount "$T/over"
	same <(text 100000) "$M/low/a"
	[ -f "$M/low/removed" ] || fail "it was removed in the mount"
	claim "the upper layer of an overlay: refused, since whiteouts are"
	mkdir "$M/upper" "$M/work"
	! mount -t overlay overlay -o "lowerdir=$T/upper,upperdir=$M/upper,workdir=$M/work" "$T/over" 2>/dev/null ||
		fail "mounted, without whiteouts"
fi

claim "an image of a filesystem: made, mounted, filled, trimmed, mounted again after it was packed"
truncate -s 48M "$M/image"
mkfs.ext4 -q -F "$M/image"
mkdir "$T/inner"
for round in 1 2; do
	pack_now
	mount -o loop "$M/image" "$T/inner" || skip "no loop devices here"
	[ $round = 1 ] || same <(text 3000000) "$T/inner/1"
	text 3000000 >"$T/inner/$round"
	[ $round = 1 ] || rm "$T/inner/1"
	sync -f "$T/inner"
	fstrim "$T/inner" || [ $? = 64 ] || fail fstrim
	umount "$T/inner"
done
e2fsck -fn "$M/image" >"$T/out" 2>&1 || { cat "$T/out"; fail e2fsck; }
mksquashfs "$M/low" "$M/squash" -quiet -no-progress >/dev/null
pack_now
mount -o loop,ro "$M/squash" "$T/inner"
same <(text 100000) "$T/inner/a"
umount "$T/inner"

claim "a swap file is refused"
head -c 2000000 /dev/zero >"$M/swap"
chmod 600 "$M/swap"
mkswap "$M/swap" >/dev/null
! swapon "$M/swap" 2>/dev/null || { swapoff "$M/swap"; fail "it is in use"; }

# goes_on WHERE: unmounting says where the mount still is, and leaves that alone.
goes_on() {
	local status=0
	"$DISKVFS" unmount "$M" >"$T/out" 2>&1 || status=$?
	[ $status = 2 ] || fail "unmount: status $status"
	[ "$(wc -l <"$T/out")" = 1 ] && grep -qF "still mounted at $1" "$T/out" || fail "it says: $(cat "$T/out")"
	! is_mounted || fail "it is still mounted"
	! dv_ended "$dv_pid" || fail "the daemon has ended"
}
claim "bound elsewhere: what is unmounted in one place goes on in the other, and the daemon with it"
mkdir "$T/bound"
mount --bind "$M/low" "$T/bound"
text 50000 >"$T/bound/b"
pack_now
same <(text 50000) "$M/low/b"
goes_on "$T/bound"
text 60000 >"$T/bound/b"
same <(text 60000) "$T/bound/b"
umount "$T/bound"
until_true 20 dv_ended "$dv_pid"
app_up -o suid
same <(text 60000) "$M/low/b"

claim "seen by a process in a namespace of its own: the same, until that ends"
mkfifo "$T/ready" "$T/end"
unshare -m --propagation private sh -c 'echo >"$1/ready"; read -r _ <"$1/end"' - "$T" &
holder=$!
read -r _ <"$T/ready"
goes_on "$M for process"
echo >"$T/end"
wait $holder
until_true 20 dv_ended "$dv_pid"
app_up -o suid

claim "capabilities and set-user-id bits of packed programs, over a remount; a write takes them"
cp /bin/true "$M/cap"
cp /usr/bin/id "$M/suid"
setcap cap_net_raw+ep "$M/cap"
chown 65534 "$M/suid"
chmod 4755 "$M/suid"
pack_now
[ "$(store_form cap)$(store_form suid)" = packedpacked ] || fail "not packed"
mnt_down
app_up -o suid
getcap "$M/cap" | grep -q cap_net_raw || fail "the capability is gone"
[ "$("$M/suid" -u)" = 65534 ] || fail "set-user-id does not work"
echo >>"$M/cap"
[ -z "$(getcap "$M/cap")" ] || fail "the capability outlives a write"

claim "a store in the mount, mounted in turn"
"$DISKVFS" init "$M/store2" >/dev/null
mkdir "$T/mnt2"
"$DISKVFS" mount "$M/store2" "$T/mnt2" -o settle=0 >>"$T/log" 2>&1 || fail "does not mount"
text 400000 >"$T/mnt2/x"
"$DISKVFS" pack "$T/mnt2" >/dev/null
pack_now
same <(text 400000) "$T/mnt2/x"
zstdcat "$M/store2/x.zst" | cmp - <(text 400000) || fail "the inner packed file"
"$DISKVFS" unmount "$T/mnt2"
app_end
