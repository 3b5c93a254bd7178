#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A mountpoint whose daemon is gone ("Transport endpoint is not connected"): ours is replaced by the next
# mount, which says so, however many lie on each other; others' are named and left alone. As root; a
# user's is in user_store.sh.
. "$(dirname "$0")/harness.sh"
need jq
[ "$(id -u)" = 0 ] || skip "needs root, to mount without a daemon"

mounts_at() { awk -v m="$M" '$5 == m' /proc/self/mountinfo | wc -l; }
stale() { # the daemon is killed
	kill -KILL "$dv_pid"
	dv_wait_end "$dv_pid" 30 || fail "SIGKILL does not end it"
	! ls "$M" >/dev/null 2>&1 || fail "the mount is not stale"
}

mk_store
claim "the next mount says so, replaces it, and finishes what was pending"
mnt_up
text 1000 >"$M/k"
text 2000 >"$M/k" # a replacement that nobody has put in place yet
stale
: >"$T/log"
mnt_up
[ "$(grep -c "mountpoint $M: cleaned up" "$T/log")" = 1 ] || fail "says: $(cat "$T/log")"
[ "$(mounts_at)" = 1 ] || fail "the stale mount is still there"
cmp "$M/k" <(text 2000)

claim "a command that is given a stale mount says so, and what to do; unmount takes it away"
stale
for c in pack unpack info keys gc\ --max-size=1M verify get has rm put import export cas\ put cas\ verify; do
	status=0
	case $c in get | has | rm | put) key=k ;; import | export) key=$T ;; *) key= ;; esac
	"$DISKVFS" $c "$M" $key >"$T/out" 2>"$T/err" </dev/null || status=$?
	[ "$status" = $([ "$c" = verify ] && echo 8 || echo 2) ] || fail "$c: status $status"
	[ ! -s "$T/out" ] && [ "$(wc -l <"$T/err")" = 1 ] || fail "$c: $(cat "$T/out" "$T/err")"
	grep -q "$M: the daemon of this mount is gone; .diskvfs mount" "$T/err" || fail "$c: $(cat "$T/err")"
done
"$DISKVFS" unmount "$M" 2>"$T/err" || fail "unmount: $(cat "$T/err")"
[ "$(mounts_at)" = 0 ] || fail "it is still there"
mnt_up
mnt_down

claim "one that a program has open is replaced too"
mnt_up
exec 8<"$M/k"
stale
mnt_up
cmp "$M/k" <(text 2000)
exec 8<&-
mnt_down

claim "a stale mount of another filesystem is named and left alone"
exec 9<>/dev/fuse
mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 alien "$M"
exec 9>&-
status=0
"$DISKVFS" mount "$S" "$M" 2>"$T/err" || status=$?
[ "$status" = 32 ] || fail "status $status: $(cat "$T/err")"
[ "$(wc -l <"$T/err")" = 1 ] && grep -q 'another filesystem.*unmount it' "$T/err" || fail "says: $(cat "$T/err")"
[ "$(mounts_at)" = 1 ] || fail "it was taken away"
umount -l "$M"
