/* SPDX-License-Identifier: MIT */
/* rival.c - see rival.h. */
#include "core/rival.h"

#include "core/cleanup.h"
#include "core/io.h"
#include "core/meta.h"
#include "core/owner.h"
#include "core/swap.h"
#include "core/twin.h"

#include <sys/file.h>
#include <time.h>

#define COMMITTED_S 60 /* so long after its last byte a value may be put in place */
#define RECENT_S    5  /* so long another mount may need to take a superseded form away */

dv_err dv_rival_lock(struct dv_store *s, struct dv_node *n, struct dv_file *f,
		     struct dv_file **locked)
{
	struct dv_place p;
	struct dv_found found;
	if (!dv_node_has_name(s, n))
		return 0;
	dv_err err = dv_lock_wait(s, f->fd, LOCK_EX, 0);
	if (err)
		return err;
	atomic_fetch_add(&f->refs, 1);
	*locked = f;
	err = dv_place_of(s, n, 0, &p, &(const char *){NULL});
	if (err)
		return err;
	err = dv_place_find_known(s, &p, &found);
	struct dv_ident id = dv_ident_of(&found.st);
	if (err == -ENOENT || (!err && !dv_ident_equal(&id, &n->id)))
		err = -ESTALE;
	dv_place_of_close(s, &p);
	return err ? err : dv_owners_dead_before(s, n);
}

void dv_rival_unlock(struct dv_store *s, struct dv_file **locked)
{
	if (*locked)
		dv_ignore(DV_B(s, flock, (*locked)->fd, LOCK_UN));
	dv_file_unref(s, *locked);
	*locked = NULL;
}

static bool is_later(struct timespec a, struct timespec b)
{
	return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec >= b.tv_nsec;
}

bool dv_rival_is_older(struct dv_store *s, const struct dv_node *n, const struct dv_place *p,
		       const struct dv_found *f, const struct dv_changed_at *mine)
{
	struct dv_tag tag;
	bool tagged = dv_tag_load(s, p->dirfd, f->stored, &f->st, &tag);
	if (!tagged || tag.st_ino != n->ino) {
		/* When it came by the name, or later; a packer keeps that. */
		return is_later(mine->backing, f->st.ctime);
	}
	/* Another mount's replacement came by the name when it was committed, which says nothing of
	 * when it was written; its mtime does, but where someone has set that. */
	if (tag.generation == n->generation)
		return true;
	if (!is_later(mine->backing, f->st.mtime))
		return false;
	struct timespec came = dv_tag_ctime(&tag, &f->st);
	if (!tag.has_ctime)
		return is_later(mine->here, tag.swapped);
	return came.tv_sec - f->st.mtime.tv_sec <= COMMITTED_S || is_later(mine->backing, came);
}

/* Did it get its name, or anything else, just now? */
static bool is_recent(const struct dv_stat *st)
{
	return dv_is_within(st->ctime, RECENT_S);
}

static bool has_raw_name(struct dv_store *s, const struct dv_node *n, const struct dv_place *p)
{
	const char *const names[] = {p->names.raw, p->names.aside};
	for (size_t i = 0; i < DV_ARRAY_LEN(names); i++) {
		struct dv_beside at = dv_rival_look(s, p, names[i]);
		if (at.there && dv_ident_equal(&at.id, &n->id))
			return true;
	}
	return false;
}

dv_err dv_rival_packs(struct dv_store *s, const struct dv_node *n, const struct dv_place *p,
		      bool patient)
{
	struct dv_stat st, raw;
	struct dv_tag tag;
	if (n->form != DV_FORM_RAW || !S_ISREG(n->type) || n->stage || n->job || n->loser ||
	    !p->names.packed[0] || DV_B(s, stat, p->dirfd, p->names.packed, &st) ||
	    !dv_tag_load(s, p->dirfd, p->names.packed, &st, &tag))
		return 0; /* mostly nothing is there; or a file of others, which stays */
	int fd = DV_B(s, open, p->dirfd, p->names.raw, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd == -ENOENT) /* the packer has come to its end, or is about to */
		return has_raw_name(s, n, p) ? 0 : -ESTALE;
	if (fd < 0)
		return 0;
	dv_err err = DV_B(s, flock, fd, LOCK_SH | LOCK_NB); /* a packer holds it exclusively */
	if (tag.st_ino != n->ino) { /* superseded: it goes when the raw name is durable */
		err = patient && DV_B(s, stat, fd, "", &raw) == 0 && is_recent(&raw) ? -EAGAIN : 0;
	} else if (err == -EWOULDBLOCK) {
		err = DV_ENDS_SOON;
	} else { /* since it was opened the packer may have taken it away, and have let go of it */
		err = has_raw_name(s, n, p) ? 0 : -ESTALE;
	}
	DV_B(s, close, fd);
	return err;
}

