#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Memory is bounded: large values written, packed and read, and many names listed, leave the daemon
# within cache_size and a fixed amount. Asserts bytes, not seconds.
# MEMORY_MB: how much is written (250); MEMORY_NAMES: how many files are listed (20000).
. "$(dirname "$0")/harness.sh"
need jq zstd
: "${MEMORY_MB:=250}" "${MEMORY_NAMES:=20000}"

cache_mb=16
hwm_kb() { awk '/^VmHWM/ { print $2 }' "/proc/$dv_pid/status"; }
within() { # within KB
	local hwm
	hwm=$(hwm_kb)
	echo "  VmHWM $hwm KiB of $1"
	[ "$hwm" -le "$1" ] || fail "the daemon took $hwm KiB, more than $1"
}

mk_store
mnt_up -o settle=1,cache_size=${cache_mb}M
claim "$MEMORY_MB MiB of text, written, packed and read: cache_size and 64 MiB at most"
seq 1 20000000 | head -c $((MEMORY_MB * 1048576)) | tee "$M/large" | sha256sum >"$T/sum" || true
pack_now
[ "$(store_form large)" = packed ] || fail "not packed"
sha256sum <"$M/large" | cmp - "$T/sum" || fail "differs"
for i in $(seq 1 40); do
	dd if="$M/large" of=/dev/null bs=128k count=1 skip=$((i * 997 % (MEMORY_MB * 8))) status=none
done
within $(((cache_mb + 64) * 1024))
claim "appended to, overwritten, unpacked: no more"
text 1000000 >>"$M/large"
seq 1 20000000 | head -c $((MEMORY_MB * 524288)) >"$M/large" || true
pack_now
within $(((cache_mb + 64) * 1024))
rm "$M/large"

claim "$MEMORY_NAMES files, found and read: 400 bytes and the name for each that the kernel holds on to"
mkdir "$M/many"
seq -f "$M/many/file-%07g" 1 "$MEMORY_NAMES" | xargs touch
find "$M/many" -size +1 | wc -l >/dev/null
mnt_down
mnt_up -o cache_size=${cache_mb}M
[ "$(find "$M/many" -type f -size -1 | wc -l)" = "$MEMORY_NAMES" ] || fail "not all were found"
within $(((cache_mb + 32) * 1024 + MEMORY_NAMES * 400 / 1024))
rm -rf "$M/many"
mnt_down
