#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restic and borg: a repository on the mount, and backups of the mount, which read nothing again
# where nothing changed, after packing, unpacking and a remount.
. "$(dirname "$0")/apps.sh"
need restic

export RESTIC_PASSWORD=secret RESTIC_CACHE_DIR=$T/cache BORG_BASE_DIR=$T/borg
export BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes
rs() { restic -q --repo "$@" >"$T/out" 2>&1 || { tail -n 20 "$T/out"; fail "restic $*"; }; }
# reread: how many files the last backup read again, new or changed
reread() {
	restic --repo "$1" backup --json "$2" >"$T/out" 2>"$T/err" || { cat "$T/err"; fail "backup of $2"; }
	jq -r 'select(.message_type == "summary") | .files_new + .files_changed' <"$T/out"
}

unpack_all() {
	"$DISKVFS" unpack "$M" >>"$T/log" 2>&1 || fail "unpack: $(tail -n 1 "$T/log")"
	[ -z "$(find "$S" -name .diskvfs -prune -o -name '*.zst' -print -quit)" ] || fail "not all is unpacked"
}

source_tree "$T/src" $((5 * APPS_SCALE))
app_up
cp -a "$T/src" "$M/src"

claim "a restic repository outside, backups of the mount: nothing is read again"
rs "$T/repo" init
reread "$T/repo" "$M/src" >/dev/null
[ "$(reread "$T/repo" "$M/src")" = 0 ] || fail "files were read again"
pack_now
[ "$(reread "$T/repo" "$M/src")" = 0 ] || fail "files were read again after packing"
mnt_down
app_up
[ "$(reread "$T/repo" "$M/src")" = 0 ] || fail "files were read again after a remount"
unpack_all
[ "$(reread "$T/repo" "$M/src")" = 0 ] || fail "files were read again after unpacking"
mnt_down
app_up
[ "$(reread "$T/repo" "$M/src")" = 0 ] || fail "files were read again after unpacking and a remount"
pack_now
rs "$T/repo" check --read-data
claim "what is restored equals the source"
rs "$T/repo" restore latest --target "$T/restored"
diff -r --no-dereference "$T/src" "$T/restored$M/src" || fail "differs"
rm -rf "$T/restored" "$T/repo"

claim "a restic repository on the mount: backup, pack, check --read-data, forget --prune, restore"
rs "$M/repo" init
reread "$M/repo" "$T/src" >/dev/null
pack_now
rm -rf "$T/src/lib" && text 500000 >"$T/src/new"
reread "$M/repo" "$T/src" >/dev/null
rs "$M/repo" forget --keep-last 1 --prune
mnt_down
app_up
rs "$M/repo" check --read-data
rs "$M/repo" restore latest --target "$T/restored"
diff -r --no-dereference "$T/src" "$T/restored$T/src" || fail "differs"
rm -rf "$T/restored"

if command -v borg >/dev/null; then
	claim "borg: a repository on the mount"
	borg init -e none "$M/borg"
	borg create "$M/borg::one" "$T/src"
	pack_now
	text 700000 >"$T/src/newer"
	borg create "$M/borg::two" "$T/src"
	borg delete "$M/borg::one"
	borg compact "$M/borg"
	borg check --verify-data "$M/borg"
	mkdir "$T/restored"
	(cd "$T/restored" && borg extract "$M/borg::two")
	diff -r --no-dereference "$T/src" "$T/restored$T/src" || fail "differs"
	mnt_down
	app_up
	borg check --verify-data "$M/borg"

	claim "borg: backups of the mount read nothing again, after packing and a remount"
	borg init -e none "$T/borgrepo"
	borg create "$T/borgrepo::one" "$M/src"
	touch "$T/later" # borg reads again what is as new as its newest file
	for when in packed remounted unpacked packed_again; do
		case $when in
		packed*) pack_now ;;
		remounted) mnt_down && app_up ;;
		unpacked) unpack_all ;;
		esac
		borg create --list --filter AM "$T/borgrepo::$when" "$M/src" 2>"$T/err" || { cat "$T/err"; fail borg; }
		[ "$(wc -l <"$T/err")" -le 1 ] || fail "$when: read again: $(head -n 5 "$T/err")"
	done
	borg check --verify-data "$T/borgrepo"
	rm -rf "$T/restored" && mkdir "$T/restored"
	(cd "$T/restored" && borg extract "$T/borgrepo::packed_again")
	diff -r --no-dereference "$M/src" "$T/restored$M/src" || fail "differs"
fi
app_end
