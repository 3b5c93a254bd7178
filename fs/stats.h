/* SPDX-License-Identifier: MIT */
/*
 * stats.h - counts of messages by opcode, and the JSON text of MOUNTPOINT/.diskvfs/stats.
 *
 * A message is a request of the kernel that the daemon answers. Requests without a reply or outside
 * any operation of a program (INIT, DESTROY, FORGET, BATCH_FORGET, INTERRUPT) are counted by opcode
 * but not in messages_total. Messages that the daemon causes itself (its probes, told by thread id)
 * and those for the virtual folder are counted apart as own_messages, so that looking at the
 * counters does not move them.
 *
 * The counters are relaxed atomics: each is right, a snapshot of several is not of one instant.
 */
#ifndef FS_STATS_H
#define FS_STATS_H

#include "core/store.h"
#include "fs/node.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FS_OPCODES     64  /* FUSE numbers its opcodes from 1 to 52 today; 0 counts the others */
#define FS_OWN_THREADS 128 /* threads of ours that may touch the mount: pool, probes, control */

struct fs_stats {
	const char *store_path; /* borrowed, absolute */
	_Atomic uint64_t messages[FS_OPCODES];
	_Atomic uint64_t own[FS_OPCODES];
	_Atomic uint64_t deferred;		 /* handed to the pool */
	_Atomic uint64_t pruned;		 /* nodes that the kernel was asked to drop */
	_Atomic int own_threads[FS_OWN_THREADS]; /* thread ids, 0: free */
};

void fs_stats_count(struct fs_stats *stats, uint32_t opcode, bool own);
/* Marks the calling thread as one of the daemon that may send requests to its own mount. */
void fs_stats_own_thread(struct fs_stats *stats);
bool fs_stats_is_own(const struct fs_stats *stats, uint32_t tid);

/* "LOOKUP"; "OTHER" where the opcode has no name. */
const char *fs_opcode_name(uint32_t opcode);

/* Writes the JSON text padded with spaces to exactly size bytes, the last a newline. */
void fs_stats_render(struct fs_stats *stats, struct dv_store *store,
		     const struct fs_nodes_numbers *nodes, char *buf, size_t size);

#endif
