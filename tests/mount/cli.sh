#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The command line: what works, and each error with its status and its one line.
#
# Exit statuses: 1 a call that can not be right (words, options, ranges); 2 the work failed, where it is a
# mount 32, as mount(8) has it. path uses 1 for a key that does not exist; it prints its place all the same.
. "$(dirname "$0")/harness.sh"
need jq

# refused STATUS PATTERN COMMAND...: fails so, nothing on stdout, one line on stderr that fits.
refused() {
	local want=$1 pattern=$2 status=0
	shift 2
	"$@" >"$T/out" 2>"$T/err" </dev/null || status=$?
	[ "$status" = "$want" ] || fail "status $status, not $want, of: $* ($(cat "$T/err"))"
	[ ! -s "$T/out" ] || fail "writes to stdout: $*"
	[ "$(wc -l <"$T/err")" = 1 ] || fail "not one line on stderr: $*: $(cat "$T/err")"
	grep -qiE -- "$pattern" "$T/err" || fail "'$(cat "$T/err")' does not say '$pattern'"
	! is_mounted || fail "it is mounted all the same"
}

claim "--help and --version go to stdout and succeed"
"$DISKVFS" --help >"$T/out" 2>"$T/err"
[ ! -s "$T/err" ] || fail "--help writes to stderr"
for word in init mount unmount pack path; do
	grep -qw -- "$word" "$T/out" || fail "--help does not mention $word"
done
"$DISKVFS" mount --help >"$T/out" 2>"$T/err"
[ ! -s "$T/err" ] || fail "mount --help writes to stderr"
for word in compress frame_size cache_size transform settle coherence threads ro; do
	grep -qw -- "$word" "$T/out" || fail "mount --help does not mention $word"
done
for word in init unmount pack path; do
	"$DISKVFS" $word --help | grep -q . || fail "$word --help prints nothing"
done
"$DISKVFS" --version | grep -qE '[0-9]+\.[0-9]+\.[0-9]+' || fail "--version shows none"

claim "words that are no command are refused"
status=0
"$DISKVFS" >"$T/out" 2>"$T/err" </dev/null || status=$?
[ "$status" = 1 ] || fail "no arguments: status $status"
[ -s "$T/err" ] || fail "no arguments: says nothing"
status=0
"$DISKVFS" frobnicate >"$T/out" 2>"$T/err" </dev/null || status=$?
[ "$status" = 1 ] || fail "unknown command: status $status"

claim "init makes a store: a folder with .diskvfs (0700) and a config of name=value lines"
"$DISKVFS" init "$S"
[ "$(stat -c %a "$S/.diskvfs")" = 700 ] || fail ".diskvfs has mode $(stat -c %a "$S/.diskvfs")"
grep -qx 'transform=path' "$S/.diskvfs/config"
grep -qx 'compress=zstd:3' "$S/.diskvfs/config"
grep -qx 'frame_size=131072' "$S/.diskvfs/config"
[ "$(ls "$S")" = "" ] || fail "init put files into the store"

claim "init refuses what it must"
refused 2 'already' "$DISKVFS" init "$S"
mkdir "$T/full" && echo x >"$T/full/x"
refused 2 'adopt|empty|files' "$DISKVFS" init "$T/full"
[ ! -e "$T/full/.diskvfs" ] || fail "it made a store all the same"
: >"$T/file"
refused 2 'director|folder' "$DISKVFS" init "$T/file"
refused 1 'transform' "$DISKVFS" init "$T/s1" --transform sideways
refused 1 'compress' "$DISKVFS" init "$T/s1" --compress lzma
refused 1 'compress: .zstd:99. is not one of .*-7 to 19' "$DISKVFS" init "$T/s1" --compress zstd:99
refused 1 'frame' "$DISKVFS" init "$T/s1" --frame-size 5
refused 1 'frame' "$DISKVFS" init "$T/s1" --frame-size 1000000000
refused 1 'option' "$DISKVFS" init "$T/s1" --sideways
[ ! -e "$T/s1/.diskvfs" ] || fail "a refused init made a store"

