/* SPDX-License-Identifier: MIT */
/*
 * info_value.c - see info_value.h. Both ways give the four attributes that the store tells of a value
 * (user.diskvfs.*): those of a file of the mount, whose daemon knows what it has not put in place yet, or
 * those of a store that is opened for reading. Nothing is written.
 */
#include "fs/info_value.h"

#include "core/cleanup.h"
#include "core/log.h"
#include "core/store.h"
#include "fs/cmd.h"
#include "fs/door.h"
#include "fs/json.h"
#include "fs/plugin.h"
#include "fs/progress.h"
#include "fs/through.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static const struct dv_call call;

static const char *const attrs[] = {"user.diskvfs.form", "user.diskvfs.stored_size",
				    "user.diskvfs.frames", "user.diskvfs.path"};
enum { FORM, STORED, FRAMES, PATH, ATTRS };

struct value {
	uint64_t size, disk;
	struct timespec mtime;
	char told[ATTRS][PATH_MAX]; /* "": can not be told, since its bytes are damaged */
};

/* ---- from the mount, or from the store ---- */

static dv_err look_through(struct fs_door *d, const char *key, struct value *out)
{
	struct stat st;
	int fd = fs_through_open(d, key);

	if (fd < 0)
		return fd;
	dv_err err = fstat(fd, &st) ? -errno : 0;
	out->size = (uint64_t)st.st_size;
	out->disk = (uint64_t)st.st_blocks * 512;
	out->mtime = st.st_mtim;
	for (int i = 0; !err && i < ATTRS; i++) {
		ssize_t n = fgetxattr(fd, attrs[i], out->told[i], PATH_MAX - 1);

		out->told[i][n > 0 ? n : 0] = '\0';
	}
	close(fd);
	return err;
}

static dv_err find(struct dv_store *s, const char *key, struct dv_node **out, struct dv_stat *st)
{
	struct dv_node *at = dv_store_root(s), *next = NULL;
	dv_err err = *key ? 0 : -EINVAL;

	while (!err && *key) {
		char name[NAME_MAX + 1];
		size_t len = strcspn(key, "/");

		if (len == 0 || len > NAME_MAX) {
			err = len ? -ENAMETOOLONG : -EINVAL;
			break;
		}
		memcpy(name, key, len);
		name[len] = '\0';
		key += len + (key[len] == '/');
		err = S_ISDIR(dv_node_type(at)) ? dv_store_lookup(s, &call, at, name, &next, st)
						: -ENOENT;
		if (err)
			break;
		dv_node_unref(s, at);
		at = next;
	}
	if (!err && !S_ISREG(dv_node_type(at)))
		err = -ENOENT;
	if (err)
		dv_node_unref(s, at);
	else
		*out = at;
	return err;
}

static dv_err look_in_store(struct dv_store *s, const char *key, struct value *out)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	dv_err err = find(s, key, &n, &st);

	if (err)
		return err;
	out->size = st.size;
	out->disk = st.blocks * 512;
	out->mtime = st.mtime;
	for (int i = 0; i < ATTRS; i++) {
		ssize_t len = dv_store_getxattr(s, &call, n, attrs[i], out->told[i], PATH_MAX - 1);

		out->told[i][len > 0 ? len : 0] = '\0';
	}
	dv_node_unref(s, n);
	return 0;
}

/* ---- telling ---- */

static void print_text(const char *key, const struct value *v)
{
	uint64_t stored = strtoull(v->told[STORED], NULL, 10);
	char text[1024], sizes[3][32], when[32];
	struct tm tm;

	localtime_r(&v->mtime.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	printf("key          %s\n", dv_log_key(text, sizeof(text), key));
	printf("form         %s", v->told[FORM]);
	if (!strcmp(v->told[FORM], "packed"))
		printf(", %s frames", v->told[FRAMES][0] ? v->told[FRAMES] : "damaged");
	printf("\nsize         %s in %s, %s of the disk", fs_size_text(v->size, sizes[0]),
	       fs_size_text(stored, sizes[1]), fs_size_text(v->disk, sizes[2]));
	if (stored)
		printf("; ratio %.2f", (double)v->size / (double)stored);
	printf("\nchanged      %s\nlies at      %s\n", when,
	       dv_log_key(text, sizeof(text), v->told[PATH]));
}

static void print_json(const char *key, const struct value *v)
{
	char text[6 * 1024];

	printf("{\"key\": %s, \"form\": \"%s\", \"frames\": %s, ",
	       fs_json_quote(text, sizeof(text), key), v->told[FORM],
	       v->told[FRAMES][0] ? v->told[FRAMES] : "null");
	printf("\"size\": %" PRIu64 ", \"stored\": %s, \"disk\": %" PRIu64 ", ", v->size,
	       v->told[STORED][0] ? v->told[STORED] : "null", v->disk);
	printf("\"mtime\": %" PRId64 ".%09ld, \"path\": %s}\n", (int64_t)v->mtime.tv_sec,
	       v->mtime.tv_nsec, fs_json_quote(text, sizeof(text), v->told[PATH]));
}

static int tell_all(struct fs_door *d, struct dv_store *s, char **keys, int count,
		    const struct fs_info_flags *flags)
{
	DV_AUTO_FREE struct value *v = calloc(1, sizeof(*v));
	int worst = 0;

	if (!v)
		return fs_cmd_fail(2, "%s", strerror(ENOMEM));
	for (int i = 0; i < count; i++) {
		dv_err err = s ? look_in_store(s, keys[i], v) : look_through(d, keys[i], v);
		int status = err ? fs_door_fail(d, keys[i], err) : 0;

		worst = status > worst ? status : worst;
		if (!err && !flags->quiet)
			(flags->json ? print_json : print_text)(keys[i], v);
	}
	return worst;
}

int fs_info_values(const char *operand, char **keys, int count, const struct fs_info_flags *flags)
{
	const struct dv_store_options so = {
		.plugin = fs_plugin_named(), .read_only = true, .noatime = true, .threads = 1};
	DV_AUTO_FREE struct fs_door *d = calloc(1, sizeof(*d));
	struct dv_store *s = NULL;
	char why[512] = "";
	int status = fs_door_open(d, operand);

	if (!status && !d->mount[0]) {
		dv_err err = dv_store_open(dv_backing_posix(), d->store, &so, &s, why, sizeof(why));

		if (err < 0)
			status = fs_cmd_fail(2, "%s", why[0] ? why : strerror(-err));
	}
	if (!status)
		status = tell_all(d, s, keys, count, flags);
	if (s)
		dv_ignore(dv_store_close(&s, NULL)); /* read only: nothing to finish */
	return fs_door_close(d, status);
}
