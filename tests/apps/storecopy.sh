#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A store is copied while it is mounted and worked on: rsync of the mount, rsync of the store, a
# snapshot of its filesystem. What is in the copy is old or new, whole.
. "$(dirname "$0")/apps.sh"
need rsync python3

# Values that are replaced, by truncation and by rename, and new ones; each is one line many times.
cat >"$T/writer.py" <<'EOF'
import os, signal, sys
top, n, end = sys.argv[1], 0, []
signal.signal(signal.SIGTERM, lambda *_: end.append(True)) # who is ended in a value leaves half of it
while not end:
    n += 1
    for key in range(40):
        line = b"key %d version %d\n" % (key, n)
        size = 3000 * (key % 7 + 1)
        name = os.path.join(top, "v%d" % key)
        to = name if key % 2 else name + ".new"
        with open(to, "wb") as f:
            f.write(line * size)
        if to != name:
            os.rename(to, name)
    print(n, flush=True)
EOF
# whole DIR [STEP]: every value is one version, and none is missing; those by rename alone: STEP 2.
whole() {
	local key f
	for key in $(seq 0 "${2:-1}" 39); do
		f=$1/v$key
		[ "$(sort -u "$f" | sed 's/version .*/version/')" = "key $key version" ] || fail "$f: a mixture"
		[ "$(wc -l <"$f")" = $((3000 * (key % 7 + 1))) ] || fail "$f: $(wc -l <"$f") lines"
	done
	same <(text 300000) "$1/rests"
	same <(text 700000) "$1/pending"
	cmp -n 500000 <(text 500000) "$1/appended" || fail "appended: differs"
}
# shown FOLDER: mounts the copy of a store at $T/copy, without writing to it.
shown() {
	"$DISKVFS" mount "$1" "$T/copy" -o ro >>"$T/log" 2>&1 ||
		fail "the copy does not mount: $(tail -n 1 "$T/log")"
	whole "$T/copy"
	"$DISKVFS" unmount "$T/copy"
}

mkdir "$T/copy"
[ "$(id -u)" != 0 ] || : "${APPS_BACKING:=btrfs}"
if [ -n "${APPS_BACKING-}" ]; then
	image_up "$APPS_BACKING" 2G
	[ "$APPS_BACKING" != btrfs ] || btrfs -q subvolume create "$S"
fi
app_up
text 300000 >"$M/rests"
text 700000 >"$M/pending"
text 500000 >"$M/appended"
pack_now
python3 "$T/writer.py" "$M" >"$T/rounds" &
writer=$!
begun() { [ -s "$T/rounds" ]; }
until_true 60 begun
exec 9>"$M/pending" 8>>"$M/appended"
printf 'half of what replaces it' >&9
printf '\none more line\n' >&8

claim "rsync of the mount"
mkdir "$T/plain"
rsync -a --exclude '*.new' --exclude 'v*[13579]' "$M/" "$T/plain/" || fail rsync
grep -q half "$T/plain/pending" || fail "a reader of the mount sees what was written"
text 700000 >"$T/plain/pending"
whole "$T/plain" 2

if [ "${APPS_BACKING-}" = btrfs ]; then
	claim "a snapshot, mounted beside the store, with a replacement and an addition pending"
	for i in 1 2 3; do
		rounds=$(wc -l <"$T/rounds")
		further() { [ "$(wc -l <"$T/rounds")" -gt "$rounds" ]; }
		until_true 60 further
		btrfs -q subvolume snapshot -r "$S" "$T/disk/snap$i"
		shown "$T/disk/snap$i"
	done
	[ -n "$(ls "$T/disk/snap3/.diskvfs/stage")" ] || fail "nothing was pending"
	claim "a snapshot that is mounted for writing is put in order as after a kill"
	btrfs -q subvolume snapshot "$T/disk/snap3" "$T/disk/restored"
	"$DISKVFS" mount "$T/disk/restored" "$T/copy" >>"$T/log" 2>&1 || fail "does not mount"
	grep -qx 'half of what replaces it' "$T/copy/pending" || fail "an acknowledged write is lost"
	grep -qx 'one more line' "$T/copy/appended" || fail "an acknowledged addition is lost"
	text 700000 >"$T/copy/pending"
	whole "$T/copy" 2
	"$DISKVFS" unmount "$T/copy"
	claim "a file copied out of a snapshot needs no diskvfs"
	zstdcat "$T/disk/snap3/rests.zst" | cmp - <(text 300000) || fail "differs"
fi

claim "rsync of the store: what it has vanish it tells; again, with nobody writing, it equals the mount"
status=0
rsync -aHX --delete --exclude '/.diskvfs/stage/*' "$S/" "$T/rsynced/" 2>"$T/err" || status=$?
[[ $status = 0 || $status = 24 ]] || { tail -n 5 "$T/err"; fail "rsync: $status"; }
kill $writer
wait $writer || true
exec 8>&- 9>&-
text 700000 >"$M/pending"
pack_now
# By checksum: for rsync what was replaced by as many bytes within a second is the same.
nothing_changed() {
	rsync -aHXi --checksum --delete --delete-excluded --exclude '/.diskvfs/stage/*' "$S/" "$T/rsynced/" \
		>"$T/items" 2>"$T/err" && [ ! -s "$T/items" ]
}
until_true 60 nothing_changed
shown "$T/rsynced"
"$DISKVFS" mount "$T/rsynced" "$T/copy" -o ro >>"$T/log" 2>&1 || fail "does not mount"
diff -rq -x .diskvfs "$M" "$T/copy" || fail "the copy differs"
"$DISKVFS" unmount "$T/copy"
app_end
