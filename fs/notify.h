/* SPDX-License-Identifier: MIT */
/*
 * notify.h - tells the kernel that cached pages and attributes of a node are no longer right.
 *
 * A thread of its own does it: the notification waits for page locks that a pending READ or WRITE
 * holds, so a thread that serves requests would wait for itself. The queue is bounded; what does
 * not fit is dropped, and the kernel then finds out at the end of the attribute timeout
 * (AUTO_INVAL_DATA).
 */
#ifndef FS_NOTIFY_H
#define FS_NOTIFY_H

#include "core/error.h"

#include <stdint.h>

#define FS_NOTIFY_MAX 256u

struct fuse_session;
struct fs_notify; /* opaque */

DV_CHECK dv_err fs_notify_new(struct fuse_session *se, struct fs_notify **out);
void fs_notify_free(struct fs_notify **notify);

/* From any thread, never waits. From byte off on, everything that is cached of node id is stale. */
void fs_notify_inval(struct fs_notify *notify, uint64_t id, uint64_t off);

/*
 * dv_store_hooks.changed; self is the struct fs_session: the attributes (not the bytes) of node are
 * stale. Done at once, from any thread: without pages to drop the kernel waits for nothing.
 */
struct dv_node;
void fs_notify_changed(void *self, struct dv_node *node);

#endif
