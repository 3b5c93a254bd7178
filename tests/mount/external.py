#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A file that programs of the mount hold open, and what others do to it in the store.

external.py MOUNT STORE WAIT    WAIT: seconds after which a change in the store must be seen
"""
import errno
import fcntl
import mmap
import os
import subprocess
import sys
import time

MOUNT, STORE, WAIT = sys.argv[1], sys.argv[2], float(sys.argv[3])
FRAME = 131072
SIZE = 5 * FRAME + 777


def content(letter, size=SIZE):
    return (letter * 63 + b"\n") * (size // 64) + letter * (size % 64)


def check(right, what):
    if not right:
        sys.exit(f"FAILED: {what}")


def stored(key):
    raw = os.path.join(STORE, key)
    return raw if os.path.exists(raw) else raw + ".zst"


def is_locked(path):
    """Does another process find it locked, by flock and by fcntl?"""
    script = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
out = ""
try:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    out += "flock "
try:
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10)
except (BlockingIOError, PermissionError):
    out += "fcntl"
print(out, os.fstat(fd).st_ino)
"""
    return subprocess.run([sys.executable, "-c", script, path], check=True, capture_output=True,
                          text=True).stdout.split()


def seen(what, condition):
    """Within WAIT, and what a busy machine adds."""
    end = time.monotonic() + WAIT + 20
    while not condition():
        check(time.monotonic() < end, what)
        time.sleep(0.01)


def test_a_locked_file_stays_one(key):
    path, below = os.path.join(MOUNT, key), stored(key)
    fd = os.open(path, os.O_RDWR)
    ino = os.fstat(fd).st_ino
    fcntl.flock(fd, fcntl.LOCK_EX)
    fcntl.lockf(fd, fcntl.LOCK_EX, 10)
    for change in (lambda: os.chmod(below, 0o604), lambda: os.utime(below, (7, 8)),
                   lambda: os.chown(below, 1, 2)):
        change()
        state = os.stat(below)
        seen(f"{key}: a change of attributes in the store",
             lambda: (os.stat(path).st_mode, int(os.stat(path).st_mtime), os.stat(path).st_uid) ==
             (state.st_mode, int(state.st_mtime), state.st_uid))
        found = is_locked(path)
        check(found == ["flock", "fcntl", str(ino)], f"{key}: split by a change: {found}, {ino}")
        check(os.fstat(fd).st_mode == state.st_mode, f"{key}: the descriptor has another mode")
    os.close(fd)


def test_a_mapped_file_stays_one(key):
    path, below = os.path.join(MOUNT, key), stored(key)
    fd = os.open(path, os.O_RDWR)
    mapped = mmap.mmap(fd, 0)
    fcntl.flock(fd, fcntl.LOCK_EX)
    check(mapped[:64] == content(b"b")[:64], f"{key}: the mapping is wrong")
    with open(below, "ab") as f:
        f.write(b"more\n")
    seen(f"{key}: what was appended in the store", lambda: os.stat(path).st_size == SIZE + 5)
    check(is_locked(path)[0] == "flock", f"{key}: split by what was appended")
    mapped[0:4] = b"MMAP"
    mapped.flush()
    with open(path, "rb") as f:
        got = f.read()
    check(got == b"MMAP" + content(b"b")[4:] + b"more\n", f"{key}: not what both have written")
    check(open(below, "rb").read() == got, f"{key}: the store has other bytes")
    mapped.close()
    os.close(fd)


def test_an_old_descriptor_sees_no_mixture(key, packed):
    path = os.path.join(MOUNT, key)
    fd = os.open(path, os.O_RDONLY)
    check(os.pread(fd, 4096, FRAME) == content(b"c")[FRAME:FRAME + 4096], f"{key}: first read")
    ino = os.fstat(fd).st_ino
    new = os.path.join(STORE, "." + key)
    with open(new, "wb") as f:
        f.write(content(b"d"))
    if packed:
        subprocess.run(["zstd", "-q", "--rm", new], check=True)
        new += ".zst"
    os.rename(new, stored(key))
    seen(f"{key}: the new value", lambda: open(path, "rb").read(64) == content(b"d")[:64])
    check(open(path, "rb").read() == content(b"d"), f"{key}: the new value is not whole")
    check(os.stat(path).st_ino != ino, f"{key}: another object has the number of the old one")
    old = content(b"c")
    for off in (0, FRAME, 3 * FRAME, SIZE - 777):
        try:
            got = os.pread(fd, 4096, off)
        except OSError as e:
            check(e.errno == errno.ESTALE, f"{key}: {e}")
            continue
        check(got == old[off:off + 4096], f"{key}: the old descriptor reads other bytes at {off}")
    os.close(fd)


def main():
    for key in ("raw-a", "packed-a"):
        test_a_locked_file_stays_one(key)
    test_a_mapped_file_stays_one("raw-b")
    test_an_old_descriptor_sees_no_mixture("raw-c", False)
    test_an_old_descriptor_sees_no_mixture("packed-c", True)


if sys.argv[-1] == "make":
    for name in ("raw-a", "packed-a", "raw-b", "raw-c", "packed-c"):
        with open(os.path.join(MOUNT, name), "wb") as out:
            out.write(content(name[-1].encode()))
else:
    main()
