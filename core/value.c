/* SPDX-License-Identifier: MIT */
/*
 * value.c - see value.h.
 *
 *   read    staged: the stage file.  raw: the file.  packed: frames through the cache (packed.c)
 */
#include "core/value.h"

#include "core/cleanup.h"
#include "core/io.h"
#include "core/log.h"
#include "core/meta.h"
#include "core/packed.h"
#include "core/stage.h"

#include <string.h>
#include <sys/file.h>

#define LOOK_TRIES 4 /* as often another mount packs and unpacks the value meanwhile */

/* ---- files ---- */

/* Opens n's object by one of its names and checks that it is that object. */
static dv_err open_object(struct dv_store *s, struct dv_node *n, int flags, int *out_fd,
			  struct dv_stat *st)
{
	dv_err err = -ESTALE;
	for (unsigned skip = 0; err == -ESTALE; skip++) {
		struct dv_place p;
		const char *stored;
		err = dv_place_of(s, n, skip, &p, &stored);
		if (err)
			return err;
		/* O_NONBLOCK: a FIFO put there by someone must not hold the thread. */
		int quiet = s->options.noatime && !(flags & O_PATH) ? O_NOATIME : 0;
		int fd = DV_B(s, open, p.dirfd, stored, flags | quiet | O_NOFOLLOW | O_NONBLOCK, 0);
		if (fd == -EPERM && quiet) /* the owner's right */
			fd = DV_B(s, open, p.dirfd, stored, flags | O_NOFOLLOW | O_NONBLOCK, 0);
		dv_place_of_close(s, &p);
		if (fd == -EWOULDBLOCK) /* a packer elsewhere was asked to give up its lease */
			return -EAGAIN;
		if (fd == -ENOENT || fd == -ELOOP || fd == -ENXIO) {
			err = -ESTALE;
			continue;
		}
		if (fd < 0)
			return fd;
		err = DV_B(s, stat, fd, "", st);
		struct dv_ident id = dv_ident_of(st);
		if (!err && !dv_ident_equal(&id, &n->id))
			err = -ESTALE;
		if (err)
			DV_B(s, close, fd);
		else
			*out_fd = fd;
	}
	return err;
}

/*
 * The shared lock keeps swaps by others away; having it, the name must still lead to this file. -EAGAIN:
 * others have it locked, who may need n's gate to come to an end, or never do: waited for without that.
 */
static dv_err lock_for_writing(struct dv_store *s, struct dv_node *n, int fd)
{
	struct dv_place p;
	const char *stored;
	struct dv_stat st;
	dv_err err = dv_lock_wait(s, fd, LOCK_SH, 0);
	if (err)
		return err;
	err = dv_place_of(s, n, 0, &p, &stored);
	if (err)
		return err;
	err = DV_B(s, stat, p.dirfd, stored, &st);
	dv_place_of_close(s, &p);
	struct dv_ident id = dv_ident_of(&st);
	if (err == -ENOENT || (!err && !dv_ident_equal(&id, &n->id)))
		return -ESTALE;
	return err;
}

dv_err dv_value_file(struct dv_store *s, struct dv_node *n, bool writable, struct dv_file **out)
{
	struct dv_stat st;
	int fd = -1;
	*out = dv_node_file(s, n, writable);
	if (*out)
		return 0;
	dv_err err = open_object(s, n, writable ? O_RDWR : O_RDONLY, &fd, &st);
	if (!err && writable) {
		err = lock_for_writing(s, n, fd);
		if (err)
			DV_B(s, close, fd);
	}
	if (err)
		return err;
	*out = dv_file_new(s, fd, writable);
	if (!*out)
		return -ENOMEM;
	dv_node_set_file(s, n, *out, false);
	return 0;
}

dv_err dv_value_handle(struct dv_store *s, struct dv_node *n, struct dv_file **out)
{
	struct dv_stat st;
	int fd = -1;
	*out = dv_node_file(s, n, false);
	if (*out)
		return 0;
	if (S_ISDIR(n->type))
		return dv_dir_file(s, n, out);
	dv_err err = open_object(s, n, O_PATH, &fd, &st);
	if (err)
		return err;
	*out = dv_file_new(s, fd, false);
	return *out ? 0 : -ENOMEM;
}

