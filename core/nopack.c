/* SPDX-License-Identifier: MIT */
/* nopack.c - see nopack.h. */
#include "core/nopack.h"

#include "core/cleanup.h"
#include "core/globs.h"

bool dv_nopack_holds(struct dv_store *s, struct dv_node *n)
{
	if (!s->nopack && !s->config.nopack)
		return false;
	DV_AUTO_FREE char *path = malloc(DV_RECORD_PATH_MAX + 1);
	if (!path)
		return true; /* it can be packed later, and not unpacked by itself */
	dv_node_path(s, n, path, DV_RECORD_PATH_MAX + 1);
	return (s->nopack && dv_globs_match(s->nopack, path)) ||
	       (s->config.nopack && dv_globs_match(s->config.nopack, path));
}
