#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Lists of steps that once told the mount from a plain directory: exerciser/steps/*.steps, as
# exerciser.sh shrinks them. The first line of each is its claim; a line "# options: ..." may follow.
. "$(dirname "$0")/harness.sh"
. "$(dirname "$0")/backing.sh"
need jq zstd
: "${EXERCISER:?set EXERCISER to the program built from exerciser/}"

backing_up
mk_store --frame-size 16384
mnt_up -o dev,settle=1
for file in "$here"/exerciser/steps/*.steps; do
	claim "$(basename "$file" .steps): $(sed -n '1s/^# //p' "$file")"
	"$EXERCISER" "$DISKVFS" "$S" "$M" "$P" -r "$file" -o "$(sed -n 's/^# options: //p' "$file")" \
		2>"$T/told" || { cat "$T/told"; fail "$file"; }
	dv_pid=$(stat_json .pid)
	dv_pids="$dv_pids $dv_pid"
done
mnt_down
all_zst_good
backing_down
