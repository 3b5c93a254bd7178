/* SPDX-License-Identifier: MIT */
/*
 * stage_private.h - what the files of the module stage share.
 *
 *   stage.c          begin and end of a stage that is one raw file
 *   stage_commit.c   its commit
 *   stage_tail.c     stages in two parts (tail.h): reading, frames, durability
 *   stage_stream.c   begin, commit, end of a stream: the packed part is a file beside the object
 *   stage_sealed.c   its commit where a value's one file is compressed (sealed.h)
 *   stage_append.c   begin, commit of an append: the packed part is the object
 *   stage_copy.c     begin of a stream whose frames are another value's
 */
#ifndef DV_STAGE_PRIVATE_H
#define DV_STAGE_PRIVATE_H

#include "core/exchange.h"
#include "core/rewrite.h"
#include "core/rival.h"
#include "core/stage.h"
#include "core/tail.h"

struct dv_stage {
	uint64_t id;
	bool replacement;
	bool waits;	/* for the last writer, as a replacement does */
	bool in_place;	/* several links, or owner and mode can not be kept: committed by copying
			  over the old object */
	bool named;	/* a record and a name in the owner folder exist */
	bool durable;	/* it is left to the next owner, its bytes are on the disk */
	bool hidden;	/* its name in the owner folder is one that no record speaks of */
	bool had_bytes; /* which it lost when it was emptied: the object's are not the last ones */
	struct timespec atime; /* of an edit: of the old object, before it was read to unpack it */
	uint8_t unpacks;    /* of an edit: how often the value had to be unpacked, this time too */
	dv_err failed;	    /* of the last write that failed and was not made good; 0: none */
	uint64_t failed_at; /* the first byte that it left unwritten */
	struct dv_file *file; /* in two parts: the packed one */
	struct dv_tail *tail; /* it is in two parts; NULL: whole, in file */
	bool appends;	      /* ..the packed one is the store's own object, which is added to */
	bool astray;	      /* it has its name in the store already, and could
				     not be taken back */
	atomic_bool ready;    /* appends: the object may be changed, its record and what is
				     overwritten are durable */
	struct dv_range from; /* appends: plain and stored byte from which on the object is
				     written anew */
	uint64_t mark;	      /* ..and dv_tail_mark() of what is before */
	uint64_t began_size;  /* appends: of the value, before */
	int64_t began_ns;
	struct dv_file *locked; /* an edit, or the stream of a new value: the old object, whose lock
				   keeps other mounts away; NULL: none */
	bool leased; /* ..of the latter: a program that opens it for writing breaks a lease, and
			waits */
	struct dv_version over; /* the raw object that it was begun over, or a stream began with, as
				   that was then */
	uint16_t generation;	/* of the value once this is it */
	struct dv_changed_at changed; /* by a caller */
	uint64_t changed_writes;      /* n->writes when changed.backing was looked at */
	uint64_t swap_id;	      /* its SWAP record, 0: none yet */
	bool sealing;		      /* the packed file is about to take the old one's place */
	struct dv_file *sealed;	      /* the stored form of its bytes, X.z; NULL: none yet */
	uint64_t sealed_id;	      /* X */
	uint64_t sealed_writes;	      /* n->writes when its bytes were looked at */
	/* Of its name in the owner folder, or of ID.z's where it is sealed, while that is exchanged (exchange.h). */
	char ending[DV_EXCHANGE_MARK];
	uint64_t copy_id;	     /* COPY record of a commit that was cut short, 0: none */
	atomic_ullong synced_writes; /* n->writes when the bytes were last made durable; UINT64_MAX:
					never */
};

/* Appends the record that finds the stage again, under its id. */
DV_CHECK dv_err dv_stage_write_record(struct dv_store *s, struct dv_node *n,
				      struct dv_stage *stage);
/* Makes the file ID. */
DV_CHECK dv_err dv_stage_make_file(struct dv_store *s, uint64_t id, struct dv_file **out);
/* The mtime of fd, which is to empty the value that had that of old, becomes another one. */
DV_CHECK dv_err dv_stage_move_mtime(struct dv_store *s, int fd, const struct dv_stat *own,
				    const struct dv_stat *old);
/* Its files and its records go. */
void dv_stage_forget(struct dv_store *s, struct dv_stage *stage);
/* n has no stage any more. */
void dv_stage_end(struct dv_store *s, struct dv_node *n);
/* The old object was replaced or changed its place by another's doing: the stage is put aside, n loses
 * its names. -EBUSY. */
DV_CHECK dv_err dv_stage_conflict(struct dv_store *s, struct dv_node *n);
/* Before the stage's ctime moves by a doing of ours; own: of what callers write to. */
void dv_stage_note_change(struct dv_node *n, const struct dv_stat *own);
/* On stage->file, whose state is own: the value's number, generation and when it was written. */
void dv_stage_write_tag(struct dv_store *s, const struct dv_node *n, const struct dv_stage *stage,
			const struct dv_stat *own);
