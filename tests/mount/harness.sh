# SPDX-License-Identifier: MIT
# harness.sh - what a test on a mount stands on. Sourced by tests/mount/*.sh.
#
#   DISKVFS   the program (ctest sets it)
#   T         a folder of this test alone, on tmpfs where there is room; gone afterwards
#   S, M      the store and the mountpoint of mk_store and mnt_up: $T/store, $T/mnt
#
# A test is a script of claims: `claim "text"` says what the next lines show, `fail` ends it.
# Any failing command ends it too (set -e) and names its line. Whatever happens, mounts are taken
# away, daemons ended and T removed. A report of a sanitizer fails the test.
# Readiness is the exit status of `diskvfs mount`; nothing here sleeps for it.
set -Eeuo pipefail
umask 022
export LC_ALL=C.UTF-8

: "${DISKVFS:?set DISKVFS to the diskvfs program that is to be tested}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
claim_now='(nothing yet)'
dv_pids=
declare -A dv_births=()
T=

skip() {
	echo "skipped: $*"
	[ -z "${DISKVFS_TEST_NO_SKIP-}" ] || { echo "but DISKVFS_TEST_NO_SKIP is set"; exit 1; }
	exit 77
}

fail() {
	echo "FAILED: $claim_now: $*" >&2
	exit 1
}

claim() {
	claim_now=$*
	echo "- $*"
}

need() { # need PROGRAM...
	local p
	for p in "$@"; do command -v "$p" >/dev/null || skip "$p is not installed"; done
}

dv_mounts_in() { awk -v t="$1/" 'index($5, t) == 1 { print $5 }' /proc/self/mountinfo; }

