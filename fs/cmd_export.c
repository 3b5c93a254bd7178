/* SPDX-License-Identifier: MIT */
/*
 * cmd_export.c - diskvfs export: the values of a store, mounted or not, become plain files in a folder
 * outside, with directories, links, special files, owner, mode, times, ACL and extended attributes.
 *
 * A file is written under a name of its own and renamed when it is whole; what is there already with the
 * same size and time of change is left out. So an export that was interrupted is gone on with by the
 * same command.
 */
#include "fs/cmd.h"

#include "core/cleanup.h"
#include "core/log.h"
#include "core/store.h"
#include "fs/args.h"
#include "fs/client.h"
#include "fs/door.h"
#include "fs/outside.h"
#include "fs/plugin.h"
#include "fs/progress.h"
#include "fs/tree.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define COPY_BYTES (1u << 20) /* long enough to go past the cache */
#define XATTR_MAX  65536
#define DEPTH_MAX  2048
#define BATCH	   128
#define PART	   ".diskvfs-export.part" /* of a file that is not whole yet; ours, in every folder */

static const struct dv_call call;

struct export
{
	struct dv_store *s;
	struct fs_outside outside;
	struct fs_progress progress;
	struct fs_links links; /* of values with several names: their paths below the folder */
	struct fs_room room;
	int top; /* the folder */
	uint64_t exported, skipped, failed, others, bytes;
	bool json, counting; /* counting: totals alone */
	char *buf;
	char key[PATH_MAX];
};

static void failed(struct export *ex, dv_err err)
{
	char text[1024];

	fs_progress_clear(&ex->progress);
	fs_cmd_fail(2, "%s: %s", dv_log_key(text, sizeof(text), ex->key),
		    err == -EBADMSG    ? "the stored bytes are damaged; what was there before stays"
		    : err == -EEXIST   ? "files that are not whole yet have that name; rename it"
		    : err == -ENOTUNIQ ? "the folder of that name is the store, or its mount"
		    : err == -EDEADLK  ? "another export writes to the folder of that name"
				       : strerror(-err));
	ex->failed++;
	fs_room_missed(&ex->room, err, ex->exported);
}

/* ---- attributes ---- */

/* What cannot be had there: not of this user, of another kind of filesystem. */
static bool can_not_be_given(int error)
{
	return error == EOPNOTSUPP || error == EPERM || error == EACCES || error == EINVAL;
}

/* Too large for that filesystem, or it is full; the value is exported all the same. */
static bool finds_no_room(int error)
{
	return error == ENOSPC || error == EDQUOT || error == E2BIG || error == ERANGE;
}

static void left_out(struct export *ex, const char *attr)
{
	char text[1024];

	fs_progress_clear(&ex->progress);
	fs_cmd_fail(2, "%s: its attribute %s finds no room there, and is left out",
		    dv_log_key(text, sizeof(text), ex->key), attr);
	ex->failed++;
}

/* As far as they can be given; what can not be read, or fails otherwise, is an error. */
static dv_err give_xattrs(struct export *ex, struct dv_node *n, int fd)
{
	DV_AUTO_FREE char *list = malloc(XATTR_MAX);
	DV_AUTO_FREE char *value = malloc(XATTR_MAX);
	ssize_t len =
		list && value ? dv_store_listxattr(ex->s, &call, n, list, XATTR_MAX) : -ENOMEM;

	for (char *attr = list; len > 0 && attr < list + len; attr += strlen(attr) + 1) {
		ssize_t got = dv_store_getxattr(ex->s, &call, n, attr, value, XATTR_MAX);

		if (got == -ENODATA) /* removed meanwhile */
			continue;
		if (got < 0)
			return (dv_err)got;
		if (!fsetxattr(fd, attr, value, (size_t)got, 0) || can_not_be_given(errno))
			continue;
		if (!finds_no_room(errno))
			return -errno;
		left_out(ex, attr);
	}
	return len < 0 && len != -EOPNOTSUPP ? (dv_err)len : 0;
}

