/* SPDX-License-Identifier: MIT */
/*
 * pack_private.h - what the files of the module pack share.
 *
 *   pack.c           a batch: its order, its durability (steps 2 and 4)
 *   pack_prepare.c   step 1: is it worth it, may it be, the packed file; jobs that end early
 *   pack_swap.c      steps 3 and 5: the packed form is published, the raw one goes
 */
#ifndef DV_PACK_PRIVATE_H
#define DV_PACK_PRIVATE_H

#include "core/encode.h"
#include "core/pack.h"

struct dv_pack_job {
	struct dv_pack_item *item;
	atomic_bool cancelled;
	bool published; /* gate: the packed name exists */
	bool leased, recorded, failed;
	bool kept; /* the raw file may lie in the owner folder under its id: the record stays */
	uint64_t id, writes;
	int rawfd, fd;
	struct dv_stat raw, packed;
	struct dv_encoded enc;
	struct timespec ctime; /* as shown before */
	/* Where the packed name was made: others may take the value's name, and with it the way there. */
	struct dv_node *dir; /* a reference; NULL: not made */
	char name[DV_NAME_MAX + 1];
};

/* Step 1. item->job is NULL where there is nothing more to do; the outcome says why. */
DV_CHECK dv_err dv_pack_prepare(struct dv_store *s, struct dv_pack_item *item);

/* Step 3. Swap gates. *published: the packed name exists. */
DV_CHECK dv_err dv_pack_publish(struct dv_store *s, struct dv_pack_item *item, struct dv_node *dir,
				bool *published);
/* Step 5. Swap gates. durable: the packed name is on the disk. */
enum dv_pack_outcome dv_pack_finish(struct dv_store *s, struct dv_pack_item *item, bool durable);

/* Ends the job of item, which has not published anything. No gate. */
void dv_pack_give_up(struct dv_store *s, struct dv_pack_item *item, enum dv_pack_outcome outcome);
/* The same after an error, which is told. A full disk is told by those whom it hinders, not by each
 * value that waits for it. */
void dv_pack_give_up_failed(struct dv_store *s, struct dv_pack_item *item, dv_err err);
/* Closes and frees it, and removes what it has made and not published. */
void dv_pack_close_job(struct dv_store *s, struct dv_pack_job *j);
void dv_pack_tell_failure(struct dv_store *s, struct dv_node *n, dv_err err);

/* Does someone want to write to it, through this mount or besides it? */
bool dv_pack_is_wanted(struct dv_store *s, struct dv_pack_job *j);
/* The same for what takes a callback; ctx is a dv_pack_stop_ctx. */
struct dv_pack_stop_ctx {
	struct dv_store *s;
	struct dv_pack_job *j;
};
bool dv_pack_stop(void *ctx);

#endif
