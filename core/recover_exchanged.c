/* SPDX-License-Identifier: MIT */
/*
 * recover_exchanged.c - files of a dead owner that were about to be exchanged with an object of the store, or have
 * been (exchange.h). Where their record is there it decides, and they get the name that it knows. Where the power has
 * taken it the name tells what is whose.
 */
#include "core/cleanup.h"
#include "core/exchange.h"
#include "core/meta.h"
#include "core/pending.h"
#include "core/recover_private.h"
#include "core/sealed.h"
#include "core/swap.h"

#include <stdio.h>
#include <string.h>

/* The records outlive the power from here on, whatever recovery exchanges by them. */
static dv_err sync_log(struct adoption *a)
{
	struct dv_store *s = a->s;
	int fd = DV_B(s, open, a->dirfd, "log", O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	dv_err err = DV_B(s, fdatasync, fd);
	DV_B(s, close, fd);
	return err;
}

/* What lies there is to go to lost/ where it is neither the file nor what that was exchanged with. */
static dv_err keep_of_others(struct adoption *a, const char *name, const struct dv_exchanged *x,
			     const char *key, const char *why)
{
	struct dv_store *s = a->s;
	struct dv_stat st;
	char of[4096 + 8];
	bool packed = strchr(x->plain, '.') && !dv_is_sealed(s);
	dv_err err = DV_B(s, stat, a->dirfd, name, &st);
	if (err)
		return err == -ENOENT ? 0 : err;
	struct dv_ident id = dv_ident_of(&st);
	uint64_t is = dv_meta_ino(&id);
	if (is == x->own || is == x->old)
		return 0;
	snprintf(of, sizeof(of), "%.4000s%s", key, packed ? ".zst" : "");
	err = dv_put_aside(s, a->dirfd, name, of, why);
	if (!err) /* before the folder goes, with the name that it had */
		err = DV_B(s, fsync, a->dirfd);
	return err;
}

static dv_err take_up(struct adoption *a, const char *name)
{
	struct dv_exchanged x;
	struct dv_open_record *o;
	struct dv_stat st;
	if (!dv_exchange_parse(name, &x))
		return 0;
	HASH_FIND(hh, a->open, &x.id, sizeof(x.id), o);
	if (!o)
		return 0;
	DV_AUTO_FREE char *key = dv_record_path(&o->r);
	dv_err err = keep_of_others(a, name, &x, key ? key : "",
				    "it came while the value was replaced here too");
	if (!err)
		err = DV_B(a->s, stat, a->dirfd, name, &st);
	if (!err)
		err = DV_B(a->s, rename, a->dirfd, name, a->dirfd, x.plain, RENAME_NOREPLACE);
	if (!err) /* which is now, and says nothing of when its bytes came */
		o->changed_ns = dv_time_ns(st.ctime);
	/* Put aside; or judged with what no record speaks of. */
	return err == -ENOENT || err == -EEXIST ? 0 : err;
}

dv_err dv_recover_exchanged(struct adoption *a)
{
	enum { BUF = 32768, MAX = 512 };
	struct dv_store *s = a->s;
	DV_AUTO_FREE char *buf = malloc(BUF);
	DV_AUTO_FREE struct dv_dirent *ents = malloc(MAX * sizeof(*ents));
	int64_t cookie = 0;
	if (!a->open)
		return 0;
	dv_err err = buf && ents ? sync_log(a) : -ENOMEM;
	while (!err) {
		ssize_t n = DV_B(s, readdir, a->dirfd, cookie, buf, BUF, ents, MAX);
		if (n <= 0)
			return (dv_err)n;
		for (ssize_t i = 0; i < n && !err; i++) {
			cookie = ents[i].cookie;
			err = take_up(a, ents[i].name);
		}
	}
	return err;
}

dv_err dv_recover_keep_of_others(struct adoption *a, const char *name)
{
	struct dv_exchanged x;
	if (!dv_exchange_parse(name, &x))
		return 0;
	return keep_of_others(a, name, &x, "a value",
			      "it was put under its name while that was being replaced, and the "
			      "power has taken the record that told which name that was");
}
