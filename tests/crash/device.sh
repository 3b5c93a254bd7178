#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The power goes, on real filesystems: what a mount writes to a disk is recorded (support/recorder.c), and the
# disk as a cut leaves it is mounted, recovered and judged, at flushes and between them (device.py).
#
#   FILESYSTEMS   ext4, xfs, btrfs ("ext4")     SEED, SEEDS   the first one, how many (1, 2)
#   STEPS         of work for each seed (100)   POINTS        cuts of each; 0: all flushes, and more (60)
#   MUTANTS       ways to break the daemon (support/broken_sync.c), each of which must be found
#   KEEP          a folder for the record of a find, which can then be replayed
#   KIND          of store: path, gzip, split, hash; by the seed where it is not given
. "$(dirname "$0")/../mount/harness.sh"
[ "$(id -u)" = 0 ] || skip "a loop device needs root"
: "${FILESYSTEMS=ext4}" "${SEED:=1}" "${SEEDS:=2}" "${STEPS:=100}" "${POINTS:=60}" "${MUTANTS=}" "${KEEP=}"
: "${RECORDER:?set RECORDER to the program of support/recorder.c}"
export RECORDER BROKEN_SYNC DISKVFS
need python3 zstd unshare
for fs in $FILESYSTEMS; do need "mkfs.$fs"; done
unshare -m true || skip "no mount namespaces"
grep -qs . /proc/self/timens_offsets || skip "no time namespaces, which another boot needs"

# device FOLDER record|replay ...: in a namespace, so that nothing that it mounts can be left.
device() { unshare -m --propagation private python3 "$(dirname "$0")/device.py" "$2" "$1" "${@:3}"; }

# try FS SEED: 0: nothing found, 1: found, what is told is in $T/told
try() {
	local folder=$T/work status=0
	mkdir "$folder"
	device "$folder" record "$1" "$2" "$STEPS" >"$T/told" 2>&1 ||
		fail "$1, seed $2: could not be recorded: $(tail -n 3 "$T/told")"
	device "$folder" replay "$POINTS" "$2" >>"$T/told" 2>&1 || status=$?
	if [ "$status" != 0 ] && [ -n "$KEEP" ] && [ -z "${BROKEN-}" ]; then
		mkdir -p "$KEEP"
		cp -a --sparse=always "$folder" "$KEEP/$1-$2"
		echo "  kept in $KEEP/$1-$2" >>"$T/told"
	fi
	# The filesystem itself may not have outlived the cut, or the test is wrong.
	[ "$status" -le 1 ] && ! grep -q Traceback "$T/told" || fail "could not be replayed: $(tail -n 6 "$T/told")"
	rm -rf "$folder"
	return $status
}

for fs in $FILESYSTEMS; do
	claim "$fs: whatever a power cut leaves, what was synced is there, and every value is whole"
	for ((seed = SEED; seed < SEED + SEEDS; seed++)); do
		try "$fs" "$seed" || { cat "$T/told"; fail "$fs, seed $seed"; }
		cat "$T/told"
	done
	for mutant in $MUTANTS; do
		claim "$fs: a daemon that is broken at '$mutant' is found"
		found=
		for ((seed = SEED; seed < SEED + 8; seed++)); do
			BROKEN=$mutant try "$fs" "$seed" || { found=yes; break; }
		done
		[ -n "$found" ] || fail "it is not, with 8 seeds"
		tail -n 1 "$T/told"
	done
done
