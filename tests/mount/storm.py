#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
storm.py A B STORE SECONDS SEED COHERENCE - two mounts of one store and programs in the store itself, each
replacing, editing, appending to, renaming and removing the same 50 keys.

  r*  replaced: truncated and written, or a new file renamed over it; in the store by rename
  u*  the same, and unlinked and made again
  a*  appended to, one record a write
  e*  edited in place, one block a write
  m*  one value each, renamed among four names, written over with the bytes it has

Every version, record and block says who wrote it, is checked by a sum, and is written by one call. Each
process keeps what it did with the times of its beginning and its end. A version is gone for good when
another one was begun after its end: it must not be the value at the end, nor be read LAG later.
"""
import errno
import os
import random
import re
import subprocess
import sys
import time
import zlib

from actors import run_all
from history import tag_of

A, B, STORE, SECONDS, SEED, COHERENCE = (sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]),
                                         int(sys.argv[5]), float(sys.argv[6]))
LAG = COHERENCE + 8  # a busy machine, and the keeper's waiting for a writer's end
TICK = 0.01  # of the kernel's clock, by which it is told what was first
BLOCK, BLOCKS, NAMES = 4096, 8, 4
KEYS = (["r%02d" % i for i in range(14)] + ["u%02d" % i for i in range(6)] + ["a%02d" % i for i in range(10)] +
        ["e%02d" % i for i in range(10)] + ["m%02d" % i for i in range(10)])
GONE = {errno.ENOENT, errno.ESTALE, errno.EEXIST}


# ---- what is written ----

def version(key, tag, rng):
    word = b"%s/%s/%08x " % (key.encode(), tag.encode(), rng.getrandbits(32))
    body = word * rng.choice([2, 300, 1500, 5000])
    head = b"V %s %s %d %08x\n" % (key.encode(), tag.encode(), len(body), zlib.crc32(body))
    return head + body


def growing(data):
    """Is it nothing, or the beginning of one version?"""
    data = data.rstrip(b"\0")
    m = re.match(rb"V (\S+) (\S+) (\d+) [0-9a-f]{8}\n(\S+ )", data)
    if not m:
        return len(data) < 80
    body = data[m.start(4):]
    return len(body) < int(m[3]) and (m[4] * (len(body) // len(m[4]) + 1)).startswith(body)


def record(tag):
    # Of a length that no page border cuts: there the kernel makes two writes of one.
    body = ("%s " % tag).ljust(128 - 10, "x")
    return ("%s %08x\n" % (body, zlib.crc32(body.encode()))).encode()


def block(key, index, tag):
    head = b"B %s %d %s " % (key.encode(), index, tag.encode())
    body = head + b"." * (BLOCK - 10 - len(head))
    return body + b" %08x\n" % zlib.crc32(body)


def parse_block(data, key, index):
    m = re.match(rb"B (\S+) (\d+) (\S+) ", data)
    if not m or m[1] != key.encode() or int(m[2]) != index or int(data[-9:-1], 16) != zlib.crc32(data[:-10]):
        return None
    return m[3].decode()


# ---- one process ----

class Actor:
    def __init__(self, name, root, mounted):
        self.name, self.root, self.mounted = name, root, mounted
        self.rng = random.Random("%d %s" % (SEED, name))
        self.seq, self.log, self.bad, self.counts = 0, [], [], {}
        self.mixed = []  # reads that are of several versions

    def path(self, key):
        return os.path.join(self.root, key)

    def tag(self):
        self.seq += 1
        return "%s.%d" % (self.name, self.seq)

    def did(self, key, tag, begin, kind):
        self.log.append((key, tag, begin, time.monotonic(), kind))
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def packed_id(self, key):
        try:
            st = os.lstat(self.path(key) + ".zst")
            return st.st_ino, st.st_ctime_ns
        except FileNotFoundError:
            return None

    def put_renamed(self, key):
        tag = self.tag()
        tmp = self.path(".%s.%s" % (self.name, key))
        with open(tmp, "wb", buffering=0) as f:
            f.write(version(key, tag, self.rng))
            if self.rng.random() < 0.2:
                os.fsync(f.fileno())
        ino = os.lstat(tmp).st_ino
        begin = time.monotonic()
        packed = None if self.mounted else self.packed_id(key)
        os.rename(tmp, self.path(key))
        self.did(key, tag, begin, "put")
        if not self.mounted:
            self.remove_older_form(key, ino, packed)

    def remove_older_form(self, key, ino, packed):
        """In the store the old packed form is beside the new value now; what came later is another's."""
        try:
            st = os.lstat(self.path(key))
        except FileNotFoundError:
            return
        now = self.packed_id(key)
        if not now or (now != packed and (st.st_ino != ino or now[1] >= st.st_ctime_ns)):
            return
        aside = self.path(".%s.old" % self.name)
        os.rename(self.path(key) + ".zst", aside)
        if os.lstat(aside).st_ino == now[0]:
            os.unlink(aside)
        else:
            os.rename(aside, self.path(key) + ".zst")

    def put_truncated(self, key):
        tag = self.tag()
        begin = time.monotonic()
        fd = os.open(self.path(key), os.O_WRONLY | os.O_TRUNC | (os.O_CREAT if key[0] == "u" else 0), 0o644)
        try:
            if self.rng.random() < 0.2:
                time.sleep(0.03)
            os.write(fd, version(key, tag, self.rng))
            if self.rng.random() < 0.2:
                os.fsync(fd)
        finally:
            os.close(fd)
            self.did(key, tag, begin, "overwrite")

    def remove(self, key):
        begin = time.monotonic()
        if self.mounted:
            os.unlink(self.path(key))
        else:
            packed = self.packed_id(key)
            try:
                os.unlink(self.path(key))
            except FileNotFoundError:
                pass
            if packed and self.packed_id(key) == packed:
                os.unlink(self.path(key) + ".zst")
        self.did(key, "", begin, "remove")

    def append(self, key):
        fd = os.open(self.path(key), os.O_WRONLY | os.O_APPEND)
        try:
            for _ in range(self.rng.choice([1, 1, 5])):
                tag = self.tag()
                begin = time.monotonic()
                os.write(fd, record(tag))
                self.did(key, tag, begin, "append")
        finally:
            os.close(fd)

    def edit(self, key):
        index = self.rng.randrange(BLOCKS)
        fd = os.open(self.path(key), os.O_RDWR)
        try:
            tag = self.tag()
            begin = time.monotonic()
            os.pwrite(fd, block(key, index, tag), index * BLOCK)
            self.did("%s %d" % (key, index), tag, begin, "edit")
        finally:
            os.close(fd)

    def move(self, key):
        a, b = ("%s.%d" % (key, self.rng.randrange(NAMES)) for _ in range(2))
        begin = time.monotonic()
        if self.mounted and self.rng.random() < 0.5:
            with open(self.path(a), "r+b", buffering=0) as f:
                f.write(version(key, "only", random.Random(key))[:1])
            self.did(key, "", begin, "touch")
        if a == b or os.path.exists(self.path(b)):
            return
        if self.mounted:
            os.rename(self.path(a), self.path(b))
            self.did(key, "", begin, "move")

    def read(self, key):
        begin = time.monotonic()
        fd = os.open(self.path(key), os.O_RDONLY)
        try:
            data = os.read(fd, 1 << 20)
            # A read is cut short where the value was replaced: ESTALE now. Nothing more comes of it, but of
            # a file that a writer of the same mount has truncated since, and written, as on any filesystem.
            data += os.read(fd, 1 << 20)
        finally:
            os.close(fd)
        self.saw(key, data, begin)

    def read_stored(self, key):
        begin = time.monotonic()
        for _ in range(3):  # between the two looks the value may be swapped
            try:
                with open(self.path(key), "rb", buffering=0) as f:
                    return self.saw(key, f.read(), begin)
            except FileNotFoundError:
                pass
            try:
                with open(self.path(key) + ".zst", "rb") as f:
                    data = f.read()
            except FileNotFoundError:
                continue
            got = subprocess.run(["zstd", "-dcq"], input=data, capture_output=True)
            if got.returncode:
                self.bad.append("%s: %s.zst does not decode: %s" % (self.name, key, got.stderr))
            return self.saw(key, got.stdout, begin)
        if key[0] == "r":
            self.bad.append("%s: %s is not in the store" % (self.name, key))

    def saw(self, key, data, begin):
        self.counts["read"] = self.counts.get("read", 0) + 1
        if key[0] in "ru":
            tag = tag_of(data, key)
            # Of a mount's own writers one is seen at work: a value that is truncated, or not whole yet.
            if tag is None and growing(data) and (self.mounted or key[0] == "u"):
                return
            if tag is None:
                tags = re.findall(rb"(?:V %s (\S+) |\b%s/([^/ ]+)/[0-9a-f]{8} )" % (key.encode(), key.encode()), data)
                turns = list(dict.fromkeys((a or b).decode() for a, b in tags))
                self.mixed.append((self.name, key, turns, begin, time.monotonic(), data[:40]))
            elif tag:
                self.log.append((key, tag, begin, time.monotonic(), "saw"))
        elif key[0] == "a":
            broken = [r for r in data.split(b"\n")[:-1] if "%08x" % zlib.crc32(r[:-9]) != r[-8:].decode()]
            if broken:
                self.bad.append("%s: a record of %s is broken: %r" % (self.name, key, broken[0]))

    def step(self):
        key = self.rng.choice(KEYS)
        dice = self.rng.random()
        self.doing = "%s %.2f" % (key, dice)
        if dice < 0.3 and key[0] in "rua":
            return self.read(key) if self.mounted else self.read_stored(key)
        if key[0] == "u" and dice < 0.4:
            return self.remove(key)
        if key[0] in "ru":
            # Two who truncate and write one file of one mount at a time would mix it on any filesystem.
            mine = self.mounted and int(key[1:]) % 2 == int(self.name[1:])
            if key[0] == "u":  # so would two mounts with a new one, which is written in place
                mine = self.name == ["a0", "a1", "b0", "b1"][int(key[1:]) % 4]
            return self.put_truncated(key) if mine and dice < 0.9 else self.put_renamed(key)
        return {"a": self.append, "e": self.edit, "m": self.move}[key[0]](key)

    def run(self, until, pipe):
        while time.monotonic() < until and len(self.bad) < 50:
            try:
                self.step()
            except OSError as e:
                name = errno.errorcode.get(e.errno, str(e.errno))
                self.counts[name] = self.counts.get(name, 0) + 1
                if e.errno not in GONE:
                    self.bad.append("%s: %s %s: %s" % (self.name, self.doing, time.monotonic(), e))
            if not self.mounted:
                time.sleep(0.004)
        pipe.send((self.log, self.bad, self.counts, self.mixed))


