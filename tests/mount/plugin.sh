#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Transforms from shared objects: the examples of tests/plugins lay values where they say; the store
# remembers which one it is and opens with no other; what breaks a law is refused in one line.
. "$(dirname "$0")/harness.sh"
need jq zstd
: "${PLUGINS:?the folder of the built plugins}"
cp "$PLUGINS"/*.so "$T"

claim "an example with arguments: fields are folders"
mk_store --transform "$T/fields.so:-"
grep -q '^transform=plugin:fields.so:[0-9a-f]\{64\}:-$' "$S/.diskvfs/config" || fail "$(cat "$S/.diskvfs/config")"
mnt_up -o "transform=$T/fields.so:-,settle=0"
text 50000 >"$T/text"
for k in 2026-11-28 2026-11 2026 'a b-c' x.zst; do cp "$T/text" "$M/$k"; done
pack_now
for p in 2026/11/28.v 2026/11.v 2026.v 'a b/c.v' x.zst.v; do
	zstdcat "$S/$p.zst" | cmp - "$T/text" || fail "$p"
done
[ "$(ls "$M" | sort | tr '\n' ' ')" = '2026 2026-11 2026-11-28 a b-c x.zst ' ] || fail "listed: $(ls "$M")"
! (echo x >"$M/a--b") 2>"$T/err" || fail "a key that it refuses"
grep -q 'Invalid argument' "$T/err" || fail "$(cat "$T/err")"

claim "changes, renames, removals; empty folders go; what is no value is not listed"
echo more >>"$M/2026-11"
mv "$M/2026-11-28" "$M/2027-01-01"
rm "$M/a b-c"
echo stranger >"$S/stranger"
echo stranger >"$S/2026/stranger"
[ "$(ls "$M" | sort | tr '\n' ' ')" = '2026 2026-11 2027-01-01 x.zst ' ] || fail "listed: $(ls "$M")"
[ "$(tail -c 5 "$M/2026-11")" = more ] || fail "appended"
until_true 30 test ! -e "$S/a b"
cmp "$M/2027-01-01" "$T/text" || fail renamed
mnt_down

claim "no other one opens the store, and none is loaded that it merely names"
for o in '' "-o transform=path" "-o transform=$T/fields.so:+" "-o transform=$T/initials.so"; do
	! "$DISKVFS" mount "$S" "$M" $o 2>"$T/err" || fail "mounted with '$o'"
	[ "$(wc -l <"$T/err")" = 1 ] && grep -q "transform is plugin:fields.so" "$T/err" || fail "'$o': $(cat "$T/err")"
done
for c in pack unpack info keys 'has' 'gc --max-age 1d' 'cas verify'; do
	! "$DISKVFS" $c "$S" 2026 </dev/null >"$T/out" 2>"$T/err" || fail "$c"
done
! "$DISKVFS" pack "$S" 2>"$T/err" || fail "pack"
grep -q 'name that shared object: --transform FILE.so' "$T/err" || fail "$(cat "$T/err")"
! "$DISKVFS" verify "$S" 2>"$T/err" || fail "verify"
grep -q 'verify takes it with --transform' "$T/err" || fail "$(cat "$T/err")"
"$DISKVFS" verify "$S" --transform "$T/fields.so:-" >"$T/out" || fail "verify: $(cat "$T/out")"
grep -q '^stray: 2026/stranger: ' "$T/out" && grep -q '^4 packed values verified' "$T/out" || fail "$(cat "$T/out")"

claim "with it each command works on the store, and on its mount"
t=--transform=$T/fields.so:-
run() { "$DISKVFS" "$@" >"$T/out" 2>"$T/err" || fail "$*: $(cat "$T/err")"; }
works() { # works WHERE
	echo put | "$DISKVFS" put "$1" 2030-01 $t || fail put
	run get --transform "$T/fields.so:-" "$1" 2030-01
	[ "$(cat "$T/out")" = put ] || fail "get: $(cat "$T/out")"
	run has $t "$1" 2030-01
	run keys "$1" --sorted $t
	[ "$(tr '\n' ' ' <"$T/out")" = '2026 2026-11 2027-01-01 2030-01 x.zst ' ] || fail "keys: $(cat "$T/out")"
	run keys -U "$1" $t
	[ "$(sort "$T/out" | tr '\n' ' ')" = '2026 2026-11 2027-01-01 2030-01 x.zst ' ] || fail "keys -U"
	run rm "$1" 2030-01 $t
	run unpack "$1" $t
	run pack "$1" $t
	run info "$1" $t
	grep -q 'plugin:fields.so' "$T/out" || fail "info: $(cat "$T/out")"
	run export "$1" "$T/exported.$2" $t
	cmp "$T/exported.$2/2027-01-01" "$T/text" || fail export
	run import "$1" "$T/err" --prefix 2031-01- $t
	run has "$1" 2031-01-err $t
	run gc "$1" --max-size 1G $t
	key=$("$DISKVFS" cas put "$1" "$T/text" $t | cut -d ' ' -f 1)
	run cas verify "$1" $t
	run rm "$1" 2031-01-err "$key" $t
}
works "$S" store
[ "$("$DISKVFS" path "$S" 2026-11 $t)" = "$S/2026/11.v.zst" ] || fail path
mnt_up -o "transform=$T/fields.so:-"
works "$M" mount
mnt_down
! "$DISKVFS" keys "$S" --transform flat 2>"$T/err" || fail "no shared object"
grep -q 'names no shared object' "$T/err" || fail "$(cat "$T/err")"
for last in pack:1 keys:2; do
	status=0
	"$DISKVFS" "${last%:*}" "$S" --transform 2>"$T/err" || status=$?
	[ "$status" = "${last#*:}" ] && grep -q 'needs a value' "$T/err" || fail "$last: $status $(cat "$T/err")"
done
! "$DISKVFS" keys "$S" --transform "$T/fields.so:+" 2>"$T/err" || fail "another one"
grep -q ', not plugin:fields.so' "$T/err" || fail "$(cat "$T/err")"

claim "max_age erases in a mount of one, too"
touch -d '2 days ago' "$S/x.zst.v.zst"
(cd "$T" && "$DISKVFS" mount "$S" "$M" -o transform=fields.so:-,max_age=86400,noatime,coherence=0)
dv_pid=$(stat_json .pid)
dv_watch "$dv_pid"
until_true 60 test ! -e "$S/x.zst.v.zst"
mnt_down
cp "$T/text" "$S/x.zst.v"
"$DISKVFS" pack $t "$S" >/dev/null
cp "$T/fields.so" "$T/fields.new"
printf x >>"$T/fields.new"
mv "$T/fields.new" "$T/fields.so"
! "$DISKVFS" mount "$S" "$M" -o "transform=$T/fields.so:-" 2>"$T/err" || fail "another file"
# Not in place: a process that ends may have it mapped.
cp --remove-destination "$PLUGINS/fields.so" "$T"
mnt_up -o "transform=$T/fields.so:-"
cmp "$M/2027-01-01" "$T/text" || fail "remounted"
mnt_down

claim "an example without arguments, and in diskv's layout"
rm -rf "$S"
(cd "$T" && "$DISKVFS" init "$S" --transform ./initials.so --layout diskv:gzip)
(cd "$T" && "$DISKVFS" mount "$S" "$M" -o transform=initials.so,settle=0)
dv_pid=$(stat_json .pid)
dv_watch "$dv_pid"
echo hello >"$M/abc"
mnt_down
[ "$(gzip -dc <"$S/63/=abc")" = hello ] || fail "$(find "$S")"

claim "keys come in its own order; none that is equal by it is left out"
for k in zA ya xb wB za vc; do echo $k | "$DISKVFS" put "$S" $k --transform "$T/initials.so"; done
ordered() { "$DISKVFS" keys "$S" --sorted --transform "$T/initials.so" "$@" | tr '\n' ' '; }
[ "$(ordered)" = 'ya zA za wB xb abc vc ' ] || fail "$(ordered)"
[ "$(ordered --after za --limit 2)" = 'wB xb ' ] || fail "$(ordered --after za --limit 2)"
! "$DISKVFS" init "$T/other" --transform "$T/initials.so:x" 2>"$T/err" || fail "arguments"
grep -q 'takes no arguments' "$T/err" || fail "$(cat "$T/err")"

claim "a key beside folders of its name is refused, one way and the other"
rm -rf "$S"
mk_store --transform "$T/nested.so"
mnt_up -o "transform=$T/nested.so,settle=0"
cp "$T/text" "$M/ab"
pack_now
! (echo x >"$M/abcd") 2>"$T/err" || fail "abcd beside the packed ab"
grep -q 'Not a directory' "$T/err" || fail "$(cat "$T/err")"
rm "$M/ab"
cp "$T/text" "$M/abcd"
! (echo x >"$M/ab") 2>"$T/err" || fail "ab beside abcd"
grep -q 'Is a directory' "$T/err" || fail "$(cat "$T/err")"
cp "$T/text" "$M/z"
pack_now
! mv "$M/z" "$M/ab" 2>/dev/null || fail "renamed to ab"
cmp "$M/z" "$T/text" || fail z
mnt_down

claim "what breaks a law, or is no plugin, is refused in one line"
for n in 1 2 3 4 5 6 7 8; do
	! "$DISKVFS" init "$T/other" --transform "$T/broken$n.so" 2>"$T/err" || fail "broken $n"
	[ "$(wc -l <"$T/err")" = 1 ] || fail "broken $n: $(cat "$T/err")"
	[ ! -e "$T/other/.diskvfs/config" ] || fail "broken $n made a store"
done
echo text >"$T/text.so"
for f in nothing.so text.so fields.so fields.so:toolong; do
	! "$DISKVFS" init "$T/other" --transform "$T/$f" 2>"$T/err" || fail "$f"
	[ "$(wc -l <"$T/err")" = 1 ] && grep -q "$T/${f%%:*}" "$T/err" || fail "$f: $(cat "$T/err")"
done
