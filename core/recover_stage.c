/* SPDX-License-Identifier: MIT */
/* recover_stage.c - stages that are one file (stage.c), which a dead owner has left. */
#include "core/recover_private.h"

#include "core/cleanup.h"
#include "core/exchange.h"
#include "core/meta.h"
#include "core/pending.h"
#include "core/rewrite.h"
#include "core/swap.h"

#include <stdio.h>
#include <string.h>

/* Is that raw file a stage that was made for the record? Its tag says so. */
static bool was_stage(struct adoption *a, const struct target *t, const char *raw,
		      const struct dv_record *r)
{
	struct dv_stat st;
	struct dv_tag tag;
	return raw[0] && dv_recover_stat(a, t->p.dirfd, raw, &st) == 0 && S_ISREG(st.mode) &&
	       dv_tag_load(a->s, t->p.dirfd, raw, &st, &tag) && tag.st_ino == r->st_ino;
}

/* The stage was renamed to the raw name, and then the daemon died: is the packed form still there?
 */
static dv_err finish_published(struct adoption *a, const struct dv_record *r,
			       const struct target *t)
{
	struct dv_stat packed;
	const char *raw = t->p.names.raw;
	if (!was_stage(a, t, raw, r))
		raw = t->p.names.aside;
	if (!(r->flags & DV_RECORD_OLD_PACKED) ||
	    !dv_recover_is_object(a, &t->p, t->p.names.packed, &r->packed, &packed) ||
	    !was_stage(a, t, raw, r))
		return 0;
	dv_err err = dv_recover_sync(a, &t->p, raw); /* I3 */
	return err ? err : dv_recover_unlink_form(a, &t->p, t->p.names.packed);
}

/* name "": of the file dirfd. */
static bool is_object(struct adoption *a, int dirfd, const char *name,
		      const struct dv_ident *object)
{
	struct dv_stat st;
	if (dv_recover_stat(a, dirfd, name, &st))
		return false;
	struct dv_ident id = dv_ident_of(&st);
	return dv_ident_same_file(&id, object);
}

/*
 * Other mounts' replacements have the record's number in their tags too, and where there are no tags nothing tells
 * them from the stage: a recovery that the power cuts short leaves word as a commit does (exchange.h). Where that can
 * not be it does without.
 */
static void mark(struct adoption *a, const char *name, const struct dv_ident *old,
		 char marked[DV_EXCHANGE_NAME])
{
	char ending[DV_EXCHANGE_MARK];
	struct dv_stat st;
	snprintf(marked, DV_EXCHANGE_NAME, "%s", name);
	if (dv_recover_stat(a, a->dirfd, name, &st))
		return;
	struct dv_ident own = dv_ident_of(&st);
	dv_exchange_mark(&own, old, ending);
	snprintf(marked, DV_EXCHANGE_NAME, "%.39s%s", name, ending);
	if (dv_recover_rename(a, a->dirfd, name, a->dirfd, marked, RENAME_NOREPLACE))
		snprintf(marked, DV_EXCHANGE_NAME, "%s", name);
}

static dv_err exchange(struct adoption *a, const char *name, int dirfd, const char *stored,
		       const struct dv_ident *old)
{
	dv_err err = dv_recover_rename(a, a->dirfd, name, dirfd, stored, RENAME_EXCHANGE);
	if (err == -EINVAL || err == -ENOSYS || err == -EOPNOTSUPP) /* NFS and others */
		return dv_recover_rename(a, a->dirfd, name, dirfd, stored, 0);
	if (err)
		return err == -ENOENT ? -EEXIST : err;
	if (is_object(a, a->dirfd, name, old))
		return dv_recover_unlink(a, a->dirfd, name);
	err = dv_recover_rename(a, a->dirfd, name, dirfd, stored, RENAME_EXCHANGE);
	return err ? err : -EEXIST;
}

dv_err dv_recover_take_place(struct adoption *a, const char *name, int dirfd, const char *stored,
			     const struct dv_ident *old)
{
	char marked[DV_EXCHANGE_NAME];
	mark(a, name, old, marked);
	dv_err err = exchange(a, marked, dirfd, stored, old);
	if (err != -EEXIST || strcmp(marked, name) == 0)
		return err; /* after another error the next recovery takes the name back */
	err = dv_recover_rename(a, a->dirfd, marked, a->dirfd, name, RENAME_NOREPLACE);
	return err ? err : -EEXIST;
}

