/* SPDX-License-Identifier: MIT */
/*
 * test_codec.c - frames there and back, damaged ones, and frames of other makers.
 *
 * Foreign frames come from libzstd itself with other settings, as `zstd` writes them to a pipe.
 */
#include "core/codec.h"

#include "core/cleanup.h"
#include "tests/support/check.h"
#include "tests/support/random.h"

#include <pthread.h>
#include <zstd.h>

struct bytes {
	size_t len;
	uint8_t *data;
};

static struct bytes plain_bytes(uint64_t seed, size_t len)
{
	struct test_random r = {seed};
	struct bytes b = {len, malloc(len + 1)};
	CHECK(b.data);
	test_random_fill(&r, b.data, len);
	return b;
}

static struct bytes encode(int level, struct bytes plain)
{
	struct bytes b = {dv_codec_bound(plain.len), NULL};
	b.data = malloc(b.len);
	CHECK(b.data);
	ssize_t n = dv_codec_encode(level, plain.data, plain.len, b.data, b.len);
	CHECK(n > 0 && (size_t)n <= b.len);
	b.len = (size_t)n;
	return b;
}

/* As a stream whose size nobody knew: no content size, a window of 2^window_log. */
static struct bytes encode_foreign(struct bytes plain, int window_log, int checksum)
{
	struct bytes b = {ZSTD_compressBound(plain.len) + 64, NULL};
	b.data = malloc(b.len);
	ZSTD_CCtx *c = ZSTD_createCCtx();
	CHECK(b.data && c);
	ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
	ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log);
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum);
	ZSTD_inBuffer in = {plain.data, plain.len, 0};
	ZSTD_outBuffer out = {b.data, b.len, 0};
	CHECK_EQ(ZSTD_compressStream2(c, &out, &in, ZSTD_e_continue), 0);
	CHECK_EQ(ZSTD_compressStream2(c, &out, &in, ZSTD_e_end), 0);
	ZSTD_freeCCtx(c);
	b.len = out.pos;
	return b;
}

static void append(struct bytes *to, struct bytes tail)
{
	to->data = realloc(to->data, to->len + tail.len + 1);
	CHECK(to->data);
	memcpy(to->data + to->len, tail.data, tail.len);
	to->len += tail.len;
}

static void round_trip(int level, size_t len)
{
	struct bytes plain = plain_bytes(len + 1, len), frame = encode(level, plain);
	uint8_t *back = malloc(len + 1);
	struct dv_frame_head head;

	CHECK(back);
	back[len] = 0xA5;
	CHECK_EQ(dv_codec_head(frame.data, frame.len, &head), 0);
	CHECK_EQ(head.plain_len, len);
	CHECK_EQ(head.skip_len, 0);
	CHECK_EQ(head.dictionary, 0);
	CHECK(head.has_checksum);
	CHECK_EQ(dv_codec_decode(frame.data, frame.len, back, len), 0);
	CHECK(memcmp(back, plain.data, len) == 0);
	CHECK_EQ(back[len], 0xA5);
	CHECK_EQ(dv_codec_decode(frame.data, frame.len, back, len + 1), -EBADMSG);
	if (len)
		CHECK_EQ(dv_codec_decode(frame.data, frame.len, back, len - 1), -EBADMSG);
	free(back);
	free(frame.data);
	free(plain.data);
}

static void test_what_was_encoded_decodes_to_the_same_bytes(void)
{
	static const size_t sizes[] = {0,    1,	   2,	   255,	   256,	   257,	   4095,
				       4096, 4097, 131071, 131072, 131073, 1000000};
	struct test_random r = {7};

	for (size_t i = 0; i < DV_ARRAY_LEN(sizes); i++)
		for (int level = DV_LEVEL_MIN; level <= DV_LEVEL_MAX; level += 5)
			round_trip(level, sizes[i]);
	for (int i = 0; i < 100; i++)
		round_trip(3, test_random_below(&r, 200000));
}

static void test_decode_of_nothing_needs_no_room(void)
{
	uint8_t frame[64];
	ssize_t n = dv_codec_encode(3, NULL, 0, frame, sizeof(frame));
	CHECK(n > 0);
	CHECK_EQ(dv_codec_decode(frame, (size_t)n, NULL, 0), 0);
}

