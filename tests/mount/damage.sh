#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Damage in the store: EIO or the right bytes, never others; every other value works; the daemon lives.
. "$(dirname "$0")/harness.sh"
need jq python3 zstd

mk_store
# coherence=0: each damage is seen by the next read.
mnt_up -o coherence=0,settle=600
for ((i = 0; i < 40; i++)); do text 300; done >"$M/small" # a few hundred bytes, packed
text 700000 >"$M/large"
text 9000 >"$M/other"
pack_now
[ "$(store_form small)" = packed ] && [ "$(store_form large)" = packed ] || fail "not packed"

claim "each byte of a small packed value flipped in turn, and every truncation"
python3 "$here/damage.py" "$M" small "$S/small.zst" 1 "$M/other" || fail "see above"

claim "bytes of a value of several frames, and of its seek table"
python3 "$here/damage.py" "$M" large "$S/large.zst" "${LARGE_STEP:-397}" "$M/other" || fail "see above"

claim "the daemon counted it, and is the same one"
[ "$(stat_json .errors.corrupt)" -gt 0 ] || fail "errors.corrupt is $(stat_json .errors.corrupt)"
[ "$(stat_json .pid)" = "$dv_pid" ] || fail "another daemon"

claim "files that only look packed: EIO or what zstdcat says, nothing worse"
: >"$S/zero.zst"
echo 'not zstd at all' >"$S/lie.zst"
printf '\x5e\x2a\x4d\x18\xff\xff\xff\xff' >"$S/skip.zst"
printf '\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\x7f' >"$S/vast.zst"
head -c 50 "$S/large.zst" >"$S/cut.zst"
tail -c 40 "$S/large.zst" >"$S/table.zst"
for key in zero lie skip vast cut table; do
	status=0
	timeout 20 cat "$M/$key" >"$T/out" 2>"$T/err" || status=$?
	[ "$status" -le 1 ] || fail "$key: status $status"
	if [ "$status" = 1 ]; then
		grep -q 'Input/output error' "$T/err" || fail "$key: $(cat "$T/err")"
	else
		zstdcat "$S/$key.zst" 2>/dev/null | cmp - "$T/out" || fail "$key: other bytes than zstdcat's"
	fi
done
same "$M/other" <(text 9000)
ls -l "$M" >/dev/null 2>&1 || true

claim "packing leaves damaged values alone"
cp "$S/large.zst" "$T/large.zst"
printf 'X' | dd of="$S/large.zst" bs=1 seek=20 conv=notrunc status=none
cp "$S/large.zst" "$T/damaged.zst"
"$DISKVFS" pack "$M" >/dev/null 2>&1 || true
same "$S/large.zst" "$T/damaged.zst"
mnt_down

claim "the log names the value, the file and the frame"
second=$(python3 -c '
import struct, sys
table = open(sys.argv[1], "rb").read()
count, = struct.unpack("<I", table[-9:-5])
print(*struct.unpack("<I", table[-9 - 12 * count:][:4]))' "$T/large.zst")
cp "$T/large.zst" "$S/large.zst"
printf 'XYZ' | dd of="$S/large.zst" bs=1 seek=$((second + 40)) conv=notrunc status=none
"$DISKVFS" mount "$S" "$M" -f -o coherence=0 2>"$T/foreground" >/dev/null &
until_true 20 is_mounted
dv_pid=$(stat_json .pid)
dv_watch "$dv_pid"
! cat "$M/large" >/dev/null 2>&1 || fail "it was read"
"$DISKVFS" unmount "$M" || fail "unmount"
wait
grep -q "'large'.*large\.zst: the frame at byte $second is damaged" "$T/foreground" || fail "$(cat "$T/foreground")"
