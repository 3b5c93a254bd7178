/* SPDX-License-Identifier: MIT */
/* reshard_move.c - walks a tree of values, and renames them into another one. See reshard.h. */
#include "core/reshard_private.h"

#include "core/cleanup.h"
#include "core/fnv.h"
#include "core/key.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define BUF_BYTES 16384
#define ENTRIES	  128
#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW)

/* A value's file, as it was found. shard: its directory in the tree; with folders that of the key, too. */
struct found {
	int dirfd;
	const char *shard, *stored;
	char key[DV_NAME_MAX + 1];
	enum dv_form form;
	struct dv_stat st;
};

typedef dv_err visit_fn(struct dv_moving *m, const struct found *f);

static dv_err refuse(struct dv_moving *m, dv_err err, const char *what, const char *shard,
		     const char *name, const char *text)
{
	snprintf(m->why, m->why_size, "%s%s%s%s%s %s", what, what[0] ? " " : "", shard,
		 shard[0] ? "/" : "", name, text);
	return err;
}

/* A folder, or what is no plain file, and stays: is its name the same under both? */
static dv_err look_at_other(struct dv_moving *m, struct found *f)
{
	struct dv_names names;
	dv_err err = dv_names_parse(m->from.transform, f->stored, false, "", f->key, &f->form);
	if (!err)
		err = dv_names_of(m->to.transform, f->key, &names);
	if (err == -ENOMEM || (!err && strcmp(names.other, f->stored) == 0))
		return err;
	return refuse(m, -EINVAL, "", f->shard, f->stored,
		      "has no such name under that transform: rename it in a mount first");
}

static dv_err look_at(struct dv_moving *m, struct found *f, visit_fn *visit)
{
	if (m->folders && !S_ISREG(f->st.mode))
		return look_at_other(m, f);
	dv_err err = dv_names_parse(m->from.transform, f->stored, S_ISREG(f->st.mode),
				    m->folders ? "" : f->shard, f->key, &f->form);
	if (err == -ENOENT || (!err && f->form == DV_FORM_OTHER))
		return refuse(
			m, -EINVAL, "", f->shard, f->stored,
			S_ISREG(f->st.mode)
				? "is no value of the store's transform: take it away first"
				: "is no plain file, and only path and path:SUFFIX hold others: "
				  "take it away first");
	return err ? err : visit(m, f);
}

/* One folder; its entries are read some at a time, since visit changes them. */
static dv_err walk_dir(struct dv_moving *m, int dirfd, const char *shard, unsigned level,
		       visit_fn *visit)
{
	DV_AUTO_FREE char *buf = malloc(BUF_BYTES);
	DV_AUTO_FREE struct dv_dirent *ents = malloc(ENTRIES * sizeof(*ents));
	DV_AUTO_FREE char *below = malloc(DV_SHARD_MAX + DV_NAME_MAX + 2);
	int64_t cookie = 0;
	dv_err err = buf && ents && below ? 0 : -ENOMEM;
	for (ssize_t n = 1; !err && n > 0;) {
		n = DV_B(m->s, readdir, dirfd, cookie, buf, BUF_BYTES, ents, ENTRIES);
		err = n < 0 ? (dv_err)n : 0;
		for (ssize_t i = 0; i < n && !err; i++) {
			struct found f = {.dirfd = dirfd, .shard = shard, .stored = ents[i].name};
			cookie = ents[i].cookie;
			if (level == 0 && m->from.is_root &&
			    (!strcmp(f.stored, DV_CONTROL_DIR) || !strcmp(f.stored, "lost+found")))
				continue;
			err = DV_B(m->s, stat, dirfd, f.stored, &f.st);
			if (err == -ENOENT) { /* renamed by this very walk */
				err = 0;
				continue;
			}
			if (!err && (m->folders || !S_ISDIR(f.st.mode)))
				err = look_at(m, &f, visit);
			if (err || !S_ISDIR(f.st.mode))
				continue;
			if (!m->folders &&
			    !dv_transform_is_shard(m->from.transform, level, f.stored))
				return refuse(m, -EINVAL, "the folder", shard, f.stored,
					      "has no place under that transform: keys in folders "
					      "are for path and path:SUFFIX only");
			snprintf(below, DV_SHARD_MAX + DV_NAME_MAX + 2, "%s%s%s", shard,
				 shard[0] ? "/" : "", f.stored);
			if (strlen(below) >= DV_SHARD_MAX)
				return -ENAMETOOLONG;
			int fd = DV_B(m->s, open, dirfd, f.stored, DIR_FLAGS, 0);
			err = fd < 0 ? fd : walk_dir(m, fd, below, level + 1, visit);
			if (fd >= 0)
				DV_B(m->s, close, fd);
		}
	}
	return err;
}

/* ---- looking ---- */

static const char *place_of(const struct dv_names *names, enum dv_form form)
{
	return form == DV_FORM_PACKED ? names->packed : names->raw;
}

