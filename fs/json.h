/* SPDX-License-Identifier: MIT */
/*
 * json.h - the little of JSON (RFC 8259) that is written and read here: strings. The texts are our
 * own.
 *
 * Names are bytes, JSON is Unicode: a byte that is not part of UTF-8 becomes \udcXX, as in Python's
 * surrogateescape, and so does NUL never occur.
 */
#ifndef FS_JSON_H
#define FS_JSON_H

#include <stdbool.h>
#include <stddef.h>

/* Each byte of a string may take six. */
#define FS_JSON_GROWS 6

/* s in quotes, cut to whole characters where it does not fit; size at least 3. -> buf */
const char *fs_json_quote(char *buf, size_t size, const char *s);

/* The string that text has under the name, as fs_json_quote() wrote it. false: none, or too
 * long. */
bool fs_json_get(const char *text, const char *name, char *buf, size_t size);

#endif
