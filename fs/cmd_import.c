/* SPDX-License-Identifier: MIT */
/*
 * cmd_import.c - diskvfs import: files and whole trees become values of a store, mounted or not.
 *
 * Each value is put in its place whole, with owner, mode, times, ACL and extended attributes as far as
 * they can be given; directories, symbolic links, special files and hard links come along where the
 * transform has them. What is there already with the same size and time of change is left out, so that
 * an import that was interrupted is gone on with by the same command.
 */
#include "fs/cmd.h"

#include "core/cleanup.h"
#include "core/import.h"
#include "core/log.h"
#include "core/put.h"
#include "fs/args.h"
#include "fs/door.h"
#include "fs/outside.h"
#include "fs/plugin.h"
#include "fs/progress.h"
#include "fs/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define DEPTH_MAX  2048 /* as PATH_MAX allows */
#define PATHS_MAX  100000
#define XATTR_MAX  65536
#define SETTLED_MS 1000 /* they are packed while others are read */

static const struct dv_call call;

struct import {
	struct dv_store *s;
	struct fs_door *door;
	struct fs_outside outside;
	struct fs_progress progress;
	struct fs_links links; /* of files with several names: their nodes */
	struct fs_room room;
	uint64_t imported, skipped, failed, others, bytes;
	bool move, json;
	char key[PATH_MAX]; /* of what is being imported: for messages, and for the mount */
	char part[64];	    /* free_name() */
};

static void failed(struct import *im, dv_err err)
{
	char text[1024];

	fs_progress_clear(&im->progress);
	fs_cmd_fail(2, "%s: %s", dv_log_key(text, sizeof(text), im->key),
		    err == -EPERM && !dv_store_has_dirs(im->s)
			    ? "the store's transform holds regular files only"
		    : err == -ESTALE && im->move
			    ? "was changed meanwhile, and stays: import it again"
		    : err == -EEXIST
			    ? "a value has the name of a directory that this is to be, or to lie in"
		    : err == -EINVAL ? "can not be a key of this store; --prefix makes others"
				     : strerror(-err));
	im->failed++;
	fs_room_missed(&im->room, err, im->imported);
}

static void refuse(struct import *im, const char *path)
{
	char text[1024];

	fs_progress_clear(&im->progress);
	fs_cmd_fail(2, "%s: is the store, or its mount, or lies in it; it is left out",
		    dv_log_key(text, sizeof(text), path));
	im->failed++;
}

/* ---- attributes of what is no value ---- */

static void give_xattrs(struct import *im, int fd, struct dv_node *n)
{
	DV_AUTO_FREE char *list = malloc(XATTR_MAX);
	DV_AUTO_FREE char *value = malloc(XATTR_MAX);
	ssize_t len = list && value ? flistxattr(fd, list, XATTR_MAX) : 0;

	for (char *attr = list; len > 0 && attr < list + len; attr += strlen(attr) + 1) {
		ssize_t got = fgetxattr(fd, attr, value, XATTR_MAX);

		if (got >= 0) /* as far as they can be given */
			dv_ignore(dv_store_setxattr(im->s, &call, n, attr, value, (size_t)got, 0));
	}
}

/* fd -1: without extended attributes. */
static void dress(struct import *im, struct dv_node *n, const struct stat *st, int fd)
{
	struct dv_setattr set = {.valid = DV_SET_UID | DV_SET_GID,
				 .uid = st->st_uid,
				 .gid = st->st_gid,
				 .mode = st->st_mode & 07777,
				 .atime = st->st_atim,
				 .mtime = st->st_mtim};
	struct dv_stat now;

	dv_ignore(dv_store_setattr(im->s, &call, n, &set, &now)); /* who may not, is the owner */
	if (fd >= 0)
		give_xattrs(im, fd, n);
	set.valid = DV_SET_ATIME | DV_SET_MTIME | (S_ISLNK(st->st_mode) ? 0u : DV_SET_MODE);
	dv_ignore(dv_store_setattr(im->s, &call, n, &set, &now));
}

/* ---- values ---- */

static void count_bytes(void *ctx, uint64_t bytes)
{
	struct import *im = ctx;

	im->bytes += bytes;
	fs_progress_add(&im->progress, 0, bytes);
}

static bool is_there(const struct stat *st, const struct dv_stat *there)
{
	return S_ISREG(there->mode) && there->size == (uint64_t)st->st_size &&
	       there->mtime.tv_sec == st->st_mtim.tv_sec &&
	       there->mtime.tv_nsec == st->st_mtim.tv_nsec;
}

