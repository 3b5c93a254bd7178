# SPDX-License-Identifier: MIT
"""bombs.py: files made to cost their reader memory, time or room, through every command and a mount.

In the environment: DISKVFS; T, a folder; BOMB_MB, what the large ones come to, plain (past 1024 nothing is
written of them); BOMB_MANY, how many frames, members, blocks.

Of each file it is known what it holds, or that it is none: its bytes come, or an error and a line that
names it. No process takes more than MEMORY_MB, nor reads more than a few times what is stored.
"""
import gzip
import os
import resource
import shutil
import struct
import subprocess
import sys
import threading
import zlib

DISKVFS, T = os.environ["DISKVFS"], os.environ["T"]
BOMB = int(os.environ.get("BOMB_MB", "64")) << 20
# cache_size and the fixed part that README promises, and a window of 128 MiB.
MEMORY_MB = 64 + 64 + 128
SECONDS = 300  # a hang, no measure
MAGIC = b"\x28\xb5\x2f\xfd"
SKIP = b"\x50\x2a\x4d\x18"
BLOCK = 128 << 10
MANY = int(os.environ.get("BOMB_MANY", "200000"))
EIO = None


class Wrong(Exception):
    pass


def block(kind, size, data, last):
    return struct.pack("<I", last | kind << 1 | size << 3)[:3] + data


def rle(length):
    """Blocks of one repeated byte, 128 KiB for four bytes."""
    full, rest = divmod(length, BLOCK)
    return block(1, BLOCK, b"\0", 0) * full + block(0, 0, b"", 1) if not rest else None


def header(size=None, window=0x38):  # 128 KiB
    if size is None:
        return MAGIC + bytes([0x00, window])
    return MAGIC + bytes([0xC0, window]) + struct.pack("<Q", size)


def raw_frame(data, sized=True):
    head = MAGIC + bytes([0x20, len(data)]) if sized else header()
    return head + block(0, len(data), data, 1)


def skippable(data, claim=None):
    return SKIP + struct.pack("<I", len(data) if claim is None else claim) + data


def table(entries, count=None):
    body = b"".join(struct.pack("<II", *e) for e in entries)
    body += struct.pack("<IBI", len(entries) if count is None else count, 0, 0x8F92EAB1)
    return b"\x5e\x2a\x4d\x18" + struct.pack("<I", len(body)) + body


def zeros(length):
    return ("zeros", length)


class Or:
    """These bytes, or an error."""

    def __init__(self, data):
        self.data = data


