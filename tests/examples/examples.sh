#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The library as it is installed: header, shared and static library, pkg-config; the examples built with
# them and run; what the shared library shows.
#
#   examples.sh BUILD SOURCE     the build's folder; CC, CXX
set -Eeuo pipefail
build=$1 source=$2
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
trap 'echo "FAILED: line $LINENO: $BASH_COMMAND" >&2' ERR
fail() {
	echo "FAILED: $*" >&2
	exit 1
}

echo "- installed, pkg-config finds it"
DESTDIR=$T/root cmake --install "$build" --component Library >/dev/null
lib=$(dirname "$(find "$T/root" -name libdiskvfs.a)")
header=$(find "$T/root" -name diskvfs.h)
export PKG_CONFIG_PATH=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$T/root LD_LIBRARY_PATH=$lib
export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
[ "$(pkg-config --modversion diskvfs)" ] || fail "no version"
[ -e "$lib/libdiskvfs.so.0" ] || fail "SOVERSION is not 0"
[ -f "$header" ] || fail "no header"
for plugin in fields initials; do
	sed 's|"core/plugin.h"|<diskvfs/plugin.h>|' "$source/../plugins/$plugin.c" >"$T/$plugin.c"
	"${CC:-cc}" -D_GNU_SOURCE -std=gnu11 -shared -fPIC $(pkg-config --cflags diskvfs) -o "$T/$plugin.so" "$T/$plugin.c"
done

echo "- only what the header declares is shown"
nm -D --defined-only "$lib/libdiskvfs.so" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort >"$T/shown"
grep -oE '\bdvfs_[a-z_]+\(' "$header" | tr -d '(' | sort -u >"$T/declared"
! grep -v '^dvfs_' "$T/shown" || fail "foreign names are shown"
while read -r name; do
	grep -qxF "$name" "$T/declared" || fail "$name is shown but not declared"
done <"$T/shown"
grep -v '^typedef' "$header" | grep -E '^[a-z].*\bdvfs_[a-z_]+\(' |
	grep -oE 'dvfs_[a-z_]+\(' | tr -d '(' |
	while read -r name; do
		grep -qxF "$name" "$T/shown" || fail "$name is declared but not shown"
	done

echo "- each function and each struct has a manual page, which is well formed"
man3=$(dirname "$(find "$T/root" -name libdiskvfs.3)")
while read -r name; do
	[ -f "$man3/$name.3" ] || fail "no page of $name"
	page=$(sed -n 's|^\.so man3/||p' "$man3/$name.3")
	page=$man3/${page:-$name.3}
	sed -n '/^\.SH NAME/{n;p}' "$page" | grep -qw -- "$name" || fail "$name is not in the NAME of $page"
	sed -n '/^\.SH DESCRIPTION/,$p' "$page" | grep -qw -- "$name" || fail "$page says nothing of $name"
done < <(cat "$T/shown"; sed -n 's/^struct \(dvfs_[a-z_]*\) {.*/\1/p' "$header")
grep -q 'NUL terminated' "$man3/libdiskvfs.3" || fail "the overview says nothing of keys"
for page in "$man3"/*.3; do
	grep -q '^\.so' "$page" && continue
	! grep -nx / "$page" || fail "$page: the end of a comment is in the text"
	if command -v groff >/dev/null; then
		groff -man -ww -z "$page" 2>"$T/err"
		[ ! -s "$T/err" ] || fail "groff: $(cat "$T/err")"
	fi
	if command -v mandoc >/dev/null; then
		mandoc -T lint -W warning "$page" >"$T/err" || fail "mandoc: $(cat "$T/err")"
	fi
done

flags="-Wall -Wextra -Werror ${SANITIZE:+-fsanitize=$SANITIZE}"
for c in super_simple content_addressable git_like advanced_transform; do
	echo "- $c, shared and static"
	extra=
	[ $c != content_addressable ] || extra=$(pkg-config --libs libcrypto)
	"${CC:-cc}" -D_GNU_SOURCE -std=gnu11 $flags $(pkg-config --cflags diskvfs) -o "$T/$c" \
		"$source/$c.c" $(pkg-config --libs diskvfs) $extra
	"${CC:-cc}" -D_GNU_SOURCE -std=gnu11 $flags $(pkg-config --cflags diskvfs) -o "$T/$c.static" \
		"$source/$c.c" "$lib/libdiskvfs.a" \
		$(PKG_CONFIG_SYSROOT_DIR= pkg-config --libs libzstd libcrypto zlib) -lm -pthread -ldl
	mkdir -p "$T/store/a" "$T/store/b"
	"$T/$c" "$T/store/a"
	"$T/$c" "$T/store/a"
	"$T/$c.static" "$T/store/b" >/dev/null
	rm -r "$T/store"
done 2>&1

echo "- C++ includes the header, C of 1999 too"
echo '#include <diskvfs.h>' >"$T/c99.c"
"${CC:-cc}" -D_POSIX_C_SOURCE=200809L -std=c99 -pedantic -Wall -Wextra -Werror -fsyntax-only \
	$(pkg-config --cflags diskvfs) "$T/c99.c"
if command -v "${CXX:-c++}" >/dev/null; then
	for std in c++98 c++17; do
		"${CXX:-c++}" -std=$std -Wall -Wextra -pedantic -Wno-long-long -Werror \
			${SANITIZE:+-fsanitize=$SANITIZE} $(pkg-config --cflags diskvfs) -o "$T/header" \
			"$source/header.cc" $(pkg-config --libs diskvfs)
		"$T/header" "$T/cxx"
	done
else
	echo "  (no C++ compiler)"
fi
