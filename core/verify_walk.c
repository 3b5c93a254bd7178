/* SPDX-License-Identifier: MIT */
/*
 * verify_walk.c - directories and names of the store: what is a value, and what lies where it should
 * not. See verify.h.
 *
 * In the order of the backing, a directory when it is met, so that memory follows the depth alone.
 * What is no shard directory and no directory of keys is not entered: it is not ours.
 */
#include "core/cleanup.h"
#include "core/io.h"
#include "core/verify_private.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX   2100u /* as PATH_MAX allows, and some */
#define ENTS_BYTES  8192u
#define ENTS_MAX    96u
#define DOT_DISKVFS DV_CONTROL_DIR

struct level {
	struct dv_verify_dir *dir;
	int64_t cookie;
	ssize_t count, next;
	struct dv_dirent ents[ENTS_MAX];
	_Alignas(8) char buf[ENTS_BYTES];
};

struct walk {
	struct dv_verify *v;
	struct level **levels;
	unsigned depth;
	bool counting; /* nothing is looked at, or told, but for.. */
	bool homing;   /* ..files that lie elsewhere, which are moved to where they belong */
	uint64_t files, bytes;
};

/* Takes path and key, which may be NULL for want of memory. */
static dv_err push_level(struct walk *w, int fd, char *path, char *key)
{
	struct dv_verify_dir *d = calloc(1, sizeof(*d));
	struct level *l = malloc(sizeof(*l));
	struct dv_store *s = w->v->s;
	if (!d || !l || !path || !key) {
		DV_B(s, close, fd);
		free(d);
		free(l);
		free(path);
		free(key);
		return -ENOMEM;
	}
	*d = (struct dv_verify_dir){.refs = 1, .fd = fd, .path = path, .key = key};
	l->dir = d;
	l->cookie = 0;
	l->count = l->next = 0;
	w->levels[w->depth++] = l;
	return 0;
}

static void pop_level(struct walk *w)
{
	struct level *l = w->levels[--w->depth];
	dv_verify_dir_unref(w->v, l->dir);
	free(l);
}

static void tell(struct walk *w, const struct level *l, const char *stored, const char *name,
		 enum dv_finding_kind kind, enum dv_finding_class class, const char *detail)
{
	const struct dv_verify_at at = {l->dir, stored, name};
	if (!w->counting)
		dv_verify_tell(w->v, &at, kind, class, detail, NULL);
}

static void tell_failure(struct walk *w, const struct level *l, const char *stored, dv_err err)
{
	char text[128];
	bool bytes = err == -EIO || err == -EBADMSG || err == -EUCLEAN;
	snprintf(text, sizeof(text), "the directory can not be read: %s", strerror(-err));
	tell(w, l, stored, NULL, bytes ? DV_FINDING_READ : DV_FINDING_ACCESS,
	     bytes ? DV_CLASS_ERROR : DV_CLASS_FAILURE, text);
}

/* Is there something else under `other` that has the key's name in the mount too? */
static bool is_there(struct dv_store *s, const struct level *l, const char *stored,
		     const char *other, bool regular)
{
	struct dv_stat st;
	return other[0] && strcmp(stored, other) != 0 &&
	       DV_B(s, stat, l->dir->fd, other, &st) == 0 && (!regular || S_ISREG(st.mode));
}

/* Under path:SUFFIX a directory, or another object, and a value may have one name in the mount: the value
 * is served. */
static void tell_hidden(struct walk *w, const struct level *l, const char *stored, const char *name)
{
	struct dv_store *s = w->v->s;
	struct dv_names n;
	if (w->counting || dv_names_of(s->transform, name, &n) || !n.raw[0] ||
	    strcmp(n.raw, n.other) == 0 || strcmp(stored, n.other) != 0)
		return;
	if (is_there(s, l, stored, n.raw, true) || is_there(s, l, stored, n.packed, true))
		tell(w, l, stored, name, DV_FINDING_TWIN, DV_CLASS_ERROR,
		     "not served: a value has its name in the mount");
}

/* ---- directories ---- */

