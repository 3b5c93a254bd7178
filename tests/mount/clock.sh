#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Clocks that step: the daemon's wall clock is set on and back while it is mounted and while it is dead, files of
# the store have times to come and of long ago, and daemons of one store were started in time namespaces whose
# uptimes differ. What was written is there, in each of them.
. "$(dirname "$0")/harness.sh"
: "${BROKEN_CLOCK:?}"
need jq diff

P=$T/plain
mkdir "$P"
set_clock() { echo "$1" >"$T/offset"; }
up() { # up [OPTIONS]
	LD_PRELOAD=$BROKEN_CLOCK CLOCK_OFFSET=$T/offset mnt_up -o "coherence=0,settle=1,sandbox=no${1:+,$1}"
}
killed() {
	kill -KILL "$dv_pid"
	dv_wait_end "$dv_pid" 20 || fail "the daemon does not end"
	umount -l "$M"
}
alike() { diff -r --exclude=.diskvfs "$P" "$M" || fail "$1"; }
# In both: what programs do to files.
both() { # both NAME
	local d
	for d in "$P" "$M"; do
		text 9000 >"$d/new-$1"
		text $((7000 + ${#1})) >"$d/replaced"
		echo "$1" >>"$d/log"
		printf %s "$1" | dd of="$d/edited" bs=1 seek=5000 conv=notrunc status=none
		text 8000 >"$d/tmp"
		mv "$d/tmp" "$d/moved"
		cp -p "$d/moved" "$d/copied"
		rm "$d/removed"
		text 6000 >"$d/removed"
	done
}
text 30000 >"$P/edited"
for name in replaced removed log; do text 20000 >"$P/$name"; done

for layout in '' diskv:gzip; do
	rm -rf "$S"
	mk_store ${layout:+--layout "$layout"}
	set_clock 0
	up
	cp "$P"/* "$M"
	pack_now
	claim "${layout:-own layout}: the daemon's clock is set by hours and by years while it works"
	for seconds in 3600 -3600 0 7200 -86400 31536000 -31536000 0; do
		set_clock "$seconds"
		both "$seconds"
		alike "at $seconds"
		pack_now
		alike "packed at $seconds"
		now=$(date +%s)
		[ $((now - $(stat -c %Y "$M/replaced"))) -lt 100 ] || fail "at $seconds it was written when it was not"
		before=$(stat_json .bytes.written)
		echo more | tee -a "$P/log" >>"$M/log"
		[ "$(stat_json .bytes.written)" -gt "$before" ] || fail "the counters stand still"
	done

	claim "${layout:-own layout}: it is set while the daemon is dead, which had much pending"
	for seconds in 3600 -3600 0; do
		exec 8>"$M/replaced"
		text 5000 >&8
		text 5000 >"$P/replaced"
		both "dead $seconds"
		exec 8>&-
		text 4000 >"$M/replaced" # an hour later, or before, by the next daemon's clock
		text 4000 >"$P/replaced"
		killed
		set_clock "$seconds"
		up
		alike "after a kill, at $seconds"
	done

	claim "${layout:-own layout}: files of the store have times to come, or of long ago: replaced, killed, packed"
	for when in '+1 hour' '+10 years' '1971-01-01' '-1 hour'; do
		find "$S" -name .diskvfs -prune -o -type f -exec touch -c -d "$when" {} + # and makes none that was packed meanwhile
		alike "touched $when"
		text 3000 >"$M/replaced"
		text 3000 >"$P/replaced"
		echo "$when" | tee -a "$P/log" >>"$M/log"
		text 2000 >"$M/removed"
		text 2000 >"$P/removed"
		killed
		up
		alike "killed, $when"
		pack_now
		rm "$M/copied" "$P/copied" "$M/moved" "$P/moved"
		cp "$P/log" "$P/moved"
		cp "$P/log" "$M/moved"
		cp "$P/log" "$P/copied"
		cp "$P/log" "$M/copied"
		alike "packed, $when"
	done
	mnt_down
	"$DISKVFS" verify "$S" >"$T/out" || fail "$(cat "$T/out")"
	[ -z "$(ls "$S/.diskvfs/lost" 2>/dev/null)" ] || fail "put aside: $(ls "$S/.diskvfs/lost")"
	rm -f "$P"/new-*
done

claim "a raw value is replaced after its clock was set back, and the daemon is killed: the new one counts"
rm -rf "$S"
mk_store
set_clock 0
up nopack='*'
text 9000 >"$M/k"
touch -d '+1 hour' "$S/k"
text 5000 >"$M/k"
killed
up nopack='*'
same "$M/k" <(text 5000)
mnt_down
[ -z "$(ls "$S/.diskvfs/lost" 2>/dev/null)" ] || fail "put aside: $(ls "$S/.diskvfs/lost")"

if unshare --time --boottime 1000 --monotonic 1000 true 2>/dev/null; then
	claim "mounts of machines' namespaces with other uptimes: none takes the living one's work, the dead one's is finished"
	other=$T/other
	mkdir "$other"
	# It has been up for less than the first, and for more.
	for uptime in "-$(cut -d. -f1 /proc/uptime)" 1000000; do
		mnt_up -o coherence=0,settle=3600
		first=$dv_pid
		text 9000 >"$M/k"
		pack_now
		exec 8>"$M/k"
		text 3000 >&8
		unshare --time --boottime "$uptime" --monotonic "$uptime" \
			"$DISKVFS" mount "$S" "$other" -o coherence=0,settle=3600 8>&- >>"$T/log" 2>&1 ||
			fail "uptime $uptime: $(tail -n 1 "$T/log")"
		dv_watch "$(jq -r .pid "$other/.diskvfs/stats")"
		same "$other/k" <(text 9000) # the old value, until the writer is gone
		text 3000 >&8
		exec 8>&-
		(text 3000; text 3000) >"$T/want"
		until_true 20 cmp -s "$other/k" "$T/want"
		text 4000 >"$M/k"
		kill -KILL "$first"
		dv_wait_end "$first" 20 || fail "the daemon does not end"
		umount -l "$M"
		exec 8>"$other/j"
		text 3000 >&8
		mnt_up -o coherence=0,settle=3600 8>&-
		same "$M/k" <(text 4000)
		same "$other/k" <(text 4000)
		text 3000 >&8
		exec 8>&-
		"$DISKVFS" unmount "$other" >>"$T/log"
		same "$M/j" "$T/want"
		mnt_down
		[ -z "$(ls "$S/.diskvfs/lost" 2>/dev/null)" ] || fail "put aside: $(ls "$S/.diskvfs/lost")"
	done
fi
