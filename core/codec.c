/* SPDX-License-Identifier: MIT */
/*
 * codec.c - the one place that calls zstd, by its stable API only.
 *
 * Place: value decodes frames here, pack and append encode them.
 *
 * The head of a frame is parsed here and not by zstd, whose parser is not part of its stable API,
 * and which looks at the window of a frame only where it has to allocate one: the same frame would
 * be refused or not as buffers happen to be cut. So each frame passes dv_codec_head() and
 * head_refused() before zstd sees it.
 *
 * Memory follows what a head claims only in dv_decoder, up to DV_WINDOW_MAX. dv_codec_decode()
 * allocates nothing that depends on the frame.
 */
#include "core/codec.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#define FRAME_MAGIC	     0xFD2FB528u
#define SKIPPABLE_MAGIC	     0x184D2A50u /* and the 15 that follow */
#define SKIPPABLE_HEAD_BYTES 8u
#define WINDOW_LOG_MAX	     27
#define BLOCK_MAX	     (128u << 10)

_Static_assert(DV_WINDOW_MAX == UINT64_C(1) << WINDOW_LOG_MAX, "the limit in both its forms");

struct contexts {
	ZSTD_CCtx *encoder;
	ZSTD_DCtx *decoder;
};

static pthread_once_t contexts_once = PTHREAD_ONCE_INIT;
static pthread_key_t contexts_key;
static int contexts_key_errno;

static void contexts_free(void *contexts)
{
	struct contexts *c = contexts;
	if (!c)
		return;
	ZSTD_freeCCtx(c->encoder);
	ZSTD_freeDCtx(c->decoder);
	free(c);
}

static void contexts_key_make(void)
{
	contexts_key_errno = pthread_key_create(&contexts_key, contexts_free);
}

/* The calling thread's, lent; NULL: no memory. */
static struct contexts *contexts_get(void)
{
	if (pthread_once(&contexts_once, contexts_key_make) != 0 || contexts_key_errno)
		return NULL;
	struct contexts *c = pthread_getspecific(contexts_key);
	if (c)
		return c;
	c = calloc(1, sizeof(*c));
	if (c && pthread_setspecific(contexts_key, c) != 0) {
		free(c);
		return NULL;
	}
	return c;
}

void dv_codec_thread_release(void)
{
	if (pthread_once(&contexts_once, contexts_key_make) != 0 || contexts_key_errno)
		return;
	contexts_free(pthread_getspecific(contexts_key));
	pthread_setspecific(contexts_key, NULL);
}

/* A result of zstd that ZSTD_isError(). */
static dv_err translate(size_t result)
{
	switch (ZSTD_getErrorCode(result)) {
	case ZSTD_error_memory_allocation:
		return -ENOMEM;
	case ZSTD_error_frameParameter_windowTooLarge:
		return -EFBIG;
	case ZSTD_error_dictionary_wrong:
		return -EOPNOTSUPP;
	default:
		return -EBADMSG;
	}
}

size_t dv_codec_bound(size_t len)
{
	return ZSTD_compressBound(len);
}

static ZSTD_CCtx *encoder_get(void)
{
	struct contexts *c = contexts_get();
	if (!c)
		return NULL;
	if (!c->encoder)
		c->encoder = ZSTD_createCCtx();
	return c->encoder;
}

ssize_t dv_codec_encode(int level, const void *plain, size_t len, void *out, size_t room)
{
	assert(level >= DV_LEVEL_MIN && level <= DV_LEVEL_MAX);

	ZSTD_CCtx *encoder = encoder_get();
	if (!encoder)
		return -ENOMEM;
	if (ZSTD_isError(ZSTD_CCtx_setParameter(encoder, ZSTD_c_compressionLevel, level)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(encoder, ZSTD_c_checksumFlag, 1)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(encoder, ZSTD_c_contentSizeFlag, 1)))
		return -ENOMEM; /* the values are in range: there is no other reason */

	size_t n = ZSTD_compress2(encoder, out, room, plain, len);
	if (!ZSTD_isError(n))
		return (ssize_t)n;
	ZSTD_CCtx_reset(encoder, ZSTD_reset_session_only);
	return ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall ? -ENOBUFS : -ENOMEM;
}

/* Little endian, n <= 8 bytes. */
static uint64_t get_number(const uint8_t *p, size_t n)
{
	uint64_t v = 0;
	for (size_t i = n; i-- > 0;)
		v = v << 8 | p[i];
	return v;
}

uint32_t dv_codec_checksum(const void *frame, size_t len)
{
	assert(len >= 4);
	return (uint32_t)get_number((const uint8_t *)frame + len - 4, 4);
}

