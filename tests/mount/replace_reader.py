#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""replace_reader.py MNT STORE KEY COUNT: replaces KEY through the mount COUNT times while a second
process reads it from the store, in whichever form it lies there. Each read must be one of the values,
whole: a block repeated. Ends with 1 at the first that is not."""
import os
import subprocess
import sys

mnt, store, key, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
LENGTHS = (5000, 70000, 200000)


def value(i):
    return (b"%08d\n" % i) * (LENGTHS[i % 3] // 9)


def stored():
    """The value as the store has it; packed first: a key is never without a file."""
    for _ in range(1000):
        for suffix in (".zst", ""):
            try:
                with open(store + "/" + key + suffix, "rb") as f:
                    data = f.read()
            except FileNotFoundError:
                continue
            if suffix:
                data = subprocess.run(["zstdcat"], input=data, capture_output=True, check=True).stdout
            return data
    sys.exit("the store has no file of %s" % key)


def read_until_told(pipe):
    os.set_blocking(pipe, False)
    reads = 0
    while True:
        data = stored()
        number = data[:8]
        if not number.isdigit() or data != value(int(number)):
            sys.exit("read %d: torn: %d bytes, begins %r" % (reads, len(data), data[:20]))
        reads += 1
        try:
            if os.read(pipe, 1) == b"":
                print("%d reads of the store" % reads)
                return
        except BlockingIOError:
            pass


def write_all():
    for i in range(1, count + 1):
        if i % 2:
            fd = os.open(mnt + "/" + key, os.O_WRONLY | os.O_TRUNC)
        else:
            fd = os.open(mnt + "/" + key + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        data = value(i)
        half = len(data) // 2
        os.write(fd, data[:half])
        os.write(fd, data[half:])
        os.close(fd)
        if i % 2 == 0:
            os.rename(mnt + "/" + key + ".tmp", mnt + "/" + key)
        if i % 5 == 0:
            with open(mnt + "/.diskvfs/control", "w") as control:
                control.write("pack\n")


# The loop begins with a value of its own making, at rest.
with open(mnt + "/" + key + ".tmp", "wb") as f:
    f.write(value(0))
os.rename(mnt + "/" + key + ".tmp", mnt + "/" + key)
r, w = os.pipe()
child = os.fork()
if child == 0:
    os.close(w)
    read_until_told(r)
    os._exit(0)
os.close(r)
write_all()
os.close(w)
_, status = os.waitpid(child, 0)
with open(mnt + "/" + key, "rb") as f:
    if f.read() != value(count):
        sys.exit("the mount does not show the last value")
sys.exit(os.waitstatus_to_exitcode(status) and 1)
