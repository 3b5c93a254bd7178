/* SPDX-License-Identifier: MIT */
/*
 * verify_private.h - what the parts of verify share.
 *
 *   verify.c          opens the store, counts it, hands files to threads, tells what was found
 *   verify_walk.c     directories and names: what lies where, and should not
 *   verify_value.c    one file: read, decoded, looked at again where it changes
 *   verify_pair.c     two files of one key
 *   verify_control.c  .diskvfs: owners, leftovers, what is under way
 *   verify_repair.c   what is done about it
 *   verify_mend.c     whole frames saved, a seek table made anew
 *   verify_members.c  whole members of a damaged gzip file
 *   verify_lost.c     .diskvfs/lost/verify-N
 */
#ifndef DV_VERIFY_PRIVATE_H
#define DV_VERIFY_PRIVATE_H

#include "core/internal.h"
#include "core/key.h"
#include "core/verify.h"
#include "core/verify_frames.h"

#define DV_VERIFY_READ (O_RDONLY | O_NOFOLLOW | O_NONBLOCK)

/* A directory whose files are looked at. Shared by them, counted under verify.lock. */
struct dv_verify_dir {
	unsigned refs;
	int fd;
	char *path; /* in the store, "": its root */
	char *key;  /* of a directory of keys, in the mount */
};

/* A file that is to be looked at. */
struct dv_verify_item {
	struct dv_verify_dir *dir;
	enum dv_form form;
	char stored[DV_NAME_MAX + 1], name[DV_NAME_MAX + 1];
	char pair[DV_NAME_MAX + 1]; /* the other file of the key, which is served; "": none */
};

/* Objects with several names that were found to be good: so many are remembered. */
#define DV_VERIFY_SEEN 65536u

struct dv_verify_lost;

struct dv_verify {
	struct dv_store *s;
	const struct dv_verify_options *options;
	const struct dv_verify_ops *ops;
	struct dv_transform *flat;   /* our spelling without directories; NULL: of no use here */
	struct dv_verify_lost *lost; /* NULL: nothing was moved there yet; mending */
	pthread_mutex_t wide;	     /* one large window at a time */
	pthread_mutex_t mending;     /* one repair at a time; above lock */

	pthread_mutex_t lock; /* a leaf, but that ops are called under it */
	struct dv_verify_result *r;
	uint64_t seen[DV_VERIFY_SEEN]; /* a mark of each, where its number says */

	struct dv_scan *scan; /* of the walking thread, where it is the only one */
	/* files for the threads; lock */
	struct dv_verify_item **queue;
	size_t queued, queue_max, queue_at;
	bool ending;
	pthread_cond_t changed;
	unsigned threads;
	pthread_t ids[DV_VERIFY_JOBS_MAX];
	dv_err failed; /* the first error that ends the work */
};

/* ---- verify.c ---- */

/* Tells of one. file: stored in dir; stored NULL: the directory itself. done: NULL, or what repair did;
 * class says which. */
struct dv_verify_at {
	struct dv_verify_dir *dir;
	const char *stored;
	const char *name; /* of the key, in dir's; NULL: none */
};
void dv_verify_tell(struct dv_verify *v, const struct dv_verify_at *at, enum dv_finding_kind kind,
		    enum dv_finding_class class, const char *detail, const char *done);
void dv_verify_progress(struct dv_verify *v, uint64_t files, uint64_t bytes);
/* Looks at it now, or by a thread. Takes item. */
void dv_verify_push(struct dv_verify *v, struct dv_verify_item *item);
/* "A/B" on the heap, B alone where A is empty; NULL: no memory. */
char *dv_verify_join(const char *a, const char *b);
struct dv_verify_dir *dv_verify_dir_ref(struct dv_verify *v, struct dv_verify_dir *d);
void dv_verify_dir_unref(struct dv_verify *v, struct dv_verify_dir *d);

/* ---- verify_walk.c ---- */

DV_CHECK dv_err dv_verify_walk(struct dv_verify *v);
/* Counts what the walk will look at. */
DV_CHECK dv_err dv_verify_count(struct dv_verify *v, uint64_t *files, uint64_t *bytes);

/* ---- verify_value.c ---- */

/* What is wrong with one file, until it is known to have stayed as it was meanwhile. */
#define DV_FAULTS_MAX 8u
struct dv_faults {
	unsigned count; /* of at[]; more were found */
	uint64_t more;
	struct {
		enum dv_finding_kind kind;
		char detail[256];
	} at[DV_FAULTS_MAX];
};
void dv_faults_add(struct dv_faults *f, enum dv_finding_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

struct dv_look {
	struct dv_scan *scan; /* borrowed */
	int fd;		      /* of the file, borrowed */
	struct dv_stat st;    /* as it was when it was opened */
	struct dv_faults faults;
	struct dv_scan_result found; /* of one that is packed in our layout */
	bool ours;		     /* has a tag that is not a copy's */
	uint64_t plain;
};

/* All of a packed file that is looked at; of gzip its whole members, of zlib nothing. */
DV_CHECK dv_err dv_verify_scan(struct dv_verify *v, const struct dv_look *look,
			       const struct dv_scan_ops *ops, struct dv_scan_result *out);

void dv_verify_file(struct dv_verify *v, struct dv_scan *scan, struct dv_verify_item *item);
/* Opens it, once. -> descriptor; *st is its state. -ESTALE: no regular file, or gone. */
DV_CHECK int dv_verify_open(struct dv_verify *v, const struct dv_verify_item *item,
			    struct dv_stat *st);
/* Is what has the name still in the state st? */
bool dv_verify_is_same(struct dv_verify *v, const struct dv_verify_item *item, const char *stored,
		       const struct dv_stat *st);

/* ---- verify_pair.c ---- */

/* item has a pair. -EAGAIN: it is changing. */
DV_CHECK dv_err dv_verify_pair(struct dv_verify *v, struct dv_verify_item *item,
			       struct dv_look *look);

/* ---- verify_control.c ---- */

DV_CHECK dv_err dv_verify_control(struct dv_verify *v);
enum dv_under_way {
	DV_WAY_NONE,
	DV_WAY_ALIVE, /* its owner is at it */
	DV_WAY_DEAD,  /* the next mount goes on with it */
};
/* Do open records say that the file is being written in place, or, with raw, that packed and raw are
 * both there for a while? Where an owner lives and the two are young, they are taken to be. key: in
 * the mount. */
enum dv_under_way dv_verify_under_way(struct dv_verify *v, const char *key,
				      const struct dv_stat *packed, const struct dv_stat *raw);
/* Who else has the store open, for people; false: nobody. */
bool dv_verify_others(struct dv_verify *v, char *who, size_t size);

/* ---- verify_repair.c ---- */

/* Each does what it can, and tells the finding. */
void dv_repair_value(struct dv_verify *v, struct dv_verify_item *item, const struct dv_look *look);
/* raw: the other one, which is served. */
void dv_repair_twin(struct dv_verify *v, struct dv_verify_item *item, const struct dv_look *look,
		    const struct dv_look *raw, const char *detail);
/* name: its key, which lies elsewhere. */
void dv_repair_misplaced(struct dv_verify *v, const struct dv_verify_at *at, enum dv_form form,
			 const char *detail);
void dv_repair_leftover(struct dv_verify *v, const struct dv_verify_at *at, const char *detail);
void dv_verify_lost_free(struct dv_verify *v);

#endif
