#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The daemon confines itself: a transform that tries what it has no business with (tests/plugins/intruder.c)
# is refused, as root's and as a user's; with sandbox=no it is not. What is needed of the rest, unmounting
# and erasing what is old, is done by the steward, which ends with the daemon.
. "$(dirname "$0")/harness.sh"
need jq zstd capsh
: "${PLUGINS:?the folder of the built plugins}"
[ "$(id -u)" = 0 ] || skip "needs root"
cp "$PLUGINS/intruder.so" "$T"
out=$T/out
mkdir -m 777 "$out"

fresh() {
	rm -rf "$S" "$out"/*
	echo secret >"$out/secret"
	echo victim >"$out/victim"
	echo moved >"$out/moved"
	chmod 666 "$out"/*
	mk_store --transform "$T/intruder.so:$out"
}

files='read write make list truncate unlink link mkdir rename'
calls='exec namespace unmount mount inet netlink trace bpf uring module clock'
# tried WHAT: the errno with which it was refused, 0: it was not.
tried() {
	: >"$M/try.$1" || fail "$1: not tried"
	local at
	at=$(find "$S" -name "try.$1=*" -printf '%f')
	echo "${at##*=}"
}
of_daemon() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$dv_pid/status"; }

claim "no file outside of the store, no program, mount, namespace, network: as root"
fresh
mnt_up -o "transform=$T/intruder.so:$out,settle=0"
[ "$(of_daemon Seccomp)" = 2 ] || skip "no seccomp here"
[ "$(of_daemon NoNewPrivs)" = 1 ] || fail "no_new_privs is not set"
landlock=$(python3 -c 'import ctypes; print(ctypes.CDLL(None).syscall(444, 0, 0, 1))')
for what in $files; do
	[ "$landlock" -ge 2 ] || continue
	[ "$(tried $what)" = 13 ] || fail "$what: $(tried $what)"
done
for what in $calls; do [ "$(tried $what)" = 1 ] || fail "$what: $(tried $what)"; done
[ "$(tried signal)" = 1 ] || fail "signals of others: $(tried signal)"
[ "$(ls "$out" | tr '\n' ' ')" = 'moved secret victim ' ] || fail "changed: $(ls "$out")"
[ "$(cat "$out/secret")" = secret ] || fail "changed: $(cat "$out/secret")"

claim "what the daemon needs works: threads, the log's socket, values in all forms"
for what in thread local; do [ "$(tried $what)" = 0 ] || fail "$what: $(tried $what)"; done
if [ -s /etc/machine-id ]; then
	grep -qx "host=$(cat /etc/machine-id)" "$S/.diskvfs/stage"/*/owner || fail "$(cat "$S/.diskvfs/stage"/*/owner)"
fi
text 300000 >"$M/a"
pack_now
mv "$M/a" "$M/b"
echo more >>"$M/b"
setfattr -n trusted.x -v y "$M/b"
setcap cap_chown=ep "$M/b"
pack_now
[ "$(getfattr --only-values -n trusted.x "$M/b")" = y ] || fail "trusted.x"
cmp "$M/b" <(text 300000; echo more) || fail "b"

claim "root's daemon keeps the capabilities that it has a use for, and no others"
of_daemon CapPrm >"$T/caps"
for c in $(capsh --decode="$(of_daemon CapPrm)" | sed 's/.*=//; s/,/ /g'); do
	case $c in
	cap_chown | cap_dac_override | cap_dac_read_search | cap_fowner | cap_fsetid | cap_mknod | \
		cap_setuid | cap_setgid | cap_lease | cap_setfcap | cap_sys_admin | cap_sys_nice) ;;
	*) fail "$c" ;;
	esac