void dv_rival_drop_superseded(struct dv_store *s, const struct dv_node *n, const struct dv_place *p,
			      const struct dv_beside *packed)
{
	if (!packed->there || n->form != DV_FORM_RAW || !S_ISREG(n->type) || n->loser ||
	    !dv_twin_is_recorded(s, &packed->id, &n->id))
		return;
	dv_ignore(dv_unlink_form(s, p, p->names.packed, &packed->id,
				 false)); /* its owner does else */
}

/* ---- the other form ---- */

struct dv_beside dv_rival_look(struct dv_store *s, const struct dv_place *p, const char *stored)
{
	struct dv_stat st;
	struct dv_beside out = {0};
	dv_err err = stored[0] ? DV_B(s, stat, p->dirfd, stored, &st) : -ENOENT;
	out.unknown = err && err != -ENOENT;
	if (!err && S_ISREG(st.mode)) {
		out.there = true;
		out.id = dv_ident_of(&st);
	}
	return out;
}

bool dv_rival_came(struct dv_store *s, const struct dv_place *p, const char *stored,
		   const struct dv_beside *before, uint64_t ino, struct dv_stat *st)
{
	if (!stored[0] || before->unknown || DV_B(s, stat, p->dirfd, stored, st) ||
	    !S_ISREG(st->mode))
		return false;
	struct dv_ident id = dv_ident_of(st);
	return !(before->there && dv_ident_equal(&id, &before->id)) &&
	       dv_twin_ino(s, p->dirfd, stored, st) != ino;
}

bool dv_rival_is_raw_too(struct dv_store *s, const struct dv_place *p, uint64_t ino)
{
	const char *const names[] = {p->names.raw, p->names.aside};
	for (size_t i = 0; i < DV_ARRAY_LEN(names); i++) {
		struct dv_stat st;
		if (names[i][0] && DV_B(s, stat, p->dirfd, names[i], &st) == 0 &&
		    S_ISREG(st.mode) && dv_twin_ino(s, p->dirfd, names[i], &st) == ino)
			return true;
	}
	return false;
}

/* A raw file that a program has put there, or a rename: it is whole, and its maker does not take it back as
 * one does who commits (stage_publish.c), or who made it anew. */
static bool stays(struct dv_store *s, const struct dv_place *p, const char *stored,
		  const struct dv_stat *st)
{
	struct dv_tag tag;
	return st->size > 0 && !dv_tag_load(s, p->dirfd, stored, st, &tag);
}

dv_err dv_rival_settle(struct dv_store *s, const struct dv_place *p, const char *mine,
		       const struct dv_ident *id, uint64_t ino, const char *other,
		       const struct dv_beside *before)
{
	struct dv_stat st, own;
	if (!dv_rival_came(s, p, other, before, ino, &st))
		return 0;
	dv_err err = DV_B(s, stat, p->dirfd, mine, &own);
	if (err)
		return err == -ENOENT ? 0 : err; /* others are further than this */
	struct dv_ident now = dv_ident_of(&own), came = dv_ident_of(&st);
	bool packed = dv_place_kind(p, mine) == DV_LOOSE_PACKED;
	/* At the same tick raw is the value, whoever asks. */
	bool later = packed ? !is_later(st.ctime, own.ctime) : is_later(own.ctime, st.ctime);
	if (!dv_ident_equal(&now, id) || (!later && !(packed && stays(s, p, other, &st))))
		return 0;
	struct dv_loose_at at = dv_place_at(p);
	err = dv_loose_sync(s, &at, p->dirfd); /* I3 */
	if (!err)
		err = dv_unlink_form(s, p, later ? other : mine, later ? &came : id, false);
	return err == DV_IS_ANOTHER ? 0 : err;
}
