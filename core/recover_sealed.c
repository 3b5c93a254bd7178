/* SPDX-License-Identifier: MIT */
/*
 * recover_sealed.c - stages of a layout whose values are compressed in their one file
 * (stage_sealed.c). The stage file ID holds plain bytes, whatever the record's type. STREAM says that
 * ID.z was about to take the old object's place; so does, where recovery did it, that the stage file
 * is called ID.p. Then, and only then, what lies there without an ID.z beside is what ID.z was; so it is
 * where ID.z is the old object by now, or what others had put in its place.
 */
#include "core/io.h"
#include "core/journal.h"
#include "core/meta.h"
#include "core/recover_private.h"
#include "core/sealed.h"
#include "core/swap.h"
#include "core/tail.h"

#include <string.h>

#define PUBLISHING ".p"
#define NAME_BYTES (DV_TAIL_NAME + 2)

/* The stage file of r, under either of its names, which is put into name. -> descriptor */
static int open_stage(struct adoption *a, const struct dv_record *r, char name[NAME_BYTES])
{
	dv_journal_stage_name(r->id, name);
	int fd = DV_B(a->s, open, a->dirfd, name, O_RDWR | O_NOFOLLOW, 0);
	if (fd != -ENOENT)
		return fd;
	strcat(name, PUBLISHING);
	return DV_B(a->s, open, a->dirfd, name, O_RDWR | O_NOFOLLOW, 0);
}

static bool is_publishing(const char *name)
{
	return strstr(name, PUBLISHING);
}

/* stage: its name, which becomes ID.p. */
static dv_err publish(struct adoption *a, const struct dv_record *r, const struct target *t,
		      int from, char stage[NAME_BYTES])
{
	struct dv_store *s = a->s;
	struct dv_tag old, tag = {.st_ino = r->st_ino};
	struct dv_loose_at at = dv_place_at(&t->p);
	struct dv_dir_times times;
	struct dv_stat st;
	char name[DV_TAIL_NAME], was[NAME_BYTES];
	int fd = -1;
	dv_tail_packed_name(r->id, name);
	if (dv_recover_stat(a, from, "", &st) == 0 && dv_tag_load_fd(s, from, &st, &old)) {
		tag.generation = old.generation;
		tag.swapped = old.swapped;
	}
	dv_err err = dv_sealed_make(s, from, a->dirfd, name, &tag, &fd); /* I2 */
	if (err)
		return err;
	DV_B(s, close, fd);
	if (!is_publishing(stage)) {
		strcpy(was, stage);
		strcat(stage, PUBLISHING);
		err = dv_recover_rename(a, a->dirfd, was, a->dirfd, stage, 0);
		if (err) {
			strcpy(stage, was);
			return err;
		}
	}
	err = DV_B(s, fsync, a->dirfd); /* I4 */
	if (err)
		return err;
	dv_dir_times_keep(s, &t->p, &times);
	err = dv_recover_take_place(a, name, t->p.dirfd, t->p.names.packed, &r->packed);
	dv_dir_times_restore(s, &times);
	if (err == -EEXIST)
		return dv_recover_put_aside(a, a->dirfd, name, t->p.names.packed,
					    "the value was replaced while no mount was there");
	return err ? err : dv_loose_sync(s, &at, t->p.dirfd);
}

/* Has ID.z come by its place? */
static bool was_published(struct adoption *a, const struct dv_record *r, const char *stage)
{
	char name[DV_TAIL_NAME];
	struct dv_stat st;
	dv_tail_packed_name(r->id, name);
	return (r->type == DV_RECORD_STREAM || is_publishing(stage)) &&
	       dv_recover_stat(a, a->dirfd, name, &st) == -ENOENT;
}

/* The daemon died between the exchange and what follows it: what came to the owner folder goes. */
static dv_err end_exchange(struct adoption *a, const struct dv_record *r, const struct target *t)
{
	char name[DV_TAIL_NAME];
	dv_tail_packed_name(r->id, name);
	if (!(r->flags & DV_RECORD_OLD_PACKED))
		return 0;
	switch (dv_recover_what_lies(a, r, t, name)) {
	case DV_STAGE_OLD_OBJECT:
		return dv_recover_unlink(a, a->dirfd, name);
	case DV_STAGE_OF_OTHERS:
		return dv_recover_put_aside(a, a->dirfd, name, t->p.names.packed,
					    "it came while the value was replaced here too");
	case DV_STAGE_FILE:
		break;
	}
	return 0;
}

dv_err dv_recover_sealed(struct adoption *a, const struct dv_record *r, const struct target *t)
{
	struct dv_store *s = a->s;
	struct dv_stat old;
	char stage[NAME_BYTES];
	int fd = open_stage(a, r, stage);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	bool there = dv_recover_is_object(a, &t->p, t->p.names.packed, &r->packed, &old);
	dv_err err = end_exchange(a, r, t);
	if (err) {
		DV_B(s, close, fd);
		return err;
	}
	if (dv_recover_is_whole(a, r) && there) {
		err = old.nlink > 1 || (r->flags & DV_RECORD_IN_PLACE)
			      ? dv_recover_rewrite(a, r, t, fd, t->p.names.packed)
			      : publish(a, r, t, fd, stage);
	} else if (dv_recover_is_whole(a, r) && !was_published(a, r, stage)) {
		DV_B(s, close, fd);
		return dv_recover_put_aside(a, a->dirfd, stage, t->name,
					    "the value was replaced while no mount was there");
	}
	DV_B(s, close, fd);
	return err ? err : dv_recover_unlink(a, a->dirfd, stage); /* I6 where it is not whole */
}
