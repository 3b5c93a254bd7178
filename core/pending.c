/* SPDX-License-Identifier: MIT */
/* pending.c - see pending.h. */
#include "core/pending.h"

#include "core/cleanup.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/log.h"

#include <inttypes.h>
#include <string.h>

static void forget_record(struct dv_open_record **all, struct dv_open_record *o)
{
	HASH_DEL(*all, o);
	while (o) {
		struct dv_open_record *before = o->before;
		free(o);
		o = before;
	}
}

/* Takes the place of o in the table, and keeps it. */
static dv_err write_again(struct dv_open_record **all, struct dv_open_record *o,
			  const struct dv_record *r)
{
	struct dv_open_record *later = calloc(1, sizeof(*later));
	if (!later)
		return -ENOMEM;
	later->r = *r;
	later->before = o;
	HASH_ADD(hh, *all, r.id, sizeof(r->id), later);
	if (!DV_HASHED(later)) {
		free(later);
		return -ENOMEM;
	}
	HASH_DEL(*all, o);
	return 0;
}

static dv_err collect(const uint8_t *log, size_t len, struct dv_open_record **out)
{
	size_t at = 0, used;
	struct dv_record r;
	while ((used = dv_record_decode(log + at, len - at, &r))) {
		struct dv_open_record *o = NULL;
		at += used;
		HASH_FIND(hh, *out, &r.id, sizeof(r.id), o);
		if (r.type == DV_RECORD_END) {
			if (o)
				forget_record(out, o);
			continue;
		}
		if (o) {
			dv_err err = write_again(out, o, &r);
			if (err)
				return err;
			continue;
		}
		o = calloc(1, sizeof(*o));
		if (!o)
			return -ENOMEM;
		o->r = r;
		HASH_ADD(hh, *out, r.id, sizeof(r.id), o);
		if (!DV_HASHED(o)) {
			free(o);
			return -ENOMEM;
		}
	}
	return 0;
}

static dv_err read_log(struct dv_store *s, int dirfd, uint8_t **out, size_t *out_len)
{
	struct dv_stat st;
	*out_len = 0;
	int fd = dv_open_quiet(s, dirfd, "log", O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	dv_err err = DV_B(s, stat, fd, "", &st);
	if (!err && (!S_ISREG(st.mode) || st.size > DV_LOG_MAX))
		err = -EFBIG;
	if (!err && !(*out = malloc(st.size + 1)))
		err = -ENOMEM;
	if (!err)
		err = dv_read_full(s, fd, *out, (size_t)st.size, 0);
	if (!err)
		*out_len = (size_t)st.size;
	DV_B(s, close, fd);
	return err;
}

/* In the order in which they were begun. */
static int by_id(struct dv_open_record *a, struct dv_open_record *b)
{
	return a->r.id < b->r.id ? -1 : a->r.id > b->r.id;
}

dv_err dv_pending_read(struct dv_store *s, int dirfd, struct dv_pending *out)
{
	*out = (struct dv_pending){0};
	dv_err err = read_log(s, dirfd, &out->log, &out->len);
	if (!err && out->log)
		err = collect(out->log, out->len, &out->open);
	if (!err)
		HASH_SORT(out->open, by_id);
	return err;
}

void dv_pending_release(struct dv_pending *p)
{
	struct dv_open_record *o, *next;
	HASH_ITER(hh, p->open, o, next)
	forget_record(&p->open, o);
	free(p->log);
	*p = (struct dv_pending){0};
}

/* Of a stage's file, or of the packed part of a stream until that has its place. */
static void file_of(const struct dv_record *r, char out[DV_STAGE_NAME + 2])
{
	dv_journal_stage_name(r->id, out);
	if (r->type == DV_RECORD_STREAM)
		strcat(out, ".z");
}

bool dv_pending_is_failed(struct dv_store *s, int dirfd, const struct dv_record *r)
{
	struct dv_stat st;
	char name[DV_STAGE_NAME + sizeof(".z.failed")];
	if (r->type != DV_RECORD_STAGE && r->type != DV_RECORD_STREAM)
		return false;
	file_of(r, name);
	if (DV_B(s, stat, dirfd, name, &st) != -ENOENT)
		return false;
	strcat(name, ".failed");
	return DV_B(s, stat, dirfd, name, &st) == 0;
}

/* Has the folder bytes that are to come to the store? */
static bool has_bytes(struct dv_store *s, int dirfd, const struct dv_record *r)
{
	struct dv_stat st;
	char name[DV_STAGE_NAME + 2];
	file_of(r, name);
	return r->type == DV_RECORD_TAIL ||
	       ((r->type == DV_RECORD_STAGE || r->type == DV_RECORD_STREAM) &&
		DV_B(s, stat, dirfd, name, &st) == 0);
}

/* Values of one folder whose newer bytes are in it. */
static uint64_t count_in(struct dv_store *s, int dirfd)
{
	struct dv_pending p;
	uint64_t n = 0;
	if (dv_pending_read(s, dirfd, &p) == 0)
		for (struct dv_open_record *o = p.open; o; o = o->hh.next)
			n += has_bytes(s, dirfd, &o->r);
	dv_pending_release(&p);
	return n;
}

static dv_err count_of_dead(struct dv_store *s, uint64_t *out)
{
	struct dv_owners owners = {0};
	*out = 0;
	int stagefd =
		dv_open_quiet(s, s->rootfd, DV_STAGE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (stagefd < 0)
		return stagefd == -ENOENT ? 0 : stagefd;
	dv_err err = dv_owners_find(s, stagefd, false, &owners);
	for (size_t i = 0; !err && i < owners.count; i++) {
		const struct dv_owner *o = &owners.at[i];
		char text[DV_OWNER_MAX + 1];
		int dirfd = o->state == DV_OWNER_ELSEWHERE
				    ? -1
				    : dv_open_quiet(s, stagefd, o->folder,
						    O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
		if (dirfd < 0)
			continue;
		if (o->state == DV_OWNER_GONE || !dv_owner_is_here(s, dirfd, text))
			*out += count_in(s, dirfd);
		DV_B(s, close, dirfd);
	}
	dv_owners_release(&owners);
	DV_B(s, close, stagefd);
	return err;
}

void dv_pending_tell(struct dv_store *s)
{
	dv_err err = count_of_dead(s, &s->left_pending);
	if (err)
		dv_warn("what ended mounts have left pending can not be told: %s", strerror(-err));
	else if (s->left_pending)
		dv_warn("left pending by ended mounts: %" PRIu64
			"; those values are shown as they were before, a mount without ro puts "
			"their "
			"newer bytes in place",
			s->left_pending);
}
