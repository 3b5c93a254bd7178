/* SPDX-License-Identifier: MIT */
/* lib_path.c - from keys to paths of the mount, to directories, to values. */
#include "core/lib.h"

#include "core/cleanup.h"
#include "core/put.h"
#include "core/transform.h"

#include <stdlib.h>
#include <string.h>

/* A mount shows its own files under this name. */
#define CONTROL ".diskvfs"

static dv_err check_component(const char *c, size_t len)
{
	if (len == 0 || (len == 1 && c[0] == '.') || (len == 2 && c[0] == '.' && c[1] == '.'))
		return -EINVAL;
	return len > DV_NAME_MAX ? -ENAMETOOLONG : 0;
}

dv_err lib_check_path(const struct dvfs *s, const char *path)
{
	bool has_dirs = dv_store_has_dirs(s->store);
	size_t first = strcspn(path, "/");
	if (first == sizeof(CONTROL) - 1 && memcmp(path, CONTROL, first) == 0)
		return -EINVAL;
	if (!has_dirs && path[first])
		return -EINVAL;
	for (const char *at = path;; at++) {
		size_t len = strcspn(at, "/");
		dv_err err = check_component(at, len);
		if (err)
			return err;
		at += len;
		if (!*at)
			break;
	}
	return strlen(path) < LIB_PATH_MAX ? 0 : -ENAMETOOLONG;
}

dv_err lib_path(const struct dvfs *s, const char *key, char **out)
{
	*out = NULL;
	if (!s || !key || !*key)
		return -EINVAL;
	size_t len = strnlen(key, LIB_PATH_MAX);
	if (len == LIB_PATH_MAX)
		return -ENAMETOOLONG;
	DV_AUTO_FREE char *path = s->maps ? malloc(LIB_PATH_MAX) : strdup(key);
	if (!path)
		return -ENOMEM;
	dv_err err = s->maps ? s->t.to_path(s->t.self, key, path, LIB_PATH_MAX) : 0;
	if (!err)
		err = lib_check_path(s, path);
	if (err)
		return err < 0 ? err : -EINVAL;
	*out = dv_take_ptr(&path);
	return 0;
}

/* One directory further down, which is made where it is missing. Takes the reference *dir. */
static dv_err step(struct dvfs *s, struct dv_node **dir, const char *name, bool create)
{
	struct dv_node *next = NULL;
	struct dv_stat st;
	dv_err err = dv_store_lookup(s->store, &lib_call, *dir, name, &next, &st);
	if (err == -ENOENT && create) {
		err = dv_store_mkdir(s->store, &lib_call, *dir, name, s->o.dir_mode, &next, &st);
		if (err == -EEXIST)
			err = dv_store_lookup(s->store, &lib_call, *dir, name, &next, &st);
	}
	if (!err && !S_ISDIR(dv_node_type(next))) {
		dv_node_unref(s->store, next);
		return -ENOTDIR;
	}
	if (err)
		return err;
	dv_node_unref(s->store, *dir);
	*dir = next;
	return 0;
}

static dv_err find_dir_once(struct dvfs *s, const char *path, bool create, struct lib_place *out)
{
	char name[DV_NAME_MAX + 1];
	dv_err err = 0;
	out->dir = dv_store_root(s->store);
	out->name = path;
	for (const char *slash; !err && (slash = strchr(out->name, '/')); out->name = slash + 1) {
		size_t len = (size_t)(slash - out->name);
		memcpy(name, out->name, len);
		name[len] = '\0';
		err = step(s, &out->dir, name, create);
	}
	if (err) {
		dv_node_unref(s->store, out->dir);
		out->dir = NULL;
	}
	return err;
}

dv_err lib_find_dir(struct dvfs *s, const char *path, bool create, struct lib_place *out)
{
	dv_err err = -ENOENT;
	/* A directory that was just made may be removed again by who finds it empty. */
	for (unsigned tries = 0; tries < LIB_TRIES && (err == -ENOENT || err == -ESTALE); tries++) {
		err = find_dir_once(s, path, create, out);
		if (err == -ENOENT && !create)
			break;
	}
	return err;
}

bool lib_goes_on(dv_err err, unsigned *tries)
{
	return (err == -EBUSY || err == -ESTALE) && ++*tries < LIB_BUSY_TRIES;
}

dv_err lib_commit(struct dvfs *s, struct dv_put *put, const char *path, unsigned flags)
{
	unsigned tries = 0, busy = 0;
	dv_err err;
	do {
		struct lib_place p;
		err = lib_find_dir(s, path, true, &p);
		if (err)
			break;
		err = dv_put_commit(s->store, &lib_call, put, p.dir, p.name, flags);
		dv_node_unref(s->store, p.dir);
	} while ((err == -ENOENT && ++tries < LIB_TRIES) || lib_goes_on(err, &busy));
	return err;
}

dv_err lib_find(struct dvfs *s, const char *key, struct dv_node **out, struct dv_stat *out_stat)
{
	DV_AUTO_FREE char *path = NULL;
	struct lib_place p;
	dv_err err = lib_path(s, key, &path);
	if (!err)
		err = lib_find_dir(s, path, false, &p);
	if (err)
		return err == -ENOTDIR ? -ENOENT : err;
	err = dv_store_lookup(s->store, &lib_call, p.dir, p.name, out, out_stat);
	dv_node_unref(s->store, p.dir);
	if (!err && !S_ISREG(dv_node_type(*out))) {
		dv_node_unref(s->store, *out);
		err = -ENOENT;
	}
	return err;
}

void lib_prune(struct dvfs *s, char *path)
{
	struct lib_place p;
	char *slash;
	if (s->o.keep_dirs)
		return;
	while ((slash = strrchr(path, '/'))) {
		*slash = '\0';
		if (lib_find_dir(s, path, false, &p))
			return;
		dv_err err = dv_store_rmdir(s->store, &lib_call, p.dir, p.name);
		dv_node_unref(s->store, p.dir);
		if (err) /* in use again, or not ours to remove */
			return;
	}
}
