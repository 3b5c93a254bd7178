#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts messages by opcode around single operations, made with bare system calls.

budgets.py prepare|cold|listed|warm MOUNTPOINT

Each operation is made COUNT times on COUNT different names; the messages must fit COUNT times its
budget. A few are allowed on top once for the whole series: what the kernel asks once a mount or a
directory (FIXED). Messages of reading the counters are measured and taken off; FORGETs, which have
no reply, do not count.

After each change in a directory the kernel fetches that directory's attributes again before it
checks permissions in it (default_permissions, which a mount for several users needs): DIR.
"""
import ctypes
import json
import os
import sys
import time

COUNT = 20
FIXED = 4
DIR = {"GETATTR": 1}
BLOCK = b"0123456789abcdef" * 256
AT_FDCWD = -100
RENAME_EXCHANGE = 2
libc = ctypes.CDLL(None, use_errno=True)
failures = 0
mnt = ""


def path(kind, i):
    return "%s/%s.%d" % (mnt, kind, i)


def stats():
    fd = os.open(mnt + "/.diskvfs/stats", os.O_RDONLY)
    parts = []
    while True:
        part = os.read(fd, 1 << 20)
        if not part:
            break
        parts.append(part)
    os.close(fd)
    return json.loads(b"".join(parts))


def counters():
    return {k: v for k, v in stats()["messages"].items() if "FORGET" not in k}


def settle():
    """Until no replacement is pending: to find out whether a writer is left the daemon opens the file
    by its handle, after which the kernel looks the name up once more."""
    end = time.monotonic() + 60
    while stats()["values"]["pending"]:
        if time.monotonic() > end:
            sys.exit("replacements are pending still")
        time.sleep(0.02)


def minus(a, b):
    left = {k: a.get(k, 0) - b.get(k, 0) for k in set(a) | set(b)}
    return {k: v for k, v in left.items() if v}


def measure(what, budget, operation, fixed=FIXED):
    """budget: the most messages of one operation, or {opcode: most}."""
    global failures
    counters()
    before = counters()
    begin = counters()
    for i in range(COUNT):
        operation(i)
    used = minus(minus(counters(), begin), minus(begin, before))
    total = sum(used.values())
    most = budget if isinstance(budget, (int, float)) else sum(budget.values())
    good = total <= most * COUNT + fixed
    if isinstance(budget, dict):
        # An opcode that the budget does not name may appear only among the few fixed ones.
        good = good and sum(max(0, n - budget.get(k, 0) * COUNT) for k, n in used.items()) <= fixed
    detail = " ".join("%s:%d" % kv for kv in sorted(used.items()))
    print("%-5s %-44s %6.2f of %s   %s" % ("ok" if good else "OVER", what, total / COUNT, most, detail))
    failures += not good


def create(kind, i, data=BLOCK):
    fd = os.open(path(kind, i), os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(fd, data)
    os.close(fd)


def read(kind, i):
    fd = os.open(path(kind, i), os.O_RDONLY)
    data = os.read(fd, 65536)
    os.close(fd)
    if data != BLOCK:
        sys.exit("%s holds other bytes" % path(kind, i))


def write(kind, i, flags=0, data=BLOCK):
    fd = os.open(path(kind, i), os.O_WRONLY | flags)
    os.write(fd, data)
    os.close(fd)


def stat(kind, i):
    os.stat(path(kind, i))


def looked_at(kind, i):
    stat(kind, i)
    read(kind, i)


def each(operation, kind, *rest):
    for i in range(COUNT):
        operation(kind, i, *rest)


def exchange(a, b):
    if libc.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), a)


def missing(i):
    try:
        os.stat(path("missing", i))
        sys.exit("it is there")
    except FileNotFoundError:
        pass


KINDS = ("stat", "read", "over", "trunc", "append", "old", "gone", "listed")


def prepare():
    for kind in KINDS:
        each(create, kind)


def cold():
    measure("cold: stat", {"LOOKUP": 1}, lambda i: stat("stat", i))
    measure("cold: open, read, close", {"LOOKUP": 1, "READ": 1}, lambda i: read("read", i))
    measure("cold: stat of a missing name", {"LOOKUP": 1}, missing)
    measure("cold: overwrite 4 KiB in place", 2 + 1, lambda i: write("over", i))
    # The truncation and the write ask for security.capability, each once after a LOOKUP.
    measure("cold: O_TRUNC and write 4 KiB", 3 + 2, lambda i: write("trunc", i, os.O_TRUNC))
    measure("cold: append 100 B", 2 + 1, lambda i: write("append", i, os.O_APPEND, b"x" * 100))
    measure("cold: rename", {"LOOKUP": 2, "RENAME": 1, **DIR}, lambda i: os.rename(path("old", i), path("new", i)))
    measure("cold: unlink", {"LOOKUP": 1, "UNLINK": 1, **DIR}, lambda i: os.unlink(path("gone", i)))
    measure("cold: create, write 4 KiB, close", 4 + 1, lambda i: create("cold", i))
    each(lambda kind, i: os.rename(path("new", i), path(kind, i)), "old")
    each(create, "gone")
    each(lambda kind, i: os.unlink(path(kind, i)), "cold")
    for kind in ("trunc", "append"):
        each(write, kind, os.O_TRUNC)


def listed():
    begin = counters()
    names = os.listdir(mnt)
    used = sum(minus(counters(), begin).values())
    print("list of %d names, cold: %d messages" % (len(names), used))
    measure("after readdirplus: open, read, close", 1, lambda i: read("listed", i), fixed=FIXED + COUNT)


def warm():
    each(stat, "stat")
    measure("warm: stat", 0, lambda i: stat("stat", i))
    # The first READ leaves atime stale: one stat takes that away.
    each(read, "read")
    each(stat, "read")
    measure("warm: open, read, close", 0, lambda i: read("read", i), fixed=1)
    each(lambda kind, i: missing(i), "missing")
    measure("warm: stat of a missing name", 0, missing, fixed=1)

    measure("create, write 4 KiB, close", {"LOOKUP": 1, "MKNOD": 1, "WRITE": 1, "GETXATTR": 1, **DIR},
            lambda i: create("made", i))
    measure("first read back", {"GETATTR": 1, "READ": 1}, lambda i: read("made", i))
    each(stat, "made")
    measure("second read back", 0, lambda i: read("made", i), fixed=1)

    each(read, "over")
    each(write, "over")
    measure("warm: overwrite 4 KiB in place", {"WRITE": 1}, lambda i: write("over", i))
    measure("stat after own write", 1, lambda i: stat("over", i))
    each(write, "trunc", os.O_TRUNC)
    settle()
    each(write, "trunc")
    # SETATTR's answer makes the kernel forget that the file has no security.capability.
    measure("warm: O_TRUNC and write 4 KiB", {"SETATTR": 1, "WRITE": 1, "GETXATTR": 1},
            lambda i: write("trunc", i, os.O_TRUNC))
    each(write, "append", os.O_APPEND, b"x" * 100)
    measure("warm: append 100 B", {"WRITE": 1},
            lambda i: write("append", i, os.O_APPEND, b"x" * 100))
    each(stat, "old")
    measure("warm: rename", {"LOOKUP": 1, "RENAME": 1, **DIR}, lambda i: os.rename(path("old", i), path("new", i)))
    each(stat, "gone")
    measure("warm: unlink", {"UNLINK": 1, **DIR}, lambda i: os.unlink(path("gone", i)))

    # Their ctime moves, but no bytes: what is kept of them stays.
    for kind in ("read", "over"):
        each(read, kind)
        each(stat, kind)
    each(lambda kind, i: exchange(path(kind, i), path("over", i)), "read")
    measure("stat and read after an exchange", {"GETATTR": 1}, lambda i: looked_at("read", i))
    each(lambda kind, i: os.link(path("read", i), path(kind, i)), "link")
    each(read, "read")
    each(stat, "read")
    each(lambda kind, i: os.rename(path("new", i), path(kind, i)), "link")
    measure("stat and read after another name went", {"GETATTR": 1}, lambda i: looked_at("read", i))
    each(lambda kind, i: os.rename(path(kind, i), path("new", i)), "link")

    os.listdir(mnt)
    os.listdir(mnt)
    measure("warm: list", 1, lambda i: os.listdir(mnt), fixed=0)

    each(lambda kind, i: os.unlink(path(kind, i)), "made")
    each(lambda kind, i: os.unlink(path(kind, i)), "new")


def main():
    global mnt
    mnt = sys.argv[2]
    {"prepare": prepare, "cold": cold, "listed": listed, "warm": warm}[sys.argv[1]]()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
