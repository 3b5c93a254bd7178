/* SPDX-License-Identifier: MIT */
/*
 * internal.h - the store's own state, shared by the modules of layers 3 and 4.
 *
 * Who writes what: each group names its lock and the module it belongs to.
 */
#ifndef DV_INTERNAL_H
#define DV_INTERNAL_H

#include "core/budget.h"
#include "core/cache.h"
#include "core/config.h"
#include "core/node.h"
#include "core/pool.h"
#include "core/store.h"

#include <pthread.h>
#include <string.h>

struct dv_foreign;
struct dv_journal;
struct dv_tail_batch;
struct dv_loose;
struct dv_twins;

/* When values are streamed and appended to, see stage.h. Tests make them small. */
struct dv_limits {
	uint64_t stream_bytes;	/* written in sequence: from here on frames are made */
	uint64_t append_bytes;	/* a packed value larger than this is appended to, not unpacked */
	uint64_t segment_bytes; /* of a tail's segment, about */
	uint64_t frames_max;	/* of a packed value; one that would have more is raw */
};

/* A thread that makes frames, stage_worker.c. */
struct dv_worker {
	pthread_mutex_t lock; /* a leaf */
	pthread_cond_t cond;
	pthread_t thread;
	struct dv_node *offered; /* a reference */
	bool running;		 /* constant while the store is open */
	bool ending;
};

struct dv_store {
	struct dv_backing b;
	struct dv_store_options options; /* strings not kept */
	struct dv_limits limits;	 /* constant after opening */
	atomic_ullong tails;		 /* counts tails (tail.h) */
	struct dv_tail_batch *frames;	 /* frames_lock; room for one, NULL: none yet */
	struct dv_worker worker;
	pthread_mutex_t frames_lock; /* one batch of a tail's frames at a time; before the gates */
	struct dv_config config;
	struct dv_coding coding; /* the layout; constant after opening */
	void *dict;		 /* its dictionary, owned; NULL: none */
	struct dv_transform *transform;
	char *nopack;		 /* the mount's, beside the store's own; NULL: none */
	struct dv_fsinfo fsinfo; /* as at open: type, block size, network */
	struct dv_cache *cache;
	struct dv_foreign *foreign; /* decoders that stay where they are */
	struct dv_twins *twins;	    /* those that were told of */
	struct dv_pool *pool;	    /* decodes */
	struct dv_budget decoding;  /* of large frames, stored and plain */
	struct dv_pool *pack_pool;  /* encodes, in the background */
	struct dv_journal *journal; /* NULL: read only */
	struct dv_loose *loose;	    /* NULL: the same */
	struct dv_node *root;
	int rootfd;
	uid_t self_uid; /* the daemon's own */
	gid_t self_gid;
	bool has_xattrs; /* user.* attributes can be kept */
	bool has_acls;
	char boot_id[64];	/* of the kernel's run: tells kill -9 from a power cut */
	char host_id[256];	/* of the machine */
	char owner_folder[64];	/* journal.c: this process's in .diskvfs/stage; "": none */
	int owner_fd, stage_fd; /* journal.c: its owner file, the stage folder; -1: none */

	/* owner.c */
	uint64_t left_pending;	   /* constant: as in dv_store_stats */
	atomic_bool fenced;	   /* taken for dead by another host */
	bool beating, beat_ending; /* beat_lock */
	atomic_llong beat_at_ms;
	pthread_t beater;
	pthread_mutex_t beat_lock;
	pthread_cond_t beat_cond;

	char *mountpoint;    /* NULL: none */
	atomic_int put_off;  /* why a commit could not be made, the last one; 0: none since it was
				asked for */
	atomic_ullong swaps; /* counts swaps of forms, so that a search by name can tell that it
				raced with one */

	pthread_mutex_t names_lock; /* node.c */
	struct dv_table names;	    /* of dv_link.by_name */
	struct dv_table objects;    /* of dv_node.by_object */
	uint64_t moves;		    /* counts names that were moved */
	atomic_ullong node_count;

	pthread_mutex_t files_lock;		     /* node.c */
	struct dv_file *files;			     /* utlist, recently used first */
	unsigned file_count, pinned_count, file_max; /* count: of the list */

	pthread_mutex_t facts_lock; /* value.c */
	pthread_mutex_t bulk_lock;  /* one decoder at a time that goes over a whole foreign file:
				       each takes a window of memory; under the gates */

	pthread_mutex_t queue_lock; /* keeper.c */
	pthread_cond_t queue_cond;
	struct dv_node *queue;
	uint64_t queue_len;
	bool keeper_running, keeper_ending;
	void (*leftovers)(
		struct dv_store *s); /* when settled, once for each time that `adopted` was set:
						  packs what an owner that died has left raw */
	/* Finishes what owners have left that died meanwhile; without gates. NULL: nobody does. true: another
	 * thread is at it, which may take long. */
	bool (*inherit)(struct dv_store *s);
	pthread_mutex_t inherit_lock; /* one at a time; above all other locks */
	pthread_mutex_t help_lock;    /* one caller at a time commits others' stages (files.c) */
	_Atomic uint64_t dead_left;   /* those whose work could not be finished (owner.h) */
	atomic_bool adopted; /* work of such an owner has been finished, since it was last asked */
	int64_t keeper_wake_ns; /* when the keeper looks again by itself */
	pthread_t keeper;
	atomic_int keeper_tid;	    /* 0: it does not run yet */
	pthread_mutex_t round_lock; /* one round of the keeper at a time: what it took out of the
				       queue is in nobody's count */
	pthread_mutex_t
		batch_lock; /* one batch of packing at a time; after round_lock, before the gates */

