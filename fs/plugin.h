/* SPDX-License-Identifier: MIT */
/* plugin.h - loads a transform from a shared object (core/plugin.h) that the command line names. */
#ifndef FS_PLUGIN_H
#define FS_PLUGIN_H

#include "core/error.h"
#include "core/transform.h"

struct fs_plugin {
	struct dv_plugin plugin; /* what the store is given */
	void *handle;		 /* NULL: none is loaded */
	char spec[DV_SPEC_MAX];
};

/*
 * Loads what transform names where that is a shared object, FILE.so[:ARGS]; else nothing happens. why[] gets one sentence on an error. Before any
 * thread starts, and before the working directory changes. It stays loaded as long as the process.
 */
DV_CHECK dv_err fs_plugin_load(const char *transform, struct fs_plugin *out, char *why,
			       size_t why_size);
void fs_plugin_release(struct fs_plugin *p);

#endif
