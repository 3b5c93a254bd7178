/* SPDX-License-Identifier: MIT */
/*
 * client.c - reads and writes MOUNTPOINT/.diskvfs/.
 *
 * The JSON texts are our own and flat, so a number is found by its quoted name.
 */
#include "fs/client.h"

#include "fs/control.h"
#include "fs/json.h"
#include "fs/mountpoint.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool fs_client_is_mount(const char *path)
{
	struct fs_mount m;

	return fs_mountpoint_find(path, &m) == 0 && !strcmp(m.type, FS_TYPE);
}

static int open_file(const char *mountpoint, const char *name, int flags)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/" FS_CONTROL_NAME "/%s", mountpoint, name);
	int fd;

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The whole text, NUL terminated. */
static dv_err read_text(const char *mountpoint, const char *name, char text[FS_STATS_BYTES + 1])
{
	int fd = open_file(mountpoint, name, O_RDONLY);
	size_t len = 0;
	dv_err err = 0;

	if (fd < 0)
		return fd;
	while (!err && len < FS_STATS_BYTES) {
		ssize_t n = read(fd, text + len, FS_STATS_BYTES - len);

		if (n == 0)
			break;
		if (n > 0)
			len += (size_t)n;
		else if (errno != EINTR)
			err = -errno;
	}
	close(fd);
	text[err ? 0 : len] = '\0';
	return err;
}

static uint64_t number(const char *text, const char *name)
{
	char quoted[64];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"%s\": ", name);
	at = strstr(text, quoted);
	return at ? strtoull(at + strlen(quoted), NULL, 10) : 0;
}

dv_err fs_client_command(const char *mountpoint, const char *command, struct dv_pack_result *result)
{
	char text[FS_STATS_BYTES + 1];
	int fd = open_file(mountpoint, "control", O_WRONLY);
	ssize_t sent;
	dv_err err = 0;

	if (fd < 0)
		return fd;
	do
		sent = write(fd, command, strlen(command));
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		err = -errno;
	close(fd);
	if (!result)
		return err;
	memset(result, 0, sizeof(*result));
	if (read_text(mountpoint, "control", text) == 0) {
		result->seen = number(text, "seen");
		result->packed = number(text, "packed");
		result->left_raw = number(text, "left_raw");
		result->busy = number(text, "busy");
		result->failed = number(text, "failed");
		result->plain_bytes = number(text, "plain_bytes");
		result->stored_bytes = number(text, "stored_bytes");
		result->anew = number(text, "anew");
		result->bytes_before = number(text, "bytes_before");
	}
	return err;
}

dv_err fs_client_is_read_only(const char *mountpoint, bool *out)
{
	char text[FS_STATS_BYTES + 1];
	dv_err err = read_text(mountpoint, "stats", text);

	if (err == 0)
		*out = strstr(text, "\"read_only\": true") != NULL;
	return err;
}

dv_err fs_client_store(const char *mountpoint, char *buf, size_t size)
{
	char text[FS_STATS_BYTES + 1];
	dv_err err = read_text(mountpoint, "stats", text);

	if (err < 0)
		return err;
	return fs_json_get(text, "store", buf, size) ? 0 : -ENOENT;
}

uint64_t fs_client_pending(const char *mountpoint)
{
	char text[FS_STATS_BYTES + 1];

	return read_text(mountpoint, "stats", text) < 0 ? 0 : number(text, "pending");
}

pid_t fs_client_pid(const char *mountpoint)
{
	char text[FS_STATS_BYTES + 1];
	dv_err err = read_text(mountpoint, "stats", text);
	uint64_t pid;

	if (err < 0)
		return err;
	pid = number(text, "pid");
	return pid > 0 && pid <= INT_MAX ? (pid_t)pid : -ESRCH;
}