static uint64_t window_size(uint8_t descriptor)
{
	uint64_t base = UINT64_C(1) << (10 + (descriptor >> 3));
	return base + base / 8 * (descriptor & 7);
}

dv_err dv_codec_head(const void *bytes, size_t len, struct dv_frame_head *out)
{
	static const uint8_t dictionary_bytes[4] = {0, 1, 2, 4};
	static const uint8_t size_bytes[4] = {0, 2, 4, 8};
	const uint8_t *p = bytes;
	struct dv_frame_head h = {.head_len = SKIPPABLE_HEAD_BYTES};

	if (len < 4)
		return -EAGAIN;
	uint32_t magic = (uint32_t)get_number(p, 4);
	if ((magic & ~15u) == SKIPPABLE_MAGIC) {
		if (len < SKIPPABLE_HEAD_BYTES)
			return -EAGAIN;
		h.skip_len = SKIPPABLE_HEAD_BYTES + get_number(p + 4, 4);
		*out = h;
		return 0;
	}
	if (magic != FRAME_MAGIC)
		return -EBADMSG;
	if (len < 5)
		return -EAGAIN;

	uint8_t descriptor = p[4];
	if (descriptor & 8) /* reserved */
		return -EBADMSG;
	bool single_segment = descriptor & 32;
	size_t window_n = single_segment ? 0 : 1;
	size_t dictionary_n = dictionary_bytes[descriptor & 3];
	size_t size_n = size_bytes[descriptor >> 6];
	if (size_n == 0 && single_segment)
		size_n = 1;
	h.has_checksum = (descriptor & 4) != 0;
	h.head_len = 5 + window_n + dictionary_n + size_n;
	if (len < h.head_len)
		return -EAGAIN;

	p += 5;
	if (window_n)
		h.window = window_size(*p);
	p += window_n;
	h.dictionary = (uint32_t)get_number(p, dictionary_n);
	p += dictionary_n;
	h.plain_len = size_n ? get_number(p, size_n) : DV_PLAIN_UNKNOWN;
	if (size_n == 2)
		h.plain_len += 256;
	if (size_n && h.plain_len > INT64_MAX)
		return -EBADMSG; /* no file is that long; keeps DV_PLAIN_UNKNOWN unmistakable */
	if (single_segment)
		h.window = h.plain_len;
	*out = h;
	return 0;
}

/* What diskvfs does not decode, though it may be a good frame. */
static dv_err head_refused(const struct dv_frame_head *head)
{
	if (head->dictionary)
		return -EOPNOTSUPP;
	if (head->window > DV_WINDOW_MAX)
		return -EFBIG;
	return 0;
}

static ZSTD_DCtx *decoder_get(void)
{
	struct contexts *c = contexts_get();
	if (!c)
		return NULL;
	if (!c->decoder)
		c->decoder = ZSTD_createDCtx();
	return c->decoder;
}

/* Do head, blocks and checksum end where the bytes end? (RFC 8878, 3.1.1.2) */
static bool is_one_frame(const uint8_t *frame, size_t len, const struct dv_frame_head *head)
{
	enum { BLOCK_HEAD = 3, RLE = 1, RESERVED = 3 };
	size_t pos = head->head_len;
	bool last = false;

	while (!last) {
		if (len - pos < BLOCK_HEAD)
			return false;
		uint32_t block = (uint32_t)get_number(frame + pos, BLOCK_HEAD);
		last = block & 1;
		unsigned type = block >> 1 & 3;
		size_t size = block >> 3;
		if (type == RESERVED || size > BLOCK_MAX)
			return false;
		pos += BLOCK_HEAD;
		if (type == RLE)
			size = 1;
		if (len - pos < size)
			return false;
		pos += size;
	}
	return len - pos == (head->has_checksum ? 4 : 0);
}

dv_err dv_codec_decode(const void *frame, size_t len, void *out, size_t plain_len)
{
	struct dv_frame_head head;
	uint8_t nothing; /* stands for an out of no bytes, which may be NULL */

	if (dv_codec_head(frame, len, &head) != 0)
		return -EBADMSG; /* -EAGAIN too: the frame is cut off */
	if (head.plain_len != plain_len && head.plain_len != DV_PLAIN_UNKNOWN)
		return -EBADMSG;
	if (head.skip_len)
		return head.skip_len == len ? 0 : -EBADMSG;

	/* Before what is refused: a damaged head may well ask for a dictionary or a window. */
	if (!is_one_frame(frame, len, &head))
		return -EBADMSG;
	dv_err err = head_refused(&head);
	if (err)
		return err;

	ZSTD_DCtx *decoder = decoder_get();
	if (!decoder)
		return -ENOMEM;
	size_t n = ZSTD_decompressDCtx(decoder, plain_len ? out : &nothing, plain_len, frame, len);
	if (ZSTD_isError(n))
		return translate(n);
	return n == plain_len ? 0 : -EBADMSG;
}

