#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill9.py DISKVFS STORE MNT ROUNDS SEED LOG: writes, replaces, renames, removes and packs through the
mount until the daemon is killed, mounts again and compares with a model of what was acknowledged.

The model knows every value byte by byte. Only the call that was in progress when the daemon died may
have happened, or not, or (a write) in part.
"""
import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

diskvfs, store, mnt, rounds, seed, log = sys.argv[1:4] + [int(sys.argv[4]), int(sys.argv[5])] + sys.argv[6:]
KEYS = ["key%02d" % i for i in range(12)] + ["foo.zst", "sub/a", "sub/b.zst"]
LARGE = ["large0", "large1"]  # streamed, and appended to
APPENDED = 1 << 20            # from here on bytes are added to the packed file
GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.ENODEV)
rng = random.Random(seed)


class Dead(Exception):
    """The daemon is gone."""


def content(size):
    """Of text that compresses, or of noise."""
    if rng.random() < 0.3:
        return rng.randbytes(size)
    word = b"%08x line of text\n" % rng.getrandbits(32)
    return (word * (size // len(word) + 1))[:size]


def size():
    return rng.choice((0, 10, 3000, 9000, 40000, 150000, 400000))


class Model:
    def __init__(self):
        self.values = {}      # key -> bytes, acknowledged
        self.doubt = {}       # key -> predicate of (bytes or None): what the call in progress allows
        self.calls = 0

    def attempt(self, doubt, call):
        """One call; doubt holds while it runs."""
        self.doubt = doubt
        try:
            result = call()
        except OSError as e:
            if e.errno in GONE:
                raise Dead from e
            raise
        self.calls += 1
        self.doubt = {}
        return result


def written(old, off, data):
    """Allows the write of data at off into old in full, in part, or not at all."""
    def allowed(got):
        if got is None:
            return False
        end = off + len(data)
        if not len(old) <= len(got) <= max(len(old), end):
            return False
        for i in range(0, off, 65536):
            if got[i:min(i + 65536, off)] != old[i:min(i + 65536, off)]:
                return False
        if got[end:] != old[end:len(got)]:
            return False
        for i in range(off, min(end, len(got))):
            if got[i] != data[i - off] and not (i < len(old) and got[i] == old[i]):
                return False
        return True
    return allowed


def close(fd):
    try:
        os.close(fd)
    except OSError as e:
        if e.errno not in GONE:
            raise


def one_of(*values):
    return lambda got: got in values


def path(key):
    return mnt + "/" + key


def acknowledged(m, key, old, off, data, n):
    """n bytes of the write were. A short count is the daemon's end: the kernel sends a long write in
    pieces, and the next one may have been done before it could be answered."""
    m.values[key] = now = old[:off] + data[:n] + old[off + n:]
    if n < len(data):
        m.doubt = {key: written(now, off + n, data[n:])}
        raise Dead


def write(m, key, fd, off, data):
    old = m.values[key]
    n = m.attempt({key: written(old, off, data)}, lambda: os.pwrite(fd, data, off))
    acknowledged(m, key, old, off, data, n)


def open_for(m, key, flags):
    old = m.values.get(key)
    fd = m.attempt({key: one_of(old, b"")}, lambda: os.open(path(key), flags, 0o644))
    if flags & os.O_TRUNC or old is None:
        m.values[key] = b""
    return fd


def op_write_new(m, key):
    fd = open_for(m, key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        data = content(size())
        step = rng.choice((1 << 20, 65536, 10000))
        for off in range(0, len(data), step):
            write(m, key, fd, off, data[off:off + step])
        if rng.random() < 0.2:
            m.attempt({}, lambda: os.fsync(fd))
    finally:
        close(fd)


def op_edit(m, key):
    if key not in m.values:
        return op_write_new(m, key)
    fd = open_for(m, key, os.O_WRONLY)
    try:
        for _ in range(rng.randint(1, 4)):
            write(m, key, fd, rng.randint(0, len(m.values[key])), content(rng.randint(1, 9000)))
    finally:
        close(fd)


def op_append(m, key):
    if key not in m.values:
        return op_write_new(m, key)
    old = m.values[key]
    if key in KEYS and len(old) > APPENDED - 50000:
        return op_write_new(m, key)
    fd = open_for(m, key, os.O_WRONLY | os.O_APPEND)
    try:
        data = content(rng.choice((100, 5000, 50000) if key in KEYS else (100, 50000, 1 << 20)))
        n = m.attempt({key: written(old, len(old), data)}, lambda: os.write(fd, data))
        acknowledged(m, key, old, len(old), data, n)
    finally:
        close(fd)


def op_stream(m, key):
    """Past the size from which on it is packed while it is written."""
    fd = open_for(m, key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        line = b"%08x a line of a long text that goes on and on\n" % rng.getrandbits(32)
        block = (line * ((1 << 20) // len(line) + 1))[:1 << 20]
        for i in range(rng.randint(5, 14)):
            write(m, key, fd, i << 20, block)
        if rng.random() < 0.3:
            m.attempt({}, lambda: os.fsync(fd))
        if rng.random() < 0.3:
            write(m, key, fd, rng.randint(0, len(m.values[key])), content(9000))
    finally:
        close(fd)


def op_truncate(m, key):
    if key not in m.values:
        return
    old = m.values[key]
    length = rng.randint(0, len(old))
    m.attempt({key: one_of(old, old[:length])}, lambda: os.truncate(path(key), length))
    m.values[key] = old[:length]


def op_rename(m, key):
    other = rng.choice(KEYS)
    if key not in m.values or other == key:
        return
    mine, theirs = m.values[key], m.values.get(other)
    # Both names are judged together: the value must be under one of them.
    m.attempt({key: one_of(mine, None), other: one_of(theirs, mine), "pair": (key, other, mine)},
              lambda: os.rename(path(key), path(other)))
    m.values[other] = m.values.pop(key)


def op_unlink(m, key):
    if key not in m.values:
        return
    m.attempt({key: one_of(m.values[key], None)}, lambda: os.unlink(path(key)))
    del m.values[key]


def op_read(m, key):
    if key not in m.values:
        return
    def call():
        with open(path(key), "rb") as f:
            return f.read()
    if m.attempt({}, call) != m.values[key]:
        sys.exit("%s: reads other bytes than were written" % key)


def op_fsync(m, key):
    if key in m.values:
        fd = open_for(m, key, os.O_RDONLY)
        try:
            m.attempt({}, lambda: os.fsync(fd))
        finally:
            close(fd)


LARGE_OPS = (op_stream, op_append, op_append, op_append, op_fsync, op_edit)
OPS = (op_write_new, op_write_new, op_edit, op_append, op_append, op_truncate, op_rename, op_rename,
       op_unlink, op_read, op_fsync)


def mount():
    with open(log, "a") as out:
        if subprocess.run([diskvfs, "mount", store, mnt, "-o", "settle=0"], stdout=out, stderr=out).returncode:
            sys.exit("the store does not mount again")
    with open(mnt + "/.diskvfs/stats") as f:
        return json.load(f)["pid"]


def wait_end(pid):
    """Until the daemon is gone, a zombie at most, with its other threads: its locks are free then."""
    while True:
        try:
            with open("/proc/%d/stat" % pid) as f:
                state = f.read().rpartition(")")[2].split()[0]
            if state in "ZX" and len(os.listdir("/proc/%d/task" % pid)) < 2:
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.002)


def packer(stop):
    while not stop.is_set():
        try:
            with open(mnt + "/.diskvfs/control", "w") as f:
                f.write("pack\n")
        except OSError:
            return
        stop.wait(0.02)


def work(m, pid):
    stop = threading.Event()
    packing = threading.Thread(target=packer, args=(stop,))
    packing.start()
    killer = threading.Timer(rng.uniform(0.01, 1.0), os.kill, (pid, signal.SIGKILL))
    killer.start()
    try:
        while True:
            if rng.random() < 0.1:
                rng.choice(LARGE_OPS)(m, rng.choice(LARGE))
            else:
                rng.choice(OPS)(m, rng.choice(KEYS))
    except Dead:
        pass
    finally:
        killer.join()
        stop.set()
        wait_end(pid)
        subprocess.run(["umount", "-l", mnt], check=True)
        packing.join()


def verify(m, where):
    listed = set()
    for folder, _, names in os.walk(mnt):
        for name in names:
            listed.add(os.path.relpath(os.path.join(folder, name), mnt))
    for key in KEYS + LARGE:
        got = None
        if key in listed:
            with open(path(key), "rb") as f:
                got = f.read()
        allowed = m.doubt.get(key, one_of(m.values.get(key)))
        if not allowed(got):
            want = m.values.get(key)
            sys.exit("%s: %s: %s, acknowledged were %s%s" % (
                where, key, describe(got), describe(want), " (a call was in progress)" if key in m.doubt else ""))
    if "pair" in m.doubt:
        source, target, mine = m.doubt["pair"]
        if source not in listed and read_or_none(target) != mine:
            sys.exit("%s: the rename of %s to %s lost the value" % (where, source, target))
    if listed - set(KEYS + LARGE):
        sys.exit("%s: strays: %s" % (where, sorted(listed - set(KEYS + LARGE))))
    m.values = {key: read_or_none(key) for key in KEYS + LARGE if key in listed}
    m.doubt = {}


def read_or_none(key):
    try:
        with open(path(key), "rb") as f:
            return f.read()
    except FileNotFoundError:
        return None


def describe(data):
    return "absent" if data is None else "%d bytes beginning %r" % (len(data), data[:24])


def check_packed(where, all_of_them):
    """A file that was being added to when the daemon died is good after recovery."""
    files = []
    for folder, folders, names in os.walk(store):
        if ".diskvfs" in folders:
            folders.remove(".diskvfs")
        files += [folder + "/" + n for n in names
                  if n.endswith(".zst") and (all_of_them or n[:-4] not in LARGE)]
    if files and subprocess.run(["zstd", "-tq", "--"] + files).returncode:
        sys.exit("%s: a packed file does not pass zstd -t" % where)


def main():
    print("seed %d" % seed, flush=True)
    m = Model()
    pid = mount()
    os.mkdir(mnt + "/sub")
    try:
        for i in range(1, rounds + 1):
            where = "seed %d, round %d" % (seed, i)
            work(m, pid)
            check_packed(where + ", killed", False)
            pid = mount()
            verify(m, where)
            check_packed(where + ", recovered", True)
    finally:
        if subprocess.run([diskvfs, "unmount", mnt], stderr=subprocess.DEVNULL).returncode:
            subprocess.run(["umount", "-l", mnt], stderr=subprocess.DEVNULL)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    print("%d kills, %d acknowledged calls, %d values at the end" % (rounds, m.calls, len(m.values)))


if __name__ == "__main__":
    main()
