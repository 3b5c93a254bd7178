/* SPDX-License-Identifier: MIT */
/* door.c - see door.h. */
#include "fs/door.h"

#include "core/lib_plugin.h"
#include "core/log.h"
#include "fs/args.h"
#include "fs/client.h"
#include "fs/cmd.h"
#include "fs/mountpoint.h"
#include "fs/plugin.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Once: a damaged file is told of when it is opened, and again when it is read. */
static void print_line(int severity, const char *line)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static char last[1024]; /* lock */

	if (severity >= 2)
		return;
	pthread_mutex_lock(&lock);
	if (strncmp(line, last, sizeof(last) - 1) != 0) {
		snprintf(last, sizeof(last), "%s", line);
		fs_cmd_fail(0, "%s", line);
	}
	pthread_mutex_unlock(&lock);
}

int fs_door_open(struct fs_door *d, const char *operand)
{
	int status;

	if (!d)
		return fs_cmd_fail(2, "%s", strerror(ENOMEM));
	memset(d, 0, sizeof(*d));
	snprintf(d->given, sizeof(d->given), "%s", operand);
	dvfs_set_log(print_line);
	status = fs_cmd_target(operand, d->store, d->mount);
	if (status)
		return status;
	if (!fs_client_is_mount(d->mount)) /* of another mount namespace */
		d->mount[0] = '\0';
	if (d->mount[0] && !strcmp(d->mount, d->store)) {
		struct statvfs st;

		d->read_only = statvfs(d->mount, &st) == 0 && (st.f_flag & ST_RDONLY);
		if (fs_client_store(d->mount, d->store, sizeof(d->store)) < 0)
			return fs_cmd_fail(2, "%s: the store that is mounted there can not be told",
					   operand);
	}
	return 0;
}

static int may_be_written(const struct fs_door *d)
{
	return d->read_only ? fs_cmd_fail(2,
					  "%s: is mounted read-only; name the store %s to write "
					  "to it all the same",
					  d->given, d->store)
			    : 0;
}

int fs_door_open_to_write(struct fs_door *d, const char *operand)
{
	int status = fs_door_open(d, operand);

	return status ? status : may_be_written(d);
}

int fs_door_close(struct fs_door *d, int status)
{
	dv_err err = d ? dvfs_close(&d->lib) : 0;

	if (err < 0 && !status)
		return fs_cmd_fail(2, "%s: not all work could be finished: %s", d->given,
				   strerror(-err));
	return status;
}

static dv_err open_library(struct fs_door *d, bool write, char *why, size_t why_size)
{
	struct dvfs_options o;
	dv_err err;

	err = dvfs_close(&d->lib);
	if (err < 0)
		return err;
	dvfs_options_init(&o, sizeof(o));
	o.read_only = !write;
	o.noatime = d->looks;
	d->writable = write;
	if (!write) /* what it would tell of pending work is told by finish_pending() */
		dvfs_set_log(NULL);
	err = lib_open_plugin(d->store, &o, fs_plugin_named(), &d->lib, why, why_size);
	dvfs_set_log(print_line);
	return err;
}

/* What a killed process has acknowledged is in its folder: opening for writing puts it in place. A
 * store that can not be written shows what it has. */
static dv_err finish_pending(struct fs_door *d, char *why, size_t why_size)
{
	struct dvfs_stats st;

	dvfs_stats(d->lib, &st);
	if (!st.left_pending || d->mount[0])
		return 0;
	if (access(d->store, W_OK) == 0 && open_library(d, true, why, why_size) == 0)
		return 0;
	why[0] = '\0';
	fs_cmd_fail(0,
		    "%s: %" PRIu64 " values that ended processes left pending are shown as they "
		    "were before",
		    d->store, st.left_pending);
	return d->lib ? 0 : open_library(d, false, why, why_size);
}

int fs_door_library(struct fs_door *d, bool write)
{
	char why[512] = "";
	dv_err err;

	if (write && may_be_written(d))
		return 2;
	if (d->lib && (d->writable || !write))
		return 0;
	err = open_library(d, write, why, sizeof(why));
	if (!err && !write)
		err = finish_pending(d, why, sizeof(why));
	if ((err == -EACCES || err == -EPERM || err == -EROFS) && d->mount[0])
		return -1;
	if (err < 0)
		return fs_cmd_fail(2, "%s", why[0] ? why : strerror(-err));
	return 0;
}

dv_err fs_door_path(const struct fs_door *d, const char *key, char out[PATH_MAX])
{
	dv_err err = fs_cmd_check_key(key);
	int n;

	if (err)
		return err;
	n = snprintf(out, PATH_MAX, "%s/%s", d->mount, key);
	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/*
 * A link to an existing name fails after the kernel has looked the name up, and looks it up anew
 * whatever it remembers (LOOKUP_EXCL); a link from another filesystem fails in any case.
 */
void fs_door_changed(const struct fs_door *d, const char *key)
{
	char path[PATH_MAX];

	if (!d->mount[0] || fs_door_path(d, key, path) < 0)
		return;
	for (char *slash = path + strlen(d->mount) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		if (link("/", path) == 0) /* never */
			return;
		*slash = '/';
	}
	if (link("/", path) == 0)
		return;
}

int fs_door_fail(struct fs_door *d, const char *key, dv_err err)
{
	char text[2048], shown[1024];

	if (err == -ENOENT && fs_args_quiet())
		return 1;
	if (d->lib)
		fs_cmd_fail(2, "%s", dvfs_explain(d->lib, key, err, text, sizeof(text)));
	else if (err == -ENOENT)
		fs_cmd_fail(2, "%s: no such key", dv_log_key(shown, sizeof(shown), key));
	else if (err == -EINVAL)
		fs_cmd_no_key(2, key);
	else
		fs_cmd_fail(2, "%s: %s", dv_log_key(shown, sizeof(shown), key), strerror(-err));
	return err == -ENOENT ? 1 : 2;
}
