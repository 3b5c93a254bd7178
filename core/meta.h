/* SPDX-License-Identifier: MIT */
/*
 * meta.h - attributes of stored files: the inode number shown, the tag that keeps it, copies at a
 * swap.
 *
 * The inode number shown (st_ino) is a hash of the backing's inode number and birth time. A swap
 * puts another object in a value's place: the tag, the extended attribute user.diskvfs of the new
 * object, keeps what was shown before.
 *
 *   tag   u8 version 1 | u8 flags | u16 generation | u32 fold of mtime | u64 st_ino
 *         u64 own inode number | u64 plain size | u56 stored size | u8 times unpacked
 *         u64 own birth time | u64 ctime shown | u64 time of the swap
 *         (times in ns since 1970; little endian)
 *
 * The generation is another after each replacement: an object with the same st_ino and generation
 * holds the same value in another form, perhaps edited; with another generation, other bytes.
 *
 * A tag is void on a copy of the file (own number or birth time differ). Its ctime is shown as long as the
 * object's own ctime is not later than the swap by more than DV_TAG_SLACK_S, and, of a raw file, stored size
 * and mtime are the same; its plain size holds as long as these are. Nothing in a tag is needed to read a
 * value.
 */
#ifndef DV_META_H
#define DV_META_H

#include "core/internal.h"

#define DV_TAG_NAME    "user.diskvfs"
#define DV_TAG_SLACK_S 10

struct dv_tag {
	uint64_t st_ino, plain_size, stored_size;
	uint16_t generation;
	bool has_size, has_ctime;
	bool single;   /* one frame, no seek table */
	bool stream;   /* read from its start only (foreign.h) */
	bool anew;     /* packed by `pack --level` (sweep_private.h) */
	bool unpacked; /* of a raw file: it is to stay so, as long as stored_size and mtime hold */
	uint8_t unpacks; /* times that the value had to be unpacked, at most DV_UNPACKS_MAX */
	struct timespec ctime,
		swapped;       /* without has_ctime: of a replacement, when it was written */
	struct timespec mtime; /* of the file that has plain_size */
	bool open_end;	       /* bytes are being added: frames are good as far as they go, behind
				  them may be anything */
};

/* What st_ino an object without a tag shows. Never 0 or 1. */
uint64_t dv_meta_ino(const struct dv_ident *id);

/* Reads the tag of (dirfd, name), which is the object st. false: none, void or unreadable. */
bool dv_tag_load(struct dv_store *s, int dirfd, const char *name, const struct dv_stat *st,
		 struct dv_tag *out);
/* The same of a descriptor. */
bool dv_tag_load_fd(struct dv_store *s, int fd, const struct dv_stat *st, struct dv_tag *out);
/* Writes the tag of fd, which is the object id. Not to be had where the backing keeps no user
 * attributes: then nothing happens. */
void dv_tag_store(struct dv_store *s, int fd, const struct dv_ident *id, const struct dv_tag *tag);
/* fd's bytes are about to be written over in place: its tag keeps the inode number only. */
DV_CHECK dv_err dv_tag_strip(struct dv_store *s, int fd);
/* The ctime to show for st. */
struct timespec dv_tag_ctime(const struct dv_tag *tag, const struct dv_stat *st);

/*
 * Gives `to` the owner, mode, ACLs and extended attributes (but the tag) of `from`, whose state is
 * st. -EPERM and the like where that can not be: the caller leaves the value in its form.
 */
DV_CHECK dv_err dv_meta_copy(struct dv_store *s, int from, const struct dv_stat *st, int to);

/* After a change by a caller who may not set them: clears suid, and sgid unless it is a mere mark
 * of the caller's own group. */
DV_CHECK dv_err dv_meta_kill_suid(struct dv_store *s, int fd, const struct dv_call *call);
/* The same after an access ACL was set: sgid goes where the caller is no member of the group. */
DV_CHECK dv_err dv_meta_acl_set(struct dv_store *s, int fd, const struct dv_call *call);

bool dv_meta_is_hidden(
	const char *attr); /* user.diskvfs, user.diskvfs.*, and XFS's second names of ACLs */

#endif
