# SPDX-License-Identifier: MIT
"""differs.py MOUNT NAME [MOUNT2] - what README's caveats say of single calls: prints `as told`, or what
else. MOUNT2: another mount of the same store."""
import ctypes
import errno
import fcntl
import os
import select
import stat
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
AT_FDCWD = -100
WHITEOUT, COLLAPSE, INSERT = 4, 8, 32
FICLONE, GETFLAGS, FIEMAP = 0x40049409, 0x80086601, 0xC020660B
STATX_BTIME = 0x800
UNKNOWN_INO = 4294967295


def code(call, *args):
    """The errno's name, or None."""
    ctypes.set_errno(0)
    try:
        got = call(*args)
    except OSError as e:
        return errno.errorcode[e.errno]
    return errno.errorcode[ctypes.get_errno()] if isinstance(got, int) and got < 0 else None


def refused():
    one = os.open("value", os.O_RDWR)
    two = os.open("other", os.O_RDWR)
    return {
        "O_TMPFILE": code(os.open, ".", os.O_TMPFILE | os.O_RDWR) == "ENOTSUP",
        "RENAME_WHITEOUT": code(libc.renameat2, AT_FDCWD, b"other", AT_FDCWD, b"new", WHITEOUT)
        == "EINVAL",
        "COLLAPSE_RANGE": code(libc.fallocate, one, COLLAPSE, 0, 4096) == "ENOTSUP",
        "INSERT_RANGE": code(libc.fallocate, one, INSERT, 0, 4096) == "ENOTSUP",
        "FICLONE": code(fcntl.ioctl, two, FICLONE, one) == "ENOTSUP",
        "FIEMAP": code(fcntl.ioctl, one, FIEMAP, struct.pack("=QQLLLL", 0, 1 << 30, 0, 0, 0, 0))
        == "ENOTSUP",
        "chattr": code(fcntl.ioctl, one, GETFLAGS, b"\0" * 8) == "ENOTTY",
        "unchanged": os.path.getsize("value") == 300000 and not os.path.exists("new"),
    }


def not_told():
    buf = ctypes.create_string_buffer(256)
    libc.statx(AT_FDCWD, b"value", 0, STATX_BTIME, buf)
    return {"birth time": not struct.unpack_from("=L", buf.raw)[0] & STATX_BTIME}


def unknown_numbers():
    """Of names that nobody has looked at, on a mount that is new."""
    told = {e.name: e.inode() for e in os.scandir("fresh")}
    return {
        "some are not known": UNKNOWN_INO in told.values(),
        "the others": all(
            ino in (UNKNOWN_INO, os.stat(os.path.join("fresh", name)).st_ino)
            for name, ino in told.items()
        ),
    }


def locks():
    """Of programs: within one mount, all of its names and openings; not between two."""
    here, again = (os.open("value", os.O_RDWR) for _ in range(2))
    there = os.open(os.path.join(sys.argv[3], "value"), os.O_RDWR)
    fcntl.flock(here, fcntl.LOCK_EX)
    whole = struct.pack("hhqqixxxx", fcntl.F_WRLCK, 0, 0, 0, 0)
    told = {
        "flock in one mount": code(fcntl.flock, again, fcntl.LOCK_EX | fcntl.LOCK_NB) == "EAGAIN",
        "flock between two": code(fcntl.flock, there, fcntl.LOCK_EX | fcntl.LOCK_NB) is None,
    }
    fcntl.fcntl(here, fcntl.F_OFD_SETLK, whole)
    return {
        **told,
        "fcntl in one mount": code(fcntl.fcntl, again, fcntl.F_OFD_SETLK, whole) == "EAGAIN",
        "fcntl between two": code(fcntl.fcntl, there, fcntl.F_OFD_SETLK, whole) is None,
    }


def same_size():
    """truncate(2): nothing but times moves. ftruncate(2) and truncation to nothing move them."""
    before, bytes_before = os.stat("value"), open("value", "rb").read()
    time.sleep(0.02)  # more than a tick, so that times that move are others
    os.truncate("value", before.st_size)
    after = os.stat("value")
    fd = os.open("value", os.O_RDWR)
    time.sleep(0.02)
    os.ftruncate(fd, before.st_size)
    moved = os.stat("value")
    return {
        "bytes": open("value", "rb").read() == bytes_before,
        "size and number": (after.st_size, after.st_ino) == (before.st_size, before.st_ino),
        "its mtime is as before, or now": after.st_mtime_ns == before.st_mtime_ns
        or abs(after.st_mtime - time.time()) < 60,
        "ftruncate": moved.st_mtime_ns > before.st_mtime_ns,
    }


def read_moves_atime(name, flags):
    with open(name, "wb") as f:
        f.write(b"x" * 100)
    os.utime(name, (10**9, 10**9 + 1))  # relatime moves it too
    fd = os.open(name, os.O_RDONLY | flags)
    os.read(fd, 100)
    os.close(fd)
    return os.stat(name).st_atime != 10**9


def lenient():
    os.chmod("value", 0o6755)
    os.chown("value", -1, -1)
    kept = stat.S_IMODE(os.stat("value").st_mode) == 0o6755
    direct = os.open("value", os.O_RDWR | os.O_DIRECT)
    hole = os.open("hole", os.O_RDWR | os.O_CREAT)
    os.ftruncate(hole, 1 << 20)
    fifo = os.open("fifo", os.O_RDWR)
    before = os.stat("fifo")
    time.sleep(0.02)  # more than a tick, so that times that move are others
    os.write(fifo, b"x")
    os.read(fifo, 1)
    after = os.stat("fifo")
    watched = select.epoll()
    watched.register(direct, select.EPOLLIN | select.EPOLLOUT)
    return {
        "chown(-1, -1)": kept,
        "epoll": [events for _, events in watched.poll(0)] == [select.EPOLLIN | select.EPOLLOUT],
        "O_DIRECT anywhere": len(os.pread(direct, 77, 123)) == 77,
        "a hole has a block": os.fstat(hole).st_blocks >= 1,
        "O_NOATIME changes nothing": read_moves_atime("quiet", os.O_NOATIME)
        == read_moves_atime("loud", 0),
        "times of a FIFO": (before.st_atime_ns, before.st_mtime_ns)
        == (after.st_atime_ns, after.st_mtime_ns),
    }


os.chdir(sys.argv[1])
wrong = [name for name, right in globals()[sys.argv[2]]().items() if not right]
print("as told" if not wrong else "other than told: " + ", ".join(wrong))
sys.exit(bool(wrong))