# ---- all of it ----

def setup():
    rng = random.Random(SEED)
    for key in KEYS:
        names = {"m": key + ".0"}
        with open(os.path.join(A, names.get(key[0], key)), "wb", buffering=0) as f:
            if key[0] == "a":
                f.write(b"".join(record("first.%d" % i) for i in range(100)))
            elif key[0] == "e":
                f.write(b"".join(block(key, i, "first") for i in range(BLOCKS)))
            elif key[0] == "m":
                f.write(version(key, "only", random.Random(key)))
            else:
                f.write(version(key, "first", rng))
    end = time.monotonic() + 30
    while not all(os.path.exists(os.path.join(B, k + ".0" if k[0] == "m" else k)) for k in KEYS):
        if time.monotonic() > end:
            sys.exit("the second mount does not see what the first one made")
        time.sleep(0.05)


class Judge:
    def __init__(self, log):
        self.bad, self.by_key, self.when = [], {}, {}
        for key, tag, begin, end, kind in log:
            if kind == "saw":
                continue
            self.by_key.setdefault(key, []).append((begin, end, tag, kind))
            self.when[tag] = (begin, end)

    def superseded(self, key, tag, before):
        """The change that was begun after the end of tag's and was done before `before`, or None."""
        end = self.when.get(tag, (0, 0))[1]
        for b, e, t, kind in self.by_key.get(key, []):
            if b > end + TICK and e < before:
                return "%s %s at %.3f..%.3f, after %.3f" % (kind, t or "-", b, e, end)
        return None

    def reads(self, log):
        for key, tag, begin, end, kind in log:
            if kind == "saw":
                by = self.superseded(key, tag, begin - LAG)
                if by:
                    self.bad.append("stale: %s of %s was read at %.3f, but: %s" % (tag, key, begin, by))

    def mixtures(self, mixed):
        """A reader may see what a writer of its own mount does to the file that it has open: it is truncated and
        written while it is read. Every version in what was read but the first is of such a writer."""
        for name, key, tags, begin, end, head in mixed:
            own = {t for b, e, t, kind in self.by_key.get(key, [])
                   if kind == "overwrite" and t[0] == name[0] and name[0] != "s" and b < end and e > begin}
            if not tags or not set(tags[1:]) <= own:
                self.bad.append("%s read %s of %s at %.3f..%.3f, %r: versions %s, written meanwhile through the same mount: %s" %
                                (name, "a mixture", key, begin, end, head, tags, sorted(own)))

    def value(self, key, data):
        if key[0] in "ru":
            tag = tag_of(data, key)
            by = self.superseded(key, tag, float("inf")) if tag else None
            if tag is None:
                self.bad.append("%s at the end is no version: %d bytes %r" % (key, len(data), data[:60]))
            elif by:
                self.bad.append("lost: %s is %s at the end, but: %s" % (key, tag, by))
        elif key[0] == "a":
            seen = [line.split(b" ")[0].decode() for line in data.split(b"\n")[:-1]]
            want = {t for _, _, t, _ in self.by_key.get(key, [])} | {"first.%d" % i for i in range(100)}
            for tag in sorted(want - set(seen))[:5]:
                self.bad.append("lost: record %s of %s, %s" % (tag, key, self.when.get(tag)))
            if len(seen) != len(set(seen)):
                self.bad.append("%s has a record twice" % key)
        elif key[0] == "e":
            for i in range(BLOCKS):
                part = data[i * BLOCK:(i + 1) * BLOCK]
                tag = parse_block(part, key, i) if len(part) == BLOCK else None
                by = self.superseded("%s %d" % (key, i), tag, float("inf")) if tag else None
                if tag is None:
                    self.bad.append("block %d of %s is broken: %r" % (i, key, part[:60]))
                elif by:
                    self.bad.append("lost: block %d of %s is %s at the end, but: %s" % (i, key, tag, by))


