/* SPDX-License-Identifier: MIT */
/* recover_private.h - what the files of the module recover share. */
#ifndef DV_RECOVER_PRIVATE_H
#define DV_RECOVER_PRIVATE_H

#include "core/place.h"
#include "core/record.h"
#include "core/recover.h"

struct dv_open_record;

struct adoption {
	struct dv_store *s;
	int dirfd;		     /* of the dead owner's folder */
	bool same_boot;		     /* what was written is in the files, synced or not */
	dv_err err;		     /* first */
	struct dv_open_record *open; /* of its log */
	dv_err unsure; /* first stat of this record's work that failed: what is there is not known */
};

/*
 * -ENOENT: it is not there. Any other error is remembered, and nothing is moved or removed any more for this
 * record: it stays, and the next mount tries again.
 */
dv_err dv_recover_stat(struct adoption *a, int dirfd, const char *name, struct dv_stat *st);
/* As dv_put_aside() and the calls of the backing; not where anything is not known. */
DV_CHECK dv_err dv_recover_rename(struct adoption *a, int from_fd, const char *from, int to_fd,
				  const char *to, unsigned flags);
DV_CHECK dv_err dv_recover_unlink(struct adoption *a, int dirfd, const char *name);
DV_CHECK dv_err dv_recover_put_aside(struct adoption *a, int dirfd, const char *name,
				     const char *key, const char *why);

/* The place and what is found there of a record's path. Every component is looked up as the mount
 * does. */
struct target {
	struct dv_node *dir;
	struct dv_place p;
	char name[DV_NAME_MAX + 1];
};

/* The path of a record, which is not terminated there, on the heap. */
char *dv_record_path(const struct dv_record *r);
/* Is the object at stored the one of the record? Device numbers change over a reboot and are not
 * compared. */
bool dv_recover_is_object(struct adoption *a, const struct dv_place *p, const char *stored,
			  const struct dv_ident *id, struct dv_stat *st);
/* Raw, aside or of another type: where the record's winner or raw object lies, or NULL. */
const char *dv_recover_find_raw(struct adoption *a, const struct dv_place *p,
				const struct dv_ident *id, struct dv_stat *st);
/* Does the stage of r hold what was acknowledged? */
bool dv_recover_is_whole(const struct adoption *a, const struct dv_record *r);
/*
 * What lies under the name of the file by which r's stage takes its place: a commit exchanges it with the
 * old object, which is then unlinked, and brings back what it finds there instead (stage_publish.c).
 */
enum dv_stage_file { DV_STAGE_FILE, DV_STAGE_OLD_OBJECT, DV_STAGE_OF_OTHERS };
enum dv_stage_file dv_recover_what_lies(struct adoption *a, const struct dv_record *r,
					const struct target *t, const char *name);
/* Its bytes, where it has any, and its name. */
DV_CHECK dv_err dv_recover_sync(struct adoption *a, const struct dv_place *p, const char *stored);
/* The directory's mtime stays. */
DV_CHECK dv_err dv_recover_unlink_form(struct adoption *a, const struct dv_place *p,
				       const char *stored);

/*
 * `name` of the owner folder gets the name `stored` in dirfd, in place of the object `old`, which is unlinked.
 * -EEXIST: another one came there meanwhile, or none is there any more; nothing has changed. After another error
 * `name` may have a mark (exchange.h).
 */
DV_CHECK dv_err dv_recover_take_place(struct adoption *a, const char *name, int dirfd,
				      const char *stored, const struct dv_ident *old);

/* from is copied over the packed object at stored, which keeps its links and attributes. */
DV_CHECK dv_err dv_recover_rewrite(struct adoption *a, const struct dv_record *r,
				   const struct target *t, int from, const char *stored);

/* Files whose names tell with what they were exchanged (exchange.h) get those that their records know. */
DV_CHECK dv_err dv_recover_exchanged(struct adoption *a);
/* A file that no record speaks of is about to be unlinked: to lost/ where its name tells that it is not ours. */
DV_CHECK dv_err dv_recover_keep_of_others(struct adoption *a, const char *name);

/* A raw or aside name with what shows the record's number, or NULL. */
const char *dv_recover_find_same_value(struct adoption *a, const struct target *t,
				       const struct dv_record *r);
DV_CHECK dv_err dv_recover_swap(struct adoption *a, const struct dv_record *r,
				const struct target *t);

/* Is the raw object of a STAGE or STREAM as it was when that was begun? Then nobody has written to it, whatever the
 * clock was set to between. */
bool dv_recover_is_as_begun(const struct dv_record *r, const struct dv_stat *raw);
/* One that is one file, `stage`. */
DV_CHECK dv_err dv_recover_stage(struct adoption *a, const struct dv_record *r,
				 const struct target *t, const char *stage);

/* A stage of a value whose one file is compressed (sealed.h). */
DV_CHECK dv_err dv_recover_sealed(struct adoption *a, const struct dv_record *r,
				  const struct target *t);

/* Stages in two parts (tail.h). */
DV_CHECK dv_err dv_recover_stream(struct adoption *a, const struct dv_record *r,
				  const struct target *t);
DV_CHECK dv_err dv_recover_tail(struct adoption *a, const struct dv_record *r,
				const struct target *t);
/* All files of record r to lost/, where they hold what was acknowledged. */
DV_CHECK dv_err dv_recover_put_parts_aside(struct adoption *a, const struct dv_record *r,
					   const char *key, const char *why);

#endif
