/* SPDX-License-Identifier: MIT */
/* plugin.h - loads a transform from a shared object (core/plugin.h) that the command line names. */
#ifndef FS_PLUGIN_H
#define FS_PLUGIN_H

#include "core/error.h"
#include "core/plugin.h"
#include "core/transform.h"

#include <limits.h>

struct fs_plugin {
	struct dv_plugin plugin;      /* what the store is given */
	struct diskvfs_transform ops; /* of whichever version it is */
	void *handle;		      /* NULL: none is loaded */
	char spec[DV_SPEC_MAX];
	char named[PATH_MAX + DV_SPEC_MAX]; /* as a command line anywhere may name it */
};

/*
 * Loads what transform names where that is a shared object, FILE.so[:ARGS]; else nothing happens. why[] gets
 * one sentence on an error. Before any thread starts, and before the working directory changes. It stays
 * loaded as long as the process.
 */
DV_CHECK dv_err fs_plugin_load(const char *transform, struct fs_plugin *out, char *why,
			       size_t why_size);
void fs_plugin_release(struct fs_plugin *p);

/*
 * Takes --transform FILE.so[:ARGS] out of the arguments of a command that works on a store whose
 * transform that may be, and loads it for fs_plugin_named(). -> how many arguments are left; -1: *status
 * is what to exit with, what is wrong having been told. usage_status: of a call that can not be right.
 */
int fs_plugin_take(int argc, char **argv, int usage_status, int *status);
/* NULL: none. */
const struct dv_plugin *fs_plugin_named(void);

#endif
