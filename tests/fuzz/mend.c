/* SPDX-License-Identifier: MIT */
/* mend.c - see fuzz.h: zstd and zlib as they are, by their own libraries and not by core/. */
#define ZSTD_STATIC_LINKING_ONLY
#include "tests/fuzz/fuzz.h"

#include "core/codec.h"
#include "core/format.h"

#include <stdbool.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define FRAMES_MAX	    256u
#define TABLE_MAGIC	    0x184D2A5Eu
#define FOOTER_MAGIC	    0x8F92EAB1u
#define WINDOW_1_MIB	    (10u << 3)
#define SEED(seed, bit, of) (((seed) >> (bit)) % (of))

/* The memory that is given back is used again soon: with the default of 256 MiB each input runs on pages
 * that are new to it, and the kernel's work is most of all. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=4:malloc_context_size=8";
}

static uint8_t scratch[1u << 20], plain[FUZZ_PLAIN_MAX];

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_number(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

/* What zstd puts behind a frame of these bytes. */
static uint32_t checksum(const uint8_t *bytes, size_t len)
{
	static ZSTD_CCtx *c;
	if (!c)
		c = ZSTD_createCCtx();
	require(c != NULL);
	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, -100);
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
	size_t n = ZSTD_compress2(c, scratch, sizeof(scratch), bytes, len);
	require(!ZSTD_isError(n));
	return get32(scratch + n - 4);
}

/* ---- zstd ---- */

struct frame {
	size_t at, len, plain_len;
	uint32_t sum;
};

/* -> where the blocks end, from the frame's beginning; 0: they do not */
static size_t blocks_end(const uint8_t *p, size_t len, size_t pos)
{
	for (;;) {
		if (len - pos < 3)
			return 0;
		uint32_t block =
			(uint32_t)p[pos] | (uint32_t)p[pos + 1] << 8 | (uint32_t)p[pos + 2] << 16;
		size_t size = (block >> 1 & 3) == 1 ? 1 : block >> 3;
		pos += 3;
		if (size > len - pos)
			return 0;
		pos += size;
		if (block & 1)
			return pos;
	}
}

/* Decodes the blocks under a head that claims nothing. -> plain bytes, or -1 */
static long decode_blocks(const uint8_t *frame, size_t head_len, size_t end)
{
	static ZSTD_DCtx *d;
	bool single = frame[4] & 32;
	size_t n = end - head_len;
	if (!d)
		d = ZSTD_createDCtx();
	if (!d || n > sizeof(scratch) - 6)
		return -1;
	memcpy(scratch, frame, 4);
	scratch[4] = 0;
	scratch[5] = single ? WINDOW_1_MIB : frame[5];
	memcpy(scratch + 6, frame + head_len, n);
	size_t made = ZSTD_decompressDCtx(d, plain, sizeof(plain), scratch, n + 6);
	return ZSTD_isError(made) ? -1 : (long)made;
}

static void mend_size(uint8_t *frame, size_t head_len, size_t made)
{
	static const unsigned size_bytes[4] = {0, 2, 4, 8};
	unsigned n = size_bytes[frame[4] >> 6];
	if (n == 0 && (frame[4] & 32))
		n = 1;
	if (n == 2 && made < 256)
		return;
	if (n)
		put_number(frame + head_len - n, n == 2 ? made - 256 : made, n);
}

/* -> its length, or 0: it is none, and nothing behind it is looked at */
static size_t mend_one(uint8_t *p, size_t len, unsigned seed, struct frame *out)
{
	struct dv_frame_head h;
	if (dv_codec_head(p, len, &h))
		return 0;
	if (h.skip_len > len && SEED(seed, 4, 16)) {
		put_number(p + 4, len - 8, 4);
		h.skip_len = len;
	}
	if (h.skip_len)
		return h.skip_len <= len ? (size_t)h.skip_len : 0;
	if (!(p[4] & 32) && p[5] > WINDOW_1_MIB && SEED(seed, 4, 16))
		p[5] = (uint8_t)(WINDOW_1_MIB - p[5] % WINDOW_1_MIB);
	if (SEED(seed, 8, 16))
		p[4] &= 0xff - 3 - 8 * !(p[4] & 3); /* no dictionary: its number would be gone */
	if (dv_codec_head(p, len, &h))
		return 0;
	size_t end = blocks_end(p, len, h.head_len);
	if (!end || len - end < (h.has_checksum ? 4 : 0))
		return 0;
	long made = decode_blocks(p, h.head_len, end);
	out->len = end + (h.has_checksum ? 4 : 0);
	if (made < 0)
		return out->len;
	out->plain_len = (size_t)made;
	out->sum = checksum(plain, (size_t)made);
	mend_size(p, h.head_len, (size_t)made);
	if (h.has_checksum)
		put_number(p + end, out->sum, 4);
	return out->len;
}

