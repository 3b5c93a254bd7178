# SPDX-License-Identifier: MIT
"""calls.py OPERATION...: the N-th call of a command about files fails, N = 1 until none is left (of
operations with a step: each so many'th), and then what the same command does without a fault is right.

In the environment: DISKVFS, BROKEN_CALLS (support/broken_calls.c), T, a folder for all of it. CALLS_SLOW
tries every errno.

Of each run is asked: it ends by itself, with a status that is told and a line that says why, or has done
all of its work; no value of the store is lost or other than it was or is to be; nothing stands under a
name of the target that is not whole; and the next run, without a fault, does the rest and leaves nothing
else behind.
"""
import errno
import os
import shutil
import subprocess
import sys

DISKVFS, SHIM, T = (os.environ[name] for name in ("DISKVFS", "BROKEN_CALLS", "T"))
SLOW = bool(os.environ.get("CALLS_SLOW"))
LOOKS, CHANGES, TRANSFERS = "l", "c", "t"
N_MAX = 5000


class Wrong(Exception):
    pass


def run(*args, fault=None, stdin=subprocess.DEVNULL):
    e = dict(os.environ)
    if fault:
        e.update(fault, LD_PRELOAD=SHIM)
    return subprocess.run([DISKVFS, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=e, timeout=120,
                          stdin=stdin)


def put(store, key, path):
    with open(path, "rb") as f:
        good("put", store, key, stdin=f)


def good(*args, stdin=subprocess.DEVNULL):
    done = run(*args, stdin=stdin)
    if done.returncode:
        raise Wrong("without a fault %s says %d: %s" % (" ".join(args), done.returncode, done.stderr.decode()))
    return done.stdout


def text(length, salt):
    return b"".join(b"%d %d\n" % (salt, i) for i in range(length // 6))[:length]


def noise(length):
    out, x = bytearray(), 12345
    while len(out) < length:
        x = (x * 6364136223846793005 + 1442695040888963407) % 2**64
        out += x.to_bytes(8, "little")
    return bytes(out[:length])


FILES = {"a": text(40000, 1), "d/b": noise(5000), "d/c": b"", "old": text(9000, 2), "older": text(9000, 3)}
LINK, TARGET = ("d/link", "a"), ("s", "a")
TOP = ["a", "d", "old", "older", "s"]
TIMES = {"a": 1700000000, "d/b": 1700000001, "d/c": 1700000002, "old": 1600000000, "older": 1500000000}


def read(path):
    """Without moving its time of access."""
    fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
    with open(fd, "rb") as f:
        return f.read()


def tree(root):
    """What every operation begins with: a folder of all kinds of files."""
    os.makedirs(root + "/d")
    for key, data in FILES.items():
        with open(root + "/" + key, "wb") as f:
            f.write(data)
    os.setxattr(root + "/a", "user.note", b"hello")
    os.link(root + "/" + LINK[1], root + "/" + LINK[0])
    os.symlink(TARGET[1], root + "/" + TARGET[0])
    for key, t in TIMES.items():
        os.utime(root + "/" + key, (t, t))


def seen(root, but=()):
    """name -> all that is to be kept of it."""
    out = {}
    for folder, dirs, files in os.walk(root):
        dirs[:] = [d for d in dirs if d != ".diskvfs"]
        for name in dirs + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            key = os.path.relpath(path, root)
            if key in but:
                continue
            if os.path.islink(path):
                out[key] = os.readlink(path)
            elif os.path.isdir(path):
                out[key] = "folder"
            else:
                data = read(path)
                note = os.getxattr(path, "user.note") if "user.note" in os.listxattr(path) else None
                out[key] = (data, st.st_mtime_ns, st.st_nlink, note)
    return out


def values(store):
    """The values of a store that is at rest, decoded by zstd."""
    out = {}
    for folder, dirs, files in os.walk(store):
        dirs[:] = [d for d in dirs if d != ".diskvfs"]
        for name in files:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                continue
            key, data = os.path.relpath(path, store), read(path)
            if key.endswith(".zst"):
                key = key[:-4]
                data = subprocess.run(["zstdcat"], input=data, stdout=subprocess.PIPE, check=True).stdout
            if key in out:
                raise Wrong("two forms of %s" % key)
            out[key] = data
    return out


def at_rest(store):
    """What is left of a failed command was swept by the next, and the store is clean."""
    good("verify", store)
    stage = store + "/.diskvfs/stage"
    if os.path.isdir(stage) and os.listdir(stage):
        raise Wrong("left in stage: %s" % os.listdir(stage))
    lost = store + "/.diskvfs/lost"
    if os.path.isdir(lost) and os.listdir(lost):
        raise Wrong("put aside: %s" % os.listdir(lost))


def put_tree(store, *init):
    good("init", store, *init)
    good("import", store, *[PLAIN + "/" + name for name in TOP])


class Operation:
    """make() before each run, args the command, check(whole) after it; whole: nothing may be missing."""
    name, changes_store = "", True
    step = 1 # between the N that are tried by default

    def make(self):
        shutil.rmtree(T + "/store", ignore_errors=True)
        subprocess.run(["cp", "-a", STORE, T + "/store"], check=True)


class Export(Operation):
    name, changes_store = "export", False

    lost = False # an attribute found no room, which was told; the next run does not come back to it

    def make(self):
        if not os.path.isdir(T + "/store"):
            super().make()
        shutil.rmtree(T + "/out", ignore_errors=True)

    def said(self, status, out, whole):
        self.lost = status == 2 and (self.hit, self.error) in (("fsetxattr", errno.ENOSPC), ("fsetxattr", errno.EDQUOT))

    args = ["export", "{T}/store", "{T}/out"]

    def check(self, whole):
        want = seen(PLAIN)
        got = seen(T + "/out") if os.path.isdir(T + "/out") else {}
        for key, value in got.items():
            if os.path.basename(key) == ".diskvfs-export.part":
                if whole:
                    raise Wrong("%s is left" % key)
            elif key not in want:
                raise Wrong("%s was exported, which is none" % key)
            elif isinstance(value, tuple):
                # One name of a value may be there before the other.
                if value[0] != want[key][0]:
                    raise Wrong("%s was exported with other bytes" % key)
                if value[3] != want[key][3] and not self.lost:
                    raise Wrong("%s has lost an attribute" % key)
                if value[1] != want[key][1]:
                    raise Wrong("%s has another time" % key)
        if whole and got != want and not self.lost:
            raise Wrong("missing or different: %s" % [(k, got.get(k, "-")[1:], want[k][1:]) for k in want
                                                      if got.get(k) != want[k]])


class ExportSealed(Export):
    name = "export of diskv:gzip"

    def make(self):
        if not os.path.isdir(T + "/gzip"):
            good("init", T + "/gzip", "--layout", "diskv:gzip")
            for key in FILES:
                put(T + "/gzip", key, PLAIN + "/" + key)
        shutil.rmtree(T + "/out", ignore_errors=True)

    args = ["export", "{T}/gzip", "{T}/out"]

    def check(self, whole):
        got = {k: v[0] for k, v in (seen(T + "/out") if os.path.isdir(T + "/out") else {}).items()
               if isinstance(v, tuple)}
        parts = [k for k in got if k.endswith(".diskvfs-export.part")]
        if parts and whole:
            raise Wrong("%s is left" % parts)
        for key in set(got) - set(parts):
            if got[key] != FILES[key]:
                raise Wrong("%s was exported with other bytes" % key)
        if whole and set(got) != set(FILES):
            raise Wrong("missing: %s" % (set(FILES) - set(got)))


class Gc(Operation):
    step = 4
    name = "gc"
    args = ["gc", "{T}/store", "--max-size", "1"]

    def make(self):
        super().make()
        path = T + "/store/older.zst"
        os.utime(path, ns=(TIMES["older"] * 10**9, os.stat(path).st_mtime_ns))

    def check(self, whole):
        got = values(T + "/store")
        for key, data in got.items():
            if data != ALL.get(key):
                raise Wrong("%s is other bytes" % key)
        if whole and set(got) - {"d/c"}: # which takes no room
            raise Wrong("there is %s" % sorted(got))


class GcAge(Gc):
    step = 2
    name = "gc by age"
    args = ["gc", "{T}/store", "--max-age", "{AGE}"]

    def check(self, whole):
        got = values(T + "/store")
        want = {k: v for k, v in ALL.items() if k != "older"}
        if whole and got != want:
            raise Wrong("there is %s" % sorted(got))
        for key in want:
            if got.get(key) != want[key]:
                raise Wrong("%s went, which is not old" % key)


class GcMounted(GcAge):
    name = "gc of a mount"
    args = ["gc", "{T}/mnt", "--max-age", "{AGE}"]

    def make(self):
        if not os.path.isdir(T + "/mnt"):
            put_tree(T + "/store") # and no copy: of files whose tags tell their sizes
            os.mkdir(T + "/mnt")
            good("mount", T + "/store", T + "/mnt", "-o", "coherence=0")
        if not os.path.exists(T + "/mnt/older"):
            with open(T + "/mnt/older", "wb") as f:
                f.write(FILES["older"])
        os.utime(T + "/mnt/older", (TIMES["older"],) * 2)

    def check(self, whole):
        got = {k: v[0] for k, v in seen(T + "/mnt", ["older"]).items() if isinstance(v, tuple)}
        want = {k: v for k, v in ALL.items() if k != "older"}
        for key in want:
            if got.get(key) != want[key]:
                raise Wrong("%s went, which is not old" % key)
        if whole and os.path.exists(T + "/mnt/older"):
            raise Wrong("it did not go")

    def end(self):
        good("unmount", T + "/mnt")
        os.rmdir(T + "/mnt")


class Import(Operation):
    step = 29
    name = "import"
    args = ["import", "{T}/store"] + ["{T}/plain/" + name for name in TOP]

    def make(self):
        shutil.rmtree(T + "/store", ignore_errors=True)
        good("init", T + "/store")
        put(T + "/store", "old", PLAIN + "/older")

    def check(self, whole):
        got = values(T + "/store")
        for key, data in got.items():
            if data != ALL.get(key) and (key, data) != ("old", FILES["older"]):
                raise Wrong("%s is other bytes" % key)
        if "old" not in got:
            raise Wrong("the old value is lost")
        if whole and got != ALL:
            raise Wrong("missing or different: %s" % [k for k in ALL if got.get(k) != ALL[k]])


class Pack(Operation):
    step = 11
    name = "pack"
    args = ["pack", "{T}/store"]

    def make(self):
        super().make()
        good("unpack", T + "/store")

    def check(self, whole):
        got = values(T + "/store")
        if got != ALL:
            raise Wrong("lost or different: %s" % [k for k in ALL if got.get(k) != ALL[k]])
        if whole and not os.path.exists(T + "/store/old.zst"):
            raise Wrong("it is not packed")


class Unpack(Pack):
    step = 5
    name = "unpack"
    args = ["unpack", "{T}/store"]

    def make(self):
        Operation.make(self)

    def check(self, whole):
        got = values(T + "/store")
        if got != ALL:
            raise Wrong("lost or different: %s" % [k for k in ALL if got.get(k) != ALL[k]])
        if whole and os.path.exists(T + "/store/old.zst"):
            raise Wrong("it is not unpacked")


class Get(Operation):
    """What it says with status 0 is the value."""
    name, changes_store = "get", False
    args = ["get", "{T}/store", "a"]

    def make(self):
        if not os.path.isdir(T + "/store"):
            super().make()

    def said(self, status, out, whole):
        if status == 0 and out != FILES["a"]:
            raise Wrong("it says %d other bytes" % len(out))

    def check(self, whole):
        pass


class Keys(Get):
    name = "keys"
    args = ["keys", "{T}/store"]

    def said(self, status, out, whole):
        if status == 0 and set(out.decode().split("\n")) - {"", "s"} != set(ALL):
            raise Wrong("it says %s" % out)


class Verify(Get):
    name = "verify"
    args = ["verify", "{T}/store"]

    def said(self, status, out, whole):
        pass


def place(args):
    import time
    return [a.replace("{T}", T).replace("{AGE}", "%dd" % ((time.time() - (TIMES["older"] + TIMES["old"]) / 2) // 86400))
            for a in args]


def one(op, n, error, kinds, always):
    """-> the call that was hit; None: there are fewer."""
    told = T + "/told"
    if os.path.exists(told):
        os.unlink(told)
    op.make()
    args = place(op.args)
    fault = {"CALLS_NTH": str(n), "CALLS_ERROR": str(error), "CALLS_KINDS": kinds, "CALLS_TOLD": told}
    if always:
        fault["CALLS_ALWAYS"] = "1"
    done = run(*args, fault=fault)
    hit = open(told).read() if os.path.exists(told) else None
    try:
        if done.returncode not in range(0, 65):
            raise Wrong("it ended with %d" % done.returncode)
        if done.returncode and not (done.stderr + done.stdout).strip():
            raise Wrong("it says %d without a word" % done.returncode)
        harmless = hit is None or error in (0, errno.EINTR)
        if harmless and done.returncode:
            raise Wrong("it fails without an error")
        op.hit, op.error = hit, error
        if hasattr(op, "said"):
            op.said(done.returncode, done.stdout, harmless)
        op.check(harmless)
        again = run(*args)
        if again.returncode:
            raise Wrong("the next run says %d: %s" % (again.returncode, again.stderr.decode()))
        op.check(True)
        if op.changes_store and not hasattr(op, "end"):
            at_rest(T + "/store")
    except (Wrong, subprocess.CalledProcessError) as wrong:
        raise Wrong("%s: call %d (%s) of the kinds %s%s: %s: %s\nit said %d: %s" % (
            op.name, n, hit, kinds, ", and all later ones" if always else "",
            os.strerror(error) if error else "half", wrong, done.returncode, done.stderr.decode())) from None
    return hit


def everywhere(op, error, kinds, always):
    for n in range(1, N_MAX, 1 if SLOW else op.step):
        if one(op, n, error, kinds, always) is None:
            return n - 1
    raise Wrong("%s has no end" % op.name)


def main():
    global PLAIN, STORE, ALL
    PLAIN, STORE = T + "/plain", T + "/template"
    tree(PLAIN)
    put_tree(STORE)
    ALL = dict(FILES, **{LINK[0]: FILES[LINK[1]]})
    if values(STORE) != ALL:
        raise Wrong("the template is not what it should be: %s" % sorted(values(STORE)))
    faults = [(errno.EIO, LOOKS + CHANGES + TRANSFERS, False), (0, TRANSFERS, False), (errno.EINTR, TRANSFERS, False)]
    if SLOW:
        faults += [(errno.EIO, LOOKS + CHANGES + TRANSFERS, True), (0, TRANSFERS, True)]
        faults += [(e, k, a) for e, k in ((errno.ENOSPC, CHANGES + TRANSFERS), (errno.EDQUOT, CHANGES + TRANSFERS),
                                          (errno.EMFILE, LOOKS), (errno.ENOMEM, LOOKS + CHANGES),
                                          (errno.ESTALE, LOOKS + TRANSFERS), (errno.EROFS, CHANGES))
                   for a in (False, True)]
    for cls in (Export, ExportSealed, Gc, GcAge, GcMounted, Import, Pack, Unpack, Get, Keys, Verify):
        op = cls()
        if sys.argv[1:] and op.name not in sys.argv[1:]:
            continue
        shutil.rmtree(T + "/store", ignore_errors=True)
        counts = [everywhere(op, *fault) for fault in faults]
        if hasattr(op, "end"):
            op.end()
        print("  %s: %s" % (op.name, " ".join(map(str, counts))), flush=True)


try:
    main()
except Wrong as wrong:
    sys.exit("calls: %s" % wrong)
