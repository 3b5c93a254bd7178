/* SPDX-License-Identifier: MIT */
/*
 * foreign_kinds.h - zstd files as other programs make them, made with the library.
 */
#ifndef FOREIGN_KINDS_H
#define FOREIGN_KINDS_H

#include <stddef.h>
#include <stdint.h>

struct kind {
	const char *name;
	uint8_t *bytes, *plain;
	size_t len, plain_len;
	int good;	  /* else reading gives -EBADMSG */
	const char *told; /* of a bad one: what the log line says */
};

/* All of them, in a row that ends with name NULL. Lives as long as the process. */
const struct kind *foreign_kinds(void);

/*
 * What a zstd decoder of its own makes of the bytes: 1 good, *plain (malloc'd) is what it holds; 0
 * bad. -1: it holds more than plain_max bytes.
 */
int foreign_decode(const uint8_t *bytes, size_t len, size_t plain_max, uint8_t **plain,
		   size_t *plain_len);

#endif
