/* SPDX-License-Identifier: MIT */
/*
 * info.h - what a store is and holds, for people who look at it. Writes nothing: the store is
 * opened read only, mounted or not.
 *
 * Of a store that is mounted it is a picture of a moment, or of several: values may be packed and
 * unpacked while they are counted.
 */
#ifndef DV_INFO_H
#define DV_INFO_H

#include "core/store.h"

/* What becomes of a value that somebody was at work on. */
enum dv_info_fate {
	DV_FATE_UNDER_WAY, /* its owner lives */
	DV_FATE_FINISHED,  /* the next mount puts newer bytes in its place, */
	DV_FATE_DROPPED,  /* ..leaves the old value: the power went before the new one was whole, */
	DV_FATE_FAILED,	  /* ..because a write of the new one failed, as on a full disk, */
	DV_FATE_ONE_FORM, /* ..or removes the form that was superseded */
};

struct dv_info_owner {
	const char *host;	/* "": this machine */
	const char *mountpoint; /* "": not a mount */
	long pid;
	bool alive, same_boot;
};

/* Called while the store is looked at. Each may be NULL. Strings are lent for the call; keys are
 * paths in the mount. */
struct dv_info_ops {
	void *self;
	void (*owner)(void *self, const struct dv_info_owner *owner);
	void (*pending)(void *self, const struct dv_info_owner *owner, const char *key,
			enum dv_info_fate fate);
	void (*lost)(void *self, const char *name, uint64_t size); /* in .diskvfs/lost */
	void (*twin)(void *self, const char *key);		   /* both forms lie in the store */
};

struct dv_info {
	unsigned format;
	char transform[320], compress[32], nopack[4097];
	char layout[32]; /* "": our own */
	uint32_t frame_size;
	struct dv_fsinfo backing;
	/* by the walk */
	uint64_t raw, packed, directories, others, twins; /* names */
	uint64_t unreadable;				  /* their size could not be told */
	/* of raw and packed values, each object once: as programs see them, as long as their files
	 * are, and what those take of the disk */
	uint64_t plain_bytes, stored_bytes, disk_bytes;
	uint64_t packed_plain_bytes, packed_stored_bytes;
};

/* plugin: the store's, NULL: none. walk: looks at every key. -EINVAL, -EACCES...: why[] says what is wrong. */
DV_CHECK dv_err dv_store_info(struct dv_backing backing, const char *path,
			      const struct dv_plugin *plugin, bool walk,
			      const struct dv_info_ops *ops, struct dv_info *out, char *why,
			      size_t why_size);

#endif
