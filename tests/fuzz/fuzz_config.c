/* SPDX-License-Identifier: MIT */
/*
 * fuzz_config.c - any text as .diskvfs/config.
 *
 *   input   the file
 *
 * What is accepted is within its ranges, and is the same after being written and parsed again; what
 * is refused leaves the target as it was and says why.
 */
#include "core/config.h"

#include "core/cleanup.h"
#include "core/codec.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool truth)
{
	if (!truth)
		abort();
}

/* No text is as good as an empty one. */
static bool same_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static void check_written(const struct dv_config *c)
{
	struct dv_config back;
	DV_AUTO_FREE char *text = NULL;
	char why[256] = "";
	dv_err err = dv_config_write(c, &text);
	require(err == 0 || err == -EFBIG);
	if (err)
		return;
	dv_config_init(&back);
	require(dv_config_parse(&back, text, strlen(text), why, sizeof(why)) == 0);
	require(back.format == c->format && back.compress == c->compress &&
		back.level == c->level && back.frame_size == c->frame_size);
	require(same_text(back.transform, c->transform) && same_text(back.dict, c->dict));
	require(same_text(back.nopack, c->nopack) && same_text(back.unknown, c->unknown));
	dv_config_release(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct dv_config c;
	char why[256] = "";
	dv_config_init(&c);
	dv_err err = dv_config_parse(&c, (const char *)data, len, why, sizeof(why));
	if (err) {
		require(err == -EINVAL || err == -EPROTONOSUPPORT || err == -EFBIG ||
			err == -ENOMEM);
		require(why[0] && c.frame_size == DV_FRAME_SIZE_DEFAULT && !c.unknown && !c.nopack);
	} else {
		require(c.format >= 1 && c.format <= DV_FORMAT_MAX);
		require(c.frame_size >= DV_FRAME_SIZE_MIN && c.frame_size <= DV_FRAME_SIZE_MAX);
		require((c.frame_size & (c.frame_size - 1)) == 0);
		require(c.level >= DV_LEVEL_MIN && c.level <= DV_LEVEL_MAX);
		check_written(&c);
	}
	dv_config_release(&c);
	return 0;
}
