#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Values that are packed while they are written, and packed values that are added to: bytes that come to
# the disk, memory, frames, and what programs do to logs. STREAM_MB: of the large value (160).
. "$(dirname "$0")/harness.sh"
need jq zstd mkfs.ext4 openssl python3 xxd
[ "$(id -u)" = 0 ] || skip "a loop image needs root"
: "${STREAM_MB:=160}"

disk=$T/disk
mkdir "$disk"
truncate -s $((STREAM_MB * 3 + 200))M "$T/image"
mkfs.ext4 -q -m 0 -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 "$T/image"
mount -o loop "$T/image" "$disk" || skip "no loop devices here"
S=$disk/store
device=$(basename "$(findmnt -no SOURCE "$disk")")

# Two stored bytes for three at best, each byte another.
hex() { noise $((($1 + 1) / 2)) | xxd -p | tr -d '\n' | fold -w 63 | head -c "$1" || true; }
count() { stat_json ".values.$1"; }
# on_disk: what came to the device so far, in $bytes
on_disk() {
	sync -f "$disk"
	bytes=$(awk '{ print $7 * 512 }' "/sys/block/$device/stat")
}
frames() { getfattr --absolute-names --only-values -n user.diskvfs.frames "$M/$1"; }
is_form() { [ "$(store_form "$1")" = "$2" ]; }
quiet() { until_true 30 is_form "$1" packed; }

mk_store
mnt_up -o settle=1,cache_size=16M
hex $((STREAM_MB << 20)) >"$T/text"

claim "$STREAM_MB MiB of text: packed when the last byte is there, and written once"
# Any program that calls sync(2) has what waits for frames written raw, too: the best of three.
for try in 1 2 3; do
	on_disk
	before=$bytes
	cat "$T/text" >"$M/large"
	quiet large
	on_disk
	stored=$(stat -c %s "$S/large.zst")
	echo "  $((bytes - before)) bytes came to the disk for $stored stored"
	[ "$(count streamed)" = "$try" ] && [ "$(count packed)" = 0 ] || fail "it was packed afterwards"
	[ "$(count unpacked)" = 0 ] || fail "it was unpacked"
	[ $((bytes - before)) -gt $((stored * 11 / 10)) ] || break
	[ "$try" -lt 3 ] || fail "more than 1.1 times as many"
	rm "$M/large"
done
same "$T/text" "$M/large"
[ "$(frames large)" = $((STREAM_MB * 8)) ] || fail "$(frames large) frames"
claim "the daemon takes cache_size and 64 MiB at most"
hwm=$(awk '/^VmHWM/ { print $2 }' "/proc/$dv_pid/status")
[ "$hwm" -le $(((16 + 64) * 1024)) ] || fail "$hwm KiB"

claim "100 bytes and fsync to it: less than 1 MiB comes to the disk"
on_disk
before=$bytes
text 100 >>"$M/large"
sync "$M/large"
quiet large
on_disk
echo "  $((bytes - before)) bytes"
[ $((bytes - before)) -lt 1048576 ] || fail "$((bytes - before)) bytes"
text 100 >>"$T/text"
same "$T/text" "$M/large"
[ "$(count unpacked)" = 0 ] || fail "it was unpacked"

claim "2000 small appends leave whole frames, and are durable at each fsync"
python3 - "$M/large" "$T/text" <<'END'
import os, sys
out = [os.open(name, os.O_WRONLY | os.O_APPEND) for name in sys.argv[1:]]
for i in range(2000):
    for fd in out:
        os.write(fd, b"%06d a line of a log\n" % i)
    if i % 20 == 0:
        os.fsync(out[0])
END
quiet large
size=$(stat -c %s "$M/large")
[ "$(frames large)" = $(((size + 131071) / 131072)) ] || fail "$(frames large) frames of $size bytes"
same "$T/text" "$M/large"
all_zst_good

claim "tail -F sees what is added; rename and copytruncate are what logrotate expects"
tail -n 1 -s 0.05 -F "$M/large" >"$T/seen" 2>/dev/null &
tailed=$!
until_true 20 grep -qx "001999 a line of a log" "$T/seen"
for i in 1 2 3; do
	echo "added $i" >>"$M/large"
	until_true 20 grep -qx "added $i" "$T/seen"
done
kill "$tailed"
wait "$tailed" 2>/dev/null || true
mv "$M/large" "$M/large.1"
echo first >"$M/large"
(cat "$T/text"; printf 'added %d\n' 1 2 3) | cmp - "$M/large.1" || fail "the renamed one differs"
cp "$M/large.1" "$M/copy"
exec 7>>"$M/large.1"
echo last >&7
: >"$M/large.1"
echo new >&7
exec 7>&-
[ "$(cat "$M/large.1")" = new ] || fail "copytruncate: $(head -c 50 "$M/large.1")"
[ "$(tail -n 1 "$M/copy")" = "added 3" ] || fail "the copy differs"
rm "$M/large.1" "$M/copy" "$M/large"

claim "a slow writer that streams leaves the old value in the store until it is done"
text 3000000 >"$M/dump"
pack_now
exec 7>"$M/dump"
head -c 12000000 "$T/text" >&7
is_form dump streaming || fail "it is $(store_form dump)"
sleep 0.5 # time to do the wrong thing
zstdcat "$S/dump.zst" | cmp - <(text 3000000) || fail "the old value is gone"
head -c 3000000 "$T/text" >&7
exec 7>&-
quiet dump
(head -c 12000000 "$T/text"; head -c 3000000 "$T/text") >"$T/dump"
stored dump | cmp - "$T/dump" || fail "the new value differs"

