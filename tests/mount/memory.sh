#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Memory is bounded: large values written, packed and read, by one and by many, in frames and windows of
# every size, and many names listed, leave the daemon within cache_size and a fixed amount. Asserts
# bytes, not seconds.
# MEMORY_MB: how much is written (250); ZEROS_MB: of zeros, which are decoded fastest (256);
# MEMORY_NAMES: how many files are listed (20000).
. "$(dirname "$0")/harness.sh"
need jq zstd python3
: "${MEMORY_MB:=250}" "${ZEROS_MB:=256}" "${MEMORY_NAMES:=20000}"

fixed_mb=32 # README promises 64
cache_mb=16

hwm_kb() { awk '/^VmHWM/ { print $2 }' "/proc/$dv_pid/status"; }
within() { # within KB
	local hwm
	hwm=$(hwm_kb)
	echo "  VmHWM $hwm KiB of $1"
	[ "$hwm" -le "$1" ] || fail "the daemon took $hwm KiB, more than $1"
}
within_mb() { within $((($1 + ${2:-fixed_mb}) * 1024)); } # within_mb MB [FIXED]

# up MB [OPTIONS]: mounts with a cache of that size.
up() { mnt_up -o "settle=1,cache_size=${1}M${2:+,$2}"; }

# The kernel's own readahead, as for a user: each request is a frame, and goes through the cache.
short_readahead() {
	local bdi
	bdi=/sys/class/bdi/$(mountpoint -d "$M")/read_ahead_kb
	[ ! -w "$bdi" ] || echo 128 >"$bdi"
}

# read_all FILE...: each by a process of its own, to the end.
read_all() {
	local f pids=
	for f; do
		cat "$f" >/dev/null &
		pids="$pids $!"
	done
	for f in $pids; do wait "$f" || fail "a reader failed"; done
}

# read_random READS FILE...: the same, each at random offsets, in sizes to 64 KiB, without readahead.
read_random() {
	local reads=$1 f pids=
	shift
	for f; do
		python3 - "$f" "$reads" <<-'EOF' &
			import os, random, sys
			f = os.open(sys.argv[1], os.O_RDONLY)
			os.posix_fadvise(f, 0, 0, os.POSIX_FADV_RANDOM)
			size, r = os.fstat(f).st_size, random.Random(sys.argv[1])
			for _ in range(int(sys.argv[2])):
			    off = r.randrange(size)
			    if not os.pread(f, r.choice((1, 4096, 65536)), off):
			        sys.exit("nothing at %d" % off)
		EOF
		pids="$pids $!"
	done
	for f in $pids; do wait "$f" || fail "a reader failed"; done
}

mk_store
up $cache_mb
claim "$MEMORY_MB MiB of text, written, packed and read: cache_size and $fixed_mb MiB at most"
seq 1 20000000 | head -c $((MEMORY_MB * 1048576)) | tee "$M/large" | sha256sum >"$T/sum" || true
pack_now
[ "$(store_form large)" = packed ] || fail "not packed"
sha256sum <"$M/large" | cmp - "$T/sum" || fail "differs"
for i in $(seq 1 40); do
	dd if="$M/large" of=/dev/null bs=128k count=1 skip=$((i * 997 % (MEMORY_MB * 8))) status=none
done
within_mb $cache_mb
claim "appended to, overwritten, unpacked: no more"
text 1000000 >>"$M/large"
seq 1 20000000 | head -c $((MEMORY_MB * 524288)) >"$M/large" || true
pack_now
within_mb $cache_mb

claim "$ZEROS_MB MiB of zeros, read by four at once through the cache: what one thread freed others use"
head -c $((ZEROS_MB * 1048576)) /dev/zero >"$M/zeros"
mnt_down
up 64
short_readahead
read_all "$M/zeros" "$M/zeros" "$M/large" "$M/large"
within_mb 64 20
mnt_down

claim "read at random by eight at once, from two values and from many small ones: no more"
up $cache_mb
mkdir "$M/small"
python3 - "$M/small" <<'EOF'
import random, sys
r = random.Random(5)
for i in range(600):
    with open("%s/%d" % (sys.argv[1], i), "w") as f:
        f.write("%d the text of a value, and more of it\n" % i * r.randrange(1, 2500))
EOF
pack_now
mnt_down
up $cache_mb
read_random 300 "$M"/large "$M"/large "$M"/zeros "$M"/zeros &
find "$M/small" -type f -print0 | xargs -0 -P 4 -n 100 cat >/dev/null
wait $! || fail "a reader failed"
within_mb $cache_mb
mnt_down

claim "the smallest cache, sixteen threads, short requests: no more, but a buffer of 1 MiB for each thread"
up 1 threads=16,max_read=4096
read_random 200 "$M"/large "$M"/large "$M"/zeros "$M"/zeros
head -c 20000000 "$M/large" >/dev/null
within_mb 17
mnt_down

claim "frames of 4 MiB, of text and of noise, written and read by six at once: no more"
S=$T/frames
mk_store --frame-size 4M
up $cache_mb
seq 1 20000000 | head -c 30000000 >"$M/text" || true
{ noise 4000000; text 4000000; noise 5000000; text 6000000; } >"$M/mixed"
pack_now
within_mb $cache_mb
for cache in 1 $cache_mb; do
	mnt_down
	up $cache
	read_random 30 "$M"/text "$M"/text "$M"/mixed "$M"/mixed &
	read_all "$M"/text "$M"/mixed
	wait $! || fail "a reader failed"
	within_mb $cache
done
mnt_down
rm -rf "$S"

claim "zstd files of other makers: windows count, and of two large ones one is there at a time"
S=$T/foreign
mkdir "$S"
{ noise 2000000; text 150000000; } >"$T/plain"
zstd -q -3 --long=27 "$T/plain" -o "$S/long.zst"
zstd -q -3 "$T/plain" -o "$S/one-frame.zst"
zstd -q -1 --long=27 <"$T/plain" >"$S/unsized.zst"
mk_store --adopt --decode-zst
up 1
read_all "$M/one-frame" "$M/one-frame"
within_mb 25 # decoders have 24 MiB at least
read_all "$M/long" "$M/long"
within_mb $((25 + 128))
claim "and one more that finds a size"
read_all "$M/unsized" "$M/long"
cmp "$M/unsized" "$T/plain" || fail "unsized differs"
within_mb $((25 + 2 * 128))
mnt_down
rm -rf "$S" "$T/plain"

claim "$MEMORY_NAMES files, found and read: 400 bytes and the name for each that the kernel holds on to"
S=$T/store
up $cache_mb
mkdir "$M/many"
seq -f "$M/many/file-%07g" 1 "$MEMORY_NAMES" | xargs touch
find "$M/many" -size +1 | wc -l >/dev/null
mnt_down
up $cache_mb
[ "$(find "$M/many" -type f -size -1 | wc -l)" = "$MEMORY_NAMES" ] || fail "not all were found"
within $(((cache_mb + 32) * 1024 + MEMORY_NAMES * 400 / 1024))
rm -rf "$M/many"
mnt_down