static dv_err enter(struct walk *w, struct level *l, const char *stored, const char *name)
{
	struct dv_store *s = w->v->s;
	if (w->depth >= DEPTH_MAX) {
		tell_failure(w, l, stored, -ENAMETOOLONG);
		return 0;
	}
	int fd = dv_open_quiet(s, l->dir->fd, stored, DV_VERIFY_READ | O_DIRECTORY);
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP) /* gone meanwhile */
		return 0;
	if (fd == -EXDEV) {
		tell(w, l, stored, NULL, DV_FINDING_STRAY, DV_CLASS_NOTE,
		     "something is mounted there, which is not entered");
		return 0;
	}
	if (fd < 0) {
		tell_failure(w, l, stored, fd);
		return 0;
	}
	char *path = dv_verify_join(l->dir->path, stored);
	char *key = name ? dv_verify_join(l->dir->key, name) : strdup("");
	return push_level(w, fd, path, key);
}

static dv_err take_directory(struct walk *w, struct level *l, const char *stored)
{
	const struct dv_transform *t = w->v->s->transform;
	char name[DV_NAME_MAX + 1];
	enum dv_form form;
	if (w->depth == 1 && strcmp(stored, DOT_DISKVFS) == 0)
		return 0;
	if (dv_transform_has_shards(t) && dv_transform_is_shard(t, w->depth - 1, stored))
		return enter(w, l, stored, NULL);
	if (!dv_transform_has_dirs(t)) {
		tell(w, l, stored, NULL, DV_FINDING_STRAY, DV_CLASS_NOTE,
		     "a directory that the transform does not make; not looked into");
		return 0;
	}
	dv_err err = dv_names_parse(t, stored, false, "", name, &form);
	if (err == -ENOENT || (!err && dv_name_is_unreachable(name, w->depth == 1))) {
		tell(w, l, stored, NULL, DV_FINDING_STRAY, DV_CLASS_NOTE,
		     "its name is no key's; not looked into");
		return 0;
	}
	if (err)
		return err;
	w->v->r->directories += !w->counting;
	tell_hidden(w, l, stored, name);
	return enter(w, l, stored, name);
}

/* ---- files ---- */

/* The file that is served in place of item, "" where it is itself. */
static dv_err find_pair(struct walk *w, const struct level *l, struct dv_verify_item *item)
{
	struct dv_store *s = w->v->s;
	struct dv_names n;
	const char *pair = "";
	item->pair[0] = '\0';
	if (dv_transform_spelling(s->transform) != DV_SPELL_OWN)
		return 0;
	dv_err err = dv_names_of(s->transform, item->name, &n);
	if (err)
		return err;
	/* A shard directory may have the raw name; a directory of keys is what is served, then. */
	bool any = dv_transform_has_dirs(s->transform) && strcmp(n.raw, n.other) == 0;
	if (is_there(s, l, item->stored, n.raw, !any))
		pair = n.raw;
	else if (item->form == DV_FORM_PACKED && is_there(s, l, item->stored, n.aside, true))
		pair = n.aside;
	strcpy(item->pair, pair);
	return 0;
}

static dv_err take_value(struct walk *w, struct level *l, const char *stored, const char *name,
			 enum dv_form form, bool misplaced)
{
	struct dv_verify_item *item = calloc(1, sizeof(*item));
	if (!item)
		return -ENOMEM;
	item->form = form;
	strcpy(item->stored, stored);
	strcpy(item->name, name);
	dv_err err = misplaced ? 0 : find_pair(w, l, item);
	if (err) {
		free(item);
		return err;
	}
	item->dir = dv_verify_dir_ref(w->v, l->dir);
	dv_verify_push(w->v, item);
	return 0;
}

/* Where would a file of this name be a value? false: nowhere, or nobody can tell. */
static bool has_home(struct walk *w, const char *stored, char name[DV_NAME_MAX + 1],
		     enum dv_form *form, char home[DV_SHARD_MAX])
{
	const struct dv_transform *t = w->v->s->transform;
	char again[DV_NAME_MAX + 1];
	return w->v->flat && !dv_names_parse(w->v->flat, stored, true, "", name, form) &&
	       !dv_transform_shard(t, name, home) &&
	       !dv_names_parse(t, stored, true, home, again, form) && !strcmp(again, name);
}

static dv_err take_other_file(struct walk *w, struct level *l, const char *stored, bool regular)
{
	char name[DV_NAME_MAX + 1], home[DV_SHARD_MAX], detail[DV_SHARD_MAX + 64];
	enum dv_form form;
	const struct dv_verify_at at = {l->dir, stored, name};
	if (!regular || !has_home(w, stored, name, &form, home)) {
		tell(w, l, stored, NULL, DV_FINDING_STRAY, DV_CLASS_NOTE,
		     regular ? "its name is no key's" : "no plain file, which values are here");
		return 0;
	}
	snprintf(detail, sizeof(detail), "its key is looked for in %s/", home[0] ? home : ".");
	if (w->homing) {
		dv_repair_misplaced(w->v, &at, form, detail);
		return 0;
	}
	if (!w->v->options->repair)
		tell(w, l, stored, name, DV_FINDING_MISPLACED, DV_CLASS_ERROR, detail);
	return take_value(w, l, stored, name, form, true);
}

