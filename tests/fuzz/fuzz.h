/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h - what the fuzz targets share: what has to be true, and mutators that keep checksums good.
 *
 * A checksum or a sum of sizes that has to match is a wall to random bytes: behind it lies what is
 * worth reaching. So a target whose input has such has a mutator of its own, which lets libFuzzer
 * change the bytes and then mends them, most of the time.
 *
 * AFL++ uses a target's LLVMFuzzerTestOneInput() alone.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t room, unsigned seed);
/* libFuzzer's own; not there in a replay. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t len, size_t room) __attribute__((weak));

static inline void require(int truth)
{
	if (!truth)
		abort();
}

/* Most plain bytes that a target looks at: more than two blocks of zstd. */
#define FUZZ_PLAIN_MAX (320u << 10)

/*
 * Each makes what it understands of data good: checksums and plain sizes of frames, of members and
 * streams, the seek table at the end. Windows of zstd frames become 1 MiB at most, and skippable
 * frames end with the data, but for one seed in 16. -> bytes, at most room: a table that is there may grow.
 */
size_t mend_zstd(uint8_t *data, size_t len, size_t room, unsigned seed);
size_t mend_gzip(uint8_t *data, size_t len);
/* dict: NULL: without a dictionary. */
size_t mend_zlib(uint8_t *data, size_t len, const uint8_t *dict, size_t dict_len);

/* -> plain bytes of a whole file as zstd or zlib make it; -1: it is none; -2: more than room. */
long plain_of_zstd(const uint8_t *file, size_t len, uint8_t *out, size_t room);
/* Does it decode in small pieces, too? A block may be larger than the window that its frame claims. */
bool zstd_is_strict(const uint8_t *file, size_t len);
/* What zstd refuses in pieces it may decode at once. out is overwritten. */
bool zstd_decodes_at_once(const uint8_t *file, size_t len, uint8_t *out, size_t room);
long plain_of_deflate(const uint8_t *file, size_t len, int is_gzip, uint8_t *out, size_t room);

/* A zstd frame of its own kind for each seed, at most room bytes. -> bytes; 0: it does not fit. */
size_t make_frame(uint8_t *out, size_t room, unsigned seed);
/* Puts such a one in front of one of the frames, or takes one away. -> bytes */
size_t splice_frame(uint8_t *data, size_t len, size_t room, unsigned seed);

#endif
