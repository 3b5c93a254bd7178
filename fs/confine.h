/* SPDX-License-Identifier: MIT */
/*
 * confine.h - the daemon gives up what it does not need, before it reads a byte of the store.
 *
 * Whoever may write to the store, or to the mount, decides what the daemon reads. Should that ever
 * make it do what it was not written for, this bounds the damage: to the store, to reading what the
 * mount holds, to memory and time.
 *
 *   what               kept by root                       gone
 *   capabilities       those of KEPT (confine.c), each    all others
 *                      with the calls that need it
 *   no_new_privs                                          set-user-id programs, file capabilities
 *   Landlock           the store; reading the mount,      every other file: opening, making,
 *                      /proc, machine, zone, processors;     removing, renaming; TCP; abstract sockets
 *                      /dev/null, the mount's read-ahead  and signals of other processes
 *   seccomp            all that is not denied             programs, mounts, namespaces, tracing,
 *                                                         modules, bpf, keys, io_uring, clocks, all
 *                                                         sockets but local ones: EPERM
 *
 * Of a user's daemon the same, but that it has no capabilities from the start. Landlock does not
 * restrict calls that work on a descriptor, nor what changes attributes by a name (chmod, chown,
 * utimes, xattrs): names are resolved beneath the store by backing.h.
 *
 * A kernel without one of the four goes without it; a line at debug level tells. The steward
 * (steward.h) does what is still needed of the rest.
 */
#ifndef FS_CONFINE_H
#define FS_CONFINE_H

#include <stdbool.h>

struct fs_confines {
	const char *store, *mountpoint; /* absolute; mounted already */
	bool read_only;			/* nothing of the store is written */
	unsigned dev_major, dev_minor;	/* of the mount */
};

/* Of the calling thread and those that it will start: there are no others yet. Logs, never fails. */
void fs_confine(const struct fs_confines *c);

#endif
