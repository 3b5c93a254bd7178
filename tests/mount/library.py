#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The library, through ctypes, beside a mount of the same store.

library.py LIBRARY STORE MOUNT           changes values by both ways, many at once
library.py LIBRARY STORE MOUNT --agree   both show the same keys and bytes
"""
import ctypes
import errno
import os
import random
import sys
import threading

lib = ctypes.CDLL(sys.argv[1])
lib.dvfs_explain.restype = ctypes.c_char_p
store_path, mount = sys.argv[2].encode(), sys.argv[3]
KEYS = 12
ROUNDS = int(os.environ.get("ROUNDS", "150"))


def say(text):
    print("- " + text, flush=True)


class Store:
    def __init__(self):
        self.s = ctypes.c_void_p()
        why = ctypes.create_string_buffer(512)
        got = lib.dvfs_open(store_path, None, ctypes.byref(self.s), why, len(why))
        assert got == 0, why.value

    def close(self):
        got = lib.dvfs_close(ctypes.byref(self.s))
        assert got == 0, got

    def write(self, key, data, flags=0):
        got = lib.dvfs_write(self.s, key.encode(), data, ctypes.c_size_t(len(data)), flags)
        assert got == 0, (key, got)

    def read(self, key):
        buf, size = ctypes.c_void_p(), ctypes.c_size_t()
        got = lib.dvfs_read(self.s, key.encode(), ctypes.byref(buf), ctypes.byref(size))
        if got == -errno.ENOENT:
            return None
        assert got == 0, (key, got)
        data = ctypes.string_at(buf, size.value)
        libc.free(buf)
        return data

    def erase(self, key):
        got = lib.dvfs_erase(self.s, key.encode())
        assert got in (0, -errno.ENOENT), (key, got)

    def keys(self):
        found = []
        each = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
            lambda ctx, key: found.append(os.fsdecode(key)) or 0)
        got = lib.dvfs_keys(self.s, None, each, None)
        assert got == 0, got
        return found


libc = ctypes.CDLL(None)
libc.free.argtypes = [ctypes.c_void_p]


def value(number):
    """Tells of itself: its number all over, and how long it is."""
    lines = 1 + number * 37 % 3000
    return b"".join(b"%08d %06d\n" % (number, lines) for _ in range(lines))


def check(data, what):
    if not data:
        return
    assert len(data) % 16 == 0, (what, len(data))
    line = data[:16]
    assert data == line * (len(data) // 16), what
    assert int(line[9:15]) == len(data) // 16, what


def mount_read(key):
    while True:
        try:
            with open(os.path.join(mount, key), "rb") as f:
                return f.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as e:  # opened just before it was replaced beside the mount
            if e.errno != errno.ESTALE:
                raise


def mount_write(key, data):
    path = os.path.join(mount, key)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def one_after_the_other(s):
    say("what the library wrote the mount shows, and the reverse")
    for number, key in enumerate(["a", "d/e/b", "a", "d/e/b", "a"], 1):
        s.write(key, value(number))
        assert mount_read(key) == value(number), key
        mount_write(key, value(number + 100))
        with open(os.path.join(mount, key), "rb") as f:
            os.fsync(f.fileno())
        assert s.read(key) == value(number + 100), key
    say("a descriptor of the mount goes on with the old value, whole")
    with open(os.path.join(mount, "a"), "rb", buffering=0) as f:
        first = f.read(1000)
        s.write("a", value(7))
        rest = f.readall()
        check(first + rest, "old descriptor")
    assert mount_read("a") == value(7)
    say("erasing takes the value and its directories out of the mount")
    s.erase("d/e/b")
    assert not os.path.exists(os.path.join(mount, "d"))
    os.remove(os.path.join(mount, "a"))
    assert s.read("a") is None
    assert s.keys() == []


def by_library(s, seed, failures):
    r = random.Random(seed)
    try:
        for i in range(ROUNDS):
            key = "x%d/k%d" % (r.randrange(3), r.randrange(KEYS))
            op = r.randrange(10)
            if op < 5:
                s.write(key, value(r.randrange(100000)), op == 0)
            elif op < 9:
                check(s.read(key), key)
            else:
                s.erase(key)
    except BaseException as e:
        failures.append(e)
        raise


def by_mount(seed, failures):
    r = random.Random(seed)
    try:
        for i in range(ROUNDS):
            key = "x%d/k%d" % (r.randrange(3), r.randrange(KEYS))
            op = r.randrange(10)
            try:
                if op < 4:
                    path = os.path.join(mount, key)
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with open("%s.new%d" % (path, seed), "wb") as f:
                        f.write(value(r.randrange(100000)))
                    os.rename("%s.new%d" % (path, seed), path)
                elif op < 9:
                    check(mount_read(key), key)
                else:
                    os.remove(os.path.join(mount, key))
            except FileNotFoundError:
                pass  # removed, or its directory pruned, by others
    except BaseException as e:
        failures.append(e)
        raise


def all_at_once(s):
    say("both at once replace, read and erase the same values: each is whole")
    failures = []
    threads = [threading.Thread(target=by_library, args=(s, i, failures)) for i in range(2)]
    threads += [threading.Thread(target=by_mount, args=(100 + i, failures)) for i in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures


def agree(s):
    keys = s.keys()
    seen = []
    for folder, _, names in os.walk(mount):
        seen += [os.path.relpath(os.path.join(folder, n), mount) for n in names]
    assert sorted(keys) == sorted(seen), (keys, seen)
    assert keys == sorted(keys), keys
    for key in keys:
        data = s.read(key)
        assert data == mount_read(key), key
        if ".new" not in key:
            check(data, key)
        assert not key.endswith(".zst"), key


def main():
    s = Store()
    if "--agree" in sys.argv:
        agree(s)
    else:
        one_after_the_other(s)
        all_at_once(s)
    s.close()


main()