/* A stage of which a write has failed has a name that no record speaks of. */
void dv_stage_hide_failed(struct dv_store *s, struct dv_stage *st);
/* Of the stage's file, or of the packed part of one in two parts. */
#define DV_STAGE_FILE_NAME (DV_EXCHANGE_NAME + 7)
void dv_stage_file_name(const struct dv_stage *st, bool hidden, char out[DV_STAGE_FILE_NAME]);

/* Where an error has left it with an ending it loses that. Not while others' file may lie there (astray). */
DV_CHECK dv_err dv_stage_unmark(struct dv_store *s, struct dv_stage *st);

/* Is n's stage in two parts, and may they be looked at? Gate at least shared. */
static inline struct dv_tail *dv_stage_tail(const struct dv_node *n)
{
	return n->stage ? n->stage->tail : NULL;
}

static inline bool dv_stage_streams(const struct dv_stage *st)
{
	return st->tail && !st->appends;
}

/* What callers write to. */
static inline int dv_stage_written_fd(const struct dv_stage *st)
{
	return st->tail ? st->tail->last->file->fd : st->file->fd;
}

/* The value of n, whose packed part is complete, is that file now: what is known of it. */
void dv_stage_became_packed(struct dv_store *s, struct dv_node *n);
/* The packed part is all of the value, with its tag, and durable. */
DV_CHECK dv_err dv_stage_finish(struct dv_store *s, struct dv_node *n);
/* The old object is there no more: what was added is put aside. */
DV_CHECK dv_err dv_stage_put_tail_aside(struct dv_store *s, struct dv_node *n, const char *path,
					const char *why);
/* dv_stage_sync() of one in two parts. */
DV_CHECK dv_err dv_stage_sync_tail(struct dv_store *s, struct dv_node *n);
/* It lost its name: the packed file is n's file. */
void dv_stage_drop_tail(struct dv_store *s, struct dv_node *n);
void dv_stage_abandon_tail(struct dv_store *s, struct dv_node *n);

/* dv_stage_sync() of one whose value is sealed: makes its stored form, durable. */
DV_CHECK dv_err dv_stage_seal(struct dv_store *s, struct dv_node *n);
void dv_stage_unseal(struct dv_store *s, struct dv_stage *stage);
DV_CHECK dv_err dv_sealed_commit(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
				 const char *stored);
/* The packed part of the stream id, empty. */
DV_CHECK dv_err dv_stream_make_file(struct dv_store *s, uint64_t id, struct dv_file **out);
/* Gives it owner, mode and the rest of `from`. */
DV_CHECK dv_err dv_stream_dress(struct dv_store *s, int from, int packed, struct dv_stat *out_own);
/*
 * Opens the raw object of a new value (*out, set after an error too). Nobody else writes to it, or may
 * begin to, until the commit takes it away: the rules of packing (pack_prepare.c). Another mount that
 * wants to waits for the lock, and finds the packed one; a program in the store waits for the lease, and
 * the commit sees it. fresh->locked has its own reference. -EAGAIN: somebody has it open for writing.
 */
DV_CHECK dv_err dv_stream_lock_raw(struct dv_store *s, struct dv_node *n, struct dv_stage *fresh,
				   struct dv_file **out);
/*
 * The stage's file, which is whole and durable, gets the value's raw name, in the place of n's object where
 * that is raw, and of nothing else: what others put there at this moment came later than what is looked
 * at. -ESTALE then, and the stage is as it was. *slot: which raw name; may change.
 */
DV_CHECK dv_err dv_stage_publish(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
				 uint8_t *slot);
/* The same for the file ID.z, which is fd, and the packed name of n's packed object. The stage's record is
 * one of a STREAM, and tells that object. */
DV_CHECK dv_err dv_stage_publish_packed(struct dv_store *s, struct dv_node *n,
					const struct dv_place *p, const char *stored, int fd);
/* The file ID.z, which is fd and was given that name, loses it. -ESTALE: so it did; where others had taken
 * it from it the stage is not named any more. */
DV_CHECK dv_err dv_stage_give_back(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
				   const char *stored, int fd);

DV_CHECK dv_err dv_stream_commit(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
				 const char *stored);
/* Of the stream of a new value: has a program in the store changed its raw object, or does one wait to do
 * it? st: that object. */
bool dv_stream_is_disturbed(struct dv_store *s, const struct dv_stage *st,
			    const struct dv_stat *raw);
/* Of the same: a caller has set its raw object's times. */
void dv_stream_raw_is(struct dv_store *s, struct dv_node *n);
DV_CHECK dv_err dv_append_commit(struct dv_store *s, struct dv_node *n);
/* The record and the bytes that are overwritten are durable on return. Gate exclusive. */
DV_CHECK dv_err dv_append_make_ready(struct dv_store *s, struct dv_node *n);
/* Appends the TAIL record. */
DV_CHECK dv_err dv_append_record(struct dv_store *s, struct dv_node *n, struct dv_stage *stage);

#endif