/* Puts the stage in the place of the old object, which has one link. */
static dv_err publish_stage(struct adoption *a, const struct dv_record *r, const struct target *t,
			    const char *stage, const char *stored)
{
	struct dv_store *s = a->s;
	bool was_packed = r->flags & DV_RECORD_OLD_PACKED;
	struct dv_loose_at at = dv_place_at(&t->p);
	struct dv_dir_times times;
	dv_dir_times_keep(s, &t->p, &times);
	dv_err err = was_packed ? dv_recover_rename(a, a->dirfd, stage, t->p.dirfd, t->p.names.raw,
						    RENAME_NOREPLACE)
				: dv_recover_take_place(a, stage, t->p.dirfd, stored, &r->raw);
	struct dv_stat raw;
	if (err == -EEXIST && was_packed && t->p.names.aside[0] &&
	    dv_recover_stat(a, t->p.dirfd, t->p.names.raw, &raw) == 0 && S_ISDIR(raw.mode))
		err = dv_recover_rename(a, a->dirfd, stage, t->p.dirfd, t->p.names.aside,
					RENAME_NOREPLACE);
	if (!err)
		err = dv_loose_sync(s, &at, t->p.dirfd); /* I3 */
	if (!err && was_packed)
		err = dv_recover_unlink(a, t->p.dirfd, t->p.names.packed);
	dv_dir_times_restore(s, &times);
	return err;
}

