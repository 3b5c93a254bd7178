/* SPDX-License-Identifier: MIT */
/* foreign_kinds.c - see foreign_kinds.h. */
#include "tests/unit/foreign_kinds.h"

#include "tests/support/check.h"
#include "tests/support/random.h"

#include <zdict.h>
#include <zstd.h>

#define KINDS_MAX 40
#define MIB	  (1u << 20)

static struct kind kinds[KINDS_MAX + 1];
static size_t count;

/* Text that compresses some fivefold, other with each seed. */
static void fill(uint8_t *out, size_t len, unsigned seed)
{
	struct test_random r = {seed + 1};
	size_t at = 0;
	while (at < len) {
		char line[64];
		int n = snprintf(line, sizeof(line), "%u key-%u value %u\n", (unsigned)at, seed,
				 (unsigned)test_random_below(&r, 1000000));
		for (int i = 0; i < n && at < len; i++)
			out[at++] = (uint8_t)line[i];
	}
}

static struct kind *begin(const char *name)
{
	CHECK(count < KINDS_MAX);
	struct kind *k = &kinds[count++];
	k->name = name;
	k->good = 1;
	return k;
}

static void add_bytes(struct kind *k, const void *bytes, size_t len)
{
	k->bytes = realloc(k->bytes, k->len + len + 1);
	CHECK(k->bytes != NULL);
	memcpy(k->bytes + k->len, bytes, len);
	k->len += len;
}

struct how {
	int level, window_log, unsized, no_checksum, long_distance;
	const void *dictionary;
	size_t dictionary_len;
};

static void add_frame(struct kind *k, size_t len, unsigned seed, const struct how *how)
{
	k->plain = realloc(k->plain, k->plain_len + len + 1);
	CHECK(k->plain != NULL);
	uint8_t *plain = k->plain + k->plain_len;
	fill(plain, len, seed);
	k->plain_len += len;
	ZSTD_CCtx *c = ZSTD_createCCtx();
	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, how->level ? how->level : 1);
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, !how->no_checksum);
	ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, !how->unsized);
	if (how->window_log)
		ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, how->window_log);
	if (how->long_distance)
		ZSTD_CCtx_setParameter(c, ZSTD_c_enableLongDistanceMatching, 1);
	if (how->dictionary)
		CHECK(!ZSTD_isError(
			ZSTD_CCtx_loadDictionary(c, how->dictionary, how->dictionary_len)));
	if (!how->unsized)
		ZSTD_CCtx_setPledgedSrcSize(c, len);
	size_t room = ZSTD_compressBound(len) + 64;
	uint8_t *out = malloc(room);
	CHECK(out != NULL);
	/* As a stream: an unsized one tells its window then, as `zstd` in a pipe does. */
	ZSTD_inBuffer in = {plain, len, 0};
	ZSTD_outBuffer to = {out, room, 0};
	size_t half = len / 2;
	in.size = half;
	CHECK(!ZSTD_isError(ZSTD_compressStream2(c, &to, &in, ZSTD_e_continue)));
	in.size = len;
	CHECK_EQ(ZSTD_compressStream2(c, &to, &in, ZSTD_e_end), 0);
	add_bytes(k, out, to.pos);
	free(out);
	ZSTD_freeCCtx(c);
}

static void add_skippable(struct kind *k, unsigned nibble, const void *data, uint32_t len)
{
	uint8_t head[8] = {(uint8_t)(0x50 + nibble), 0x2a, 0x4d, 0x18};
	for (int i = 0; i < 4; i++)
		head[4 + i] = (uint8_t)(len >> (8 * i));
	add_bytes(k, head, sizeof(head));
	add_bytes(k, data, len);
}

static void one(const char *name, size_t len, const struct how *how)
{
	add_frame(begin(name), len, (unsigned)count, how);
}

/* As pzstd does: before each frame, which does not tell its size, a skippable one with the stored
 * size. */
