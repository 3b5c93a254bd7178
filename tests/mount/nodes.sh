#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Memory is bounded by max_nodes: the daemon asks the kernel to let go of what was not looked up for
# long, and keeps up with those who look up.
# NODES_FILES: how many files there are (5000); NODES_MAX: max_nodes (1024); NODES_PRELOAD: a library
# by which the kernel does not know how to prune.
. "$(dirname "$0")/harness.sh"
need jq
: "${NODES_FILES:=5000}" "${NODES_MAX:=1024}"

cache_mb=16
# seen DIR...: how many of their files are seen.
seen() { find "$@" -type f -size -2 -printf x | wc -c; }
same_folder() { [ "$(/bin/pwd -P)" = "$M/tree/1/sub" ] && [ . -ef "$M/tree/1/sub" ]; }
few() { [ "$(stat_json .nodes)" -le "$NODES_MAX" ]; }

claim "$NODES_FILES files are seen through a mount that keeps $NODES_MAX"
mkdir -p "$S"/d{0,1,2,3}
awk -v n="$NODES_FILES" -v s="$S" 'BEGIN {
	for (i = 1; i <= n; i++) {
		f = s "/d" i % 4 "/" i
		printf "%s", i <= 5000 ? i "\n" : "" >f
		close(f)
	}
}'
[ "$NODES_FILES" -ge 50000 ] || seq -f "$S/tree/%g/sub" 1 "$NODES_MAX" | xargs mkdir -p
mk_store --adopt
LD_PRELOAD=${NODES_PRELOAD-} mnt_up -o "max_nodes=$NODES_MAX,cache_size=${cache_mb}M,coherence=100"
exec 7<"$M/d1/17"
for pass in 1 2; do
	[ $((pass * NODES_FILES)) -le 50000 ] || break
	[ "$(seen "$M"/d?)" = "$NODES_FILES" ] || fail "pass $pass: not all were seen"
done

claim "and through three walks at once, of one directory"
for walk in 1 2 3; do
	seen "$M/d0" >"$T/seen.$walk" &
done
wait
for walk in 1 2 3; do
	[ "$(<"$T/seen.$walk")" = $((NODES_FILES / 4)) ] || fail "walk $walk has not seen all"
done

claim "the kernel never held more than that and what a moment brings, and soon fewer"
peak=$(stat_json .nodes_peak)
echo "  at most $peak of $NODES_MAX"
[ "$peak" -le $((NODES_MAX + NODES_MAX / 4 + 512)) ] || fail "there were $peak nodes"
until_true 20 few

if [ "$NODES_FILES" -lt 50000 ]; then
	claim "directories are let go too where the kernel can prune; a working directory stays one"
	pruned=$(stat_json .nodes_pruned)
	[ -z "${NODES_PRELOAD-}" ] || [ "$pruned" = 0 ] || fail "$pruned were pruned"
	cd "$M/tree/1/sub"
	[ "$(find "$M/tree" -type d -perm -u=x | wc -l)" = $((2 * NODES_MAX + 1)) ] || fail "not all were seen"
	if [ "$pruned" -gt 0 ]; then
		until_true 20 few
	fi
	seen "$M/d0" >/dev/null
	same_folder || fail "the working directory is another, or has no name"
	cd "$T"
fi

if [ "$NODES_FILES" -ge 50000 ]; then # the few are for the sanitizers, which need more
	claim "the daemon is within cache_size, 64 MiB and 400 bytes for each of max_nodes"
	hwm=$(awk '/^VmHWM/ { print $2 }' "/proc/$dv_pid/status")
	echo "  VmHWM $hwm KiB"
	[ "$hwm" -le $(((cache_mb + 64) * 1024 + NODES_MAX * 400 / 1024)) ] ||
		fail "the daemon took $hwm KiB"
fi

claim "what is open stays as it is, and is found again by its name"
read -r line <&7
[ "$line" = 17 ] || fail "the open file reads '$line'"
exec 7<&-
for i in 1 17 2500 5000; do
	[ "$(cat "$M/d$((i % 4))/$i")" = "$i" ] || fail "$i is not found again"
done
mnt_down
