#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# diskvfs(1): no warning of groff or mandoc, every command, and every option that --help shows.
. "$(dirname "$0")/harness.sh"
need groff mandoc

claim "the page is well formed"
"$DISKVFS" --man >"$T/diskvfs.1"
groff -man -ww -z "$T/diskvfs.1" 2>"$T/err"
[ ! -s "$T/err" ] || fail "groff: $(cat "$T/err")"
mandoc -T lint -W warning "$T/diskvfs.1" >"$T/err" || fail "mandoc: $(cat "$T/err")"
MANWIDTH=100 man -l "$T/diskvfs.1" >"$T/text" 2>"$T/err" || mandoc -T utf8 "$T/diskvfs.1" >"$T/text"
[ ! -s "$T/err" ] || fail "man: $(cat "$T/err")"

claim "each command is in it, with what its --help says"
groff -man -Tutf8 -rLL=200n "$T/diskvfs.1" | sed 's/\x1b\[[0-9;]*m//g; s/.\x08//g' >"$T/text"
for c in $("$DISKVFS" --help | sed -n 's/^  diskvfs \[*\([a-z]*\).*/\1/p'); do
	grep -q "^   $c\$" "$T/text" || fail "$c has no section"
	"$DISKVFS" "$c" --help >"$T/help" || fail "$c --help"
	for option in $(sed -n 's/^ *\(-[a-z], \)\{0,1\}\(--[a-z-]*\).*/\2/p' "$T/help") \
		$(sed -n 's/^  -o \([a-z_]*\).*/\1/p' "$T/help"); do
		word=$option
		[ "$c" != init ] || word=$(echo "${option#--}" | tr - _)
		[ "$option" != --help ] && [ "$option" != --foreground ] && [ "$option" != --debug ] || continue
		grep -q -- "$word" "$T/text" || fail "$c: $option is missing"
	done
done

claim "the exit statuses that it names are those that commands have"
status() { local s=0; "$@" >/dev/null 2>&1 || s=$?; echo "$s"; }
mk_store
[ "$(status "$DISKVFS" path "$S" none)" = 1 ] || fail path
for c in init unmount pack unpack reshard info path; do
	[ "$(status "$DISKVFS" "$c" --no-such-option)" = 1 ] || fail "$c: used wrongly"
done
for c in keys get put has rm import export gc 'cas put' 'cas verify'; do
	[ "$(status "$DISKVFS" $c --no-such-option)" = 2 ] || fail "$c: used wrongly"
done
for c in get has rm; do [ "$(status "$DISKVFS" "$c" "$S" none)" = 1 ] || fail "$c: no such key"; done
echo other | "$DISKVFS" put "$S" "$(sha256sum </dev/null | cut -d ' ' -f 1)"
[ "$(status "$DISKVFS" cas verify "$S")" = 1 ] || fail "cas verify: another value"
for c in 'pack' 'unpack' 'info' 'reshard --transform flat' 'keys'; do
	[ "$(status "$DISKVFS" $c "$T/nothing")" = 2 ] || fail "$c: no store"
done
[ "$(status "$DISKVFS" mount "$T/nothing" "$T")" = 32 ] || fail mount
[ "$(status "$DISKVFS" mount "$S")" = 1 ] || fail "mount used wrongly"
