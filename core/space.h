/* SPDX-License-Identifier: MIT */
/*
 * space.h - when space runs out: packing goes first, and who needs space waits for it.
 *
 * A call that met -ENOSPC or -EDQUOT asks dv_space_wait(). Where there is a chance, the keeper
 * makes a round (keeper.h): stages without a writer are committed, raw values without one are
 * packed, settled or not, small ones first, since to pack needs room itself. Then the call is made
 * again. A round that gained nothing is the answer for those who ask in the next second too, unless
 * much has been written meanwhile.
 *
 *   call fails -> wanted -> round -> gained: again
 *                                    nothing, or DV_SPACE_WAIT_NS are over: the error stands
 *
 * Who may not wait gets -EAGAIN, who parks -EINPROGRESS: the thread that serves never waits here.
 */
#ifndef DV_SPACE_H
#define DV_SPACE_H

#include "core/internal.h"

/* A caller waits so long for space: longer than a batch of packing takes, shorter than people think
 * that a program hangs. */
#define DV_SPACE_WAIT_NS  (10 * 1000000000ll)
#define DV_SPACE_STUCK_NS (1 * 1000000000ll)

/*
 * Before that: raw values that were just written make the keeper hurry, settled or not, where they
 * are so many bytes: a sixteenth of what has come to rest since the store was opened, within limits,
 * or a quarter of what is free. With four times as many, or less free than DV_SPACE_LOW_FRACTION of
 * the filesystem (which packing needs for its own files), writers wait for it as above, as long as
 * it gains. So what lies in the store while much is copied into it is at most a quarter more than
 * what lies there at last, but for the lower limit.
 */
#define DV_SPACE_BACKLOG_MAX   (256u << 20)
#define DV_SPACE_BACKLOG_MIN   (64u << 20)
#define DV_SPACE_REST_FRACTION 16
#define DV_SPACE_BACKLOG_LEAST (1u << 20) /* where little is free */
#define DV_SPACE_LOW_FRACTION  16
#define DV_SPACE_LOW_MAX       (512u << 20)
#define DV_SPACE_HURRY_NS      (250 * 1000000ll) /* between two rounds in a hurry */

void dv_space_init(struct dv_store *s);
void dv_space_release(struct dv_store *s);

/*
 * After a call that ended with *err, no gate held. true: make it again. false: *err is the answer.
 * *since is 0 before the first time and belongs to the call.
 */
bool dv_space_wait(struct dv_store *s, const struct dv_call *call, dv_err *err, int64_t *since);

/* Would it be made again now, after an error of space? */
bool dv_space_may_help(struct dv_store *s, const struct dv_call *call, int64_t *since);

/* Before len bytes are written, no gate held. 0: go on; else -EAGAIN, -EINPROGRESS as above. */
DV_CHECK dv_err dv_space_admit(struct dv_store *s, const struct dv_call *call, uint64_t len,
			       int64_t *since);
/* So many bytes were written raw. */
void dv_space_wrote(struct dv_store *s, uint64_t len);
/* So many of those are not any more: they have become something else. */
void dv_space_seen(struct dv_store *s, uint64_t len);
/* So many bytes have come to rest, as they are stored. */
void dv_space_rests(struct dv_store *s, uint64_t stored);

/*
 * A round of the keeper, which takes `taken` of `waiting` values and looks at each. What was written
 * again counts twice in the backlog, and of some values nobody knows how much of it is theirs: they
 * have an equal share. Who has looked at all has seen all of it. waiting 0: what is not known stays.
 */
struct dv_space_round {
	uint64_t left, share;
	bool all;
};
void dv_space_round_begin(struct dv_store *s, struct dv_space_round *r, uint64_t waiting,
			  uint64_t taken);
void dv_space_round_saw(struct dv_store *s, struct dv_space_round *r,
			uint64_t plain); /* 0: not known */
void dv_space_round_done(struct dv_store *s, struct dv_space_round *r);

/* By the keeper: is it to hurry now, and when at the earliest (INT64_MAX: it need not)? It did, and
 * has more to do of what helps, or waits a while. */
bool dv_space_hurries(struct dv_store *s);
int64_t dv_space_hurry_ns(struct dv_store *s);
void dv_space_hurried(struct dv_store *s, bool more);

/* Is *err one that room would have spared? */
bool dv_space_is_short(dv_err err);

/* By who makes rounds: is one wanted? It has ended, and gained something or not. */
bool dv_space_is_wanted(struct dv_store *s);
void dv_space_round_ended(struct dv_store *s, bool gained);

/* Calls the hook `retry`. */
void dv_space_tell(struct dv_store *s);

#endif
