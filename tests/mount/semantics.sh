#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The same calls on the mount and on a plain directory of the filesystem below: semantics.c.
. "$(dirname "$0")/harness.sh"
. "$(dirname "$0")/backing.sh"
need jq
: "${SEMANTICS:?set SEMANTICS to the program built from semantics.c}"

backing_up
mk_store
mnt_up -o dev,suid,settle=3600
mkdir "$T/out"
claim "files that are raw, packed, remounted: every result, errno, attribute and byte is the same"
"$SEMANTICS" "$DISKVFS" "$S" "$M" "$P" "$T/out" || fail "see above"
dv_pid=$(stat_json .pid)
dv_watch "$dv_pid"
mnt_down
backing_down