claim "init's options are remembered"
"$DISKVFS" init "$T/s2" --transform split:2x3 --compress zstd:7 --frame-size 65536
grep -qx 'transform=split:2x3' "$T/s2/.diskvfs/config"
grep -qx 'compress=zstd:7' "$T/s2/.diskvfs/config"
grep -qx 'frame_size=65536' "$T/s2/.diskvfs/config"
"$DISKVFS" init "$T/s3" --compress none
grep -qx 'compress=none' "$T/s3/.diskvfs/config"
"$DISKVFS" init "$T/full" --adopt
echo x | cmp - "$T/full/x"

claim "mount refuses what it must"
mkdir -p "$M" "$T/plain"
refused 1 'option' "$DISKVFS" mount "$S" "$M" -o sideways
refused 1 'option' "$DISKVFS" mount "$S" "$M" -o cache_sise=1M
refused 1 'cache_size' "$DISKVFS" mount "$S" "$M" -o cache_size=-1
refused 1 'cache_size' "$DISKVFS" mount "$S" "$M" -o cache_size=lots
refused 1 'frame_size' "$DISKVFS" mount "$S" "$M" -o frame_size=5
refused 1 'frame_size' "$DISKVFS" mount "$S" "$M" -o frame_size=1G
refused 1 'settle' "$DISKVFS" mount "$S" "$M" -o settle=-1
refused 1 'coherence' "$DISKVFS" mount "$S" "$M" -o coherence=soon
refused 1 'threads' "$DISKVFS" mount "$S" "$M" -o threads=100000
refused 1 'compress' "$DISKVFS" mount "$S" "$M" -o compress=zstd:99
refused 32 'missing|no such|not exist|not found' "$DISKVFS" mount "$T/nowhere" "$M"
refused 32 'missing|no such|not exist|not found' "$DISKVFS" mount "$S" "$T/nowhere"
refused 32 'not a store|init' "$DISKVFS" mount "$T/plain" "$M"
[ -z "$(ls -A "$T/plain")" ] || fail "a refused mount wrote into the folder"
refused 32 'director|folder' "$DISKVFS" mount "$S" "$T/file"
refused 32 'director|folder|not a store' "$DISKVFS" mount "$T/file" "$M"
refused 32 'transform' "$DISKVFS" mount "$S" "$M" -o transform=flat
mkdir "$S/inner"
refused 32 'inside|within|beneath|below|lies in|holds|contains' "$DISKVFS" mount "$S" "$S/inner"
rmdir "$S/inner"
mkdir -p "$T/outer"
"$DISKVFS" init "$T/outer/store"
refused 32 'inside|within|beneath|below|lies in|holds|contains' "$DISKVFS" mount "$T/outer/store" "$T/outer"
refused 32 'inside|within|beneath|below|lies in|holds|contains|same' "$DISKVFS" mount "$S" "$S"
cp -a "$S" "$T/newer"
sed -i 's/^format=.*/format=1000/' "$T/newer/.diskvfs/config"
refused 32 'newer|format' "$DISKVFS" mount "$T/newer" "$M"
cp -a "$S" "$T/broken"
echo 'frame_size=banana' >>"$T/broken/.diskvfs/config"
refused 32 'frame_size' "$DISKVFS" mount "$T/broken" "$M"
[ "$(ls -A "$S")" = .diskvfs ] || fail "refused mounts left something in the store"

claim "a mount is usable when the command returns 0"
mnt_up
echo hello >"$M/greeting"
is_mounted || fail "not in mountinfo"
awk -v m="$M" '$5 == m' /proc/self/mountinfo | grep -q 'nosuid,nodev' || fail "not nosuid,nodev"
awk -v m="$M" '$5 == m' /proc/self/mountinfo | grep -q ' fuse\.diskvfs ' || fail "not fuse.diskvfs"
awk -v m="$M" '$5 == m' /proc/self/mountinfo | grep -q 'default_permissions' ||
	fail "not default_permissions"