static void test_encode_tells_when_there_is_no_room_and_works_again_after(void)
{
	struct bytes plain = plain_bytes(3, 5000), frame = encode(3, plain);

	for (size_t room = 0; room < frame.len; room += room < 20 ? 1 : 97) {
		uint8_t *small = malloc(room ? room : 1);
		CHECK(small);
		CHECK_EQ(dv_codec_encode(3, plain.data, plain.len, small, room), -ENOBUFS);
		free(small);
		struct bytes again = encode(3, plain);
		CHECK_EQ(again.len, frame.len);
		CHECK(memcmp(again.data, frame.data, frame.len) == 0);
		free(again.data);
	}
	free(frame.data);
	free(plain.data);
}

static void test_checksum_is_the_last_four_bytes(void)
{
	/* XXH64("", 0) = 0xEF46DB3751D8E999 and XXH64("abc", 0) = 0x44BC2CF5AD770999. */
	uint8_t frame[64];
	ssize_t n = dv_codec_encode(3, "", 0, frame, sizeof(frame));
	CHECK(n > 4);
	CHECK_EQ(dv_codec_checksum(frame, (size_t)n), 0x51D8E999u);
	CHECK_EQ(frame[n - 4], 0x99);
	CHECK_EQ(frame[n - 1], 0x51);
	n = dv_codec_encode(3, "abc", 3, frame, sizeof(frame));
	CHECK(n > 4);
	CHECK_EQ(dv_codec_checksum(frame, (size_t)n), 0xAD770999u);
}

static void test_every_damaged_byte_is_found_or_does_not_matter(void)
{
	static const size_t sizes[] = {0, 1, 300, 3000};

	for (size_t k = 0; k < DV_ARRAY_LEN(sizes); k++) {
		struct bytes plain = plain_bytes(k + 1, sizes[k]), frame = encode(3, plain);
		uint8_t *back = malloc(plain.len + 1);
		CHECK(back);
		for (size_t i = 0; i < frame.len; i++) {
			for (unsigned flip = 1; flip < 256; flip++) {
				frame.data[i] ^= (uint8_t)flip;
				dv_err err =
					dv_codec_decode(frame.data, frame.len, back, plain.len);
				if (err == 0)
					CHECK(memcmp(back, plain.data, plain.len) == 0);
				else if (i != 4) /* the descriptor can turn into a good other one */
					CHECK_EQ(err, -EBADMSG);
				else
					CHECK(err == -EBADMSG || err == -EOPNOTSUPP);
				frame.data[i] ^= (uint8_t)flip;
			}
		}
		free(back);
		free(frame.data);
		free(plain.data);
	}
}

static void test_truncated_and_joined_frames_are_refused(void)
{
	struct bytes plain = plain_bytes(9, 2000), frame = encode(3, plain);
	uint8_t back[2000];

	for (size_t cut = 0; cut < frame.len; cut++) {
		uint8_t *copy = malloc(cut ? cut : 1);
		CHECK(copy);
		memcpy(copy, frame.data, cut);
		CHECK_EQ(dv_codec_decode(copy, cut, back, sizeof(back)), -EBADMSG);
		free(copy);
	}
	struct bytes empty = encode(3, (struct bytes){0, NULL});
	append(&frame, empty);
	CHECK_EQ(dv_codec_decode(frame.data, frame.len, back, sizeof(back)), -EBADMSG);
	free(empty.data);
	free(frame.data);
	free(plain.data);
}

