/* SPDX-License-Identifier: MIT */
/*
 * stage_publish.c - the step of a commit (stage_commit.c) by which the stage takes the value's name.
 *
 * To look and then to rename would take away what another mount, or a program in the store, has put under
 * the name in between: a value that came after this one was written.
 *
 *   old form raw      the two names are exchanged, and what came to the owner folder is looked at there:
 *                     the old object is unlinked, anything else goes back the same way
 *   both packed       the same with the packed name: streams, and values whose one file is compressed
 *   old form packed   the raw name is taken, never from anything, and then the packed one looked at: where
 *                     that is not the old object any more the raw name is given back
 *
 * Who dies in between: the stage's file is the old object then, which recovery sees by its record and
 * unlinks; another one it puts aside. Where the power takes the record, the file's name tells that (exchange.h).
 */
#include "core/cleanup.h"
#include "core/journal.h"
#include "core/sealed.h"
#include "core/stage_private.h"
#include "core/twin.h"

#include <stdio.h>
#include <string.h>

#define EXCHANGES_MAX 16 /* one for each replacement that comes just then */

/* One end of the swap. */
struct publishing {
	struct dv_store *s;
	const struct dv_place *p;
	int dirfd; /* of the owner folder */
	char name[DV_STAGE_FILE_NAME];
	const char *stored; /* what it is to be called */
	struct dv_ident stage;
	bool beside; /* the old object has another name */
	bool hidden; /* it would be, by a raw file: no other mount is to put one there meanwhile */
};

static dv_err exchange(const struct publishing *x)
{
	return DV_B(x->s, rename, x->dirfd, x->name, x->p->dirfd, x->stored, RENAME_EXCHANGE);
}

/*
 * From now on the file's name tells what it is and what it is exchanged with. Where that can not be it does without:
 * then only a record tells.
 */
static void mark(struct publishing *x, struct dv_node *n)
{
	char plain[DV_STAGE_FILE_NAME];
	strcpy(plain, x->name);
	dv_exchange_mark(&x->stage, &n->id, n->stage->ending);
	strcat(x->name, n->stage->ending);
	if (DV_B(x->s, rename, x->dirfd, plain, x->dirfd, x->name, RENAME_NOREPLACE)) {
		strcpy(x->name, plain);
		n->stage->ending[0] = '\0';
	}
}

static bool look(const struct publishing *x, struct dv_ident *out)
{
	struct dv_stat st;
	if (DV_B(x->s, stat, x->dirfd, x->name, &st))
		return false;
	*out = dv_ident_of(&st);
	return true;
}

/* What lies in the owner folder came under the name before what has it now, or was removed with it. */
static dv_err put_other_aside(const struct publishing *x, struct dv_node *n)
{
	n->stage->named = false; /* gone with what was put in its place */
	dv_err err =
		dv_put_aside(x->s, x->dirfd, x->name, x->p->name,
			     "it was replaced in the store while that was being done here too");
	n->stage->astray = err != 0; /* it lies there still */
	return err ? err : -ESTALE;
}

/*
 * What came to the owner folder was put under the name after that had been looked at: it is to have it
 * again. Yet another one may have taken the stage's place there meanwhile: then that is the newest.
 */
static dv_err exchange_back(const struct publishing *x, struct dv_node *n)
{
	struct dv_ident put = {0}, put_before, got;
	for (unsigned i = 0; i < EXCHANGES_MAX; i++) {
		put_before = put;
		n->stage->astray = true; /* where it does not come to an end */
		if (!look(x, &put))
			return -EIO;
		dv_err err = exchange(x);
		if (err == -ENOENT) /* removed */
			return put_other_aside(x, n);
		if (err || !look(x, &got))
			return err ? err : -EIO;
		n->stage->astray = false;
		if (dv_ident_equal(&got, &x->stage))
			return -ESTALE;
		if (dv_ident_equal(&got, &put_before))
			return put_other_aside(x, n);
	}
	return -EIO;
}

/* Has another mount put a raw form beside the packed one that is to be replaced? It is the value, then. */
static bool is_raw_there(const struct publishing *x)
{
	const char *const names[] = {x->p->names.raw, x->p->names.aside};
	struct dv_stat st;
	for (size_t i = 0; i < DV_ARRAY_LEN(names); i++)
		if (names[i][0] && DV_B(x->s, stat, x->p->dirfd, names[i], &st) == 0 &&
		    S_ISREG(st.mode))
			return true;
	return false;
}

/*
 * Is there one once the stage has the packed name? Where another mount has put it there in the place of the stage, which
 * was the value until then, its record says so, and it takes the stage's name away. To bring the old object back
 * would leave that there, where nobody looks for it.
 */
