/* SPDX-License-Identifier: MIT */
/*
 * codec.h - one zstd frame in, one out. Only codec.c includes zstd.
 *
 * Source: RFC 8878. Contexts are kept per thread and reused; a thread that ends gives its own back,
 * dv_codec_thread_release() does so earlier. All functions may be called from any thread at once;
 * a dv_decoder belongs to one thread at a time. None blocks.
 */
#ifndef DV_CODEC_H
#define DV_CODEC_H

#include "core/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DV_LEVEL_MIN (-7)
#define DV_LEVEL_MAX 19
/* Plain size is not in the header. */
#define DV_PLAIN_UNKNOWN UINT64_MAX
/* Greatest window that is decoded: what `zstd -d` takes without being asked to. */
#define DV_WINDOW_MAX (UINT64_C(1) << 27)

/* Room that dv_codec_encode() may need for len plain bytes. */
size_t dv_codec_bound(size_t len);

/*
 * One frame with content size and checksum. level: DV_LEVEL_MIN to DV_LEVEL_MAX, 0 is zstd's own
 * default. -> bytes written; -ENOMEM, -ENOBUFS (room < bound and it did not fit).
 */
DV_CHECK ssize_t dv_codec_encode(int level, const void *plain, size_t len, void *out, size_t room);

/* The low half of XXH64 that ends a frame made by dv_codec_encode(). */
uint32_t dv_codec_checksum(const void *frame, size_t len);

/*
 * Decodes exactly one frame of `len` bytes into out; its plain bytes must be exactly plain_len.
 * What out holds after an error is not to be used.
 * -EBADMSG: damaged, or other sizes. -EOPNOTSUPP: needs a dictionary. -EFBIG: window over 128 MiB.
 * -ENOMEM. Damage to the head's fifth byte alone can look like the need for a dictionary.
 */
DV_CHECK dv_err dv_codec_decode(const void *frame, size_t len, void *out, size_t plain_len);

/* What the head of a frame tells (18 bytes are enough). A plain value type. */
struct dv_frame_head {
	size_t head_len;
	uint64_t plain_len; /* DV_PLAIN_UNKNOWN where it is not there; of a skippable frame 0 */
	uint64_t skip_len;  /* of a skippable frame: all of it, head included; else 0 */
	uint64_t window;
	uint32_t dictionary; /* 0: none */
	int has_checksum;
};
#define DV_FRAME_HEAD_MAX 18

/* -EBADMSG: not a zstd frame; -EAGAIN: more bytes are needed (only where len < DV_FRAME_HEAD_MAX).
 * A window that is too large or a dictionary is told, not refused. */
DV_CHECK dv_err dv_codec_head(const void *bytes, size_t len, struct dv_frame_head *out);

/*
 * Decodes a stream of any frames piece by piece, for files whose sizes only a decode can tell.
 * Memory: the window of the largest frame met, at most 128 MiB, plus about 300 KiB.
 */
struct dv_decoder;
DV_CHECK dv_err dv_decoder_new(struct dv_decoder **out);
void dv_decoder_free(struct dv_decoder **d);
/* Memory that it holds now. */
size_t dv_decoder_bytes(const struct dv_decoder *d);
/*
 * Consumes some of in[*in_pos..in_len), writes some of out (room > 0); *frame_done is set when a
 * frame, skippable ones too, ended just here: all its bytes are consumed and written.
 * -> bytes written. 0 without *frame_done: give more input. What is left behind *in_pos has to be
 * given again. A stream is whole where the step that consumed its last byte set *frame_done.
 * Errors as dv_codec_decode; after one the decoder answers it for ever.
 */
DV_CHECK ssize_t dv_decoder_step(struct dv_decoder *d, const void *in, size_t in_len,
				 size_t *in_pos, void *out, size_t room, int *frame_done);

void dv_codec_thread_release(void);

#endif
