/* SPDX-License-Identifier: MIT */
/*
 * lib_plugin.h - the library on a store whose transform is a shared object (plugin.h): for the command
 * line, which alone names and loads one.
 */
#ifndef DV_LIB_PLUGIN_H
#define DV_LIB_PLUGIN_H

#include "core/diskvfs.h"
#include "core/error.h"

struct dv_plugin;

/* dvfs_open(); plugin: the store's, borrowed as long as it is open; NULL: none. */
DV_CHECK dv_err lib_open_plugin(const char *path, const struct dvfs_options *options,
				const struct dv_plugin *plugin, struct dvfs **out, char *why,
				size_t why_size);

#endif
