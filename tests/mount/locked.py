#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
locked.py M STORE let_go|kept - the files of the values raw and packed are locked in the store, both are written to
through the mount, and all else is done meanwhile: before the locks are let go of, or kept for longer than is waited.
"""
import errno
import fcntl
import os
import subprocess
import sys

M, STORE, PART = sys.argv[1:]
KEYS = {"raw": "raw", "packed": "packed.zst"}
ROUNDS = 50
WRITER = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
print("begins", flush=True)
try:
    os.pwrite(fd, b"new", 0)
    print("written", flush=True)
except OSError as e:
    print(e.errno, flush=True)
"""


def check(ok, what):
    if not ok:
        sys.exit(f"{PART}: {what}")


def read(key):
    with open(os.path.join(M, key), "rb") as f:
        return f.read()


def others():
    """-> how many things were done beside the values that are locked."""
    done = 0
    for i in range(ROUNDS):
        path = os.path.join(M, f"beside-{i}")
        with open(path, "wb") as f:
            f.write(b"%d" % i)
            os.fsync(f.fileno())
        os.rename(path, path + ".new")
        check(read(f"beside-{i}.new") == b"%d" % i, f"beside-{i} is not what was written")
        check(f"beside-{i}.new" in os.listdir(M), f"beside-{i} is not listed")
        os.unlink(path + ".new")
        done += 1
    return done


def main():
    old = {key: read(key) for key in KEYS}
    locks = [os.open(os.path.join(STORE, name), os.O_RDONLY) for name in KEYS.values()]
    for fd in locks:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    writers = {key: subprocess.Popen([sys.executable, "-c", WRITER, os.path.join(M, key)], stdout=subprocess.PIPE,
                                     text=True) for key in KEYS}
    try:
        for key, w in writers.items():
            check(w.stdout.readline() == "begins\n", f"the writer of {key} does not begin")
        check(others() == ROUNDS, "not all was done beside it")
        for key in KEYS:
            # Not its first page: that the kernel has written in its memory, until it is told of the error.
            with open(os.path.join(M, key), "rb", buffering=0) as f:
                got = os.pread(f.fileno(), 8192, 65536)
            check(got == old[key][65536:65536 + 8192], f"{key} can not be read")
        if PART == "let_go":
            for fd in locks:
                os.close(fd)
        told = {key: w.stdout.readline().strip() for key, w in writers.items()}
        wanted = "written" if PART == "let_go" else str(errno.EBUSY)
        for key in KEYS:
            check(told[key] == wanted, f"the writer of {key} was told {told[key]!r}")
            now = read(key)
            check(now == (b"new" + old[key][3:] if PART == "let_go" else old[key]), f"{key} has other bytes")
    finally:
        for w in writers.values():
            w.kill()
            w.wait()
    if PART == "kept":  # and once they are let go of it is written as ever
        for fd in locks:
            os.close(fd)
        for key in KEYS:
            with open(os.path.join(M, key), "r+b", buffering=0) as f:
                check(f.write(b"end") == 3, f"{key} is not written")
            check(read(key) == b"end" + old[key][3:], f"{key} is not what was written")


main()
