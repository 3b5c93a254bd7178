#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# diskvfs info: what a store is and holds, who has it open, what is pending; nothing is written for it.
. "$(dirname "$0")/harness.sh"
need jq zstd getfattr

tree() { (cd "$S" && find . -printf '%p %s %m %T@ %C@ %A@ %n\n' | sort); }
info() { "$DISKVFS" info "$@" >"$T/info" 2>"$T/err" || fail "info $*: $(cat "$T/err")"; }
json() { info --json "$1" && jq -r "$2" "$T/info"; }
is() { [ "$1" = "$2" ] || fail "it is '$1', not '$2'"; }

mk_store --nopack '*.db' --compress zstd:5
mnt_up -o settle=3600
mkdir "$M/dir"
text 300000 >"$M/dir/text"
text 100000 >"$M/a.db"
noise 50000 >"$M/noise"
ln -s noise "$M/link"
ln "$M/noise" "$M/noise2"
pack_now

claim "of a mounted store: by its folder and by its mountpoint"
for what in "$S" "$M"; do
	is "$(json "$what" .store)" "$S"
	is "$(json "$what" '.in_use[0].mountpoint')" "$M"
	is "$(json "$what" '.in_use[0].pid')" "$dv_pid"
	is "$(json "$what" '.values | "\(.packed) \(.raw) \(.directories) \(.others)"')" "1 3 1 1"
	is "$(json "$what" .bytes.plain)" $((300000 + 100000 + 50000))
	is "$(json "$what" .bytes.stored)" $((100000 + 50000 + $(stat -c %s "$S/dir/text.zst")))
	is "$(json "$what" '.pending | length')" 0
done
is "$(json "$M" '"\(.format) \(.transform) \(.compress) \(.frame_size) \(.nopack)"')" '1 path zstd:5 131072 *.db'
[ "$(json "$M" .backing.free_bytes)" -gt 0 ] || fail "$(cat "$T/info")"
info "$M"
grep -q "^in use  *mounted on $M by process $dv_pid" "$T/info" || fail "$(cat "$T/info")"
grep -q "^values  *4: 1 packed, 3 raw; 1 directories, 1 others" "$T/info" || fail "$(cat "$T/info")"

claim "what is under way is told"
exec 7>"$M/dir/text"
echo new >&7
is "$(json "$M" '.pending[0] | "\(.key) \(.fate)"')" "dir/text under_way"
info "$M"
grep -q "^under way  *1 values" "$T/info" || fail "$(cat "$T/info")"

claim "of a store whose daemon was killed: what the next mount will do, and nothing is written"
kill -KILL "$dv_pid"
dv_wait_end "$dv_pid" 20 || fail "it lives"
exec 7>&-
umount -l "$M"
tree >"$T/before" # what find itself moves has moved then
tree >"$T/before"
is "$(json "$S" '.pending[0] | "\(.key) \(.fate)"')" "dir/text finished"
is "$(json "$S" '.in_use | length')" 0
info "$S"
grep -q "^in use  *no" "$T/info" || fail "$(cat "$T/info")"
grep -q "dir/text: the next mount puts its newer bytes in place" "$T/info" || fail "$(cat "$T/info")"
info --quick --json "$S"
is "$(jq 'has("values") or has("twins")' "$T/info")" false
tree >"$T/after"
cmp -s "$T/before" "$T/after" || fail "it wrote: $(diff "$T/before" "$T/after")"
mnt_up
is "$(json "$S" '.pending | length')" 0
[ "$(cat "$M/dir/text")" = new ] || fail "it was not put in place"
mnt_down

claim "twins, odd names and lost files are told"
odd=$'odd \xff"\\\n\xc3\xa4'
text 20000 >"$S/$odd"
zstd -q "$S/$odd"
mkdir -p "$S/.diskvfs/lost"
echo lost >"$S/.diskvfs/lost/1.2.x"
is "$(json "$S" '.twins | length')" 1
is "$(jq -r '.twins[0]' "$T/info")" "$(printf 'odd \xef\xbf\xbd"\\\n\xc3\xa4')"
is "$(jq -r '.lost[0] | "\(.name) \(.bytes)"' "$T/info")" "1.2.x 5"
info "$S"
grep -q '^twins  *1 keys' "$T/info" || fail "$(cat "$T/info")"
grep -q '^lost  *1 files' "$T/info" || fail "$(cat "$T/info")"

claim "a shard transform is walked too"
S=$T/sharded
mk_store --transform split:2x2
mnt_up
text 30000 >"$M/abcdefgh"
pack_now
is "$(json "$S" '.values | "\(.packed) \(.raw) \(.directories)"')" "1 0 0"
mnt_down

claim "what is no store, or may not be read, is told in one line"
mkdir "$T/empty"
for what in "$T/empty" "$T/nowhere" "$T/t"; do
	echo x >"$T/t"
	! "$DISKVFS" info "$what" >"$T/out" 2>"$T/err" || fail "info $what works"
	[ "$(wc -l <"$T/err")" = 1 ] && [ ! -s "$T/out" ] || fail "$(cat "$T/err")"
	grep -q "$what" "$T/err" || fail "it is not named: $(cat "$T/err")"
done
status=0
"$DISKVFS" info >"$T/out" 2>&1 || status=$?
is $status 1

claim "a value's own: the same from a store that is mounted and one that is not"
rm -rf "$S"
mk_store
mnt_up -o settle=3600
mkdir "$M/d"
text 600000 >"$M/d/packed"
echo raw >"$M/raw"
pack_now
mnt_down
for where in "$S" "$M"; do
	[ "$where" = "$S" ] || mnt_up -o settle=3600
	"$DISKVFS" info --json "$where" d/packed raw | jq -c '[.key, .form, .frames, .size, .path]' >"$T/out"
	printf '%s\n' '["d/packed","packed",5,600000,"d/packed.zst"]' '["raw","raw",0,4,"raw"]' | cmp - "$T/out" ||
		fail "$where: $(cat "$T/out")"
	[ "$("$DISKVFS" info --json "$where" d/packed | jq .stored)" = "$(stat -c %s "$S/d/packed.zst")" ] || fail stored
	status=0
	"$DISKVFS" info "$where" raw d none >"$T/out" 2>"$T/err" || status=$?
	[ "$status" = 1 ] && [ "$(wc -l <"$T/err")" = 2 ] || fail "$status: $(cat "$T/err")"
	grep -q '^form *raw$' "$T/out" || fail "$(cat "$T/out")"
done
# What its daemon has not put in place, or has just.
exec 8>>"$M/d/packed"
echo more >&8
[ "$("$DISKVFS" info --json "$S" d/packed | jq -c '[.size, .form != "packed"]')" = '[600005,true]' ] ||
	fail "$("$DISKVFS" info "$S" d/packed)"
exec 8>&-
mnt_down