static dv_err put_file(struct import *im, struct dv_node *dir, const char *name,
		       struct dv_import *from, struct dv_node **out)
{
	struct dv_put *put = NULL;
	struct dv_stat there;
	struct dv_node *old = NULL;
	bool replaces = dv_store_lookup(im->s, &call, dir, name, &old, &there) == 0;
	dv_err err = im->move ? dv_import_link(im->s, from, &put) : -EXDEV;

	dv_node_unref(im->s, old);
	if (err == -EXDEV)
		err = dv_import_copy(im->s, &call, from, count_bytes, im, &put);
	if (!err)
		err = dv_put_commit(im->s, &call, put, dir, name, im->move ? DV_PUT_SYNC : 0);
	if (!err)
		*out = dv_node_ref(dv_put_node(put));
	dv_put_end(im->s, &put);
	if (!err && replaces)
		fs_door_changed(im->door, im->key);
	if (!err && im->move)
		err = dv_import_unlink(from);
	return err;
}

/* ---- what is made beside a name that is taken, and then has it ---- */

/* The name to make it under: what is there stays until that is done. */
static const char *free_name(struct import *im, struct dv_node *dir, const char *name, bool taken)
{
	if (!taken)
		return name;
	snprintf(im->part, sizeof(im->part), ".diskvfs-import.%ld", (long)getpid());
	dv_ignore(dv_store_unlink(im->s, &call, dir, im->part)); /* of one that was killed */
	return im->part;
}

static dv_err take_name(struct import *im, struct dv_node *dir, const char *made, const char *name)
{
	dv_err err = 0;

	if (made != name)
		err = dv_store_rename(im->s, &call, dir, made, dir, name, 0);
	if (err)
		dv_ignore(dv_store_unlink(im->s, &call, dir, made));
	return err;
}

/* Another name of a file that was imported. */
static dv_err link_file(struct import *im, struct dv_node *dir, const char *name,
			struct dv_node *first, const struct dv_import *from)
{
	struct dv_node *there = NULL;
	struct dv_stat st;
	dv_err err = dv_store_lookup(im->s, &call, dir, name, &there, &st);
	bool taken = !err, same = taken && there == first;

	dv_node_unref(im->s, there);
	if (err == -ENOENT)
		err = 0;
	if (!err && !same) {
		const char *as = free_name(im, dir, name, taken);

		err = dv_store_link(im->s, &call, first, dir, as, &st);
		if (!err)
			err = take_name(im, dir, as, name);
	}
	im->skipped += !err && same;
	im->imported += !err && !same;
	if (!err && im->move)
		err = dv_store_fsync(im->s, &call, dir, false);
	if (!err && im->move)
		err = dv_import_unlink(from);
	return err;
}

static dv_err import_file(struct import *im, struct dv_node *dir, const char *name,
			  struct dv_import *from, const struct stat *st)
{
	struct dv_node *n = NULL, *first = NULL;
	struct dv_stat there;
	/* As it was opened: by another name it may be written to at any time. */
	const struct stat opened = {.st_dev = from->st.dev,
				    .st_ino = from->st.ino,
				    .st_size = (off_t)from->st.size,
				    .st_mtim = from->st.mtime};
	bool several = st->st_nlink > 1 && dv_store_has_dirs(im->s);
	dv_err err;

	/* Of a file that is moved the last name has no other any more. */
	if (several || im->move)
		first = fs_links_find(&im->links, &opened);
	if (first)
		return link_file(im, dir, name, first, from);
	err = dv_store_lookup(im->s, &call, dir, name, &n, &there);
	if (!err && !im->move && is_there(st, &there)) {
		im->skipped++;
		fs_progress_add(&im->progress, 0, (uint64_t)st->st_size);
	} else {
		dv_node_unref(im->s, n);
		n = NULL;
		err = put_file(im, dir, name, from, &n);
		im->imported += !err;
	}
	if (!err && several)
		err = fs_links_add(&im->links, &opened, dv_node_ref(n));
	dv_node_unref(im->s, n);
	return err;
}

/* ---- the tree ---- */

static dv_err import_entry(struct import *im, struct dv_node *dir, const char *name, int at,
			   const char *from, unsigned depth);

