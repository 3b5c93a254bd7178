/* SPDX-License-Identifier: MIT */
/*
 * pool.h - the threads that serve requests which have to wait.
 *
 * The serving thread hands over the raw bytes of a request; a thread of the pool processes them
 * from the beginning and replies on its own. Commands of the virtual folder have a thread apart,
 * because they wait for the store's own threads, which may send requests to this mount: the pool
 * must stay able to answer those.
 *
 * A request that has to wait for what takes seconds is parked: it keeps no thread, and is run again
 * when fs_pool_retry() tells that it may go on, or after FS_POOL_PARK_NS.
 *
 * Limits      FS_POOL_ITEMS requests and FS_POOL_BYTES of them wait at most; then the serving
 * thread waits in fs_pool_put(). Commands are refused instead, for the reason above. Of parked ones
 * there are as many again; the next one may not park.
 */
#ifndef FS_POOL_H
#define FS_POOL_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FS_POOL_ITEMS	 64u
#define FS_POOL_BYTES	 (16u << 20)
#define FS_POOL_COMMANDS 8u
#define FS_POOL_PARK_NS	 1000000000ll
/* Requests up to this size are copied; larger ones change hands, with the buffer they are in, which
 * has room for the largest and counts as that. */
#define FS_POOL_COPY_MAX (260u << 10)
/* Large buffers kept for the serving thread's next request. */
#define FS_POOL_SPARES 4u

struct fuse_buf;
struct fs_pool; /* opaque */

/* run() is called by the threads with the bytes of one request; leave() at the end of each thread.
 * waited_ns: since it was first parked, 0: it was not; -1: it may not park. -> true: park it. */
struct fs_pool_ops {
	void *self;
	bool (*run)(void *self, struct fuse_buf *request, int64_t waited_ns);
	void (*leave)(void *self);
};

/* Starts the threads; ops is copied. */
DV_CHECK dv_err fs_pool_new(const struct fs_pool_ops *ops, unsigned threads, struct fs_pool **out);
/* Finishes everything that waits, then ends the threads. */
void fs_pool_free(struct fs_pool **pool);

/*
 * By the serving thread. request->mem may change hands: it is then another buffer or NULL. -EBUSY:
 * too many commands, nothing was taken. -ENOMEM: nothing was taken.
 */
DV_CHECK dv_err fs_pool_put(struct fs_pool *pool, struct fuse_buf *request, bool command);

/* What is parked is run again. From any thread. */
void fs_pool_retry(struct fs_pool *pool);

#endif
