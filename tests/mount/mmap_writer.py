#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mmap_writer.py FILE CONTENT: truncates FILE, maps it shared, closes it, says "mapped", waits for a
line; only then writes the second half of CONTENT into the mapping and ends."""
import mmap
import os
import sys

with open(sys.argv[2], "rb") as f:
    content = f.read()
fd = os.open(sys.argv[1], os.O_RDWR | os.O_TRUNC)
os.ftruncate(fd, len(content))
area = mmap.mmap(fd, len(content), mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
os.close(fd)
half = len(content) // 2
# No msync: to a filesystem that is an fsync, which would publish the new value.
area[:half] = content[:half]
print("mapped", flush=True)
sys.stdin.readline()
area[half:] = content[half:]
area.close()
