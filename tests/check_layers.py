#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that a module of core/ includes only what core/LAYERS allows, and fs/ only the public part.

check_layers.py ROOT          prints each forbidden include; status 1 if there is any
check_layers.py --self-test   shows that it finds what it has to find

The linker finds forbidden calls (each unit test links what lies below its module, nothing else);
this finds forbidden knowledge: types, macros and inline functions.
"""
import os
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.M)


class Table:
    def __init__(self, text):
        self.rank = {}  # module -> its place in the order; peers share one
        self.fs = set()
        for number, line in enumerate(text.splitlines(), 1):
            line = line.split("#")[0].strip()
            if not line:
                continue
            head, colon, names = line.partition(":")
            kind = head.split()[0]
            if not colon or kind not in ("layer", "peers", "fs"):
                raise ValueError("LAYERS:%d: not understood: %s" % (number, line))
            if kind == "fs":
                self.fs.update(names.split())
                continue
            begin = len(self.rank)
            for name in names.split():
                if name in self.rank:
                    raise ValueError("LAYERS:%d: %s stands there twice" % (number, name))
                self.rank[name] = begin if kind == "peers" else len(self.rank)

    def module_of(self, path):
        """The module of core/NAME.[ch]: the longest name that fits; None where none does."""
        if os.path.basename(path) in self.rank:
            return os.path.basename(path)
        stem = os.path.splitext(os.path.basename(path))[0]
        while stem not in self.rank:
            stem, underscore, _ = stem.rpartition("_")
            if not underscore:
                return None
        return stem

    def complaint(self, path, included):
        """Why the file may not include it, or None."""
        if path.startswith("core/"):
            if included.startswith(("fs/", "tests/")) or "fuse" in included:
                return "core/ knows nothing of what lies above it"
            if not included.startswith("core/"):
                return None
            mine, theirs = self.module_of(path), self.module_of(included)
            if mine is None:
                return "core/LAYERS does not name this module"
            if theirs is None:
                return "core/LAYERS does not name the module of %s" % included
            if mine.removesuffix(".h") != theirs.removesuffix(".h") and self.rank[theirs] > self.rank[mine]:
                return "%s stands above %s" % (theirs, mine)
        elif path.startswith("fs/") and included.startswith("core/"):
            if os.path.splitext(included[5:])[0] not in self.fs:
                return "fs/ may include only the headers of core/ in the line fs: of core/LAYERS"
        return None

    def check(self, path, text):
        for match in INCLUDE.finditer(text):
            included = match.group(1)
            # A header named without its folder is of the file's own folder.
            if "/" not in included and os.path.exists(os.path.join(os.path.dirname(path), included)):
                included = os.path.dirname(path) + "/" + included
            why = self.complaint(path, included)
            if why:
                line = text.count("\n", 0, match.start(1)) + 1
                yield "%s:%d: includes %s: %s" % (path, line, match.group(1), why)


def self_test():
    table = Table("layer 0: error log\nlayer 1: key api.h key_map cache # c\n"
                  "peers 4: store names\nlayer 5: api\n"
                  "fs: store error\n")
    forbidden = {
        "core/log.c": ['#include "core/key.h"', '#  include <fuse_lowlevel.h>'],
        "core/key.c": ['#include "core/cache.h"', '#include "fs/main.h"', '#include "core/x.h"'],
        "core/key_map.c": ['#include "core/cache.h"'],
        "core/api.h": ['#include "core/cache.h"'],
        "core/unknown.c": ['#include "core/log.h"'],
        "fs/main.c": ['#include "core/key.h"'],
    }
    allowed = {
        "core/key_hash.c": ['#include "core/key.h"', '#include <stdio.h>', '#include "core/log.h"'],
        "core/cache.c": ['#include "core/key.h"', '#include "core/key_map.h"'],
        "core/api.c": ['#include "core/api.h"', '#include "core/names.h"'],
        "core/key_map.c": ['#include "core/api.h"'],
        "core/names.c": ['#include "core/store.h"', '#include "core/cache.h"'],
        "core/store.c": ['#include "core/names.h"'],
        "fs/main.c": ['#include "core/store.h"', '#include "fs/node.h"', '#include <fuse.h>'],
    }
    for path, lines in forbidden.items():
        for line in lines:
            assert len(list(table.check(path, "\n" + line + "\n"))) == 1, (path, line)
    for path, lines in allowed.items():
        assert list(table.check(path, "\n".join(lines))) == [], (path, lines)
    print("the checker finds what it has to find")


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    os.chdir(sys.argv[1])
    with open("core/LAYERS", encoding="utf-8") as f:
        table = Table(f.read())
    found, files = [], 0
    for folder in ("core", "fs"):
        for name in sorted(os.listdir(folder) if os.path.isdir(folder) else []):
            if name.endswith((".c", ".h")):
                path = folder + "/" + name
                files += 1
                with open(path, encoding="utf-8") as f:
                    found += table.check(path, f.read())
    print("\n".join(found + ["%d files, %d forbidden includes" % (files, len(found))]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
