#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Lists of steps that once showed an error: exerciser/steps/*.steps and data_exerciser/steps/*.steps,
# as the exercisers shrink them. The first line of each is its claim; a line "# options: ..." may
# follow.
. "$(dirname "$0")/harness.sh"
. "$(dirname "$0")/backing.sh"
need jq zstd
: "${EXERCISER:?set EXERCISER to the program built from exerciser/}"
: "${DATA_EXERCISER:?set DATA_EXERCISER to the program built from data_exerciser/}"

backing_up
mk_store --frame-size 16384
mnt_up -o dev,settle=1

# replay FILE COMMAND...
replay() {
	local file=$1
	shift
	claim "$(basename "$file" .steps): $(sed -n '1s/^# //p' "$file")"
	"$@" -r "$file" -o "$(sed -n 's/^# options: //p' "$file")" 2>"$T/told" ||
		{ cat "$T/told"; fail "$file"; }
	dv_pid=$(stat_json .pid)
	dv_watch "$dv_pid"
}

for file in "$here"/exerciser/steps/*.steps; do
	replay "$file" "$EXERCISER" "$DISKVFS" "$S" "$M" "$P"
done
for file in "$here"/data_exerciser/steps/*.steps; do
	replay "$file" "$DATA_EXERCISER" "$DISKVFS" "$S" "$M"
done
mnt_down
all_zst_good
backing_down
