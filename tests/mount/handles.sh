#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# File handles (name_to_handle_at): they survive what the kernel forgets, packing and renaming, lead
# to nothing else after a remount, and a bounded number is remembered.
. "$(dirname "$0")/harness.sh"
need jq python3
[ "$(id -u)" = 0 ] || skip "open_by_handle_at is root's alone"

handles() { python3 "$here/handles.py" "$@"; }
# The kernel lets go of what nobody uses of this mount, as a remount makes it; the daemon has heard
# of it when it returns. (drop_caches would take other tests' warm files from them.)
forget_all() {
	mount -i -o remount,rw,nosuid,nodev "$M"
	until_true 20 forgotten
}
forgotten() { [ "$(stat_json .nodes)" -le "${1:-1}" ]; }
# reads EXPECTED [FILE]
reads() {
	handles read "$M" "${2:-$T/handles}" >"$T/got" || fail "handles.py"
	diff <(printf '%s\n' "$1") "$T/got" || fail "that is not what the handles lead to"
}

mk_store
mnt_up -o settle=3600,max_nodes=1024
mkdir -p "$M/d/e"
echo one >"$M/d/e/f"
text 300000 >"$M/d/big"
ln -s target "$M/d/l"
big="data $(text 300000 | head -c 60 | tr '\n' ' ')"
handles save "$T/handles" "$M/d" "$M/d/e" "$M/d/e/f" "$M/d/big" "$M/d/l" "$M"

claim "handles of all types are opened when the kernel has forgotten what they are of"
reads "dir big e l
dir f
data one
${big% }
link target
dir d"
for pass in 1 2; do
	forget_all
	reads "dir big e l
dir f
data one
${big% }
link target
dir d"
done

claim "and after packing and renaming, of the file and of directories above it"
pack_now
mv "$M/d" "$M/x"
mv "$M/x/e/f" "$M/x/e/g"
forget_all
reads "dir big e l
dir g
data one
${big% }
link target
dir x"
[ "$(store_form x/big)" = packed ] || fail "it was not packed"

claim "a handle is written through, and a descriptor made of it outlives the name"
handles save "$T/one" "$M/x/e/g"
forget_all
handles write "$M" "$T/one" two
[ "$(cat "$M/x/e/g")" = $'one\ntwo' ] || fail "it reads $(cat "$M/x/e/g")"
forget_all
coproc handles hold "$M" "$T/one"
holder=$COPROC_PID # which the shell forgets when it has ended
read -r line <&"${COPROC[0]}"
[ "$line" = open ] || fail "the handle was not opened: $line"
rm "$M/x/e/g"
{ exec 3<&"${COPROC[0]}"; } 2>/dev/null
echo >&"${COPROC[1]}"
read -r line <&3
exec 3<&-
[ "$line" = "data one two" ] || fail "the descriptor reads $line"
wait "$holder" || fail "handles.py"

claim "what was removed is ESTALE, here and in the store, though another file has its name"
reads ESTALE "$T/one"
echo other >"$M/x/e/g"
reads ESTALE "$T/one"
handles save "$T/one" "$M/x/e/g"
forget_all
echo new >"$S/x/e/new"
mv "$S/x/e/new" "$S/x/e/g"
reads ESTALE "$T/one"

claim "the last max_nodes/16 are found again, no more are kept"
mkdir "$M/many"
seq -f "$M/many/%g" 1 200 | xargs touch
mapfile -t names < <(seq -f "$M/many/%g" 1 200)
handles save "$T/many" "${names[@]}"
for name in "${names[@]}"; do : <"$name"; done
forget_all
handles read "$M" "$T/many" >"$T/got"
found=$(grep -c '^data' "$T/got" || true)
[ "$found" -ge 30 ] && [ "$found" -le 64 ] || fail "$found are found of 200, where 64 are kept"
[ "$(stat_json .store_nodes)" -le 70 ] || fail "$(stat_json .store_nodes) are kept"

claim "another mount's handles are ESTALE, never another file"
handles save "$T/handles" "$M/x" "$M/x/big"
mnt_down
mnt_up
ls -R "$M" >"$T/listed"
reads "ESTALE
ESTALE"
forget_all
reads "ESTALE
ESTALE"
mnt_down
