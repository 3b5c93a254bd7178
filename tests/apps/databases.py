#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""databases.py lmdb|leveldb write|check DIR [TOLD] - batches of three rows until killed, each told
when it is committed; check: the store opens, no batch is in half, none of those told is missing."""
import os
import sys

kind, verb, path = sys.argv[1:4]


def row(n, part):
    return b"%08d.%d" % (n, part), (b"value %d " % n) * 50


if kind == "lmdb":
    import lmdb

    env = lmdb.open(path, map_size=64 << 20, readonly=verb == "check", writemap=path.endswith("map"))

    def rows():
        with env.begin() as txn:
            return [(bytes(k), bytes(v)) for k, v in txn.cursor()]

    def commit(n):
        with env.begin(write=True) as txn:
            for part in range(3):
                txn.put(*row(n, part))
            if n > 200:  # pages are freed and used again
                for part in range(3):
                    txn.delete(row(n - 200, part)[0])

else:
    import plyvel

    db = plyvel.DB(path, create_if_missing=True, write_buffer_size=256 << 10, paranoid_checks=True)

    def rows():
        return list(db.iterator(verify_checksums=True))

    def commit(n):
        with db.write_batch(sync=True) as batch:
            for part in range(3):
                batch.put(*row(n, part))
            if n > 200:
                for part in range(3):
                    batch.delete(row(n - 200, part)[0])


there = rows()
numbers = [int(k[:8]) for k, v in there]
if verb == "check":
    for n in set(numbers):
        assert numbers.count(n) == 3, "half of batch %d" % n
    for k, v in there:
        assert v == row(int(k[:8]), 0)[1], k
    told = [int(line) for line in open(sys.argv[4]) if line.endswith("\n")]
    assert told and numbers and max(numbers) >= max(told), (told[-1:], numbers[-1:])
    assert min(numbers) <= max(1, max(told) - 198), "rows are lost"
    assert len(set(numbers)) == max(numbers) - min(numbers) + 1, "batches are lost"
else:
    n = max(numbers, default=0)
    while True:
        n += 1
        commit(n)
        os.write(1, b"%d\n" % n)  # at once: print() may be killed before the newline