done
[ "$(of_daemon CapEff)" = "$(of_daemon CapPrm)" ] || fail "effective: $(of_daemon CapEff)"
for task in "/proc/$dv_pid/task"/*; do
	grep -q '^Seccomp:.2' "$task/status" || fail "a thread without"
	grep -qx "CapPrm:.$(cat "$T/caps")" "$task/status" || fail "a thread with more"
done

claim "the steward unmounts, and ends with the daemon: unmount, SIGTERM, SIGKILL"
steward_of() { cat "/proc/$1/task/$1/children" | tr -d ' '; }
steward=$(steward_of "$dv_pid")
[ "$(readlink "/proc/$steward/fd"/* | grep -cv '^socket:\|^/dev/null$')" = 0 ] ||
	fail "it keeps open: $(readlink "/proc/$steward/fd"/*)"
mnt_down
dv_ended "$steward" || fail "it lives on"
mnt_up -o "transform=$T/intruder.so:$out,settle=0"
steward=$(steward_of "$dv_pid")
kill -TERM "$steward" # is none of its business
kill -TERM "$dv_pid"
dv_wait_end "$dv_pid" 30 || fail "SIGTERM"
! is_mounted || fail "SIGTERM: still mounted"
dv_wait_end "$steward" 30 || fail "SIGTERM: the steward lives on"
mnt_up -o "transform=$T/intruder.so:$out,settle=0"
steward=$(steward_of "$dv_pid")
kill -KILL "$dv_pid"
dv_wait_end "$steward" 30 || fail "SIGKILL: the steward lives on"

claim "without its steward a daemon serves; it ends when others unmount"
mnt_up -o "transform=$T/intruder.so:$out,settle=0"
kill -KILL "$(steward_of "$dv_pid")"
cmp "$M/b" <(text 300000; echo more) || fail "b"
mnt_down

claim "in the store a file can be made, but of a mount with ro"
rm -rf "$S"
mk_store --transform "$T/intruder.so:$S"
mnt_up -o "transform=$T/intruder.so:$S"
[ "$(tried make)" = 0 ] && [ -e "$S/made" ] || fail "made: $(tried make)"
mnt_down
rm "$S/made"
mnt_up -o "transform=$T/intruder.so:$S,ro"
stat "$M/try.make" >/dev/null 2>&1 || true
[ "$landlock" -lt 2 ] || [ ! -e "$S/made" ] || fail "made with ro"
mnt_down

claim "sandbox=no: all of it can be done; other words are refused"
fresh
mnt_up -o "transform=$T/intruder.so:$out,settle=0,sandbox=no"
[ "$(of_daemon Seccomp):$(of_daemon NoNewPrivs)" = 0:0 ] || fail "confined"
[ -z "$(steward_of "$dv_pid")" ] || fail "a steward"
for what in $files exec inet signal; do [ "$(tried $what)" = 0 ] || fail "$what: $(tried $what)"; done
[ "$(ls "$out" | tr '\n' ' ')" = 'away folder linked made secret ' ] || fail "$(ls "$out")"
kill -TERM "$dv_pid"
dv_wait_end "$dv_pid" 30 || fail "SIGTERM"
! is_mounted || fail "SIGTERM: still mounted"
! "$DISKVFS" mount "$S" "$M" -o sandbox=maybe 2>"$T/err" || fail "maybe"
grep -q "option sandbox: 'maybe' is not yes or no" "$T/err" || fail "$(cat "$T/err")"

claim "what is too old goes by the steward"
rm -rf "$S"
mk_store
mnt_up -o max_age=1
echo old >"$M/b"
until_true 60 test ! -e "$M/b"
mnt_down

claim "the same of a user's daemon, which fusermount3 mounts and unmounts"
need setpriv unshare fusermount3
mknod -m 666 "$T/fuse" c 10 229 2>/dev/null || skip "no device nodes here"
chmod 777 "$T" && chmod 666 "$T/log"
cp "$DISKVFS" "$T/diskvfs" && chmod 755 "$T/diskvfs" "$T/intruder.so"
fresh
rm -rf "$S"
cat >"$T/scene" <<'END'
set -Eeuo pipefail
trap 'echo "FAILED at line $LINENO: $BASH_COMMAND" >&2' ERR
T=$1 D=$1/diskvfs S=$1/ustore M=$1/umnt o=transform=$1/intruder.so:$1/out
mkdir "$M"
"$D" init "$S" --transform "${o#*=}"
"$D" mount "$S" "$M" -o "$o,settle=0"
pid=$(jq .pid "$M/.diskvfs/stats")
grep -qx 'NoNewPrivs:.1' "/proc/$pid/status" && grep -qx 'Seccomp:.2' "/proc/$pid/status"
for what in $2; do : >"$M/try.$what"; done
ls "$S" | sed -n 's/^try\.\(.*\)=/\1 /p' >"$T/tried"
kill -TERM "$pid"
while grep -q " $M " /proc/self/mountinfo; do sleep 0.05; done
"$D" mount "$S" "$M" -o "$o,max_age=1000"
seq 100000 >"$M/x"
"$D" pack "$M"
"$D" unmount "$M"
END
[ "$landlock" -ge 2 ] || files=
unshare -m sh -c 'mount --bind "$0" /dev/fuse && exec "$@"' "$T/fuse" \
	setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME="$T" \
	timeout 60 bash "$T/scene" "$T" "$files $calls" >"$T/uout" 2>&1 || { cat "$T/uout"; fail "see above"; }
for what in $files; do grep -qx "$what 13" "$T/tried" || fail "$what: $(cat "$T/tried")"; done
for what in $calls; do grep -qx "$what 1" "$T/tried" || fail "$what: $(cat "$T/tried")"; done
[ "$(ls "$out" | tr '\n' ' ')" = 'moved secret victim ' ] || fail "changed: $(ls "$out")"
