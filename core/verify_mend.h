/* SPDX-License-Identifier: MIT */
/* verify_mend.h - what of a damaged packed file is whole: saved beside it, or given a new seek table. */
#ifndef DV_VERIFY_MEND_H
#define DV_VERIFY_MEND_H

#include "core/verify_lost.h"

struct dv_saved {
	uint64_t frames;
	char name[DV_NAME_MAX + 1]; /* of the file that has them, in d */
};

/*
 * Writes the whole frames of the file to NAME.frames.zst in d (of gzip: members, NAME.frames.gz), and to
 * NAME.frames.txt which bytes of the value and of the file each of them is. Durable.
 */
DV_CHECK dv_err dv_mend_save_frames(struct dv_verify *v, const struct dv_verify_item *item,
				    const struct dv_look *look, struct dv_lost_dir *d,
				    struct dv_saved *out);

/*
 * Exchanges item with a copy of its frames, all of which are whole, and a new seek table. name gets
 * that of the old file in d. -EREMCHG: it was replaced meanwhile. -EFBIG: no table can tell of it.
 */
DV_CHECK dv_err dv_mend_table(struct dv_verify *v, const struct dv_verify_item *item,
			      const struct dv_look *look, struct dv_lost_dir *d,
			      char name[DV_NAME_MAX + 1]);

#endif
