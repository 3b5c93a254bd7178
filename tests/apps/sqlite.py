#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""sqlite.py DATABASE JOURNAL FROM - transactions of three rows until killed; prints what is committed."""
import sqlite3
import sys

path, mode, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
db = sqlite3.connect(path, timeout=60, isolation_level=None)
db.execute("pragma journal_mode=" + mode)
db.execute("pragma synchronous=" + ("full" if at % 2 == 0 else "normal"))
while True:
    db.execute("begin immediate")
    for part in range(3):
        db.execute("insert into t values(?, ?, ?)", (at, part, "v%d " % at * 300))
    db.execute("update total set n = n + 3")
    db.execute("commit")
    print(at, flush=True)
    at += 2