static bool is_hidden(const struct publishing *x)
{
	const char *const names[] = {x->p->names.raw, x->p->names.aside};
	for (size_t i = 0; i < DV_ARRAY_LEN(names); i++) {
		struct dv_beside raw = dv_rival_look(x->s, x->p, names[i]);
		if (raw.there && !dv_twin_is_recorded(x->s, &x->stage, &raw.id))
			return true;
	}
	return false;
}

static dv_err take_from_old(const struct publishing *x, struct dv_node *n)
{
	struct dv_ident got;
	dv_err err = exchange(x);
	if (err == -EINVAL || err == -ENOSYS || err == -EOPNOTSUPP) /* NFS and others */
		return DV_B(x->s, rename, x->dirfd, x->name, x->p->dirfd, x->stored, 0);
	if (err)
		return err == -ENOENT ? -ESTALE : err;
	if (!look(x, &got)) { /* as before, then: it is tried again */
		n->stage->astray =
			exchange(x) != 0 || !look(x, &got) || !dv_ident_equal(&got, &x->stage);
		return -EIO;
	}
	if (!dv_ident_equal(&got, &n->id) || (x->hidden && is_hidden(x)))
		return exchange_back(x, n);
	dv_ignore(DV_B(x->s, unlink, x->dirfd, x->name)); /* swept by the next owner */
	return 0;
}

static dv_err go_on(const struct publishing *x, struct dv_node *n);

/* The file takes the old object's name, or an earlier try is brought to its end. */
static dv_err take(struct publishing *x, struct dv_node *n)
{
	bool again = n->stage->astray;
	if (!again)
		mark(x, n);
	dv_err err = again ? go_on(x, n) : take_from_old(x, n);
	if (!err) /* unlinked, or swept with its mark */
		n->stage->ending[0] = '\0';
	else
		dv_ignore(dv_stage_unmark(x->s, n->stage)); /* else at the next try */
	return err;
}

