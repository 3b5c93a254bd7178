/* SPDX-License-Identifier: MIT */
/*
 * stage.h - newer bytes of a value, beside the store's object, and how they take its place.
 *
 * States of a regular node (gate of the node held exclusively for every transition):
 *
 *   state      store has                    the value is   record
 *   RAW        raw                          raw
 *   PACKED     packed                       packed
 *   STAGED     raw or packed (old), stage   stage          STAGE
 *   RAW+loser  raw, packed (old)            raw            SWAP, raw wins
 *   RAW+job    raw, packed (equal bytes)    raw            SWAP, packed wins if raw is unchanged
 *
 *   transition                   by                   when
 *   RAW, PACKED -> STAGED        dv_stage_begin       truncation to nothing; a packed value changes
 *   STAGED -> RAW                dv_stage_commit      the old form was raw
 *   STAGED -> RAW+loser          dv_stage_commit      the old form was packed
 *   RAW+loser -> RAW             dv_stage_settle      the raw name is durable
 *   STAGED -> PACKED             dv_stage_commit      packed, several links: rewritten in place
 *   STAGED -> RAW, PACKED        dv_stage_commit      a write of the replacement failed: dropped
 *   STAGED -> no name            dv_stage_drop        unlinked
 *   RAW -> RAW+job -> PACKED     pack.h
 *
 * A stage may be in two parts (tail.h): a packed file, and segments of plain bytes behind it. It is
 *
 *   STREAM    what is written from its beginning to its end, once it is DV_STREAM_BYTES long and worth
 *             packing: the packed file is ID.z of the owner folder
 *   APPEND    what is added to a packed value of more than DV_APPEND_BYTES: the packed file is the
 *             store's own, which is changed in place under an exclusive flock and a durable TAIL record
 *
 *   state      store has                    the value is   record
 *   STREAM     raw or packed (old), ID.z    both parts     STREAM
 *   APPEND     packed                       both parts     TAIL
 *
 *   RAW, STAGED -> STREAM        dv_stage_stream      a write at the end
 *   RAW, STAGED -> STREAM        dv_stage_copy_begin  an empty value gets the frames of another one
 *   STREAM -> STAGED             dv_stage_join        written elsewhere, truncated
 *   STREAM -> PACKED             dv_stage_commit      the old form is replaced, or removed
 *   PACKED -> APPEND             dv_stage_extend      a write at the end
 *   APPEND -> PACKED             dv_stage_commit      whatever else is done to it comes after
 *
 * Invariants
 *   I1  Where both forms of a name exist, raw is the value.
 *   I2  Bytes are durable before a name leads to them in place of others.
 *   I3  A superseded form is unlinked only after the name of the winner is durable.
 *   I4  A record is durable before the first name changes that it explains.
 *   I5  Nothing is unlinked but the very object that the record names.
 *   I6  After a power cut a stage that was not committed is dropped: the old value stands.
 */
#ifndef DV_STAGE_H
#define DV_STAGE_H

#include "core/internal.h"
#include "core/place.h"
#include "core/rewrite.h"
#include "core/swap.h"

struct dv_stage;

/* empty: the value is truncated to nothing and the old one stays until the last writer is gone;
 * else the stage starts with its bytes. -EPERM, -EACCES: owner or mode can not be kept; a raw value
 * is then to be edited in place. -ESTALE, -EAGAIN: another mount has edited the value, or does.
 * Gate exclusive. */
DV_CHECK dv_err dv_stage_begin(struct dv_store *s, struct dv_node *n, bool empty);

/*
 * The same in two steps, so that the long one keeps nobody out (edit.h). unpack: a stage with the plain bytes
 * of `old`, a file of n's packed object, whose lock it takes (rival.h); needs no gate. -ENOSPC, -EDQUOT:
 * before the first byte, where there is no room for all of them. begin_with: it becomes n's stage, whatever
 * packed object n has now; takes it, also on an error. Gate exclusive.
 */
DV_CHECK dv_err dv_stage_unpack(struct dv_store *s, struct dv_node *n, struct dv_file *old,
				struct dv_file **locked, struct dv_stage **out);
DV_CHECK dv_err dv_stage_begin_with(struct dv_store *s, struct dv_node *n,
				    struct dv_stage **unpacked);
/* One that is not begun with: its file goes. NULL is allowed. */
void dv_stage_discard(struct dv_store *s, struct dv_stage **stage);

