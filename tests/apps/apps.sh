# SPDX-License-Identifier: MIT
# apps.sh - what the tests with real programs share. Sourced by tests/apps/*.sh.
#
#   APPS_OPTIONS   mount options of the test (settle=0: packed while it is worked on); ctest sets it
#   APPS_SCALE     how much is done, a factor (1)
#   APPS_BACKING   ext4, xfs, btrfs: the store lies on such an image (as root); else where T lies
. "$(dirname "${BASH_SOURCE[0]}")/../mount/harness.sh"
: "${APPS_OPTIONS:=settle=0}" "${APPS_SCALE:=1}"
need jq

# image_up TYPE SIZE: a filesystem of its own at $T/disk, and the store on it.
image_up() {
	[ "$(id -u)" = 0 ] || skip "a loop image needs root"
	need "mkfs.$1"
	mkdir "$T/disk"
	truncate -s "$2" "$T/image"
	case $1 in
	ext4) mkfs.ext4 -q "$T/image" ;;
	*) "mkfs.$1" -q "$T/image" >/dev/null ;;
	esac
	mount -o loop "$T/image" "$T/disk" || skip "no loop devices here"
	S=$T/disk/store
}
image_down() { umount "$T/disk"; }

app_up() {
	[ -z "${APPS_BACKING-}" ] || [ -d "$T/disk" ] || image_up "$APPS_BACKING" 3G
	[ -d "$S/.diskvfs" ] || mk_store
	mnt_up -o "$APPS_OPTIONS" "$@"
}
app_end() {
	mnt_down
	all_zst_good
	[ ! -d "$T/disk" ] || image_down
}

# source_tree DIR MB: files, directories and links of /usr, the same each time.
source_tree() {
	mkdir -p "$1"
	(cd /usr && find include share/perl share/perl5 lib/python3 share/doc \( -type f -o -type l \) \
		-printf '%s %p\n' 2>/dev/null | sort -k2) |
		awk -v left=$(($2 * 1000000)) '{ if (left < $1) next; left -= $1; sub(/^[0-9]+ /, ""); print }' >"$T/list"
	tar -C /usr -T "$T/list" -cf - | tar -C "$1" -xf -
}
