#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Each call of a command about files fails, is interrupted, or does half of its work: nothing is lost, and the
# next run does the rest. OPERATIONS, one a line: those alone; CALLS_SLOW: every errno.
. "$(dirname "$0")/harness.sh"
: "${BROKEN_CALLS:?}"
need python3 zstd

claim "export, gc, import, pack, unpack, get, keys and verify, whichever call fails"
export T DISKVFS BROKEN_CALLS
mapfile -t operations < <(printf '%s' "${OPERATIONS-}")
python3 "$here/calls.py" ${operations[@]+"${operations[@]}"} || fail "see above"