static bool is_later(struct timespec a, struct timespec b)
{
	return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

/* *old: n's packed object is still there, or another one that came after the stage, whose maker sees what
 * that is beside. */
static dv_err is_beside_old(const struct publishing *x, const struct dv_node *n, bool *old)
{
	struct dv_stat own, st;
	*old = false;
	dv_err err = DV_B(x->s, stat, x->p->dirfd, x->p->names.packed, &st);
	if (err)
		return err == -ENOENT ? 0 : err;
	err = DV_B(x->s, stat, n->stage->file->fd, "", &own);
	struct dv_ident id = dv_ident_of(&st);
	*old = !err && (dv_ident_equal(&id, &n->id) || is_later(st.ctime, own.ctime));
	return err;
}

/* What lies in the owner folder had the name, which the stage was thought to have. */
static dv_err put_other_back(const struct publishing *x, struct dv_node *n)
{
	n->stage->named = false;
	dv_err err =
		DV_B(x->s, rename, x->dirfd, x->name, x->p->dirfd, x->stored, RENAME_NOREPLACE);
	n->stage->astray = err && err != -EEXIST && err != -ENOENT;
	return n->stage->astray ? err : err == -EEXIST ? put_other_aside(x, n) : -ESTALE;
}

static dv_err give_back(const struct publishing *x, struct dv_node *n)
{
	struct dv_ident got;
	dv_err err =
		DV_B(x->s, rename, x->p->dirfd, x->stored, x->dirfd, x->name, RENAME_NOREPLACE);
	n->stage->astray = err != 0; /* it has the name still, perhaps */
	if (err)
		return err == -ENOENT || err == -EEXIST ? -ESTALE : err;
	n->stage->astray = !look(x, &got); /* then it is looked at again */
	if (n->stage->astray)
		return -EIO;
	if (dv_ident_equal(&got, &x->stage))
		return -ESTALE;
	return put_other_back(x, n); /* others have removed or replaced it by now */
}

/* The stage has the raw name: it is to have it beside the old object only. */
static dv_err keep_or_give_back(const struct publishing *x, struct dv_node *n)
{
	bool old;
	n->stage->astray = true; /* where that is not to be seen */
	dv_err err = is_beside_old(x, n, &old);
	if (err)
		return err;
	n->stage->astray = false;
	return old ? 0 : give_back(x, n);
}

/* *there: is anything? */
static dv_err ident_at(const struct publishing *x, int dirfd, const char *name,
		       struct dv_ident *out, bool *there)
{
	struct dv_stat st;
	dv_err err = DV_B(x->s, stat, dirfd, name, &st);
	*there = !err;
	*out = err ? (struct dv_ident){0} : dv_ident_of(&st);
	return err == -ENOENT ? 0 : err;
}

/* An earlier commit was cut short by an error, with the stage under the name already. */
static dv_err go_on(const struct publishing *x, struct dv_node *n)
{
	struct dv_ident id, named;
	bool there, has_name;
	dv_err err = ident_at(x, x->dirfd, x->name, &id, &there);
	if (!err)
		err = ident_at(x, x->p->dirfd, x->stored, &named, &has_name);
	if (err) /* what can not be seen is not touched */
		return err;
	n->stage->astray = false;
	if (!has_name || !dv_ident_equal(&named, &x->stage)) { /* or others have the name since */
		if (there && !dv_ident_equal(&id, &x->stage) && !dv_ident_equal(&id, &n->id))
			return x->beside ? put_other_back(x, n) : put_other_aside(x, n);
		n->stage->named = there && dv_ident_equal(&id, &x->stage);
		/* It was the value, beside the old object, which is to go, and others came after that. */
		return x->beside && !there ? 0 : -ESTALE;
	}
	if (x->beside)
		return keep_or_give_back(x, n);
	if (there && !dv_ident_equal(&id, &n->id))
		return exchange_back(x, n);
	dv_ignore(DV_B(x->s, unlink, x->dirfd, x->name)); /* swept by the next owner */
	return 0;
}

static dv_err take_beside_packed(const struct publishing *x, struct dv_node *n)
{
	dv_err err =
		DV_B(x->s, rename, x->dirfd, x->name, x->p->dirfd, x->stored, RENAME_NOREPLACE);
	return err == -EEXIST ? -ESTALE : err ? err : keep_or_give_back(x, n);
}

static bool is_shard_dir(const struct publishing *x)
{
	struct dv_stat st;
	return x->p->names.aside[0] && DV_B(x->s, stat, x->p->dirfd, x->stored, &st) == 0 &&
	       S_ISDIR(st.mode);
}

dv_err dv_stage_publish(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
			uint8_t *slot)
{
	struct dv_stat st;
	struct dv_dir_times times;
	struct publishing x = {.s = s,
			       .p = p,
			       .dirfd = dv_journal_dirfd(s->journal),
			       .stored = dv_place_stored(p, DV_FORM_RAW, *slot),
			       .beside = n->form == DV_FORM_PACKED};
	dv_err err = DV_B(s, stat, n->stage->file->fd, "", &st);
	if (err)
		return err;
	x.stage = dv_ident_of(&st);
	dv_stage_file_name(n->stage, n->stage->hidden, x.name);
	dv_dir_times_keep(s, p, &times);
	if (x.beside && *slot == DV_SLOT_PLAIN && is_shard_dir(&x)) {
		*slot = DV_SLOT_ASIDE;
		x.stored = p->names.aside;
	}
	if (x.beside)
		err = n->stage->astray ? go_on(&x, n) : take_beside_packed(&x, n);
	else
		err = take(&x, n);
	dv_dir_times_restore(s, &times);
	atomic_fetch_add(&s->swaps, 1);
	return err;
}

/* ID.z, which is fd, has or is to have that name. */
static dv_err packed_end(struct dv_store *s, const struct dv_node *n, const struct dv_place *p,
			 const char *stored, int fd, struct publishing *x)
{
	struct dv_stat st;
	*x = (struct publishing){
		.s = s, .p = p, .dirfd = dv_journal_dirfd(s->journal), .stored = stored};
	dv_tail_packed_name(n->stage->id, x->name);
	strcat(x->name, n->stage->ending);
	dv_err err = DV_B(s, stat, fd, "", &st);
	if (!err)
		x->stage = dv_ident_of(&st);
	return err;
}

dv_err dv_stage_publish_packed(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
			       const char *stored, int fd)
{
	struct dv_dir_times times;
	struct publishing x;
	dv_err err = packed_end(s, n, p, stored, fd, &x);
	if (err)
		return err;
	x.hidden = !dv_is_sealed(s);
	if (x.hidden && !n->stage->astray && is_raw_there(&x))
		return -ESTALE;
	dv_dir_times_keep(s, p, &times);
	err = take(&x, n);
	dv_dir_times_restore(s, &times);
	return err;
}

dv_err dv_stage_give_back(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
			  const char *stored, int fd)
{
	struct publishing x;
	dv_err err = packed_end(s, n, p, stored, fd, &x);
	if (err)
		return err;
	return n->stage->named ? give_back(&x, n) : put_other_back(&x, n);
}
