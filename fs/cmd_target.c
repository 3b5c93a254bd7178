/* SPDX-License-Identifier: MIT */
/* cmd_target.c - the store that a command is to work on, mounted or not. See cmd.h. */
#include "fs/cmd.h"

#include "core/log.h"
#include "fs/client.h"
#include "fs/mountpoint.h"
#include "fs/plugin.h"

#include <signal.h>
#include <string.h>

int fs_cmd_stale(int status, const char *operand)
{
	return fs_cmd_fail(status,
			   "%s: the daemon of this mount is gone; `diskvfs mount` the store there "
			   "again, or `diskvfs unmount` it",
			   operand);
}

int fs_cmd_target(const char *operand, char path[PATH_MAX], char mount[PATH_MAX])
{
	dv_err err = fs_mountpoint_resolve(operand, path);
	if (err < 0)
		return fs_cmd_fail(2, "%s: %s", operand, strerror(-err));
	if (fs_client_is_mount(path)) {
		if (fs_mountpoint_is_stale(path))
			return fs_cmd_stale(2, operand);
		snprintf(mount, PATH_MAX, "%s", path);
		return 0;
	}
	mount[0] = '\0';
	if (dv_store_find_mount(dv_backing_posix(), path, mount, PATH_MAX) < 0)
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

dv_err fs_cmd_check_key(const char *key)
{
	for (const char *at = key;; at++) {
		size_t len = strcspn(at, "/");

		if (!len || (len <= 2 && strspn(at, ".") >= len))
			return -EINVAL;
		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		at += len;
		if (!*at)
			break;
	}
	return strncmp(key, ".diskvfs", 8) == 0 && (!key[8] || key[8] == '/') ? -EINVAL : 0;
}

int fs_cmd_no_key(int status, const char *key)
{
	char shown[1024];

	return fs_cmd_fail(
		status,
		"%s: is no key: it is empty, has an empty, \".\" or \"..\" component, or "
		"is .diskvfs, which is the store's own, or the transform can not hold it",
		*key ? dv_log_key(shown, sizeof(shown), key) : "''");
}

int fs_cmd_end(int status)
{
	if (status == FS_PIPE_CLOSED) {
		signal(SIGPIPE, SIG_DFL);
		raise(SIGPIPE);
	}
	return status;
}
