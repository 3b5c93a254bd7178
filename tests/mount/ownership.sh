#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Who owns what, with which mode: the same calls on the mount and on a plain directory, compared.
. "$(dirname "$0")/harness.sh"
need jq setpriv python3

user=23451 group=23452 other=23461
as_user() { setpriv --reuid=$user --regid=$group --clear-groups "$@"; }
as_other() { setpriv --reuid=$other --regid=$other --clear-groups "$@"; }
as_member() { setpriv --reuid=$other --regid=$other --groups=$group "$@"; }

# says COMMAND...: whether it works, or what its error is.
says() { if "$@" 2>"$T/err"; then echo works; else sed 's/.*: //' "$T/err"; fi; }

# Everything that the test does, below the folder $1; what fails prints its errno.
scene() {
	local d=$1
	chmod 755 "$d"
	mkdir "$d/home" "$d/shared" "$d/sticky"
	chown $user:$group "$d/home"
	chown 0:$group "$d/shared"
	chmod 2775 "$d/shared"
	chmod 1777 "$d/sticky"
	as_user bash -c 'cd "$1" && umask 022 && echo a >f022 && umask 027 && echo a >f027 && mkdir d027 &&
		umask 0 && echo a >f0 && mkdir d0 && ln -s f0 l && mkdir -m 700 d700' - "$d/home"
	as_member bash -c 'cd "$1" && umask 002 && echo a >f && mkdir sub && echo a >sub/f' - "$d/shared"
	as_user bash -c 'echo mine >"$1/mine" && chmod 600 "$1/mine"' - "$d/sticky"
	says as_other bash -c 'cat "$1/mine"' - "$d/sticky"
	says as_other bash -c 'rm -f "$1/mine"' - "$d/sticky"
	says as_other bash -c 'echo x >"$1/new"' - "$d/home"
	says as_other bash -c 'echo x >>"$1/f022"' - "$d/home"
	says as_other chmod 777 "$d/home/f022"
	says as_other chown $other "$d/home/f022"
	says as_user chown $other "$d/home/f022"
	as_user chmod 640 "$d/home/f0"
	says as_user cat "$d/home/d700/none"
	says as_other ls "$d/home/d700"
	as_user bash -c 'echo script >"$1/suid" && chmod 6755 "$1/suid"' - "$d/home"
	as_member bash -c 'cp /bin/true "$1/sgid" && chmod 2755 "$1/sgid"' - "$d/shared"
	chmod 666 "$d/home/f027" && as_other bash -c 'echo more >>"$1/f027"' - "$d/home"
	chmod 6777 "$d/home/suid" && as_other bash -c 'echo more >>"$1/suid"' - "$d/home"
	chown 7:8 "$d/home/f0"
	touch -d '2001-02-03 04:05:06.789012345' "$d/home/f022"
	true
}
picture() { (cd "$1" && find . -mindepth 1 -printf '%P %y %m %U:%G %s %l\n' | sort); }

mk_store
mnt_up -o allow_other,settle=600
mkdir "$T/plain" "$M/here"
claim "the same owners, modes and errors as on a plain directory"
scene "$T/plain" >"$T/plain.out" 2>&1
scene "$M/here" >"$T/mount.out" 2>&1
diff "$T/plain.out" "$T/mount.out" || fail "other messages"
diff <(picture "$T/plain") <(picture "$M/here") || fail "owners or modes differ"

claim "the store's files have the same owners and modes"
diff <(picture "$T/plain") <(picture "$S/here") || fail "owners or modes differ in the store"

claim "packing and unpacking keep owner, mode and time, also where the owner may not write"
as_user bash -c 'umask 077 && seq 9999 >"$1/big" && chmod 400 "$1/big"' - "$M/here/home"
touch -d '2001-02-03 04:05:06.789012345' "$M/here/home/big"
before=$(stat -c '%a %u:%g %y %i %s' "$M/here/home/big")
folder=$(stat -c '%y' "$M/here/home")
pack_now
[ "$(store_form here/home/big)" = packed ] || fail "not packed"
[ "$before" = "$(stat -c '%a %u:%g %y %i %s' "$M/here/home/big")" ] || fail "packing changed them"
[ "$(stat -c '%a %u:%g %y' "$S/here/home/big.zst")" = "$(stat -c '%a %u:%g %y' "$M/here/home/big")" ]
[ "$folder" = "$(stat -c '%y' "$M/here/home")" ] || fail "packing moved the directory's mtime"
[ ! -e "$S/here/home/big" ] || fail "raw and packed lie side by side"
chmod 600 "$M/here/home/big"
as_user bash -c 'printf X | dd of="$1" bs=1 seek=5 conv=notrunc status=none' - "$M/here/home/big"
[ "$(stat -c '%a %u:%g' "$M/here/home/big")" = "600 $user:$group" ] || fail "unpacking changed them"
as_other cat "$M/here/home/big" >/dev/null 2>&1 && fail "another user reads a file of mode 600"

claim "replacing keeps the owner: root writes over a user's value with '>'"
seq 5000 >"$M/here/home/big"
pack_now
[ "$(stat -c '%a %u:%g' "$M/here/home/big")" = "600 $user:$group" ] || fail "replacing changed them"

claim "what is made where a packed value was just removed belongs to its maker, as its directory says"
again() { # again FOLDER: by others than made them
	rm "$1/home/again" "$1/shared/again" "$1/sticky/again"
	as_user bash -c 'umask 027 && echo x >"$1/again"' - "$1/home"
	as_member bash -c 'umask 002 && echo x >"$1/again"' - "$1/shared"
	as_other bash -c 'umask 0 && echo x >"$1/again"' - "$1/sticky"
}
for d in "$T/plain" "$M/here"; do
	for f in home shared sticky; do seq 5000 >"$d/$f/again"; done
done
pack_now
[ "$(store_form here/shared/again)" = packed ] || fail "not packed"
again "$T/plain"
again "$M/here"
diff <(cd "$T/plain" && stat -c '%n %a %u:%g' */again) <(cd "$M/here" && stat -c '%n %a %u:%g' */again) ||
	fail "owners or modes differ"
mnt_down
