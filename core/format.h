/* SPDX-License-Identifier: MIT */
/*
 * format.h - the layout of a packed value: pure, no I/O.
 *
 * Source: zstd's contrib/seekable_format/zstd_seekable_compression_format.md, version 0.1.0, and
 * RFC 8878.
 *
 *   one frame   [ zstd frame, content size and checksum in it ]
 *   seekable    [ frame 0 ][ frame 1 ] ... [ skippable frame: seek table ]
 *
 *   seek table  u32 0x184D2A5E | u32 size of the rest | entries
 *               | u32 number of frames | u8 descriptor | u32 0x8F92EAB1
 *   entry       u32 stored bytes | u32 plain bytes
 *               | u32 XXH64(plain) low half, where descriptor bit 7 is set
 *   all little endian
 *
 * Everything read from disk is a bound to check: sums, counts and sizes never pass what the file's
 * own size allows.
 *
 * Threads   functions that take a const layout may run at once.
 */
#ifndef DV_FORMAT_H
#define DV_FORMAT_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Plain bytes of one frame that random access decodes at once; larger ones, which are foreign, are
 * decoded from their start in pieces (foreign.h). */
#define DV_FRAME_PLAIN_MAX (16u << 20)
/* Frames of one value: 8 TiB in frames of 128 KiB. */
#define DV_FRAMES_MAX	      (1u << 26)
#define DV_TABLE_FOOTER_BYTES 9u

/* Where frame i lies. */
struct dv_frame {
	uint64_t stored_off, plain_off;
	uint64_t stored_len, plain_len;
};

/*
 * All frames of a value, in order: stored_end[i], plain_end[i] are the sums up to and with frame i.
 * Built by dv_layout_add() or dv_table_parse(). Memory: 16 bytes a frame.
 */
struct dv_layout {
	uint32_t count, room;
	uint64_t *stored_end, *plain_end;
};

void dv_layout_init(struct dv_layout *l);
void dv_layout_release(struct dv_layout *l);
/* -EFBIG past DV_FRAMES_MAX or 2^63 bytes in all; -ENOMEM. After an error l is as before. */
DV_CHECK dv_err dv_layout_add(struct dv_layout *l, uint64_t stored_len, uint64_t plain_len);
uint64_t dv_layout_plain_size(const struct dv_layout *l);
uint64_t dv_layout_stored_size(const struct dv_layout *l); /* of the frames, without the table */
size_t dv_layout_bytes(const struct dv_layout *l);	   /* memory it holds */
/* The frame that holds plain offset off; off < plain size. Empty frames are never returned. */
uint32_t dv_layout_find(const struct dv_layout *l, uint64_t off);
struct dv_frame dv_layout_frame(const struct dv_layout *l, uint32_t index);

/* What the last DV_TABLE_FOOTER_BYTES of a file tell of its seek table. A plain value type. */
struct dv_seek_table {
	uint32_t count; /* of frames */
	bool checksums;
	uint32_t entry_bytes;
	uint64_t bytes; /* of all of it, from its magic to the end of file */
};
#define DV_TABLE_HEAD_BYTES  8u
#define DV_TABLE_ENTRY_BYTES 12u /* at most */

/* Bytes of the seek table of `count` frames, count <= DV_FRAMES_MAX. */
size_t dv_table_bytes(uint32_t count, bool checksums);

/*
 * Writes the seek table into out (dv_table_bytes(count, checksums != NULL) bytes). checksums[i] is
 * the low half of XXH64 of the plain bytes, which is also the last four bytes of a frame with a
 * checksum. NULL: a table without them (frames of other makers that carry none).
 * No frame may have 2^32 bytes or more, stored or plain.
 */
void dv_table_write(const struct dv_layout *l, const uint32_t *checksums, uint8_t *out);
/* The same in pieces: DV_TABLE_HEAD_BYTES, the entries of frames [from, from + n), and
 * DV_TABLE_FOOTER_BYTES. -> bytes written. */
size_t dv_table_write_head(const struct dv_layout *l, bool checksums, uint8_t *out);
size_t dv_table_write_entries(const struct dv_layout *l, const uint32_t *checksums, uint32_t from,
			      uint32_t n, uint8_t *out);
size_t dv_table_write_footer(const struct dv_layout *l, bool checksums, uint8_t *out);

/*
 * tail: the last bytes of a file, at least DV_TABLE_FOOTER_BYTES. *out_bytes: size of the whole
 * table from its magic to the end of file, so that the caller can read all of it.
 * -ENOENT: there is no seek table. -EBADMSG: there is one that can not be. -EFBIG: too many frames.
 * One file in 2^32 ends in the magic by chance (a frame's checksum): after -EBADMSG here or from
 * dv_table_parse() the frames themselves, walked from the start, say what the file is.
 */
DV_CHECK dv_err dv_table_probe(const uint8_t *tail, size_t tail_len, uint64_t file_size,
			       size_t *out_bytes);

/*
 * table: all of it, *out_bytes of the probe. The frames must fill the file up to the table exactly,
 * and none may claim more plain bytes than its stored bytes can make: else -EBADMSG. *out is set
 * anew (what it held is not released); it is empty after an error. -ENOMEM.
 */
DV_CHECK dv_err dv_table_parse(const uint8_t *table, size_t table_len, uint64_t file_size,
			       struct dv_layout *out);

/*
 * The same in pieces, so that memory does not follow the table: begin with its ends, add the
 * entries in order, end. *l: empty before add; on an error of add or end the caller releases it.
 * Errors: as dv_table_parse().
 */
DV_CHECK dv_err dv_table_begin(const uint8_t footer[DV_TABLE_FOOTER_BYTES], uint64_t file_size,
			       struct dv_seek_table *out);
/* entries: `n` of them. checksums: room for n, or NULL: not wanted. Where the table has none, zeros
 * are written. */
DV_CHECK dv_err dv_table_add(const struct dv_seek_table *t, const uint8_t *entries, uint32_t n,
			     struct dv_layout *l, uint32_t *checksums);
DV_CHECK dv_err dv_table_end(const struct dv_seek_table *t, const uint8_t head[DV_TABLE_HEAD_BYTES],
			     uint64_t file_size, const struct dv_layout *l);

/* The checksum of frame `index` in a table that dv_table_parse() took; false where it has none. */
bool dv_table_checksum(const uint8_t *table, size_t table_len, uint32_t index, uint32_t *out);

#endif
