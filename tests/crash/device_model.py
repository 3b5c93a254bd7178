# SPDX-License-Identifier: MIT
"""device_model.py: what the keys of a store may hold after a power cut (device.py says what that is).

Positions count bytes of the log. What was begun at or after the cut can not have left anything; what
was durable before it must be there.
"""
SECTOR = 512


class File:
    """An object, and the versions that changes in place made of it: [(begun, bytes)]."""

    def __init__(self, begun, data):
        self.versions = [(begun, data)]
        self.synced = []  # [(position, index of the version)]

    def last(self):
        return len(self.versions) - 1

    def explains(self, data, least, position):
        """May a cut leave data of it, where it is at least version number `least`?"""
        for at, index in self.synced:
            if at <= position:
                least = max(least, index)
        all_of_them = [v for begun, v in self.versions[least:] if begun < position] or [self.versions[least][1]]
        return data in all_of_them or (len(all_of_them) > 1 and is_mix(all_of_them, data))


def is_mix(versions, data):
    if not min(map(len, versions)) <= len(data) <= max(map(len, versions)):
        return False
    for off in range(0, len(data), SECTOR):
        end = min(off + SECTOR, len(data))
        parts = [v[off:end].ljust(end - off, b"\0") for v in versions]
        same = all(p == parts[0] for p in parts) and all(len(v) >= end for v in versions)
        if data[off:end] not in parts and (same or any(data[off:end])):
            return False
    return True


class Model:
    def __init__(self):
        self.states = {}   # key -> [(begun, File or None, least version)], oldest first
        self.settled = {}  # key -> [(position, index of the state)]
        self.renames = []  # (begun, key, index of its state, other key, index of its state)

    def of(self, key):
        return self.states.setdefault(key, [(0, None, 0)])

    def now(self, key):
        file = self.of(key)[-1][1]
        return file.versions[-1][1] if file else None

    def same(self, key, other):
        """Are both names of one object?"""
        file = self.of(key)[-1][1]
        return file is not None and file is self.of(other)[-1][1]

    def names(self, key):
        return sum(self.same(key, other) for other in list(self.states))

    def create(self, key, begun):
        self.of(key).append((begun, File(begun, b""), 0))

    def replace(self, key, begun, data):
        self.of(key).append((begun, File(begun, data), 0))

    def change(self, key, begun, data):
        self.of(key)[-1][1].versions.append((begun, data))

    def remove(self, key, begun):
        self.of(key).append((begun, None, 0))

    def rename(self, key, other, begun):
        """Over a good value it comes whole; else it is what it was, durable or not."""
        file, least = self.of(key)[-1][1:]
        if self.now(other):
            least = file.last()
        self.of(other).append((begun, file, least))
        self.remove(key, begun)
        self.renames.append((begun, key, len(self.states[key]) - 1, other, len(self.states[other]) - 1))

    def link(self, key, other, begun):
        """The name comes or not; the object is what it is."""
        self.of(other).append((begun,) + self.of(key)[-1][1:])

    def move(self, key, other, begun):
        """By a folder that is renamed: what is under key by then may be anything that a cut may leave of
        it, an older value whose replacement is not durable, or one whose removal is not."""
        first = max([i for _, i in self.settled.get(key, [])], default=0)
        moved, there = self.of(key)[first:], self.of(other)
        self.renames.append((begun, key, len(self.of(key)), other, len(there)))
        there += [(begun, file, least) for _, file, least in moved]
        self.remove(key, begun)

    def durable(self, key, position):
        """What the key is now was made durable before position."""
        states = self.of(key)
        self.settled.setdefault(key, []).append((position, len(states) - 1))
        if states[-1][1]:
            states[-1][1].synced.append((position, states[-1][1].last()))

    def explained(self, key, data, position):
        """Numbers of the states that may have left data."""
        states = self.of(key)
        first = max([i for at, i in self.settled.get(key, []) if at <= position], default=0)
        found = []
        for i in range(first, len(states)):
            begun, file, least = states[i]
            if i > first and begun >= position:
                break
            if (data is None) == (file is None) and (file is None or file.explains(data, least, position)):
                found.append(i)
        return found

    def wrong(self, seen, position, links):
        """What is wrong with the values seen, or None. links: the filesystem may leave a file that was
        renamed to another directory under both names (btrfs, whose log keeps them apart)."""
        which = {}
        for key in list(self.states) + [k for k in seen if k not in self.states]:
            if key not in self.states:
                return "%s: nobody made it" % key
            which[key] = self.explained(key, seen.get(key), position)
            if not which[key]:
                return "%s: %s" % (key, self.describe(key, seen.get(key), position))
        for begun, key, i, other, j in self.renames:
            if begun >= position:
                continue
            if max(which[key]) < i and min(which[other]) >= j and not links:
                return "%s and %s: the value is under both names" % (key, other)
            if min(which[key]) >= i and max(which[other]) < j:
                return "the renaming of %s to %s lost the value" % (key, other)
        return None

    def describe(self, key, data, position):
        first = max([i for at, i in self.settled.get(key, []) if at <= position], default=0)
        may = ["nothing" if f is None else "%d bytes" % len(f.versions[-1][1])
               for n, (begun, f, _) in enumerate(self.states[key]) if n >= first and begun < position]
        what = "nothing is there" if data is None else "%d bytes, beginning with %r" % (len(data), data[:32])
        return "%s; it may be: %s" % (what, ", ".join(may))
