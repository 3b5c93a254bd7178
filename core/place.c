/* SPDX-License-Identifier: MIT */
/*
 * place.c - see place.h.
 *
 * Directories of the mount are opened one component at a time from the nearest ancestor whose
 * descriptor is open; what was opened must be the object that the node stands for. Shard
 * directories are opened beneath the root, by path.
 */
#include "core/place.h"

#include "core/cleanup.h"
#include "core/log.h"

#include <stdio.h>
#include <string.h>

#define ROOT_MODE_BITS 07777
#define FIND_TRIES     4  /* so often another mount unpacks and packs it meanwhile */
#define CREATE_TRIES   16 /* a pruner may remove a shard directory between its making and its use */

static dv_err open_dir_at(struct dv_store *s, int dirfd, const char *name, int *out_fd)
{
	int quiet = s->options.noatime ? O_NOATIME : 0;
	int fd = DV_B(s, open, dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | quiet, 0);
	if (fd == -EPERM && quiet)
		fd = DV_B(s, open, dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd == -EACCES) /* good enough to reach what lies in it */
		fd = DV_B(s, open, dirfd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	*out_fd = fd;
	return 0;
}

/* Opens dir beneath its parent's descriptor and checks that it is the object it should be. */
static dv_err open_child_dir(struct dv_store *s, struct dv_file *parent, struct dv_node *dir,
			     const char *name, uint8_t slot, struct dv_file **out)
{
	struct dv_names names;
	struct dv_stat st;
	int fd = -1;
	dv_err err = dv_names_of(s->transform, name, &names);
	if (!err)
		err = open_dir_at(s, parent->fd, slot == DV_SLOT_LITERAL ? name : names.other, &fd);
	if (err == -ENOENT || err == -ENOTDIR || err == -ELOOP)
		return -ESTALE;
	if (err)
		return err;
	err = DV_B(s, stat, fd, "", &st);
	struct dv_ident id = dv_ident_of(&st);
	if (!err && !dv_ident_equal(&id, &dir->id)) /* constant for a directory */
		err = -ESTALE;
	if (err) {
		DV_B(s, close, fd);
		return err;
	}
	*out = dv_file_new(s, fd, false);
	if (!*out)
		return -ENOMEM;
	dv_node_set_file(s, dir, *out, false);
	return 0;
}

/* From dir up to the nearest ancestor with an open file; a tree may be deeper than any stack, and
 * than PATH_MAX. */
struct climb {
	struct dv_node **at; /* at[0] is dir; a reference each but for that */
	size_t count, room;
};

static dv_err climb_push(struct climb *c, struct dv_node *n)
{
	if (c->count == c->room) {
		size_t room = c->room ? c->room * 2 : 16;
		struct dv_node **grown = realloc(c->at, room * sizeof(struct dv_node *));
		if (!grown)
			return -ENOMEM;
		c->at = grown;
		c->room = room;
	}
	c->at[c->count++] = n;
	return 0;
}

/* Pushes the directories without an open file; *out is the file of the one above them. */
static dv_err climb_up(struct dv_store *s, struct climb *c, struct dv_node *dir,
		       struct dv_file **out)
{
	char name[DV_NAME_MAX + 1];
	struct dv_node *n = dir;
	*out = NULL;
	dv_err err = climb_push(c, n);
	while (!err) {
		err = dv_node_name(s, n, 0, &n, name, NULL);
		if (!err && (*out = dv_node_file(s, n, false))) {
			dv_node_unref(s, n);
			return 0;
		}
		dv_err push = err ? err : climb_push(c, n);
		if (push && !err)
			dv_node_unref(s, n);
		err = push;
	}
	return err;
}

/* Opens dir, which has the name in parent's descriptor that it has now. */
static dv_err open_below(struct dv_store *s, struct dv_file *parent, struct dv_node *dir,
			 struct dv_file **out)
{
	char name[DV_NAME_MAX + 1];
	uint8_t slot;
	struct dv_node *above = NULL;
	dv_err err = dv_node_name(s, dir, 0, &above, name, &slot);
	dv_node_unref(s, above);
	return err ? err : open_child_dir(s, parent, dir, name, slot, out);
}

dv_err dv_dir_file(struct dv_store *s, struct dv_node *dir, struct dv_file **out)
{
	*out = dv_node_file(s, dir, false);
	if (*out)
		return 0;
	struct climb c = {0};
	struct dv_file *file = NULL;
	dv_err err = climb_up(s, &c, dir, &file);
	for (size_t i = c.count; !err && i-- > 0;) {
		struct dv_file *below = NULL;
		err = open_below(s, file, c.at[i], &below);
		dv_file_unref(s, file);
		file = below;
	}
	for (size_t i = 1; i < c.count; i++)
		dv_node_unref(s, c.at[i]);
	free(c.at);
	*out = file;
	return err;
}

/* Has a packed value the name that a shard directory of a plugin would take from its raw form? Other
 * transforms keep them apart (key.h). */
static bool is_taken(struct dv_store *s, const char *path)
{
	char packed[DV_SHARD_MAX + 8];
	struct dv_stat st;
	if (!dv_transform_is_plugin(s->transform))
		return false;
	snprintf(packed, sizeof(packed), "%s.zst", path);
	return DV_B(s, stat, s->rootfd, packed, &st) == 0 && S_ISREG(st.mode);
}

/* Makes the shard directories of `shard` that are missing, as the root's owner would. */
static dv_err make_shards(struct dv_store *s, const char *shard)
{
	char path[DV_SHARD_MAX];
	struct dv_stat root;
	dv_err err = DV_B(s, stat, s->rootfd, "", &root);
	if (err)
		return err;
	dv_act_as_self(s);
	for (const char *end = shard; !err && *end; end += *end == '/') {
		end = strchrnul(end, '/');
		memcpy(path, shard, (size_t)(end - shard));
		path[end - shard] = '\0';
		err = is_taken(s, path)
			      ? -ENOTDIR
			      : DV_B(s, mkdir, s->rootfd, path, root.mode & ROOT_MODE_BITS);
		if (err == -EEXIST) {
			err = 0;
			continue; /* what it is shows when it is opened */
		}
		if (err)
			break;
		struct dv_loose_at at = {.dir = s->root, .shard = path, .name = ""};
		dv_loose_add(s, &at, DV_LOOSE_MADE, 0);
		int fd = DV_B(s, open, s->rootfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
		if (fd < 0)
			continue;
		/* An unprivileged daemon owns what it makes, and may. */
		dv_ignore(DV_B(s, chown, fd, root.uid, root.gid));
		dv_ignore(DV_B(s, chmod, fd, root.mode & ROOT_MODE_BITS));
		DV_B(s, close, fd);
	}
	return err;
}

static dv_err open_shard(struct dv_store *s, struct dv_place *p, bool create)
{
	int fd = -1;
	dv_err err = -ENOENT;
	for (int tries = 0; tries < CREATE_TRIES; tries++) {
		err = open_dir_at(s, s->rootfd, p->shard, &fd);
		if (err != -ENOENT || !create)
			break;
		err = make_shards(s, p->shard);
		if (err && err != -ENOENT)
			break;
	}
	if (err == -ELOOP || (err == -ENOTDIR && !create))
		err = create ? -ENOTDIR : -ENOENT;
	if (err)
		return err;
	p->file = dv_file_new(s, fd, false);
	return p->file ? 0 : -ENOMEM;
}

dv_err dv_place_open(struct dv_store *s, struct dv_node *dir, const char *name, bool create,
		     struct dv_place *out)
{
	*out = (struct dv_place){.dir = dir};
	if (!S_ISDIR(dir->type))
		return -ENOTDIR;
	dv_err err = dv_names_of(s->transform, name, &out->names);
	if (err)
		return err;
	strcpy(out->name, name);
	if (!dv_transform_has_shards(s->transform)) {
		err = dv_dir_file(s, dir, &out->file);
	} else {
		char shard[DV_SHARD_MAX];
		err = dv_transform_shard(s->transform, name, shard);
		if (!err && shard[0] == '\0')
			err = dv_dir_file(s, dir, &out->file);
		else if (!err && !(out->shard = strdup(shard)))
			err = -ENOMEM;
		else if (!err)
			err = open_shard(s, out, create);
	}
	if (err) {
		dv_place_close(s, out);
		return err;
	}
	out->dirfd = out->file->fd;
	return 0;
}

void dv_place_close(struct dv_store *s, struct dv_place *p)
{
	dv_file_unref(s, p->file);
	free(p->shard);
	p->file = NULL;
	p->shard = NULL;
}

const char *dv_place_stored(const struct dv_place *p, enum dv_form form, uint8_t slot)
{
	if (slot == DV_SLOT_LITERAL)
		return p->name;
	if (form == DV_FORM_PACKED)
		return p->names.packed;
	if (form == DV_FORM_OTHER)
		return p->names.other;
	return slot == DV_SLOT_ASIDE ? p->names.aside : p->names.raw;
}

dv_err dv_place_of(struct dv_store *s, struct dv_node *n, unsigned skip, struct dv_place *out,
		   const char **out_stored)
{
	struct dv_node *dir = NULL;
	char name[DV_NAME_MAX + 1];
	uint8_t slot;
	dv_err err = dv_node_name(s, n, skip, &dir, name, &slot);
	if (err)
		return err;
	err = dv_place_open(s, dir, name, false, out);
	if (err) {
		dv_node_unref(s, dir);
		return err == -ENOENT ? -ESTALE : err;
	}
	*out_stored = dv_place_stored(out, n->form, slot);
	return 0;
}

void dv_place_of_close(struct dv_store *s, struct dv_place *p)
{
	dv_place_close(s, p);
	dv_node_unref(s, p->dir);
}

static bool found(struct dv_found *out, enum dv_form form, uint8_t slot, const char *stored)
{
	out->form = form;
	out->slot = slot;
	out->stored = stored;
	return true;
}

/*
 * Looks at one stored name. Regular files are values under raw, packed and aside names; everything
 * else is an object under its `other` name, which is the raw one without a suffix.
 */
static dv_err look(struct dv_store *s, const struct dv_place *p, const char *stored,
		   enum dv_form form, uint8_t slot, struct dv_found *out, bool *hit)
{
	if (stored[0] == '\0' || *hit)
		return 0;
	dv_err err = DV_B(s, stat, p->dirfd, stored, &out->st);
	if (err == -ENOENT)
		return 0;
	if (err)
		return err;
	bool regular = S_ISREG(out->st.mode);
	if (regular && form != DV_FORM_OTHER && slot != DV_SLOT_LITERAL)
		*hit = found(out, form, slot, stored);
	else if (!regular && dv_transform_has_dirs(s->transform) &&
		 (form == DV_FORM_OTHER ||
		  (form == DV_FORM_RAW && strcmp(p->names.raw, p->names.other) == 0)))
		*hit = found(out, DV_FORM_OTHER, slot, stored);
	return 0;
}

/* May a foreign non-regular "x.zst" or "d" SUFFIX be served as it is? Never a name that was
 * escaped. */
static bool foreign_literal(const struct dv_store *s, const struct dv_place *p)
{
	char name[DV_NAME_MAX + 1];
	enum dv_form form;
	/* Stored as it is it must not be the name of another key (d.zst.raw is where d.zst lies).
	 */
	return dv_transform_has_dirs(s->transform) && strcmp(p->names.other, p->name) != 0 &&
	       dv_names_parse(s->transform, p->name, false, "", name, &form) == 0 &&
	       strcmp(name, p->name) == 0;
}

dv_err dv_place_find(struct dv_store *s, const struct dv_place *p, struct dv_found *out)
{
	const struct dv_names *n = &p->names;
	bool hit = false;
	dv_err err = look(s, p, n->raw, DV_FORM_RAW, DV_SLOT_PLAIN, out, &hit);
	if (!err && dv_transform_has_shards(s->transform))
		err = look(s, p, n->aside, DV_FORM_RAW, DV_SLOT_ASIDE, out, &hit);
	if (!err)
		err = look(s, p, n->packed, DV_FORM_PACKED, DV_SLOT_PLAIN, out, &hit);
	if (!err && strcmp(n->raw, n->other) != 0)
		err = look(s, p, n->other, DV_FORM_OTHER, DV_SLOT_PLAIN, out, &hit);
	if (!err && foreign_literal(s, p))
		err = look(s, p, p->name, DV_FORM_OTHER, DV_SLOT_LITERAL, out, &hit);
	/* Between the first two looks an unpacking may have taken the value from one name to the
	 * other. */
	if (!err && !hit)
		err = look(s, p, n->raw, DV_FORM_RAW, DV_SLOT_PLAIN, out, &hit);
	if (!err && !hit && dv_transform_has_shards(s->transform))
		err = look(s, p, n->aside, DV_FORM_RAW, DV_SLOT_ASIDE, out, &hit);
	if (err == -EXDEV) {
		char text[1024];
		dv_warn("%s: something is mounted there in the store, which is not entered",
			dv_log_key(text, sizeof(text), p->name));
	}
	if (err)
		return err == -ENOTDIR ? -ENOENT : err;
	return hit ? 0 : -ENOENT;
}

dv_err dv_place_find_known(struct dv_store *s, const struct dv_place *p, struct dv_found *out)
{
	dv_err err = -ENOENT;
	for (unsigned tries = 0; err == -ENOENT && tries < FIND_TRIES; tries++)
		err = dv_place_find(s, p, out);
	return err;
}

unsigned dv_place_kind(const struct dv_place *p, const char *stored)
{
	const struct dv_names *n = &p->names;
	if (strcmp(stored, n->packed) == 0)
		return DV_LOOSE_PACKED;
	if (strcmp(stored, n->raw) == 0)
		return DV_LOOSE_RAW;
	return strcmp(stored, n->aside) == 0 ? DV_LOOSE_ASIDE : DV_LOOSE_OTHER;
}

dv_err dv_place_settle(struct dv_store *s, const struct dv_place *p, const char *stored,
		       unsigned also, bool nowait)
{
	struct dv_loose_at at = dv_place_at(p);
	unsigned others = DV_LOOSE_GONE & ~dv_place_kind(p, stored);
	return dv_loose_settle(s, &at, p->dirfd, others | also, nowait);
}

/* ---- pruning ---- */

/* Cuts shard. */
static void prune(struct dv_store *s, char *shard)
{
	while (shard[0]) {
		struct dv_loose_at at = {.dir = s->root, .shard = shard, .name = ""};
		if (dv_loose_get(s, &at) & DV_LOOSE_RENAMED) {
			dv_loose_add(s, &at, DV_LOOSE_PRUNE, 0);
			return;
		}
		if (DV_B(s, rmdir, s->rootfd, shard)) /* in use, or gone already */
			return;
		dv_loose_drop_dir(s, s->root, shard);
		dv_loose_add(s, &at, DV_LOOSE_PRUNED, 0);
		char *slash = strrchr(shard, '/');
		if (!slash)
			return;
		*slash = '\0';
	}
}

void dv_place_prune(struct dv_store *s, const char *name)
{
	char shard[DV_SHARD_MAX];
	if (dv_transform_has_shards(s->transform) && !dv_transform_shard(s->transform, name, shard))
		prune(s, shard);
}

static bool is_empty_dir(struct dv_store *s, int fd)
{
	_Alignas(8) char buf[1024];
	struct dv_dirent ent;
	return DV_B(s, readdir, fd, 0, buf, sizeof(buf), &ent, 1) == 0;
}

void dv_place_prune_due(struct dv_store *s)
{
	for (char *shard; (shard = dv_loose_next_prune(s)); free(shard)) {
		struct dv_loose_at at = {.dir = s->root, .shard = shard, .name = ""};
		int fd = DV_B(s, open, s->rootfd, shard, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
		if (fd < 0)
			continue;
		if (is_empty_dir(s, fd) &&
		    dv_loose_settle(s, &at, fd, DV_LOOSE_RENAMED, false) == 0)
			prune(s, shard);
		DV_B(s, close, fd);
	}
}
