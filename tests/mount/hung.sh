#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A filesystem whose server never answers is mounted in the store: nobody waits for it, but who uses what is
# mounted there himself. In a mount namespace of its own, so that nobody else's df waits for it either.
[ -n "${HUNG_NAMESPACE-}" ] || { unshare -m true 2>/dev/null &&
	HUNG_NAMESPACE=1 exec unshare -m --propagation private bash "$0" "$@"; }
. "$(dirname "$0")/harness.sh"
need jq setpriv
[ "$(id -u)" = 0 ] && [ -n "${HUNG_NAMESPACE-}" ] || skip "needs root and a mount namespace"
soon() { timeout --kill-after=5 60 "$@"; } # 124 or 137: it was held up
in_time() { # in_time COMMAND...: its status does not matter
	local status=0
	soon "$@" >"$T/out" 2>&1 || status=$?
	case $status in 124 | 137) fail "held up: $*" ;; esac
}
# plant PATH: for ever, since nobody reads what the kernel asks.
plant() {
	exec 9<>/dev/fuse
	mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0,allow_other hung "$1"
}
unplant() {
	umount -l "$1"
	exec 9>&-
}
use() { # all that looks at the store
	in_time ls -l "$M" "$M/d"
	in_time find "$M/d" -name x
	in_time cat "$M/a"
	in_time sh -c 'echo new >"$0/d/new"; echo more >>"$0/a"; mv "$0/d/new" "$0/d/newer"; rm "$0/d/newer"' "$M"
	in_time mv "$M/d/hung" "$M/d/moved"
	in_time rmdir "$M/d/hung"
	in_time "$DISKVFS" pack "$M"
	in_time "$DISKVFS" info "$M"
	in_time "$DISKVFS" verify "$S"
	for command in "keys $S" "keys -l $S" "get $S a" "unpack $M"; do in_time "$DISKVFS" $command; done
	rm -rf "$T/exported"
	mkdir "$T/exported"
	in_time "$DISKVFS" export "$S" "$T/exported"
}

mk_store
mkdir -p "$S/d/hung" "$S/d/sub"
text 50000 >"$S/a"
text 50000 >"$S/d/b"

claim "planted before the mount: the mount, its users, and the commands do not wait for it"
plant "$S/d/hung"
! timeout 1 stat "$S/d/hung" >/dev/null 2>&1 || fail "it answers; this test shows nothing"
mnt_up -o settle=0,coherence=0
use
same "$M/d/b" <(text 50000)
in_time "$DISKVFS" unmount "$M"
dv_wait_end "$dv_pid" 60 || fail "the daemon does not end"
in_time "$DISKVFS" pack "$S"
in_time "$DISKVFS" verify "$S" --repair
unplant "$S/d/hung"

claim "planted while the kernel knows what is there"
mnt_up -o settle=0,coherence=0
ls -lR "$M" >/dev/null
plant "$S/d/hung"
use
same "$M/d/b" <(text 50000)
unplant "$S/d/hung"
ls "$M/d/hung" >/dev/null || fail "what is no mount any more"

claim "planted in the place of a value's file"
exec 9<>/dev/fuse
mount -i -t fuse -o fd=9,rootmode=100000,user_id=0,group_id=0,allow_other hung "$S/d/b"
! timeout 1 stat "$S/d/b" >/dev/null 2>&1 || fail "it answers"
use
unplant "$S/d/b"
same "$M/d/b" <(text 50000)
[ "$(tail -n 1 "$M/a")" = more ] || fail "an append is lost"
mnt_down