claim "the counters are JSON, openable, and not listed"
[ "$(ls -A "$M")" = greeting ] || fail "listing: $(ls -A "$M")"
[ "$(stat_json '.messages | type')" = object ] || fail "no messages in stats"
[ "$(stat_json '.own_messages | type')" = object ] || fail "no own_messages in stats"
[ "$(stat_json '.messages_total | type')" = number ] || fail "no messages_total in stats"
kill -0 "$(stat_json .pid)" || fail "no such daemon"

claim "a busy mountpoint is refused, and says so"
status=0
"$DISKVFS" mount "$S" "$M" 2>"$T/err" || status=$?
[ "$status" = 32 ] || fail "status $status"
grep -qiE 'busy|already|mounted' "$T/err" || fail "says: $(cat "$T/err")"
[ "$(awk -v m="$M" '$5 == m' /proc/self/mountinfo | wc -l)" = 1 ] || fail "mounted twice"

claim "path prints where a value lies, mounted or not, there or not"
p=$("$DISKVFS" path "$S" greeting)
[ "$p" = greeting ] || [ "$p" = "$S/greeting" ] || fail "prints $p"
status=0
"$DISKVFS" path "$S" absent >"$T/out" || status=$?
[ "$status" = 1 ] || fail "a key that is not there: status $status"
grep -q 'absent$' "$T/out" || fail "prints $(cat "$T/out")"
for key in '' .. a/../b .diskvfs/config; do
	status=0
	"$DISKVFS" path "$S" "$key" >"$T/out" 2>"$T/err" || status=$?
	[ "$status" = 2 ] && grep -q 'is no key' "$T/err" && [ ! -s "$T/out" ] || fail "'$key': $status $(cat "$T/out" "$T/err")"
done
refused_path=0
"$DISKVFS" path "$T/plain" x 2>"$T/err" || refused_path=$?
[ "$refused_path" != 0 ] || fail "path of a folder that is no store succeeds"

claim "pack packs through the mount, and through the store of the mount"
text 50000 >"$M/one"
"$DISKVFS" pack "$M"
[ -f "$S/one.zst" ] && [ ! -e "$S/one" ] || fail "one is not packed"
text 50000 >"$M/two"
"$DISKVFS" pack "$S"
[ -f "$S/two.zst" ] && [ ! -e "$S/two" ] || fail "two is not packed"
[ "$(store_form two)" = packed ] || fail "form of two: $(store_form two)"
[ "$(store_form greeting)" = raw ] || fail "form of greeting: $(store_form greeting)"

claim "the control file packs too"
text 50000 >"$M/three"
echo pack >"$M/.diskvfs/control"
until_true 30 test -f "$S/three.zst"

claim "the folder .diskvfs of the mount can not be written over or removed"
! rmdir "$M/.diskvfs" 2>/dev/null || fail "rmdir of .diskvfs"
! rm -f "$M/.diskvfs/stats" 2>/dev/null || fail "rm of stats"
! mkdir "$M/.diskvfs" 2>/dev/null || fail "mkdir of .diskvfs"

claim "unmount finishes, unmounts and waits for the daemon"
text 50000 >"$M/last"
mnt_down
stored last | cmp - <(text 50000)
refused 2 'not mounted|not a mount|no mount|no diskvfs' "$DISKVFS" unmount "$M"

claim "pack works on a store that is not mounted"
echo new >"$S/small"
text 50000 >"$S/outside"
"$DISKVFS" pack "$S"
[ -f "$S/outside.zst" ] && [ ! -e "$S/outside" ] || fail "outside is not packed"
zstdcat "$S/outside.zst" | cmp - <(text 50000)
status=0
"$DISKVFS" pack "$T/plain" 2>"$T/err" || status=$?
[ "$status" != 0 ] || fail "pack of a folder that is no store succeeds"