def zstd_files():
    """name -> file, what it holds: bytes, zeros() or EIO"""
    frames = [raw_frame(b"x" * 100) for _ in range(3)]
    three = b"".join(frames)
    sizes = [(len(f), 100) for f in frames]
    out = {
        "zeros": (header() + rle(BOMB), zeros(BOMB)),
        "zeros-sized": (header(BOMB) + rle(BOMB), zeros(BOMB)),
        "zeros-often": ((header(1 << 20) + rle(1 << 20)) * (BOMB >> 20), zeros(BOMB)),
        "zeros-often-unsized": ((header() + rle(1 << 20)) * (BOMB >> 20), zeros(BOMB)),
        "claims-2-40": (header(1 << 40) + block(0, 1, b"x", 1), EIO),
        "claims-2-63": (header(1 << 63) + block(0, 1, b"x", 1), EIO),
        "claims-all": (header((1 << 64) - 1) + block(0, 1, b"x", 1), EIO),
        "claims-twice": ((header(1 << 63) + block(0, 1, b"x", 1)) * 2, EIO),
        "claims-less": (header(3) + rle(BOMB), EIO),
        "claims-nothing": (header(0) + rle(BOMB), EIO),
        "empty-frames": (raw_frame(b"") * MANY, b""),
        "empty-frames-unsized": (raw_frame(b"", False) * MANY, b""),
        "bytes": (raw_frame(b"x") * MANY, b"x" * MANY),
        "bytes-unsized": (raw_frame(b"x", False) * MANY, b"x" * MANY),
        "empty-blocks": (header() + block(0, 0, b"", 0) * 1000000 + block(0, 1, b"x", 1), b"x"),
        "window-2-31": (header(None, 21 << 3) + block(0, 1, b"x", 1), EIO),
        "window-2-31-sized": (header(1, 21 << 3) + block(0, 1, b"x", 1), EIO),
        "window-all": (header(None, 0xFF) + block(0, 1, b"x", 1), EIO),
        "window-2-27": (header(None, 17 << 3) + rle(BOMB), zeros(BOMB)),
        "skips": (skippable(b"") * MANY + raw_frame(b"x"), b"x"),
        "skips-4-gib": (raw_frame(b"x") + skippable(b"", 0xFFFFFFFF), EIO),
        "skips-nested": (raw_frame(b"x") + skippable(skippable(b"", 0xFFFFFFFF) * 3, 0xFFFFFFF8), EIO),
        "skips-first": (skippable(b"", 0xFFFFFFFF) + raw_frame(b"x"), EIO),
        "skips-whole": (skippable(skippable(b"", 0xFFFFFFFF) * 1000) + raw_frame(b"x"), b"x"),
        # Tables are believed where they are one of these frames'; else the frames count.
        "table-overlaps": (three + table([(sizes[0][0] + 10, 100), (sizes[1][0] - 10, 100), sizes[2]]), Or(b"x" * 300)),
        "table-overflows": (three + table([(0xFFFFFFFF, 100)] * 3), Or(b"x" * 300)),
        "table-lies": (three + table([(s, 0xFFFFFFFF) for s, _ in sizes]), Or(b"x" * 300)),
        "table-lies-a-little": (three + table([(s, 101) for s, _ in sizes]), Or(b"x" * 300)),
        "table-counts-all": (three + table(sizes, 0xFFFFFFFF), Or(b"x" * 300)),
        "table-counts-many": (three + table(sizes, 1 << 27), Or(b"x" * 300)),
        "table-of-nothing": (table([]) * 1000, Or(b"")),
        "table-of-empty": (three + table(sizes + [(0, 0)] * 100000), Or(b"x" * 300)),
        "table-of-promises": (three + table([(0, 0xFFFFFFFF)] * 100000 + sizes), Or(b"x" * 300)),
    }
    return out


