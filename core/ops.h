/* SPDX-License-Identifier: MIT */
/*
 * ops.h - what the operations of layer 4 (lookup, names, files, attributes) share.
 */
#ifndef DV_OPS_H
#define DV_OPS_H

#include "core/internal.h"
#include "core/place.h"
#include "core/stage.h"

/* An operation that meets another object than its node's looks again this often: others may replace
 * a name all the time. */
#define DV_TRIES    100
#define DV_PATIENCE 100 /* the same, for what may have to be waited for */
/* What another mount or a program has locked is waited for so long; here, with a thread, so many steps
 * of it at a time. */
#define DV_WAIT_MS	10000
#define DV_WAIT_STEP_MS 10
/* A mount that packs the value comes to its end, however little of the processor it gets; what it has made
 * is not taken from it. */
#define DV_WAIT_PACKER_MS 120000
#define DV_WAITS_HERE	  20u

/* Looks up without giving attributes. */
DV_CHECK dv_err dv_find(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
			const char *name, struct dv_node **out);

/* Is anything under way on n: stage, packing, a superseded form? Gate at least shared. */
bool dv_is_busy(const struct dv_node *n);
/* Brings n to rest: its stage committed, one form left. nowait: -EAGAIN if there is anything to do.
 * Takes the gates. */
DV_CHECK dv_err dv_bring_to_rest(struct dv_store *s, struct dv_node *n, bool nowait);
/* Brings n to rest in the raw form. Takes the gates. */
DV_CHECK dv_err dv_make_raw(struct dv_store *s, struct dv_node *n, bool nowait);
/* The same, but while n's directory is listed the packed form stays beside the raw one, since the
 * listing may have passed where the raw one's name came: the keeper takes it away afterwards. */
DV_CHECK dv_err dv_unpack_value(struct dv_store *s, struct dv_node *n);

/*
 * A value has the name of a shard directory that `name` needs: it moves aside (abc beside abcabc
 * under split:3). -ENOTDIR: nothing to be done. Takes gates, the root's among them.
 */
DV_CHECK dv_err dv_clear_way(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
			     const char *name);

/*
 * A file of the owner folder, whose node has no name, gets the name (put.h). dress: what it is to
 * have of owner, mode and the like, under the gates, before it is seen; over: the value that it
 * replaces, NULL: none.
 */
struct dv_renamed_in {
	struct dv_node *node;
	const char *stored; /* its name in the owner folder */
	dv_err (*dress)(struct dv_store *s, const struct dv_renamed_in *in,
			const struct dv_place *to, struct dv_node *over);
};
/* flags: 0, RENAME_NOREPLACE. -EEXIST: or it is that value's own file; -EISDIR; -EBUSY: others had it
 * for too long. */
DV_CHECK dv_err dv_rename_in(struct dv_store *s, const struct dv_call *call,
			     const struct dv_renamed_in *in, struct dv_node *dir, const char *name,
			     unsigned flags);

/* .diskvfs/config to s->config; and back, durably, whole. */
DV_CHECK dv_err dv_read_config(struct dv_store *s, struct dv_config *out, const char *path,
			       char *why, size_t why_size);
/* -EBUSY, why[]: the store has another transform than s->config says. */
DV_CHECK dv_err dv_config_stands(struct dv_store *s, const char *path, char *why, size_t why_size);
DV_CHECK dv_err dv_write_config(struct dv_store *s);

/* Packs what an owner that died has left raw. */
void dv_pack_leftovers(struct dv_store *s);

/* n is about to lose a name, of nlink: opens what keeps it usable where it is the last that is
 * known. Where the name stays after all: dv_node_unpin(). Gate exclusive. */
void dv_keep_open(struct dv_store *s, struct dv_node *n, uint32_t nlink);

/* n changed: who packs it must stop, and the keeper looks at it later. Gate exclusive. */
void dv_changed(struct dv_store *s, struct dv_node *n);

/* A change of ours of n's attributes, names or links ends the ctime that a swap had kept, however
 * soon it comes. Gate exclusive. */
void dv_forget_kept_ctime(struct dv_store *s, struct dv_node *n);

/* Some ms. No gate held: who is waited for may need it. */
void dv_wait_for_others(void);

/*
 * The loop of an operation on names: is it to be made (again)? *err: -ESTALE before the first time,
 * and what it gave since. Waits for other mounts; -EBUSY where they do not come to an end, -EINPROGRESS
 * where the call parks.
 */
bool dv_goes_on(const struct dv_call *call, dv_err *err, unsigned *tries);
/* May it still wait for what may never end? */
bool dv_is_patient(const struct dv_call *call, unsigned tries);

/* A name came or went in dir. */
void dv_touch_dir(struct dv_store *s, struct dv_node *dir);

/* After an error of an operation on n: was it that n's object is another now? Then n is looked at
 * anew. Or that others have it locked? Then they are waited for, as in dv_goes_on(). true: try again.
 * No gate held. */
bool dv_try_again(struct dv_store *s, const struct dv_call *call, struct dv_node *n, dv_err *err,
		  unsigned *tries);

#endif
