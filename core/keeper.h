/* SPDX-License-Identifier: MIT */
/*
 * keeper.h - what happens to values after their callers are gone: stages are committed when no
 * writer is left, superseded forms removed, raw values packed when they have been quiet.
 *
 * Nodes with such work wait in a queue, which holds a reference on each. One thread (or
 * dv_keeper_run) serves it.
 */
#ifndef DV_KEEPER_H
#define DV_KEEPER_H

#include "core/internal.h"
#include "core/pack.h"

#define DV_PROBE_FIRST_MS                                                                          \
	50 /* after its last change a stage is probed for writers; then twice as late each time..  \
	    */
#define DV_PROBE_LAST_MS   1000 /* ..up to this */
#define DV_APPEND_QUIET_MS 200	/* an append is put in place when nothing came for so long.. */
#define DV_APPEND_MAX_MS   1000 /* ..or it is so old.. */
#define DV_APPEND_BULK_MS                                                                          \
	10000 /* ..or so, where more is added than pays before, and no other mount is there */
#define DV_QUEUE_MAX 65536 /* more waiting values than this are packed unsettled */

dv_err dv_keeper_start(struct dv_store *s);
void dv_keeper_stop(struct dv_store *s);

/* n has changed: it waits in the queue from now on. Any gate. */
void dv_keeper_touch(struct dv_store *s, struct dv_node *n);

/* n has no name any more: nothing is to be done, and its space is free as soon as nobody has it
 * open. Its caller holds a reference. */
void dv_keeper_forget(struct dv_store *s, struct dv_node *n);

/* One round. now: nothing has to be quiet. force: stages are committed whoever writes. -> values
 * left waiting. */
int dv_keeper_run(struct dv_store *s, bool now, bool force);

#define DV_ROOM_BATCH_BYTES (16u << 20) /* plain bytes packed at once where room is short */
#define DV_ROOM_AGAIN_MS    5000	/* a value that there was no room to pack waits so long */

/* A round for callers who wait for space (space.h): nothing has to be quiet, small values first. */
void dv_keeper_make_room(struct dv_store *s);

/* Commits n's stage if it has no writer. -> true: n is at rest. */
bool dv_keeper_commit(struct dv_store *s, struct dv_node *n);

/* Commits the stages that have no writer, now. */
void dv_keeper_commit_quiet(struct dv_store *s);

/* Is dv_keeper_stop() waiting for the thread? Long work of it looks. */
bool dv_keeper_is_ending(struct dv_store *s);

/* Takes everything out of the queue; *left counts stages and superseded forms that stay recorded.
 */
void dv_keeper_drain(struct dv_store *s, unsigned *left);

#endif
