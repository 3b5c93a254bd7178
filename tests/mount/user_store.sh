#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A user without rights mounts a store in which not all belongs to it: folders it may not write to, sticky
# ones, files of others. Such values keep their form, owner and mode, edits of them are made in place, the
# rest is packed as ever, and nothing is tried again and again.
. "$(dirname "$0")/harness.sh"
need jq zstd setpriv unshare fusermount3
[ "$(id -u)" = 0 ] || skip "needs root, to become a user"
user=nobody group=users

chmod 777 "$T"
mknod -m 666 "$T/fuse" c 10 229 || skip "no device nodes here"
: >"$T/log" && chmod 666 "$T/log"
cp "$DISKVFS" "$T/diskvfs"
chmod 755 "$T/diskvfs"
cat >"$T/lib" <<'END'
set -Eeuo pipefail
trap 'echo "FAILED at line $LINENO: $BASH_COMMAND" >&2' ERR
T=$1 D=$1/diskvfs S=$1/ustore M=$1/umnt
umask 022
ulimit -c 0
text() { seq 1 $(($1 / 2)) | head -c "$1" || true; }
bad() { echo "FAILED: $*" >&2; exit 1; }
form() { getfattr --absolute-names --only-values -n user.diskvfs.form "$M/$1"; }
stat_json() { jq -r "$1" <"$M/.diskvfs/stats"; }
is() { # is TEXT COMMAND...: it prints that
	local want=$1 got
	shift
	got=$("$@")
	[ "$got" = "$want" ] || bad "$* prints $got, not $want"
}
refused() { # refused PATTERN COMMAND...
	local pattern=$1
	shift
	! "$@" 2>"$T/uerr" || bad "works: $*"
	grep -qE "$pattern" "$T/uerr" || bad "$*: $(cat "$T/uerr")"
}
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do [ "$SECONDS" -lt "$end" ] || bad "not true in time: $*"; sleep 0.05; done
}
END
as_user() { # as_user SCRIPT: with /dev/fuse open to the user, mounts private
	unshare -m sh -c 'mount --bind "$0" /dev/fuse && exec "$@"' "$T/fuse" \
		setpriv --reuid=$user --regid=nogroup --groups=$group env HOME="$T" \
		bash -c '. "$0/lib"; . "$0/$2"' "$T" "$T" "$1" >"$T/out" 2>&1 || { cat "$T/out"; fail "see above"; }
	until_true 20 eval '! pgrep -u $user -x diskvfs >/dev/null'
}

mkdir "$T/umnt" && chown $user "$T/umnt"
cat >"$T/make" <<'END'
"$D" init "$S"
mkdir "$S/mine"
text 50000 >"$S/mine/a"
text 50000 >"$S/mine/b"
END
as_user make
S=$T/ustore
# What root has put there.
mkdir "$S/readonly" "$S/sticky" "$S/setgid"
for v in theirs groupw readonly/groupw readonly/v sticky/theirs; do text 50000 >"$S/$v"; done
for v in readonly/packed sticky/packed; do text 50000 | zstd -q >"$S/$v.zst"; done
(
	cd "$S"
	chmod 664 groupw readonly/groupw readonly/packed.zst sticky/packed.zst
	chgrp $group groupw readonly/groupw readonly/packed.zst sticky/packed.zst setgid
	chown $user setgid
	chmod 666 sticky/theirs
	chmod 1777 sticky
	chmod 2775 setgid
)
owners() { find "$S" ! -user $user -printf '%p %U %G %m\n' | sort; }
owners >"$T/owners"

claim "own values are packed, those of others keep their form, and nothing is tried again and again"
cat >"$T/packing" <<'END'
"$D" mount "$S" "$M" -o settle=0
"$D" pack "$M" >"$T/uout" || bad "pack fails: $(cat "$T/uout")"
is packed form mine/a
for v in theirs groupw readonly/v readonly/groupw sticky/theirs; do is raw form $v; done
text 100 | dd of="$M/groupw" conv=notrunc status=none # these are queued now
text 100 | dd of="$M/sticky/theirs" conv=notrunc status=none
text 50000 >"$M/mine/c"
packed() { [ "$(form mine/c)" = packed ]; }
until_true 10 packed # and those before it in the queue had their turn
# Leases are had on own files only: a writer of others' is taken to be gone after some quiet.
at_rest() { [ "$(stat_json .values.waiting)" = 0 ]; }
until_true 20 at_rest
"$D" unmount "$M"
END
as_user packing

claim "edits, appends and replacements of others' values are made in place: same file, owner and mode"
cat >"$T/editing" <<'END'
"$D" mount "$S" "$M" -o settle=0
object() { stat -c %i "$S/$1" 2>/dev/null || stat -c %i "$S/$1.zst"; }
edit() { # edit NAME: an edit, an append, a replacement
	local ino
	ino=$(object "$1")
	printf X | dd of="$M/$1" conv=notrunc status=none
	echo end >>"$M/$1"
	cmp "$M/$1" <(text 50000 | sed '1s/./X/'; echo end)
	text 30000 >"$M/$1"
	sync "$M/$1"
	cmp "$M/$1" <(text 30000)
	is "$ino" object "$1"
}
for v in groupw readonly/groupw sticky/theirs readonly/packed sticky/packed; do edit $v; done
is packed form readonly/packed
is packed form sticky/packed
zstdcat "$S/readonly/packed.zst" | cmp - <(text 30000)
zstdcat "$S/sticky/packed.zst" | cmp - <(text 30000)
"$D" unmount "$M"
END
as_user editing
owners | diff "$T/owners" - || fail "owners or modes have changed"

