#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""verify.py MOUNT SEED STEPS - replaces, edits, appends to, renames and removes a few values.

Two of them work on keys of their own and on some that they share.
"""
import os
import random
import sys

mount, seed, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rnd = random.Random(seed)
LINES = b"".join(b"%08d a line that packs well, as most texts do\n" % i for i in range(60000))
KEYS = ["own%d-%d" % (seed, i) for i in range(6)] + ["shared%d" % i for i in range(4)]
os.makedirs(os.path.join(mount, "dir"), exist_ok=True)


def path(key):
    return os.path.join(mount, "dir" if int(key[-1]) % 2 else "", key)


def replace(key):
    with open(path(key), "wb") as f:
        f.write(LINES[: rnd.choice([10, 9000, 300000, 2000000])])


def edit(key):
    fd = os.open(path(key), os.O_RDWR)
    os.pwrite(fd, b"edited", rnd.randrange(0, 5000))
    os.close(fd)


def append(key):
    fd = os.open(path(key), os.O_WRONLY | os.O_APPEND)
    for _ in range(5):
        os.write(fd, LINES[: rnd.choice([100, 5000, 200000])])
        if rnd.random() < 0.5:
            os.fsync(fd)
    os.close(fd)


def stream(key):
    with open(path(key), "wb") as f:
        for _ in range(5):
            f.write(LINES)


def rename(key):
    os.rename(path(key), path(rnd.choice(KEYS)))


def remove(key):
    os.unlink(path(key))


STEPS = [replace] * 5 + [edit] * 4 + [append] * 6 + [stream] + [rename] * 3 + [remove]
for _ in range(steps):
    try:
        rnd.choice(STEPS)(rnd.choice(KEYS))
    except OSError as e:
        if e.errno not in (2, 11, 16, 17, 116):  # gone, made or locked by the other one
            raise
