#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# -o ro writes nothing at all: neither bytes, nor names, nor times, nor records; whatever is tried.
. "$(dirname "$0")/harness.sh"
need jq zstd sha256sum python3

checksum() { python3 "$here/readonly.py" "$S"; }
read_all() { (cd "$M" && find . -type f -print0 | sort -z | xargs -0 -r sha256sum); }
refused() { ! "$@" 2>"$T/err" || fail "$* works"; grep -q "Read-only" "$T/err" || fail "$*: $(cat "$T/err")"; }

mk_store
mnt_up
text 300000 >"$M/packed"
text 100 >"$M/small"
noise 50000 >"$M/noise"
mkdir "$M/dir"
text 20000 >"$M/dir/a.zst"
ln "$M/packed" "$M/linked"
ln -s packed "$M/symlink"
pack_now
text 30000 >"$M/fresh"
read_all >"$T/all"
mnt_down
# Times of the past: any access would show, with relatime too.
find "$S" -exec touch -h -d '2001-02-03 04:05:06' {} +
checksum >"$T/before"

claim "reading and trying to change: the store is the same afterwards"
mnt_up -o ro
read_all | cmp - "$T/all" || fail "the values are not what they were"
read_all >/dev/null
ls -lR "$M" >/dev/null
readlink "$M/symlink" >/dev/null
getfattr -d "$M/packed" >/dev/null
refused touch "$M/new"
refused sh -c 'echo x >"$1"' - "$M/small"
refused sh -c 'echo x >>"$1"' - "$M/packed"
refused rm -f "$M/small"
refused mv "$M/small" "$M/dir/small"
refused ln "$M/small" "$M/second"
refused ln -s a "$M/second"
refused mkdir "$M/dir2"
refused rmdir "$M/dir"
refused mkfifo "$M/pipe"
refused chmod 600 "$M/small"
refused chown 1 "$M/small"
refused touch -d @1 "$M/packed"
refused truncate -s 10 "$M/packed"
refused fallocate -l 10 "$M/packed"
refused setfattr -n user.a -v b "$M/packed"
"$DISKVFS" pack "$M" >"$T/out" 2>&1 && fail "pack works: $(cat "$T/out")"
refused "$DISKVFS" rm "$M" small
refused "$DISKVFS" unpack "$M"
for c in "put $M k" "import $M $T/all" "cas put $M $T/all"; do
	status=0
	"$DISKVFS" $c </dev/null >"$T/out" 2>"$T/err" || status=$?
	[ "$status" = 2 ] && [ ! -s "$T/out" ] && grep -q "^diskvfs: $M: is mounted read-only; name the store $S " "$T/err" ||
		fail "$c: $status $(cat "$T/out" "$T/err")"
done
mnt_down
checksum | diff "$T/before" - || fail "the store was changed"

claim "beside a mount that writes: what it writes is seen, what it has not committed is not"
mnt_up
rw=$M rw_pid=$dv_pid
M=$T/ro
mnt_up -o ro
echo new >"$rw/later"
until_true 5 grep -qsx new "$M/later"
mnt_down
M=$rw dv_pid=$rw_pid
mnt_down

claim "after kill -9 of a daemon that had work pending: ro shows whole values and recovers nothing"
mnt_up -o settle=0
exec 7>"$M/dir/a.zst"
noise 200000 >&7
kill -KILL "$dv_pid"
exec 7>&- || true
umount -l "$M"
dv_wait_end "$dv_pid" 10
find "$S" -exec touch -h -d '2001-02-03 04:05:06' {} +
checksum >"$T/before"
mnt_up -o ro
text 20000 | cmp - "$M/dir/a.zst" || fail "the old value is not shown"
[ "$(stat_json .values.left_pending)" = 1 ] || fail "it is not counted"
grep -q 'left pending by ended mounts: 1;' "$T/log" || fail "it is not told"
mnt_down
checksum | diff "$T/before" - || fail "the store was changed"
