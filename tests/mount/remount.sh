#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What mount(8) changes on a mount that is there: ro, rw; and noatime, which the daemon keeps.
. "$(dirname "$0")/harness.sh"

mk_store
mnt_up -o settle=0
text 100000 >"$M/a"

claim "remount,ro ends writing and rw brings it back; what was written is kept and packed"
"$DISKVFS" mount "$S" "$M" -o remount,ro
sh -c 'echo x >"$1"' - "$M/a" 2>"$T/err" && fail "writing works"
grep -q "Read-only" "$T/err" || fail "$(cat "$T/err")"
text 100000 | cmp - "$M/a"
until_true 20 test -e "$S/a.zst"
# As mount(8) gives them, with what mountinfo shows.
"$DISKVFS" "$S" "$M" -o remount,rw,nosuid,nodev,relatime,user_id=0,group_id=0,default_permissions
echo more >"$M/b"
grep -q " $M fuse.diskvfs rw,nosuid,nodev" /proc/mounts || fail "other flags: $(grep "$M" /proc/mounts)"

claim "it waits for writers, and says so"
exec 7>>"$M/b"
"$DISKVFS" mount "$S" "$M" -o remount,ro 2>"$T/err" && fail "writers were locked out"
grep -q "open for writing" "$T/err" || fail "$(cat "$T/err")"
exec 7>&-
mnt_down

claim "a mount that was made ro can not become rw, a place without a mount not be remounted"
mnt_up -o ro
"$DISKVFS" mount "$S" "$M" -o remount,rw 2>"$T/err" && fail "it became rw"
grep -q "was mounted with ro" "$T/err" || fail "$(cat "$T/err")"
mnt_down
"$DISKVFS" mount "$S" "$M" -o remount,ro 2>"$T/err" && fail "nothing was remounted"
grep -q "no store is mounted there" "$T/err" || fail "$(cat "$T/err")"

claim "with noatime reading moves no time of access, without it does"
mkdir "$S/d"
text 100000 >"$S/d/c"
past=$(touch -a -d '2001-02-03 04:05:06' "$S/d/c" "$S/a.zst" && stat -c %X "$S/d/c")
mnt_up -o noatime
cat "$M/a" "$M/d/c" >/dev/null
ls "$M/d" >/dev/null
mnt_down
[ "$(stat -c %X "$S/d/c") $(stat -c %X "$S/a.zst")" = "$past $past" ] || fail "a time moved"
mnt_up
cat "$M/a" "$M/d/c" >/dev/null
mnt_down
[ "$(stat -c %X "$S/d/c")" != "$past" ] || fail "no time moved"

claim "strictatime is taken, and changes nothing: times of access move as the filesystem below has it"
text 100000 >"$T/beside"
text 100000 >"$S/d/strict"
touch -d '1 hour ago' "$T/beside" "$S/d/strict" # of today and not before mtime: relatime leaves it
touch -a -d '30 minutes ago' "$T/beside" "$S/d/strict"
moves() { # moves FILE READ: is its time of access another one after READ was read?
	local before
	before=$(stat -c %x "$1")
	cat "$2" >/dev/null
	[ "$(stat -c %x "$1")" = "$before" ] && echo no || echo yes
}
mnt_up -o strictatime
[ "$(moves "$S/d/strict" "$M/d/strict")" = "$(moves "$T/beside" "$T/beside")" ] ||
	fail "not as a file beside the store"
[ "$(moves "$M/d/strict" "$M/d/strict")" = no ] || fail "reading from memory moved it"
mnt_down

claim "with noatime none moves of what is made, replaced, appended to, packed or streamed"
mnt_up -o noatime,settle=0
text 100000 >"$M/d/made"
text 5000 >"$M/d/replaced"
cat "$M/d/replaced" >/dev/null
text 200000 >"$M/d/replaced"
text 20000000 >"$M/d/streamed"
unread() { find "$M/d" -type f -printf '%f %A+\n' | sort; }
for round in written appended packed; do
	[ $round != appended ] || for f in made replaced streamed; do echo more >>"$M/d/$f"; done
	[ $round != packed ] || pack_now
	unread >"$T/before"
	sleep 0.01 # a later time than what was just written has
	cat "$M/d/made" "$M/d/replaced" "$M/d/streamed" >/dev/null
	dd if="$M/d/streamed" iflag=direct bs=1M status=none of=/dev/null
	unread | diff "$T/before" - || fail "reading what was $round moved a time"
done
mnt_down

# mount(8) never hands on what is the default of filesystems; its helper says dev,suid for root.
helper=$(PATH=/usr/sbin:/sbin:$PATH command -v mount.fuse3 || true)
if [ "$(id -u)" = 0 ] && [ -n "$helper" ]; then
	claim "through mount(8) set-user-id bits and device nodes count unless it is told otherwise"
	for words in rw rw,nosuid,nodev; do
		PATH=$(dirname "$DISKVFS"):$PATH "$helper" "$S" "$M" -t fuse.diskvfs -o "$words"
		dv_pid=$(stat_json .pid)
		dv_watch "$dv_pid"
		grep -q " $M fuse.diskvfs $words,relatime" /proc/mounts ||
			fail "-o $words: $(grep "$M" /proc/mounts)"
		mnt_down
	done
fi