static size_t write_table(uint8_t *at, size_t room, const struct frame *frames, unsigned count,
			  bool sums)
{
	size_t entry = sums ? 12 : 8, bytes = 8 + count * entry + DV_TABLE_FOOTER_BYTES;
	if (bytes > room)
		return 0;
	put_number(at, TABLE_MAGIC, 4);
	put_number(at + 4, bytes - 8, 4);
	uint8_t *p = at + 8;
	for (unsigned i = 0; i < count; i++, p += entry) {
		put_number(p, frames[i].len, 4);
		put_number(p + 4, frames[i].plain_len, 4);
		if (sums)
			put_number(p + 8, frames[i].sum, 4);
	}
	put_number(p, count, 4);
	p[4] = sums ? 128 : 0;
	put_number(p + 5, FOOTER_MAGIC, 4);
	return bytes;
}

size_t mend_zstd(uint8_t *data, size_t len, size_t room, unsigned seed)
{
	struct frame frames[FRAMES_MAX];
	unsigned count = 0;
	size_t pos = 0;
	bool table = len >= 4 && get32(data + len - 4) == FOOTER_MAGIC;
	bool sums = table && len >= 9 && (data[len - 5] & 128);
	while (pos < len && count < FRAMES_MAX) {
		if (table && len - pos >= 4 && get32(data + pos) == TABLE_MAGIC)
			break;
		struct frame *f = &frames[count];
		*f = (struct frame){.at = pos};
		size_t n = mend_one(data + pos, len - pos, seed + count, f);
		if (!n)
			return len;
		f->len = n;
		count++;
		pos += n;
	}
	if (!table || SEED(seed, 12, 8) == 0)
		return len;
	size_t bytes = write_table(data + pos, room - pos, frames, count, sums);
	return bytes ? pos + bytes : len;
}

size_t make_frame(uint8_t *out, size_t room, unsigned seed)
{
	static const size_t sizes[8] = {0, 1, 100, 700, 3000, 4096, 5000, 40000};
	size_t len = SEED(seed, 17, 32) ? sizes[SEED(seed, 0, 8)] : 140000;
	static ZSTD_CCtx *c;
	if (!c)
		c = ZSTD_createCCtx();
	if (!c)
		return 0;
	for (size_t i = 0; i < len; i++)
		plain[i] = (uint8_t)(seed & 8 ? i % 7
					      : (i * 2654435761u + seed) >> (seed & 16 ? 3 : 11));
	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, (int)SEED(seed, 5, 4) * 6);
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, (int)SEED(seed, 7, 2));
	ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, (int)SEED(seed, 8, 2));
	ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, 10 + (int)SEED(seed, 9, 10));
	if (SEED(seed, 13, 8) == 0) { /* a skippable one */
		if (room < 12)
			return 0;
		put_number(out, 0x184D2A50u + SEED(seed, 16, 16), 4);
		put_number(out + 4, 4, 4);
		memset(out + 8, 0, 4);
		return 12;
	}
	size_t n = ZSTD_compress2(c, out, room, plain, len);
	return ZSTD_isError(n) ? 0 : n;
}

size_t splice_frame(uint8_t *data, size_t len, size_t room, unsigned seed)
{
	size_t at[FRAMES_MAX + 1] = {0}, pos = 0;
	unsigned count = 0;
	while (pos < len && count < FRAMES_MAX) {
		struct dv_frame_head h;
		at[count++] = pos;
		if (dv_codec_head(data + pos, len - pos, &h))
			break;
		size_t n = h.skip_len ? h.skip_len : blocks_end(data + pos, len - pos, h.head_len);
		n += n && h.has_checksum ? 4 : 0;
		if (!n || n > len - pos)
			break;
		pos += n;
	}
	at[count] = pos;
	unsigned which = count ? SEED(seed, 3, count) : 0;
	if (count > 1 && seed % 4 == 0 && at[which + 1] > at[which]) {
		memmove(data + at[which], data + at[which + 1], len - at[which + 1]);
		return len - (at[which + 1] - at[which]);
	}
	size_t n = make_frame(scratch, room - len < sizeof(scratch) ? room - len : sizeof(scratch),
			      seed * 2654435761u);
	memmove(data + at[which] + n, data + at[which], len - at[which]);
	memcpy(data + at[which], scratch, n);
	return len + n;
}

long plain_of_zstd(const uint8_t *file, size_t len, uint8_t *out, size_t room)
{
	static ZSTD_DCtx *d;
	if (!d)
		d = ZSTD_createDCtx();
	if (!d || ZSTD_isError(ZSTD_DCtx_reset(d, ZSTD_reset_session_and_parameters)) ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, 27)))
		return -1;
	ZSTD_inBuffer in = {file, len, 0};
	ZSTD_outBuffer to = {out, room, 0};
	uint8_t more;
	for (size_t left = 1; in.pos < len || left;) {
		ZSTD_outBuffer behind = {&more, 1, 0};
		bool full = to.pos == room;
		size_t before = in.pos, made = to.pos;
		left = ZSTD_decompressStream(d, full ? &behind : &to, &in);
		if (ZSTD_isError(left))
			return -1;
		if (behind.pos)
			return -2;
		if (in.pos == len && left && before == in.pos && made == to.pos)
			return -1;
	}
	return (long)to.pos;
}