static void test_head_asks_for_more_until_it_is_whole(void)
{
	struct bytes plain = plain_bytes(2, 70000), frame = encode(3, plain);
	struct bytes foreign = encode_foreign(plain, 20, 0);
	static const uint8_t skippable[] = {0x53, 0x2A, 0x4D, 0x18, 0xFF, 0xFF, 0xFF, 0xFF};
	static const uint8_t all[] = {0x28, 0xB5, 0x2F, 0xFD, 0xC3, 0x58, 1, 2, 3,
				      4,    9,	  8,	7,    6,    5,	  4, 3, 2};
	struct dv_frame_head head;

	CHECK_EQ(dv_codec_head(frame.data, frame.len, &head), 0);
	CHECK_EQ(head.plain_len, 70000);
	CHECK_EQ(head.window, 70000);
	for (size_t n = 0; n < head.head_len; n++)
		CHECK_EQ(dv_codec_head(frame.data, n, &head), -EAGAIN);

	CHECK_EQ(dv_codec_head(foreign.data, 6, &head), 0);
	CHECK(head.plain_len == DV_PLAIN_UNKNOWN);
	CHECK_EQ(head.window, 1 << 20);
	CHECK(!head.has_checksum);

	CHECK_EQ(dv_codec_head(skippable, 7, &head), -EAGAIN);
	CHECK_EQ(dv_codec_head(skippable, 8, &head), 0);
	CHECK_EQ(head.skip_len, 8 + 0xFFFFFFFFll);
	CHECK_EQ(head.plain_len, 0);

	CHECK_EQ(dv_codec_head(all, DV_FRAME_HEAD_MAX - 1, &head), -EAGAIN);
	CHECK_EQ(dv_codec_head(all, DV_FRAME_HEAD_MAX, &head), 0);
	CHECK_EQ(head.head_len, DV_FRAME_HEAD_MAX);
	CHECK_EQ(head.dictionary, 0x04030201);
	CHECK_EQ(head.plain_len, 0x0203040506070809ll);
	CHECK_EQ(head.window, 1ll << 21);
	CHECK_EQ(dv_codec_head("gzip", 4, &head), -EBADMSG);
	free(foreign.data);
	free(frame.data);
	free(plain.data);
}

#define STREAM_PLAIN_MAX (2u << 20)

/* Feeds `in` in pieces of at most chunk, takes out at most room at once. ends[] gets the positions
 * in the input where frames were done. -> plain bytes or the error; -EPIPE: ended in a
 * frame. */
static ssize_t stream(struct bytes in, size_t chunk, size_t room, struct bytes *plain, size_t *ends,
		      size_t *end_count)
{
	struct dv_decoder *d = NULL;
	size_t fed = 0, pos = 0;
	ssize_t n = 0;
	int done = 1;

	*plain = (struct bytes){0, malloc(STREAM_PLAIN_MAX)};
	*end_count = 0;
	CHECK_EQ(dv_decoder_new(&d), 0);
	CHECK(plain->data);
	for (;;) {
		CHECK(plain->len + room <= STREAM_PLAIN_MAX);
		n = dv_decoder_step(d, in.data, fed, &pos, plain->data + plain->len, room, &done);
		if (n < 0)
			break;
		plain->len += (size_t)n;
		if (done)
			ends[(*end_count)++] = pos;
		if (n > 0 || done)
			continue;
		if (fed == in.len)
			break;
		fed = in.len - fed < chunk ? in.len : fed + chunk;
	}
	dv_decoder_free(&d);
	CHECK(d == NULL);
	if (n < 0)
		return n;
	return in.len == 0 || (*end_count && ends[*end_count - 1] == in.len) ? (ssize_t)plain->len
									     : -EPIPE;
}

