/* SPDX-License-Identifier: MIT */
/*
 * evict.h - asks the kernel to let go of nodes, so that memory stays bounded (option max_nodes).
 *
 * The kernel keeps an inode, and with it our node, as long as it has memory to spare. Where it
 * comes near max_nodes a thread names those that were looked up longest ago; the kernel drops what
 * nobody uses and tells with FORGET. Past max_nodes each new node costs the serving thread a short
 * sleep, so that the other one keeps up.
 *
 * A kernel that does not know how to prune (before 6.18) is told that their names are not valid
 * any more. A file that is open stays as it is, and is found again by its name. Directories are
 * left alone then: a working directory without its name is a deleted one to getcwd(3).
 */
#ifndef FS_EVICT_H
#define FS_EVICT_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

struct fs_session;
struct fs_evict; /* opaque */

/* max: number of nodes. */
DV_CHECK dv_err fs_evict_new(struct fs_session *fs, uint64_t max, struct fs_evict **out);
void fs_evict_free(struct fs_evict **evict);

/* Nodes may have been entered: the thread is woken where there are too many. By the serving thread,
 * after a reply; sleeps PAUSE_MAX_NS at most. NULL is allowed. */
void fs_evict_check(struct fs_evict *evict);

/* There are too many: who can do without entering a node does. From any thread. NULL is allowed. */
bool fs_evict_is_full(struct fs_evict *evict);

#endif