# When a process began; nothing where there is none, or a zombie whose other threads, which hold its files and locks as
# long, have ended too. A number is soon used again.
dv_born() {
	local gone=ZX tasks=("/proc/$1/task"/*)
	[ ${#tasks[@]} -lt 2 ] || gone=X
	sed -n "s/.*) [^$gone] //p" "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 19
}
# dv_ended PID: a zombie, where nobody reaps orphans, has ended too.
dv_ended() {
	local born
	born=$(dv_born "$1")
	[ -z "$born" ] || [ "$born" != "${dv_births[$1]-$born}" ]
}

# dv_watch PID: a daemon that is to have ended when the test does, and is ended by it.
dv_watch() {
	[ -n "$1" ] || fail "no daemon tells its pid"
	dv_pids="$dv_pids $1"
	dv_births[$1]=$(dv_born "$1")
}

# dv_wait_end PID SECONDS: false where it lives on.
dv_wait_end() {
	local end=$((SECONDS + $2))
	until dv_ended "$1"; do
		[ "$SECONDS" -le "$end" ] || return 1
		sleep 0.02
	done
}

cleanup() {
	local status=$? m p
	trap - EXIT ERR
	set +eE
	cd /
	# The daemons first: a waiting request dies with its daemon, so nothing below can hang.
	if [ "$status" != 0 ]; then
		for p in $dv_pids; do dv_ended "$p" || kill -KILL "$p" 2>/dev/null; done
	fi
	for m in $(dv_mounts_in "$T" | sort -r); do
		[ "$status" != 0 ] || { echo "FAILED: $m was left mounted"; status=1; }
		umount -l "$m"
	done
	for p in $dv_pids; do
		dv_wait_end "$p" 20 || {
			echo "FAILED: daemon $p does not end"
			kill -KILL "$p" 2>/dev/null
			status=1
		}
	done
	p=$(jobs -p)
	[ -z "$p" ] || kill -KILL $p 2>/dev/null
	for m in "$T"/sanitizer.*; do
		[ -s "$m" ] || continue
		echo "FAILED: a sanitizer reported:"
		head -n 120 "$m"
		status=1
	done
	if [ "$status" != 0 ] && [ "$status" != 77 ] && [ -s "$T/log" ]; then
		echo "what the daemon wrote:"
		tail -n 60 "$T/log"
	fi
	[ -n "$T" ] && rm -rf --one-file-system "$T"
	exit $status
}

dv_setup() {
	# Programs that every user may run, before what the caller has put in its own PATH.
	PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
	local base=/dev/shm room
	[ -c /dev/fuse ] || skip "/dev/fuse is missing"
	room=$(df --output=avail -k "$base" 2>/dev/null | tail -n 1)
	[ "${room:-0}" -ge 1000000 ] || base=${TMPDIR:-/tmp}
	T=$(mktemp -d "${DISKVFS_TEST_TMP:-$base}/dv-$(basename "$0" .sh).XXXXXX")
	trap cleanup EXIT
	trap 'echo "FAILED: $claim_now: line $LINENO of $(basename "${BASH_SOURCE[0]}"): $BASH_COMMAND" >&2' ERR
	trap 'exit 143' TERM INT HUP
	chmod 755 "$T" # other users' processes take part in some tests
	S=$T/store M=$T/mnt
	export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}log_path=$T/sanitizer"
	export TSAN_OPTIONS="${TSAN_OPTIONS:+$TSAN_OPTIONS:}log_path=$T/sanitizer"
	export UBSAN_OPTIONS="${UBSAN_OPTIONS:+$UBSAN_OPTIONS:}log_path=$T/sanitizer"
}

# mk_store [init options]: a new store at $S.
mk_store() { "$DISKVFS" init "$S" "$@" >>"$T/log" 2>&1 || fail "init $S $*: $(tail -n 1 "$T/log")"; }

# mnt_up [-o options]: mounts $S at $M. Usable when it returns.
mnt_up() {
	is_mounted || mkdir -p "$M" # of a stale mount not even that it is there can be asked
	"$DISKVFS" mount "$S" "$M" "$@" >>"$T/log" 2>&1 || fail "mount $*: $(tail -n 1 "$T/log")"
	dv_pid=$(stat_json .pid)
	dv_watch "$dv_pid"
}

# mnt_down: unmounts; the daemon has ended when it returns.
mnt_down() {
	# Another test's namespace, that was made meanwhile, may have the mount too.
	"$DISKVFS" unmount "$M" >>"$T/log" 2>&1 ||
		{ tail -n 1 "$T/log" | grep -q 'still mounted at .* for process' && dv_wait_end "$dv_pid" 120; } ||
		fail "unmount: $(tail -n 1 "$T/log")"
	! is_mounted || fail "unmount returned 0, but $M is mounted"
	dv_ended "$dv_pid" || fail "unmount returned, but the daemon $dv_pid lives"
}

is_mounted() { dv_mounts_in "$T" | grep -qxF "${1:-$M}"; }

# stat_json [FILTER]: the counters, through jq.
stat_json() { jq -r "${1:-.}" <"$M/.diskvfs/stats"; }

# msgs COMMAND...: how many messages the kernel sent for it, in $messages. What reading the counters
# costs is measured first and taken off.
msgs() {
	local a b c
	stat_json .messages_total >/dev/null
	a=$(stat_json .messages_total)
	b=$(stat_json .messages_total)
	"$@"
	c=$(stat_json .messages_total)
	messages=$((c - b - (b - a)))
}

# pack_now: what is eligible is packed, durable, when it returns.
pack_now() { "$DISKVFS" pack "$M" >>"$T/log" 2>&1 || fail "pack: $(tail -n 1 "$T/log")"; }

# store_path KEY: the file of the store that holds it, absolute.
store_path() {
	local p
	p=$("$DISKVFS" path "$S" "$1") || fail "path $1"
	case $p in
	/*) printf '%s\n' "$p" ;;
	*) printf '%s\n' "$S/$p" ;;
	esac
}

# store_form KEY: raw or packed.
store_form() { getfattr --absolute-names --only-values -n user.diskvfs.form "$M/$1"; }

# stored KEY: its bytes as the store has them, without diskvfs' help but for the place. It may be packed, or
# unpacked, when it has been told where that is.
stored() {
	local p fd=
	for _ in 1 2 3 4; do
		p=$(store_path "$1"; echo x)
		p=${p%$'\n'x}
		{ exec {fd}<"$p"; } 2>/dev/null && break
	done
	[ -n "$fd" ] || { cat -- "$p"; return; } # which tells the error
	case $p in
	*.zst) zstd -dc <&"$fd" ;;
	*) cat <&"$fd" ;;
	esac
	exec {fd}<&-
}

# all_zst_good: every packed file of the store passes zstd -t. Below 14 levels a path may be longer
# than PATH_MAX: from within their directory.
all_zst_good() {
	find "$S" -maxdepth 14 -name .diskvfs -prune -o -type f -name '*.zst' -print0 |
		xargs -0 -r zstd -tq -- || fail "a packed file does not pass zstd -t"
	find "$S" -mindepth 15 -type f -name '*.zst' -execdir zstd -tq -- {} + ||
		fail "a packed file does not pass zstd -t"
}

# decode_store FROM TO: what a user without diskvfs does (path transform): unpack, undo .raw.
decode_store() {
	mkdir "$2"
	find "$1" -mindepth 1 -maxdepth 1 ! -name .diskvfs -exec cp -a -t "$2" -- {} +
	chmod --reference="$1" "$2"
	touch -r "$1" "$2"
	find "$2" -type f -name '*.zst' -print0 >"$T/packed.list"
	xargs -0 -r zstd -dq --rm -- <"$T/packed.list"
	# Deepest first, and of neighbours the shortest: d.zst.raw makes room for d.zst.raw.raw.
	find "$2" -regex '.*\.zst\(\.raw\)*\.raw' -printf '%d %p\0' |
		awk -v RS='\0' -v ORS='\0' '{ print $1, length($0), $0 }' | sort -z -k1,1nr -k2,2n |
		while IFS= read -r -d '' line; do
			path=${line#* * * }
			mv -T -- "$path" "${path%.raw}"
		done
}

# until_true SECONDS COMMAND...: for what happens in the background, with a deadline.
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || fail "did not come true in time: $*"
		sleep 0.05
	done
}

# text BYTES: compressible text, the same each time.
text() { seq 1 $(($1 / 2)) | head -c "$1" || true; }

# noise BYTES: incompressible, the same each time.
noise() {
	openssl enc -aes-128-ctr -K 00112233445566778899aabbccddeeff -iv 0 -in /dev/zero 2>/dev/null |
		head -c "$1" || true
}

same() { cmp -- "$1" "$2" || fail "$1 and $2 differ"; }

dv_setup
