#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""damage.py MNT KEY FILE STEP OTHER: flips bytes of FILE, where KEY lies packed, one at a time (every
STEP-th, the last 64 all), and cuts it short; reads KEY and OTHER after each."""
import errno
import os
import sys

mnt, key, stored, step, other = sys.argv[1:4] + [int(sys.argv[4]), sys.argv[5]]


def read(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while True:
            part = os.read(fd, 1 << 20)
            if not part:
                return b"".join(parts)
            parts.append(part)
    finally:
        os.close(fd)


def look(what):
    """True where it gave EIO; ends the test where it gave other bytes."""
    try:
        got = read(mnt + "/" + key)
    except OSError as e:
        if e.errno != errno.EIO:
            sys.exit("%s: %s instead of EIO" % (what, e))
        return True
    if got != right:
        at = next((i for i, (a, b) in enumerate(zip(got, right)) if a != b), min(len(got), len(right)))
        sys.exit("%s: wrong bytes: %d instead of %d, first at %d" % (what, len(got), len(right), at))
    return False


right = read(mnt + "/" + key)
right_other = read(other)
good = read(stored)
fd = os.open(stored, os.O_RDWR)
refused = rounds = 0
places = sorted(set(range(0, len(good), step)) | set(range(max(0, len(good) - 64), len(good))))
for place in places:
    for flip in (0x01, 0xff):
        os.pwrite(fd, bytes([good[place] ^ flip]), place)
        refused += look("byte %d xor %#x" % (place, flip))
        rounds += 1
    os.pwrite(fd, good[place:place + 1], place)
    if read(other) != right_other:
        sys.exit("byte %d: another value changed" % place)
if look("mended"):
    sys.exit("mended, but EIO stays")
for length in sorted(set(range(1, len(good), step)) | {len(good) - 1}):
    os.ftruncate(fd, length)
    os.fsync(fd)
    refused += look("cut to %d" % length)
    rounds += 1
os.pwrite(fd, good, 0)
if look("mended"):
    sys.exit("mended, but EIO stays")
os.close(fd)
print("%d damages, %d gave EIO, the others the right bytes" % (rounds, refused))
# Most bytes matter: were nearly all reads right, something answered that did not look.
if refused < rounds // 2:
    sys.exit("too few were noticed")
