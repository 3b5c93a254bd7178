#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""readonly.py DIR - all that can be seen of a tree, without moving an access time."""
import hashlib
import os
import stat
import sys


def show(dirfd, path):
    lines = []
    for entry in sorted(os.scandir(dirfd), key=lambda e: e.name):
        st = os.stat(entry.name, dir_fd=dirfd, follow_symlinks=False)
        at, digest = os.path.join(path, entry.name), ""
        flags = os.O_RDONLY | os.O_NOATIME | os.O_NOFOLLOW
        if stat.S_ISREG(st.st_mode):
            with os.fdopen(os.open(entry.name, flags, dir_fd=dirfd), "rb") as f:
                digest = hashlib.sha256(f.read()).hexdigest()
        names = os.listxattr("/proc/self/fd/%d/%s" % (dirfd, entry.name), follow_symlinks=False)
        # Reading a symbolic link moves its access time; no system call can leave it.
        atime = 0 if stat.S_ISLNK(st.st_mode) else st.st_atime_ns
        lines.append(" ".join(map(str, (at, oct(st.st_mode), st.st_uid, st.st_gid, st.st_size, st.st_ino, st.st_nlink,
                                        atime, st.st_mtime_ns, st.st_ctime_ns, names, digest))))
        if stat.S_ISDIR(st.st_mode):
            fd = os.open(entry.name, flags, dir_fd=dirfd)
            lines += show(fd, at)
            os.close(fd)
    return lines


root = os.open(sys.argv[1], os.O_RDONLY | os.O_NOATIME)
st = os.fstat(root)
print("root", st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns)
print("\n".join(show(root, "")))
