/* SPDX-License-Identifier: MIT */
/*
 * globs.h - lists of patterns of keys, as the option nopack has them. Pure, no I/O.
 *
 *   *.db:*.sqlite3:cache/x*
 *
 * Patterns stand between colons and mean what fnmatch(3) says: * any bytes, ? one, [...] one of
 * some, a backslash takes the meaning of the next. One without a slash is compared with the last
 * component of a key; one with a slash with the whole key, its first slash being that of the mount,
 * and there * matches slashes too. A colon in a key is matched by ?.
 */
#ifndef DV_GLOBS_H
#define DV_GLOBS_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>

#define DV_GLOBS_MAX 4096 /* bytes of a list: it is looked through for each value that is packed */

/* Is text a list? Empty is one. why[] gets one sentence that names the pattern. -EINVAL */
DV_CHECK dv_err dv_globs_check(const char *text, char *why, size_t why_size);
/* Does one of a list that was checked match? key: without a slash at its front. */
bool dv_globs_match(const char *text, const char *key);

#endif
