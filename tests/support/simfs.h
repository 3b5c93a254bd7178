/* SPDX-License-Identifier: MIT */
/*
 * simfs.h - a filesystem in memory behind the table of core/backing.h, for fault and crash tests.
 *
 * It answers as Linux does, errno by errno (tests/unit/test_backing.c runs one set of claims over
 * it and over the kernel), and keeps two states: what programs see, and what the disk is sure to
 * hold.
 *
 *   struct simfs *fs = simfs_new();
 *   struct dv_backing b = simfs_backing(fs);       root: b.ops->open_root(b.self, "/")
 *   simfs_power_cut_at(fs, n);                     ... use b until everything returns -EIO
 *   struct simfs *disk = simfs_after_cut(fs, seed);        mount again on simfs_backing(disk)
 *   simfs_free(fs); simfs_free(disk);
 *
 * Durability is the strict model of POSIX, weaker than any real filesystem that is configured
 * sanely:
 *
 *   D1  fsync(file) makes data, size, mode, owner, times and xattrs durable, but not its name.
 *   D2  fdatasync(file) makes data and size durable, nothing else.
 *   D3  fsync or fdatasync of a directory makes all changes of its names durable, and its
 *       attributes; not its own name in its parent.
 *   D4  A rename is one step: both names or none. It is durable when either directory is synced.
 *   D5  Of what is not durable any part may survive: each change of a name by itself, except that
 *       changes of one name survive in order (a later one never without the earlier), that a
 *       change inside a directory that was moved to another parent never survives without that
 *       move, and that a name of a file with a reused inode number never survives without the
 *       removal of the old file; file data by blocks of 4 KiB: new, old, zero or torn at 512
 *       bytes; sizes; attributes; each xattr.
 *   D6  A durable name whose file was never synced is a file as it was created: empty, with the
 *       mode and owner of its creation. A file without a surviving name is gone.
 *   D7  syncfs does all of this for everything.
 *
 * Times come from a clock of its own, which steps by 1 ns with every change. A freed inode number
 * is given to the next new file, as ext4 does. Reads do not move atime. There are no permission
 * checks (everybody is root), no mounts, no special files that open, and POSIX ACLs are plain
 * xattrs.
 *
 * Descriptors are numbers from 2^20 on that are never used twice, so a use after close is always
 * -EBADF and is counted. Another process is just another set of descriptors.
 *
 * Threads: everything may be called from any thread; one mutex serialises. A flock without LOCK_NB,
 * and an open for writing (without O_NONBLOCK) of a file under a lease, wait; both give up after
 * five seconds: flock aborts the test, the lease is broken by force, as the kernel does.
 */
#ifndef SIMFS_H
#define SIMFS_H

#include "core/backing.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct simfs;

/* An empty filesystem: a durable root directory of mode 0755. Aborts where memory is short. */
struct simfs *simfs_new(void);
/* Open descriptors go with it. NULL is allowed. */
void simfs_free(struct simfs *fs);
/* The table; self borrows fs. open_root resolves a path from the root ("/" or "." is the root). */
struct dv_backing simfs_backing(struct simfs *fs);

/* ---- counting ---- */

/* Calls so far of the functions that can fail: all but close, advise and act_as. */
unsigned long simfs_calls(struct simfs *fs);
/*
 * Mutating calls so far: open with O_CREAT or O_TRUNC, pwrite, truncate, fallocate, copy_range,
 * fsync, fdatasync, syncfs, mkdir, mknod, symlink, link, link_fd, unlink, rmdir, rename, chmod,
 * chown, utimens, setxattr, removexattr. Those that fail count too.
 */
unsigned long simfs_changes(struct simfs *fs);
/* Calls so far of fsync, fdatasync and syncfs. */
unsigned long simfs_fsync_calls(struct simfs *fs);
/* Descriptors open now, for leak checks. */
size_t simfs_open_fds(struct simfs *fs);
/* Calls so far, close included, with a descriptor that was not open: bugs of the caller. */
unsigned long simfs_bad_fds(struct simfs *fs);