/* Of an open file or directory. */
static dv_err dress(struct export *ex, struct dv_node *n, const struct dv_stat *st, int fd)
{
	const struct timespec times[2] = {st->atime, st->mtime};
	mode_t mode = st->mode & 07777;
	dv_err err;

	if (fchown(fd, st->uid, st->gid)) {
		if (!can_not_be_given(errno))
			return -errno;
		mode &= ~(mode_t)(S_ISUID | S_ISGID); /* they were meant for that owner */
	}
	err = give_xattrs(ex, n, fd);
	if (!err && (fchmod(fd, mode) || futimens(fd, times)))
		err = -errno;
	return err;
}

static dv_err dress_other(const struct dv_stat *st, int at, const char *name)
{
	const struct timespec times[2] = {st->atime, st->mtime};

	if (fchownat(at, name, st->uid, st->gid, AT_SYMLINK_NOFOLLOW) && errno != EPERM)
		return -errno;
	if (!S_ISLNK(st->mode) && fchmodat(at, name, st->mode & 07777, 0))
		return -errno;
	return utimensat(at, name, times, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

/* ---- values ---- */

static dv_err write_at(int fd, const char *buf, size_t len, uint64_t off)
{
	while (len) {
		ssize_t done = pwrite(fd, buf, len, (off_t)off);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		buf += done;
		off += (uint64_t)done;
		len -= (size_t)done;
	}
	return 0;
}

static dv_err copy_range(struct export *ex, struct dv_node *n, int fd, uint64_t at, uint64_t end)
{
	dv_err err = 0;

	while (!err && at < end) {
		size_t len = end - at < COPY_BYTES ? (size_t)(end - at) : COPY_BYTES;
		ssize_t got = dv_store_read(ex->s, &call, n, ex->buf, (struct dv_range){at, len});

		if (got <= 0)
			return (dv_err)got;
		err = write_at(fd, ex->buf, (size_t)got, at);
		at += (uint64_t)got;
		ex->bytes += (uint64_t)got;
		fs_progress_add(&ex->progress, 0, (uint64_t)got);
	}
	return err;
}

/* Holes stay holes. */
static dv_err copy_value(struct export *ex, struct dv_node *n, int fd, uint64_t size)
{
	uint64_t at = 0, data, end;
	dv_err err = 0;

	while (!err && at < size) {
		err = dv_store_seek(ex->s, &call, n, at, SEEK_DATA, &data);
		if (err == -ENXIO) {
			err = 0;
			break;
		}
		if (err)
			data = at;
		err = dv_store_seek(ex->s, &call, n, data, SEEK_HOLE, &end);
		if (err || end <= data)
			end = size;
		err = copy_range(ex, n, fd, data, end);
		at = end;
	}
	if (!err && ftruncate(fd, (off_t)size))
		err = -errno;
	return err;
}

/* What lies there under the name of its own gets its name. */
static dv_err take_name(int at, const char *name)
{
	dv_err err = renameat(at, PART, at, name) ? -errno : 0;

	if (err)
		unlinkat(at, PART, 0);
	return err;
}

/* The folder is this export's alone, since all have one name for what is not whole: false: another one
 * works there. Where there are no locks nobody is kept out. */
static bool take_folder(int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

/* An export that was killed has left it. */
static dv_err remove_part(int at)
{
	return unlinkat(at, PART, 0) && errno != ENOENT ? -errno : 0;
}

static dv_err export_value(struct export *ex, struct dv_node *n, const struct dv_stat *st, int at,
			   const char *name)
{
	int fd;
	dv_err err = remove_part(at);

	if (err)
		return err;
	fd = openat(at, PART, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = copy_value(ex, n, fd, st->size);
	if (!err)
		err = dress(ex, n, st, fd);
	if (close(fd) && !err)
		err = -errno;
	if (err)
		unlinkat(at, PART, 0);
	else
		err = take_name(at, name);
	ex->exported += !err;
	return err;
}

static bool is_there(int at, const char *name, const struct dv_stat *st, struct stat *there)
{
	return fstatat(at, name, there, AT_SYMLINK_NOFOLLOW) == 0 &&
	       (there->st_mode & S_IFMT) == (st->mode & S_IFMT) &&
	       (!S_ISREG(st->mode) || (uint64_t)there->st_size == st->size) &&
	       there->st_mtim.tv_sec == st->mtime.tv_sec &&
	       there->st_mtim.tv_nsec == st->mtime.tv_nsec;
}

static struct stat numbers(const struct dv_stat *st)
{
	return (struct stat){.st_ino = st->ino};
}

static dv_err export_link(struct export *ex, const char *first, int at, const char *name)
{
	struct stat a, b;

	if (fstatat(ex->top, first, &a, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (fstatat(at, name, &b, AT_SYMLINK_NOFOLLOW) == 0) {
		if (a.st_ino == b.st_ino && a.st_dev == b.st_dev) {
			ex->skipped++;
			return 0;
		}
	}
	dv_err err = remove_part(at);
	if (!err && linkat(ex->top, first, at, PART, 0))
		err = -errno;
	if (!err)
		err = take_name(at, name);
	ex->exported += !err;
	return err;
}

static dv_err export_regular(struct export *ex, struct dv_node *n, const struct dv_stat *st, int at,
			     const char *name)
{
	struct stat id = numbers(st), there;
	const char *first = st->nlink > 1 ? fs_links_find(&ex->links, &id) : NULL;
	dv_err err = 0;

	if (first)
		return export_link(ex, first, at, name);
	if (is_there(at, name, st, &there)) {
		ex->skipped++;
		fs_progress_add(&ex->progress, 0, st->size);
	} else {
		err = export_value(ex, n, st, at, name);
	}
	if (!err && st->nlink > 1) {
		char *path = strdup(ex->key);

		err = path ? fs_links_add(&ex->links, &id, path) : -ENOMEM;
	}
	return err;
}

static dv_err export_other(struct export *ex, struct dv_node *n, const struct dv_stat *st, int at,
			   const char *name)
{
	char target[PATH_MAX];
	struct stat there;
	ssize_t len = 0;
	dv_err err;

	if (is_there(at, name, st, &there)) {
		ex->skipped++;
		return 0;
	}
	if (S_ISLNK(st->mode)) {
		len = dv_store_readlink(ex->s, &call, n, target, sizeof(target) - 1);
		if (len < 0)
			return (dv_err)len;
	}
	target[len] = '\0';
	err = remove_part(at);
	if (err)
		return err;
	if (S_ISLNK(st->mode) ? symlinkat(target, at, PART) : mknodat(at, PART, st->mode, st->rdev))
		return -errno;
	err = dress_other(st, at, PART);
	if (err)
		unlinkat(at, PART, 0);
	else
		err = take_name(at, name);
	ex->others += !err;
	return err;
}

/* ---- the tree ---- */

static dv_err export_dir(struct export *ex, struct dv_node *dir, int at, unsigned depth);

static dv_err enter_dir(struct export *ex, struct dv_node *n, const struct dv_stat *st, int at,
			const char *name, unsigned depth)
{
	int fd = -1;
	struct stat there;
	dv_err err = 0;

	if (depth >= DEPTH_MAX)
		return -ENAMETOOLONG;
	if (!ex->counting) {
		if (mkdirat(at, name, 0700) && errno != EEXIST)
			return -errno;
		fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		if (fstat(fd, &there) || fs_outside_is_root(&ex->outside, &there)) {
			close(fd);
			return -ENOTUNIQ;
		}
		if (!take_folder(fd)) {
			close(fd);
			return -EDEADLK;
		}
	}
	err = export_dir(ex, n, fd, depth + 1);
	if (!ex->counting) {
		dv_err dressed = dress(ex, n, st, fd);

		err = err ? err : dressed;
		ex->others++;
		close(fd);
	}
	return err;
}

static dv_err export_entry(struct export *ex, struct dv_node *dir, const char *name, int at,
			   unsigned depth)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	dv_err err = dv_store_lookup(ex->s, &call, dir, name, &n, &st);

	if (err) /* removed meanwhile; something is mounted there */
		return err == -ENOENT || err == -EXDEV ? 0 : err;
	if (!ex->counting && !strcmp(name, PART)) {
		err = -EEXIST;
	} else if (S_ISDIR(st.mode)) {
		err = enter_dir(ex, n, &st, at, name, depth);
	} else if (ex->counting) {
		ex->progress.total_files++;
		ex->progress.total_bytes += S_ISREG(st.mode) ? st.size : 0;
	} else {
		fs_progress_add(&ex->progress, 1, 0);
		err = S_ISREG(st.mode) ? export_regular(ex, n, &st, at, name)
				       : export_other(ex, n, &st, at, name);
	}
	dv_node_unref(ex->s, n);
	return err;
}

struct batch {
	unsigned count;
	int64_t cookie;
	char names[BATCH][NAME_MAX + 1];
};

static bool collect(void *ctx, const struct dv_list_entry *e)
{
	struct batch *b = ctx;

	if (b->count == BATCH)
		return false;
	strcpy(b->names[b->count++], e->name);
	b->cookie = e->cookie;
	return true;
}

static dv_err export_dir(struct export *ex, struct dv_node *dir, int at, unsigned depth)
{
	DV_AUTO_FREE struct batch *b = calloc(1, sizeof(*b));
	struct dv_list *list = NULL;
	size_t len = strlen(ex->key);
	dv_err err = b ? dv_list_open(ex->s, dir, &list) : -ENOMEM;

	do {
		if (err)
			break;
		b->count = 0;
		err = dv_store_list(ex->s, &call, dir, list, b->cookie, collect, b);
		for (unsigned i = 0; !err && !ex->room.gone && i < b->count; i++) {
			if (len + strlen(b->names[i]) + 2 > sizeof(ex->key)) {
				failed(ex, -ENAMETOOLONG);
				continue;
			}
			sprintf(ex->key + len, "%s%s", len ? "/" : "", b->names[i]);
			dv_err one = export_entry(ex, dir, b->names[i], at, depth);
			if (one && !ex->counting)
				failed(ex, one);
			ex->key[len] = '\0';
		}
	} while (!err && b->count && !ex->room.gone);
	dv_list_close(ex->s, &list);
	if (!ex->counting)
		unlinkat(at, PART, 0); /* of an export that was killed; mostly there is none */
	return err;
}

static void tell(const struct export *ex)
{
	char text[32];

	if (ex->json)
		printf("{\"exported\": %" PRIu64 ", \"skipped\": %" PRIu64 ", \"others\": %" PRIu64
		       ", \"failed\": %" PRIu64 ", \"bytes\": %" PRIu64 "}\n",
		       ex->exported, ex->skipped, ex->others, ex->failed, ex->bytes);
	else if (!fs_args_quiet())
		printf("exported %" PRIu64 " files, %s written; %" PRIu64
		       " were there already, %" PRIu64 " failed\n",
		       ex->exported, fs_size_text(ex->bytes, text), ex->skipped, ex->failed);
}

static void forget_path(void *ctx, void *path)
{
	(void)ctx;
	free(path);
}

static dv_err export_all(struct export *ex)
{
	struct dv_node *root = dv_store_root(ex->s);
	dv_err err;

	fs_progress_begin(&ex->progress, "export");
	ex->counting = true;
	err = export_dir(ex, root, -1, 0);
	ex->counting = false;
	if (!err)
		err = export_dir(ex, root, ex->top, 0);
	dv_node_unref(ex->s, root);
	fs_progress_clear(&ex->progress);
	fs_links_release(&ex->links, forget_path, NULL);
	return err;
}

/* What the daemon has not put in place yet, and nobody writes, is put there first. */
static void commit_mount(const struct fs_door *d)
{
	dv_err err;

	if (!d->mount[0])
		return;
	err = fs_client_command(d->mount, "commit\n", NULL);
	if (err < 0)
		fs_cmd_fail(0,
			    "%s: what its daemon has not put in place yet is exported as it was "
			    "before: %s",
			    d->mount, strerror(-err));
}

static int run(struct export *ex, struct fs_door *d, const char *folder)
{
	struct dv_store_options so = {.plugin = fs_plugin_named(), .read_only = true};
	char why[512] = "";
	dv_err err;
	int status = d->mount[0] ? 0 : fs_door_library(d, false); /* finishes what is pending */

	if (status)
		return status;
	dv_ignore(dvfs_close(&d->lib)); /* only read, or finished */
	fs_outside_init(&ex->outside, d);
	if (fs_outside_is_in(&ex->outside, folder, true))
		return fs_cmd_fail(
			2, "%s: lies in the store, or in its mount: export to a folder outside",
			folder);
	commit_mount(d);
	if (mkdir(folder, 0777) && errno != EEXIST)
		return fs_cmd_fail(2, "%s: %s", folder, strerror(errno));
	ex->top = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ex->top < 0)
		return fs_cmd_fail(2, "%s: %s", folder, strerror(errno));
	if (!take_folder(ex->top))
		return fs_cmd_fail(2, "%s: another export writes to it", folder);
	err = dv_store_open(dv_backing_posix(), d->store, &so, &ex->s, why, sizeof(why));
	if (err < 0)
		return fs_cmd_fail(2, "%s", why[0] ? why : strerror(-err));
	err = export_all(ex);
	if (err < 0)
		fs_cmd_fail(2, "%s: %s", d->given, strerror(-err));
	if (ex->room.gone)
		fs_cmd_fail(
			2,
			"%s: there is no room left on its filesystem, and the export ends here; "
			"the same command goes on when there is",
			folder);
	dv_ignore(dv_store_close(&ex->s, NULL)); /* read only */
	if (syncfs(ex->top) && !err)
		err = fs_cmd_fail(-errno, "%s: %s", folder, strerror(errno));
	tell(ex);
	return err < 0 || ex->failed ? 2 : 0;
}

int fs_cmd_export(int argc, char **argv)
{
	DV_AUTO_FREE struct export *ex = calloc(1, sizeof(*ex));
	DV_AUTO_FREE struct fs_door *d = calloc(1, sizeof(*d));
	DV_AUTO_FREE char *buf = malloc(COPY_BYTES);
	char **operands;
	int status;

	if (!ex || !d || !buf)
		return fs_cmd_fail(2, "%s", strerror(ENOMEM));
	const struct fs_arg args[] = {
		{"json", 0, FS_ARG_SET, &ex->json, NULL, "tell the counts as one object"},
	};
	const struct fs_args a = {
		"export STORE|MOUNTPOINT DIR [--json]",
		"Values become plain files in DIR, with owner, mode, times, attributes and hard "
		"links. What is\nthere with the same size and time of change is left out: where an "
		"export was interrupted the\nsame command goes on. Nothing in DIR is removed.\n",
		args,
		DV_ARRAY_LEN(args),
		2,
		2};
	if (fs_args_parse(&a, argc, argv, &operands, &status) < 0)
		return status;
	ex->buf = buf;
	ex->top = -1;
	status = fs_door_open(d, operands[0]);
	if (!status)
		status = run(ex, d, operands[1]);
	if (ex->top >= 0)
		close(ex->top);
	return fs_door_close(d, status);
}