def strays(judge):
    """Names that nobody has made."""
    names = set(KEYS) | {"%s.%d" % (k, i) for k in KEYS if k[0] == "m" for i in range(NAMES)}
    for root in (A, B):
        for name in sorted(set(os.listdir(root)) - names):
            judge.bad.append("%s is in %s" % (name, root))


def finals(judge):
    for key in KEYS:
        names = ["%s.%d" % (key, i) for i in range(NAMES)] if key[0] == "m" else [key]
        there = [n for n in names if os.path.exists(os.path.join(A, n))]
        if key[0] == "m" and len(there) != 1:
            judge.bad.append("%s is there %d times: %s" % (key, len(there), there))
        elif not there and key[0] != "u":
            judge.bad.append("%s is gone" % key)
        for name in there:
            with open(os.path.join(A, name), "rb") as f:
                data = f.read()
            if key[0] == "m":
                if data != version(key, "only", random.Random(key)):
                    judge.bad.append("%s is not what it was" % name)
            else:
                judge.value(key, data)


def main():
    setup()
    until = time.monotonic() + SECONDS
    actors = [Actor("a0", A, True), Actor("a1", A, True), Actor("b0", B, True), Actor("b1", B, True),
              Actor("s0", STORE, False)]
    log, bad, counts, mixed = [], [], {}, []
    for actor, got in zip(actors, run_all(actors, until)):
        log += got[0]
        bad += got[1]
        counts[actor.name] = got[2]
        mixed += got[3]
    for root in (A, B, STORE):  # of those who were interrupted by ENOENT
        for name in os.listdir(root):
            if name.startswith(".") and name != ".diskvfs":
                try:
                    os.unlink(os.path.join(root, name))
                except FileNotFoundError:
                    pass
    for name in sorted(counts):
        print(name, dict(sorted(counts[name].items())))
    for m in (A, B):
        fd = os.open(os.path.join(m, ".diskvfs/control"), os.O_WRONLY)
        os.write(fd, b"finish\n")
        os.close(fd)
    time.sleep(COHERENCE + 0.5)
    judge = Judge(log)
    judge.reads(log)
    judge.mixtures(mixed)
    finals(judge)
    strays(judge)
    lines = bad + judge.bad
    for line in lines[:20]:
        print(line)
    print("%d operations, %d violations" % (len(log), len(lines)))
    sys.exit(1 if lines else 0)


main()
