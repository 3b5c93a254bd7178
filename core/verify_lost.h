/* SPDX-License-Identifier: MIT */
/*
 * verify_lost.h - .diskvfs/lost/verify-N: where one run of repair puts what can not stay where it is,
 * under the path that it had. Each run has a folder of its own, and nothing in it is ever written
 * over.
 */
#ifndef DV_VERIFY_LOST_H
#define DV_VERIFY_LOST_H

#include "core/verify_private.h"

/* A directory of it, which stands for one of the store. */
struct dv_lost_dir {
	int fd;
	char *path; /* in the store */
};

/* dir's, made with all above it, durably. To be closed after an error too. */
DV_CHECK dv_err dv_lost_open(struct dv_verify *v, const char *dir, struct dv_lost_dir *out);
void dv_lost_close(struct dv_verify *v, struct dv_lost_dir *d);

/* A new file. out_name: base, or another name where that is taken. -> descriptor */
DV_CHECK int dv_lost_create(struct dv_verify *v, struct dv_lost_dir *d, const char *base,
			    const char *ending, char out_name[DV_NAME_MAX + 1]);

/*
 * Moves (dirfd, stored), which is object id, there. -EREMCHG: it is another one by now, and where it
 * was. On return it is durable.
 */
DV_CHECK dv_err dv_lost_take(struct dv_verify *v, struct dv_lost_dir *d, int dirfd,
			     const char *stored, const struct dv_ident *id,
			     char out_name[DV_NAME_MAX + 1]);

#endif
