#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Small tools of every day. The commands of tools.txt run on the mount and in a plain directory:
# output, status and tree are the same, with values that are packed before each, and after a
# remount. Then what only a mount has: watchers, busy files, attributes of other filesystems.
#
#   APPS_AS   root, or user: one who is in two groups, without rights (root)
. "$(dirname "$0")/apps.sh"
need setfacl setfattr perl patch hardlink jdupes rdfind zip unzip cpio xz lsof fuser inotifywait

as=(env)
if [ "${APPS_AS:=root}" = user ]; then
	[ "$(id -u)" = 0 ] || skip "needs root, to become a user"
	as=(setpriv --reuid=4711 --regid=4711 --groups=4711,4712 env "HOME=$T")
fi

# What is to be equal: types, modes, owners, sizes, links, contents. Archives have times in them.
tree() {
	(cd "$1" && find . -regex '.*\.\(tar\|tgz\|cpio\|zip\)' -printf '%p\n' \
		-o -type d -printf '%y %m %U:%G %p\n' \
		-o -printf '%y %m %U:%G %s %n %l %p\n' -type f -exec cksum {} + | sort)
}
run_script() { # run_script DIR TEXT
	local status=0
	(cd "$1" && exec "${as[@]}" bash -c "$2" 2>&1 </dev/null) >"$T/out" || status=$?
	sed "s#$1#DIR#g" "$T/out"
	echo "status $status"
}
round() { # round pack|""
	local n=0 script plain=$T
	[ ! -d "$T/disk" ] || plain=$T/disk # the filesystem that the store lies on
	mkdir "$M/x" "$plain/x"
	[ "$APPS_AS" = root ] || chown 4711:4712 "$M/x" "$plain/x"
	while IFS= read -r -d '' script; do
		n=$((n + 1))
		[ -z "$1" ] || pack_now
		run_script "$plain/x" "$script" >"$T/plain.out"
		run_script "$M/x" "$script" >"$T/mount.out"
		diff "$T/plain.out" "$T/mount.out" >"$T/diff" ||
			fail "script $n: $script"$'\n'"$(head -n 40 "$T/diff")"
		[ $((n % 8)) != 0 ] || diff <(tree "$plain/x") <(tree "$M/x") >"$T/diff" ||
			fail "after script $n: $script"$'\n'"$(head -n 40 "$T/diff")"
		[ "$n" != 30 ] || { mnt_down; app_up; }
	done < <(awk -v RS= -v ORS='\0' '!/^# SPDX/' "$here/../apps/tools.txt")
	[ "$n" -gt 50 ] || fail "only $n scripts"
	rm -rf "$M/x" "$plain/x"
}

app_up
if [[ $APPS_OPTIONS = settle=0* ]]; then
	claim "commands give the same as in a plain directory, with every value packed before each"
	round pack
else
	claim "commands give the same as in a plain directory"
	round ""
fi

claim "inotify: what programs do is told; of packing only that the value was opened for reading"
mkdir "$M/watched"
inotifywait -qm --format '%e %f' "$M/watched" >"$T/events" 2>"$T/err" &
watcher=$!
told() { grep -qxF "$1" "$T/events"; }
try_told() { rm -f "$M/watched/first" && : >"$M/watched/first" && told "CREATE first"; }
until_true 20 try_told
text 100000 >"$M/watched/f"
until_true 20 told "CLOSE_WRITE,CLOSE f"
mv "$M/watched/f" "$M/watched/g"
until_true 20 told "MOVED_TO g"
before=$(wc -l <"$T/events")
pack_now
[ "$(store_form watched/g)" = packed ] || fail "not packed"
touch "$M/watched/last"
until_true 20 told "CREATE last"
tail -n +$((before + 1)) "$T/events" | grep -vxE 'OPEN g|CLOSE_NOWRITE,CLOSE g|[A-Z_,]* last' &&
	fail "packing was told"
rm "$M/watched/g"
until_true 20 told "DELETE g"
kill $watcher
wait $watcher || true

claim "who has a file open is found; a busy mount stays, and goes when it is free"
exec 9<>"$M/watched/last"
fuser "$M/watched/last" 2>/dev/null | grep -qw $$ || fail "fuser"
fuser -m "$M" 2>/dev/null | grep -qw $$ || fail "fuser -m"
lsof -t "$M/watched/last" | grep -qx $$ || fail "lsof"
! "$DISKVFS" unmount "$M" 2>"$T/err" || fail "unmounted while a file is open"
[ "$(wc -l <"$T/err")" = 1 ] || fail "it says: $(cat "$T/err")"
text 200000 >&9
same <(text 200000) "$M/watched/last"
exec 9>&-

claim "what only some filesystems do is refused as such, and harms nothing: shared blocks, shifts, flags"
! cp --reflink=always "$M/watched/last" "$M/watched/clone" 2>"$T/err" || fail "cp --reflink=always"
grep -q 'not supported' "$T/err" || fail "$(cat "$T/err")"
! fallocate -c -o 4096 -l 4096 "$M/watched/last" 2>"$T/err" || fail "fallocate -c"
grep -q 'not supported' "$T/err" || fail "$(cat "$T/err")"
! chattr +i "$M/watched/last" 2>"$T/err" || fail "chattr +i"
! lsattr "$M/watched/last" >/dev/null 2>>"$T/err" || fail "lsattr"
[ "$(grep -cE 'Inappropriate ioctl|not supported' "$T/err")" = 2 ] || fail "$(cat "$T/err")"
same <(text 200000) "$M/watched/last"
app_end
