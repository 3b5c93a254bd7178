#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Files made to cost their reader memory, time or room: zstd, gzip and zlib bombs, sizes of 2^40 and more, frames,
# members and blocks without end, tables and windows that lie. BOMB_MB, BOMB_MANY: how large, how many.
. "$(dirname "$0")/harness.sh"
need python3

claim "each is what it holds, or an error that names it, to every command and in a mount, in bounded memory"
export T DISKVFS
python3 "$here/bombs.py" || fail "see above"
