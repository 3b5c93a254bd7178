#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Coming and leaving: a folder with .zst files is adopted and given back; unpack makes plain files of
# packed ones, mounted or not, and they stay so until they change.
. "$(dirname "$0")/harness.sh"
need jq zstd getfattr setfattr

# listing DIR: names, modes, owners, sizes, times of all below it, but the control folder.
listing() { (cd "$1" && find . -path ./.diskvfs -prune -o -printf '%p %y %m %u:%g %T@ %l\n' | sort); }

# no_zst DIR: nothing there is packed.
no_zst() { [ -z "$(find "$1" -name .diskvfs -prune -o -type f -name '*.zst' -print)" ]; }

plain=$T/plain
mkdir -p "$plain/sub/deeper"
for name in a sub/b sub/deeper/c "sub/with space" sub/x.zst; do text 50000 >"$plain/$name"; done
text 700000 >"$plain/large"
echo small >"$plain/small"
ln -s a "$plain/link"
chmod 640 "$plain/a"
find "$plain" -exec touch -h -d '2021-03-04 05:06:07.123456789' {} +

claim "unpack of a directory, of a key: equal, with owner, mode, times, attributes"
mk_store
mnt_up -o settle=1
cp -a "$plain/." "$M"
setfattr -n user.note -v kept "$M/sub/b"
touch -d '2021-03-04 05:06:07.123456789' "$M"
pack_now
[ "$(store_form sub/b)$(store_form large)$(store_form a)" = packedpackedpacked ] || fail "not packed"
"$DISKVFS" unpack "$M" sub "with no such key" >"$T/out" 2>&1 && fail "a key that is not there"
grep -q 'unpacked 4 values' "$T/out" || fail "$(cat "$T/out")"
grep -q 'with no such key: no such key, and none below it' "$T/out" || fail "$(cat "$T/out")"
"$DISKVFS" unpack "$M" "" >"$T/out" 2>&1 && fail "an empty key"
grep -q 'unpacked 0 values' "$T/out" && [ "$(store_form large)" = packed ] || fail "$(cat "$T/out")"
"$DISKVFS" unpack "$M" large >>"$T/log"
[ "$(store_form sub/b)$(store_form "sub/with space")$(store_form large)" = rawrawraw ] || fail "not raw"
[ "$(store_form a)" = packed ] || fail "a was unpacked too"
[ "$(getfattr --only-values --absolute-names -n user.note "$S/sub/b")" = kept ] || fail "user.note"
diff <(listing "$plain") <(listing "$M") || fail "see above"
diff -r "$plain" "$M" || fail "see above"

claim "they stay raw while others are packed, after a change they are not"
text 60000 >"$M/other"
text 60000 >>"$M/sub/with space"
until_true 20 eval '[ "$(store_form other)" = packed ]'
until_true 20 eval '[ "$(store_form "sub/with space")" = packed ]'
[ "$(store_form sub/b)$(store_form large)" = rawraw ] || fail "packed again"

claim "so after kill -9 of the daemon, whose walk packs what is raw by accident"
text 60000 >"$M/accident"
sync -f "$M/accident"
kill -KILL "$dv_pid"
until_true 20 dv_ended "$dv_pid"
umount -l "$M"
mnt_up -o settle=1
until_true 20 eval '[ "$(store_form accident)" = packed ]'
[ "$(store_form sub/b)$(store_form large)" = rawraw ] || fail "packed again"

claim "pack packs them again"
pack_now
[ "$(store_form sub/b)$(store_form large)" = packedpacked ] || fail "they stay raw"
rm "$M/accident" "$M/other"
truncate -s 50000 "$M/sub/with space"
touch -d '2021-03-04 05:06:07.123456789' "$M/sub/with space" "$M/sub" "$M"

claim "what is damaged is told, and does not keep the rest"
cp -p "$S/a.zst" "$T/a.zst"
printf 'XXXX' | dd of="$S/a.zst" bs=1 seek=100 conv=notrunc status=none
status=0
"$DISKVFS" unpack "$M" >"$T/out" 2>&1 || status=$?
[ "$status" = 2 ] && grep -q '1 failed' "$T/out" || fail "status $status: $(cat "$T/out")"
[ "$(store_form a)$(store_form sub/b)" = packedraw ] || fail "$(cat "$T/out")"
cat "$T/a.zst" >"$S/a.zst"
touch -r "$T/a.zst" "$S/a.zst"
pack_now
mnt_down

claim "unmounted: unpack, rm -r .diskvfs and one line leave the folder that was"
"$DISKVFS" unpack "$S" >"$T/out" || fail "$(cat "$T/out")"
no_zst "$S" || fail "packed files are left"
(
	cd "$S" && rm -r .diskvfs &&
		find . -depth -name '*.zst.raw' -execdir sh -c 'mv -nT -- "$1" "${1%.raw}"' sh {} \;
)
touch -d '2021-03-04 05:06:07.123456789' "$S/sub" "$S" # the line moves them
diff <(listing "$plain") <(listing "$S") || fail "see above"
diff -r "$plain" "$S" || fail "see above"
rm -r "$S"

claim "a folder with .zst files, adopted with --keep-zst, is shown as it was"
mkdir "$plain/d.zst"
zstd -q "$plain/large" -o "$plain/large.copy.zst"
zstd -q "$plain/small" -o "$plain/d.zst/small.zst"
echo 'not zstd' >"$plain/sub/lie.zst"
ln -s large.copy.zst "$plain/link.zst"
find "$plain" -exec touch -h -d '2021-03-04 05:06:07.123456789' {} +
cp -a "$plain" "$S"
"$DISKVFS" init "$S" --keep-zst 2>"$T/err" && fail "without --adopt"
"$DISKVFS" init "$S" --adopt --keep-zst --decode-zst 2>"$T/err" && fail "with both"
"$DISKVFS" init "$S" --adopt --keep-zst --transform split:3 2>"$T/err" && fail "with split"
[ ! -e "$S/.diskvfs" ] || fail "a refused init left something"
"$DISKVFS" init "$S" --adopt --keep-zst
mnt_up
diff <(listing "$plain") <(listing "$M") || fail "see above"
diff -r "$plain" "$M" || fail "see above"
pack_now
diff -r "$plain" "$M" || fail "after packing"
mnt_down

claim "and given back"
"$DISKVFS" unpack "$S" >"$T/out" || fail "$(cat "$T/out")"
(
	cd "$S" && rm -r .diskvfs &&
		find . -depth -name '*.zst.raw' -execdir sh -c 'mv -nT -- "$1" "${1%.raw}"' sh {} \;
)
diff -r "$plain" "$S" || fail "see above"
