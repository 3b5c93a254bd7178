#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""File handles on a mount: name_to_handle_at, open_by_handle_at (root only).

handles.py save FILE PATH...   writes the handle of each path to FILE
handles.py read MOUNT FILE     opens each handle below MOUNT and prints what is there, a line each:
                               "data TEXT", "dir NAME...", "link TARGET", or the name of the errno
handles.py write MOUNT FILE TEXT    appends TEXT to what each handle leads to
handles.py hold MOUNT FILE     opens them, prints "open", reads a line from stdin, then prints what
                               the descriptors read, as above
"""
import ctypes
import errno
import os
import pickle
import stat
import sys

AT_FDCWD = -100
ROOM = 128
libc = ctypes.CDLL(None, use_errno=True)


class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * ROOM)]


def handle_of(path):
    h = Handle(ROOM, 0)
    mount_id = ctypes.c_int()
    if libc.name_to_handle_at(AT_FDCWD, os.fsencode(path), ctypes.byref(h),
                              ctypes.byref(mount_id), 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return h.bytes, h.type, bytes(h.data[:h.bytes])


def open_handle(mount_fd, saved, flags):
    h = Handle(saved[0], saved[1])
    ctypes.memmove(h.data, saved[2], len(saved[2]))
    fd = libc.open_by_handle_at(mount_fd, ctypes.byref(h), flags)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def open_any(mount_fd, saved):
    try:
        return open_handle(mount_fd, saved, os.O_RDONLY)
    except OSError as e:
        if e.errno != errno.ELOOP:
            raise
        return open_handle(mount_fd, saved, os.O_PATH)


def shown(fd):
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        return " ".join(["dir", *sorted(os.listdir(fd))])
    if stat.S_ISLNK(mode):
        return "link " + os.readlink("", dir_fd=fd)
    return "data " + os.pread(fd, 1 << 20, 0).decode("latin-1").replace("\n", " ")[:60].strip()


def main():
    command = sys.argv[1]
    if command == "save":
        with open(sys.argv[2], "wb") as f:
            pickle.dump([handle_of(path) for path in sys.argv[3:]], f)
        return
    mount_fd = os.open(sys.argv[2], os.O_RDONLY | os.O_DIRECTORY)
    with open(sys.argv[3], "rb") as f:
        handles = pickle.load(f)
    if command == "hold":
        fds = [open_any(mount_fd, h) for h in handles]
        print("open", flush=True)
        sys.stdin.readline()
        for fd in fds:
            print(shown(fd))
        return
    for h in handles:
        try:
            if command == "write":
                fd = open_handle(mount_fd, h, os.O_WRONLY | os.O_APPEND)
                os.write(fd, sys.argv[4].encode())
            else:
                fd = open_any(mount_fd, h)
                print(shown(fd))
            os.close(fd)
        except OSError as e:
            print(errno.errorcode[e.errno])


main()