/* Where the bytes are, and what bears the attributes; of one in two parts the latter only. */
int dv_stage_fd(const struct dv_stage *st);
/* Waits for the last writer (a replacement, or where its value is sealed), or may be committed at any
 * time (an edit)? */
bool dv_stage_is_replacement(const struct dv_stage *st);
/* Was it emptied again, when it had bytes? */
bool dv_stage_had_bytes(const struct dv_stage *st);
/* Is it written over the old object, which other names share, or has it come half way to its place?
 * Then it is not dropped with the name. */
bool dv_stage_is_in_place(const struct dv_stage *st);
/* Truncated to nothing meanwhile. */
void dv_stage_set_replacement(struct dv_store *s, struct dv_node *n);

/*
 * A replacement of which a write failed (a full disk) does not take the old value's place (P3): it
 * is dropped when its last writer is gone, or when the daemon is killed, and fsync tells the error.
 * Writing the bytes that were left out, or truncating it again, makes good.
 */
void dv_stage_wrote(struct dv_store *s, struct dv_stage *st, struct dv_range range,
		    dv_err err); /* range was written, then err */
/* Offset of a write at the end that failed before that was known; another one at the end makes good. */
#define DV_STAGE_SOMEWHERE (UINT64_MAX - 1)
/* It was truncated: when it had bytes, or had none. */
void dv_stage_emptied(struct dv_store *s, struct dv_stage *st);
void dv_stage_is_empty(struct dv_store *s, struct dv_stage *st);
/* A caller changed it: what was written last counts where others have replaced the value. */
void dv_stage_changed(struct dv_stage *st);
dv_err dv_stage_error(const struct dv_stage *st); /* 0: it may be committed */
DV_CHECK dv_err dv_stage_stat(struct dv_store *s, struct dv_node *n, struct dv_stat *out);

/* ---- in two parts; gate exclusive where nothing else is said ---- */

#define DV_STREAM_BYTES	 (8u << 20)
#define DV_APPEND_BYTES	 (1u << 20)
#define DV_SEGMENT_BYTES (4u << 20)

/* NULL: no stage. Gate at least shared. */
bool dv_stage_in_parts(const struct dv_stage *st);
bool dv_stage_appends(const struct dv_stage *st);
/* When the append began (dv_now_ns()). */
int64_t dv_stage_began(const struct dv_stage *st);
/* Does the append add so little that others are to see it soon, or so much that the seek table and the rest,
 * which its commit writes anew, are a small part of it? Gate at least shared. */
bool dv_stage_append_pays(const struct dv_stage *st);
#define DV_APPEND_LITTLE (4u << 20) /* plain */
#define DV_APPEND_COST                                                                             \
	(256u << 10) /* beside the table: a frame, what it was made of, the journal */
#define DV_APPEND_SHARE 32

/* Is n one that a write at its end makes a stream? Costs nothing. Gate exclusive. */
bool dv_stage_may_stream(const struct dv_store *s, struct dv_node *n);
/* Makes it one where it is worth it; where not, it is as it was, and is not asked again; where a program
 * has its raw object open for writing, only after some more writes. */
void dv_stage_stream(struct dv_store *s, struct dv_node *n);

/*
 * A whole packed value is copied without being decoded, but for what is less than a frame at its
 * end: the frames of `from`, a file of a packed object, become those of a stream. prepare: copies
 * them; needs no gate, and the caller sees to it that the file was not changed meanwhile.
 * -EOPNOTSUPP: it has no frame of the store's size, or others than that, or some without checksum.
 * begin: n, which may have that and is empty, becomes the stream; -EOPNOTSUPP: it may not.
 * Takes the copy, also on an error.
 */
struct dv_stage_copy;
bool dv_stage_may_copy(const struct dv_store *s, const struct dv_node *n);
DV_CHECK dv_err dv_stage_copy_prepare(struct dv_store *s, struct dv_file *from,
				      struct dv_stage_copy **out);
DV_CHECK dv_err dv_stage_copy_begin(struct dv_store *s, struct dv_node *n,
				    struct dv_stage_copy **copy);
void dv_stage_copy_discard(struct dv_store *s, struct dv_stage_copy **copy);

/* Bytes are about to be added to n, which is packed and has no stage. *began is not set where that can
 * not be: it is unpacked then. */
DV_CHECK dv_err dv_stage_extend(struct dv_store *s, struct dv_node *n, bool *began);

/* May `len` bytes be added at its end? Not past the frames that a packed value may have. Gate at least
 * shared. */