static void add_pzstd_frame(struct kind *k, size_t len, unsigned seed)
{
	struct kind frame = {0};
	uint8_t size[4];
	add_frame(&frame, len, seed, &(struct how){.unsized = 1});
	for (int i = 0; i < 4; i++)
		size[i] = (uint8_t)(frame.len >> (8 * i));
	add_skippable(k, 0, size, sizeof(size));
	add_bytes(k, frame.bytes, frame.len);
	k->plain = realloc(k->plain, k->plain_len + len + 1);
	CHECK(k->plain != NULL);
	memcpy(k->plain + k->plain_len, frame.plain, len);
	k->plain_len += len;
	free(frame.bytes);
	free(frame.plain);
}

static void make_good_frames(void)
{
	one("level 1", 300000, &(struct how){.level = 1});
	one("level 19", 100000, &(struct how){.level = 19});
	one("level 22", 100000, &(struct how){.level = 22});
	one("fast", 100000, &(struct how){.level = -50});
	one("long", 200000, &(struct how){.window_log = 27, .long_distance = 1, .unsized = 1});
	one("no checksum", 100000, &(struct how){.no_checksum = 1});
	one("unsized", 300000, &(struct how){.unsized = 1});
	one("unsized without checksum", 1000, &(struct how){.unsized = 1, .no_checksum = 1});
	one("one byte", 1, &(struct how){0});
	one("empty frame", 0, &(struct how){0});
	one("empty unsized frame", 0, &(struct how){.unsized = 1});
	one("huge", 6 * MIB + 7, &(struct how){0});
	one("huge without checksum", 5 * MIB, &(struct how){.no_checksum = 1});
	one("huge and unsized", 5 * MIB + 1, &(struct how){.unsized = 1});
}

static void put_u32(uint8_t *at, size_t v)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(v >> (8 * i));
}

/* zstd's seekable format, without checksums in the table. */
static void make_seekable(struct kind *k)
{
	enum { FRAMES = 3, ENTRY = 8, FOOTER = 9 };
	static const size_t plain[FRAMES] = {70000, 300000, 1};
	uint8_t table[FRAMES * ENTRY + FOOTER] = {0};
	for (unsigned i = 0; i < FRAMES; i++) {
		size_t before = k->len;
		add_frame(k, plain[i], i, &(struct how){0});
		put_u32(table + i * ENTRY, k->len - before);
		put_u32(table + i * ENTRY + 4, plain[i]);
	}
	put_u32(table + FRAMES * ENTRY, FRAMES);
	put_u32(table + FRAMES * ENTRY + 5, 0x8F92EAB1);
	add_skippable(k, 14, table, sizeof(table));
}

static void make_good_files(void)
{
	struct kind *k = begin("several frames");
	for (unsigned i = 0; i < 5; i++)
		add_frame(k, 1000 + i * 50000, i, &(struct how){.no_checksum = i & 1});
	k = begin("several unsized frames");
	for (unsigned i = 0; i < 5; i++)
		add_frame(k, 1000 + i * 70000, i, &(struct how){.unsized = i & 1});
	k = begin("pzstd");
	for (unsigned i = 0; i < 4; i++)
		add_pzstd_frame(k, 200000, i);
	k = begin("huge between small");
	add_frame(k, 1000, 1, &(struct how){0});
	add_frame(k, 5 * MIB, 2, &(struct how){0});
	add_frame(k, 0, 3, &(struct how){0});
	add_frame(k, 1000, 4, &(struct how){0});
	k = begin("skippable frames with user data");
	add_skippable(k, 3, "a comment", 9);
	add_frame(k, 70000, 1, &(struct how){0});
	add_skippable(k, 15, "", 0);
	add_skippable(k, 14, "not a seek table at all", 23);
	add_frame(k, 70000, 2, &(struct how){0});
	add_skippable(k, 7, "the end", 7);
	k = begin("skippable frames only");
	add_skippable(k, 0, "nothing else", 12);
	k = begin("ends in the mark of a seek table");
	add_frame(k, 9000, 1, &(struct how){0});
	add_skippable(k, 1, "\x09\0\0\0\x80\xb1\xea\x92\x8f", 9);
	k = begin("seek table of another maker");
	make_seekable(k);
	k = begin("empty frames between");
	for (unsigned i = 0; i < 3; i++) {
		add_frame(k, 0, i, &(struct how){.unsized = 1});
		add_frame(k, 5000, i, &(struct how){.unsized = 1});
	}
}