static dv_err make_dir(struct import *im, struct dv_node *dir, const char *name,
		       struct dv_node **out)
{
	struct dv_stat st;
	dv_err err = dv_store_lookup(im->s, &call, dir, name, out, &st);

	if (err == -ENOENT)
		err = dv_store_mkdir(im->s, &call, dir, name, 0777, out, &st);
	if (!err && !S_ISDIR(dv_node_type(*out))) {
		dv_node_unref(im->s, *out);
		*out = NULL;
		err = -EEXIST;
	}
	return err;
}

/* What lies in the directory fd, which is taken; left: what stands before each name. */
static dv_err import_names(struct import *im, struct dv_node *dir, int fd, const char *left,
			   unsigned depth)
{
	char name[NAME_MAX + 1];
	DIR *d = depth < DEPTH_MAX ? fdopendir(fd) : NULL;
	struct dirent *e;
	size_t len = strlen(im->key);

	if (!d) {
		close(fd);
		return depth < DEPTH_MAX ? -errno : -ENAMETOOLONG;
	}
	while (!im->room.gone && (errno = 0, e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		bool fits = snprintf(name, sizeof(name), "%s%s", left, e->d_name) <= NAME_MAX;

		if (len + strlen(name) + 2 > sizeof(im->key)) {
			failed(im, -ENAMETOOLONG);
			continue;
		}
		sprintf(im->key + len, "%s%s", len ? "/" : "", name);
		dv_err err = fits ? import_entry(im, dir, name, dirfd(d), e->d_name, depth)
				  : -ENAMETOOLONG;
		if (err)
			failed(im, err);
		im->key[len] = '\0';
	}
	dv_err err = im->room.gone ? 0 : -errno;
	closedir(d);
	return err;
}

static dv_err import_dir(struct import *im, struct dv_node *dir, const char *name, int at,
			 const char *from, unsigned depth)
{
	struct dv_node *n = NULL;
	struct stat st;
	int fd = openat(at, from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	dv_err err = fd < 0 || fstat(fd, &st) ? -errno : 0;

	if (!err && fs_outside_is_root(&im->outside, &st)) {
		refuse(im, im->key);
		close(fd);
		return 0;
	}
	if (!err)
		err = make_dir(im, dir, name, &n);
	if (!err) {
		int own = dup(fd);

		err = own < 0 ? -errno : import_names(im, n, own, "", depth + 1);
		dress(im, n, &st, fd);
		im->others++;
	}
	if (!err && im->move)
		err = dv_store_fsync(im->s, &call, dir, false);
	if (!err && im->move && unlinkat(at, from, AT_REMOVEDIR) && errno != ENOTEMPTY)
		err = -errno;
	if (fd >= 0)
		close(fd);
	dv_node_unref(im->s, n);
	return err;
}

static bool is_other_there(struct import *im, struct dv_node *n, const struct dv_stat *there,
			   const struct stat *st, const char *target)
{
	char is[PATH_MAX];
	ssize_t len;

	if (dv_node_type(n) != (st->st_mode & S_IFMT) || there->mtime.tv_sec != st->st_mtim.tv_sec)
		return false;
	if (!S_ISLNK(st->st_mode))
		return there->rdev == st->st_rdev;
	len = dv_store_readlink(im->s, &call, n, is, sizeof(is));
	return len == (ssize_t)strlen(target) && !memcmp(is, target, (size_t)len);
}

static dv_err make_other(struct import *im, struct dv_node *dir, const char *name,
			 const struct stat *st, const char *target)
{
	struct dv_node *n = NULL;
	struct dv_stat made;
	dv_err err = S_ISLNK(st->st_mode)
			     ? dv_store_symlink(im->s, &call, target, dir, name, &n, &made)
			     : dv_store_mknod(im->s, &call, dir, name, st->st_mode, st->st_rdev, &n,
					      &made);

	if (!err)
		dress(im, n, st, -1);
	dv_node_unref(im->s, n);
	return err;
}

/* A symbolic link or special file. */
static dv_err import_other(struct import *im, struct dv_node *dir, const char *name, int at,
			   const char *from, const struct stat *st)
{
	char target[PATH_MAX];
	struct dv_node *n = NULL;
	struct dv_stat there;
	ssize_t len = S_ISLNK(st->st_mode) ? readlinkat(at, from, target, sizeof(target) - 1) : 0;
	dv_err err = len < 0 ? -errno : 0;

	target[len > 0 ? len : 0] = '\0';
	if (!err)
		err = dv_store_lookup(im->s, &call, dir, name, &n, &there);
	if (!err && is_other_there(im, n, &there, st, target)) {
		im->skipped++;
	} else if (!err || err == -ENOENT) {
		const char *as = free_name(im, dir, name, !err);

		err = make_other(im, dir, as, st, target);
		if (!err)
			err = take_name(im, dir, as, name);
		im->others += !err;
	}
	dv_node_unref(im->s, n);
	if (!err && im->move)
		err = dv_store_fsync(im->s, &call, dir, false);
	if (!err && im->move && unlinkat(at, from, 0))
		err = -errno;
	return err;
}

static dv_err import_entry(struct import *im, struct dv_node *dir, const char *name, int at,
			   const char *from, unsigned depth)
{
	struct dv_import file;
	struct stat st;
	dv_err err = fstatat(at, from, &st, AT_SYMLINK_NOFOLLOW) ? -errno : 0;

	if (err)
		return err;
	if (!strcmp(im->key, ".diskvfs")) /* a mount has its own files there */
		return -EINVAL;
	if (S_ISDIR(st.st_mode))
		return import_dir(im, dir, name, at, from, depth);
	fs_progress_add(&im->progress, 1, 0);
	if (!S_ISREG(st.st_mode))
		return import_other(im, dir, name, at, from, &st);
	err = dv_import_open(at, from, &file);
	if (err)
		return err;
	err = import_file(im, dir, name, &file, &st);
	dv_import_close(&file);
	return err;
}

/* ---- operands ---- */

/* Can a key begin so? Directories "." and ".." would be made, which no key and no path leads to. */
static bool is_prefix(const char *prefix)
{
	size_t first = strcspn(prefix, "/");

	for (const char *at = prefix, *slash; (slash = strchr(at, '/')); at = slash + 1) {
		size_t len = (size_t)(slash - at);

		if (!len || (len <= 2 && strspn(at, ".") == len))
			return false;
	}
	return !prefix[first] || first != 8 || strncmp(prefix, ".diskvfs", first) != 0;
}

/* The directory of the prefix, made where it is missing. *left: what of it each name begins with. */
static dv_err open_prefix(struct import *im, const char *prefix, struct dv_node **out,
			  const char **left)
{
	dv_err err = 0;

	*out = dv_store_root(im->s);
	*left = prefix;
	for (const char *slash; !err && (slash = strchr(*left, '/')); *left = slash + 1) {
		char name[NAME_MAX + 1];
		struct dv_node *next = NULL;
		size_t len = (size_t)(slash - *left);

		if (len > NAME_MAX)
			err = -ENAMETOOLONG;
		if (!err) {
			memcpy(name, *left, len);
			name[len] = '\0';
			err = make_dir(im, *out, name, &next);
		}
		dv_node_unref(im->s, *out);
		*out = next;
	}
	return err;
}

/* The last component of a path, and whether its contents are meant ("dir/", "dir/.", "."). */
static bool last_name(const char *path, char name[NAME_MAX + 1])
{
	size_t len = strlen(path);
	const char *at;

	if (len && path[len - 1] == '/')
		return true;
	at = strrchr(path, '/');
	at = at ? at + 1 : path;
	snprintf(name, NAME_MAX + 1, "%s", at);
	return !strcmp(at, ".") || !strcmp(at, "..");
}

static void import_operand(struct import *im, const char *path, const char *prefix)
{
	char name[NAME_MAX + 1], key[NAME_MAX + 1];
	struct dv_node *dir = NULL;
	const char *left;
	size_t dir_len;
	dv_err err;
	int fd;

	if (fs_outside_is_in(&im->outside, path, false)) {
		refuse(im, path);
		return;
	}
	snprintf(im->key, sizeof(im->key), "%s", path);
	err = open_prefix(im, prefix, &dir, &left);
	if (err) {
		failed(im, err);
		return;
	}
	dir_len = left == prefix ? 0 : (size_t)(left - prefix) - 1;
	snprintf(im->key, sizeof(im->key), "%.*s", (int)dir_len, prefix);
	if (last_name(path, name)) {
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		err = fd < 0 ? -errno : import_names(im, dir, fd, left, 0);
	} else if (snprintf(key, sizeof(key), "%s%s", left, name) >= (int)sizeof(key)) {
		err = -ENAMETOOLONG;
	} else {
		snprintf(im->key + dir_len, sizeof(im->key) - dir_len, "%s%s", dir_len ? "/" : "",
			 key);
		err = import_entry(im, dir, key, AT_FDCWD, path, 0);
	}
	dv_node_unref(im->s, dir);
	if (err)
		failed(im, err);
	else
		fs_door_changed(im->door, im->key);
}

static void tell(const struct import *im)
{
	char text[32];

	if (im->json)
		printf("{\"imported\": %" PRIu64 ", \"skipped\": %" PRIu64 ", \"others\": %" PRIu64
		       ", \"failed\": %" PRIu64 ", \"bytes\": %" PRIu64 "}\n",
		       im->imported, im->skipped, im->others, im->failed, im->bytes);
	else if (!fs_args_quiet())
		printf("imported %" PRIu64 " files, %s read; %" PRIu64
		       " were there already, %" PRIu64 " failed\n",
		       im->imported, fs_size_text(im->bytes, text), im->skipped, im->failed);
}

static void forget_link(void *ctx, void *node)
{
	dv_node_unref(ctx, node);
}

static int run(struct import *im, char **paths, int count, const char *prefix)
{
	struct dv_store_options so = {.plugin = fs_plugin_named(),
				      .background = true,
				      .settle_ms = SETTLED_MS,
				      .beat_ms = DV_BEAT_MS};
	char why[512] = "";
	dv_err err =
		dv_store_open(dv_backing_posix(), im->door->store, &so, &im->s, why, sizeof(why));

	if (err < 0)
		return fs_cmd_fail(2, "%s", why[0] ? why : strerror(-err));
	fs_outside_init(&im->outside, im->door);
	fs_progress_begin(&im->progress, "import");
	for (int i = 0; i < count; i++)
		fs_tree_count(paths[i], &im->progress.total_files, &im->progress.total_bytes);
	for (int i = 0; i < count && !im->room.gone; i++)
		import_operand(im, paths[i], prefix);
	fs_progress_clear(&im->progress);
	if (im->room.gone)
		fs_cmd_fail(
			2,
			"%s: there is no room left on its filesystem, and the import ends here; "
			"the same command goes on when there is",
			im->door->store);
	fs_links_release(&im->links, forget_link, im->s);
	err = dv_store_sync(im->s);
	if (err < 0)
		fs_cmd_fail(2, "%s: %s", im->door->store, strerror(-err));
	dv_err closed = dv_store_close(&im->s, NULL);
	if (closed < 0)
		fs_cmd_fail(2, "%s: not all work could be finished: %s", im->door->store,
			    strerror(-closed));
	tell(im);
	return err < 0 || closed < 0 || im->failed ? 2 : 0;
}

int fs_cmd_import(int argc, char **argv)
{
	DV_AUTO_FREE struct import *im = calloc(1, sizeof(*im));
	DV_AUTO_FREE struct fs_door *door = calloc(1, sizeof(*door));
	const char *prefix = "";
	char **operands;
	int status, n;

	if (!im || !door)
		return fs_cmd_fail(2, "%s", strerror(ENOMEM));
	const struct fs_arg args[] = {
		{"move", 0, FS_ARG_SET, &im->move, NULL,
		 "the files are gone afterwards; within a filesystem nothing is copied"},
		{"prefix", 0, FS_ARG_TEXT, &prefix, "P", "keys begin with P"},
		{"json", 0, FS_ARG_SET, &im->json, NULL, "tell the counts as one object"},
	};
	const struct fs_args a = {
		"import STORE|MOUNTPOINT PATH... [--move] [--prefix P] [--json]",
		"Files and trees become values, with owner, mode, times, attributes and hard "
		"links. "
		"PATH/ stands\nfor what lies in it. What is there with the same size and time of "
		"change is left out: where an\nimport was interrupted the same command goes on.\n",
		args,
		DV_ARRAY_LEN(args),
		2,
		PATHS_MAX};
	n = fs_args_parse(&a, argc, argv, &operands, &status);
	if (n < 0)
		return status;
	if (!is_prefix(prefix))
		return fs_cmd_fail(2,
				   "--prefix %s: no key begins so; components are not empty, \".\" "
				   "or \"..\", and the first one is not .diskvfs",
				   prefix);
	im->door = door;
	status = fs_door_open_to_write(door, operands[0]);
	return status ? status : run(im, operands + 1, n - 1, prefix);
}
