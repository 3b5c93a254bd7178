/* SPDX-License-Identifier: MIT */
/* sweep_private.h - what sweep.c and sweep_anew.c share. */
#ifndef DV_SWEEP_PRIVATE_H
#define DV_SWEEP_PRIVATE_H

#include "core/internal.h"
#include "core/refusal.h"

/*
 * Packing packed values anew, with another level, and frames of ours where they are of another maker:
 * each is unpacked, as for an edit, and packed by the batch that follows. .diskvfs/pack tells of a run that
 * has not come to its end: the next one of that level leaves what was packed anew since its beginning.
 */
struct dv_anew {
	int level;
	int64_t since_ns; /* its beginning */
};

DV_CHECK dv_err dv_anew_begin(struct dv_store *s, int level, struct dv_anew *out);
/* All was done. */
void dv_anew_end(struct dv_store *s);

enum dv_anew_outcome { DV_ANEW_DONE, DV_ANEW_NOT, DV_ANEW_BUSY };

/* n, which is packed, is to be packed anew: it is raw on return, and *out_stored what its file was.
 * DV_ANEW_NOT: it has been, or has several links. DV_ANEW_BUSY: somebody has it open for writing. */
DV_CHECK dv_err dv_anew_unpack(struct dv_store *s, struct dv_node *n, const struct dv_anew *a,
			       uint64_t *out_stored, enum dv_anew_outcome *out);
/* It was not packed after all: the keeper may. */
void dv_anew_give_up(struct dv_store *s, struct dv_node *n);

/* n is about to be unpacked on purpose; *several: it has other links, and stays as it is. */
DV_CHECK dv_err dv_sweep_begin_unpacking(struct dv_store *s, struct dv_node *n, bool *several,
					 struct dv_refusal_before *before);

#endif