static void test_stream_of_any_frames_reports_their_ends(void)
{
	static const size_t chunks[] = {1, 2, 7, 100, 4096, 1 << 20};
	static const size_t rooms[] = {1, 3, 128, 4096, 131072, 1 << 20};
	static const uint8_t skippable[] = {0x5E, 0x2A, 0x4D, 0x18, 3,	  0, 0, 0, 'a', 'b',
					    'c',  0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0};
	struct bytes a = plain_bytes(1, 20000), b = plain_bytes(2, 131072), none = {0, NULL};
	struct bytes parts[] = {encode(3, a), encode_foreign(b, 17, 1), encode(1, none),
				encode_foreign(a, 10, 0)};
	struct bytes all = {0, NULL}, wanted = {0, NULL}, plain;
	size_t want_ends[6], ends[16], count;

	append(&all, parts[0]);
	want_ends[0] = all.len;
	append(&all, (struct bytes){sizeof(skippable), (uint8_t *)skippable});
	want_ends[1] = want_ends[0] + 11;
	want_ends[2] = all.len;
	for (size_t i = 1; i < 4; i++) {
		append(&all, parts[i]);
		want_ends[2 + i] = all.len;
	}
	append(&wanted, a);
	append(&wanted, b);
	append(&wanted, a);
	for (size_t i = 0; i < DV_ARRAY_LEN(chunks); i++) {
		for (size_t k = 0; k < DV_ARRAY_LEN(rooms); k++) {
			CHECK_EQ(stream(all, chunks[i], rooms[k], &plain, ends, &count),
				 wanted.len);
			CHECK(memcmp(plain.data, wanted.data, wanted.len) == 0);
			CHECK_EQ(count, 6);
			for (size_t e = 0; e < count; e++)
				CHECK_EQ(ends[e], want_ends[e]);
			free(plain.data);
		}
	}
	for (size_t i = 0; i < DV_ARRAY_LEN(parts); i++)
		free(parts[i].data);
	free(a.data);
	free(b.data);
	free(all.data);
	free(wanted.data);
}

static void test_foreign_frame_without_content_size_decodes_both_ways(void)
{
	struct bytes a = plain_bytes(4, 300000), frame = encode_foreign(a, 18, 1), plain;
	size_t ends[4], count;
	uint8_t *back = malloc(a.len + 1);

	CHECK(back);
	CHECK_EQ(stream(frame, 1000, 5000, &plain, ends, &count), a.len);
	CHECK(memcmp(plain.data, a.data, a.len) == 0);
	CHECK_EQ(dv_codec_decode(frame.data, frame.len, back, a.len), 0);
	CHECK(memcmp(back, a.data, a.len) == 0);
	CHECK_EQ(dv_codec_decode(frame.data, frame.len, back, a.len - 1), -EBADMSG);
	CHECK_EQ(dv_codec_decode(frame.data, frame.len, back, a.len + 1), -EBADMSG);
	free(back);
	free(plain.data);
	free(frame.data);
	free(a.data);
}

static void test_truncated_stream_never_ends_with_a_frame_done(void)
{
	struct bytes a = plain_bytes(4, 3000), frame = encode_foreign(a, 12, 1), plain;
	size_t ends[4], count;

	for (size_t cut = 1; cut < frame.len; cut++) {
		CHECK_EQ(stream((struct bytes){cut, frame.data}, 64, 512, &plain, ends, &count),
			 -EPIPE);
		free(plain.data);
	}
	free(frame.data);
	free(a.data);
}

static void test_damaged_stream_is_an_error_for_ever(void)
{
	struct bytes a = plain_bytes(4, 3000), frame = encode(3, a);
	struct dv_decoder *d;
	uint8_t out[4096];
	size_t pos = 0;
	int done;

	frame.data[frame.len - 2] ^= 1;
	CHECK_EQ(dv_decoder_new(&d), 0);
	ssize_t n = dv_decoder_step(d, frame.data, frame.len - 4, &pos, out, sizeof(out), &done);
	CHECK(n >= 0 && !done);
	CHECK_EQ(dv_decoder_step(d, frame.data, frame.len, &pos, out, sizeof(out), &done),
		 -EBADMSG);
	CHECK_EQ(dv_decoder_step(d, frame.data, frame.len, &pos, out, sizeof(out), &done),
		 -EBADMSG);
	dv_decoder_free(&d);
	free(frame.data);
	free(a.data);
}

static void check_refused(struct bytes frame, dv_err wanted)
{
	static const size_t rooms[] = {1, 100, 100000};
	struct bytes plain;
	size_t ends[4], count;
	uint8_t out[3];

	CHECK_EQ(dv_codec_decode(frame.data, frame.len, out, 3), wanted);
	for (size_t i = 0; i < DV_ARRAY_LEN(rooms); i++) {
		CHECK_EQ(stream(frame, 1, rooms[i], &plain, ends, &count), wanted);
		free(plain.data);
		CHECK_EQ(stream(frame, frame.len, rooms[i], &plain, ends, &count), wanted);
		free(plain.data);
	}
}

