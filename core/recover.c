/* SPDX-License-Identifier: MIT */
/* recover.c - see recover.h. */
#include "core/recover_private.h"

#include "core/cleanup.h"
#include "core/hash.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/log.h"
#include "core/meta.h"
#include "core/owner.h"
#include "core/pending.h"
#include "core/place.h"
#include "core/rewrite.h"
#include "core/sealed.h"
#include "core/stage.h"
#include "core/value.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS_MAX   16 /* of mounts that take dead ones' folders from each other */
#define SWEEP_ROUNDS 64 /* of 512 names: more stage files than that are left for the next time */

/* The path of a record, which is not terminated there, on the heap. */
char *dv_record_path(const struct dv_record *r)
{
	char *path = malloc(r->path_len + 1);
	if (path) {
		memcpy(path, r->path, r->path_len);
		path[r->path_len] = '\0';
	}
	return path;
}

dv_err dv_recover_stat(struct adoption *a, int dirfd, const char *name, struct dv_stat *st)
{
	dv_err err = DV_B(a->s, stat, dirfd, name, st);
	if (err && err != -ENOENT && !a->unsure)
		a->unsure = err;
	return err;
}

dv_err dv_recover_rename(struct adoption *a, int from_fd, const char *from, int to_fd,
			 const char *to, unsigned flags)
{
	return a->unsure ? a->unsure : DV_B(a->s, rename, from_fd, from, to_fd, to, flags);
}

dv_err dv_recover_unlink(struct adoption *a, int dirfd, const char *name)
{
	return a->unsure ? a->unsure : DV_B(a->s, unlink, dirfd, name);
}

dv_err dv_recover_put_aside(struct adoption *a, int dirfd, const char *name, const char *key,
			    const char *why)
{
	return a->unsure ? a->unsure : dv_put_aside(a->s, dirfd, name, key, why);
}

static void target_close(struct dv_store *s, struct target *t)
{
	dv_place_close(s, &t->p);
	dv_node_unref(s, t->dir);
}

static dv_err target_open(struct dv_store *s, const struct dv_record *r, struct target *t)
{
	static const struct dv_call call = {0};
	DV_AUTO_FREE char *path = dv_record_path(r);
	if (!path)
		return -ENOMEM;
	char *at = path;
	t->dir = dv_store_root(s);
	t->p = (struct dv_place){0};
	dv_err err = 0;
	for (char *slash; !err && (slash = strchr(at, '/')); at = slash + 1) {
		struct dv_node *child = NULL;
		struct dv_stat st;
		*slash = '\0';
		err = dv_store_lookup(s, &call, t->dir, at, &child, &st);
		if (!err) {
			dv_node_unref(s, t->dir);
			t->dir = child;
		}
	}
	if (!err && (strlen(at) > DV_NAME_MAX || !*at))
		err = -EINVAL;
	if (!err) {
		strcpy(t->name, at);
		err = dv_place_open(s, t->dir, t->name, true, &t->p);
	}
	if (err) {
		dv_node_unref(s, t->dir);
		t->dir = NULL;
	}
	return err == -ENOTDIR ? -ENOENT : err;
}

/* Is the object at stored the one of the record? Device numbers change over a reboot and are not
 * compared. */
bool dv_recover_is_object(struct adoption *a, const struct dv_place *p, const char *stored,
			  const struct dv_ident *id, struct dv_stat *st)
{
	if (!stored[0] || dv_recover_stat(a, p->dirfd, stored, st))
		return false;
	struct dv_ident now = dv_ident_of(st);
	now.dev = id->dev;
	return dv_ident_equal(&now, id);
}

/* Raw, aside or of another type: where the record's winner or raw object lies, or NULL. */
const char *dv_recover_find_raw(struct adoption *a, const struct dv_place *p,
				const struct dv_ident *id, struct dv_stat *st)
{
	if (dv_recover_is_object(a, p, p->names.raw, id, st))
		return p->names.raw;
	if (dv_recover_is_object(a, p, p->names.other, id, st))
		return p->names.other;
	return dv_recover_is_object(a, p, p->names.aside, id, st) ? p->names.aside : NULL;
}

