#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What a look at the text can tell: licence lines, marks of unfinished work, paths of one machine.
#
#   check_style.sh ROOT    prints what it finds; status 1 if anything
set -uo pipefail
cd "$1" || exit 1
found=0

complain() { # complain TEXT LINES
	[ -z "$2" ] && return
	printf '%s:\n%s\n\n' "$1" "$2"
	found=1
}

mapfile -t sources < <(find core fs tests scripts .ci -type f \
	\( -name '*.[ch]' -o -name '*.sh' -o -name '*.py' -o -path 'scripts/*' -o -path '.ci/*' \) |
	grep -v __pycache__ | sort)
mapfile -t texts < <(printf '%s\n' "${sources[@]}" CMakeLists.txt ./*.md */README.md */CMakeLists.txt)

complain "without a licence line at the top" \
	"$(for f in "${sources[@]}"; do
		head -n 3 "$f" | grep -q 'SPDX-License-Identifier: MIT' || echo "$f"
	done)"
complain "marks of unfinished work (they belong into the tracker)" \
	"$(grep -nE '\b(TOD[O]|FIXM[E]|XX[X]|HAC[K])\b' -- "${sources[@]}")"
complain "paths of one machine" \
	"$(grep -nE '(^|[^A-Za-z0-9_.}$])/(wor[k]|far[m]|roo[t])/' -- "${texts[@]}" 2>/dev/null)"
complain "blanks at the end of a line" \
	"$(grep -nE '[[:blank:]]+$' -- "${sources[@]}" | cut -c1-100)"
complain "spaces where tabs indent" \
	"$(grep -nE '^ {8}' -- $(printf '%s\n' "${sources[@]}" | grep '\.[ch]$') | cut -c1-100)"
[ "$found" = 0 ] && echo "${#sources[@]} files: nothing found"
exit $found
