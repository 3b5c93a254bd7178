/* SPDX-License-Identifier: MIT */
/*
 * sealed.h - values whose one file is gzip or zlib (coding.h), as a whole.
 *
 * No such file tells its plain size (gzip's ISIZE is the size modulo 2^32, of the last member): it
 * is found by decoding it once, and kept in the tag. Small ones are decoded as a whole, larger ones
 * by decoders that stay where they are (foreign.h).
 */
#ifndef DV_SEALED_H
#define DV_SEALED_H

#include "core/internal.h"
#include "core/meta.h"
#include "core/walk.h"

static inline bool dv_is_sealed(const struct dv_store *s)
{
	return dv_coding_is_sealed(&s->coding);
}

/* Finds fd's plain size. nowait: -EAGAIN. -EBADMSG, -EOPNOTSUPP, -EFBIG: out->why says why. The
 * layout is left empty. */
DV_CHECK dv_err dv_sealed_walk(struct dv_store *s, int fd, uint64_t size, bool nowait,
			       struct dv_walk *out);

/* Writes the stored form of plain file `from` to `to`, which is empty. In bounded memory.
 * *out_stored may be NULL. */
DV_CHECK dv_err dv_sealed_encode(struct dv_store *s, int from, uint64_t plain_size, int to,
				 uint64_t *out_stored);

/*
 * Makes the file `name` in dirfd: the stored form of plain file `from`, with its owner, mode, times
 * and the rest, and with the tag, to which sizes are added; durable. After an error the name is not
 * there. *out_fd is the caller's. -ECANCELED: somebody truncated it meanwhile.
 */
DV_CHECK dv_err dv_sealed_make(struct dv_store *s, int from, int dirfd, const char *name,
			       struct dv_tag *tag, int *out_fd);

/* The same; stop is asked now and then, and true gives -ECANCELED. */
struct dv_sealing {
	int from, dirfd;
	const char *name;
	bool (*stop)(void *ctx); /* NULL: never */
	void *ctx;
};
DV_CHECK dv_err dv_sealed_make_unless(struct dv_store *s, const struct dv_sealing *how,
				      struct dv_tag *tag, int *out_fd);

/* fd was just made: it becomes a value of no bytes. */
DV_CHECK dv_err dv_sealed_make_empty(struct dv_store *s, int fd);

#endif
