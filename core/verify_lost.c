/* SPDX-License-Identifier: MIT */
/* verify_lost.c - see verify_lost.h. */
#include "core/verify_lost.h"

#include "core/cleanup.h"
#include "core/io.h"
#include "core/journal.h"

#include <stdio.h>
#include <string.h>

#define RUNS_MAX  100000u
#define NAMES_MAX 1000u

struct dv_verify_lost {
	int fd;
	char path[64];
};

/* Opens a directory, which is made where it is missing, durably. */
static int open_made(struct dv_store *s, int dirfd, const char *name)
{
	int fd = dv_open_quiet(s, dirfd, name, DV_VERIFY_READ | O_DIRECTORY);
	if (fd != -ENOENT)
		return fd;
	dv_act_as_self(s);
	dv_err err = DV_B(s, mkdir, dirfd, name, 0700);
	if (!err)
		err = DV_B(s, fsync, dirfd);
	if (err && err != -EEXIST)
		return err;
	return dv_open_quiet(s, dirfd, name, DV_VERIFY_READ | O_DIRECTORY);
}

/* The folder of this run: one that was not there. */
static dv_err make_run(struct dv_store *s, int lostfd, struct dv_verify_lost *l)
{
	char name[32];
	dv_act_as_self(s);
	for (unsigned n = 1; n <= RUNS_MAX; n++) {
		snprintf(name, sizeof(name), "verify-%u", n);
		dv_err err = DV_B(s, mkdir, lostfd, name, 0700);
		if (err == -EEXIST)
			continue;
		if (!err)
			err = DV_B(s, fsync, lostfd);
		if (err)
			return err;
		snprintf(l->path, sizeof(l->path), DV_LOST_DIR "/%s", name);
		l->fd = dv_open_quiet(s, lostfd, name, DV_VERIFY_READ | O_DIRECTORY);
		return l->fd < 0 ? l->fd : 0;
	}
	return -EFBIG;
}

static dv_err begin_run(struct dv_verify *v)
{
	struct dv_store *s = v->s;
	struct dv_verify_lost *l = calloc(1, sizeof(*l));
	int fd = -1, lostfd = -1;
	dv_err err = l ? 0 : -ENOMEM;
	if (!err && (fd = open_made(s, s->rootfd, DV_CONTROL_DIR)) < 0)
		err = fd;
	if (!err && (lostfd = open_made(s, fd, strrchr(DV_LOST_DIR, '/') + 1)) < 0)
		err = lostfd;
	if (!err)
		err = make_run(s, lostfd, l);
	if (fd >= 0)
		DV_B(s, close, fd);
	if (lostfd >= 0)
		DV_B(s, close, lostfd);
	if (err)
		free(l);
	else
		v->lost = l;
	return err;
}

void dv_verify_lost_free(struct dv_verify *v)
{
	struct dv_store *s = v->s;
	if (v->lost)
		DV_B(s, close, v->lost->fd);
	free(v->lost);
	v->lost = NULL;
}

dv_err dv_lost_open(struct dv_verify *v, const char *dir, struct dv_lost_dir *out)
{
	struct dv_store *s = v->s;
	char name[DV_NAME_MAX + 1];
	*out = (struct dv_lost_dir){.fd = -1};
	dv_err err = v->lost ? 0 : begin_run(v);
	if (err)
		return err;
	out->path = dv_verify_join(v->lost->path, dir);
	out->fd = dv_open_quiet(s, v->lost->fd, "", O_RDONLY | O_DIRECTORY);
	if (!out->path || out->fd < 0)
		return out->path ? out->fd : -ENOMEM;
	while (*dir) {
		const char *end = strchrnul(dir, '/');
		snprintf(name, sizeof(name), "%.*s", (int)(end - dir), dir);
		int below = open_made(s, out->fd, name);
		DV_B(s, close, out->fd);
		out->fd = below;
		if (below < 0)
			return below;
		dir = *end ? end + 1 : end;
	}
	return 0;
}

void dv_lost_close(struct dv_verify *v, struct dv_lost_dir *d)
{
	struct dv_store *s = v->s;
	if (d->fd >= 0)
		DV_B(s, close, d->fd);
	free(d->path);
	*d = (struct dv_lost_dir){.fd = -1};
}

/* base and ending, cut to what a name may have, with a number where that was taken. */
static void name_of(const char *base, const char *ending, unsigned n, char out[DV_NAME_MAX + 1])
{
	char tail[64];
	if (n)
		snprintf(tail, sizeof(tail), "%s~%u", ending, n);
	else
		snprintf(tail, sizeof(tail), "%s", ending);
	int most = (int)(DV_NAME_MAX - strlen(tail));
	snprintf(out, DV_NAME_MAX + 1, "%.*s%s", most, base, tail);
}

int dv_lost_create(struct dv_verify *v, struct dv_lost_dir *d, const char *base, const char *ending,
		   char out_name[DV_NAME_MAX + 1])
{
	struct dv_store *s = v->s;
	int fd = -EEXIST;
	dv_act_as_self(s);
	for (unsigned n = 0; fd == -EEXIST && n < NAMES_MAX; n++) {
		name_of(base, ending, n, out_name);
		fd = DV_B(s, open, d->fd, out_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	}
	return fd;
}

/* What was taken is another one: it goes back, unless its name has been taken since. */
static dv_err give_back(struct dv_store *s, struct dv_lost_dir *d, const char *name, int dirfd,
			const char *stored)
{
	dv_err err = DV_B(s, rename, d->fd, name, dirfd, stored, RENAME_NOREPLACE);
	return err ? err : -EREMCHG;
}

dv_err dv_lost_take(struct dv_verify *v, struct dv_lost_dir *d, int dirfd, const char *stored,
		    const struct dv_ident *id, char out_name[DV_NAME_MAX + 1])
{
	struct dv_store *s = v->s;
	struct dv_stat st;
	dv_err err = -EEXIST;
	for (unsigned n = 0; err == -EEXIST && n < NAMES_MAX; n++) {
		name_of(stored, "", n, out_name);
		err = DV_B(s, rename, dirfd, stored, d->fd, out_name, RENAME_NOREPLACE);
	}
	if (err)
		return err;
	err = DV_B(s, stat, d->fd, out_name, &st);
	struct dv_ident now = dv_ident_of(&st);
	if (err || !dv_ident_equal(&now, id))
		return give_back(s, d, out_name, dirfd, stored);
	err = DV_B(s, fsync, d->fd);
	return err ? err : DV_B(s, fsync, dirfd);
}