/* ---- attributes ---- */

struct timespec dv_shown_ctime(const struct dv_node *n, const struct dv_stat *st)
{
	int64_t own = dv_time_ns(st->ctime);
	/* A name that came or went within the same step of the clock moves a directory's mtime too. */
	bool named = S_ISDIR(n->type) && dv_time_ns(st->mtime) == own;
	if (own == n->real_ctime_ns && !named)
		return dv_time_of_ns(n->kept_ctime_ns);
	return st->ctime;
}

/* By name, or where it has none any more, by descriptor. */
static bool load_tag(struct dv_store *s, struct dv_node *n, const struct dv_place *at,
		     const char *stored, const struct dv_stat *st, struct dv_tag *tag)
{
	struct dv_file *f = NULL;
	if (at)
		return dv_tag_load(s, at->dirfd, stored, st, tag);
	bool loaded = dv_value_file(s, n, false, &f) == 0 && dv_tag_load_fd(s, f->fd, st, tag);
	dv_file_unref(s, f);
	return loaded;
}

/* What is known of the packed value that lies at (at, stored): st. */
static dv_err packed_facts(struct dv_store *s, struct dv_node *n, const struct dv_place *at,
			   const char *stored, const struct dv_stat *st, bool nowait,
			   struct dv_facts *out)
{
	struct dv_tag tag;
	if (dv_facts_get(s, n, st, out))
		return 0;
	*out = (struct dv_facts){0};
	if (load_tag(s, n, at, stored, st, &tag) && tag.has_size) {
		if (dv_facts_from_tag(&tag, st, out))
			dv_facts_set(s, n, out);
		out->plain_size = tag.plain_size;
		return 0;
	}
	if (nowait && st->size > DV_INLINE_STORED_MAX)
		return -EAGAIN; /* its frames may have to be walked, or even decoded */
	struct dv_file *f = NULL;
	dv_err err = dv_value_file(s, n, false, &f);
	if (!err)
		err = dv_packed_facts(s, n, f, nowait, out);
	dv_file_unref(s, f);
	if (!dv_facts_are_bad(err))
		return err;
	*out = (struct dv_facts){.plain_size =
					 st->size ? st->size : 1}; /* as packed.c's tell_bad() */
	return 0;
}

static void show_touched(struct dv_store *s, struct dv_node *root, struct dv_stat *st)
{
	pthread_mutex_lock(&s->names_lock);
	struct timespec touched = dv_time_of_ns(root->touched_ns);
	if (root->touched_ns && touched.tv_sec > st->mtime.tv_sec) /* which may be before 1970 */
		st->mtime = touched;
	pthread_mutex_unlock(&s->names_lock);
}

dv_err dv_value_show(struct dv_store *s, struct dv_node *n, const struct dv_place *at,
		     const char *stored, bool nowait, struct dv_stat *st)
{
	dv_err err = 0;
	struct timespec ctime = dv_shown_ctime(n, st); /* before a tag is written, which moves it */
	struct dv_facts facts;
	if (n->form == DV_FORM_PACKED) {
		err = packed_facts(s, n, at, stored, st, nowait, &facts);
		st->size = err ? 0 : facts.plain_size;
	}
	st->own_ctime_ns = dv_time_ns(st->ctime);
	st->ctime = ctime;
	st->ino = n->ino;
	st->nlink = dv_node_links(n, st->nlink);
	if (S_ISREG(st->mode) && st->blocks == 0 && st->size > 0)
		st->blocks = 1; /* 0 would be read as one hole */
	if (n == s->root) {
		st->nlink -= st->nlink > 2; /* the control folder is not one of the mount's */
		show_touched(s, n, st);
	}
	return err;
}

