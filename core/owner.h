/* SPDX-License-Identifier: MIT */
/*
 * owner.h - who has the store open: the owner file of each folder in .diskvfs/stage, and whether
 * its owner lives.
 *
 *   boot=        id of the kernel's run         since=     when it was opened, seconds since 1970
 *   host=        machine id                     shared=    1: opened with `shared`
 *   name=        host name, for people          beat_ms=   how often it touches the file, 0 never
 *   pid=         process                        mountpoint=
 *
 * On one kernel a lock tells: the owner holds a flock on its file, and one on its folder, which
 * only dv_owner_is_here() asks for, so that asking never looks like a living owner to who recovers.
 *
 * Between kernels no lock is trusted. An owner touches its file every beat; one whose file was
 * touched less than three beats ago, by the clock of the backing, lives. One whose file is older,
 * or has a time to come, is watched for a beat and a half: clocks may differ, and who does not
 * touch it meanwhile is gone. What this machine left before it was started anew is gone too.
 *
 * A dead owner's folder is taken by renaming it to OWNER.by-ADOPTER: exactly one can.
 *
 * Threads   dv_owner_* from any thread; the beat has a thread of its own.
 */
#ifndef DV_OWNER_H
#define DV_OWNER_H

#include "core/internal.h"

#define DV_STAGE_DIR	  DV_CONTROL_DIR "/stage"
#define DV_OWNER_MAX	  8192 /* bytes of an owner file */
#define DV_OWNER_NAME_MAX 128  /* of a folder, adopter and all */
#define DV_OWNERS_MAX	  4096 /* folders looked at */
#define DV_BEATS_DEAD	  3

/* Which run of the kernel this is, and on which machine. Tests say so themselves. */
void dv_owner_identify(struct dv_store *s);

/* Writes the owner file of the folder dirfd and locks both. -> the file's descriptor. */
DV_CHECK int dv_owner_write(struct dv_store *s, int dirfd);

/* Text of an owner file: "name=value" lines. value is cut to size. -ENOENT: no such line. */
DV_CHECK dv_err dv_owner_field(const char *text, const char *name, char *value, size_t size);

/* Does the owner of the folder dirfd live, on this kernel? *text gets its file. */
bool dv_owner_is_here(struct dv_store *s, int dirfd, char text[DV_OWNER_MAX + 1]);

enum dv_owner_state {
	DV_OWNER_LOCK_TELLS, /* of this kernel: dv_owner_take() tells */
	DV_OWNER_GONE,	     /* of another run of the kernel, and dead */
	DV_OWNER_ELSEWHERE,  /* lives on another machine */
	DV_OWNER_SUSPECT,    /* ..or is dead: to be watched. Not after dv_owners_find() */
};

struct dv_owner {
	char folder[DV_OWNER_NAME_MAX];
	char host[256]; /* its name */
	char since[32]; /* seconds since 1970 */
	int64_t age_ms; /* since its last beat, by the clock of the backing */
	int64_t beat_ms;
	struct timespec beat;
	bool shared;
	enum dv_owner_state state;
};

struct dv_owners {
	struct dv_owner *at;
	size_t count, room;
};

/*
 * All owners but this process. May wait for a beat and a half of one that has not been heard of.
 * watch: false takes those for dead.
 */
DV_CHECK dv_err dv_owners_find(struct dv_store *s, int stagefd, bool watch, struct dv_owners *out);
void dv_owners_release(struct dv_owners *o);

/* Is there a folder of another owner, or can it not be told? Whether that one lives is not asked. */
bool dv_owners_beside(struct dv_store *s);

/*
 * -EAGAIN: on this kernel an owner is dead, or dying, or another mount is finishing its work, which is to
 * come first (recover.h). To be asked once a lock is held that a living owner would hold while he has work
 * pending on the file. 0: there is none, or what there is could not be finished before.
 * which: a hash of the names of all those; 0: there is none.
 */
DV_CHECK dv_err dv_owners_dead(struct dv_store *s, uint64_t *which);
/*
 * The same, where n's bytes are about to be changed: whatever the dead had pending on n, a replacement too, is n's
 * value then (dv_value_refresh), since the change comes after it.
 */
DV_CHECK dv_err dv_owners_dead_before(struct dv_store *s, struct dv_node *n);
/* Of just these dv_owners_dead() does not tell again. */
void dv_owners_leave_dead(struct dv_store *s, uint64_t which);

/* -EBUSY: another machine has the store open, and not both share it; why[] says who and what to
 * do. */
DV_CHECK dv_err dv_owners_check(struct dv_store *s, const struct dv_owners *o, char *why,
				size_t why_size);

/*
 * Takes the folder of a dead owner, and waits for another mount that is taking it. *lock_fd keeps
 * others away until it is closed, *same_boot: killed, and the kernel goes on. -EWOULDBLOCK: its
 * owner lives; -ENOENT: it has no owner file; -ESTALE: others have taken it, and perhaps died over
 * it.
 */
DV_CHECK dv_err dv_owner_take(struct dv_store *s, int stagefd, int dirfd, struct dv_owner *owner,
			      int *lock_fd, bool *same_boot);

/* Starts and ends the thread that beats; without a beat in the options it does nothing. */
DV_CHECK dv_err dv_beat_start(struct dv_store *s);
void dv_beat_stop(struct dv_store *s);
/* -EIO: this process was taken for dead (it was stopped, or its machine slept), and its folder by
 * others. */
DV_CHECK dv_err dv_beat_check(struct dv_store *s);

#endif
