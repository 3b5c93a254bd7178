/* SPDX-License-Identifier: MIT */
/*
 * swap.h - what every swap of forms needs: the gates, durable names, directory times, records that
 * know their path, a place for what is put aside.
 */
#ifndef DV_SWAP_H
#define DV_SWAP_H

#include "core/internal.h"
#include "core/place.h"

/*
 * Gates of the directory and the node, exclusively, directory first. *out_dir lends a reference;
 * NULL: n has no name.
 */
DV_CHECK dv_err dv_swap_gates(struct dv_store *s, struct dv_node *n, bool nowait,
			      struct dv_node **out_dir);
void dv_swap_gates_open(struct dv_store *s, struct dv_node *n, struct dv_node *dir);

/*
 * Remembers and puts back the mtime of p's directory around a swap. Its ctime, which can not be put
 * back, is shown as before from then on (dv_shown_ctime). The directory's gate is held exclusively.
 */
struct dv_dir_times {
	struct dv_node *dir;
	int fd;
	struct timespec mtime, ctime; /* as it was shown */
	bool kept;
};
void dv_dir_times_keep(struct dv_store *s, const struct dv_place *p, struct dv_dir_times *t);
void dv_dir_times_restore(struct dv_store *s, const struct dv_dir_times *t);

/* Moves a stage file to .diskvfs/lost under a name that tells its key; logs it. why: a short
 * reason. After an error it is where it was. */
DV_CHECK dv_err dv_put_aside(struct dv_store *s, int dirfd, const char *stage_name, const char *key,
			     const char *why);

/* Copies all of fd `from` to `to` in place, cuts it to size and syncs it. */
DV_CHECK dv_err dv_copy_over(struct dv_store *s, int from, int to);

/* Calls the hook `changed`. */
void dv_tell_changed(struct dv_store *s, struct dv_node *n);

/* Appends r under n's path: once more where a directory above was renamed meanwhile, whose records
 * had been given their new paths already. */
DV_CHECK dv_err dv_record_append(struct dv_store *s, struct dv_node *n, struct dv_record *r);

/* The key path of n on the heap; -ENAMETOOLONG; -ESTALE: no name. */
DV_CHECK dv_err dv_node_path_alloc(struct dv_store *s, struct dv_node *n, char **out);

/*
 * Before another form of p's key is made as `stored`: that its value was renamed, or a directory
 * above it, is durable on return, and so are removals of its other stored names. Else, where the
 * power goes, the new name may be kept and the renaming lost: the value would be there twice, or
 * both forms where no record leads.
 */
DV_CHECK dv_err dv_settle_move(struct dv_store *s, const struct dv_place *p, const char *stored);
/* p's shard directory is durable on return, if any of `what` is loose: DV_LOOSE_MADE before a value
 * is renamed into it, DV_LOOSE_PRUNED before one is renamed out of it (where the earlier directory
 * of the name comes back, so does what was removed with it). */
DV_CHECK dv_err dv_settle_shard(struct dv_store *s, const struct dv_place *p, unsigned what,
				bool nowait);

/*
 * Unlinks a stored name, which may be lost or kept where the power goes, but so that no other form of the key
 * comes back without it: a packed form goes through a name in the owner folder, its via, and a raw one that
 * is unlinked behind it goes through the same name. nowait: -EAGAIN where it takes a sync. only: that object
 * and no other. It is looked at in the owner folder, so that what others put under the name at this moment is
 * not what is unlinked: DV_IS_ANOTHER, and it is there again, or nothing was there.
 */
#define DV_IS_ANOTHER (-EREMCHG) /* which no call of the backing gives */
DV_CHECK dv_err dv_unlink_form(struct dv_store *s, const struct dv_place *p, const char *stored,
			       const struct dv_ident *only, bool nowait);

/* All names that lead to n are durable on return. No gate needed. */
DV_CHECK dv_err dv_sync_names(struct dv_store *s, struct dv_node *n);

#endif
