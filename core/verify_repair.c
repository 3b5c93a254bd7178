/* SPDX-License-Identifier: MIT */
/*
 * verify_repair.c - what is done about what was found. See verify.h.
 *
 *   damaged frames          the file to lost/, and beside it its whole frames (of gzip: members) and where
 *                           they belong
 *   a seek table            a copy with a new one, made in lost/, exchanged with the file
 *   two files, equal bytes  the packed one to lost/
 *   misplaced               to where its key is looked for, where nothing is in its way
 *   leftovers               to lost/
 *
 * Nothing is deleted, and nothing written over: what leaves its place lies in lost/verify-N, moved
 * there by one renaming, or exchanged with what takes its place, by one too. So whatever ends the
 * process, or the machine, the store has the file in the one place or in the other:
 *
 *   mend   copy made, fsync -> its name in lost/, fsync -> exchanged -> both directories, fsync
 *          cut before the exchange: a copy too many in lost/, nobody's value
 *
 * The file is locked against those that write in place or pack (rival.h), and looked at again after
 * it was moved: another one goes back.
 */
#include "core/verify_private.h"

#include "core/cleanup.h"
#include "core/io.h"
#include "core/place.h"
#include "core/swap.h"
#include "core/verify_lost.h"
#include "core/verify_mend.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#define DONE_MAX 8192u

struct outcome {
	bool fixed;
	char text[DONE_MAX];
};

