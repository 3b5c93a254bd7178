#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# diskvfs verify: beside mounts and writers no false alarm; exit statuses; damage in a mounted store; what
# a killed daemon left; -q and --json; repair of one that is not mounted; nothing written, on read-only
# media too.
. "$(dirname "$0")/harness.sh"
need jq zstd python3

: "${STEPS:=60}"
verify() { # verify STATUS [options]: $T/out gets what it printed
	local want=$1 status=0
	shift
	"$DISKVFS" verify "$@" >"$T/out" 2>"$T/err" || status=$?
	[ "$status" = "$want" ] || fail "verify $*: status $status: $(cat "$T/out" "$T/err")"
}
told() { grep -q -- "$1" "$T/out" || fail "not told: $1: $(cat "$T/out")"; }

claim "a store at rest, mounted and not"
mk_store
mnt_up -o settle=600
text 700000 >"$M/large"
text 9000 >"$M/small"
noise 50000 >"$M/noise"
mkdir "$M/dir"
ln -s nowhere "$M/link"
pack_now
verify 0 "$M"
told '^2 packed values verified'
mnt_down
verify 0 "$S"
told '^1 raw values read'
verify 0 -q "$S"
[ ! -s "$T/out" ] && [ ! -s "$T/err" ] || fail "not quiet: $(cat "$T/out" "$T/err")"
verify 0 --json "$S"
[ "$(jq -r .packed "$T/out")" = 2 ] || fail "$(cat "$T/out")"

claim "beside two mounts that write there is no false alarm"
A=$T/a B=$T/b
M=$A
mnt_up -o settle=0
M=$B
mnt_up -o settle=0
python3 "$here/verify.py" "$A" 1 "$STEPS" >"$T/w1" 2>&1 &
w1=$!
python3 "$here/verify.py" "$B" 2 "$STEPS" >"$T/w2" 2>&1 &
w2=$!
runs=0
while [ "$runs" -lt 2 ] || ! dv_ended "$w1" || ! dv_ended "$w2"; do
	verify 0 --json "$S"
	runs=$((runs + 1))
done
wait "$w1" || fail "$(cat "$T/w1")"
wait "$w2" || fail "$(cat "$T/w2")"
echo "  $runs runs"
M=$B
mnt_down
M=$A
mnt_down
verify 0 --json "$S"
[ "$(tail -n 1 "$T/out" | jq -r .in_use)" = 0 ] || fail "$(cat "$T/out")"
M=$T/mnt

claim "damage is told while it is mounted; repair is refused then"
mnt_up -o settle=0
printf 'XYZ' | dd of="$S/large.zst" bs=1 seek=60 conv=notrunc status=none
verify 4 "$S"
told '^damaged: large.zst: key large: frame 0 at byte 0, plain bytes 0 to 131072'
verify 4 --json "$M"
[ "$(head -n 1 "$T/out" | jq -r '.finding + .class + .key')" = damagederrorlarge ] || fail "$(cat "$T/out")"
before=$(find "$S" -printf '%p %i %s %T@ %C@\n' | grep -v '/\.diskvfs' | sort)
verify 8 --repair "$S"
verify 8 --repair "$M"
[ "$before" = "$(find "$S" -printf '%p %i %s %T@ %C@\n' | grep -v '/\.diskvfs' | sort)" ] || fail "it was changed"
mnt_down

claim "repair puts it aside, with its whole frames, and says so; the store is clean then"
verify 1 --repair "$S"
told 'moved to .diskvfs/lost/verify-1/large.zst, its 5 whole frames saved'
cmp <(zstdcat "$S/.diskvfs/lost/verify-1/large.zst.frames.zst") <(text 700000 | tail -c +131073) || fail frames
verify 0 "$S"
told 'files were in .diskvfs/lost before'

claim "a seek table is made anew, and the value keeps owner, mode, times and inode number"
mnt_up
text 900000 >"$M/table"
chmod 640 "$M/table"
chown 1:2 "$M/table"
setfattr -n user.note -v kept "$M/table"
pack_now
was=$(stat -c '%i %u %g %a %Y %Z' "$M/table")
mnt_down
touch -r "$S/table.zst" "$T/times"
truncate -s -20 "$S/table.zst"
touch -r "$T/times" "$S/table.zst"
verify 4 "$S"
told '^table: table.zst'
verify 1 --repair "$S"
told 'a new table was made'
verify 0 "$S"
mnt_up
is=$(stat -c '%i %u %g %a %Y' "$M/table")
[ "$is" = "${was% *}" ] || fail "$was became $is"
[ "$(getfattr --absolute-names --only-values -n user.note "$M/table")" = kept ] || fail "its attribute is gone"
same "$M/table" <(text 900000)

claim "what a killed daemon left is the next mount's, and no error"
exec 7>"$M/small"
text 5000 >&7
kill -KILL "$dv_pid"
exec 7>&- || true
dv_wait_end "$dv_pid" 60 || fail "the daemon does not end"
umount -l "$M"
verify 0 "$S"
told '^unfinished: .diskvfs/stage/'
mnt_up
same "$M/small" <(text 5000)
mnt_down
verify 0 "$S"

claim "nothing is written: no file is changed, and none is made"
# Looking moves directories' access times, so those say nothing.
files() { find "$1" \( -type f -printf '%p %i %s %A@ %T@ %C@\n' -o -printf '%p %i %T@ %C@\n' \) | sort; }
before=$(files "$S")
verify 0 "$S"
[ "$before" = "$(files "$S")" ] || fail "$(diff <(echo "$before") <(files "$S"))"
if mount --bind "$S" "$S" 2>/dev/null && mount -o remount,bind,ro "$S"; then
	verify 0 "$S"
	verify 8 --repair "$S"
	umount "$S"
fi

claim "a hole of a tebibyte between two frames is not read to find the second one"
text 300000 | zstd -q >"$S/hole.zst"
truncate -s 1T "$S/hole.zst"
text 300000 | zstd -q >>"$S/hole.zst"
verify 4 --json "$S"
[ "$(tail -n 1 "$T/out" | jq .stored_bytes)" -lt 10000000 ] || fail "$(cat "$T/out")"
verify 4 "$S"
told '^damaged: hole.zst: '
rm "$S/hole.zst"

claim "what is mounted in the store is not in it"
mkdir "$S/other"
if mount -t tmpfs none "$S/other" 2>/dev/null; then
	echo "not zstd" >"$S/other/x.zst"
	verify 0 "$S"
	told '^stray: other: something is mounted there'
	umount "$S/other"
fi
rmdir "$S/other"

claim "two files of one key, and what is used wrongly"
zstd -q -k "$S/noise" -o "$S/noise.zst"
text 20 | zstd -q >"$S/small.zst"
verify 4 "$S"
told 'twin: noise.zst: key noise: equal bytes'
told 'twin: small.zst: key small: other bytes'
verify 5 --repair "$S"
[ -e "$S/.diskvfs/lost/verify-3/noise.zst" ] && [ ! -e "$S/noise.zst" ] && [ -e "$S/small.zst" ] || fail "twins"
rm "$S/small.zst"
verify 16 --no-such-option
verify 16
verify 16 --jobs 0 "$S"
verify 8 "$T/nothing"
verify 128 --transform "$T/none.so" "$S"
printf 'format=1\n' >"$S/.diskvfs/config"
verify 8 "$S"
