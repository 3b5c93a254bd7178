#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Memory is bounded by max_nodes: the daemon asks the kernel to let go of what was not looked up for long.
. "$(dirname "$0")/harness.sh"
need jq

claim "5,000 files are seen through a mount that keeps 1,024"
mkdir -p "$S/d"
for i in {1..5000}; do echo "$i" >"$S/d/$i"; done
mk_store --adopt
mnt_up -o max_nodes=1024,coherence=100
exec 7<"$M/d/17"
for pass in 1 2; do
	[ "$(find "$M/d" -type f -size -2 -printf x | wc -c)" = 5000 ] || fail "pass $pass: not all were seen"
	# It goes down in the background, to a sixteenth below.
	few() { [ "$(stat_json .nodes)" -le 1024 ]; }
	until_true 20 few
done

claim "what is open stays as it is, and is found again by its name"
read -r line <&7
[ "$line" = 17 ] || fail "the open file reads '$line'"
exec 7<&-
for i in 1 17 2500 5000; do
	[ "$(cat "$M/d/$i")" = "$i" ] || fail "$i is not found again"
done
mnt_down