static void done(struct outcome *o, bool fixed, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void done(struct outcome *o, bool fixed, const char *fmt, ...)
{
	va_list ap;
	o->fixed = fixed;
	va_start(ap, fmt);
	vsnprintf(o->text, sizeof(o->text), fmt, ap);
	va_end(ap);
}

static void left(struct outcome *o, dv_err err)
{
	if (err == -EREMCHG || err == -EAGAIN || err == -ENOENT)
		done(o, false, "left: it is in use");
	else if (err == -EINVAL || err == -EOPNOTSUPP)
		done(o, false, "left: the filesystem can not rename without replacing");
	else
		done(o, false, "left: %s", strerror(-err));
}

static void tell(struct dv_verify *v, const struct dv_verify_at *at, enum dv_finding_kind kind,
		 const char *detail, const struct outcome *o)
{
	dv_verify_tell(v, at, kind, o->fixed ? DV_CLASS_FIXED : DV_CLASS_ERROR, detail, o->text);
}

/* ---- values ---- */

static bool has_kind(const struct dv_faults *f, enum dv_finding_kind kind)
{
	for (unsigned i = 0; i < f->count; i++)
		if (f->at[i].kind == kind)
			return true;
	return false;
}

static dv_err count_members(struct dv_verify *v, const struct dv_look *look, uint64_t *out)
{
	const struct dv_scan_ops none = {0};
	struct dv_scan_result r;
	dv_err err = dv_verify_scan(v, look, &none, &r);
	*out = r.frames;
	return err;
}

/* To lost/, with what is whole beside it. */
static dv_err put_aside(struct dv_verify *v, const struct dv_verify_item *item,
			const struct dv_look *look, struct outcome *o)
{
	struct dv_lost_dir d;
	struct dv_saved saved = {.frames = 0};
	char name[DV_NAME_MAX + 1];
	const struct dv_ident id = dv_ident_of(&look->st);
	bool sealed = dv_coding_is_sealed(&v->s->coding);
	uint64_t whole = look->found.frames;
	dv_err err = sealed ? count_members(v, look, &whole) : 0;
	if (err)
		return err;
	err = dv_lost_open(v, item->dir->path, &d);
	if (!err && whole)
		err = dv_mend_save_frames(v, item, look, &d, &saved);
	if (!err)
		err = dv_lost_take(v, &d, item->dir->fd, item->stored, &id, name);
	if (!err && saved.frames)
		done(o, true, "moved to %s/%s, its %" PRIu64 " whole %s saved in %s", d.path, name,
		     saved.frames, sealed ? "members" : "frames", saved.name);
	else if (!err)
		done(o, true, "moved to %s/%s", d.path, name);
	dv_lost_close(v, &d);
	return err;
}

static dv_err mend_table(struct dv_verify *v, const struct dv_verify_item *item,
			 const struct dv_look *look, struct outcome *o)
{
	struct dv_lost_dir d;
	char name[DV_NAME_MAX + 1];
	if (look->st.nlink > 1) {
		done(o, false, "left: it has several names");
		return 0;
	}
	dv_err err = dv_lost_open(v, item->dir->path, &d);
	if (!err)
		err = dv_mend_table(v, item, look, &d, name);
	if (!err)
		done(o, true, "a new table was made; as it was it lies in %s/%s", d.path, name);
	dv_lost_close(v, &d);
	return err;
}

static void repair_value(struct dv_verify *v, const struct dv_verify_item *item,
			 const struct dv_look *look, struct outcome *o)
{
	const struct dv_faults *f = &look->faults;
	struct dv_store *s = v->s;
	if (has_kind(f, DV_FINDING_READ)) {
		done(o, false, "left: copy it from its disk first");
		return;
	}
	if (has_kind(f, DV_FINDING_DICTIONARY) || has_kind(f, DV_FINDING_LIMIT) ||
	    has_kind(f, DV_FINDING_SIZE)) {
		done(o, false, "left as it is");
		return;
	}
	dv_err err = dv_lock_wait(s, look->fd, LOCK_EX, 0);
	if (!err && !dv_verify_is_same(v, item, item->stored, &look->st))
		err = -EAGAIN;
	if (!err && has_kind(f, DV_FINDING_FRAME))
		err = put_aside(v, item, look, o);
	else if (!err)
		err = mend_table(v, item, look, o);
	if (err)
		left(o, err);
	dv_ignore(DV_B(s, flock, look->fd, LOCK_UN)); /* it goes with the descriptor */
}

void dv_repair_value(struct dv_verify *v, struct dv_verify_item *item, const struct dv_look *look)
{
	const struct dv_verify_at at = {item->dir, item->stored, item->name};
	DV_AUTO_FREE struct outcome *o = calloc(1, sizeof(*o));
	if (!o)
		return;
	pthread_mutex_lock(&v->mending);
	repair_value(v, item, look, o);
	pthread_mutex_unlock(&v->mending);
	for (unsigned i = 0; i < look->faults.count; i++)
		tell(v, &at, look->faults.at[i].kind, look->faults.at[i].detail, o);
}

static dv_err move_aside(struct dv_verify *v, const struct dv_verify_at *at,
			 const struct dv_ident *id, struct outcome *o)
{
	struct dv_lost_dir d;
	char name[DV_NAME_MAX + 1];
	dv_err err = dv_lost_open(v, at->dir->path, &d);
	if (!err)
		err = dv_lost_take(v, &d, at->dir->fd, at->stored, id, name);
	if (!err)
		done(o, true, "moved to %s/%s", d.path, name);
	dv_lost_close(v, &d);
	return err;
}

void dv_repair_twin(struct dv_verify *v, struct dv_verify_item *item, const struct dv_look *look,
		    const struct dv_look *raw, const char *detail)
{
	const struct dv_verify_at at = {item->dir, item->stored, item->name};
	DV_AUTO_FREE struct outcome *o = calloc(1, sizeof(*o));
	const struct dv_ident id = dv_ident_of(&look->st);
	struct dv_store *s = v->s;
	if (!o)
		return;
	pthread_mutex_lock(&v->mending);
	/* What stays is on the disk before the other one goes. */
	dv_err err = dv_lock_wait(s, look->fd, LOCK_EX, 0);
	if (!err)
		err = dv_lock_wait(s, raw->fd, LOCK_EX, 0);
	if (!err)
		err = DV_B(s, fsync, raw->fd);
	if (!err)
		err = DV_B(s, fsync, item->dir->fd);
	if (!err && (!dv_verify_is_same(v, item, item->stored, &look->st) ||
		     !dv_verify_is_same(v, item, item->pair, &raw->st)))
		err = -EAGAIN;
	if (!err)
		err = move_aside(v, &at, &id, o);
	if (err)
		left(o, err);
	dv_ignore(DV_B(s, flock, raw->fd, LOCK_UN));
	dv_ignore(DV_B(s, flock, look->fd, LOCK_UN));
	pthread_mutex_unlock(&v->mending);
	tell(v, &at, DV_FINDING_TWIN, detail, o);
}

/* ---- names ---- */

static dv_err move_home(struct dv_verify *v, const struct dv_verify_at *at, enum dv_form form,
			struct outcome *o)
{
	struct dv_store *s = v->s;
	struct dv_node *root = dv_store_root(s);
	struct dv_place p;
	struct dv_found f;
	dv_err err = dv_place_open(s, root, at->name, true, &p);
	if (err) {
		dv_node_unref(s, root);
		return err;
	}
	const char *to = form == DV_FORM_PACKED ? p.names.packed : p.names.raw;
	err = dv_place_find(s, &p, &f);
	if (err == 0) {
		done(o, false, "left: its place is taken");
	} else if (err == -ENOENT) {
		/* The folders above it are durable before it is in them. */
		err = dv_settle_shard(s, &p, DV_LOOSE_MADE, false);
		if (!err)
			err = DV_B(s, rename, at->dir->fd, at->stored, p.dirfd, to,
				   RENAME_NOREPLACE);
		if (!err)
			err = DV_B(s, fsync, p.dirfd);
		if (!err)
			err = DV_B(s, fsync, at->dir->fd);
		if (!err)
			done(o, true, "moved to %s/%s", p.shard ? p.shard : ".", to);
	}
	dv_place_close(s, &p);
	dv_node_unref(s, root);
	return err;
}

void dv_repair_misplaced(struct dv_verify *v, const struct dv_verify_at *at, enum dv_form form,
			 const char *detail)
{
	DV_AUTO_FREE struct outcome *o = calloc(1, sizeof(*o));
	if (!o)
		return;
	pthread_mutex_lock(&v->mending);
	dv_err err = move_home(v, at, form, o);
	pthread_mutex_unlock(&v->mending);
	if (err == -EEXIST || err == -ENOTDIR)
		done(o, false, "left: its place is taken");
	else if (err)
		left(o, err);
	tell(v, at, DV_FINDING_MISPLACED, detail, o);
}

void dv_repair_leftover(struct dv_verify *v, const struct dv_verify_at *at, const char *detail)
{
	DV_AUTO_FREE struct outcome *o = calloc(1, sizeof(*o));
	struct dv_store *s = v->s;
	struct dv_stat st;
	if (!o)
		return;
	dv_err err = DV_B(s, stat, at->dir->fd, at->stored, &st);
	const struct dv_ident id = dv_ident_of(&st);
	pthread_mutex_lock(&v->mending);
	if (!err)
		err = move_aside(v, at, &id, o);
	pthread_mutex_unlock(&v->mending);
	if (err)
		left(o, err);
	tell(v, at, DV_FINDING_LEFTOVER, detail, o);
}
