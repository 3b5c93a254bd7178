/* SPDX-License-Identifier: MIT */
/*
 * tail.h - a value in two parts: whole frames in a packed file, and the plain bytes behind them in
 * segments, files of the owner folder.
 *
 *   packed   [ frame ][ frame ] ... [ frame ]                  ends at stored byte S, plain byte T
 *   segments                    [ plain bytes ][ plain bytes ] from T or before to the value's end
 *
 * Bytes are added at the end, to the last segment. Frames are made of those behind T and added to
 * the packed file; segments that end before T go. A segment goes as a whole file, since no
 * filesystem writes the dirty pages of a file that was unlinked, and most do write those of a hole
 * that is punched. dv_tail_finish() makes frames of all that is left and writes the seek table: the
 * packed file alone is then the value.
 *
 * A segment that begins at plain byte START is the file ID.START of the owner folder, in
 * hexadecimal; the one that a stage was before it became this one is the file ID. So its name and
 * its size tell what it holds.
 *
 * Locks     the gate of the value, which a tail belongs to: shared to read, exclusive to change.
 *           Nothing is synced here but where it says so.
 * Memory    16 bytes of layout and 4 of checksum a frame; a batch is 16 frames for each thread,
 *           plain and stored, a segment at most.
 */
#ifndef DV_TAIL_H
#define DV_TAIL_H

#include "core/format.h"
#include "core/internal.h"
#include "core/meta.h"

#define DV_TAIL_NAME 36 /* of a segment or of a packed part */

struct dv_segment {
	uint64_t start, len; /* plain bytes [start, start + len) */
	struct dv_file *file;
	bool promised; /* fsync has told of bytes in it: it goes only after the frames made of them
			  are durable */
	bool kept;     /* stays until the value is finished */
	bool punched;  /* bytes that frames were made of are not in it any more */
	char name[DV_TAIL_NAME];
	struct dv_segment *next;
};

/* The plain byte that is the first one of a segment's file, which may have a hole there: bytes lie
 * in pages as they would in a raw file, so a power cut tears them in no other way. */
static inline uint64_t dv_segment_base(uint64_t start)
{
	return start & ~UINT64_C(4095);
}

struct dv_tail {
	struct dv_file *packed;	 /* a reference */
	struct dv_layout frames; /* that lie whole in it */
	uint32_t *checksums;	 /* of each frame */
	size_t checksums_room;
	struct dv_segment *first, *last; /* in the order of their bytes */
	uint64_t size;			 /* of the value, plain */
	uint64_t id;			 /* of the record, which names the segments */
	uint64_t serial;		 /* of this tail; no two have the same */
	int dirfd;			 /* of the owner folder; borrowed */
	bool touched;			 /* the packed file has been changed */
	bool beyond;   /* it goes on behind S: with a seek table, or a frame that is made anew */
	bool named;    /* a segment was made since the folder was synced */
	bool nameless; /* nothing of it has to outlive the process: where there is no room for frames,
			  what they are made of is given back before they are written */
};

/* Shares packed. The layout is empty, there is no segment. */
DV_CHECK dv_err dv_tail_new(struct dv_store *s, struct dv_file *packed, int dirfd, uint64_t id,
			    struct dv_tail **out);
/* Closes all, removes nothing. NULL is allowed. */
void dv_tail_free(struct dv_store *s, struct dv_tail *t);

/* One more frame of the packed file is known. -EFBIG: DV_LAYOUT_BYTES_MAX. */
DV_CHECK dv_err dv_tail_add_frame(struct dv_tail *t, uint64_t stored_len, uint64_t plain_len,
				  uint32_t checksum);

/* A new, empty segment at the end of the value. */
DV_CHECK dv_err dv_tail_add_segment(struct dv_store *s, struct dv_tail *t);
/* f (takes the reference, also after an error) holds the bytes from start on, `len` of them. They
 * come in order. */
DV_CHECK dv_err dv_tail_adopt_segment(struct dv_store *s, struct dv_tail *t, const char *name,
				      struct dv_file *f, struct dv_range bytes);

