#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# fio with verification and stress-ng's filesystem class, while everything is packed at once.
. "$(dirname "$0")/apps.sh"
need fio stress-ng

app_up
io() { # io ENGINE OPTIONS...
	local engine=$1
	shift
	(cd "$T" && fio --name="$engine" --directory="$M" --ioengine="$engine" --size=$((8 * APPS_SCALE))M --bs=4k-64k --rw=randrw \
		--verify=crc32c --verify_fatal=1 --do_verify=1 --verify_dump=1 --buffer_compress_percentage=60 --refill_buffers \
		--norandommap=0 --group_reporting "$@" >"$T/out" 2>&1) || { tail -n 40 "$T/out"; fail "fio $engine $*"; }
}
claim "fio: random reads and writes, with fsync, verified while packing goes on"
while :; do
	"$DISKVFS" pack "$M" >/dev/null 2>&1 || true
	sleep 0.1
done &
packer=$!
io psync --numjobs=2 --fsync=16
io psync --numjobs=2 --overwrite=1 --fdatasync=8 --bs=4k
claim "fio: shared mappings"
io mmap --numjobs=2 --fsync=32 --bs=4k
claim "stress-ng: all filesystem stressors at once, verified"
# Left out: those that touch no file of the folder.
stressors=$(stress-ng --class 'filesystem?' 2>&1 | sed -n 's/.*stressors: //p' | tr ' ' '\n' |
	grep -vxE 'bind-mount|binderfs|eventfd|ioprio|procfs' | sort)
[ "$(wc -w <<<"$stressors")" -ge 40 ] || fail "stress-ng names no filesystem stressors"
mkdir -p "$M/stress"
(cd "$M/stress" && exec stress-ng --temp-path . --verify --timeout $((3 * APPS_SCALE)) \
	$(printf -- '--%s 1 ' $stressors) $(printf -- '--%s-bytes 64m ' fallocate hdd iomix)) \
	>"$T/out" 2>&1 ||
	{ grep -E 'fail|error' "$T/out" || tail "$T/out"; fail stress-ng; }
# What this kernel can not do on FUSE at all: FIEMAP, fs-verity.
sed -n 's/.* skipped: [0-9]*: //p; s/.* skipped: [0-9]* (\(.*\))/\1/p' "$T/out" | tr ' ' '\n' | sed 's/(.*//' >"$T/skipped"
! grep -vxE 'fiemap|verity|' "$T/skipped" || fail "stress-ng: these do not run on the mount"
[ -z "$(ls -A "$M/stress")" ] || fail "stress-ng leaves files: $(ls -A "$M/stress" | head -n 5)"
kill $packer
wait $packer 2>/dev/null || true
app_end
