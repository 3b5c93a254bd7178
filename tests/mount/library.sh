#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The library beside a mount of the same store: what the one writes the other sees, both at once change
# the same values, and neither loses or mixes anything.
. "$(dirname "$0")/harness.sh"
need jq python3
: "${LIBRARY:?set LIBRARY to libdiskvfs.so}"

mk_store
mnt_up -o coherence=0,settle=0
python3 -X faulthandler "$here/library.py" "$LIBRARY" "$S" "$M" || fail "see above"

claim "at rest the mount, the library and the store agree"
mnt_down
mnt_up -o ro
python3 "$here/library.py" "$LIBRARY" "$S" "$M" --agree || fail "see above"
all_zst_good
mnt_down
