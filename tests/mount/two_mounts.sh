#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Two mounts of one store, writers on both, and a shell that changes the store itself: every read is
# one whole version, and what others did is seen within the coherence time.
. "$(dirname "$0")/harness.sh"
need jq zstd python3

: "${SECONDS_LONG:=2}"
mk_store
A=$T/a B=$T/b
M=$A
mnt_up -o settle=0,coherence=1
a_pid=$dv_pid
M=$B
mnt_up -o settle=0,coherence=1

claim "what one mount, or the shell, does is seen by the other within 1 s and the time of the call"
seen() { # seen COMMAND...: true within the coherence time, with a second of reserve for a busy machine
	local end=$(($(date +%s%N) + 2000000000))
	until "$@"; do
		[ "$(date +%s%N)" -lt "$end" ] || fail "not seen in time: $*"
		sleep 0.05
	done
}
is() { cmp -s <(text "$1") "$2"; }
ls "$A" "$B"
cat "$B/x" 2>/dev/null || true
text 50000 >"$A/x"
seen is 50000 "$B/x"
text 60000 >"$B/x"
seen is 60000 "$A/x"
packed() { M=$A pack_now && [ "$(M=$A store_form x)" = packed ]; }
until_true 10 packed # as soon as the other mount has let go of it
seen is 60000 "$B/x"
text 100 >"$S/x" && rm -f "$S/x.zst"
seen is 100 "$A/x"
seen is 100 "$B/x"
text 70000 | zstd -q >"$S/y.zst"
seen is 70000 "$A/y"
seen is 70000 "$B/y"
mv "$A/y" "$A/z"
seen test ! -e "$B/y"
seen is 70000 "$B/z"
rm "$S/z.zst"
seen test ! -e "$A/z"
seen test ! -e "$B/z"
chmod 600 "$A/x"
seen eval '[ "$(stat -c %a "$B/x")" = 600 ]'
ln "$B/x" "$B/x2"
seen test "$A/x" -ef "$A/x2"
rm "$A/x2"
mkdir "$B/dir"
seen test -d "$A/dir"

claim "open(2) that creates finds what the other mount has made since it was missing here, O_EXCL says so"
for i in $(seq 20); do
	! stat "$A/made.$i" 2>/dev/null || fail "made.$i is there"
	echo other >"$B/made.$i"
	echo here >>"$A/made.$i" || fail "append"
done
cat "$A"/made.* >"$T/made"
[ "$(grep -c other "$T/made")" = 20 ] && [ "$(grep -c here "$T/made")" = 20 ] || fail "lost: $(cat "$T/made")"
for i in $(seq 20); do
	! stat "$A/excl.$i" 2>/dev/null || fail "excl.$i is there"
	echo other >"$B/excl.$i"
	! (set -C; echo here >"$A/excl.$i") 2>/dev/null || fail "made anew"
	[ "$(cat "$A/excl.$i")" = other ] || fail "excl.$i"
done
rm "$A"/made.* "$A"/excl.*

claim "of two that make one name on both mounts, with O_EXCL, mknod(2), mkfifo(3) or bind(2), one is told that it is taken"
cat >"$T/taken.py" <<'EOF'
import errno, os, socket, stat, sys

path, how = sys.argv[1:]


def bind():
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)


make = {
    "excl": lambda: os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
    "mknod": lambda: os.mknod(path, stat.S_IFREG | 0o600),
    "mkfifo": lambda: os.mkfifo(path),
    "bind": bind,
}[how]
for _ in range(4000):
    try:
        make()
        os.unlink(path)
    except OSError as e:
        if e.errno != (errno.EADDRINUSE if how == "bind" else errno.EEXIST):
            sys.exit(f"{path}, {how}: {e}")
EOF
for how in excl mknod mkfifo bind; do
	python3 "$T/taken.py" "$A/taken" $how &
	other=$!
	good=1
	python3 "$T/taken.py" "$B/taken" $how || good=0
	wait $other || good=0
	[ $good = 1 ] || fail "see above"
	rm -f "$A/taken"
done

claim "bytes that the other mount changed are seen, whatever attributes were set here since"
for set in "chmod 600" "chown 1:1" "touch -a" "touch -d 2020-01-01" "setfattr -n user.x -v 1" "truncate -s 3000"; do
	text 3000 >"$A/same"
	seen is 3000 "$A/same"
	until_true 10 eval '[ "$(stat -c %s "$B/same")" = 3000 ]'
	sleep 1.1 # the kernel of A asks again, and keeps the bytes
	cmp <(text 3000) "$A/same"
	other() { text 3000 | tr a-z b-za; }
	dd if=<(other) of="$B/same" conv=notrunc status=none
	$set "$A/same"
	is_other() { cmp -s <(other) "$A/same"; }
	seen is_other
	rm "$A/same"
done

