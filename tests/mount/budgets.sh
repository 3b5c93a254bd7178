#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# How many messages the kernel sends for each operation, against the budgets, as root and as a user.
. "$(dirname "$0")/harness.sh"
need jq python3 setpriv tar

# A copy: the other user may not be able to read where the tests are.
cp "$here/budgets.py" "$T/"
chmod 644 "$T/budgets.py"

run_budgets() { # run_budgets [command to run under]
	"$@" python3 "$T/budgets.py" prepare "$M" || fail "prepare"
	# Cold is a new mount: the kernel knows nothing of it yet. Nothing is dropped from the page
	# cache of the machine, which other tests share.
	remount
	"$@" python3 "$T/budgets.py" cold "$M" || fail "cold, $*"
	remount
	"$@" python3 "$T/budgets.py" listed "$M" || fail "after a listing, $*"
	"$@" python3 "$T/budgets.py" warm "$M" || fail "warm, $*"
}

# Long coherence and settle: nothing expires and nothing is packed while messages are counted.
options=coherence=100,settle=100
remount() {
	mnt_down
	mnt_up -o "$options"
}

claim "budgets, as root"
mk_store
mnt_up -o "$options"
run_budgets

claim "tar c to a pipe: no message for what is warm, at most 3 a file for what is cold"
mkdir "$M/tree"
for i in {1..200}; do text 3000 >"$M/tree/$i"; done
to_pipe() { tar -C "$M" -cf - tree | cat >/dev/null; }
remount
msgs to_pipe
[ "$messages" -le $((3 * 200 + 30)) ] || fail "cold: $messages messages for 200 files"
# The first READ of a file leaves its atime stale; one more pass settles that.
to_pipe
msgs to_pipe
[ "$messages" -le 4 ] || fail "warm: $messages messages for 200 files"

claim "a packed value costs no more than a raw one"
mkdir "$M/packed"
for i in {1..50}; do text 30000 >"$M/packed/$i"; done
pack_now
[ "$(store_form packed/7)" = packed ]
remount
read_all() { cat "$M"/packed/{1..50} >/dev/null; }
msgs read_all
[ "$messages" -le $((2 * 50 + 6)) ] || fail "cold: $messages messages for 50 values"
read_all
msgs read_all
[ "$messages" -le 1 ] || fail "warm: $messages messages for 50 values"
mnt_down

claim "budgets, as a user"
rm -rf "$S"
mk_store
mnt_up -o "$options,allow_other"
# A directory of that user: of the root directory of another one the kernel never caches the ACL, and
# asks for it with each path (a caveat of the README; noacl ends it).
chown 12345:12345 "$M"
options=$options,allow_other
run_budgets setpriv --reuid=12345 --regid=12345 --clear-groups
mnt_down
