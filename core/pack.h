/* SPDX-License-Identifier: MIT */
/*
 * pack.h - raw values at rest become packed ones, several at a time so that they share their
 * durability.
 *
 *   step        what                                                      gate         invariant
 *   1 prepare   lock the raw file against writers of other mounts, take
 *               a lease on it, encode it to a stage file                  none
 *   2 sync      the stage files, then their SWAP records                  none         I2, I4
 *   3 publish   the stage file gets the packed name; raw is the value     swap gates   I1
 *   4 sync      the directories                                           none         I3
 *   5 finish    raw unchanged: unlinked, the value is packed; else the
 *               packed form is unlinked                                   swap gates   I5
 *
 * Whoever changes the value meanwhile calls dv_pack_cancel() with the gate held: the job cleans up
 * after itself.
 */
#ifndef DV_PACK_H
#define DV_PACK_H

#include "core/internal.h"
#include "core/refusal.h"

#define DV_PACK_BATCH_MAX 256
#define DV_PACK_BATCH_FILES                                                                        \
	4 /* of the descriptors that are kept for reuse, one part in so many is as many values */
#define DV_PACK_BATCH_BYTES (64u << 20) /* plain; one larger value makes a batch alone */
#define DV_PACK_QUIET_NS                                                                           \
	(20 * 1000000ll) /* younger bytes might change within the clock's grain: waited for */

#define DV_QUIET_MS                                                                                \
	5000 /* where writers can not be probed: so long without a change counts as no writer */

/* May a process still write to n: does it have it open for writing, or mapped? Asks the hook; no
 * gate may be held. */
bool dv_has_writer(struct dv_store *s, struct dv_node *n);

/* Can writers be asked for? */
bool dv_knows_writers(struct dv_store *s);

enum dv_pack_outcome {
	DV_PACK_DONE,
	DV_PACK_NO_GAIN, /* too small, incompressible, sparse, excluded, several links, no packed
			    name, a twin: as long as it does not change */
	DV_PACK_BUSY,	 /* written, locked, listed: later */
	DV_PACK_NO_ROOM, /* for the packed form beside the raw one: later, when others made some */
	DV_PACK_FAILED,	 /* logged */
};

struct dv_pack_item {
	struct dv_node *node; /* borrowed */
	enum dv_pack_by by;
	dv_err error; /* the caller's */
	enum dv_pack_outcome outcome;
	uint64_t plain_size, stored_size;
	uint64_t before; /* of its packed file, where it is packed anew; the caller's */
	bool leveled;	 /* with `level` instead of the store's */
	bool anew;	 /* it was packed before */
	int level;
	struct dv_pack_job *job;
};

/* Packs up to DV_PACK_BATCH_MAX values. -> first error; outcomes tell the rest. */
dv_err dv_pack_batch(struct dv_store *s, struct dv_pack_item *items, size_t count);

/* n is about to change. Gate exclusive. */
void dv_pack_cancel(struct dv_store *s, struct dv_node *n);

/* Does a job still mean to change n, or has it left a packed form beside it? Gate at least shared.
 * A cancelled one that has not is over for n. */
bool dv_pack_is_active(const struct dv_node *n);

/* n is about to lose or change its name: a packed form that was published beside it is unlinked
 * now. Gate exclusive. */
DV_CHECK dv_err dv_pack_retract(struct dv_store *s, struct dv_node *n);

#endif