def gzip_files():
    def bomb():
        c = zlib.compressobj(9, zlib.DEFLATED, 31)
        piece = bytes(1 << 20)
        return b"".join(c.compress(piece) for _ in range(BOMB >> 20)) + c.flush()

    whole = bomb()
    lie = gzip.compress(b"x" * 1000)
    empty = gzip.compress(b"", mtime=0)
    return {
        "zeros": (whole, zeros(BOMB)),
        "cut": (whole[:len(whole) // 2], EIO),
        "claims-4-gib": (lie[:-4] + b"\xff\xff\xff\xff", EIO),
        "claims-nothing": (whole[:-4] + b"\0\0\0\0", EIO),
        "members": (empty * 100000, b""),
        "members-of-bytes": (gzip.compress(b"x", mtime=0) * 100000, b"x" * 100000),
        "name": (lie[:3] + b"\x08" + lie[4:10] + b"n" * 1000000 + b"\0" + lie[10:], b"x" * 1000),
        "extra": (lie[:3] + b"\x04" + lie[4:10] + b"\xff\xff" + b"e" * 100, EIO),
        "nothing": (b"", Or(b"")),
        "empty-blocks": (lie[:10] + b"\0\0\0\xff\xff" * 200000 + lie[10:], b"x" * 1000),
    }


def zlib_files():
    c = zlib.compressobj(9)
    piece = bytes(1 << 20)
    whole = b"".join(c.compress(piece) for _ in range(BOMB >> 20)) + c.flush()
    return {
        "zeros": (whole, zeros(BOMB)),
        "cut": (whole[:len(whole) // 2], EIO),
        "dictionary": (b"\x78\xbb\0\0\0\1" + whole[2:], EIO),
        "sum": (whole[:-4] + b"\0\0\0\0", EIO),
    }


def holds(data, want):
    """Does what comes in pieces hold it? -> how it is wrong, or None"""
    at = 0
    for piece in data:
        if isinstance(want, tuple):
            if piece.count(0) != len(piece):
                return "other bytes near %d" % at
        elif want[at:at + len(piece)] != piece:
            return "other bytes near %d" % at
        at += len(piece)
    length = want[1] if isinstance(want, tuple) else len(want)
    return None if at == length else "%d of %d bytes" % (at, length)


def io_of(pid):
    with open("/proc/%d/io" % pid) as f:
        return dict((k, int(v)) for k, v in (line.split(": ") for line in f))


worst = {}


def run(*args, want=EIO, check=False, stored):
    """-> status, what it says in errors, how its output is wrong."""
    p = subprocess.Popen([DISKVFS, *args], stdout=subprocess.PIPE, stderr=open(T + "/errors", "wb"),
                         stdin=subprocess.DEVNULL)
    guard = threading.Timer(SECONDS, p.kill)
    guard.start()
    pieces = iter(lambda: p.stdout.read(1 << 20), b"")
    wrong = holds(pieces, want.data if isinstance(want, Or) else want) if check and want is not EIO else None
    text = b""
    for piece in pieces:
        if not check:
            text += piece
    os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT)
    read = io_of(p.pid)["rchar"]
    _, status, usage = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    guard.cancel()
    with open(T + "/errors", errors="replace") as f:
        errors = f.read()
    mb = usage.ru_maxrss >> 10
    worst[args[0]] = max(worst.get(args[0], 0), mb)
    if p.returncode < 0:
        raise Wrong("%s ended with %d: %s" % (" ".join(args), p.returncode, errors[-500:]))
    if mb > MEMORY_MB:
        raise Wrong("%s took %d MiB" % (" ".join(args), mb))
    if read > 16 * stored + (64 << 20):
        raise Wrong("%s read %d bytes of %d" % (" ".join(args), read, stored))
    return p.returncode, errors, wrong, text.decode(errors="replace")


def judge(what, name, want, status, errors, wrong):
    if want is EIO or isinstance(want, Or) and status:
        if status == 0:
            raise Wrong("%s: %s is read, which is none" % (what, name))
        if name not in errors:
            raise Wrong("%s: %s: no line names it: %s" % (what, name, errors))
    elif status:
        raise Wrong("%s: %s: status %d: %s" % (what, name, status, errors))
    elif wrong:
        raise Wrong("%s: %s: %s" % (what, name, wrong))


def make(store, files, suffix, *init):
    subprocess.run([DISKVFS, "init", store, *init], check=True, stdout=subprocess.DEVNULL)
    for name, (data, _) in files.items():
        with open("%s/%s%s" % (store, name, suffix), "wb") as f:
            f.write(data)
    return sum(len(d) for d, _ in files.values())


def snapshot(store):
    out = {}
    for name in os.listdir(store):
        if name != ".diskvfs":
            st = os.stat(store + "/" + name)
            out[name] = (st.st_ino, st.st_size, st.st_mtime_ns)
    return out


def by_mount(store, files):
    mnt = T + "/mnt"
    os.makedirs(mnt, exist_ok=True)
    subprocess.run([DISKVFS, "mount", store, mnt, "-o", "coherence=0"], check=True, stdout=subprocess.DEVNULL)
    with open(mnt + "/.diskvfs/stats") as f:
        pid = int(f.read().split('"pid": ')[1].split(",")[0])
    try:
        subprocess.run(["ls", "-l", mnt], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=SECONDS)
        for name, (_, want) in files.items():
            try:
                with open(mnt + "/" + name, "rb", buffering=0) as f:
                    data = b"" if want is EIO else want.data if isinstance(want, Or) else want
                    wrong = holds(iter(lambda: f.read(1 << 20), b""), data)
                    if want is EIO:
                        raise Wrong("mount: %s is read, which is none (%s)" % (name, wrong))
                    if wrong:
                        raise Wrong("mount: %s: %s" % (name, wrong))
            except OSError as e:
                if want is not EIO and not isinstance(want, Or) or e.strerror != "Input/output error":
                    raise Wrong("mount: %s: %s" % (name, e.strerror))
        with open("/proc/%d/status" % pid) as f:
            mb = int(f.read().split("VmHWM:")[1].split()[0]) >> 10
        worst["mount"] = max(worst.get("mount", 0), mb)
        if mb > MEMORY_MB:
            raise Wrong("the daemon took %d MiB" % mb)
    finally:
        subprocess.run([DISKVFS, "unmount", mnt], check=True, stdout=subprocess.DEVNULL)


def all_of(kind, store, files, stored):
    print("  %s: %d files, %d KiB" % (kind, len(files), stored >> 10), flush=True)
    before = snapshot(store)
    bad = [n for n, (_, w) in files.items() if w is EIO]
    for name, (data, want) in files.items():
        status, errors, wrong, _ = run("get", store, name, want=want, check=True, stored=len(data))
        judge("get", name, want, status, errors, wrong)
        run("info", store, name, stored=len(data))
    by_mount(store, files)
    status, _, _, text = run("keys", store, stored=stored)
    if status or sorted(text.split()) != sorted(files):
        raise Wrong("keys: %d %s" % (status, text))
    run("keys", store, "-l", stored=stored)
    run("info", store, stored=stored)
    run("cas", "verify", store, stored=stored)
    status, errors, _, text = run("verify", store, stored=stored)
    for name, (_, want) in files.items():
        if want is EIO and name not in errors + text:
            raise Wrong("verify: nothing is said of %s: %s" % (name, text + errors))
    if status != (4 if bad else 0):
        raise Wrong("verify: %d: %s" % (status, text + errors))
    if snapshot(store) != before:
        raise Wrong("reading has changed the store")
    if BOMB <= 1 << 30:
        by_writing(kind, store, files, stored, before)


def by_writing(kind, store, files, stored, before):
    out = T + "/out"
    status, errors, _, _ = run("export", store, out, stored=stored)
    for name, (_, want) in files.items():
        path = out + "/" + name
        if want is EIO:
            if os.path.exists(path):
                raise Wrong("export: %s is there, which is none" % name)
            if name not in errors:
                raise Wrong("export: no line names %s" % name)
            continue
        if isinstance(want, Or):
            if not os.path.exists(path):
                continue
            want = want.data
        with open(path, "rb") as f:
            wrong = holds(iter(lambda: f.read(1 << 20), b""), want)
        if wrong:
            raise Wrong("export: %s: %s" % (name, wrong))
    shutil.rmtree(out)
    if not suffix_of[kind]:
        return
    run("pack", store, stored=stored)
    if snapshot(store) != before:
        raise Wrong("pack has touched files of other makers")
    run("unpack", store, stored=stored)
    for name, (_, want) in files.items():
        if want is EIO:
            if snapshot(store).get(name + ".zst") != before[name + ".zst"]:
                raise Wrong("unpack has touched %s" % name)
            continue
        if isinstance(want, Or):
            if os.path.exists(store + "/" + name + ".zst"):
                continue
            want = want.data
        with open(store + "/" + name, "rb") as f:
            wrong = holds(iter(lambda: f.read(1 << 20), b""), want)
        if wrong:
            raise Wrong("unpack: %s: %s" % (name, wrong))


suffix_of = {"zstd": ".zst", "gzip": "", "zlib": ""}


def main():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for kind, files, init in (("zstd", zstd_files(), []), ("gzip", gzip_files(), ["--layout", "diskv:gzip"]),
                              ("zlib", zlib_files(), ["--layout", "diskv:zlib"])):
        store = T + "/" + kind
        stored = make(store, files, suffix_of[kind], *init)
        all_of(kind, store, files, stored)
        shutil.rmtree(store)
    print("  MiB at most: " + ", ".join("%s %d" % kv for kv in sorted(worst.items())))


try:
    main()
except Wrong as wrong:
    sys.exit("bombs: %s" % wrong)
