#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
owners.py DISKVFS STORE SECONDS SEED LOG MOUNT... - mounts of one store, whose daemons are killed and stopped at random
while programs on all of them change the same keys; a killed one is mounted again at once or a little later.

  r*  a new file is written and renamed over it
  l*  the same, streamed
  u*  the same, and unlinked
  t*  truncated and written anew by one mount, renamed over by the others
  a*  appended to, a record a write (a0 is large enough that frames are added to its file)
  e*  edited in place, a block a write
  m*  one value each, renamed among some names, written over with the byte it has

r, l, u, and t as each mount sees it, are judged as registers (history.py); a call that its daemon did not answer may have
been done. Each record that was acknowledged is in its value once, each block is what was written last. What was not
synced may have gone to lost/ instead where another mount has changed the value between the kill and the next mount.
"""
import errno
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
import zlib

from history import NEVER, Op, describe, judge, tag_of, value

DISKVFS, STORE, SECONDS, SEED, LOG, MOUNTS = (sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]),
                                              sys.argv[5], sys.argv[6:])
OPTIONS = "settle=0,coherence=0"
LATER = 30.0  # until a replacement that a killed daemon had not put in place is, on a busy machine
TICK = 0.02   # of the kernel's clock
BLOCK, BLOCKS, NAMES, RECORD = 4096, 16, 3, 128
KEYS = {c: ["%s%d" % (c, i) for i in range(n)] for c, n in
        (("r", 4), ("l", 1), ("u", 2), ("t", len(MOUNTS)), ("a", 3), ("e", 3), ("m", 2))}
GONE = {errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV}


def record(tag):
    body = ("%s " % tag).ljust(RECORD - 10, "x")
    return ("%s %08x\n" % (body, zlib.crc32(body.encode()))).encode()


def records(data):
    """-> tags, how many lines are broken"""
    tags, broken = [], 0
    for line in data.split(b"\n")[:-1]:
        if "%08x" % zlib.crc32(line[:-9]) == line[-8:].decode(errors="replace"):
            tags.append(line.split(b" ")[0].decode())
        else:
            broken += 1
    return tags, broken


def block(key, index, tag):
    head = ("B %s %d %s " % (key, index, tag)).encode()
    body = head + b"." * (BLOCK - 10 - len(head))
    return body + b" %08x\n" % zlib.crc32(body)


def blocks(data, key):
    """-> the tag of each block, None: broken"""
    out = []
    for i in range(BLOCKS):
        part = data[i * BLOCK:(i + 1) * BLOCK]
        m = re.match(rb"B (\S+) (\d+) (\S+) ", part)
        good = m and m[1] == key.encode() and int(m[2]) == i and b"%08x" % zlib.crc32(part[:-10]) == part[-9:-1]
        out.append(m[3].decode() if good else None)
    return out


class Mount:
    """One that may be gone at any time. generation: moves when it is mounted again."""

    def __init__(self, path):
        self.path, self.generation, self.pid = path, multiprocessing.Value("i", 0), 0

    def up(self):
        with open(LOG, "a") as log:
            if subprocess.run([DISKVFS, "mount", STORE, self.path, "-o", OPTIONS], stdout=log, stderr=log).returncode:
                raise OSError("mount of %s failed" % self.path)
        with open(self.path + "/.diskvfs/stats") as f:
            self.pid = json.load(f)["pid"]
        self.generation.value += 1


class Client:
    """Works below a descriptor of the root, since while nothing is mounted the path leads to a plain folder."""

    def __init__(self, name, mount, number, until):
        self.name, self.mount, self.number, self.until = name, mount, number, until
        self.rng = random.Random("%d %s" % (SEED, name))
        self.seq, self.seen, self.root = 0, 0, -1
        self.ops, self.bad, self.counts = {}, [], {}

    def enter(self):
        """Waits until it is mounted again. -> False: the time is over."""
        while self.seen == self.mount.generation.value:
            if time.monotonic() > self.until + 60:
                self.bad.append("%s: is not mounted again" % self.name)
                return False
            time.sleep(0.005)
        self.seen = self.mount.generation.value
        if self.root >= 0:
            os.close(self.root)
            self.root = -1
        try:
            self.root = os.open(self.mount.path, os.O_RDONLY | os.O_DIRECTORY)
            os.close(os.open(".diskvfs/stats", os.O_RDONLY, dir_fd=self.root))
        except OSError as e:  # killed again
            self.count("not there" if e.errno in GONE else errno.errorcode[e.errno])
        return True

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def did(self, kind, key, tag, begin, end, synced=False, seen=None):
        self.ops.setdefault(key, []).append((kind, tag, begin, end, end if seen is None else seen, synced, self.name))
        self.count(kind + key[0])

    def tag(self):
        self.seq += 1
        return "%s.%d" % (self.name, self.seq)

    def open(self, name, flags, mode=0o644):
        return os.open(name, flags, mode, dir_fd=self.root)

    def done(self, key, tag, call):
        """call makes tag the value."""
        begin, end = time.monotonic(), NEVER
        try:
            call()
            end = time.monotonic()
        finally:
            self.did("w", key, tag, begin, end)

    def put(self, key):
        tag, tmp = self.tag(), ".%s.%s" % (self.name, key)
        size = {"l": 9 << 20, "t": 2000}.get(key[0]) or self.rng.choice([300, 5000, 20000, 200000])
        fd = self.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            data = memoryview(value(key, tag, size))
            while data:
                data = data[os.write(fd, data[:1 << 18]):]
            if self.rng.random() < 0.2:
                os.fsync(fd)
        finally:
            self.close(fd)
        self.done(key, tag, lambda: os.rename(tmp, key, src_dir_fd=self.root, dst_dir_fd=self.root))

    def close(self, fd):
        try:
            os.close(fd)
        except OSError as e:
            if e.errno not in GONE:
                raise

    def rewrite(self, key):
        tag = self.tag()
        begin, end, seen, synced = time.monotonic(), NEVER, NEVER, False
        try:
            fd = self.open(key, os.O_WRONLY | os.O_TRUNC)
            try:
                begin = time.monotonic()
                os.write(fd, value(key, tag, 2000))
                end = time.monotonic()
                seen = end + LATER
                if self.rng.random() < 0.3:
                    os.fsync(fd)
                    seen, synced = time.monotonic(), True
            finally:
                self.close(fd)
        finally:
            self.did("w", key, tag, begin, end, synced, seen)

    def change(self, key):
        """An append or an edit, synced or not."""
        tag, index = self.tag(), self.rng.randrange(BLOCKS)
        fd = self.open(key, os.O_WRONLY | (os.O_APPEND if key[0] == "a" else 0))
        name = key if key[0] == "a" else "%s %d" % (key, index)
        begin, end, synced = time.monotonic(), NEVER, False
        try:
            if key[0] == "a":
                os.write(fd, record(tag))
            else:
                os.pwrite(fd, block(key, index, tag), index * BLOCK)
            end = time.monotonic()
            if self.rng.random() < 0.3:
                os.fsync(fd)
                synced = True
        finally:
            self.close(fd)
            self.did("w", name, tag, begin, end, synced)

    def move(self, key):
        a, b = ("%s.%d" % (key, self.rng.randrange(NAMES)) for _ in range(2))
        if self.rng.random() < 0.3:
            fd = self.open(a, os.O_WRONLY)
            try:
                os.pwrite(fd, b"V", 0)
            finally:
                self.close(fd)
        elif a != b:
            # Two of them are never there, so nothing is renamed over.
            os.rename(a, b, src_dir_fd=self.root, dst_dir_fd=self.root)
        self.count("moved")

    def read(self, key):
        begin = time.monotonic()
        fd = self.open(key, os.O_RDONLY)
        try:
            parts = []
            while not parts or parts[-1]:
                parts.append(os.read(fd, 1 << 20))
        finally:
            self.close(fd)
        self.saw(key, b"".join(parts), begin)

    def saw(self, key, data, begin):
        if key[0] == "a":
            tags, broken = records(data)
            if broken:
                self.bad.append("%s: %d records of %s are broken" % (self.name, broken, key))
            return
        if key[0] == "e":
            self.count("re")
            return
        tag = tag_of(data, key)
        if tag is not None:
            return self.did("r", key, tag, begin, time.monotonic())
        # It is truncated, not written yet; a daemon that was killed then leaves it so.
        if key[0] == "t" and not data:
            return self.count("at work")
        self.bad.append("%s: %s is no version: %s" % (self.name, key, describe(data, key)))

    def step(self):
        kind = self.rng.choice("rrruutttaaaeeeml" if self.rng.random() < 0.3 else "rrruutttaaaeeem")
        key = self.rng.choice(KEYS[kind])
        self.doing = key
        if kind == "m":
            return self.move(key)
        if self.rng.random() < 0.4:
            return self.read(key)
        if kind in "ae":
            return self.change(key)
        if kind == "u" and self.rng.random() < 0.3:
            return self.done(key, self.tag(), lambda: os.unlink(key, dir_fd=self.root))
        if key == "t%d" % self.number and self.name.endswith("w"):
            return self.rewrite(key)
        self.put(key)

    def run(self, pipe):
        while time.monotonic() < self.until and len(self.bad) < 20:
            if self.root < 0 and not self.enter():
                break
            if self.root < 0:
                continue
            try:
                self.step()
            except OSError as e:
                name = errno.errorcode.get(e.errno, str(e.errno))
                self.count(name)
                if e.errno in GONE:
                    os.close(self.root)
                    self.root = -1
                elif not (e.errno == errno.ESTALE or e.errno == errno.ENOENT and self.doing[0] in "um"):
                    self.bad.append("%s: %s at %.3f: %s" % (self.name, self.doing, time.monotonic(), e))
        pipe.send((self.ops, self.bad, self.counts))


def harass(mounts, until):
    """Kills and stops daemons. -> how many of each"""
    rng = random.Random("%d harass" % SEED)
    kills = stops = 0
    while time.monotonic() < until:
        time.sleep(rng.uniform(0.1, 0.8))
        held, killed = rng.sample(mounts, 2)
        what = rng.choice(["kill", "kill", "stop", "both"])  # both: one is held up while another is killed
        try:
            if what != "kill":
                os.kill(held.pid, signal.SIGSTOP)
                stops += 1
            if what != "stop":
                os.kill(killed.pid, signal.SIGKILL)
                kills += 1
            time.sleep(rng.choice([0, 0, 0.1, 0.3, 0.8]))
        finally:
            if what != "kill":
                os.kill(held.pid, signal.SIGCONT)
        if what != "stop":
            while not is_dead(killed.pid):
                time.sleep(0.005)
            killed.up()
    return kills, stops


def is_dead(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            state = f.read().rsplit(") ", 1)[1][0]
        return state in "ZX" and len(os.listdir("/proc/%d/task" % pid)) < 2  # others of its threads hold its locks
    except (FileNotFoundError, ProcessLookupError):
        return True


class Judge:
    def __init__(self, ops, mount_of, lost):
        self.ops, self.mount_of, self.lost, self.bad, self.put_aside = ops, mount_of, lost, [], 0

    def told(self, key, where, history):
        self.bad += ["%s, %s: %s" % (key, where, text) for text in judge(history)[:3]]

    def register(self, key):
        self.told(key, "all", [Op(o[0], o[1], o[2], o[3], o[6]) for o in self.ops.get(key, [])])

    def of_mount(self, key, mount, rest):
        history = []
        for kind, tag, begin, end, seen, _, who in self.ops.get(key, []):
            mine = self.mount_of[who] == mount
            if kind == "w":
                # A killed daemon's own programs see it again when it is in place, as the others do.
                end = end + LATER if mine else seen + LATER
                history.append(Op(kind, tag, begin - TICK, end if end == NEVER else min(end, rest), who))
            elif mine:
                history.append(Op(kind, tag, begin, end, who))
        self.told(key, "as mount %s sees it" % mount, history)

    def missing(self, name, op):
        kind, tag, begin, end, _, synced, who = op
        if end == NEVER:
            return
        if tag.encode() in self.lost and not synced:
            self.put_aside += 1
        else:
            self.bad.append("lost: %s of %s, %.3f..%.3f%s" % (tag, name, begin, end, ", synced" if synced else ""))

    def appended(self, key, data):
        tags, broken = records(data)
        if broken:
            self.bad.append("%s: %d records are broken" % (key, broken))
        if len(tags) != len(set(tags)):
            self.bad.append("%s has a record twice" % key)
        there = set(tags)
        for op in self.ops.get(key, []):
            if op[1] not in there:
                self.missing(key, op)

    def edited(self, key, data):
        for i, tag in enumerate(blocks(data, key)):
            name = "%s %d" % (key, i)
            writes = {op[1]: op for op in self.ops.get(name, [])}
            if tag is None or tag not in writes:
                self.bad.append("block %d of %s is broken" % (i, key))
                continue
            for op in writes.values():
                if op[2] > writes[tag][3] + TICK:
                    self.missing(name, op)


def setup(first):
    for key in sum(KEYS.values(), []):
        tag = first.tag()
        if key[0] == "a":
            data = b"".join(record("first.%s.%d" % (key, i)) for i in range(12000 if key == "a0" else 500))
        elif key[0] == "e":
            data = b"".join(block(key, i, tag) for i in range(BLOCKS))
        else:
            data = value(key, tag, 2000 if key[0] == "t" else 20000)
        fd = first.open(key + ".0" if key[0] == "m" else key, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        begin = time.monotonic()
        while data:
            data = data[os.write(fd, data):]
        os.fsync(fd)
        os.close(fd)
        for name in ["%s %d" % (key, i) for i in range(BLOCKS)] if key[0] == "e" else [key] if key[0] != "a" else []:
            first.did("w", name, tag, begin, time.monotonic(), True)


def finish(mounts):
    for m in mounts:
        for name in os.listdir(m.path):
            if name.startswith(".") and name != ".diskvfs":
                try:
                    os.unlink(os.path.join(m.path, name))
                except FileNotFoundError:
                    pass
        with open(m.path + "/.diskvfs/control", "wb", buffering=0) as f:
            f.write(b"finish\n")


def tree(root):
    """-> name to bytes"""
    out = {}
    for name in os.listdir(root):
        if name != ".diskvfs":
            with open(os.path.join(root, name), "rb") as f:
                out[name] = f.read()
    return out


def agree(mounts):
    """-> what all show; the last of them may take a moment to put it in place"""
    end = time.monotonic() + 30
    while True:
        try:
            trees = [tree(m.path) for m in mounts]
            if all(t == trees[0] for t in trees):
                return trees[0], []
        except (FileNotFoundError, OSError) as e:
            trees = [{}, {str(e): b""}]
        if time.monotonic() > end:
            names = {n for t in trees for n in t if any(o.get(n) != t[n] for o in trees)}
            return trees[0], ["the mounts do not agree about %s" % sorted(names)]
        time.sleep(0.2)


def all_lost():
    """-> the bytes of all that recovery has put aside"""
    out, folder = b"", STORE + "/.diskvfs/lost"
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        with open(os.path.join(folder, name), "rb") as f:
            data = f.read()
        if name.endswith(".zst"):
            data = subprocess.run(["zstd", "-dcq"], input=data, capture_output=True).stdout
        out += data
    return out


def finals(judge_, shown):
    for key in sum(KEYS.values(), []):
        names = ["%s.%d" % (key, i) for i in range(NAMES)] if key[0] == "m" else [key]
        there = [n for n in names if n in shown]
        if key[0] == "m" and len(there) != 1 or not there and key[0] != "u":
            judge_.bad.append("%s is there %d times" % (key, len(there)))
        elif key[0] == "m" and tag_of(shown[there[0]], key) is None:
            judge_.bad.append("%s is no version: %s" % (there[0], describe(shown[there[0]], key)))
        elif key[0] == "a":
            judge_.appended(key, shown[key])
        elif key[0] == "e":
            judge_.edited(key, shown[key])
    wanted = set(sum(KEYS.values(), [])) | {"%s.%d" % (k, i) for k in KEYS["m"] for i in range(NAMES)}
    judge_.bad += ["%s is a stray" % name for name in set(shown) - wanted]


def main():
    mounts = [Mount(path) for path in MOUNTS]
    for m in mounts:
        m.up()
    until = time.monotonic() + SECONDS
    first = Client("first", mounts[0], 99, until)
    first.enter()
    setup(first)
    clients = [Client("m%d%s" % (i, x), m, i, until) for i, m in enumerate(mounts) for x in "wx"]
    pipes, procs = [], []
    for c in clients:
        here, there = multiprocessing.Pipe(False)
        pipes.append(here)
        procs.append(multiprocessing.Process(target=c.run, args=(there,)))
        procs[-1].start()
    kills, stops = harass(mounts, until)
    for c, pipe, p in zip(clients, pipes, procs):
        c.ops, c.bad, c.counts = pipe.recv()
        p.join()
        print(c.name, dict(sorted(c.counts.items())))
    finish(mounts)
    shown, bad = agree(mounts)
    rest = time.monotonic()
    last = [Client("rest%d" % i, m, 99, until) for i, m in enumerate(mounts)]
    for c in last:
        for key in sum((KEYS[k] for k in "rlut"), []):
            if key in shown:
                c.saw(key, shown[key], rest)
    everybody = [first] + clients + last
    ops = {}
    for c in everybody:
        bad += c.bad
        for key, those in c.ops.items():
            ops.setdefault(key, []).extend(those)
    j = Judge(ops, {c.name: c.mount.path for c in everybody}, all_lost())
    for key in sum((KEYS[k] for k in "rlu"), []):
        j.register(key)
    for key in KEYS["t"]:
        for m in mounts:
            j.of_mount(key, m.path, rest)
    finals(j, shown)
    bad += j.bad
    for line in bad[:20]:
        print(line)
    print("%d operations, %d kills, %d stops, %d changes put aside, %d violations" %
          (sum(map(len, ops.values())), kills, stops, j.put_aside, len(bad)))
    sys.exit(1 if bad else 0)


main()
