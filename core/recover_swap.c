/* SPDX-License-Identifier: MIT */
/* recover_swap.c - values of which a dead owner has left two forms, raw and packed. */
#include "core/recover_private.h"

#include "core/io.h"
#include "core/meta.h"
#include "core/pending.h"
#include "core/swap.h"
#include "core/twin.h"
#include "core/withdraw.h"

#include <stdio.h>

/* The raw file may have been on its way out: it may be another, or newer, and then goes back. */
static dv_err recover_withdrawal(struct adoption *a, const struct dv_record *r,
				 const struct target *t)
{
	struct dv_store *s = a->s;
	struct dv_stat st;
	const char *raw = t->p.names.raw;
	bool checks = r->flags & (DV_RECORD_CHECK_RAW | DV_RECORD_RAW_IS_HEAD);
	if (!(r->flags & DV_RECORD_PACKED_WINS))
		return 0;
	struct dv_withdrawal w = {.dirfd = a->dirfd,
				  .id = r->id,
				  .object = r->raw,
				  .packed = r->packed,
				  .version = r->raw_version,
				  .any_version = !a->same_boot || !checks};
	if (t->p.names.aside[0] && dv_recover_stat(a, t->p.dirfd, raw, &st) == 0 &&
	    S_ISDIR(st.mode))
		raw = t->p.names.aside;
	return a->unsure ? a->unsure : dv_withdraw_again(s, &t->p, raw, &w);
}

static dv_err put_packed_aside(struct adoption *a, const struct target *t, const char *why)
{
	char key[DV_NAME_MAX + 8];
	snprintf(key, sizeof(key), "%s.zst", t->name);
	return dv_recover_put_aside(a, t->p.dirfd, t->p.names.packed, key, why);
}

/* The forms of a value that two mounts replaced at the same time, of which one was killed before he had
 * seen the other's. */
struct rivals {
	const char *raw_name;
	struct dv_stat raw, packed;
	struct dv_tag raw_tag, packed_tag;
};

/* Are raw_name and the packed form two different values of that number? The power may leave an earlier one,
 * or bring one back: then nothing is known of them. */
static bool are_rivals(struct adoption *a, const struct dv_record *r, const struct target *t,
		       const char *raw_name, struct rivals *out)
{
	struct dv_store *s = a->s;
	const char *packed = t->p.names.packed;
	out->raw_name = raw_name;
	return a->same_boot && packed[0] &&
	       dv_recover_stat(a, t->p.dirfd, raw_name, &out->raw) == 0 &&
	       dv_recover_stat(a, t->p.dirfd, packed, &out->packed) == 0 &&
	       dv_tag_load(s, t->p.dirfd, raw_name, &out->raw, &out->raw_tag) &&
	       dv_tag_load(s, t->p.dirfd, packed, &out->packed, &out->packed_tag) &&
	       out->raw_tag.st_ino == r->st_ino && out->packed_tag.st_ino == r->st_ino &&
	       out->raw_tag.generation != out->packed_tag.generation;
}

#define RIVAL "the value was replaced by another mount at the same time"

/*
 * r is that of the raw one, which was put beside a packed object that is there no more: as its maker would
 * have, had he lived, it gives way to what came later than its last byte. An edit is of what is gone.
 */
static dv_err settle_rivals(struct adoption *a, const struct dv_record *r, const struct target *t,
			    const struct rivals *v)
{
	struct timespec came = dv_tag_ctime(&v->packed_tag, &v->packed);
	if (r->raw_version.ctime_ns && dv_time_ns(came) <= r->raw_version.ctime_ns)
		return put_packed_aside(a, t, RIVAL);
	return dv_recover_put_aside(a, t->p.dirfd, v->raw_name, t->name, RIVAL);
}

/* r is that of the packed one, which was made of another raw object than lies there. Did that come later,
 * and is there no record that decides? */
static bool is_of_rival(struct adoption *a, const struct dv_record *r, const struct rivals *v)
{
	struct dv_ident packed = dv_ident_of(&v->packed);
	return dv_time_ns(v->raw.mtime) > r->raw_version.ctime_ns &&
	       !dv_twin_is_recorded(a->s, &packed, NULL);
}

/* Does a later record of the log tell of these two forms, or of the packed one alone, which is not the one of r? */
static bool others_tell(const struct adoption *a, const struct dv_record *r,
			const struct dv_ident *packed)
{
	bool of_r = dv_ident_same_file(packed, &r->packed);
	for (const struct dv_open_record *o = a->open; o; o = o->hh.next)
		if (o->r.type == DV_RECORD_SWAP && o->r.id > r->id &&
		    dv_ident_same_file(&o->r.packed, packed) &&
		    (!of_r || dv_ident_same_file(&o->r.raw, &r->raw)))
			return true;
	return false;
}

dv_err dv_recover_swap(struct adoption *a, const struct dv_record *r, const struct target *t)
{
	struct dv_stat raw, packed;
	struct rivals rivals;
	dv_err err = recover_withdrawal(a, r, t);
	if (err)
		return err;
	const char *raw_name = dv_recover_find_raw(a, &t->p, &r->raw, &raw);
	bool same = raw_name;
	if (!dv_recover_is_object(a, &t->p, t->p.names.packed, &r->packed, &packed)) {
		/* It was finished, or never begun. */
		bool beside = same && !(r->flags & DV_RECORD_PACKED_WINS);
		if (!beside || !are_rivals(a, r, t, raw_name, &rivals))
			return 0;
		struct dv_ident other = dv_ident_of(&rivals.packed);
		return others_tell(a, r, &other) ? 0 : settle_rivals(a, r, t, &rivals);
	}
	if (others_tell(a, r, &r->packed))
		return 0;
	if (!same)
		raw_name = dv_recover_find_same_value(a, t, r);
	if (!raw_name)
		return 0;
	if (!same && (r->flags & DV_RECORD_PACKED_WINS) && are_rivals(a, r, t, raw_name, &rivals))
		return is_of_rival(a, r, &rivals) ? put_packed_aside(a, t, RIVAL) : 0;
	bool packed_wins = same && (r->flags & DV_RECORD_PACKED_WINS);
	if (packed_wins && (r->flags & DV_RECORD_CHECK_RAW)) {
		struct dv_version v = dv_version_of(&raw);
		packed_wins = dv_version_equal(&v, &r->raw_version);
	}
	if (packed_wins && (r->flags & DV_RECORD_RAW_IS_HEAD) && a->same_boot &&
	    (raw.size != r->raw_version.size || dv_time_ns(raw.mtime) != r->raw_version.mtime_ns))
		return put_packed_aside(
			a, t,
			"its first bytes were changed in the store while it was being written");
	const char *winner = packed_wins ? t->p.names.packed : raw_name;
	const char *loser = packed_wins ? raw_name : t->p.names.packed;
	err = dv_recover_sync(a, &t->p, winner); /* I3 */
	return err ? err : dv_recover_unlink_form(a, &t->p, loser);
}