/* Where the key belongs in `to`. */
static dv_err target(const struct dv_moving *m, const struct found *f, struct dv_names *names,
		     char shard[DV_SHARD_MAX])
{
	dv_err err = dv_names_of(m->to.transform, f->key, names);
	if (err)
		return err;
	if (!m->folders)
		return dv_transform_shard(m->to.transform, f->key, shard);
	strcpy(shard, f->shard);
	return 0;
}

/* Does what stays in the key's folder have the name that the key is to get? */
static bool is_in_the_way(struct dv_moving *m, const struct found *f, const char *as)
{
	struct dv_stat st;
	return m->folders && m->from.is_root && DV_B(m->s, stat, f->dirfd, as, &st) == 0 &&
	       !S_ISREG(st.mode);
}

static dv_err count(struct dv_moving *m, const struct found *f)
{
	char shard[DV_SHARD_MAX];
	struct dv_names names;
	dv_err err = target(m, f, &names, shard);
	if (err == -ENOMEM)
		return err;
	if (!err && is_in_the_way(m, f, place_of(&names, f->form)))
		return refuse(m, -EINVAL, "", f->shard, place_of(&names, f->form),
			      "is in the way of a value's file under that transform: rename it");
	if (err || !place_of(&names, f->form)[0])
		return refuse(m, -EINVAL, "the key", "", f->key,
			      "can not be stored under that transform");
	uint64_t facts[] = {f->st.ino, f->st.size, (uint64_t)dv_time_ns(f->st.mtime), f->form};
	uint64_t sum = dv_fnv1a(1469598103934665603u, f->key, strlen(f->key));
	if (m->folders)
		sum = dv_fnv1a(dv_fnv1a(sum, "/", 1), f->shard, strlen(f->shard));
	m->tally.sum += dv_fnv1a(sum, facts, sizeof(facts));
	m->tally.count++;
	return 0;
}

dv_err dv_reshard_walk(struct dv_moving *m)
{
	m->tally = (struct dv_tally){0};
	return walk_dir(m, m->from.fd, "", 0, count);
}

/* ---- renaming ---- */

static dv_err conflict(struct dv_moving *m, const char *key)
{
	return refuse(m, -ENOTUNIQ, "the key", "", key,
		      "has the name of a folder that other keys need under that transform");
}

/* A raw value has the name that a folder needs: it moves aside. */
static dv_err step_aside(struct dv_moving *m, int dirfd, const char *parent, const char *component)
{
	char key[DV_NAME_MAX + 1];
	struct dv_names names;
	enum dv_form form;
	if (dv_names_parse(m->to.transform, component, true, parent, key, &form) ||
	    dv_names_of(m->to.transform, key, &names) || !names.aside[0])
		return conflict(m, component);
	dv_err err = DV_B(m->s, rename, dirfd, component, dirfd, names.aside, RENAME_NOREPLACE);
	return err == -EEXIST ? conflict(m, key) : err;
}

/* Folders are as the store's root is. */
static dv_err make_dir(struct dv_moving *m, int dirfd, const char *name)
{
	struct dv_stat root;
	dv_err err = DV_B(m->s, stat, m->s->rootfd, "", &root);
	if (!err)
		err = DV_B(m->s, mkdir, dirfd, name, root.mode & 07777);
	if (err)
		return err == -EEXIST ? 0 : err;
	int fd = DV_B(m->s, open, dirfd, name, DIR_FLAGS, 0);
	if (fd < 0)
		return fd;
	dv_ignore(DV_B(m->s, chown, fd, root.uid, root.gid)); /* a user's are his own */
	dv_ignore(DV_B(m->s, chmod, fd, root.mode & 07777));
	DV_B(m->s, close, fd);
	return 0;
}

/* -> descriptor of the folder, made where it is missing */
static int open_shard(struct dv_moving *m, const char *shard)
{
	char path[DV_SHARD_MAX], *at = path;
	strcpy(path, shard);
	int fd = DV_B(m->s, open, m->to.fd, "", DIR_FLAGS, 0);
	for (char *component = path; fd >= 0 && *component; component = at) {
		at = strchrnul(component, '/');
		if (*at)
			*at++ = '\0';
		int below = DV_B(m->s, open, fd, component, DIR_FLAGS, 0);
		dv_err err = 0;
		if (below == -ENOTDIR || below == -ELOOP) {
			size_t len = (size_t)(component - path);
			char parent[DV_SHARD_MAX];
			memcpy(parent, shard, len);
			parent[len ? len - 1 : 0] = '\0';
			err = step_aside(m, fd, parent, component);
		}
		if (below < 0 && !err)
			err = below == -ENOENT || below == -ENOTDIR ? make_dir(m, fd, component)
								    : below;
		if (below < 0 && !err)
			below = DV_B(m->s, open, fd, component, DIR_FLAGS, 0);
		DV_B(m->s, close, fd);
		fd = err ? err : below;
	}
	return fd;
}

/* A packed value beside a folder of its raw name: other transforms than plugins keep them apart. All
 * folders are there before the first value moves. */