static dv_err rewrite(struct adoption *a, const struct dv_record *r, const struct target *t,
		      int from, const char *stored, bool packed)
{
	struct dv_store *s = a->s;
	DV_AUTO_FREE char *path = dv_record_path(r);
	if (!path)
		return -ENOMEM;
	int to = DV_B(s, open, t->p.dirfd, stored, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
	if (to < 0)
		return to;
	if (!is_object(a, to, "", packed ? &r->packed : &r->raw)) {
		DV_B(s, close, to);
		return -EEXIST;
	}
	uint64_t failed = 0;
	struct dv_rewrite w = {.from = from,
			       .to = to,
			       .packed = packed,
			       .wait = true,
			       .st_ino = r->st_ino,
			       .path = path,
			       .object = packed ? r->packed : r->raw,
			       .failed = &failed};
	dv_err err = dv_rewrite_in_place(s, &w);
	DV_B(s, close, to);
	return err;
}

dv_err dv_recover_rewrite(struct adoption *a, const struct dv_record *r, const struct target *t,
			  int from, const char *stored)
{
	return rewrite(a, r, t, from, stored, true);
}

/* Does the stage of r hold what was acknowledged? */
bool dv_recover_is_whole(const struct adoption *a, const struct dv_record *r)
{
	return a->same_boot || (r->flags & DV_RECORD_DURABLE);
}

/* Where the object that the record's stage is to replace lies, or NULL. */
static const char *find_replaced(struct adoption *a, const struct dv_record *r,
				 const struct target *t, struct dv_stat *st)
{
	if (!(r->flags & DV_RECORD_OLD_PACKED))
		return dv_recover_find_raw(a, &t->p, &r->raw, st);
	return dv_recover_is_object(a, &t->p, t->p.names.packed, &r->packed, st) ? t->p.names.packed
										 : NULL;
}

enum dv_stage_file dv_recover_what_lies(struct adoption *a, const struct dv_record *r,
					const struct target *t, const char *name)
{
	struct dv_store *s = a->s;
	struct dv_stat st;
	struct dv_tag tag;
	bool was_packed = r->flags & DV_RECORD_OLD_PACKED;
	if (dv_recover_stat(a, a->dirfd, name, &st))
		return DV_STAGE_FILE;
	struct dv_ident id = dv_ident_of(&st), old = was_packed ? r->packed : r->raw;
	id.dev = old.dev;
	if (dv_ident_equal(&id, &old))
		return DV_STAGE_OLD_OBJECT;
	if (was_packed && r->type == DV_RECORD_STREAM && r->raw.ino) { /* the record names it */
		id.dev = r->raw.dev;
		return dv_ident_equal(&id, &r->raw) ? DV_STAGE_FILE : DV_STAGE_OF_OTHERS;
	}
	if (dv_tag_load(s, a->dirfd, name, &st, &tag) && tag.st_ino == r->st_ino)
		return DV_STAGE_FILE;
	if (find_replaced(a, r, t, &st))
		return DV_STAGE_FILE;
	bool published = was_packed ? was_stage(a, t, t->p.names.packed, r)
				    : was_stage(a, t, t->p.names.raw, r) ||
					      was_stage(a, t, t->p.names.aside, r);
	return published ? DV_STAGE_OF_OTHERS : DV_STAGE_FILE;
}

/* Its maker may have been killed before he could write the tag, by which this one's successor, should it be
 * killed too, knows the file that was published. */
static void tag_stage(struct dv_store *s, const struct dv_record *r, int fd)
{
	struct dv_stat st;
	struct dv_tag tag;
	if (DV_B(s, stat, fd, "", &st) ||
	    (dv_tag_load_fd(s, fd, &st, &tag) && tag.st_ino == r->st_ino))
		return;
	struct dv_ident id = dv_ident_of(&st);
	tag = (struct dv_tag){.st_ino = r->st_ino};
	dv_tag_store(s, fd, &id, &tag);
}

bool dv_recover_is_as_begun(const struct dv_record *r, const struct dv_stat *raw)
{
	struct dv_version now = dv_version_of(raw);
	return r->raw_version.mtime_ns == now.mtime_ns && r->raw_version.size == now.size;
}

/*
 * Has a living mount, or a program, written to the raw object since the last byte came to the stage? Both times are
 * by the same clock. Its mtime alone may have been set, and its ctime moves with a mode.
 */
static bool written_since(struct adoption *a, const struct dv_record *r, int stage_fd,
			  const struct dv_stat *old)
{
	const struct dv_open_record *o;
	struct dv_stat st;
	if (dv_recover_is_as_begun(r, old) || dv_recover_stat(a, stage_fd, "", &st))
		return false;
	HASH_FIND(hh, a->open, &r->id, sizeof(r->id), o);
	int64_t ctime = o && o->changed_ns ? o->changed_ns : dv_time_ns(st.ctime);
	return dv_time_ns(old->ctime) > ctime && dv_time_ns(old->mtime) > dv_time_ns(st.mtime);
}

dv_err dv_recover_stage(struct adoption *a, const struct dv_record *r, const struct target *t,
			const char *stage)
{
	struct dv_store *s = a->s;
	struct dv_stat old;
	bool was_packed = r->flags & DV_RECORD_OLD_PACKED;
	const char *stored = NULL;
	int fd = DV_B(s, open, a->dirfd, stage, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd == -ENOENT)
		return finish_published(a, r, t);
	if (fd < 0)
		return fd;
	dv_err err = 0;
	/* Where the old object is packed the stage is put beside it. */
	enum dv_stage_file what = was_packed ? DV_STAGE_FILE : dv_recover_what_lies(a, r, t, stage);
	if (what == DV_STAGE_OF_OTHERS) {
		err = -EEXIST;
	} else if (what == DV_STAGE_OLD_OBJECT || !dv_recover_is_whole(a, r)) {
		err = dv_recover_unlink(a, a->dirfd, stage); /* I6 */
	} else {
		stored = find_replaced(a, r, t, &old);
		if (stored && !was_packed && written_since(a, r, fd, &old))
			stored = NULL;
		if (stored)
			tag_stage(s, r, fd);
		err = stored ? DV_B(s, fsync, fd) : -EEXIST; /* I2 */
		if (!err && (old.nlink > 1 || (r->flags & DV_RECORD_IN_PLACE))) {
			err = rewrite(a, r, t, fd, stored, was_packed);
			if (!err)
				err = dv_recover_unlink(a, a->dirfd, stage);
		} else if (!err) {
			err = publish_stage(a, r, t, stage, stored);
		}
	}
	DV_B(s, close, fd);
	if (err == -EEXIST) {
		DV_AUTO_FREE char *key = dv_record_path(r);
		err = dv_recover_put_aside(a, a->dirfd, stage, key ? key : "",
					   "the value was replaced while no mount was there");
	}
	return err;
}
