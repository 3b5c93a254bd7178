#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# copy_file_range: a whole packed value is copied as it is stored; all else as if read and written.
. "$(dirname "$0")/harness.sh"
need jq python3 zstd

# range FROM OFF TO OFF LEN: one call, opened for writing as it is. -> how many bytes
range() {
	python3 -c '
import os, sys
a = os.open(sys.argv[1], os.O_RDONLY)
b = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT)
print(os.copy_file_range(a, b, int(sys.argv[5]), int(sys.argv[2]), int(sys.argv[4])))' "$@"
}
counts() { stat_json '"\(.frames.decoded) \(.values.copied)"'; }
is_packed() { [ "$(store_form "$1")" = packed ]; }

mk_store
mnt_up -o settle=3600
text 3000000 >"$M/big"
text 2000000 | tac >"$M/old"
text 5000 >"$M/small"
cp "$M/big" "$T/big"
cp "$M/old" "$T/old"
pack_now
cat "$M/old" >/dev/null # its pages are in memory

claim "a whole value is copied without being decoded, into a new one and over another"
before=$(counts)
# Else cp looks for holes in what takes fewer blocks than it is long.
cp --sparse=never "$M/big" "$M/new"
cp --sparse=never "$M/big" "$M/old"
[ "$(counts)" = "${before% *} 2" ] || fail "decoded and copied: $before, now $(counts)"
until_true 20 is_packed new
until_true 20 is_packed old
for copy in new old; do
	same "$S/big.zst" "$S/$copy.zst"
	same "$T/big" "$M/$copy"
done
all_zst_good

claim "it may be mapped, added to, and written elsewhere at once"
cp --sparse=never "$M/big" "$M/third"
same "$T/big" "$M/third"
{ cat "$T/big"; echo more; } >"$T/third"
echo more >>"$M/third"
printf X | dd of="$M/third" bs=1 seek=1000 conv=notrunc status=none
printf X | dd of="$T/third" bs=1 seek=1000 conv=notrunc status=none
same "$T/third" "$M/third"

claim "ranges, values that are short, and targets that are not empty are read and written"
before=$(stat_json .values.copied)
[ "$(range "$M/big" 1000 "$M/part" 0 500000)" = 500000 ] || fail "a part: a short count"
same <(head -c 501000 "$T/big" | tail -c +1001) "$M/part"
[ "$(range "$M/big" 0 "$M/part" 100000 9999999)" = 3000000 ] || fail "behind: a short count"
same <(head -c 101000 "$T/big" | tail -c +1001; cat "$T/big") "$M/part"
cp --sparse=never "$M/small" "$M/small2"
same "$M/small" "$M/small2"
[ "$(stat_json .values.copied)" = "$before" ] || fail "one was copied as it is stored"

claim "the copies are there after a remount"
mnt_down
mnt_up
for copy in new old; do same "$T/big" "$M/$copy"; done
same "$T/third" "$M/third"
all_zst_good
mnt_down
