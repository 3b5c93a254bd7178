/* SPDX-License-Identifier: MIT */
/*
 * session.h - one mount: libfuse's session, the loop, and how requests are handed to threads.
 *
 * One thread serves. It reads a request and runs its handler with dv_call.nowait set. Where the
 * store answers -EAGAIN the request is deferred: the handler ends it without a reply, and the loop
 * gives the raw bytes to the pool, where a thread runs the same handler once more, now allowed to
 * wait. So handlers have one code path and copy no arguments. What would wait for seconds there
 * (for space, for a large value that is being unpacked) is parked: it keeps its bytes, but no
 * thread. Requests that are known to wait (fsync) go to the pool at once, and so do for SLOW_FOR_NS
 * all requests of a class that takes longer than SLOW_NS in the serving thread, on the average.
 *
 *      read -> serve -> handler(nowait) -> reply
 *                  \         | -EAGAIN: fuse_reply_none()
 *                   \        v
 *                    +----> pool -> handler(may wait) -> reply
 *
 * Why running a request twice is sound in libfuse: fuse_session_process_buf() makes a new request
 * object from the bytes each time; fuse_reply_none() takes the first off the session's list and
 * frees it; nothing was written to the device. The only change libfuse makes to the bytes
 * (SETATTR's "valid" loses the file handle bit) is without meaning here. INIT, FORGET and DESTROY
 * change the session and never defer.
 *
 * INTERRUPT never reaches libfuse: it asks for a reply that is on its way, and the kernel does not
 * wait for an answer to it. Only a command (`diskvfs pack`) may take long; its writer is let go
 * with EINTR while the work goes on, and the later reply is one that the kernel has no use for.
 *
 * A request's node stays known while the request is pending, since the kernel holds the inode: a
 * FORGET that overtakes a deferred request is never about its node.
 */
#ifndef FS_SESSION_H
#define FS_SESSION_H

#include "core/error.h"
#include "core/store.h"
#include "fs/control.h"
#include "fs/node.h"
#include "fs/options.h"
#include "fs/pool.h"
#include "fs/stats.h"

#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The largest READ, WRITE, READDIR of the kernel: bounds every buffer. */
#define FS_MESSAGE_MAX (1u << 20)

/* Longer than any call waits for space. */
#define FS_WAITED_ENOUGH_NS INT64_MAX

/* Commands that wait or are at work, and a few that are done. */
#define FS_COMMANDS_KNOWN (2 * FS_POOL_COMMANDS)

/* Classes of requests that are slow together. */
enum fs_class {
	FS_CLASS_NONE, /* runs in the serving thread, always */
	FS_CLASS_ATTR, /* looks at names and attributes */
	FS_CLASS_NAME, /* changes names and attributes */
	FS_CLASS_READ,
	FS_CLASS_WRITE,
	FS_CLASS_LIST,
	FS_CLASS_BLOCKING, /* goes to the pool, always */
	FS_CLASS_COMMAND,  /* goes to the thread for commands, always */
	FS_CLASSES
};

struct fs_session {
	const struct fs_options *options;
	struct dv_store *store;
	const char *mountpoint; /* absolute */
	struct fs_steward *steward;
	struct fuse_session *se;
	struct fs_nodes *nodes;
	struct fs_pool *pool;
	struct fs_evict *evict;
	struct fs_probe *probe;
	struct fs_expire *expire; /* NULL: values stay */
	struct fs_control control;
	struct fs_stats stats;
	double timeout_s;    /* of entries and attributes */
	uint32_t generation; /* of node ids: file handles of other mounts mean nothing here */

	/* Called once, by the serving thread, when the mount answers requests. */
	void (*ready)(struct fs_session *fs);

	unsigned dev_major, dev_minor; /* of the mount; constant once serving */
	atomic_bool serving;	       /* INIT is through */
	atomic_bool ending;	       /* no probes any more */
	atomic_int probes;	       /* in progress, see probe.c */
	atomic_llong probe_again_ns;   /* none before, of the monotonic clock */
	atomic_int notices;	       /* in progress, see fs_notify_changed() */
	atomic_int retries;	       /* in progress, see fs_session_retry() */
	atomic_bool unmounted;	       /* taken out of the tree by us, perhaps lazily */

	/* Of the serving thread alone. */
	uint64_t init_unique; /* of the INIT whose reply is to be patched, else 0 */
	uint32_t init_offered;
	int64_t average_ns[FS_CLASSES], slow_until_ns[FS_CLASSES];
	uint64_t commands[FS_COMMANDS_KNOWN]; /* uniques of the last ones, whether done or not */
	unsigned next_command;
	bool spins;	 /* constant: there is more than one processor */
	unsigned lonely; /* requests in a row that came late, see io_read() */
};

/* The request that a thread is at work on. */
struct fs_turn {
	const struct fuse_in_header *in; /* raw; valid during the handler */
	bool may_wait;
	bool deferred;	   /* set by the reply functions: run it again in the pool */
	bool refuse;	   /* a command for which there is no room */
	bool parks;	   /* in the pool: it need not keep the thread for seconds */
	bool parked;	   /* set by the reply functions: run it again later */
	int64_t waited_ns; /* since it was first parked */
	char *buffer;	   /* FS_MESSAGE_MAX bytes, made at first use */
};
extern _Thread_local struct fs_turn fs_turn;

/* The thread's buffer of FS_MESSAGE_MAX bytes, NULL: out of memory. */
char *fs_turn_buffer(void);
/* Before a thread ends. */
void fs_turn_release(void);

/*
 * Makes the session and mounts it; whoever uses the mount waits. The caller sets options, mountpoint,
 * steward, timeout_s and ready before. why[] gets one sentence.
 */
DV_CHECK dv_err fs_session_mount(struct fs_session *fs, char *why, size_t why_size);
/* After that, and after the caller has set store: starts the threads. why[] as above. */
DV_CHECK dv_err fs_session_open(struct fs_session *fs, char *why, size_t why_size);

/* Serves until the mount is gone or fs_session_stop(). -> 0 or the error of the device. */
DV_CHECK dv_err fs_session_loop(struct fs_session *fs);

/* The store's hook: what is parked may go on. self: the session, until it is closed. */
void fs_session_retry(void *self);

/* From any thread: the loop ends after the request in work; it must be woken by a signal. */
void fs_session_stop(struct fs_session *fs);

/* Finishes deferred requests, ends the threads, unmounts if that was not done, gives all nodes
 * back. */
void fs_session_close(struct fs_session *fs);

#endif