static bool takes_folder(struct dv_moving *m, int dir, const struct found *f,
			 const struct dv_names *names)
{
	struct dv_stat st;
	return dv_transform_is_plugin(m->to.transform) && f->form == DV_FORM_PACKED &&
	       names->raw[0] && DV_B(m->s, stat, dir, names->raw, &st) == 0 && S_ISDIR(st.mode);
}

static dv_err move_one(struct dv_moving *m, const struct found *f)
{
	char shard[DV_SHARD_MAX];
	struct dv_names names;
	struct dv_stat st;
	dv_err err = target(m, f, &names, shard);
	int dir = err ? err : open_shard(m, shard);
	if (dir < 0)
		return dir;
	const char *as = place_of(&names, f->form);
	if (is_in_the_way(m, f, as) || takes_folder(m, dir, f, &names)) {
		DV_B(m->s, close, dir);
		return conflict(m, f->key);
	}
	err = DV_B(m->s, rename, f->dirfd, f->stored, dir, as, RENAME_NOREPLACE);
	bool is_taken = err == -EEXIST || err == -EISDIR || err == -ENOTEMPTY;
	if (is_taken && f->form == DV_FORM_RAW && names.aside[0] &&
	    DV_B(m->s, stat, dir, as, &st) == 0 && S_ISDIR(st.mode))
		err = DV_B(m->s, rename, f->dirfd, f->stored, dir, names.aside, RENAME_NOREPLACE);
	DV_B(m->s, close, dir);
	m->moved += !err;
	return err == -EEXIST || err == -EISDIR || err == -ENOTEMPTY ? conflict(m, f->key) : err;
}

static dv_err make_way(struct dv_moving *m, const struct found *f)
{
	char shard[DV_SHARD_MAX];
	struct dv_names names;
	dv_err err = target(m, f, &names, shard);
	int dir = err ? err : open_shard(m, shard);
	if (dir >= 0)
		DV_B(m->s, close, dir);
	return dir < 0 ? dir : 0;
}

dv_err dv_reshard_move(struct dv_moving *m)
{
	/* A renaming must not outlive the folder that it goes to. */
	dv_err err = walk_dir(m, m->from.fd, "", 0, make_way);
	if (!err)
		err = DV_B(m->s, syncfs, m->s->rootfd);
	if (err)
		return err;
	do { /* until a walk finds nothing more: entries may be passed over while others go */
		m->moved = 0;
		err = walk_dir(m, m->from.fd, "", 0, move_one);
	} while (!err && m->moved);
	/* ..nor the removal of the folder that it came from outlive it. */
	return err ? err : DV_B(m->s, syncfs, m->s->rootfd);
}

/* ---- folders ---- */

struct empty_dirs {
	struct dv_store *s;
	bool is_root;
};

static dv_err prune_dir(struct empty_dirs *e, int dirfd, unsigned level)
{
	DV_AUTO_FREE char *buf = malloc(BUF_BYTES);
	DV_AUTO_FREE struct dv_dirent *ents = malloc(ENTRIES * sizeof(*ents));
	dv_err err = buf && ents ? 0 : -ENOMEM;
	for (bool removed = true; !err && removed;) {
		ssize_t n = DV_B(e->s, readdir, dirfd, 0, buf, BUF_BYTES, ents, ENTRIES);
		err = n < 0 ? (dv_err)n : 0;
		removed = false;
		for (ssize_t i = 0; i < n && !err; i++) {
			const char *name = ents[i].name;
			if (level == 0 && e->is_root &&
			    (!strcmp(name, DV_CONTROL_DIR) || !strcmp(name, "lost+found")))
				continue;
			int fd = DV_B(e->s, open, dirfd, name, DIR_FLAGS, 0);
			err = fd < 0 ? fd : prune_dir(e, fd, level + 1);
			if (fd >= 0)
				DV_B(e->s, close, fd);
			if (!err)
				err = DV_B(e->s, rmdir, dirfd, name);
			removed |= !err;
		}
	}
	return err;
}

dv_err dv_reshard_prune(struct dv_store *s, const struct dv_tree *t)
{
	struct empty_dirs e = {.s = s, .is_root = t->is_root};
	return prune_dir(&e, t->fd, 0);
}

dv_err dv_reshard_lift(struct dv_moving *m)
{
	DV_AUTO_FREE char *buf = malloc(BUF_BYTES);
	DV_AUTO_FREE struct dv_dirent *ents = malloc(ENTRIES * sizeof(*ents));
	dv_err err = buf && ents ? 0 : -ENOMEM;
	for (ssize_t n = 1; !err && n > 0;) { /* from the start each time: what was read is gone */
		n = DV_B(m->s, readdir, m->from.fd, 0, buf, BUF_BYTES, ents, ENTRIES);
		err = n < 0 ? (dv_err)n : 0;
		for (ssize_t i = 0; i < n && !err; i++)
			err = DV_B(m->s, rename, m->from.fd, ents[i].name, m->to.fd, ents[i].name,
				   RENAME_NOREPLACE);
	}
	return err;
}
