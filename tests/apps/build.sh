#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A C project is built with make -j2 on the mount while it is packed, with ccache too; Python compiles
# its modules there. Nothing is built twice.
. "$(dirname "$0")/apps.sh"
need make cc ar ccache python3

app_up
p=$M/project
mkdir -p "$p/src"
n=$((30 * APPS_SCALE))
{
	printf 'OBJS=%s\n' "$(seq -f 'src/f%g.o' -s ' ' 1 $n)"
	printf 'all: main\n-include $(OBJS:.o=.d)\n%%.o: %%.c\n\t$(CC) -g -O1 -MMD -Iinc -c $< -o $@\n'
	printf 'lib.a: $(OBJS)\n\trm -f $@\n\t$(AR) rcs $@ $^\nmain: src/main.c lib.a\n\t$(CC) -g -Iinc -o $@ $^\n'
	printf 'inc/all.h: make-header\n\tmkdir -p inc\n\tsh make-header >$@.tmp\n\tmv $@.tmp $@\n$(OBJS): inc/all.h\n'
} >"$p/Makefile"
echo "for i in \$(seq 1 $n); do echo \"int f\$i(int);\"; done; echo '#include <stdio.h>'" >"$p/make-header"
for i in $(seq 1 $n); do printf '#include "all.h"\nint f%d(int x)\n{\n\treturn x + %d;\n}\n' $i $i; done |
	awk -v dir="$p/src" '/^#include/ { close(f); f = dir "/f" ++i ".c" } { print >f }'
{
	printf '#include "all.h"\nint main(void)\n{\n\tint x = 0;\n'
	seq -f $'\tx = f%g(x);' 1 $n
	printf '\tprintf("%%d\\n", x);\n\treturn 0;\n}\n'
} >"$p/src/main.c"

build() { make -C "$p" -j2 all >"$T/out" 2>&1 || { tail -n 20 "$T/out"; fail make; }; }
idle() { make -C "$p" -q all || fail "make would build again"; }
claim "make -j2, and the program runs from the mount"
build
[ "$("$p/main")" = $((n * (n + 1) / 2)) ] || fail "the program is wrong"
idle
claim "packed: nothing is out of date, the program runs"
pack_now
[ "$(store_form project/main)" = packed ] || fail "the program was not packed"
[ "$("$p/main")" = $((n * (n + 1) / 2)) ] || fail "the program is wrong"
idle
mnt_down
app_up
idle
claim "one file is changed: one is compiled"
sed -i 's/x + 5;/x + 1005;/' "$p/src/f5.c"
build
[ "$(grep -c -- ' -c ' "$T/out")" = 1 ] || fail "compiled: $(cat "$T/out")"
[ "$("$p/main")" = $((n * (n + 1) / 2 + 1000)) ] || fail "the program is wrong"
claim "a program that runs is not written to, and is replaced"
cp /bin/sleep "$p/runs"
pack_now
"$p/runs" 30 &
pid=$!
until_true 5 eval '[ "$(readlink /proc/$pid/exe)" = "$p/runs" ]'
! cp /bin/true "$p/runs" 2>/dev/null || fail "written to while it runs"
cp /bin/true "$p/runs.new" && mv "$p/runs.new" "$p/runs"
"$p/runs"
kill $pid
wait $pid || true
claim "ccache keeps what it knows on the mount, packed and after a remount"
export CCACHE_DIR=$M/ccache CCACHE_NOCOMPRESS=1
compile() { (cd "$p" && ccache cc -c -Iinc "src/f$1.c" -o "$T/$1.o") || fail "ccache"; }
hits() { ccache -s -v | awk '/^ *Hits:/ { print $2; exit }'; }
for i in 1 2 3 4 5 6 7 8; do compile $i; done
pack_now
for i in 1 2 3 4; do compile $i; done
mnt_down
app_up
for i in 5 6 7 8; do compile $i; done
[ "$(hits)" = 8 ] || fail "ccache has found $(hits) of 8"
claim "python: an environment on the mount, modules compiled there, not compiled again when they are packed"
python3 -m venv --without-pip "$M/venv"
mkdir "$M/modules"
for i in 1 2 3 4 5; do { text 20000 | sed "s/^/# /" && printf "\nx = %d\n" $i; } >"$M/modules/m$i.py"; done
unset PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX
sum() { PYTHONPATH=$M/modules "$M/venv/bin/python" -c 'import m1, m2, m3, m4, m5; print(m1.x + m5.x)'; }
[ "$(sum)" = 6 ] || fail "python"
stat -c '%n %i %Y' "$M"/modules/__pycache__/*.pyc >"$T/compiled"
[ "$(wc -l <"$T/compiled")" = 5 ] || fail "not compiled"
pack_now
mnt_down
app_up
[ "$(sum)" = 6 ] || fail "python, packed"
stat -c '%n %i %Y' "$M"/modules/__pycache__/*.pyc | cmp - "$T/compiled" || fail "compiled again"
app_end