static void *make_dictionary(size_t *len)
{
	enum { SAMPLES = 200, SAMPLE = 500, ROOM = 8192 };
	uint8_t *samples = malloc(SAMPLES * SAMPLE), *out = malloc(ROOM);
	size_t sizes[SAMPLES];
	CHECK(samples && out);
	for (unsigned i = 0; i < SAMPLES; i++) {
		fill(samples + i * SAMPLE, SAMPLE, i);
		sizes[i] = SAMPLE;
	}
	*len = ZDICT_trainFromBuffer(out, ROOM, samples, sizes, SAMPLES);
	CHECK(!ZDICT_isError(*len));
	free(samples);
	return out;
}

static struct kind *bad(const char *name, const char *told)
{
	struct kind *k = begin(name);
	k->good = 0;
	k->told = told;
	return k;
}

static void make_bad(void)
{
	static char named[64];
	size_t len;
	void *dictionary = make_dictionary(&len);
	struct kind *k = bad("dictionary", named);
	snprintf(named, sizeof(named), "dictionary %u", ZDICT_getDictID(dictionary, len));
	add_frame(k, 5000, 1,
		  &(struct how){.level = 3, .dictionary = dictionary, .dictionary_len = len});
	free(dictionary);
	k = bad("window of 256 MiB", "window of 268435456 bytes");
	add_frame(k, 5000, 1, &(struct how){.window_log = 28, .unsized = 1});
	k = bad("truncated", "is cut off");
	add_frame(k, 300000, 1, &(struct how){0});
	k->len -= 1000;
	k = bad("truncated in its second head", "is cut off");
	add_frame(k, 3000, 1, &(struct how){0});
	add_bytes(k, "\x28\xb5\x2f\xfd\x04", 5);
	k = bad("huge and truncated", "is cut off");
	add_frame(k, 6 * MIB, 1, &(struct how){0});
	k->len -= 5;
	k = bad("trailing bytes", "is not zstd");
	add_frame(k, 300000, 1, &(struct how){0});
	add_bytes(k, "not zstd", 8);
	k = bad("two trailing bytes", "is not zstd");
	add_frame(k, 3000, 1, &(struct how){0});
	add_bytes(k, "\n\n", 2);
	k = bad("of no bytes", "empty file");
	k->bytes = malloc(1);
	k = bad("legacy 0.7", "zstd 0.7");
	add_bytes(k, "\x27\xb5\x2f\xfd\0\0\0\0\0\0\0\0", 12);
	k = bad("legacy 0.1", "zstd 0.1");
	add_bytes(k, "\x1e\xb5\x2f\xfd\0\0\0\0\0\0\0\0", 12);
	k = bad("text", "not a zstd file");
	add_bytes(k, "plain text with the wrong name\n", 31);
	k = bad("more than its blocks make", "claims");
	add_bytes(k, "\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\x0f\0\x01\0\0", 16);
}

const struct kind *foreign_kinds(void)
{
	if (!count) {
		make_good_frames();
		make_good_files();
		make_bad();
	}
	return kinds;
}

int foreign_decode(const uint8_t *bytes, size_t len, size_t plain_max, uint8_t **plain,
		   size_t *plain_len)
{
	ZSTD_DCtx *d = ZSTD_createDCtx();
	uint8_t *out = NULL;
	size_t room = 0, at = 0, left = 1;
	/* In small pieces: a frame that is there as a whole goes through another decoder of zstd's,
	 * which is stricter (it refuses a compressed block of no bytes). */
	ZSTD_inBuffer in = {bytes, 0, 0};
	int result = len ? 1 : 0;
	while (result == 1 && (in.pos < len || left)) {
		if (in.pos == in.size && in.size < len)
			in.size += len - in.size < 7 ? len - in.size : 7;
		if (at == room) {
			room = room ? room * 2 : 1 << 16;
			out = realloc(out, room);
			CHECK(out != NULL);
		}
		ZSTD_outBuffer to = {out, room, at};
		size_t before = in.pos;
		left = ZSTD_decompressStream(d, &to, &in);
		if (ZSTD_isError(left) || (in.pos == before && to.pos == at && left))
			result = 0;
		at = to.pos;
		if (result == 1 && at > plain_max)
			result = -1;
	}
	ZSTD_freeDCtx(d);
	*plain = out;
	*plain_len = at;
	return result;
}
