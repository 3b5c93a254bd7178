# SPDX-License-Identifier: MIT
# backing.sh - the filesystem below, for tests that compare it with the mount. Sourced after harness.sh.
#
# BACKING=tmpfs (default) or ext4: store, mountpoint and the plain folder $P lie side by side on one.
backing_up() {
	[ "$(id -u)" = 0 ] || skip "users are changed and devices made: needs root"
	B=$T/backing
	mkdir "$B"
	case ${BACKING:-tmpfs} in
	tmpfs) mount -t tmpfs -o size=1500m,mode=755 none "$B" || skip "tmpfs can not be mounted" ;;
	ext4)
		need mkfs.ext4
		truncate -s 1G "$T/image"
		mkfs.ext4 -q -F -I 256 "$T/image"
		mount -o loop "$T/image" "$B" || skip "no loop devices"
		;;
	*) fail "BACKING=$BACKING" ;;
	esac
	S=$B/store M=$B/mnt P=$B/plain
	mkdir -m 755 "$M" "$P"
}

backing_down() { umount "$B"; }
