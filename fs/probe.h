/* SPDX-License-Identifier: MIT */
/*
 * probe.h - does a process hold a node open for writing?
 *
 * No OPEN and RELEASE reach the daemon, so it asks the kernel: it opens the file in its own mount
 * for reading and tries to take a read lease, which is refused exactly while a writing descriptor
 * or a shared writable mapping exists. The descriptor is held for the probe alone, since an open
 * one makes umount(2) fail. The open may send a request to this very mount: never call it from the
 * serving thread or with a lock held. A thread of its own does it (probe.c tells why).
 */
#ifndef FS_PROBE_H
#define FS_PROBE_H

#include "core/store.h"

#define FS_PROBE_PAUSE_NS 2000000000ll

struct fs_session;
struct fs_probe; /* opaque */

DV_CHECK dv_err fs_probe_new(struct fs_session *fs, struct fs_probe **out);
/* Nobody asks any more. */
void fs_probe_free(struct fs_probe **probe);

/* dv_store_hooks.has_writer; self is the struct fs_session. 1 yes, 0 no, -errno: can not tell. */
int fs_probe_has_writer(void *self, struct dv_node *node);

/* For FS_PROBE_PAUSE_NS each node is said to have a writer, so that the mount can be unmounted: a
 * probe on a busy machine may hold its descriptor for seconds. Waits for those in progress. */
void fs_probe_pause(struct fs_session *fs);

#endif