/*
 *            +-----------------------------------+
 *            v                                   | frame_done
 *   HEAD: gather until it parses --> SKIP: count down ----+
 *                                \-> FRAME: zstd ---------+
 */
enum decoder_state { STATE_HEAD, STATE_FRAME, STATE_SKIP };

struct dv_decoder {
	ZSTD_DCtx *context;
	enum decoder_state state;
	dv_err failed;	     /* of an earlier step; 0: none */
	bool output_pending; /* zstd may hold plain bytes for which there was no room */
	size_t gathered;
	uint8_t head[DV_FRAME_HEAD_MAX];
	uint64_t skip_left;
};

dv_err dv_decoder_new(struct dv_decoder **out)
{
	struct dv_decoder *d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->context = ZSTD_createDCtx();
	if (!d->context ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(d->context, ZSTD_d_windowLogMax, WINDOW_LOG_MAX))) {
		dv_decoder_free(&d);
		return -ENOMEM;
	}
	*out = d;
	return 0;
}

void dv_decoder_free(struct dv_decoder **d)
{
	if (!*d)
		return;
	ZSTD_freeDCtx((*d)->context);
	free(*d);
	*d = NULL;
}

size_t dv_decoder_bytes(const struct dv_decoder *d)
{
	return sizeof(*d) + ZSTD_sizeof_DCtx(d->context);
}

/* Runs zstd once; *done is set where the frame ended. */
static dv_err run_zstd(struct dv_decoder *d, ZSTD_inBuffer *in, ZSTD_outBuffer *out, int *done)
{
	size_t n = ZSTD_decompressStream(d->context, out, in);
	if (ZSTD_isError(n))
		return translate(n);
	d->output_pending = n != 0 && out->pos == out->size;
	if (n == 0) {
		d->state = STATE_HEAD;
		*done = 1;
	}
	return 0;
}

static dv_err step_head(struct dv_decoder *d, ZSTD_inBuffer *in, ZSTD_outBuffer *out, int *done)
{
	struct dv_frame_head head;
	dv_err err = -EAGAIN;

	while (err == -EAGAIN && in->pos < in->size) {
		d->head[d->gathered++] = ((const uint8_t *)in->src)[in->pos++];
		err = dv_codec_head(d->head, d->gathered, &head);
	}
	if (err == -EAGAIN)
		return 0;
	if (!err)
		err = head_refused(&head);
	if (err)
		return err;

	ZSTD_inBuffer gathered = {d->head, d->gathered, 0};
	d->gathered = 0;
	if (head.skip_len) {
		d->skip_left = head.skip_len - SKIPPABLE_HEAD_BYTES;
		d->state = d->skip_left ? STATE_SKIP : STATE_HEAD;
		*done = d->skip_left == 0;
		return 0;
	}
	d->state = STATE_FRAME;
	ZSTD_DCtx_reset(d->context, ZSTD_reset_session_only);
	err = run_zstd(d, &gathered, out, done);
	/* zstd takes a head as a whole, so nothing of it is left to give again. */
	return !err && gathered.pos != gathered.size ? -EBADMSG : err;
}

static void step_skip(struct dv_decoder *d, ZSTD_inBuffer *in, int *done)
{
	size_t left = in->size - in->pos;
	size_t n = left < d->skip_left ? left : (size_t)d->skip_left;

	in->pos += n;
	d->skip_left -= n;
	if (d->skip_left == 0) {
		d->state = STATE_HEAD;
		*done = 1;
	}
}

ssize_t dv_decoder_step(struct dv_decoder *d, const void *in, size_t in_len, size_t *in_pos,
			void *out, size_t room, int *frame_done)
{
	assert(room > 0 && *in_pos <= in_len);

	ZSTD_inBuffer from = {in, in_len, *in_pos};
	ZSTD_outBuffer to = {out, room, 0};

	*frame_done = 0;
	while (!d->failed && !*frame_done && to.pos < to.size) {
		if (from.pos == from.size && !d->output_pending)
			break;
		if (d->state == STATE_HEAD)
			d->failed = step_head(d, &from, &to, frame_done);
		else if (d->state == STATE_SKIP)
			step_skip(d, &from, frame_done);
		else
			d->failed = run_zstd(d, &from, &to, frame_done);
	}
	*in_pos = from.pos;
	return d->failed ? d->failed : (ssize_t)to.pos;
}
