#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Truncating a value and writing it anew replaces it whole: the store shows the old one until the
# last writer is gone or the first fsync, and the new one after.
. "$(dirname "$0")/harness.sh"
need jq zstd python3

# What rests packed, and what stays raw because it is incompressible.
text 70000 >"$T/old.packed"
noise 70000 >"$T/old.raw"
seq 9999999 | head -c 3000000 >"$T/new" || true
form=packed

is_old() { stored "$1" | cmp -s - "$T/old.$form"; }
is_new() { stored "$1" | cmp -s - "$T/new"; }

# good KEY: a good value, in form $form, lies under KEY, at rest.
good() {
	rm -f "$M/$1"
	cp "$T/old.$form" "$M/$1"
	pack_now
	[ "$(store_form "$1")" = "$form" ] || fail "$1 is $(store_form "$1"), not $form"
	is_old "$1" || fail "the store does not hold the good value"
}

mk_store
# settle=1: what goes wrong by quiet time goes wrong within this test.
mnt_up -o settle=1

for form in raw packed; do
	claim "$form: the store shows the good value while a slow writer has '>' open"
	good "dump.$form"
	exec 7>"$M/dump.$form"
	is_old "dump.$form" || fail "gone at open"
	[ "$(stat -c %s "$M/dump.$form")" = 0 ] || fail "the mount does not show the truncation"
	head -c 1000000 "$T/new" >&7
	is_old "dump.$form" || fail "gone after the first write"
	# Packing commits what has no writer: this has one.
	pack_now
	is_old "dump.$form" || fail "pack took it from its writer"
	# Longer than settle.
	sleep 3
	is_old "dump.$form" || fail "quiet time took it from its writer"
	cmp <(head -c 1000000 "$T/new") "$M/dump.$form" || fail "the mount does not show the new bytes"
	tail -c +1000001 "$T/new" >&7
	is_old "dump.$form" || fail "gone before close"

	claim "$form: the whole new value stands there when the writer is gone"
	exec 7>&-
	pack_now
	is_new "dump.$form" || fail "the store does not hold the new value"
	same "$M/dump.$form" "$T/new"
	[ "$(stat_json .values.pending)" = 0 ] || fail "$(stat_json .values.pending) still pending"
done

claim "without pack, within seconds: the new value follows the last close"
good later
exec 7>"$M/later"
cat "$T/new" >&7
exec 7>&-
until_true 60 is_new later

claim "two writers: the last one counts"
good two
exec 7>"$M/two"
exec 8>>"$M/two"
cat "$T/new" >&7
exec 7>&-
pack_now
is_old two || fail "a writer is left, but the store shows the new value"
exec 8>&-
pack_now
is_new two || fail "no writer is left, but the store does not show the new value"

claim "a mapping is a writer, after close too"
good mapped
mkfifo "$T/to" "$T/from"
python3 "$here/mmap_writer.py" "$M/mapped" "$T/new" <"$T/to" >"$T/from" &
writer=$!
exec 8>"$T/to" 9<"$T/from"
read -r word <&9 && [ "$word" = mapped ]
pack_now
is_old mapped || fail "the store shows a new value while it is mapped for writing"
sleep 3
is_old mapped || fail "quiet time took it from its mapping"
echo go >&8
exec 8>&-
wait "$writer"
exec 9<&-
pack_now
is_new mapped || fail "the store does not hold the new value"
same "$M/mapped" "$T/new"

claim "the first fsync publishes what is there, with a writer left"
good synced
exec 7>"$M/synced"
cat "$T/new" >&7
sync "$M/synced"
is_new synced || fail "fsync returned, but the store does not show the new value"
exec 7>&-

claim "cp over it and O_TRUNC of an empty result"
good copied
cp "$T/new" "$M/copied"
pack_now
is_new copied
good emptied
: >"$M/emptied"
pack_now
[ "$(stored emptied | wc -c)" = 0 ]
[ "$(stat -c %s "$M/emptied")" = 0 ]

claim "a rename over a good value: old or new, never less"
good target
cp "$T/new" "$M/target.tmp"
mv "$M/target.tmp" "$M/target"
is_new target || fail "after the rename the store does not show the new value"
[ ! -e "$S/target.tmp" ] && [ ! -e "$S/target.tmp.zst" ] || fail "the old name is left"

claim "a reader of the store sees old or new, whole, while values are replaced in a loop"
python3 "$here/replace_reader.py" "$M" "$S" loop "${REPLACEMENTS:-300}" || fail "a torn value"

claim "unmounting with a replacement pending finishes it"
good last
cat "$T/new" >"$M/last"
mnt_down
is_new last || fail "the unmounted store does not hold the new value"
all_zst_good
[ -z "$(ls -A "$S/.diskvfs/stage" 2>/dev/null)" ] || fail "left in the stage: $(ls "$S/.diskvfs/stage")"

claim "without CAP_DAC_READ_SEARCH, as root of a container has it, a writer is found by the value's name"
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	mkdir -p "$M"
	setpriv --bounding-set=-dac_read_search "$DISKVFS" mount "$S" "$M" -o settle=3600
	dv_pid=$(stat_json .pid) && dv_watch "$dv_pid"
	text 50000 >"$M/closed"
	exec 7>"$M/open"
	text 50000 >&7
	"$DISKVFS" pack "$M" >"$T/out"
	grep -q ', 1 in use' "$T/out" && [ -e "$S/closed.zst" ] && [ ! -e "$S/open.zst" ] || fail "$(cat "$T/out")"
	exec 7>&-
	"$DISKVFS" pack "$M" >"$T/out"
	! grep -q 'in use' "$T/out" && [ -e "$S/open.zst" ] || fail "$(cat "$T/out")"
	mnt_down
fi
