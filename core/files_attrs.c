/* SPDX-License-Identifier: MIT */
/*
 * files_attrs.c - owner, mode and times of nodes, in their files and stages. Of a value whose mtime is set the
 * sizes that its tag knows stay known. Was the mtime that a driver keeps bytes by the one of these bytes?
 */
#include "core/files_private.h"
#include "core/io.h"
#include "core/meta.h"
#include "core/pack.h"
#include "core/packed.h"
#include "core/value.h"

static void times_of(const struct dv_setattr *set, struct timespec times[2])
{
	const struct timespec omit = {.tv_nsec = UTIME_OMIT};
	times[0] = set->valid & DV_SET_ATIME ? set->atime : omit;
	times[1] = set->valid & DV_SET_MTIME ? set->mtime : omit;
}

static dv_err set_on(struct dv_store *s, int fd, const struct dv_setattr *set)
{
	dv_err err = 0;
	if (set->valid & (DV_SET_UID | DV_SET_GID))
		err = DV_B(s, chown, fd, set->valid & DV_SET_UID ? set->uid : (uid_t)-1,
			   set->valid & DV_SET_GID ? set->gid : (gid_t)-1);
	if (!err && (set->valid & DV_SET_MODE))
		err = DV_B(s, chmod, fd, set->mode & 07777);
	if (!err && (set->valid & (DV_SET_ATIME | DV_SET_MTIME))) {
		struct timespec times[2];
		times_of(set, times);
		err = DV_B(s, utimens, fd, times);
	}
	return err;
}

static dv_err set_on_stage(struct dv_store *s, struct dv_node *n, const struct dv_setattr *set)
{
	struct timespec times[2];
	dv_err err = set_on(s, dv_stage_fd(n->stage), set);
	if (!err)
		dv_stage_attrs_set(s, n);
	times_of(set, times);
	if (!err && (set->valid & (DV_SET_ATIME | DV_SET_MTIME)))
		err = dv_stage_set_times(s, n, times);
	return err;
}

static bool sizes_in_tag(struct dv_store *s, struct dv_node *n, int fd, struct dv_tag *tag)
{
	struct dv_stat st;
	return n->form == DV_FORM_PACKED && DV_B(s, stat, fd, "", &st) == 0 &&
	       dv_tag_load_fd(s, fd, &st, tag) && tag->has_size;
}

/* The mtime is another by our doing, the bytes are what they were: the tag's sizes go with it, or
 * each first stat would read the frames. */
static void keep_sizes(struct dv_store *s, int fd, struct dv_tag *tag)
{
	struct dv_stat st;
	if (DV_B(s, stat, fd, "", &st))
		return;
	struct dv_ident id = dv_ident_of(&st);
	tag->mtime = st.mtime;
	tag->has_ctime = false;
	dv_tag_store(s, fd, &id, tag);
}

/* Where no tag tells the sizes either: the frames are read before, since that moves the atime. */
static void keep_facts(struct dv_store *s, struct dv_node *n, int fd, struct dv_facts *facts)
{
	struct dv_stat st;
	if (DV_B(s, stat, fd, "", &st))
		return;
	facts->version = dv_version_of(&st);
	dv_facts_set(s, n, facts);
}

/* The attributes of n are about to change, and its mtime perhaps: are the bytes those that were told of? */
static void look_if_told(struct dv_store *s, struct dv_node *n, int fd)
{
	struct dv_stat st;
	if (!S_ISREG(n->type))
		return;
	bool known = !n->stage && DV_B(s, stat, fd, "", &st) == 0;
	if (known)
		st.ctime = dv_shown_ctime(n, &st);
	if (!known || (dv_told_mark(&st) | DV_TOLD_KEPT) != atomic_load(&n->told))
		dv_told_ends(n);
}

void dv_look_again(struct dv_node *n, const struct dv_setattr *set, const struct dv_stat *st)
{
	if (!(set->valid & (DV_SET_SIZE | DV_SET_MTIME)) &&
	    DV_TOLD_MTIME(dv_told_mark(st)) != DV_TOLD_MTIME(atomic_load(&n->told)))
		dv_told_ends(n);
}

/* On the old object, fd, beside which a stage is; *set: with the mtime that both get. */
static dv_err set_on_old(struct dv_store *s, struct dv_node *n, int fd, struct dv_setattr *set)
{
	struct timespec was;
	if (n->form != DV_FORM_RAW || !(set->valid & DV_SET_MTIME))
		return set_on(s, fd, set);
	dv_err err = dv_stage_mtime_first(s, n, &set->mtime, &was);
	if (err)
		return err;
	err = set_on(s, fd, set);
	if (err)
		dv_ignore(dv_stage_mtime_first(s, n, &was, &set->mtime)); /* only a time */
	else
		dv_stage_mtime_set(s, n, fd);
	return err;
}

dv_err dv_set_others(struct dv_store *s, struct dv_node *n, const struct dv_setattr *given,
		     bool nowait)
{
	struct dv_file *f = NULL;
	struct dv_setattr both = *given, *set = &both;
	dv_err err = dv_value_handle(s, n, &f);
	if (err == -ESTALE && n->stage) { /* replaced by others: the stage is all there is */
		look_if_told(s, n, -1);
		n->writes++;
		return set_on_stage(s, n, set);
	}
	if (err)
		return err;
	dv_pack_cancel(s, n);
	look_if_told(s, n, f->fd);
	struct dv_tag tag;
	bool sized = (set->valid & DV_SET_MTIME) && sizes_in_tag(s, n, f->fd, &tag);
	struct dv_facts facts;
	bool known = (set->valid & DV_SET_ATIME) && !sized && n->form == DV_FORM_PACKED;
	if (known) {
		err = dv_packed_facts(s, n, f, nowait, &facts);
		known = !err;
	}
	if (err != -EAGAIN)
		err = n->stage ? set_on_old(s, n, f->fd, set) : set_on(s, f->fd, set);
	if (!err && sized)
		keep_sizes(s, f->fd, &tag);
	if (!err)
		dv_forget_kept_ctime(s, n);
	if (!err && known) /* last: what moves the ctime makes them void */
		keep_facts(s, n, f->fd, &facts);
	dv_file_unref(s, f);
	if (err == -EAGAIN)
		return err;
	/* The stage gets the same, so that the value has it after the commit. */
	if (!err && n->stage)
		err = set_on_stage(s, n, set);
	n->writes++;
	return err;
}
