#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Four mounts of one store, whose daemons are killed, stopped and mounted again while programs on all of them change
# the same keys. OWNERS_SECONDS, SEED.
. "$(dirname "$0")/harness.sh"
need jq zstd python3

: "${OWNERS_SECONDS:=10}" "${SEED:=$RANDOM}"
mk_store
mounts=("$T/mnt1" "$T/mnt2" "$T/mnt3" "$T/mnt4")
mkdir "${mounts[@]}"

# The daemons that live, for whatever end the test has.
living() {
	local m
	for m in "${mounts[@]}"; do
		dv_pid=$(M=$m stat_json .pid 2>/dev/null) || continue
		dv_watch "$dv_pid"
	done
}

claim "what a killed mount was replacing a value with comes before what a program writes that has it open elsewhere"
M=${mounts[1]} mnt_up -o coherence=0,settle=60
killed=$dv_pid
M=${mounts[0]} mnt_up -o coherence=0,settle=60
noise 3000 >"$S/value"
python3 - "${mounts[0]}/value" "${mounts[1]}/value" "$killed" <<'EOF'
import os, signal, sys
mine, theirs, killed = sys.argv[1], sys.argv[2], int(sys.argv[3])
fd = os.open(mine, os.O_RDWR)
with open(theirs, "wb", buffering=0) as f:
	f.write(b"o" * 1000)
	os.kill(killed, signal.SIGKILL)
	assert os.pwrite(fd, b"mine", 100) == 4
	want = b"o" * 100 + b"mine" + b"o" * 896
	got = os.pread(fd, 4000, 0)
	assert got == want, (len(got), got[:120])
EOF
[ "$(cat "${mounts[0]}/value" | tr -d o)" = mine ] || fail "$(head -c 200 "${mounts[0]}/value")"
[ ! -e "$S/.diskvfs/lost" ] || fail "put aside: $(ls "$S/.diskvfs/lost")"
rm "${mounts[0]}/value"
M=${mounts[0]} mnt_down
umount "${mounts[1]}"

claim "no acknowledged change is lost or undone, whole values win whole, over kills; all agree, seed $SEED"
good=1
python3 "$here/owners.py" "$DISKVFS" "$S" "$OWNERS_SECONDS" "$SEED" "$T/log" "${mounts[@]}" >"$T/out" 2>&1 || good=0
living
tail -n 1 "$T/out"
[ "$good" = 1 ] || {
	cat "$T/out"
	fail "see above (SEED=$SEED)"
}
claim "and at rest nothing is left over: no stage, no second form, no damage"
for M in "${mounts[@]}"; do
	dv_pid=$(stat_json .pid)
	mnt_down
done
[ -z "$(ls -A "$S/.diskvfs/stage")" ] || fail "left in the stage: $(find "$S/.diskvfs/stage")"
all_zst_good
"$DISKVFS" verify -q "$S" >"$T/out" 2>&1 || fail "verify: $(cat "$T/out")"
