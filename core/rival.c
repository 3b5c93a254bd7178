/* SPDX-License-Identifier: MIT */
/* rival.c - see rival.h. */
#include "core/rival.h"

#include "core/io.h"
#include "core/meta.h"

#include <sys/file.h>
#include <time.h>

#define RECENT_S 5 /* so long another mount may need to take a superseded form away */

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
	err = dv_place_find(s, &p, &found);
	struct dv_ident id = dv_ident_of(&found.st);
	if (err == -ENOENT || (!err && !dv_ident_equal(&id, &n->id)))
		err = -ESTALE;
	dv_place_of_close(s, &p);
	return err;
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
	if (!dv_tag_load(s, p->dirfd, f->stored, &f->st, &tag) || tag.st_ino != n->ino)
		return is_later(mine->backing,
				f->st.ctime); /* when it came by the name, or later */
	/* Another mount's replacement came by the name when it was committed, which says nothing of
	 * when it was written. */
	return tag.generation == n->generation ||
	       (is_later(mine->backing, f->st.mtime) &&
		(tag.has_ctime || is_later(mine->here, tag.swapped)));
}

/* Did it get its name, or anything else, just now? */
static bool is_recent(const struct dv_stat *st)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec - st->ctime.tv_sec <= RECENT_S;
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
	if (fd < 0)
		return 0;
	dv_err err = DV_B(s, flock, fd, LOCK_SH | LOCK_NB); /* a packer holds it exclusively */
	if (tag.st_ino != n->ino) /* superseded: it goes when the raw name is durable */
		err = patient && DV_B(s, stat, fd, "", &raw) == 0 && is_recent(&raw) ? -EWOULDBLOCK
										     : 0;
	DV_B(s, close, fd);
	return err == -EWOULDBLOCK ? -EAGAIN : 0;
}