bool dv_stage_has_room(const struct dv_store *s, const struct dv_stage *st, uint64_t len);
/* Adds bytes at the end. */
DV_CHECK ssize_t dv_stage_add(struct dv_store *s, struct dv_node *n, const void *buf, size_t len);
/* Plain bytes that wait for frames to be made of them. Gate at least shared. */
uint64_t dv_stage_backlog(const struct dv_stage *st);
uint64_t dv_stage_size(const struct dv_stage *st);
/* Makes frames until less than `below` wait. No gate held. */
DV_CHECK dv_err dv_stage_pump(struct dv_store *s, struct dv_node *n, uint64_t below);
/* After a write: if a batch waits, frames are made of it, by the worker's thread where that runs and is
 * not far behind. No gate held. */
void dv_stage_relieve(struct dv_store *s, struct dv_node *n, uint64_t backlog, bool nowait);
/* With so much waiting a writer makes frames itself. */
#define DV_BACKLOG_BATCHES 4
uint64_t dv_stage_backlog_max(const struct dv_store *s);
DV_CHECK dv_err dv_stage_worker_start(struct dv_store *s);
void dv_stage_worker_stop(struct dv_store *s);
/* A stream becomes a stage that is one raw file; empty: with nothing in it. */
DV_CHECK dv_err dv_stage_join(struct dv_store *s, struct dv_node *n, bool empty);
/* fsync of an append: what was added so far is durable, though not yet put in place. No gate held. */
DV_CHECK dv_err dv_stage_promise(struct dv_store *s, struct dv_node *n);
/* Gate at least shared. */
DV_CHECK ssize_t dv_stage_read(struct dv_store *s, struct dv_node *n, void *buf,
			       struct dv_range range, bool nowait);
/* Sets times as the store's user wants them. */
DV_CHECK dv_err dv_stage_set_times(struct dv_store *s, struct dv_node *n,
				   const struct timespec times[2]);
/*
 * Before the old object, which is raw, gets that mtime: what was written to last has it first. Who is killed
 * between would leave an old object with a later mtime than the stage's, which recovery takes for written to by
 * others. *mtime, which may be UTIME_NOW, is what was set; *was: what had been, for where the old object
 * refuses it.
 */
DV_CHECK dv_err dv_stage_mtime_first(struct dv_store *s, const struct dv_node *n,
				     struct timespec *mtime, struct timespec *was);
/* And when it has it: its record tells that this is no write of others, whatever the clock is set to. */
void dv_stage_mtime_set(struct dv_store *s, struct dv_node *n, int old_fd);

/* The owner, mode or attributes of the stage's file have been set. Of a value in two parts the last segment's
 * ctime moves as well: the kernel keeps changes of one file apart, but a write to the segment could come in the
 * same tick. */
void dv_stage_attrs_set(struct dv_store *s, const struct dv_node *n);

/* Makes the stage's bytes durable, for a commit soon after, without keeping writers out. Takes the
 * gate for moments. */
DV_CHECK dv_err dv_stage_sync(struct dv_store *s, struct dv_node *n);

/* Appends the SWAP record that a commit of n's stage will need (I4), so that several can be synced
 * at once. Sets *recorded where it did. Takes the gate for a moment. */
DV_CHECK dv_err dv_stage_record(struct dv_store *s, struct dv_node *n, bool *recorded);

/*
 * Puts the stage in the value's place. Swap gates held. settle: the new name is durable and a
 * superseded form gone on return. -EBUSY: the store's object was replaced by others meanwhile; the
 * stage was put aside in .diskvfs/lost and the log says where. On other errors the value stays
 * staged.
 */
DV_CHECK dv_err dv_stage_commit(struct dv_store *s, struct dv_node *n, bool settle);

/* Unlinks the superseded packed form; makes the raw name durable before, if it is not. Node gate
 * exclusive. */
DV_CHECK dv_err dv_stage_settle(struct dv_store *s, struct dv_node *n);
/* Unlinks it if it lies at p, whatever is durable: the name goes too. Node gate exclusive. */
DV_CHECK dv_err dv_stage_drop_loser(struct dv_store *s, struct dv_node *n,
				    const struct dv_place *p);

/* The value has no name any more: the stage lives on as n's file. Gate exclusive. */
void dv_stage_drop(struct dv_store *s, struct dv_node *n);

/* The daemon ends before it could commit: the record and the stage file stay for the next owner. */
void dv_stage_abandon(struct dv_store *s, struct dv_node *n);

#endif