claim "who truncates a value of which another one has taken the name leaves whole what the other mount reads"
cat >"$T/orphan.py" <<'EOF'
import os, sys
here, there, how = sys.argv[1:]
old, new = b"old" * 1000, b"new" * 500


def put(name, data):
    with open(os.path.join(here, name), "wb", buffering=0) as f:
        f.write(data)


put("orphan", old)
end = os.open(os.path.join(here, "orphan"), os.O_RDWR)
reader = os.open(os.path.join(there, "orphan"), os.O_RDONLY)
assert os.pread(reader, 1, 0) == b"o"  # so that its daemon has the object open
if how == "rename":
    put("orphan.new", new)
    os.rename(os.path.join(here, "orphan.new"), os.path.join(here, "orphan"))
else:
    os.unlink(os.path.join(here, "orphan"))
if how == "rename":
    os.ftruncate(end, 0)
else:
    os.close(os.open("/proc/self/fd/%d" % end, os.O_WRONLY | os.O_TRUNC))
st = os.fstat(end)
assert (st.st_size, st.st_nlink) == (0, 0), st
os.pwrite(end, b"own", 0)
os.posix_fadvise(reader, 0, 0, os.POSIX_FADV_DONTNEED)
try:
    got = os.pread(reader, 10000, 0)
except OSError as e:
    sys.exit(e.errno != 116)
assert got == old, (len(got), got[:20])
assert os.pread(end, 100, 0) == b"own" and os.fstat(end).st_ino == st.st_ino
EOF
for how in rename unlink; do
	python3 "$T/orphan.py" "$A" "$B" $how || fail "$how"
	rm -f "$A/orphan"
done

claim "what is appended behind bytes of the other mount is read from where it is, not from where the kernel took the end to be"
python3 - "$A" "$B" <<'EOF'
import mmap, os, sys
a, b = sys.argv[1:]
for i, (size, more, mine) in enumerate([(100, 50, 10), (4090, 3, 20), (5000, 9000, 5000), (300000, 70000, 100)] * 5):
	path = "/appended%d" % i
	want = b"o" * size
	with open(b + path, "wb", buffering=0) as f:
		f.write(want)
	fd = os.open(a + path, os.O_RDWR | os.O_APPEND)
	assert os.pread(fd, size + 1, 0) == want
	with open(b + path, "ab", buffering=0) as f:
		f.write(b"b" * more)
	want += b"b" * more
	for letter in b"ac":
		data = bytes([letter]) * mine
		assert os.write(fd, data) == mine
		want += data
		# Mapped once its size was asked for, as programs do.
		assert os.fstat(fd).st_size == len(want), (i, os.fstat(fd).st_size, len(want))
		with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as m:
			assert m[:] == want, (i, letter)
		got = os.pread(fd, len(want) + 1, 0)
		assert got == want, (i, letter, len(got), len(want))
	os.close(fd)
	os.unlink(a + path)
EOF

claim "a name that came is listed, though the directory has its mtime back: as a swap at that moment leaves it"
mkdir "$A/dir/sub"
ls "$A" "$A/dir" "$A/dir/sub" "$B" "$B/dir" "$B/dir/sub" >"$T/out"
for d in "" dir/ dir/sub/; do
	touch -r "$S/$d" "$T/times"
	text 10 >"$S/${d}new"
	touch -r "$T/times" "$S/$d"
done
listed() { ls "$1" | grep -qx new; }
for m in "$A" "$B"; do
	for d in "" dir/ dir/sub/; do seen listed "$m/$d"; done
done
for d in "" dir/ dir/sub/; do
	touch -r "$S/$d" "$T/times"
	rm "$S/${d}new"
	touch -r "$T/times" "$S/$d"
done
gone() { ! listed "$1"; }
for m in "$A" "$B"; do
	for d in "" dir/ dir/sub/; do seen gone "$m/$d"; done
done
rmdir "$A/dir/sub"
text 10000 >"$A/dir/in"
seen is 10000 "$B/dir/in"

# What one mount has not put in place yet, on a busy machine, the other does not show.
same() { diff -r "$A" "$B" >"$T/out" 2>&1; }
writers() { # writers STORE|- SECONDS
	python3 "$here/two_mounts.py" "$A" "$B" "$1" "$2" >"$T/out" 2>&1 || { cat "$T/out"; fail "see above"; }
	cat "$T/out"
	for m in "$A" "$B"; do M=$m pack_now; done
	until_true 30 same || fail "at rest the mounts differ: $(cut -c1-200 "$T/out")"
}
claim "writers on both mounts while all is packed: no read mixes two versions; at rest one form is left"
writers - "$SECONDS_LONG"
[ -z "$(find "$S" -name '*.zst' | while IFS= read -r f; do [ ! -e "${f%.zst}" ] || echo "$f"; done)" ] ||
	fail "two forms are left"
claim "and a shell in the store as well"
writers "$S" "$SECONDS_LONG"
M=$B
mnt_down
M=$A dv_pid=$a_pid
mnt_down
all_zst_good
