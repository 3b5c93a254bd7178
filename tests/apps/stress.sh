#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# fio with verification and stress-ng's filesystem class, while everything is packed at once.
. "$(dirname "$0")/apps.sh"
need fio

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
if command -v stress-ng >/dev/null; then
	claim "stress-ng: filesystem stressors at once, verified"
	mkdir -p "$M/stress"
	stressors=$(printf -- '--%s 1 ' chmod copy-file dentry dir dirdeep dirmany fallocate fiemap filename flock fpunch \
		getdent hdd lease link lockf lockofd mknod open rename symlink touch utime xattr)
	(cd "$M/stress" && stress-ng --temp-path . --verify --timeout $((3 * APPS_SCALE)) $stressors >"$T/out" 2>&1) ||
		{ grep -E 'fail|error' "$T/out" | head -n 30; fail stress-ng; }
fi
kill $packer
wait $packer 2>/dev/null || true
app_end