static void test_window_over_the_limit_is_refused_however_it_is_fed(void)
{
	/* One raw block "abc", last. 0x88: 2^27 bytes of window; 0x89: an eighth more. */
	uint8_t frame[] = {0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x89, 0x19, 0, 0, 'a', 'b', 'c'};
	/* The same with the content size in front. */
	uint8_t sized[] = {0x28, 0xB5, 0x2F, 0xFD, 0x80, 0x89, 3,   0,
			   0,	 0,    0x19, 0,	   0,	 'a',  'b', 'c'};
	uint8_t out[3];

	check_refused((struct bytes){sizeof(frame), frame}, -EFBIG);
	check_refused((struct bytes){sizeof(sized), sized}, -EFBIG);
	frame[5] = 0xF8; /* beyond what zstd itself knows */
	check_refused((struct bytes){sizeof(frame), frame}, -EFBIG);
	frame[5] = 0x88;
	CHECK_EQ(dv_codec_decode(frame, sizeof(frame), out, 3), 0);
	CHECK(memcmp(out, "abc", 3) == 0);

	struct bytes plain;
	size_t ends[4], count;
	CHECK_EQ(stream((struct bytes){sizeof(frame), frame}, 5, 1, &plain, ends, &count), 3);
	CHECK(memcmp(plain.data, "abc", 3) == 0);
	free(plain.data);
}

static void test_frame_that_needs_a_dictionary_is_refused(void)
{
	uint8_t frame[] = {0x28, 0xB5, 0x2F, 0xFD, 0x21, 7, 3, 0x19, 0, 0, 'a', 'b', 'c'};
	check_refused((struct bytes){sizeof(frame), frame}, -EOPNOTSUPP);
}

static void test_skippable_frame_decodes_to_nothing(void)
{
	static const uint8_t frame[] = {0x5E, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 1, 2};
	uint8_t out[1];

	CHECK_EQ(dv_codec_decode(frame, sizeof(frame), out, 0), 0);
	CHECK_EQ(dv_codec_decode(frame, sizeof(frame), out, 1), -EBADMSG);
	CHECK_EQ(dv_codec_decode(frame, sizeof(frame) - 1, out, 0), -EBADMSG);
}

static void *encode_in_a_thread(void *unused)
{
	for (size_t len = 100; len < 20000; len += 1999)
		round_trip(3, len);
	dv_codec_thread_release();
	round_trip(1, 500); /* left to the end of the thread */
	return unused;
}

/* Leaks are what LeakSanitizer looks for here. */
static void test_threads_have_their_own_contexts_and_give_them_back(void)
{
	pthread_t threads[4];

	for (size_t i = 0; i < DV_ARRAY_LEN(threads); i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, encode_in_a_thread, NULL), 0);
	for (size_t i = 0; i < DV_ARRAY_LEN(threads); i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	dv_codec_thread_release();
	dv_codec_thread_release();
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_what_was_encoded_decodes_to_the_same_bytes),
		CHECK_TEST(test_decode_of_nothing_needs_no_room),
		CHECK_TEST(test_encode_tells_when_there_is_no_room_and_works_again_after),
		CHECK_TEST(test_checksum_is_the_last_four_bytes),
		CHECK_TEST(test_every_damaged_byte_is_found_or_does_not_matter),
		CHECK_TEST(test_truncated_and_joined_frames_are_refused),
		CHECK_TEST(test_head_asks_for_more_until_it_is_whole),
		CHECK_TEST(test_stream_of_any_frames_reports_their_ends),
		CHECK_TEST(test_foreign_frame_without_content_size_decodes_both_ways),
		CHECK_TEST(test_truncated_stream_never_ends_with_a_frame_done),
		CHECK_TEST(test_damaged_stream_is_an_error_for_ever),
		CHECK_TEST(test_window_over_the_limit_is_refused_however_it_is_fed),
		CHECK_TEST(test_frame_that_needs_a_dictionary_is_refused),
		CHECK_TEST(test_skippable_frame_decodes_to_nothing),
		CHECK_TEST(test_threads_have_their_own_contexts_and_give_them_back),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