uint64_t dv_tail_plain(const struct dv_tail *t);  /* T */
uint64_t dv_tail_stored(const struct dv_tail *t); /* S */

/* Adds bytes at the end: all of them, or after an error none, or some where that can not be. */
DV_CHECK ssize_t dv_tail_append(struct dv_store *s, struct dv_tail *t, const void *buf, size_t len);

DV_CHECK ssize_t dv_tail_read(struct dv_store *s, struct dv_tail *t, void *buf,
			      struct dv_range range, bool nowait);

/* What stat tells beside the packed file's own: size, blocks, mtime, ctime. */
DV_CHECK dv_err dv_tail_stat(struct dv_store *s, const struct dv_tail *t, struct dv_stat *st);

/* ---- frames ---- */

/* Plain bytes that one batch takes. */
size_t dv_tail_batch_bytes(const struct dv_store *s);

struct dv_tail_batch;
DV_CHECK dv_err dv_tail_batch_new(struct dv_store *s, struct dv_tail_batch **out);
void dv_tail_batch_free(struct dv_tail_batch *b); /* NULL is allowed */
/* Copies the next bytes behind T: whole frames, and with `rest` also what is less than one.
 * *out_count: frames taken. Gate at least shared. */
DV_CHECK dv_err dv_tail_take(struct dv_store *s, struct dv_tail *t, bool rest,
			     struct dv_tail_batch *b, size_t *out_count);
/* Needs no gate. */
void dv_tail_encode(struct dv_store *s, struct dv_tail_batch *b);
/* Adds the frames, where the tail is the one that they were taken of and T is as it was; else
 * -ESTALE. */
DV_CHECK dv_err dv_tail_put(struct dv_store *s, struct dv_tail *t, struct dv_tail_batch *b);

/* Removes the segments that end at or before `plain`, but the last one, and those that are kept or,
 * but with `promised`, that were promised. -> some of those are left. */
bool dv_tail_drop(struct dv_store *s, struct dv_tail *t, uint64_t plain, bool promised);

/* Gives back what segments that are not kept hold of bytes before `plain`, where the backing
 * can. */
void dv_tail_punch(struct dv_store *s, struct dv_tail *t, uint64_t plain);

/* The packed file becomes the value: frames of all that is left, the seek table, its size. Not
 * synced. The segments stay. The tail goes on to be one, should the value not be put in place. */
DV_CHECK dv_err dv_tail_finish(struct dv_store *s, struct dv_tail *t);
/* After it: one frame, and so no table? */
bool dv_tail_is_single(const struct dv_store *s, const struct dv_tail *t);

/* The same, and the value's times on the packed file. */
DV_CHECK dv_err dv_tail_complete(struct dv_store *s, struct dv_tail *t);
/* Its tag, then: `of` tells what sizes and times do not. In a file that was added to the old one
 * says that its end is open: it is to be durable first. */
void dv_tail_tag(struct dv_store *s, const struct dv_tail *t, const struct dv_tag *of);

/* Writes the segments' bytes from off on to fd, at their own offsets. */
DV_CHECK dv_err dv_tail_copy(struct dv_store *s, struct dv_tail *t, uint64_t off, int fd);
/* Writes all plain bytes to fd, in bounded memory. */
DV_CHECK dv_err dv_tail_decode(struct dv_store *s, struct dv_tail *t, int fd);

/* Unlinks all segments, but the one named `except` (NULL: none). */
void dv_tail_unlink(struct dv_store *s, struct dv_tail *t, const char *except);

/* A checksum of what lies in fd before stored byte `end`: what is behind it belongs to that. */
DV_CHECK dv_err dv_tail_mark(struct dv_store *s, int fd, uint64_t end, uint64_t *out);

/* Would the first bytes of fd, up to 1 MiB, be worth packing? */
DV_CHECK dv_err dv_tail_sample(struct dv_store *s, int fd, uint64_t size, bool *out);

/* Name of the packed part of record id, and of its segment that begins at start. */
void dv_tail_packed_name(uint64_t id, char out[DV_TAIL_NAME]);
void dv_tail_segment_name(uint64_t id, uint64_t start, char out[DV_TAIL_NAME]);

#endif