claim "fusermount3 -u and SIGTERM end it too, and lose nothing"
mnt_up
text 40000 >"$M/four"
fusermount3 -u "$M"
dv_wait_end "$dv_pid" 30 || fail "the daemon stays after fusermount3 -u"
stored four | cmp - <(text 40000)
mnt_up
text 41000 >"$M/five"
kill -TERM "$dv_pid"
dv_wait_end "$dv_pid" 30 || fail "the daemon stays after SIGTERM"
! is_mounted || fail "SIGTERM left it mounted"
stored five | cmp - <(text 41000)

claim "the bare form that mount(8) calls works, fstab's words are accepted"
"$DISKVFS" "$S" "$M" -o rw,noatime,nofail,noauto,_netdev,x-systemd.automount
dv_pid=$(stat_json .pid) && dv_watch "$dv_pid"
cmp "$M/five" <(text 41000)
mnt_down

claim "-o ro writes nothing at all"
before=$(find "$S" -printf '%p %i %s %T@ %C@\n' | sort)
mnt_up -o ro
cmp "$M/five" <(text 41000)
! (: >"$M/x") 2>/dev/null || fail "it can be written"
mnt_down
[ "$before" = "$(find "$S" -printf '%p %i %s %T@ %C@\n' | sort)" ] || fail "the store has changed"

claim "a stale mount is named as what it is"
mnt_up
kill -KILL "$dv_pid"
dv_wait_end "$dv_pid" 30
status=0
"$DISKVFS" mount "$S" "$M" 2>"$T/err" || status=$?
if [ "$status" != 0 ]; then
	[ "$status" = 32 ] || fail "status $status"
	grep -qiE 'stale|umount|unmount' "$T/err" || fail "says: $(cat "$T/err")"
	umount -l "$M"
else
	dv_pid=$(stat_json .pid) && dv_watch "$dv_pid"
	mnt_down
fi

claim "who reads what mount prints comes to its end, and the daemon keeps nothing open that its caller had"
mkdir -p "$M"
"$DISKVFS" mount "$S" "$M" 2>&1 | timeout 60 cat >"$T/out" || fail "it does not end: $(cat "$T/out")"
[ ! -s "$T/out" ] || fail "$(cat "$T/out")"
dv_pid=$(stat_json .pid) && dv_watch "$dv_pid"
mnt_down
exec 9>"$T/of the caller"
mnt_up
! ls -l "/proc/$dv_pid/fd" | grep -q 'of the caller' || fail "$(ls -l "/proc/$dv_pid/fd")"
exec 9>&-
mnt_down

claim "an unknown option is named, not what stands beside it; and how a key is given that begins with a dash"
echo dash | "$DISKVFS" put "$S" -- -dash
for c in "put $S -dash" "get $S -dash" "has -dash $S" "rm --quiet -dash $S" "keys -dash $S"; do
	refused 2 'unknown option -d; a key that begins with - comes behind --; [a-z]* --help' "$DISKVFS" $c
done
for c in "unmount -dash $M" "unpack $S -dash" "path $S -dash" "info $S -dash"; do
	refused 1 'unknown option -d; a key that begins' "$DISKVFS" $c
done
refused 2 'unknown option; a key that begins with - comes behind --;' "$DISKVFS" get "$S" $'-\303\251'
refused 2 'unknown option --sideways;' "$DISKVFS" get --sideways "$S" k
refused 1 'unknown option --sideways' "$DISKVFS" path "$S" k --sideways
refused 2 'option --sync=1 takes no value;' "$DISKVFS" put "$S" k --sync=1
refused 2 'option --quiet=1 takes no value;' "$DISKVFS" get --quiet=1 "$S" k
refused 2 'option --limit needs a value;' "$DISKVFS" keys "$S" --limit
[ "$("$DISKVFS" get "$S" -- -dash)" = dash ] || fail "-dash is gone"
"$DISKVFS" rm "$S" -- -dash

