/* SPDX-License-Identifier: MIT */
/* coding.c - see coding.h. Layer 1. */
#include "core/coding.h"

#include <stdio.h>
#include <string.h>

#define LEVEL_DEFAULT (-1)

/* ":N" or nothing. */
static bool read_level(const char *s, int *out)
{
	if (!*s) {
		*out = LEVEL_DEFAULT;
		return true;
	}
	bool negative = s[1] == '-';
	const char *digit = s + 1 + negative;
	if (*s != ':' || *digit < '0' || *digit > '9' || digit[1])
		return false;
	*out = negative ? -(*digit - '0') : *digit - '0';
	return *out >= DV_CODING_LEVEL_MIN && *out <= DV_CODING_LEVEL_MAX;
}

dv_err dv_coding_parse(const char *text, struct dv_coding *out, char *why, size_t why_size)
{
	static const struct {
		const char *word;
		enum dv_coding_kind kind;
	} words[] = {{"diskv:gzip", DV_CODING_GZIP}, {"diskv:zlib", DV_CODING_ZLIB}};
	struct dv_coding c = {.kind = DV_CODING_PLAIN};
	bool good = strcmp(text, "diskv") == 0;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]) && !good; i++) {
		size_t len = strlen(words[i].word);
		if (strncmp(text, words[i].word, len) != 0)
			continue;
		good = read_level(text + len, &c.level);
		c.kind = words[i].kind;
	}
	if (!good) {
		snprintf(why, why_size,
			 "layout=%s: it is diskv, diskv:gzip[:LEVEL] or diskv:zlib[:LEVEL] with a "
			 "level from %d to %d",
			 text, DV_CODING_LEVEL_MIN, DV_CODING_LEVEL_MAX);
		return -EINVAL;
	}
	*out = c;
	return 0;
}

void dv_coding_write(const struct dv_coding *c, char out[DV_CODING_TEXT])
{
	const char *word = c->kind == DV_CODING_GZIP ? "gzip" : "zlib";
	if (!dv_coding_is_diskv(c))
		out[0] = '\0';
	else if (!dv_coding_is_sealed(c))
		snprintf(out, DV_CODING_TEXT, "diskv");
	else if (c->level == LEVEL_DEFAULT)
		snprintf(out, DV_CODING_TEXT, "diskv:%s", word);
	else
		snprintf(out, DV_CODING_TEXT, "diskv:%s:%d", word, c->level);
}