/* Runs before each call that is counted, in the thread that makes it; it may make calls itself, which
 * come to it too. op: the function's name. Set while no other thread makes calls. NULL: none. */
void simfs_set_before_call(struct simfs *fs, void (*before_call)(const char *op));

/* ---- failing calls ---- */

/*
 * The n-th call from now (1 is the next) that simfs_fail_op lets count returns -error and has no
 * effect; with for_good every counted call after it fails as well. error is a positive errno.
 * n = 0 disarms. Loop for tests: n = 1, 2, ... until a run ends with simfs_failed() false.
 */
void simfs_fail_nth(struct simfs *fs, unsigned long n, int error, bool for_good);
/* Counts for simfs_fail_nth only these functions: names of the table, comma separated
 * ("pwrite,fsync"). NULL: all. Borrows ops until the next call. Keeps the count. */
void simfs_fail_op(struct simfs *fs, const char *ops);
/* With on, a pwrite, pread or copy_range that simfs_fail_nth picks does half of its work (at least
 * one byte) and returns that count instead of failing. */
void simfs_fail_short(struct simfs *fs, bool on);
/* Whether simfs_fail_nth has hit since it was armed. */
bool simfs_failed(struct simfs *fs);
/* pread_nowait says -EAGAIN while on. */
void simfs_set_cold(struct simfs *fs, bool on);
/* Blocks of 4 KiB of file data that may still be allocated before -ENOSPC. Default: 1 TiB. */
void simfs_set_free_blocks(struct simfs *fs, uint64_t blocks);
/* What fsinfo says. Default: ext4's magic, not network. */
void simfs_set_type(struct simfs *fs, uint64_t f_type, bool network);

/* Changes of names reach the disk in the order in which they were made, as on filesystems with a
 * journal (ext4, xfs, btrfs): instead of D5, and D3 makes all earlier ones durable. Default: off.
 */
void simfs_set_ordered(struct simfs *fs, bool on);

/* ---- time ---- */

/* The clock's step per change, 1 by default; 0: changes share one time, as with coarse clocks. */
void simfs_set_clock_step(struct simfs *fs, uint64_t step_ns);
void simfs_advance_clock(struct simfs *fs, uint64_t ns);

/* ---- crashing ---- */

/* From the n-th mutating call from now (1 is the next; it has no effect) on every call but close
 * returns -EIO: the process is as good as dead. n = 0 disarms. */
void simfs_power_cut_at(struct simfs *fs, unsigned long n);
/* Whether the cut has come. */
bool simfs_is_cut(struct simfs *fs);
/*
 * A new filesystem: what the disk may hold after the power goes now, all of it durable, without
 * descriptors, locks and leases. fs is not changed, so many seeds can be tried on one cut.
 *   seed 0  everything that is not durable is lost
 *   seed 1  everything is kept
 *   other   a choice by D5, the same for the same seed
 * Nothing armed on fs is armed on the new one.
 */
struct simfs *simfs_after_cut(struct simfs *fs, uint64_t seed);
/* A new filesystem after kill -9 of every process: the same files, durable or not as before,
 * without descriptors, locks and leases. fs is not changed. */
struct simfs *simfs_after_kill(struct simfs *fs);

/* Mutation: the n-th fsync, fdatasync or syncfs from now (1 is the next) does nothing and returns
 * 0, to prove that the tests notice. n = 0 disarms. */
void simfs_ignore_fsync(struct simfs *fs, unsigned long n);
/* Mutation: the n-th rename from now that succeeds is two steps, of which the disk may keep one. n
 * = 0 disarms. */
void simfs_tear_rename(struct simfs *fs, unsigned long n);

/* ---- looking ---- */

/*
 * One line for each path, sorted: type letter, mode in octal, size, FNV-1a hash of the data (or of
 * a link's target), path; for directories size and hash are 0. Odd bytes of names appear as \xNN.
 */
void simfs_dump(struct simfs *fs, FILE *out);

#endif
