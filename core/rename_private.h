/* SPDX-License-Identifier: MIT */
/* rename_private.h - what the files of the module rename share. */
#ifndef DV_RENAME_PRIVATE_H
#define DV_RENAME_PRIVATE_H

#include "core/ops.h"
#include "core/place.h"
#include "core/rival.h"

struct renaming {
	struct dv_node *olddir, *newdir, *n, *over; /* over: NULL where the new name is free */
	const char *oldname, *newname;
	const struct dv_renamed_in *in; /* from the owner folder: no olddir, no oldname */
	unsigned flags;
	bool patient; /* it may wait for what another mount is about to take away */
	struct dv_place from, to;
	struct dv_found src, dst;
	bool dst_there;
	struct dv_beside twin;	/* the packed form beside a source that is not packed */
	struct dv_beside other; /* at the target, in the form that the source has not */
	bool moved; /* the object has its new name: what fails after that does not take it back */
	bool more;  /* another mount has made a raw form of the source just now: it is to follow */
};

/* The path of name in dir, on the heap. */
DV_CHECK dv_err dv_rename_path_in(struct dv_store *s, struct dv_node *dir, const char *name,
				  char **out);

/* Does a packed value take the place of what is not packed, and has another stored name? In diskv's
 * compressed layouts a link has the name that the value is to have, and is replaced as by any rename. */
bool dv_renames_over_other(const struct renaming *r);

/*
 * Moves the object. Where dv_renames_over_other(): one with several links, and it may wait. *slot: of the new
 * name; *record: its SWAP record; *crossed: a packed form stays beside it for now.
 */
DV_CHECK dv_err dv_rename_move(struct dv_store *s, struct renaming *r, uint8_t *slot,
			       uint64_t *record, bool *crossed);

#endif
