#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
killed_probe.py MOUNT PID - the daemon is killed while it asks its own mount whether a value has a writer, when it has
read what the kernel asks it in turn, and has not answered. Nobody else uses the mount meanwhile. -> 0: it was.

The thread that serves is the process's first; it is traced from call to call, and the next reply is the one.
"""
import ctypes
import os
import signal
import sys

MOUNT, PID = sys.argv[1], int(sys.argv[2])
SEIZE, INTERRUPT, SYSCALL, WALL = 0x4206, 0x4207, 24, 0x40000000
WRITEV = {"x86_64": 20, "aarch64": 66}.get(os.uname().machine)
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def trace(request):
    if libc.ptrace(request, PID, None, None) < 0:
        e = ctypes.get_errno()
        print("ptrace: %s" % os.strerror(e))
        sys.exit(77)


if WRITEV is None:
    sys.exit(77)
# While it is being replaced the daemon asks again and again.
fd = os.open(os.path.join(MOUNT, "value"), os.O_WRONLY | os.O_TRUNC)
os.write(fd, b"new")
trace(SEIZE)
trace(INTERRUPT)
while True:
    if not os.WIFSTOPPED(os.waitpid(PID, WALL)[1]):
        sys.exit("the daemon has ended")
    with open("/proc/%d/syscall" % PID) as f:
        if f.read().split()[0] == str(WRITEV):
            break
    trace(SYSCALL)
os.kill(PID, signal.SIGKILL)
