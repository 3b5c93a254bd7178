/* SPDX-License-Identifier: MIT */
/*
 * adopt.h - the .zst files of a folder that becomes a store: are there any, and keeping them as
 * files of their own.
 *
 * Kept, x.zst is renamed to x.zst.raw, the stored name of the key "x.zst" in its raw form. Before
 * the first renaming the folder is looked through, and refused as it is where one can not be: the
 * name would be too long, the new name is taken, or an x.zst.raw is there that the mount would show
 * as x.zst. Then a mark is made (.diskvfs/keep-zst) by which a run that was interrupted is gone on
 * with: what ends in .zst.raw is its own work then. Nothing is ever overwritten.
 */
#ifndef DV_ADOPT_H
#define DV_ADOPT_H

#include "core/internal.h"

/* What is in the folder. A plain value type. */
struct dv_adoption {
	bool empty; /* nothing but an unfinished control folder, and lost+found */
	bool begun; /* keeping was begun and not finished */
	char zst[4096 + DV_NAME_MAX +
		 2]; /* a regular file *.zst, from the root; "" where there is none */
};

/* Looks at the root, or deep: through all of it for a *.zst. Uses the backing, rootfd and transform
 * of s alone, as all here do. */
DV_CHECK dv_err dv_adopt_look(struct dv_store *s, bool deep, struct dv_adoption *out, char *why,
			      size_t why_size);

/* Renames every regular *.zst that would be taken for a packed value; durable on return. Times of
 * directories stay. -EEXIST, -ENAMETOOLONG: refused, why[] tells the file. Of path and flat only:
 * else -EINVAL. */
DV_CHECK dv_err dv_adopt_keep(struct dv_store *s, char *why, size_t why_size);

/* The config is written: the mark goes. */
void dv_adopt_done(struct dv_store *s);

#endif