/* Its bytes, where it has any, and its name. */
dv_err dv_recover_sync(struct adoption *a, const struct dv_place *p, const char *stored)
{
	struct dv_store *s = a->s;
	struct dv_stat st;
	struct dv_loose_at at = dv_place_at(p);
	if (dv_recover_stat(a, p->dirfd, stored, &st) == 0 && !S_ISREG(st.mode))
		return dv_loose_sync(s, &at, p->dirfd);
	int fd = DV_B(s, open, p->dirfd, stored, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	dv_err err = DV_B(s, fsync, fd);
	DV_B(s, close, fd);
	return err ? err : dv_loose_sync(s, &at, p->dirfd);
}

dv_err dv_recover_unlink_form(struct adoption *a, const struct dv_place *p, const char *stored)
{
	struct dv_store *s = a->s;
	struct dv_dir_times times;
	dv_dir_times_keep(s, p, &times);
	dv_err err = dv_recover_unlink(a, p->dirfd, stored);
	dv_dir_times_restore(s, &times);
	return err;
}

/*
 * A raw file that shows the record's st_ino is the same value in another object: an earlier one,
 * where a replacement was lost with the power and the packed form made from it was not; or a later
 * one, beside which a superseded packed form came back.
 */
const char *dv_recover_find_same_value(struct adoption *a, const struct target *t,
				       const struct dv_record *r)
{
	const char *const names[] = {t->p.names.raw, t->p.names.aside};
	for (size_t i = 0; i < DV_ARRAY_LEN(names); i++) {
		struct dv_stat st;
		struct dv_tag tag;
		if (!names[i][0] || dv_recover_stat(a, t->p.dirfd, names[i], &st) ||
		    !S_ISREG(st.mode))
			continue;
		struct dv_ident id = dv_ident_of(&st);
		bool tagged = dv_tag_load(a->s, t->p.dirfd, names[i], &st, &tag);
		if ((tagged ? tag.st_ino : dv_meta_ino(&id)) == r->st_ino)
			return names[i];
	}
	return NULL;
}

/* Where the file is not the one that was to be unlinked it goes back to its name; where another one has that,
 * which is newer, to lost/. */
static dv_err recover_via(struct adoption *a, const struct dv_record *r, const struct target *t,
			  const char *file)
{
	struct dv_stat st;
	bool packed = r->packed.ino;
	struct dv_ident wanted = packed ? r->packed : r->raw;
	const char *stored = packed ? t->p.names.packed : t->p.names.raw;
	dv_err err = dv_recover_stat(a, a->dirfd, file, &st);
	if (err)
		return err == -ENOENT ? 0 : err;
	struct dv_ident id = dv_ident_of(&st);
	wanted.dev = id.dev;
	if (dv_ident_equal(&id, &wanted))
		return dv_recover_unlink(a, a->dirfd, file);
	err = stored[0] ? dv_recover_rename(a, a->dirfd, file, t->p.dirfd, stored, RENAME_NOREPLACE)
			: -EEXIST;
	return err != -EEXIST ? err
			      : dv_recover_put_aside(
					a, a->dirfd, file, packed ? stored : t->name,
					"it was replaced in the store while another form of it "
					"was removed");
}

static dv_err recover_copy(struct adoption *a, const struct dv_record *r, const struct target *t,
			   const char *stage)
{
	struct dv_store *s = a->s;
	struct dv_stat st;
	const char *stored = dv_recover_is_object(a, &t->p, t->p.names.packed, &r->packed, &st)
				     ? t->p.names.packed
				     : dv_recover_find_raw(a, &t->p, &r->packed, &st);
	int from = DV_B(s, open, a->dirfd, stage, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (from < 0)
		return from == -ENOENT ? 0 : from;
	dv_err err = 0;
	if (!stored) {
		err = dv_recover_put_aside(a, a->dirfd, stage, t->name,
					   "the value it belongs to is gone");
	} else {
		int to = DV_B(s, open, t->p.dirfd, stored, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
		err = to < 0 ? to : dv_copy_over(s, from, to);
		if (to >= 0)
			DV_B(s, close, to);
		if (!err)
			err = dv_recover_unlink(a, a->dirfd, stage);
		else /* not to be copied again, over what the coming mount writes; the value may be
			half of each */
			err = dv_put_aside(
				s, a->dirfd, stage, t->name,
				"it could not be copied over the value, which may be damaged");
	}
	DV_B(s, close, from);
	return err;
}

/* An object of the record, or what has come into its place, while it lies in the owner folder still. */
static bool holds_object(struct adoption *a, const struct target *t, const struct dv_record *r)
{
	struct dv_stat st;
	struct dv_tag tag;
	const char *packed = t->p.names.packed;
	return dv_recover_is_object(a, &t->p, packed, &r->packed, &st) ||
	       dv_recover_find_raw(a, &t->p, &r->raw, &st) ||
	       dv_recover_find_raw(a, &t->p, &r->packed, &st) ||
	       dv_recover_find_same_value(a, t, r) ||
	       (packed[0] && dv_recover_stat(a, t->p.dirfd, packed, &st) == 0 &&
		dv_tag_load(a->s, t->p.dirfd, packed, &st, &tag) && tag.st_ino == r->st_ino);
}

/* Of target_open(): nothing of the record can be there. */
static bool is_no_place(dv_err err)
{
	return err == -ENOENT || err == -EINVAL || err == -ENAMETOOLONG;
}

/*
 * A record is written again before its directory is renamed: which of its paths holds depends on
 * whether the renaming came that far, or outlived the power. Where none does the last one counts.
 */
static dv_err target_choose(struct adoption *a, const struct dv_open_record *o,
			    const struct dv_record **out, struct target *t)
{
	struct dv_store *s = a->s;
	for (const struct dv_open_record *at = o->before ? o : NULL; at; at = at->before) {
		*out = &at->r;
		dv_err err = target_open(s, &at->r, t);
		if (err && !is_no_place(err))
			return err;
		if (err)
			continue;
		if (holds_object(a, t, &at->r))
			return 0;
		target_close(s, t);
	}
	*out = &o->r;
	return target_open(s, &o->r, t);
}

static void recover_one(struct adoption *a, const struct dv_open_record *o)
{
	struct dv_store *s = a->s;
	struct target t;
	const struct dv_record *r;
	a->unsure = 0;
	dv_err err = target_choose(a, o, &r, &t);
	char stage[DV_STAGE_NAME], text[1024], key[4096];
	dv_journal_stage_name(r->id, stage);
	snprintf(key, sizeof(key), "%.*s", (int)(r->path_len < 4095 ? r->path_len : 4095), r->path);
	if (is_no_place(err)) {
		/* Its directory is gone: nothing of the record can be there. */
		if (!dv_is_sealed(s) && (r->type == DV_RECORD_STREAM || r->type == DV_RECORD_TAIL))
			err = dv_recover_put_parts_aside(a, r, key, "its directory is gone");
		else
			err = r->type == DV_RECORD_VIA || r->type == DV_RECORD_COPY ||
					      ((r->type == DV_RECORD_STAGE ||
						r->type == DV_RECORD_STREAM) &&
					       dv_recover_is_whole(a, r))
				      ? dv_recover_put_aside(a, a->dirfd, stage, key,
							     "its directory is gone")
				      : 0;
		if (!err && !a->unsure)
			return;
	} else if (!err) {
		if (dv_is_sealed(s) && (r->type == DV_RECORD_STAGE || r->type == DV_RECORD_STREAM))
			err = dv_recover_sealed(a, r, &t);
		else if (r->type == DV_RECORD_SWAP)
			err = dv_recover_swap(a, r, &t);
		else if (r->type == DV_RECORD_STAGE)
			err = dv_recover_stage(a, r, &t, stage);
		else if (r->type == DV_RECORD_COPY)
			err = recover_copy(a, r, &t, stage);
		else if (r->type == DV_RECORD_STREAM)
			err = dv_recover_stream(a, r, &t);
		else if (r->type == DV_RECORD_TAIL)
			err = dv_recover_tail(a, r, &t);
		else if (r->type == DV_RECORD_VIA)
			err = recover_via(a, r, &t, stage);
		else /* of a later program: nothing of it is touched */
			err = -EPROTONOSUPPORT;
		target_close(s, &t);
	}
	err = err ? err : a->unsure;
	if (err) {
		dv_error("work left by an ended mount on %s could not be finished, it is kept: %s",
			 dv_log_key(text, sizeof(text), key), strerror(-err));
		a->err = a->err ? a->err : err;
	} else {
		dv_count(s, recovered, 1);
	}
}

/* Removes the stage files that no record speaks of, then the folder. */
static dv_err sweep(struct adoption *a, int stagefd, const char *owner)
{
	enum { BUF = 32768, MAX = 512 };
	struct dv_store *s = a->s;
	DV_AUTO_FREE char *buf = malloc(BUF);
	DV_AUTO_FREE struct dv_dirent *ents = malloc(MAX * sizeof(*ents));
	if (!buf || !ents)
		return -ENOMEM;
	for (int round = 0; round < SWEEP_ROUNDS; round++) {
		ssize_t n = DV_B(s, readdir, a->dirfd, 0, buf, BUF, ents, MAX);
		if (n < 0)
			return (dv_err)n;
		size_t removed = 0;
		for (ssize_t i = 0; i < n; i++) {
			/* the log goes last but one, the owner file last */
			if (!strcmp(ents[i].name, "log") || !strcmp(ents[i].name, "owner"))
				continue;
			dv_err err = dv_recover_keep_of_others(a, ents[i].name);
			if (err)
				return err;
			removed += DV_B(s, unlink, a->dirfd, ents[i].name) == 0;
		}
		if (!removed)
			break;
	}
	dv_ignore(DV_B(s, unlink, a->dirfd, "log"));
	dv_ignore(DV_B(s, unlink, a->dirfd, "owner"));
	return DV_B(s, rmdir, stagefd, owner);
}

static void adopt(struct adoption *a, int stagefd, const char *owner)
{
	atomic_store(&a->s->adopted, true);
	struct dv_pending p = {0};
	dv_err err = dv_pending_read(a->s, a->dirfd, &p);
	a->open = p.open;
	if (!err)
		err = dv_recover_exchanged(a);
	if (!err)
		for (struct dv_open_record *o = p.open; o; o = o->hh.next)
			recover_one(a, o);
	a->open = NULL;
	dv_pending_release(&p);
	a->err = a->err ? a->err : err;
	/* What was done must outlive the records that would have it done again; and what the dead
	 * owner had changed is not loose any more (loose.h). */
	if (!a->err)
		a->err = DV_B(a->s, syncfs, a->s->rootfd);
	if (!a->err)
		a->err = sweep(a, stagefd, owner);
}

/*
 * Records say what is to be written where, with the rights of whoever acts on them. So those of another
 * user are not acted on, but for root's: he could have files that he may not read copied into his own, or
 * have his bytes put into files of others that lie in the store. (A filesystem may show what root makes as
 * somebody else's.)
 */
static bool is_trusted(struct adoption *a, const char *owner)
{
	struct dv_store *s = a->s;
	struct dv_stat own, st;
	char text[DV_OWNER_MAX + 1];
	if (DV_B(s, stat, dv_journal_dirfd(s->journal), "", &own) ||
	    DV_B(s, stat, a->dirfd, "", &st))
		return false;
	if (st.uid == own.uid || st.uid == 0)
		return true;
	if (!dv_owner_is_here(s, a->dirfd, text))
		dv_warn("work that a mount of user %u has left in %s/%s is for a mount of that "
			"user to finish; until then the values are as they were",
			(unsigned)st.uid, DV_STAGE_DIR, owner);
	return false;
}

static dv_err adopt_if_dead(struct dv_store *s, int stagefd, struct dv_owner *owner)
{
	struct adoption a = {.s = s};
	int lock = -1;
	a.dirfd = DV_B(s, open, stagefd, owner->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (a.dirfd == -ENOENT) /* another mount has it, under another name, or is done with it */
		return -ESTALE;
	if (a.dirfd < 0)
		return a.dirfd == -ENOTDIR || a.dirfd == -ELOOP ? 0 : a.dirfd;
	if (!is_trusted(&a, owner->folder)) {
		DV_B(s, close, a.dirfd);
		return 0;
	}
	dv_err err = dv_owner_take(s, stagefd, a.dirfd, owner, &lock, &a.same_boot);
	if (err == -ENOENT) {
		/* Its making, or its sweeping, was cut short: no record of it counts. */
		if (strncmp(owner->folder, "new-", 4) == 0) { /* another mount may be making it */
			dv_ignore(DV_B(s, unlink, a.dirfd, "log"));
			dv_ignore(DV_B(s, rmdir, stagefd, owner->folder));
			err = 0;
		} else {
			err = sweep(&a, stagefd, owner->folder);
			err = err == -ENOENT ? 0 : err; /* another mount was doing so */
		}
	} else if (err == -EWOULDBLOCK) {
		err = 0;
	} else if (!err) {
		adopt(&a, stagefd, owner->folder);
		err = a.err;
		DV_B(s, close, lock);
	}
	DV_B(s, close, a.dirfd);
	return err;
}

/* *again: a folder went to another mount, which works on it, or has died over it. */
static dv_err recover_once(struct dv_store *s, char *why, size_t why_size, bool *again)
{
	struct dv_owners owners = {0};
	struct dv_stat before, after;
	*again = false;
	dv_err first = DV_B(s, stat, s->stage_fd, "", &before);
	if (!first)
		first = dv_owners_find(s, s->stage_fd, true, &owners);
	/* A listing may miss what gets another name meanwhile. */
	if (!first && DV_B(s, stat, s->stage_fd, "", &after) == 0)
		*again = dv_time_ns(before.ctime) != dv_time_ns(after.ctime);
	if (dv_owners_check(s, &owners, why, why_size)) {
		dv_owners_release(&owners);
		return -EBUSY;
	}
	for (size_t i = 0; i < owners.count; i++) {
		if (owners.at[i].state == DV_OWNER_ELSEWHERE)
			continue;
		dv_err err = adopt_if_dead(s, s->stage_fd, &owners.at[i]);
		if (err == -ESTALE)
			*again = true;
		else if (err && !first) /* -EBUSY is another thing to the caller */
			first = err == -EBUSY ? -EAGAIN : err;
	}
	dv_owners_release(&owners);
	return first;
}

dv_err dv_recover(struct dv_store *s, char *why, size_t why_size)
{
	dv_err err = 0;
	bool again = true;
	for (unsigned round = 0; again && !err && round < ROUNDS_MAX; round++)
		err = recover_once(s, why, why_size, &again);
	if (again && !err)
		dv_warn("other mounts still come and go, or finish what ended ones have left: "
			"values that "
			"`diskvfs info` names as pending show what they were until then");
	return err;
}