	struct {				    /* space.c */
		pthread_mutex_t lock;		    /* short */
		pthread_cond_t cond;		    /* an edit or a round has ended */
		const struct dv_node *unpacking[2]; /* large values that are (edit.c) */
		atomic_bool wanted;		    /* a caller waits for a round */
		uint64_t rounds;		    /* that have ended */
		atomic_llong
			stuck_until_ns; /* the last one gained nothing: until then it is believed */
		void (*round)(struct dv_store *s); /* makes room; constant, NULL: nothing can */
		atomic_llong grace; /* bytes that may be written before free space is looked
					      at again */
		atomic_ullong backlog, backlog_max; /* raw bytes written and not looked at by the
						       keeper yet; so many make it hurry */
		atomic_ullong rests;   /* bytes that have come to rest, as they are stored */
		atomic_bool pressed;   /* it is to hurry */
		atomic_llong hurry_ns; /* not before then */
	} space;

	struct dv_store_hooks hooks; /* hooks_lock */
	pthread_mutex_t hooks_lock;

	pthread_mutex_t list_locks[16]; /* list.c: one reader of a directory descriptor at a time */

	struct { /* relaxed counters */
		atomic_ullong frames_decoded, frames_encoded, bytes_read, bytes_written;
		atomic_ullong pieces_decoded;
		atomic_ullong packed, unpacked, replaced, pack_refused;
		atomic_ullong streamed, copied, appended, joined;
		atomic_ullong errors_corrupt, errors_io, errors_space, errors_other;
		atomic_ullong recovered, put_aside, pending;
	} counters;
};

#define dv_count(s, name, n)                                                                       \
	atomic_fetch_add_explicit(&(s)->counters.name, (n), memory_order_relaxed)

/* Calls of the backing. */
#define DV_B(s, op, ...) ((s)->b.ops->op((s)->b.self, ##__VA_ARGS__))

int64_t dv_now_ns(void); /* monotonic */

/* Is a listing of dir under way? NULL: no. */
static inline bool dv_node_is_listed(struct dv_node *dir)
{
	return dir && atomic_load(&dir->listed_until_ns) > dv_now_ns();
}

/* The calling thread makes files as the daemon again, and not as its last caller. */
static inline void dv_act_as_self(struct dv_store *s)
{
	DV_B(s, act_as, s->self_uid, s->self_gid);
}

static inline struct dv_ident dv_ident_of(const struct dv_stat *st)
{
	return (struct dv_ident){.dev = st->dev, .ino = st->ino, .btime_ns = dv_time_ns(st->btime)};
}

/* Is time at most so far from now? One far to come is of a clock that was set back since. */
static inline bool dv_is_within(struct timespec time, int64_t seconds)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	int64_t age = (int64_t)now.tv_sec - time.tv_sec;
	return (age < 0 ? -age : age) <= seconds;
}

static inline struct dv_version dv_version_of(const struct dv_stat *st)
{
	return (struct dv_version){.size = st->size,
				   .mtime_ns = dv_time_ns(st->mtime),
				   .ctime_ns = dv_time_ns(st->ctime)};
}

/* Memory that the layout of one value may take; a value that needs more stays raw. 2 million
 * frames: 256 GiB in frames of 128 KiB. It does not depend on the mount's options, so that what one
 * mount packs every other can read. */
#define DV_LAYOUT_BYTES_MAX  (32u << 20)
#define DV_LAYOUT_FRAMES_MAX (DV_LAYOUT_BYTES_MAX / 16)

/* Memory of frames that are being decoded, stored and plain, all threads together. Smaller frames
 * do not count: they are DV_DECODE_BYTES_FROM for each thread. */
#define DV_DECODE_BYTES_MAX  (24u << 20)
#define DV_DECODE_BYTES_FROM (512u << 10)

/* Quiet time before packing doubles with each unpacking, up to a day. */
#define DV_SETTLE_MAX_MS 86400000ll
#define DV_UNPACKS_MAX	 30 /* counted so far: a millisecond is a day by then */

#define DV_CONTROL_DIR ".diskvfs"

/* No path of a mount leads to a key of this name: at the top the mount has its own files. Others may have
 * put a file of the store where it would be. */
static inline bool dv_name_is_unreachable(const char *name, bool top)
{
	return !strcmp(name, ".") || !strcmp(name, "..") || (top && !strcmp(name, DV_CONTROL_DIR));
}

#endif