dv_err dv_value_stat(struct dv_store *s, struct dv_node *n, bool nowait, struct dv_stat *out)
{
	if (n->stage)
		return dv_stage_stat(s, n, out);
	for (unsigned skip = 0;; skip++) {
		struct dv_place p;
		const char *stored;
		if (n == s->root) {
			dv_err err = DV_B(s, stat, s->rootfd, "", out);
			return err ? err : dv_value_show(s, n, NULL, NULL, nowait, out);
		}
		dv_err err = dv_place_of(s, n, skip, &p, &stored);
		if (err == -ESTALE && !dv_node_has_name(s, n)) {
			struct dv_file *f = dv_node_file(s, n, false);
			if (!f)
				return err;
			err = DV_B(s, stat, f->fd, "", out);
			dv_file_unref(s, f);
			return err ? err : dv_value_show(s, n, NULL, NULL, nowait, out);
		}
		if (err)
			return err;
		err = DV_B(s, stat, p.dirfd, stored, out);
		struct dv_ident id = dv_ident_of(out);
		bool same = !err && dv_ident_equal(&id, &n->id);
		if (same)
			err = dv_value_show(s, n, &p, stored, nowait, out);
		dv_place_of_close(s, &p);
		if (same || (err && err != -ENOENT))
			return err;
	}
}

/* Is what was found, under one of n's names, n's value in another object? Where a change of n waits for a dead
 * owner's work that is so of a replacement, too. */
static bool same_value(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
		       const struct dv_found *f, uint16_t *generation)
{
	struct dv_tag tag;
	if (!S_ISREG(n->type) || !S_ISREG(f->st.mode))
		return false;
	if (!dv_tag_load(s, p->dirfd, f->stored, &f->st, &tag) || tag.st_ino != n->ino)
		return false;
	*generation = tag.generation;
	return tag.generation == n->generation || (atomic_load(&n->others) & DV_OTHERS_DIED);
}

/*
 * What lies under one of n's names. Where that is n's no more, a superseded form beside it goes
 * first: whoever took or removed the value knew nothing of it, and it would be there for good, or
 * be taken for the value.
 */
static dv_err find_for(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
		       struct dv_found *out)
{
	dv_err err = dv_place_find_known(s, p, out);
	struct dv_ident id = dv_ident_of(&out->st);
	if ((err && err != -ENOENT) || !n->loser ||
	    (!err && out->form == n->form && dv_ident_equal(&id, &n->id)))
		return err;
	struct dv_loose_at at = dv_place_at(p);
	err = dv_loose_sync(s, &at, p->dirfd); /* I3 */
	if (!err)
		err = dv_stage_drop_loser(s, n, p);
	return err ? err : dv_place_find_known(s, p, out);
}

static bool is_still_there(struct dv_store *s, const struct dv_place *p, const struct dv_found *f)
{
	struct dv_stat st;
	if (DV_B(s, stat, p->dirfd, f->stored, &st))
		return false;
	struct dv_ident id = dv_ident_of(&st), was = dv_ident_of(&f->st);
	return dv_ident_equal(&id, &was);
}

/* What is found may be gone, packed or unpacked by another mount, before it is seen whose value it is. */
static dv_err find_whose(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
			 struct dv_found *out, bool *same, uint16_t *generation)
{
	dv_err err = 0;
	for (unsigned tries = 0; tries < LOOK_TRIES; tries++) {
		err = find_for(s, n, p, out);
		struct dv_ident id = dv_ident_of(&out->st);
		*same = !err && same_value(s, n, p, out, generation);
		if (err || *same || (out->form == n->form && dv_ident_equal(&id, &n->id)) ||
		    is_still_there(s, p, out))
			break;
	}
	return err;
}

/* One name: kept, taken over or dropped. -> is it kept, and leads to n's value? */
static dv_err refresh_name(struct dv_store *s, struct dv_node *n, const struct dv_name_of *at,
			   bool *kept)
{
	struct dv_place p;
	struct dv_found f;
	bool same = false;
	uint16_t generation = n->generation;
	*kept = false;
	dv_err err = dv_place_open(s, at->dir, at->name, false, &p);
	if (!err)
		err = find_whose(s, n, &p, &f, &same, &generation);
	struct dv_ident id = dv_ident_of(&f.st);
	if (err == -ENOENT || err == -ESTALE) {
		atomic_fetch_or(&n->others, DV_OTHERS_TOOK);
		dv_node_drop_name(s, at->dir, at->name);
		err = 0;
	} else if (!err && f.form == n->form && dv_ident_equal(&id, &n->id)) {
		*kept = true;
	} else if (!err && !n->stage && !n->job && same) {
		dv_node_set_object(s, n, &id, f.form);
		dv_node_drop_file(s, n);
		if (n->generation != generation) /* other bytes, and what is kept is older */
			dv_told_ends(n);
		n->generation = generation;
		if (n->loser)
			dv_node_superseded_gone(s, &n->beside->id);
		dv_node_end_loser(s, n);
		*kept = true;
	} else if (!err) {
		atomic_fetch_or(&n->others, DV_OTHERS_TOOK);
		dv_node_drop_name(s, at->dir, at->name);
	}
	dv_place_close(s, &p);
	return err;
}

