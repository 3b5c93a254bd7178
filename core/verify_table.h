/* SPDX-License-Identifier: MIT */
/*
 * verify_table.h - the entries of a seek table one after the other, in pieces of 60 KiB, so that
 * memory does not follow the table. Part of verify_frames.
 */
#ifndef DV_VERIFY_TABLE_H
#define DV_VERIFY_TABLE_H

#include "core/format.h"
#include "core/internal.h"

#define DV_CURSOR_ENTRIES 5120u

struct dv_table_cursor {
	struct dv_seek_table t;
	int fd;
	uint64_t off; /* of the table */
	uint32_t next, have_from, have;
	uint8_t piece[DV_CURSOR_ENTRIES * DV_TABLE_ENTRY_BYTES];
};

/*
 * -ENOENT: the file has no seek table. -EBADMSG: it ends like one, and can not have one that long.
 * -ESTALE: there is one, t->t tells where, and it is wrong: why[]. -EFBIG: more frames than a mount
 * reads. Else the entries add up to the frames' bytes.
 */
DV_CHECK dv_err dv_table_cursor_open(struct dv_store *s, int fd, uint64_t size,
				     struct dv_table_cursor *t, char *why, size_t why_size);
/* The next entry, of t->t.count. -EBADMSG: the file is shorter than it was. */
DV_CHECK dv_err dv_table_cursor_next(struct dv_store *s, struct dv_table_cursor *t,
				     uint64_t *stored, uint64_t *plain, uint32_t *sum);

#endif
