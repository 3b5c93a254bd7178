#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The second night: a tree of small files is backed up again after a remount, with cold caches, by
# restic, borg and rsync, where nothing has changed. No file is read again, no byte of a value asked
# for; the time beside a plain ext4 is printed. Then a night on which one file in a hundred has changed.
#
#   NIGHT_FILES   how many (1000)
#   NIGHT_RUNS    second nights of each, the fastest counts (1)
. "$(dirname "$0")/apps.sh"
need restic borg rsync python3
[ "$(id -u)" = 0 ] || skip "images need root"
: "${NIGHT_FILES:=1000}"
: "${APPS_BACKING:=ext4}"

# Two images in one folder: the store's, and a plain tree beside it. A remount empties their caches,
# and the loop devices keep none.
image() { # image NAME
	mkdir -p "$T/$1"
	truncate -s 8G "$T/$1.img"
	case $APPS_BACKING in ext4) mkfs.ext4 -q "$T/$1.img" ;; *) "mkfs.$APPS_BACKING" -q "$T/$1.img" ;; esac >/dev/null
	image_mount "$1"
}
image_mount() {
	local loop
	loop=$(losetup -f --show --direct-io=on "$T/$1.img") || skip "no loop devices here"
	mount "$loop" "$T/$1"
	losetup -d "$loop" # goes with the mount, however that goes
}
image_umount() { umount "$T/$1"; }
cold() { # cold mount|plain
	if [ "$1" = plain ]; then
		image_umount plain
		image_mount plain
	else
		mnt_down
		image_umount store_disk
		image_mount store_disk
		mnt_up -o "$APPS_OPTIONS"
	fi
}
export RESTIC_PASSWORD=secret RESTIC_CACHE_DIR=$T/cache BORG_BASE_DIR=$T/borg
export BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes
# cpu_ms: processor time of the programs that have ended, and of the daemon, in milliseconds.
cpu_ms() {
	awk -v tick="$(getconf CLK_TCK)" '{ t += NR == 1 ? $16 + $17 : $14 + $15 } END { printf "%d", t * 1000 / tick }' \
		/proc/$$/stat "/proc/$dv_pid/stat"
}
# night PROGRAM SIDE: one backup of SIDE; says how many files were read in $read, and the time in $ms.
night() {
	local top=$M/tree from
	cpu=$(cpu_ms)
	[ "$2" = mount ] || top=$T/plain/tree
	from=$(date +%s%N)
	case $1 in
	restic)
		restic --repo "$T/restic.$2" backup --json "$top" >"$T/out" 2>"$T/err" || { cat "$T/err"; fail restic; }
		read=$(jq -r 'select(.message_type == "summary") | .files_new + .files_changed' <"$T/out")
		;;
	borg)
		borg create --list --filter AM "$T/borg.$2::{now:%f}$RANDOM" "$top" 2>"$T/err" || { cat "$T/err"; fail borg; }
		read=$(grep '^[AM] ' "$T/err" | grep -vc '/newest$' || true)
		;;
	rsync)
		rsync -a --itemize-changes --delete "$top/" "$T/rsync.$2/" >"$T/out" || fail rsync
		read=$(grep -c '^>f' "$T/out" || true)
		;;
	esac
	ms=$((($(date +%s%N) - from) / 1000000))
	cpu=$(($(cpu_ms) - cpu))
}
asked() { stat_json '.messages.READ // 0'; }

image plain
image store_disk
S=$T/store_disk/store
mk_store
python3 - "$T/plain/tree" "$NIGHT_FILES" <<'EOF'
import os, random, sys
top, n = sys.argv[1], int(sys.argv[2])
r = random.Random(1)
words = [("%x" % r.getrandbits(40)).encode() for _ in range(2000)]
for i in range(n):
    d = os.path.join(top, "%02d" % (i % 50), "%02d" % (i // 50 % 20))
    os.makedirs(d, exist_ok=True)
    size = int(r.expovariate(1 / 4000)) + 1
    with open(os.path.join(d, "f%d" % i), "wb") as f:
        f.write(b" ".join(r.choice(words) for _ in range(size // 9 + 1))[:size])
EOF
mnt_up -o "$APPS_OPTIONS"
cp -a "$T/plain/tree" "$M/tree"
pack_now
for side in plain mount; do restic -q init --repo "$T/restic.$side"; borg init -e none "$T/borg.$side"; done
# borg reads again what is as new as the newest file of all: that is one without bytes.
newest() {
	sleep 0.01
	: >"$T/plain/tree/newest"
	: >"$M/tree/newest"
}
newest
for program in restic borg rsync; do
	claim "$program: the first night, and the second with nothing changed: no file is read"
	declare -A best=() cpus=()
	for side in plain mount; do
		night $program $side
		[ "$program" = rsync ] || [ "$read" -ge "$NIGHT_FILES" ] || fail "$read files in the first backup"
	done
	for _ in $(seq "${NIGHT_RUNS:-1}"); do
		for side in plain mount; do
			cold $side
			night $program $side
			[ "$read" = 0 ] || fail "$side: $read files were read again"
			[ -n "${best[$side]-}" ] && [ "${best[$side]}" -le "$ms" ] || best[$side]=$ms
			cpus[$side]=$cpu
			[ $side = plain ] || [ "$(asked)" = 0 ] || fail "$(asked) reads were asked for"
		done
	done
	echo "  ${best[mount]} ms, plain $APPS_BACKING ${best[plain]} ms:" \
		"$(awk "BEGIN { printf \"%.2f\", ${best[mount]} / ${best[plain]} }"); processor ${cpus[mount]} and ${cpus[plain]} ms; messages:" \
		"$(stat_json '.messages | with_entries(select(.value > 99)) | tostring')"
done

claim "one file in a hundred changes: those are read, and no other"
find "$M/tree" -type f | sort | awk 'NR % 100 == 7' >"$T/changed"
while IFS= read -r f; do echo changed >>"$f"; done <"$T/changed"
pack_now
for program in restic borg rsync; do
	cold mount
	night $program mount
	[ "$read" = "$(wc -l <"$T/changed")" ] || fail "$program: $read files were read, $(wc -l <"$T/changed") have changed"
	echo "  $program: $ms ms"
done
mnt_down
all_zst_good
image_umount store_disk
image_umount plain
