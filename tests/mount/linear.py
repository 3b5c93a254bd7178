#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
linear.py STORE SECONDS SEED COHERENCE MOUNT... - values that are replaced whole, by all mounts of a store and in the
store itself, judged as atomic registers (history.py). With LIBRARY in the environment by the library too.

  r*  a new file is written and renamed over it, through the mounts; put by the library
  s*  the same, and in the store itself (nobody packs them)
  z*  in the store alone: raw over raw, raw beside packed, packed beside raw, the old form unlinked
  t*  truncated and written anew, synced or not, each by one mount; the others rename over it

With one mount, or with coherence=0, the whole history of r, s and z is one register. With more the history of each
mount is: what it did itself, and what others wrote, where the end of their writes is COHERENCE later. What is pending
in a mount the others see once it is in place, so t is judged for each mount, and a write of it that was not synced
ends LATER. At rest, when all is in place, what each mount shows is judged with the exact times.
"""
import ctypes
import errno
import os
import random
import subprocess
import sys
import time

from actors import run_all
from history import NEVER, Op, describe, judge, tag_of, value

STORE, SECONDS, SEED, COHERENCE, MOUNTS = (sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]),
                                           sys.argv[5:])
EXACT = len(MOUNTS) == 1 or COHERENCE == 0
BUSY = 3.0   # what a busy machine adds to COHERENCE: the kernel counts from when it takes an answer
LATER = 8.0  # the keeper's waiting for a writer's end, on such a machine
TICK = 0.02  # of the kernel's clock, by which it is told what was written first
TURN = 0.15  # for so long most are at one key; then it rests, and is packed
KEYS = {c: ["%s%d" % (c, i) for i in range(n)] for c, n in (("r", 3), ("s", 2), ("z", 2), ("t", len(MOUNTS)))}
LIBRARY = os.environ.get("LIBRARY")


class Actor:
    def __init__(self, name, root, kind, number=0):
        self.name, self.root, self.kind, self.number = name, root, kind, number
        self.rng = random.Random("%d %s" % (SEED, name))
        self.seq, self.ops, self.bad, self.counts = 0, {}, [], {}
        mine = {"mount": "rrssttz" if len(MOUNTS) > 1 else "rrrrt", "store": "ssz", "library": "r"}[kind]
        self.classes = mine if kind != "store" or number == 0 else "s"  # one alone makes z

    def path(self, key):
        return os.path.join(self.root, key)

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def did(self, kind, key, tag, begin, end=None, seen=None):
        """seen: when others see it at the latest, if that is not its end."""
        end = time.monotonic() if end is None else end
        self.ops.setdefault(key, []).append((kind, tag, begin, end, end if seen is None else seen, self.name))
        self.count(kind)

    def new(self, key, small=False):
        self.seq += 1
        tag = "%s.%d" % (self.name, self.seq)
        return tag, value(key, tag, 2000 if small else self.rng.choice([200, 5000, 20000, 300000]))

    def changed(self, key, tag, call, *args):
        """One call by which tag becomes the value. One that fails may have been done."""
        begin = time.monotonic()
        try:
            call(*args)
        except OSError:
            self.did("w", key, tag, begin, NEVER)
            raise
        self.did("w", key, tag, begin)

    # ---- through a mount ----

    def put_renamed(self, key):
        tag, data = self.new(key, key[0] == "t")
        tmp = self.path(".%s.%s" % (self.name, key))
        with open(tmp, "wb", buffering=0) as f:
            f.write(data)
            if self.rng.random() < 0.1:
                os.fsync(f.fileno())
        self.changed(key, tag, os.rename, tmp, self.path(key))

    def put_truncated(self, key):
        tag, data = self.new(key, True)
        begin = time.monotonic()  # what is renamed over it from here on may take the name from what is opened
        fd = os.open(self.path(key), os.O_WRONLY | os.O_TRUNC)
        end, seen = NEVER, NEVER
        try:
            if self.rng.random() < 0.1:
                time.sleep(0.02)
            os.write(fd, data)
            end = time.monotonic()
            seen = end + LATER
            if self.rng.random() < 0.3:
                os.fsync(fd)
                seen = time.monotonic()
        finally:
            os.close(fd)
            self.did("w", key, tag, begin, end, seen)

    def read(self, key):
        begin = time.monotonic()
        fd = os.open(self.path(key), os.O_RDONLY)
        try:
            parts = []
            while not parts or parts[-1]:
                parts.append(os.read(fd, self.rng.choice([1 << 12, 1 << 20])))
        finally:
            os.close(fd)
        self.saw(key, b"".join(parts), begin)

    def saw(self, key, data, begin):
        tag = tag_of(data, key)
        if tag is not None:
            return self.did("r", key, tag, begin)
        # A writer of the same mount is at work: its file is empty, or grows in the memory of the kernel.
        if key[0] == "t" and self.kind == "mount" and key == "t%d" % self.number and len(data) < 4096:
            return self.count("at work")
        self.bad.append("%s: %s is no version: %s" % (self.name, key, describe(data, key)))

    # ---- in the store ----

    def store_file(self, key, data, packed):
        tmp = self.path(".%s.%s" % (self.name, key))
        with open(tmp, "wb", buffering=0) as f:
            if not packed:
                f.write(data)
        if packed:
            subprocess.run(["zstd", "-qf1", "-o", tmp], input=data, check=True)
        return tmp

    def put_forms(self, key):
        """The value is what has the raw name, else what has the packed one."""
        tag, data = self.new(key)
        packed = self.rng.random() < 0.5
        tmp = self.store_file(key, data, packed)
        raw, zst = self.path(key), self.path(key) + ".zst"
        had_raw = os.path.exists(raw)

        def become():
            os.rename(tmp, zst if packed else raw)
            if packed and had_raw:
                os.unlink(raw)
        self.changed(key, tag, become)
        if not packed and not had_raw:
            os.unlink(zst)

    def step_store(self, key):
        if key[0] == "z":
            return self.put_forms(key)
        if self.rng.random() < 0.4:
            return self.read(key)
        tag, data = self.new(key)
        self.changed(key, tag, os.rename, self.store_file(key, data, False), self.path(key))

    # ---- by the library ----

    def step_library(self, key):
        if self.rng.random() < 0.5:
            begin = time.monotonic()
            return self.saw(key, self.library.read(key), begin)
        tag, data = self.new(key)
        self.changed(key, tag, self.library.write, key, data)

    # ---- all ----

    def step(self):
        kind = self.rng.choice(self.classes)
        if self.rng.random() < 0.8:
            turn = int(time.monotonic() / TURN)
            key = random.Random("%s %d" % (kind, turn)).choice(KEYS[kind])
        else:
            key = self.rng.choice(KEYS[kind])
        if self.kind == "store":
            return self.step_store(key)
        if self.kind == "library":
            return self.step_library(key)
        if kind == "z" or self.rng.random() < 0.6:
            return self.read(key)
        # Two who truncate and write one file would mix it on any filesystem.
        if key == "t%d" % self.number and self.name.endswith("w") and self.rng.random() < 0.8:
            return self.put_truncated(key)
        return self.put_renamed(key)

    def run(self, until, pipe):
        if self.kind == "library":
            self.library = Library()
        while time.monotonic() < until and len(self.bad) < 20:
            try:
                self.step()
            except OSError as e:
                self.count(errno.errorcode.get(e.errno, str(e.errno)))
                # What was opened, and replaced elsewhere before it was read, as over NFS.
                if e.errno != errno.ESTALE or len(MOUNTS) == 1:
                    self.bad.append("%s at %.6f: %s" % (self.name, time.monotonic(), e))
            if self.kind != "mount" or self.rng.random() < 0.02:
                time.sleep(self.rng.random() * 0.01)
        if self.kind == "library":
            self.library.close()
        pipe.send((self.ops, self.bad, self.counts))


class Library:
    def __init__(self):
        self.lib, self.libc = ctypes.CDLL(LIBRARY), ctypes.CDLL(None)
        self.libc.free.argtypes = [ctypes.c_void_p]
        self.s = ctypes.c_void_p()
        why = ctypes.create_string_buffer(512)
        if self.lib.dvfs_open(STORE.encode(), None, ctypes.byref(self.s), why, len(why)):
            sys.exit("the library does not open the store: %r" % why.value)

    def check(self, got):
        if got:
            raise OSError(-got, os.strerror(-got))

    def write(self, key, data):
        self.check(self.lib.dvfs_write(self.s, key.encode(), data, ctypes.c_size_t(len(data)), 0))

    def read(self, key):
        buf, size = ctypes.c_void_p(), ctypes.c_size_t()
        self.check(self.lib.dvfs_read(self.s, key.encode(), ctypes.byref(buf), ctypes.byref(size)))
        data = ctypes.string_at(buf, size.value)
        self.libc.free(buf)
        return data

    def close(self):
        self.check(self.lib.dvfs_close(ctypes.byref(self.s)))


class Judge:
    def __init__(self, ops, mount_of):
        self.ops, self.mount_of, self.bad = ops, mount_of, []

    def told(self, key, where, history):
        self.bad += ["%s, %s: %s" % (key, where, text) for text in judge(history)[:3]]

    def exactly(self, key):
        self.told(key, "all", [Op(k, tag, b, e, who) for k, tag, b, e, _, who in self.ops[key]])

    def of_mount(self, key, mount, rest):
        """rest: from then on all is in place, and the kernel has forgotten what it knew."""
        slack, lag = (TICK, LATER) if key[0] == "t" else (0, 0)
        history = []
        for kind, tag, begin, end, seen, who in self.ops[key]:
            if self.mount_of[who] == mount:
                history.append(Op(kind, tag, begin - (slack if kind == "w" else 0),
                                  end + (slack if kind == "w" else 0), who))
            elif kind == "w":
                end = min(seen + lag + slack + (COHERENCE + BUSY if COHERENCE else 0), max(rest, end))
                history.append(Op(kind, tag, begin - slack, end, who))
        self.told(key, "as mount %s sees it" % mount, history)


def oldest(ops):
    """The longest time after its end that a write was not seen, of all histories."""
    worst = 0.0
    for those in ops.values():
        writes = sorted((begin, end, tag) for kind, tag, begin, end, _, _ in those if kind == "w" and end != NEVER)
        ends = {tag: end for _, end, tag in writes}
        for kind, tag, begin, _, _, _ in those:
            if kind == "r" and tag in ends:
                later = [e for b, e, _ in writes if b > ends[tag] and e < begin]
                worst = max(worst, begin - min(later)) if later else worst
    return worst


def setup():
    first = Actor("first", MOUNTS[0], "mount", 99)
    for key in sum(KEYS.values(), []):
        tag, data = first.new(key)
        begin = time.monotonic()
        with open(os.path.join(STORE if key[0] in "sz" else MOUNTS[0], key), "wb", buffering=0) as f:
            f.write(data)
        first.did("w", key, tag, begin)
    end = time.monotonic() + 30
    while not all(os.path.exists(os.path.join(m, k)) for m in MOUNTS for k in sum(KEYS.values(), [])):
        if time.monotonic() > end:
            sys.exit("a mount does not see what was made")
        time.sleep(0.05)
    time.sleep(COHERENCE)
    return first


def work(actors):
    for actor, told in zip(actors, run_all(actors, time.monotonic() + SECONDS)):
        actor.ops, actor.bad, actor.counts = told
        print(actor.name, dict(sorted(actor.counts.items())))


def at_rest():
    """-> when all was in place, and actors that have read what each mount shows then."""
    for m in MOUNTS:
        fd = os.open(os.path.join(m, ".diskvfs/control"), os.O_WRONLY)
        os.write(fd, b"finish\n")
        os.close(fd)
    time.sleep(COHERENCE + 1)
    rest, last = time.monotonic(), []
    for i, m in enumerate(MOUNTS):
        actor = Actor("rest%d" % i, m, "mount", 99)
        for key in sum(KEYS.values(), []):
            actor.read(key)
        last.append(actor)
    return rest, last


def main():
    first = setup()
    actors = [Actor("m%d%s" % (i, x), m, "mount", i) for i, m in enumerate(MOUNTS) for x in "wx"]
    if len(MOUNTS) > 1:
        actors += [Actor("s%d" % i, STORE, "store", i) for i in range(2)]
    if LIBRARY and len(MOUNTS) > 1:
        actors.append(Actor("lib", STORE, "library"))
    work(actors)
    rest, last = at_rest()
    everybody = [first] + actors + last
    ops = {}
    for actor in everybody:
        for key, those in actor.ops.items():
            ops.setdefault(key, []).extend(those)
    j = Judge(ops, {a.name: a.root for a in everybody})
    for key in sorted(ops):
        if EXACT and key[0] != "t":
            j.exactly(key)
        for m in MOUNTS if not EXACT or key[0] == "t" else []:
            j.of_mount(key, m, rest)
    bad = sum((a.bad for a in everybody), []) + j.bad
    for line in bad[:20]:
        print(line)
    total = sum(map(len, ops.values()))
    print("%d operations, %d violations; for %.3f s after its end a write was not seen" % (total, len(bad), oldest(ops)))
    sys.exit(1 if bad else 0)


main()
