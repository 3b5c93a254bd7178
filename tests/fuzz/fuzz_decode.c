/* SPDX-License-Identifier: MIT */
/*
 * fuzz_decode.c - any bytes as frames, decoded at once and as a stream.
 *
 *   input   u8: how the stream is cut into pieces | rest: the frames
 *
 * What decodes at once decodes to the same bytes as a stream, whatever the pieces, unless zstd itself
 * makes a difference (zstd_is_strict); the stream never stands still, and errors are those of the contract.
 */
#include "core/codec.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

/* Steps of a stream with the room that the input says: then it is doubled, for RLE blocks would make an
 * input of a few bytes take a million of them. */
#define SHORT_STEPS 512u

static void require_known(ssize_t result)
{
	require(result >= 0 || result == -EBADMSG || result == -EOPNOTSUPP || result == -EFBIG ||
		result == -ENOMEM);
}

/* Decodes into out up to room. -> plain bytes until the input or the room ended, or the error.
 * *first_frame: plain bytes of the first frame, SIZE_MAX if it was not done. */
static ssize_t stream(const uint8_t *in, size_t len, uint8_t cut, uint8_t *out, size_t room,
		      size_t *first_frame)
{
	size_t piece = (cut & 15) ? (size_t)1 << (cut & 15) : len;
	size_t step_room = (size_t)1 << (cut >> 4);
	size_t fed = 0, pos = 0, made = 0, steps = 0;
	struct dv_decoder *d;
	ssize_t n = 0;

	*first_frame = SIZE_MAX;
	require(dv_decoder_new(&d) == 0);
	while (made < room) {
		size_t want = room - made < step_room ? room - made : step_room, was = pos;
		int done;
		step_room <<= ++steps % SHORT_STEPS == 0;
		n = dv_decoder_step(d, in, fed, &pos, out + made, want, &done);
		require_known(n);
		if (n < 0)
			break;
		require((size_t)n <= want && pos >= was && pos <= fed);
		made += (size_t)n;
		if (done && *first_frame == SIZE_MAX)
			*first_frame = made;
		if (n > 0 || done)
			continue;
		require(pos == fed); /* it asks for more only when it has taken all */
		if (fed == len)
			break;
		fed = len - fed < piece ? len : fed + piece;
	}
	dv_decoder_free(&d);
	require(d == NULL);
	return n < 0 ? n : (ssize_t)made;
}

static void check_head(const uint8_t *in, size_t len)
{
	struct dv_frame_head head;
	dv_err err = dv_codec_head(in, len, &head);

	require(err == 0 || err == -EBADMSG || (err == -EAGAIN && len < DV_FRAME_HEAD_MAX));
	if (err)
		return;
	require(head.head_len <= len && head.head_len <= DV_FRAME_HEAD_MAX);
	require(head.plain_len == DV_PLAIN_UNKNOWN || head.plain_len <= INT64_MAX);
	for (size_t n = 0; n < head.head_len; n++)
		require(dv_codec_head(in, n, &head) == -EAGAIN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len < 1)
		return 0;
	uint8_t cut = *data++;
	len--;
	check_head(data, len);

	static uint8_t streamed[FUZZ_PLAIN_MAX];
	size_t first_frame;
	ssize_t made = stream(data, len, cut, streamed, sizeof(streamed), &first_frame);
	size_t plain_len = first_frame != SIZE_MAX ? first_frame : 0;
	/* A block of the exact size: a sanitizer sees the first byte written behind it. */
	uint8_t *at_once = malloc(plain_len ? plain_len : 1);
	require(at_once != NULL);
	dv_err err = dv_codec_decode(data, len, at_once, plain_len);
	require_known(err);
	if (!err) {
		bool same = made == (ssize_t)plain_len && !memcmp(streamed, at_once, plain_len);
		require(same || !zstd_is_strict(data, len));
		require(dv_codec_decode(data, len, streamed, plain_len + 1) == -EBADMSG);
	}
	free(at_once);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t room, unsigned seed)
{
	len = LLVMFuzzerMutate(data, len, room);
	if (len > 1 && seed % 8 == 1)
		len = 1 + splice_frame(data + 1, len - 1, room - 1, seed >> 3);
	return len > 1 && seed % 8 ? 1 + mend_zstd(data + 1, len - 1, room - 1, seed >> 3) : len;
}
