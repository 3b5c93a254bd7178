#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Programs that keep trees alike and many of them: rsnapshot, cp -al and rsync --link-dest, unison,
# rclone, bup; rsync's ways to write a file. What was linked stays linked, what is alike is left alone.
. "$(dirname "$0")/apps.sh"
need rsync rsnapshot unison rclone bup

# change DIR: some files are changed, one is new, one goes; the same each time for a number.
change() {
	find "$1" -type f -size +20k | sort | awk "NR % 20 == $2 % 20" | while IFS= read -r f; do
		echo "changed $2" >>"$f"
	done
	text $((50000 + $2)) >"$1/new.$2"
	rm -f "$1/new.$(($2 - 2))"
}
same_tree() { diff -rq --no-dereference "$1" "$2" || fail "$1 and $2 differ"; }
inodes() { find "$1" -type f -printf '%P %i %n\n' | sort; }

source_tree "$T/src" $((4 * APPS_SCALE))
app_up

claim "rsnapshot: what has not changed is linked, packed and after a remount; each snapshot stays what it was"
tr ' ' '\t' >"$T/rsnapshot.conf" <<EOF
config_version 1.2
snapshot_root $M/snap/
cmd_rsync /usr/bin/rsync
cmd_cp /bin/cp
cmd_rm /bin/rm
retain often 3
retain seldom 2
lockfile $T/lock
verbose 1
EOF
printf 'rsync_long_args\t--delete --numeric-ids -A -X\n' >>"$T/rsnapshot.conf"
printf 'backup\t%s/\tsrc/\n' "$T/src" >>"$T/rsnapshot.conf"
for i in 1 2 3 4; do
	rsnapshot -c "$T/rsnapshot.conf" often >"$T/out" 2>&1 || { cat "$T/out"; fail rsnapshot; }
	cp -a "$T/src" "$T/was.$i"
	case $i in
	1) pack_now ;;
	2) mnt_down && app_up ;;
	3) rsnapshot -c "$T/rsnapshot.conf" seldom >"$T/out" 2>&1 || { cat "$T/out"; fail rsnapshot; } ;;
	esac
	change "$T/src" $i
done
same_tree "$T/was.4" "$M/snap/often.0/src"
same_tree "$T/was.3" "$M/snap/often.1/src"
same_tree "$T/was.1" "$M/snap/seldom.0/src"
pack_now
same_tree "$T/was.2" "$M/snap/often.2/src"
# What is new in no snapshot is one value of all four.
f=$(cd "$T/was.1" && find . -type f -size -9k | sort | sed -n 1p)
[ "$(stat -c %h "$M/snap/often.0/src/$f")" = 4 ] || fail "$f has $(stat -c %h "$M/snap/often.0/src/$f") links"
once=$(du -s "$M/snap/often.0" | cut -f 1)
[ "$(du -s "$M/snap" | cut -f 1)" -lt $((2 * once)) ] || fail "du counts what is linked more than once"

claim "rsync --link-dest and cp -al: an edit of one name shows in all that are linked, a replacement in one"
rsync -a --link-dest="$M/snap/often.0/src" "$T/was.4/" "$M/linked/"
[ "$(stat -c %h "$M/linked/$f")" = 5 ] || fail "not linked"
cp -al "$M/linked" "$M/linked2"
pack_now
echo edit >>"$M/linked2/$f"
[ "$(tail -n 1 "$M/linked/$f")" = edit ] || fail "an edit does not show in the other name"
pack_now
rsync -a --ignore-times --link-dest="$M/snap/often.1/src" "$T/was.4/" "$M/linked2/"
same_tree "$T/was.4" "$M/linked2"
[ "$(tail -n 1 "$M/linked/$f")" = edit ] || fail "rsync wrote through a link"
inodes "$M/linked" >"$T/before"
mnt_down
app_up
inodes "$M/linked" | diff "$T/before" - >"$T/diff" || fail "links or inode numbers changed: $(head -n 3 "$T/diff")"
rm -rf "$M/snap" "$M/linked2" "$M/linked"

for i in 1 2 4; do rsync -am --min-size=20k "$T/was.$i/" "$T/large.$i/"; done
for how in --whole-file --no-whole-file --partial --append-verify --sparse "--inplace --no-whole-file" --delay-updates \
	--fuzzy --fsync "--backup --suffix=.old" "--temp-dir=$M/temp" --preallocate "-z --compress-choice=zstd"; do
	claim "rsync $how"
	mkdir -p "$M/temp"
	rsync -a $how "$T/large.1/" "$M/to/"
	pack_now
	rsync -a $how "$T/large.2/" "$M/to/"
	rsync -a $how --exclude '*.old' --delete "$T/large.4/" "$M/to/"
	find "$M/to" -name '*.old' -delete
	case $how in --append*) ;; *) same_tree "$T/large.4" "$M/to" ;; esac
	rm -rf "$M/to"
done

claim "unison: changes of both sides meet, and then nothing is left to do, packed or after a remount"
export UNISON=$T/unison HOME=$T
uni() { unison -batch -silent -ui text -times -owner -group -perms -1 -confirmbigdel=false "$@"; }
cp -a "$T/was.1" "$T/here"
mkdir "$M/there"
uni "$T/here" "$M/there" >"$T/out" 2>&1 || { tail "$T/out"; fail unison; }
same_tree "$T/here" "$M/there"
pack_now
change "$T/here" 3
change "$M/there" 8
uni "$T/here" "$M/there" >"$T/out" 2>&1 || { tail "$T/out"; fail unison; }
same_tree "$T/here" "$M/there"
nothing_to_do() {
	unison -batch -ui text -times -owner -group -perms -1 "$T/here" "$M/there" >"$T/out" 2>&1 || fail unison
	grep -qE 'Nothing to do|no updates' "$T/out" || { cat "$T/out"; fail "unison finds something to do"; }
}
pack_now
nothing_to_do
mnt_down
app_up
nothing_to_do

claim "rclone: sync, and check by hash; nothing is copied again"
rc() { rclone --config /dev/null --log-file "$T/rclone.log" --stats 0 "$@" || { tail "$T/rclone.log"; fail "rclone $1"; }; }
rc sync -l "$T/was.2" "$M/rc"
pack_now
rc check -l "$T/was.2" "$M/rc"
rm "$T/rclone.log"
rc sync -l -v "$T/was.2" "$M/rc"
! grep -E 'Copied|Updated' "$T/rclone.log" || fail "copied again"
rc sync -l "$T/was.4" "$M/rc"
mnt_down
app_up
rc check -l "$T/was.4" "$M/rc"
rc sync -l "$M/rc" "$T/rcback"
same_tree "$T/was.4" "$T/rcback"

claim "bup: an archive on the mount; fsck, restore; an index of the mount stays right"
export BUP_DIR=$M/bup
b() { bup "$@" >"$T/out" 2>&1 || { tail "$T/out"; fail "bup $*"; }; }
b init
b index "$T/was.1"
b save -n one "$T/was.1"
pack_now
b index "$M/rc"
b save -n mount "$M/rc"
b index -u --no-check-device "$M/rc"
[ -z "$(bup index -p -m "$M/rc" | grep -v '/$')" ] || fail "bup takes files for changed"
pack_now
mnt_down
app_up
# The number of the device may be another one now.
b index -u --no-check-device "$M/rc"
[ -z "$(bup index -p -m "$M/rc" | grep -v '/$')" ] || fail "bup takes files for changed after a remount"
b fsck
b restore -C "$T/bupped" "/one/latest$T/was.1/."
same_tree "$T/was.1" "$T/bupped"
app_end
