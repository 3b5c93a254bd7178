#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
coherent.py MOUNT STORE SECONDS SEED COHERENCE - files of the store are changed in all ways while programs of the mount
read them; what each read gives is judged as a register (history.py) in which a write ends COHERENCE later.

  w*  written in place, the same size; mtime as it comes, as it was before, one to come, an old one
  g*  written in place or anew (O_TRUNC), another size or the same
  a*  appended to; the version is how many records there are
  n*  another file is renamed over it, or it is removed and made again; with the old one's size and mtime, too
  z*  K is replaced by K.zst and back, as zstd --rm and unzstd --rm do it
  t*  touched and chmodded; the version is the mtime, and the mode tells it too
"""
import errno
import multiprocessing
import os
import random
import re
import subprocess
import sys
import time

from history import NEVER, Op, describe, judge, tag_of, value

MOUNT, STORE, SECONDS, SEED, COHERENCE = (sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]),
                                          float(sys.argv[5]))
BUSY = 3.0 if COHERENCE else 0.0  # what a busy machine adds: the kernel counts from when it takes an answer
SIZE, RECORD = 3000, 64
KEYS = ["w0", "w1", "g0", "a0", "n0", "n1", "z0", "t0"]
DAY = 86400 * 10**9


class Changer:
    def __init__(self):
        self.rng, self.seq, self.ops, self.counts = random.Random(SEED), 0, [], {}
        self.records = 0

    def path(self, key):
        return os.path.join(STORE, key)

    def new(self, key, size=SIZE):
        """Versions of one key and size are equally long: a tag has six digits."""
        self.seq += 1
        tag = "s.%06d" % self.seq
        return tag, value(key, tag, size)

    def did(self, what, key, tag, begin):
        self.ops.append((key, "w", tag, begin, time.monotonic()))
        self.counts[what] = self.counts.get(what, 0) + 1

    def write(self, key):
        tag, data = self.new(key)
        what = self.rng.choice(["plain", "kept", "to come", "old"])
        before = os.stat(self.path(key))
        begin = time.monotonic()
        fd = os.open(self.path(key), os.O_WRONLY)
        os.pwrite(fd, data, 0)
        at = {"kept": before.st_mtime_ns, "to come": before.st_mtime_ns + DAY, "old": 10**18 + self.seq}.get(what)
        if at:
            os.utime(fd, ns=(before.st_atime_ns, at))
        os.close(fd)
        self.did("written, mtime " + what, key, tag, begin)

    def grow(self, key):
        tag, data = self.new(key, self.rng.choice([SIZE, 300, 3900]))
        begin = time.monotonic()
        fd = os.open(self.path(key), os.O_WRONLY | os.O_TRUNC)
        os.write(fd, data)
        os.close(fd)
        self.did("written anew", key, tag, begin)

    def append(self, key):
        begin = time.monotonic()
        fd = os.open(self.path(key), os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"x" * (RECORD - 1) + b"\n")
        os.close(fd)
        self.records += 1
        self.did("appended", key, str(self.records), begin)

    def replace(self, key):
        tag, data = self.new(key, self.rng.choice([SIZE, 200000]))
        tmp, path, before = self.path("." + key), self.path(key), os.stat(self.path(key))
        removes, keeps = self.rng.random() < 0.3, self.rng.random() < 0.5
        with open(tmp, "wb", buffering=0) as f:
            f.write(data)
            if keeps:
                os.utime(f.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
        begin = time.monotonic()
        if removes:
            os.unlink(path)
        os.rename(tmp, path)
        self.did("removed and made" if removes else "replaced", key, tag, begin)

    def zst(self, key):
        tag, data = self.new(key, self.rng.choice([SIZE, 200000]))
        raw, packed = self.path(key), self.path(key) + ".zst"
        to_packed = os.path.exists(raw)
        tmp = self.path("." + key)
        with open(tmp, "wb") as f:
            f.write(data)
        if to_packed:
            subprocess.run(["zstd", "-qf1", "--rm", tmp, "-o", tmp + ".z"], check=True)
        begin = time.monotonic()
        os.rename(tmp + ".z" if to_packed else tmp, packed if to_packed else raw)
        os.unlink(raw if to_packed else packed)
        self.did("K to K.zst" if to_packed else "K.zst to K", key, tag, begin)

    def touch(self, key):
        self.seq += 1
        at = self.rng.choice([10**18, 2 * 10**18]) + self.seq  # before now, or to come
        begin = time.monotonic()
        if self.rng.random() < 0.5:
            os.chmod(self.path(key), 0o600 | self.rng.randrange(0o100))
        os.utime(self.path(key), ns=(at, at))
        self.did("touched", key, str(at), begin)

    def run(self, until):
        kinds = {"w": self.write, "g": self.grow, "a": self.append, "n": self.replace, "z": self.zst, "t": self.touch}
        while time.monotonic() < until:
            key = self.rng.choice(KEYS)
            kinds[key[0]](key)
            # In bursts within one tick of the clock, and with pauses in which all is read and kept.
            time.sleep(self.rng.choice([0, 0, 0.002, 0.02, 0.1]))


def is_at_work(data, key):
    """As on the filesystem below a file is seen that was truncated, and is not written yet; and for COHERENCE, or where
    it is written between the kernel's question for the size and that for the bytes, the new ones as far as the old size goes."""
    return not data or len(set(re.findall(rb"\b%s/(\S+) " % key.encode(), data))) == 1