claim "written elsewhere, or full, a stream goes on raw, or leaves the old value"
exec 7<>"$M/elsewhere"
head -c 20000000 "$T/text" >&7
is_form elsewhere streaming || is_form elsewhere appending || is_form elsewhere packed ||
	fail "it is $(store_form elsewhere)"
printf hole | dd of="$M/elsewhere" bs=1 seek=5000000 conv=notrunc status=none
exec 7>&-
head -c 20000000 "$T/text" >"$T/elsewhere"
printf hole | dd of="$T/elsewhere" bs=1 seek=5000000 conv=notrunc status=none
same "$T/elsewhere" "$M/elsewhere"
fallocate -l $((($(df --output=avail -k "$disk" | tail -n 1) - 30000) * 1024)) "$disk/ballast"
if cat "$T/text" "$T/text" >"$M/dump" 2>"$T/err"; then fail "it fits"; fi
grep -q "No space left" "$T/err" || fail "$(cat "$T/err")"
old_again() { cmp -s "$T/dump" "$M/dump"; }
until_true 20 old_again
rm "$disk/ballast"

claim "removed from a full disk, a stream and an append are whole for who has them open"
for i in 1 2; do
	exec 7<>"$M/gone"
	head -c 30000003 "$T/text" >&7
	if [ "$i" = 2 ]; then
		quiet gone
		head -c 3000000 "$T/text" >&7
	fi
	for block in 1M 4k; do dd if=/dev/zero of="$disk/ballast" bs=$block oflag=append conv=notrunc status=none 2>/dev/null || true; done
	rm "$M/gone"
	(head -c 30000003 "$T/text"; [ "$i" = 1 ] || head -c 3000000 "$T/text") >"$T/gone"
	dd if=/proc/self/fd/7 iflag=direct bs=1M status=none | cmp - "$T/gone" || fail "it differs"
	exec 7>&-
	rm "$disk/ballast"
done

claim "two mounts add to one value: no line is lost, and each sees those of the other"
mkdir "$T/other"
"$DISKVFS" mount "$S" "$T/other" >>"$T/log" 2>&1 || fail "a second mount"
dv_watch "$(jq .pid <"$T/other/.diskvfs/stats")"
seq 1 300000 >"$M/shared"
quiet shared
python3 - "$M/shared" "$T/other/shared" <<'END'
import os, sys, threading
def add(path, name):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    for i in range(200):
        os.write(fd, b"%s %d\n" % (name, i))
        if i % 40 == 0:
            os.fsync(fd)
    os.close(fd)
threads = [threading.Thread(target=add, args=a) for a in zip(sys.argv[1:], (b"one", b"two"))]
for t in threads:
    t.start()
for t in threads:
    t.join()
END
all_there() { # all_there FILE
	[ "$(grep -c '^one ' "$1")" = 200 ] && [ "$(grep -c '^two ' "$1")" = 200 ] &&
		[ "$(wc -l <"$1")" = 300400 ]
}
until_true 20 all_there "$M/shared"
until_true 20 all_there "$T/other/shared"
python3 - "$M/begun" "$T/other/begun" <<'END'
import os, sys, time
for i in range(9): # the other one writes as a stream begins, while it is put in place, afterwards
    one, two = (os.open("%s%d" % (path, i), os.O_WRONLY | os.O_CREAT | os.O_APPEND) for path in sys.argv[1:])
    line = b"%d a line of the first\n" % i
    for _ in range(9):
        os.write(one, line * ((1 << 20) // len(line)))
    time.sleep(i % 3 * 0.1)
    os.write(two, b"of the other\n")
    os.write(one, b"of the first\n")
END
# A stream that is emptied waits for its writer, who may take long: the other mount does not.
timeout 60 python3 - "$M/emptied" "$T/other/emptied" <<'END' || fail "a writer waits for one who is not done"
import os, sys
for i in range(3):
    one, two = (os.open("%s%d" % (path, i), os.O_WRONLY | os.O_CREAT) for path in sys.argv[1:])
    for _ in range(9):
        os.write(one, b"a line of text, " * (1 << 16))
    os.ftruncate(one, 0)
    os.write(two, b"of the other")
    os.close(two)
    os.close(one)
END
all_begun() { # all_begun FOLDER
	[ "$(cat "$1"/begun? | grep -c '^of the')" = 18 ]
}
until_true 20 all_begun "$M"
until_true 20 all_begun "$T/other"
echo more >>"$M/shared"
until_true 20 eval '[ "$(tail -n 1 "$T/other/shared")" = more ]'
"$DISKVFS" unmount "$T/other" >>"$T/log" 2>&1 || fail "unmount"
[ -z "$(ls -A "$S/.diskvfs/lost" 2>/dev/null)" ] || fail "put aside: $(ls "$S/.diskvfs/lost")"

claim "incompressible data is not streamed"
noise 12000000 >"$M/noise"
is_form noise raw || fail "it is $(store_form noise)"
mnt_down
all_zst_good
[ -z "$(ls -A "$S/.diskvfs/stage")" ] || fail "left in the stage: $(ls "$S/.diskvfs/stage")"
umount "$disk"
