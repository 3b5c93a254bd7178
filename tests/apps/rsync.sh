#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# rsync -aHAX in and out: nothing is sent again where nothing changed, packed or not.
. "$(dirname "$0")/apps.sh"
need rsync setfacl setfattr

source_tree "$T/src" $((15 * APPS_SCALE))
(
	cd "$T/src"
	text 200000 >acl && setfacl -m u:1234:rw,g:4321:r acl
	text 300000 >attr && setfattr -n user.note -v hello attr
	text 30000 >one && ln one two && ln one three
	mkdir dir && setfacl -d -m u:1234:rx dir && touch -d @1234567890.123456789 dir
	truncate -s 5M holes && text 10000 | dd of=holes bs=4096 seek=700 conv=notrunc status=none
	mkfifo pipe
	ln -s nowhere dangling
	chmod 2755 dir
	text 100000 >packed.zst
)
sync_it() { rsync -aHAX --numeric-ids --delete --itemize-changes "$@"; }
nothing_from() { sync_it "$1/" "$2/" >"$T/items" && [ ! -s "$T/items" ] || fail "not the same: $(head -n 5 "$T/items")"; }

app_up
mkdir "$M/to"

claim "in, and then there is nothing to do"
sync_it "$T/src/" "$M/to/" >"$T/items"
nothing_from "$T/src" "$M/to"
claim "nor when all is packed"
pack_now
nothing_from "$T/src" "$M/to"
claim "nor after a remount"
mnt_down
app_up
nothing_from "$T/src" "$M/to"
claim "nothing differs by content either"
sync_it --checksum "$T/src/" "$M/to/" >"$T/items"
[ ! -s "$T/items" ] || fail "$(head -n 5 "$T/items")"

claim "out: the copy equals the source"
mkdir "$T/out"
sync_it "$M/to/" "$T/out/" >"$T/items"
sync_it --checksum "$T/src/" "$T/out/" >"$T/items"
[ ! -s "$T/items" ] || fail "$(head -n 5 "$T/items")"

for how in "" --inplace --append; do
	claim "packed values are updated: rsync $how"
	find "$T/src" -type f -size +20k | sort | awk "NR <= 40" >"$T/changed"
	while IFS= read -r f; do
		text 20000 >>"$f"
		[ "$how" = --append ] || printf 'changed' | dd of="$f" bs=1 seek=9000 conv=notrunc status=none
	done <"$T/changed"
	sync_it $how "$T/src/" "$M/to/" >"$T/items"
	sync_it --checksum "$T/src/" "$M/to/" >"$T/items"
	[ ! -s "$T/items" ] || fail "$(head -n 5 "$T/items")"
	pack_now
	sync_it --checksum "$T/src/" "$M/to/" >"$T/items"
	[ ! -s "$T/items" ] || fail "packed: $(head -n 5 "$T/items")"
done
app_end
