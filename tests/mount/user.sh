#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A user without rights: makes a store, mounts, works, packs and unmounts. Root's own /dev/fuse may be
# closed to users here, so root runs this with a device node of its own bound over it.
. "$(dirname "$0")/harness.sh"
need jq zstd setpriv unshare fusermount3
[ "$(id -u)" = 0 ] || skip "needs root, to become a user"
user=nobody # one that has a name: fusermount3 asks for it

# in_user_world COMMAND...: as the user, with /dev/fuse open to it, mounts private.
chmod 777 "$T"
mknod -m 666 "$T/fuse" c 10 229 || skip "no device nodes here"
: >"$T/log" && chmod 666 "$T/log"
cp "$DISKVFS" "$T/diskvfs" # the build folder may be closed to users
chmod 755 "$T/diskvfs"
cat >"$T/scene" <<'END'
set -Eeuo pipefail
trap 'echo "FAILED at line $LINENO: $BASH_COMMAND" >&2' ERR
T=$1 D=$1/diskvfs S=$1/ustore M=$1/umnt
ulimit -c 0
text() { seq 1 $(($1 / 2)) | head -c "$1" || true; }
bad() { echo "FAILED: $*" >&2; exit 1; }
mkdir "$M"
"$D" init "$S"
"$D" mount "$S" "$M" -o settle=1
pid=$(jq .pid "$M/.diskvfs/stats")
[ "$(stat -c %u "/proc/$pid")" = "$(id -u)" ] || bad "the daemon is not the user's"
text 300000 >"$M/a"
mkdir "$M/d" && ln "$M/a" "$M/d/linked" && ln -s a "$M/symlink"
text 50000 >"$M/d/b"
chmod 400 "$M/d/b"
! chown 0 "$M/a" 2>/dev/null || bad "chown to root works"
! mknod "$M/dev" c 1 3 2>/dev/null || bad "mknod works"
"$D" pack "$M"
[ "$(getfattr --only-values -n user.diskvfs.form "$M/d/b")" = packed ] || bad "not packed"
cmp <(text 50000) "$M/d/b"
[ "$(stat -c %a "$M/d/b")" = 400 ] || bad "mode"
chmod 600 "$M/d/b"
echo more >>"$M/d/b"
sync "$M/d/b"
exec 7>"$M/d/b" # a replacement: the old value stays
head -c 1000 /dev/zero >&7
zstdcat "$S/d/b.zst" 2>/dev/null | cmp -s - <(text 50000; echo more) || cmp -s "$S/d/b" <(text 50000; echo more) ||
	bad "the old value is gone while the new one is written"
exec 7>&-
rm -rf "$M/d"
cp -a /usr/include/linux "$M/tree"
"$D" pack "$M"
diff -r /usr/include/linux "$M/tree"
"$D" unmount "$M"
[ ! -e "$M/a" ] || bad "still mounted"
if env --ignore-signal=CHLD true 2>/dev/null; then # as who starts it may have set it
	env --ignore-signal=CHLD "$D" mount "$S" "$M"
	env --ignore-signal=CHLD "$D" unmount "$M"
	[ ! -e "$M/a" ] || bad "still mounted, with SIGCHLD ignored"
fi
cmp "$S/a" <(text 300000) 2>/dev/null || zstdcat "$S/a.zst" | cmp - <(text 300000)
"$D" mount "$S" "$M"
diff -r /usr/include/linux "$M/tree"
echo pending >"$M/last"
pid=$(jq .pid "$M/.diskvfs/stats")
kill -KILL "$pid"
fusermount3 -u -z "$M"
"$D" mount "$S" "$M"
[ "$(cat "$M/last")" = pending ] || bad "lost"
mkdir "$M/drop" && chmod 300 "$M/drop" # may be written, not read
"$D" unmount "$M"
"$D" mount "$S" "$M"
echo dropped >"$M/drop/x"
sync "$M/drop/x" || bad "fsync in a directory that may not be read"
rm "$M/drop/x" && chmod 700 "$M/drop"
fusermount3 -u "$M"
END
claim "init, mount, work, pack, unmount, crash and recover, as a user"
unshare -m sh -c 'mount --bind "$0" /dev/fuse && exec "$@"' "$T/fuse" \
	setpriv --reuid=$user --regid=nogroup --clear-groups env HOME="$T" bash "$T/scene" "$T" >"$T/out" 2>&1 ||
	{ cat "$T/out"; fail "see above"; }
until_true 20 eval '! pgrep -u $user -x diskvfs >/dev/null'
S=$T/ustore
all_zst_good
[ "$(find "$S" ! -user $user | wc -l)" = 0 ] || fail "files of others are in the store"