/* Some at a time: to come to the i-th name costs i steps. */
enum { NAMES_FEW = 4, NAMES_MANY = 1024 };

static dv_err refresh_names(struct dv_store *s, struct dv_node *n, bool *any)
{
	struct dv_name_of few[NAMES_FEW], *names = few;
	DV_AUTO_FREE struct dv_name_of *many = NULL;
	size_t max = NAMES_FEW, count, skip = 0;
	dv_err err = 0;
	do {
		count = dv_node_names(s, n, skip, names, max);
		bool all = count < max;
		for (size_t i = 0; i < count; i++) {
			bool kept = false;
			if (!err)
				err = refresh_name(s, n, &names[i], &kept);
			dv_node_unref(s, names[i].dir);
			skip += kept;
			*any |= kept;
		}
		if (all)
			break;
		if (!many && (many = malloc(NAMES_MANY * sizeof(*many)))) {
			names = many;
			max = NAMES_MANY;
		}
	} while (!err);
	return err;
}

dv_err dv_value_refresh_locked(struct dv_store *s, struct dv_node *n)
{
	bool any = n == s->root;
	dv_err err = any ? 0 : refresh_names(s, n, &any);
	if (err)
		return err;
	if (any)
		return 0;
	struct dv_file *f = dv_node_file(s, n, false);
	dv_file_unref(s, f);
	return f || n->stage ? 0 : -ESTALE;
}

dv_err dv_value_refresh(struct dv_store *s, struct dv_node *n)
{
	dv_err err = dv_gate_exclusive(n, false);
	if (err)
		return err;
	err = dv_value_refresh_locked(s, n);
	dv_gate_open(n);
	return err;
}

/* ---- bytes ---- */

static ssize_t read_file(struct dv_store *s, int fd, void *buf, struct dv_range range, bool nowait)
{
	size_t done = 0;
	while (done < range.len) {
		char *at = (char *)buf + done;
		ssize_t n =
			nowait ? DV_B(s, pread_nowait, fd, at, range.len - done, range.off + done)
			       : DV_B(s, pread, fd, at, range.len - done, range.off + done);
		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static ssize_t read_object(struct dv_store *s, struct dv_node *n, void *buf, struct dv_range range,
			   bool nowait)
{
	struct dv_file *f = NULL;
	dv_err err = dv_value_file(s, n, false, &f);
	if (err)
		return err;
	ssize_t got = n->form == DV_FORM_PACKED ? dv_packed_read(s, n, f, buf, range, nowait)
						: read_file(s, f->fd, buf, range, nowait);
	dv_file_unref(s, f);
	return got < 0 ? dv_as_corrupt((dv_err)got) : got;
}

ssize_t dv_value_read_before(struct dv_store *s, struct dv_node *n, void *buf,
			     struct dv_range range, bool nowait)
{
	struct dv_stat st;
	if (!n->stage || dv_stage_in_parts(n->stage) || !dv_stage_is_replacement(n->stage) ||
	    DV_B(s, stat, dv_stage_fd(n->stage), "", &st) || st.size)
		return 0;
	if (dv_stage_had_bytes(n->stage))
		return nowait ? -EAGAIN : 0;
	ssize_t got = read_object(s, n, buf, range, nowait);
	return got < 0 && got != -EAGAIN ? 0 : got; /* others have replaced it, say */
}

ssize_t dv_value_read(struct dv_store *s, struct dv_node *n, void *buf, struct dv_range range,
		      bool nowait)
{
	if (dv_stage_in_parts(n->stage)) {
		ssize_t part = dv_stage_read(s, n, buf, range, nowait);
		return part < 0 ? dv_as_corrupt((dv_err)part) : part;
	}
	if (n->stage)
		return read_file(s, dv_stage_fd(n->stage), buf, range, nowait);
	return read_object(s, n, buf, range, nowait);
}
