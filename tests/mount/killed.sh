#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A daemon that is killed at the worst moment for the kernel: who uses the mount is told so, and does not wait.
. "$(dirname "$0")/harness.sh"
need jq python3
[ "$(id -u)" = 0 ] || skip "needs root"
grep -q -x 'TracerPid:	0' /proc/self/status || skip "is traced itself"

mk_store
for _ in 1 2 3; do
	claim "while it asks its own mount whether a value has a writer"
	mnt_up -o settle=0,coherence=0
	text 100 >"$M/value"
	status=0
	timeout --kill-after=5 60 python3 "$here/killed_probe.py" "$M" "$dv_pid" >"$T/out" 2>&1 || status=$?
	[ "$status" != 77 ] || skip "$(cat "$T/out")"
	[ "$status" = 0 ] || fail "$(cat "$T/out")"
	status=0
	timeout --kill-after=5 30 stat "$M/value" >"$T/out" 2>&1 || status=$?
	[ "$status" = 1 ] || umount -f "$M" || true # else the rest would wait, too
	[ "$status" = 1 ] || fail "stat: status $status, $(cat "$T/out")"
	# Who asks while the connection is being closed is told the other one.
	grep -q -e 'Transport endpoint is not connected' -e 'Software caused connection abort' "$T/out" ||
		fail "$(cat "$T/out")"
	dv_wait_end "$dv_pid" 30 || fail "the daemon does not end"
	claim "and the next mount has what was acknowledged"
	mnt_up
	[ "$(cat "$M/value")" = new ] || fail "$(cat "$M/value")"
	mnt_down
done