claim "what a plain folder refuses is refused, with the same errno; what it allows works"
cat >"$T/errors" <<'END'
"$D" mount "$S" "$M"
refused 'Permission denied' sh -c 'echo x >"$1"' - "$M/theirs"
refused 'Permission denied' sh -c 'echo x >"$1"' - "$M/readonly/v"
refused 'Permission denied' rm -f "$M/readonly/v"
refused 'Permission denied' mv "$M/readonly/v" "$M/v"
refused 'Permission denied' touch "$M/readonly/new"
refused 'Operation not permitted' rm -f "$M/sticky/theirs"
refused 'Operation not permitted' mv "$M/sticky/theirs" "$M/sticky/other"
refused 'Operation not permitted' chmod 600 "$M/theirs"
refused 'Operation not permitted' chown 0 "$M/mine/a"
refused 'Permission denied' touch -d @1 "$M/theirs"
text 50000 >"$M/sticky/own"
text 50000 >"$M/setgid/new"
mkdir "$M/setgid/dir"
"$D" pack "$M" >/dev/null
is packed form sticky/own
rm "$M/sticky/own"
is 'nobody users 644' stat -c '%U %G %a' "$M/setgid/new"
is 'nobody users 644' stat -c '%U %G %a' "$S/setgid/new.zst"
is 'users 2755' stat -c '%G %a' "$M/setgid/dir"
(umask 077 && echo x >"$M/private" && mkdir "$M/pdir")
is 600 stat -c %a "$M/private"
is 700 stat -c %a "$S/pdir"
mv "$M/theirs" "$M/mine/moved" # the folder is the user's
cmp "$M/mine/moved" <(text 50000)
rm -f "$M/groupw"
[ ! -e "$S/groupw" ] || bad "groupw stays"
text 50000 >"$M/mine/new"
mv -f "$M/mine/new" "$M/mine/moved"
cmp "$M/mine/moved" <(text 50000)
"$D" unmount "$M"
END
as_user errors

claim "a kill while others' values are edited loses nothing; the stale mount is replaced, and told"
cat >"$T/kill" <<'END'
"$D" mount "$S" "$M"
printf KILLED | dd of="$M/readonly/packed" conv=notrunc status=none
printf KILLED | dd of="$M/readonly/groupw" conv=notrunc status=none
text 20000 >"$M/sticky/packed"
pid=$(stat_json .pid)
kill -KILL "$pid"
"$D" mount "$S" "$M" 2>"$T/uerr"
grep -q 'cleaned up' "$T/uerr" || bad "says nothing of the stale mount: $(cat "$T/uerr")"
is 1 grep -c " $M " /proc/self/mountinfo
cmp "$M/readonly/packed" <(printf KILLED; text 30000 | tail -c +7)
cmp "$M/readonly/groupw" <(printf KILLED; text 30000 | tail -c +7)
cmp "$M/sticky/packed" <(text 20000)
(
	cd "$M"
	refused 'in use' "$D" unmount "$M"
)
"$D" unmount "$M"
END
as_user kill
all_zst_good

claim "what the user may not do is said in one line"
cat >"$T/lines" <<'END'
refused_line() { # refused_line PATTERN COMMAND...
	refused "$@"
	[ "$(wc -l <"$T/uerr")" = 1 ] || bad "not one line: $(cat "$T/uerr")"
}
if ! grep -qs '^user_allow_other' /etc/fuse.conf; then
	refused_line 'user_allow_other.*/etc/fuse.conf' "$D" mount "$S" "$M" -o allow_other
	refused_line 'user_allow_other.*/etc/fuse.conf' "$D" mount "$S" "$M" -o allow_root
fi
! mountpoint -q "$M" || bad "it is mounted"
refused_line 'is not readable|Permission denied' "$D" mount "$T/rootstore" "$M"
refused_line 'ostore/.diskvfs.*(Permission denied|another user)' "$D" mount "$T/ostore" "$M"
refused_line 'ostore/.diskvfs.*(Permission denied|another user)' "$D" mount "$T/ostore" "$M" -o ro
refused_line 'rootmnt.*(write|yours)' "$D" mount "$S" "$T/rootmnt"
"$D" mount "$S" "$M" -o user,nofail,noauto
echo works >"$M/here"
"$D" unmount "$M"
END
mkdir -m 700 "$T/rootstore"
"$DISKVFS" init "$T/rootstore"
"$DISKVFS" init "$T/ostore"
mkdir -m 755 "$T/rootmnt"
as_user lines
