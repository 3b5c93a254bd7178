/* SPDX-License-Identifier: MIT */
/*
 * verify_frames.h - all of a zstd file, from its first byte to its last: each frame decoded, its
 * checksums, its seek table.
 *
 * Goes on behind what is damaged: to where the seek table says the next frame begins, else to the
 * next bytes that are the beginning of a whole frame.
 */
#ifndef DV_VERIFY_FRAMES_H
#define DV_VERIFY_FRAMES_H

#include "core/internal.h"
#include "core/verify.h"

struct dv_scan; /* buffers and a decoder, of one thread */
DV_CHECK dv_err dv_scan_new(struct dv_scan **out);
void dv_scan_free(struct dv_scan **scan);
/* The scan's buffer of DV_SCAN_BYTES, for who reads something else between two files. */
#define DV_SCAN_BYTES (256u << 10)
uint8_t *dv_scan_buffer(struct dv_scan *scan);

/* A frame that is whole, in the order of the file. */
struct dv_scan_frame {
	uint64_t off, len; /* stored */
	uint64_t plain_off, plain_len;
	bool placed;	 /* plain_off is known: nothing before is missing, or a table tells */
	bool tells_size; /* in its head */
	bool has_sum;
	uint32_t sum; /* low half of XXH64 of the plain bytes */
	bool skippable;
};

/* Each may be NULL. Errors they return end the scan, and are its result. */
struct dv_scan_ops {
	void *self;
	dv_err (*frame)(void *self, const struct dv_scan_frame *f);
	dv_err (*bytes)(void *self, const void *plain, size_t len, uint64_t off);
	void (*fault)(void *self, enum dv_finding_kind kind, const char *detail);
	void (*read)(void *self, uint64_t bytes); /* stored bytes, as they are read */
};

enum dv_scan_table {
	DV_SCAN_NO_TABLE,
	DV_SCAN_TABLE_GOOD,
	DV_SCAN_TABLE_BAD, /* a fault */
};

struct dv_scan_result {
	uint64_t frames;     /* whole ones, of zstd */
	uint64_t unsummed;   /* of these, without a checksum */
	uint64_t plain;	     /* bytes of whole frames */
	uint64_t frames_end; /* where the table begins, or the file ends */
	uint64_t bad;	     /* places where frames are damaged */
	enum dv_scan_table table;
	/* All frames are as those made here: plain size in the head, content checksum. frame_size:
	 * plain bytes of all but the last. */
	bool like_ours;
	uint64_t frame_size;
};

struct dv_scan_file {
	int fd;
	uint64_t size;
	bool own;	       /* made here, so that the need for a dictionary is damage */
	pthread_mutex_t *wide; /* held while a window of more than 8 MiB is decoded */
};

/* Errors: of memory, of ops; -EAGAIN: the file ended before its size. */
DV_CHECK dv_err dv_scan_frames(struct dv_store *s, struct dv_scan *scan,
			       const struct dv_scan_file *file, const struct dv_scan_ops *ops,
			       struct dv_scan_result *out);

#endif
