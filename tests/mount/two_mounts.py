#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
two_mounts.py A B STORE|- SECONDS - writers on two mounts of one store and in the store itself (-: not there).

Every version of a value is one token repeated, with its length at the start, so that a mixture of two
shows. Values replaced by rename and by truncation, values appended to by one, values replaced in the
store by the shell's way (a new file, then rename).
"""
import errno
import os
import random
import sys
import threading
import time

a, b, store, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
end = time.time() + seconds
bad, counts = [], {"renamed": 0, "stored": 0, "read": 0, "stale": 0}
NAMES = 4


def version(tag):
    word = b"%s-%08d " % (tag.encode(), random.randrange(10**8))
    body = word * random.choice([3, 400, 4000, 20000])
    return b"%08d %s" % (len(body), body)


def check(data, where):
    if data == b"":
        return  # truncated through the mount, by a writer that is not done
    try:
        length, body = int(data[:8]), data[9:]
    except ValueError:
        bad.append("%s: no length: %r" % (where, data[:40]))
        return
    space = body.find(b" ") + 1
    word = body[:space]
    if body != word * (len(body) // max(space, 1)):
        at = next((i for i in range(0, len(body), len(word)) if body[i:i + len(word)] != word), len(body))
        bad.append("%s: two versions in one read: %r, from %d of %d on %r (length %d)" %
                   (where, word, at + 9, len(data), body[at:at + 40], length))
    elif length != len(body):
        bad.append("%s: %d of %d bytes" % (where, len(body), length))


def read_once(path):
    # One open: a value that is replaced stays what it was for who has it open. One read gives all of it, but
    # where it meets ESTALE after some pages: those are a short read, and the error is the next one's.
    fd = os.open(path, os.O_RDONLY)
    try:
        data = part = os.read(fd, 1 << 20)
        while part:
            part = os.read(fd, 1 << 20)
            data += part
        return data
    finally:
        os.close(fd)


def guard(fn):
    def run():
        while time.time() < end and not bad:
            try:
                fn()
            except OSError as e:
                if e.errno == errno.ESTALE:  # replaced by others after it was opened, as over NFS
                    counts["stale"] += 1
                else:
                    bad.append("%s: %s" % (fn.__name__, e))
    return run


def writer(mount, tag):
    def renames():
        name = "r%d" % random.randrange(NAMES)
        tmp = os.path.join(mount, "." + tag + name)
        with open(tmp, "wb") as f:
            f.write(version(tag))
            if random.random() < 0.3:
                os.fsync(f.fileno())
        os.rename(tmp, os.path.join(mount, name))
        counts["renamed"] += 1
    return renames


def in_store():
    if store == "-":
        counts["stored"] = 1
        time.sleep(1)
        return
    name = "r%d" % random.randrange(NAMES)
    tmp = os.path.join(store, ".s" + name)
    with open(tmp, "wb") as f:
        f.write(version("store"))
    os.rename(tmp, os.path.join(store, name))
    counts["stored"] += 1
    time.sleep(0.02)


def reader(mount):
    def reads():
        path = os.path.join(mount, "r%d" % random.randrange(NAMES))
        check(read_once(path), path)
        counts["read"] += 1
    return reads


for i in range(NAMES):
    with open(os.path.join(a, "r%d" % i), "wb") as out:
        out.write(version("first"))
for i in range(NAMES):
    while not os.path.exists(os.path.join(b, "r%d" % i)):
        time.sleep(0.02)
threads = [threading.Thread(target=guard(fn)) for fn in
           (writer(a, "a"), writer(b, "b"), in_store, reader(a), reader(b), reader(a))]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(counts)
for line in bad[:10]:
    print(line)
sys.exit(1 if bad or not all(counts[k] for k in ("renamed", "stored", "read")) else 0)
