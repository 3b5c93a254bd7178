/* SPDX-License-Identifier: MIT */
/* pack_request.c - see pack_request.h. */
#include "fs/pack_request.h"

#include "core/config.h"
#include "core/globs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

dv_err fs_pack_level_parse(const char *text, int *out)
{
	struct dv_config c;
	char value[32];

	dv_config_init(&c);
	if (snprintf(value, sizeof(value), "zstd:%s", text) >= (int)sizeof(value) ||
	    dv_config_set_compress(&c, value) < 0)
		return -EINVAL;
	*out = c.level;
	return 0;
}

dv_err fs_pack_request_write(const struct dv_pack_request *r, char *buf, size_t size)
{
	char level[32] = "", older[48] = "";

	if (r->leveled)
		snprintf(level, sizeof(level), " level=%d", r->level);
	if (r->older_s)
		snprintf(older, sizeof(older), " older=%" PRIu64, r->older_s);
	int n = snprintf(buf, size, "pack%s%s%s%s", level, older, r->match ? " match=" : "",
			 r->match ? r->match : "");
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

dv_err fs_pack_request_parse(const char *text, struct dv_pack_request *out)
{
	const char *at = text + strlen("pack");
	char word[32];

	memset(out, 0, sizeof(*out));
	while (*at == ' ') {
		const char *value = strchr(++at, '=');
		size_t len = strcspn(at, " ");

		if (value && !strncmp(at, "match=", 6)) {
			char why[256];

			out->match = value + 1;
			return dv_globs_check(out->match, why, sizeof(why));
		}
		if (!value || len >= sizeof(word))
			return -EINVAL;
		memcpy(word, at, len);
		word[len] = '\0';
		at += len;
		if (!strncmp(word, "level=", 6)) {
			out->leveled = true;
			if (fs_pack_level_parse(word + 6, &out->level) < 0)
				return -EINVAL;
		} else if (!strncmp(word, "older=", 6)) {
			char *end;

			out->older_s = strtoull(word + 6, &end, 10);
			if (*end || end == word + 6)
				return -EINVAL;
		} else {
			return -EINVAL;
		}
	}
	return *at ? -EINVAL : 0;
}