class Reader:
    def __init__(self, name):
        self.name, self.rng = name, random.Random("%d %s" % (SEED, name))
        self.ops, self.bad, self.kept = [], [], {}
        self.dropped = 0

    def path(self, key):
        return os.path.join(MOUNT, key)

    def read(self, key):
        begin = time.monotonic()
        if key[0] == "t":
            tag = str(os.stat(self.path(key)).st_mtime_ns)
        else:
            keeps = key[0] in "wa" and self.rng.random() < 0.5  # one that was opened long ago
            fd = self.kept[key] if keeps and key in self.kept else os.open(self.path(key), os.O_RDONLY)
            data, part = b"", b"-"
            while part:
                part = os.pread(fd, 1 << 20, len(data))
                data += part
                if key[0] == "g":  # changed in place: a second read may be of another version
                    break
            if keeps:
                self.kept[key] = fd
            else:
                os.close(fd)
            tag = str(len(data) // RECORD) if key[0] == "a" else tag_of(data, key)
        if tag is not None:
            self.ops.append((key, "r", tag, begin, time.monotonic()))
        elif key[0] == "g" and self.name != "rest" and is_at_work(data, key):
            self.dropped += 1
        else:
            self.bad.append("%s: %s at %.6f is no version: %s" % (self.name, key, begin, describe(data, key)))

    def run(self, until, pipe):
        while time.monotonic() < until and len(self.bad) < 20:
            key = self.rng.choice(KEYS)
            try:
                self.read(key)
            except OSError as e:
                self.dropped += 1
                # Between its removal and its making; what was opened and replaced before it was read.
                if not (e.errno == errno.ENOENT and key[0] == "n" or e.errno == errno.ESTALE and key[0] in "nz"):
                    self.bad.append("%s: %s: %s" % (self.name, key, e))
            if self.rng.random() < 0.2:
                time.sleep(0.005)
        pipe.send((self.ops, self.bad, self.dropped))


def main():
    changer, begin = Changer(), time.monotonic()
    for key in KEYS:
        tag, data = changer.new(key)
        with open(changer.path(key), "wb", buffering=0) as f:
            f.write(b"" if key[0] == "a" else data)
        tag = {"a": "0", "t": str(os.stat(changer.path(key)).st_mtime_ns)}.get(key[0], tag)
        changer.did("made", key, tag, begin)
    time.sleep(COHERENCE)
    until = time.monotonic() + SECONDS
    pipes, procs = [], []
    for name in ("r0", "r1"):
        here, there = multiprocessing.Pipe(False)
        pipes.append(here)
        procs.append(multiprocessing.Process(target=Reader(name).run, args=(until, there)))
        procs[-1].start()
    changer.run(until)
    bad, ops, reads = [], list(changer.ops), 0
    for pipe, p in zip(pipes, procs):
        got = pipe.recv()
        ops += got[0]
        bad += got[1]
        reads += len(got[0])
        p.join()
    time.sleep(COHERENCE)
    last = Reader("rest")
    for key in KEYS:
        last.read(key)
    ops, bad = ops + last.ops, bad + last.bad
    for key in KEYS:
        late = COHERENCE + BUSY
        rest = min(op[3] for op in last.ops)
        mine = [Op(kind, tag, b, max(e, min(e + late, rest)) if kind == "w" else e, kind)
                for k, kind, tag, b, e in ops if k == key]
        bad += ["%s: %s" % (key, text) for text in judge(mine)[:3]]
    for what, count in sorted(changer.counts.items()):
        print("%6d %s" % (count, what))
    for line in bad[:20]:
        print(line)
    print("%d changes, %d reads, %d violations" % (len(changer.ops), reads, len(bad)))
    sys.exit(1 if bad or not reads else 0)


main()
