#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
history.py - judges what was written and read of one key as an atomic register, and the versions that are written.

A history is the operations of all who took part, each with its beginning and end on one clock and the version that it
wrote or read. It is linearisable where each operation can be given one moment between its beginning and its end such
that each read returns what was written last before it. Where no two writes write one version this needs no search
(Gibbons, Korach: Testing Shared Memories, 1997): a write and the reads of it are a cluster, of two clusters one comes
wholly first, and A can not come before B where an operation of B has ended before one of A began. So the history is
linearisable if no read ended before its write began, and of no two clusters each has to come before the other.

history.py     by itself tests itself: crafted histories, and random ones against all orders
"""
import bisect
import itertools
import re
import sys
import zlib

NEVER = float("inf")  # the end of an operation of which nobody knows whether it was done
ALWAYS = -NEVER


class Op:
    __slots__ = ("kind", "version", "begin", "end", "who")

    def __init__(self, kind, version, begin, end, who=""):
        self.kind, self.version, self.begin, self.end, self.who = kind, version, begin, end, who

    def __str__(self):
        return "%s %s %s at %.6f..%.6f" % (self.who or "-", "writes" if self.kind == "w" else "reads", self.version,
                                           self.begin, self.end)


class Cluster:
    """A write and the reads of what it wrote. first: what ended first, last: what began last."""

    def __init__(self, ops):
        self.first = min(ops, key=lambda op: op.end)
        self.last = max(ops, key=lambda op: op.begin)
        self.zone = self.first.end, self.last.begin

    def is_forward(self):
        return self.zone[0] < self.zone[1]


def before(a, b):
    return "[%s] had ended before [%s] began, but [%s] before [%s]" % (a.first, b.last, b.first, a.last)


def clusters_of(ops):
    """-> clusters, complaints about reads of nothing that was written yet"""
    writes, reads, bad = {}, {}, []
    for op in ops:
        if op.kind == "w":
            assert op.version not in writes, "two writes of " + op.version
            writes[op.version] = op
        else:
            reads.setdefault(op.version, []).append(op)
    for version, those in reads.items():
        w = writes.get(version)
        if not w:
            bad.append("nobody wrote it: [%s]" % those[0])
            continue
        bad += ["read before it was written: [%s], [%s]" % (r, w) for r in those if r.end < w.begin]
    # Of a write that may not have been done, and was not seen, nothing follows.
    return [Cluster([w] + reads.get(v, [])) for v, w in writes.items() if w.end != NEVER or v in reads], bad


def judge(ops):
    """-> what is wrong, a line each; nothing where the history is linearisable."""
    clusters, bad = clusters_of(ops)
    forward = sorted((c for c in clusters if c.is_forward()), key=lambda c: c.zone)
    reach = None  # of those so far the one whose zone ends last
    for c in forward:
        if reach and c.zone[0] < reach.zone[1]:
            bad.append("neither is first: " + before(reach, c))
        if not reach or c.zone[1] > reach.zone[1]:
            reach = c
    begins = [c.zone[0] for c in forward]
    for c in clusters:
        if c.is_forward():
            continue
        at = bisect.bisect_left(begins, c.zone[1]) - 1
        if at >= 0 and c.zone[0] < forward[at].zone[1]:
            bad.append("neither is first: " + before(forward[at], c))
    return bad


# ---- versions ----

def value(key, tag, size):
    """About size bytes that tell their key and tag from their first to their last."""
    word = b"%s/%s " % (key.encode(), tag.encode())
    body = word * max(1, size // len(word))
    return b"V %s %s %d %08x\n" % (key.encode(), tag.encode(), len(body), zlib.crc32(body)) + body


def tag_of(data, key):
    """-> tag of the version that data is, or None where it is not one whole version of key."""
    end = data.find(b"\n")
    m = re.match(rb"V (\S+) (\S+) (\d+) ([0-9a-f]{8})$", data[:end] if end > 0 else b"")
    body = data[end + 1:]
    if not m or m[1] != key.encode() or int(m[3]) != len(body) or int(m[4], 16) != zlib.crc32(body):
        return None
    return m[2].decode()


def describe(data, key):
    """Of data that is no version: whose bytes are in it."""
    tags = re.findall(rb"\b%s/(\S+) " % re.escape(key.encode()), data)
    return "%d bytes, %r, of %s" % (len(data), data[:40], [t.decode() for t in dict.fromkeys(tags)][:6])


# ---- does it tell? ----

def parse(text):
    """"w a 0 1; r a 2 3" -> operations"""
    ops = []
    for part in text.split(";"):
        kind, version, begin, end = part.split()
        ops.append(Op(kind, version, float(begin), float(end)))
    return ops


GOOD = {
    "one after the other": "w a 0 1; r a 2 3; w b 4 5; r b 6 7",
    "a read beside a write may give the old": "w a 0 1; w b 2 9; r a 3 4; r b 5 6; r b 10 11",
    "a write that nobody sees": "w a 0 1; w b 2 3; w c 2 3; r c 4 5; r c 6 7",
    "of two writes at once either is last": "w a 0 9; w b 0 9; r a 10 11",
    "and is read before the other is": "w a 0 9; w b 0 9; r a 1 2; r b 3 4; r b 10 11",
    "a write without an end that was done": "w a 0 1; w b 2 inf; r a 3 4; r b 5 6",
    "and one that was not": "w a 0 1; w b 2 inf; r a 3 4; r a 5 6",
    "long reads beside writes": "w a 0 1; r a 0 100; w b 2 3; w c 4 5; r b 2 100; r c 6 7",
    "what touches is at once": "w a 0 1; w b 1 2; r a 2 3",
}
BAD = {
    "nobody wrote it": "w a 0 1; r b 2 3",
    "read before it was written": "w a 0 1; r b 2 3; w b 4 5",
    "stale: another one was written in between": "w a 0 1; w b 2 3; r a 4 5",
    "lost: what was written last is not what is there": "w a 0 1; w b 2 3; w c 2 3; r c 4 5; w d 6 7; r c 8 9",
    "new and then old, beside one long write": "w a 0 1; w b 2 9; r b 3 4; r a 5 6",
    "the same by a write that never ended": "w a 0 1; w b 2 inf; r b 3 4; r a 5 6",
    "two writes at once, read in both orders": "w a 0 9; w b 0 9; r a 10 11; r b 12 13; r a 14 15",
    "back after it was overwritten": "w a 0 1; r a 2 3; w b 4 5; r b 6 7; w c 8 9; r b 10 11",
    "a short value within another's time": "w a 0 1; w b 2 5; r b 3 4; r a 6 7",
}


def is_atomic(ops):
    """By trying all orders."""
    def goes(left, now):
        if not left:
            return True
        for op in left:
            if any(o.end < op.begin for o in left):
                continue
            if op.kind == "w" and goes(left - {op}, op.version):
                return True
            if op.kind == "r" and op.version == now and goes(left - {op}, now):
                return True
        return False

    maybe = [op for op in ops if op.end == NEVER]
    return any(goes(frozenset(ops) - set(left), None)
               for n in range(len(maybe) + 1) for left in itertools.combinations(maybe, n))


def random_history(rng):
    # Two of three from a register that is atomic, since at random nearly all are bad.
    ops, writes = [], rng.randint(1, 3)
    moments = sorted(rng.sample(range(40), writes + rng.randint(1, 4)))
    kinds = ["w"] + rng.sample(["w"] * (writes - 1) + ["r"] * (len(moments) - writes), len(moments) - 1)
    now, made = None, 0
    for at, kind in zip(moments, kinds):
        if kind == "w":
            now, made = "abc"[made], made + 1
        ops.append(Op(kind, now, at - rng.randint(0, 8), at + rng.randint(0, 8)))
    for op in ops:
        if op.kind == "r" and rng.random() < 0.5:
            op.version = rng.choice("abc"[:made])
        if op.kind == "w" and rng.random() < 0.1:
            op.end = NEVER
    return ops


def main():
    import random
    for name, text in GOOD.items():
        assert judge(parse(text)) == [] and is_atomic(parse(text)), "GOOD, %s: %s" % (name, judge(parse(text)))
    for name, text in BAD.items():
        assert judge(parse(text)) != [] and not is_atomic(parse(text)), "BAD, " + name
    rng, good = random.Random(1), 0
    for n in range(20000):
        ops = random_history(rng)
        good += is_atomic(ops)
        assert (judge(ops) == []) == is_atomic(ops), "%d: %s: %s" % (n, "; ".join(map(str, ops)), judge(ops))
    assert 2000 < good < 18000, good
    data = value("k", "a.1", 9000)
    assert tag_of(data, "k") == "a.1" and tag_of(data, "q") is None
    for wrong in (b"", data[:-1], data + b"x", data[:4096] + value("k", "a.2", 9000)[4096:], data[:5000] + bytes(100) + data[5100:]):
        assert tag_of(wrong, "k") is None
    print("%d crafted histories, 20000 random ones, %d of them good" % (len(GOOD) + len(BAD), good))


if __name__ == "__main__":
    sys.exit(main())
