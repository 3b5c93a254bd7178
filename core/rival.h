/* SPDX-License-Identifier: MIT */
/*
 * rival.h - other mounts of the same store, and programs in it, that change a value at the same
 * time.
 *
 *   both write a raw value in place   each holds a shared flock on it; so does no packer
 *   both edit a packed value          one has the exclusive flock, the other waits and finds it raw
 *   one packs, the other renames     the name waits until one form is left
 *   both replace a value              what was written last is the value; the other one is put
 *                                     aside
 */
#ifndef DV_RIVAL_H
#define DV_RIVAL_H

#include "core/internal.h"
#include "core/place.h"

/* -EAGAIN, but that others come to an end by themselves: it may be waited for longer (ops.h). */
#define DV_ENDS_SOON (-EALREADY)

/*
 * n's packed object, open as f, is edited by nobody else until dv_rival_unlock(). What another
 * mount would write meanwhile to a stage of its own would have no place. *locked gets a reference;
 * set after an error too. -EAGAIN: another mount edits it; -ESTALE: has edited it, or replaced it.
 */
DV_CHECK dv_err dv_rival_lock(struct dv_store *s, struct dv_node *n, struct dv_file *f,
			      struct dv_file **locked);
void dv_rival_unlock(struct dv_store *s, struct dv_file **locked); /* *locked may be NULL */

/* When a stage was changed last, by the clock of this machine and by that of its filesystem, which
 * is coarser and may be another. */
struct dv_changed_at {
	struct timespec here, backing;
};

/*
 * Others have put f in the place of n's value, of which newer bytes were written here, at `mine`
 * the last. Is f older than those, or n's own value in another form?
 */
bool dv_rival_is_older(struct dv_store *s, const struct dv_node *n, const struct dv_place *p,
		       const struct dv_found *f, const struct dv_changed_at *mine);

/*
 * Is a packed form that a mount made beside n's raw one, which lies at p? Either another mount
 * packs the value, and has not taken the raw form away yet; or one has renamed the raw one over a
 * packed value, which goes soon. Whoever renames or removes only the raw one would leave the other,
 * or take it for another program's. DV_ENDS_SOON: a packer's end is to be waited for, without a gate.
 * -EAGAIN: that of a superseded form, only while the caller is patient, since a program in the store may have
 * put the raw one there. -ESTALE: the raw one is gone. n's gate.
 */
DV_CHECK dv_err dv_rival_packs(struct dv_store *s, const struct dv_node *n,
			       const struct dv_place *p, bool patient);

struct dv_beside;

/*
 * n's raw object at p has just lost its name, beside `packed`. Where it had superseded that, it goes too, though
 * another mount is to take it away, who may be killed first: then it would be the value again. Gates of n and of
 * p's directory.
 */
void dv_rival_drop_superseded(struct dv_store *s, const struct dv_node *n, const struct dv_place *p,
			      const struct dv_beside *packed);

/*
 * A name was made or taken, and another form of it came at the same moment: by one who had looked before, as
 * this caller had. Both forms would stay, and raw would hide what may be newer. So who makes a form looks at
 * the other one before and after: of two, the one whose name came later is the value, and its maker, who
 * sees the other one, takes that away. Nobody takes away what came after his own, but in one case (below):
 * its maker may be about to take it back, and nothing would be left.
 */
struct dv_beside {
	bool there;
	bool unknown; /* it could not be looked at: nothing that is there later is taken for new */
	struct dv_ident id;
};

/* What is at `stored` of p, a regular file. */
struct dv_beside dv_rival_look(struct dv_store *s, const struct dv_place *p, const char *stored);

/* Is what is at `stored` another one than before, and no form of what shows ino? Where it is: st. */
bool dv_rival_came(struct dv_store *s, const struct dv_place *p, const char *stored,
		   const struct dv_beside *before, uint64_t ino, struct dv_stat *st);

/* Is there a raw form that another mount has made of the packed value that showed ino? */
bool dv_rival_is_raw_too(struct dv_store *s, const struct dv_place *p, uint64_t ino);

/*
 * `mine`, which is object id and shows ino, was just given its name at p; `other` is the name of the other
 * form, and `before` what was there. What came there since, but before mine, goes. What came later stays,
 * and its maker sees mine; where that is a program's raw file, which looks at nothing, mine goes. Directory
 * gate of p.
 */
DV_CHECK dv_err dv_rival_settle(struct dv_store *s, const struct dv_place *p, const char *mine,
				const struct dv_ident *id, uint64_t ino, const char *other,
				const struct dv_beside *before);

#endif
