/* SPDX-License-Identifier: MIT */
/*
 * verify.h - fsck and scrub in one: is each file of the store where its key wants it, and can all
 * of its bytes be had?
 *
 * Without `repair` it writes nothing, takes no lock that anybody waits for, and may run beside
 * mounts and writers: what changes while it is read is read again, and then counted as in use. Raw
 * values carry no checksum, so they are read and no more.
 *
 * With `repair` nobody else has the store open when it begins. What can be mended is, what can not
 * is moved to .diskvfs/lost/verify-N, under the path that it had. Nothing is deleted.
 *
 * Memory: for each thread some 500 KiB and a window of at most 8 MiB, one window of 128 MiB for all
 * of them, 12 KiB for each level of directories, and, where a seek table is made anew, 32 MiB.
 */
#ifndef DV_VERIFY_H
#define DV_VERIFY_H

#include "core/store.h"

/* What was found. Names of them, which do not change: dv_finding_name(). */
enum dv_finding_kind {
	DV_FINDING_FRAME,      /* stored bytes are damaged: they do not decode */
	DV_FINDING_TABLE,      /* a seek table is lost or wrong */
	DV_FINDING_SIZE,       /* whole frames, but fewer bytes than the value had */
	DV_FINDING_DICTIONARY, /* can not be decoded: made with a dictionary */
	DV_FINDING_LIMIT,      /* over a limit of the store: a mount gives EIO too */
	DV_FINDING_READ,       /* the filesystem gives an error for its bytes */
	DV_FINDING_TWIN,       /* two files of one key: only one of them is served */
	DV_FINDING_MISPLACED,  /* a value that does not lie where its key is looked for */
	DV_FINDING_LEFTOVER,   /* in .diskvfs, and belongs to nobody */
	DV_FINDING_STRAY,      /* in the store, and no value of it */
	DV_FINDING_UNFINISHED, /* of a process that is gone: the next mount finishes it */
	DV_FINDING_ACCESS,     /* could not be looked at, for want of a right or of memory */
};
const char *dv_finding_name(enum dv_finding_kind kind);

enum dv_finding_class {
	DV_CLASS_ERROR,
	DV_CLASS_FIXED,	  /* an error that was mended, or put aside */
	DV_CLASS_NOTE,	  /* nothing is wrong with it */
	DV_CLASS_FAILURE, /* of this work, not of the store */
};

/* All strings are lent for the call. */
struct dv_finding {
	enum dv_finding_kind kind;
	enum dv_finding_class class;
	const char *file;   /* path in the store */
	const char *key;    /* path in the mount; NULL: it has none */
	const char *detail; /* one sentence without a full stop */
	const char *done;   /* what repair did or why it did nothing; NULL: it was not asked to */
};

/* Called from several threads, never from two at once. */
struct dv_verify_ops {
	void *self;
	void (*found)(void *self, const struct dv_finding *f);
	/* Once, before the first file, where it is not NULL: the store is counted for it. */
	void (*total)(void *self, uint64_t files, uint64_t bytes);
	void (*progress)(void *self, uint64_t files,
			 uint64_t bytes); /* more of them; may be NULL */
};

struct dv_verify_options {
	bool repair;
	unsigned jobs;			/* threads; 0: as many as processors */
	const struct dv_plugin *plugin; /* the store's; NULL: none */
	const char *boot_id;		/* as in dv_store_options */
};
#define DV_VERIFY_JOBS_MAX 64u

struct dv_verify_result {
	uint64_t raw, packed; /* values by form; packed ones: gzip and zlib too */
	uint64_t directories, others, strays;
	uint64_t frames;		  /* that were decoded */
	uint64_t unsummed;		  /* frames that carry no checksum, of other makers */
	uint64_t plain_bytes;		  /* of packed values */
	uint64_t stored_bytes;		  /* read */
	uint64_t in_use;		  /* changed as often as they were looked at */
	uint64_t errors, fixed, failures; /* findings */
	uint64_t lost;			  /* files in .diskvfs/lost, before this */
};

/*
 * Looks at all of the store. Findings are no error of this function: an error is that it could not be
 * done, or not to the end, and why[] says why. -EBUSY: repair, and somebody has it open.
 */
DV_CHECK dv_err dv_store_verify(struct dv_backing backing, const char *path,
				const struct dv_verify_options *options,
				const struct dv_verify_ops *ops, struct dv_verify_result *out,
				char *why, size_t why_size);

#endif
