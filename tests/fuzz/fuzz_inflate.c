/* SPDX-License-Identifier: MIT */
/*
 * fuzz_inflate.c - any bytes as the file of a value in diskv's layouts gzip and zlib.
 *
 *   input   u8: which layout, and how the file is cut into pieces | rest: the file
 *
 * In whatever pieces it is read it makes the same bytes, or the same error; it never stands still, makes
 * no more than DV_INFLATE_GAIN_MAX for each stored byte, and what is whole is so at once too, with no
 * other length.
 */
#include "core/deflate.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define PLAIN_MAX   FUZZ_PLAIN_MAX
#define DICT_LEN    300u
#define SHORT_STEPS 512u /* with the room that the input says; then it is doubled */

static struct dv_coding coding_of(uint8_t which)
{
	static uint8_t dict[DICT_LEN];
	struct dv_coding c = {.kind = which % 3 == 0 ? DV_CODING_GZIP : DV_CODING_ZLIB,
			      .level = -1};
	for (unsigned i = 0; i < DICT_LEN; i++)
		dict[i] = (uint8_t)('a' + i % 23);
	if (which % 3 == 2) {
		c.dict = dict;
		c.dict_len = DICT_LEN;
	}
	return c;
}

/* -> plain bytes of the whole file, or of what fits; or the error. *whole: it ended where it does. */
static ssize_t stream(const struct dv_coding *c, const uint8_t *in, size_t len, size_t piece,
		      size_t step, uint8_t *out, int *whole)
{
	struct dv_inflater *i = NULL;
	size_t pos = 0, made = 0, fed = 0, steps = 0;
	int done = 0;
	ssize_t n = dv_inflater_new(c, &i);
	require(n == 0);
	while (n >= 0 && made < PLAIN_MAX && !(done && pos == len)) {
		step <<= ++steps % SHORT_STEPS == 0;
		size_t before = pos, room = PLAIN_MAX - made < step ? PLAIN_MAX - made : step;
		fed = fed > pos ? fed : len - pos < piece ? len : pos + piece;
		n = dv_inflater_step(i, in, fed, &pos, out + made, room, &done);
		require(n < 0 || (size_t)n <= room);
		require(pos >= before && pos <= fed);
		made += n > 0 ? (size_t)n : 0;
		if (n || pos != before || done)
			continue;
		if (fed == len) /* it wants more than there is */
			break;
		fed = len - fed < piece ? len : fed + piece;
	}
	dv_inflater_free(&i);
	*whole = n >= 0 && done && pos == len;
	require(n >= 0 || n == -EBADMSG || n == -EOPNOTSUPP || n == -ENOMEM);
	require(made <= (len + 1) * DV_INFLATE_GAIN_MAX);
	return n < 0 ? n : (ssize_t)made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t once[PLAIN_MAX], pieces[PLAIN_MAX];
	int whole = 0, whole_in_pieces = 0;
	if (len < 1)
		return 0;
	struct dv_coding c = coding_of(data[0]);
	size_t piece = (size_t)1 << (data[0] >> 4), step = (size_t)1 << (data[0] >> 3);
	data++;
	len--;
	ssize_t made = stream(&c, data, len, len ? len : 1, PLAIN_MAX, once, &whole);
	ssize_t again = stream(&c, data, len, piece, step, pieces, &whole_in_pieces);
	require(made == again && whole == whole_in_pieces);
	require(made < 0 || memcmp(once, pieces, (size_t)made) == 0);
	if (made >= 0 && made < (ssize_t)PLAIN_MAX)
		require((dv_inflate(&c, data, len, pieces, (size_t)made) == 0) == (whole != 0));
	if (whole && made > 0)
		require(dv_inflate(&c, data, len, pieces, (size_t)made - 1) == -EBADMSG);
	(void)dv_deflate_is_unmade(&c, data, len);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t room, unsigned seed)
{
	len = LLVMFuzzerMutate(data, len, room);
	if (len < 2 || seed % 8 == 0)
		return len;
	struct dv_coding c = coding_of(data[0]);
	if (c.kind == DV_CODING_GZIP)
		return 1 + mend_gzip(data + 1, len - 1);
	return 1 + mend_zlib(data + 1, len - 1, c.dict, c.dict_len);
}