bool zstd_is_strict(const uint8_t *file, size_t len)
{
	uint8_t piece[4096];
	ZSTD_DCtx *d = ZSTD_createDCtx();
	ZSTD_inBuffer in = {file, 0, 0};
	size_t left = 0, made = 1;
	while (d && !ZSTD_isError(left) && (in.pos < len || made)) {
		ZSTD_outBuffer out = {piece, sizeof(piece), 0};
		in.size += in.pos == in.size &&
			   in.size < len; /* never a whole frame: it would be taken at once */
		left = ZSTD_decompressStream(d, &out, &in);
		made = out.pos;
	}
	ZSTD_freeDCtx(d);
	return !ZSTD_isError(left);
}

bool zstd_decodes_at_once(const uint8_t *file, size_t len, uint8_t *out, size_t room)
{
	ZSTD_DCtx *d = ZSTD_createDCtx();
	bool does = d && !ZSTD_isError(ZSTD_decompressDCtx(d, out, room, file, len));
	ZSTD_freeDCtx(d);
	return does;
}

/* ---- gzip and zlib ---- */

/* A raw stream. -> stored bytes of it, 0: it is none. Its plain bytes are in plain[0..*made) */
static size_t raw_stream(const uint8_t *p, size_t len, const uint8_t *dict, size_t dict_len,
			 size_t *made)
{
	z_stream z = {.next_in = (Bytef *)p, .avail_in = (uInt)len};
	if (inflateInit2(&z, -15) != Z_OK)
		return 0;
	if (dict)
		inflateSetDictionary(&z, dict, (uInt)dict_len);
	z.next_out = plain;
	z.avail_out = sizeof(plain);
	int status = inflate(&z, Z_FINISH);
	*made = sizeof(plain) - z.avail_out;
	size_t used = len - z.avail_in;
	inflateEnd(&z);
	return status == Z_STREAM_END ? used : 0;
}

static size_t gzip_head(const uint8_t *p, size_t len)
{
	size_t pos = 10;
	if (len < pos || p[0] != 0x1f || p[1] != 0x8b)
		return 0;
	if (p[3] & 4)
		pos += len - pos < 2 ? len : 2u + p[pos] + (size_t)p[pos + 1] * 256;
	for (int text = 8; text <= 16; text *= 2)
		if (p[3] & text)
			while (pos < len && p[pos++])
				;
	pos += p[3] & 2 ? 2 : 0;
	return pos < len ? pos : 0;
}

size_t mend_gzip(uint8_t *data, size_t len)
{
	for (size_t pos = 0; pos < len;) {
		size_t made, head = gzip_head(data + pos, len - pos);
		size_t n =
			head ? raw_stream(data + pos + head, len - pos - head, NULL, 0, &made) : 0;
		if (!n || len - pos - head - n < 8)
			break;
		uint8_t *p = data + pos + head + n;
		put_number(p, crc32(crc32(0, NULL, 0), plain, (uInt)made), 4);
		put_number(p + 4, made, 4);
		pos += head + n + 8;
	}
	return len;
}

size_t mend_zlib(uint8_t *data, size_t len, const uint8_t *dict, size_t dict_len)
{
	if (len < 6)
		return len;
	data[0] = (uint8_t)((data[0] & 0x70) | 8);
	data[1] = (uint8_t)(data[1] & 0xc0) | (dict ? 32 : 0);
	data[1] = (uint8_t)(data[1] + 31 - (data[0] * 256u + data[1]) % 31);
	size_t made, head = dict ? 6 : 2;
	if (dict) {
		uint32_t id = (uint32_t)adler32(adler32(0, NULL, 0), dict, (uInt)dict_len);
		for (unsigned i = 0; i < 4; i++)
			data[2 + i] = (uint8_t)(id >> (24 - 8 * i));
	}
	size_t n = raw_stream(data + head, len - head, dict, dict_len, &made);
	if (n && len - head - n >= 4) {
		uint32_t sum = (uint32_t)adler32(adler32(0, NULL, 0), plain, (uInt)made);
		for (unsigned i = 0; i < 4; i++)
			data[head + n + i] = (uint8_t)(sum >> (24 - 8 * i));
	}
	return len;
}

long plain_of_deflate(const uint8_t *file, size_t len, int is_gzip, uint8_t *out, size_t room)
{
	size_t made = 0, pos = 0;
	uint8_t more;
	do {
		z_stream z = {.next_in = (Bytef *)file + pos, .avail_in = (uInt)(len - pos)};
		if (inflateInit2(&z, is_gzip ? 31 : 15) != Z_OK)
			return -1;
		int status = Z_OK;
		while (status == Z_OK) {
			bool full = made == room;
			z.next_out = full ? &more : out + made;
			z.avail_out = full ? 1 : (uInt)(room - made);
			uInt before = z.avail_out;
			status = inflate(&z, Z_NO_FLUSH);
			if (full && z.avail_out == 0)
				status = Z_BUF_ERROR, made = room + 1;
			else if (!full)
				made += before - z.avail_out;
		}
		pos = len - z.avail_in;
		inflateEnd(&z);
		if (status != Z_STREAM_END)
			return made > room ? -2 : -1;
	} while (is_gzip && pos < len);
	return pos == len ? (long)made : -1;
}