claim "where it can not give new files to who makes them it says so"
as_root() { [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; }
if as_root; then
	for cap in setuid setgid setpcap; do
		rm -rf "$T/s4"
		setpriv --bounding-set=-$cap "$DISKVFS" init "$T/s4" 2>"$T/err"
		grep -q '^diskvfs: no CAP_.*: new files belong to' "$T/err" || fail "-$cap: $(cat "$T/err")"
	done
fi

claim "a limit of its caller on the size of files does not end the daemon, nor does it hold where it may be lifted"
for limit in -Sf -f; do
	[ "$limit" = -Sf ] || as_root || continue
	ulimit_and_mount() { (ulimit "$limit" 100 && mnt_up && echo "$dv_pid" >"$T/pid"); }
	ulimit_and_mount
	dv_pid=$(cat "$T/pid") && dv_watch "$dv_pid"
	noise 300000 >"$M/limited" || fail "ulimit $limit"
	mnt_down
	stored limited | cmp - <(noise 300000)
done
if as_root; then
	mkdir -p "$M"
	setpriv --bounding-set=-sys_resource bash -c 'ulimit -f 100 && "$@"' - "$DISKVFS" mount "$S" "$M"
	dv_pid=$(stat_json .pid) && dv_watch "$dv_pid"
	noise 200000 >"$T/many"
	! cat "$T/many" 2>"$T/err" >"$M/limited" || fail "200000 bytes fit into 100 KiB"
	grep -q 'File too large' "$T/err" || fail "$(cat "$T/err")"
	text 20000 >"$M/small"
	kill -0 "$dv_pid" || fail "the daemon has ended"
	mnt_down
	stored small | cmp - <(text 20000)
	stored limited | cmp - <(noise 300000) # the replacement lacks bytes: the old value stays
fi

claim "signals that its caller has blocked end it all the same: the second one at once, whatever is open"
if env --block-signal true 2>/dev/null; then
	mkdir -p "$M"
	env --block-signal "$DISKVFS" mount "$S" "$M"
	dv_pid=$(stat_json .pid) && dv_watch "$dv_pid"
	not_mounted() { ! is_mounted; }
	exec 8<"$M/five"
	kill -TERM "$dv_pid"
	until_true 30 not_mounted
	kill -TERM "$dv_pid"
	dv_wait_end "$dv_pid" 30 || fail "it lives on"
	exec 8<&-
fi

claim "-f stays in the foreground and ends with 0"
mkdir -p "$M"
"$DISKVFS" mount "$S" "$M" -f >>"$T/log" 2>&1 &
front=$!
until_true 30 is_mounted
cmp "$M/five" <(text 41000)
[ "$(stat_json .pid)" = "$front" ] || fail "-f runs as another process"
"$DISKVFS" unmount "$M"
wait "$front"

claim "each command takes -q and --help; with -q nothing is printed where nothing is wrong"
for c in $("$DISKVFS" --help | sed -n 's/^  diskvfs \[*\([a-z]*\).*/\1/p'); do
	"$DISKVFS" "$c" --help >"$T/out" || fail "$c --help"
	grep -q 'usage: diskvfs' "$T/out" || fail "$c --help: $(cat "$T/out")"
done
quiet() {
	"$DISKVFS" "$@" >"$T/out" 2>"$T/err" || fail "$*: $(cat "$T/err")"
	[ ! -s "$T/out" ] && [ ! -s "$T/err" ] || fail "$* talks: $(cat "$T/out" "$T/err")"
}
quiet init -q "$T/quiet"
text 20000 >"$T/text"
quiet import -q "$T/quiet" "$T/text"
quiet pack --quiet "$T/quiet"
quiet path -q "$T/quiet" text
quiet unpack -q "$T/quiet"
quiet reshard -q "$T/quiet" --transform flat
quiet info --quiet "$T/quiet"
quiet export -q "$T/quiet" "$T/quiet.out"
quiet gc -q "$T/quiet" --max-size 1G
quiet cas verify -q "$T/quiet"
quiet has -q "$T/quiet" text
mkdir -p "$T/quiet.mnt"
quiet mount -q "$T/quiet" "$T/quiet.mnt"
quiet unmount -q "$T/quiet.mnt"
quiet rm -q "$T/quiet" text