static dv_err count_file(struct walk *w, const struct level *l, const char *stored)
{
	struct dv_store *s = w->v->s;
	struct dv_stat st;
	if (DV_B(s, stat, l->dir->fd, stored, &st) || !S_ISREG(st.mode))
		return 0;
	w->files++;
	w->bytes += st.size < st.blocks * 512 ? st.size : st.blocks * 512; /* holes are not read */
	return 0;
}

static dv_err take_file(struct walk *w, struct level *l, const char *stored, bool regular)
{
	const struct dv_transform *t = w->v->s->transform;
	const char *shard = dv_transform_has_shards(t) ? l->dir->path : "";
	char name[DV_NAME_MAX + 1];
	enum dv_form form;
	if (w->counting && !w->homing)
		return count_file(w, l, stored);
	dv_err err = dv_names_parse(t, stored, regular, shard, name, &form);
	if (err == -ENOENT)
		return take_other_file(w, l, stored, regular);
	if (err || w->homing)
		return err;
	if (dv_name_is_unreachable(name, !l->dir->key || !l->dir->key[0])) {
		tell(w, l, stored, NULL, DV_FINDING_STRAY, DV_CLASS_NOTE, "its name is no key's");
		return 0;
	}
	if (form == DV_FORM_OTHER) {
		w->v->r->others++;
		tell_hidden(w, l, stored, name);
		return 0;
	}
	return take_value(w, l, stored, name, form, false);
}

/* ---- the walk ---- */

static dv_err fill(struct walk *w, struct level *l)
{
	struct dv_store *s = w->v->s;
	l->next = 0;
	l->count =
		DV_B(s, readdir, l->dir->fd, l->cookie, l->buf, sizeof(l->buf), l->ents, ENTS_MAX);
	if (l->count < 0) {
		tell_failure(w, l, NULL, (dv_err)l->count);
		l->count = 0;
	}
	if (l->count)
		l->cookie = l->ents[l->count - 1].cookie;
	return 0;
}

static dv_err take_entry(struct walk *w, struct level *l, const struct dv_dirent *e)
{
	struct dv_store *s = w->v->s;
	struct dv_stat st;
	uint8_t type = e->type;
	if (type == DT_UNKNOWN) {
		dv_err err = DV_B(s, stat, l->dir->fd, e->name, &st);
		if (err == -ENOENT)
			return 0;
		if (err)
			tell_failure(w, l, e->name, err);
		type = err ? DT_UNKNOWN : IFTODT(st.mode);
		if (err)
			return 0;
	}
	if (type == DT_DIR)
		return take_directory(w, l, e->name);
	return take_file(w, l, e->name, type == DT_REG);
}

static dv_err walk_all(struct walk *w)
{
	struct dv_store *s = w->v->s;
	w->levels = calloc(DEPTH_MAX, sizeof(struct level *));
	if (!w->levels)
		return -ENOMEM;
	int fd = dv_open_quiet(s, s->rootfd, "", O_RDONLY | O_DIRECTORY);
	dv_err err = fd < 0 ? fd : push_level(w, fd, strdup(""), strdup(""));
	while (!err && w->depth) {
		struct level *l = w->levels[w->depth - 1];
		if (l->next == l->count) {
			err = fill(w, l);
			if (!err && !l->count)
				pop_level(w);
			continue;
		}
		err = take_entry(w, l, &l->ents[l->next++]);
	}
	while (w->depth)
		pop_level(w);
	free(w->levels);
	return err;
}

dv_err dv_verify_walk(struct dv_verify *v)
{
	struct walk w = {.v = v, .counting = true, .homing = true};
	/* Before the bytes are looked at: a file that comes to a directory that was seen would not be. */
	dv_err err = v->options->repair && v->flat ? walk_all(&w) : 0;
	w = (struct walk){.v = v};
	return err ? err : walk_all(&w);
}

dv_err dv_verify_count(struct dv_verify *v, uint64_t *files, uint64_t *bytes)
{
	struct walk w = {.v = v, .counting = true};
	dv_err err = walk_all(&w);
	*files = w.files;
	*bytes = w.bytes;
	return err;
}
