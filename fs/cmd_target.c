/* SPDX-License-Identifier: MIT */
/* cmd_target.c - the store that a command is to work on, mounted or not. See cmd.h. */
#include "fs/cmd.h"

#include "fs/client.h"
#include "fs/mountpoint.h"
#include "fs/plugin.h"

#include <signal.h>
#include <string.h>

int fs_cmd_target(const char *operand, char path[PATH_MAX], char mount[PATH_MAX])
{
	dv_err err = fs_mountpoint_resolve(operand, path);
	if (err < 0)
		return fs_cmd_fail(2, "%s: %s", operand, strerror(-err));
	mount[0] = '\0';
	if (fs_client_is_mount(path))
		snprintf(mount, PATH_MAX, "%s", path);
	else if (dv_store_find_mount(dv_backing_posix(), path, mount, PATH_MAX) < 0)
		mount[0] = '\0'; /* opening it tells what is wrong */
	return 0;
}

dv_err fs_cmd_open_store(const char *path, struct dv_store **out, char *why, size_t why_size)
{
	struct dv_store_options so;

	memset(&so, 0, sizeof(so));
	so.plugin = fs_plugin_named();
	so.beat_ms = DV_BEAT_MS; /* a large store takes a while */
	dv_backing_posix_prepare();
	return dv_store_open(dv_backing_posix(), path, &so, out, why, why_size);
}

int fs_cmd_end(int status)
{
	if (status == FS_PIPE_CLOSED) {
		signal(SIGPIPE, SIG_DFL);
		raise(SIGPIPE);
	}
	return status;
}
