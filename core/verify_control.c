/* SPDX-License-Identifier: MIT */
/*
 * verify_control.c - .diskvfs: who has the store open, what dead owners have left to the next mount,
 * and what belongs to nobody. See verify.h.
 */
#include "core/cleanup.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/owner.h"
#include "core/pending.h"
#include "core/verify_private.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LOST_DEPTH 64u
/* Two files of one key are there for no longer, where a mount is at work on them: a batch is packed
 * and synced; a name is made, and what is beside it looked at. */
#define PACKING_NS 60000000000ll
#define LOOKING_NS 5000000000ll
#define SETTLE_NS  100000000ll /* an owner's folder gets its file, or goes, in less */

typedef dv_err name_fn(struct dv_verify *v, struct dv_verify_dir *d, const struct dv_dirent *e,
		       void *ctx);

struct naming {
	struct dv_verify *v;
	struct dv_verify_dir *d;
	name_fn *fn;
	void *ctx;
};

static dv_err name_one(void *ctx, int fd, const struct dv_dirent *e)
{
	const struct naming *n = ctx;
	(void)fd;
	return n->fn(n->v, n->d, e, n->ctx);
}

/* path is borrowed. Nothing where it is not there. */
static dv_err each_name_in(struct dv_verify *v, const char *path, name_fn *fn, void *ctx)
{
	static char none[1] = "";
	struct dv_store *s = v->s;
	struct dv_verify_dir d = {.refs = 1, .path = (char *)path, .key = none};
	d.fd = dv_open_quiet(s, s->rootfd, path, DV_VERIFY_READ | O_DIRECTORY);
	if (d.fd < 0)
		return d.fd == -ENOENT || d.fd == -ENOTDIR ? 0 : d.fd;
	dv_err err = dv_each_dirent(s, d.fd, name_one, &(struct naming){v, &d, fn, ctx});
	DV_B(s, close, d.fd);
	return err;
}

static void leftover(struct dv_verify *v, struct dv_verify_dir *d, const char *name,
		     const char *detail)
{
	const struct dv_verify_at at = {d, name, NULL};
	if (v->options->repair)
		dv_repair_leftover(v, &at, detail);
	else
		dv_verify_tell(v, &at, DV_FINDING_LEFTOVER, DV_CLASS_ERROR, detail, NULL);
}

/* ---- owners ---- */

/* Lives the owner of the folder, here or elsewhere? */
static bool is_alive(struct dv_verify *v, int stagefd, const char *folder, int dirfd)
{
	struct dv_store *s = v->s;
	char text[DV_OWNER_MAX + 1] = "";
	struct dv_owners owners = {0};
	bool alive = dv_owner_is_here(s, dirfd, text);
	if (alive)
		return true;
	if (dv_owners_find(s, stagefd, false, &owners))
		return true; /* can not be told */
	for (size_t i = 0; i < owners.count; i++)
		alive |= owners.at[i].state == DV_OWNER_ELSEWHERE &&
			 strcmp(owners.at[i].folder, folder) == 0;
	dv_owners_release(&owners);
	return alive;
}

static bool has_owner_file(struct dv_verify *v, int dirfd)
{
	struct dv_store *s = v->s;
	struct dv_stat st;
	return DV_B(s, stat, dirfd, "owner", &st) == 0;
}

/* What a dead owner has begun. */
static uint64_t count_records(struct dv_verify *v, int dirfd)
{
	struct dv_pending p;
	uint64_t n = 0;
	if (dv_pending_read(v->s, dirfd, &p) == 0)
		for (struct dv_open_record *o = p.open; o; o = o->hh.next)
			n += o->r.type != DV_RECORD_SWAP; /* most of these are done */
	dv_pending_release(&p);
	return n;
}

static void look_at_owner(struct dv_verify *v, struct dv_verify_dir *stage, const char *folder,
			  int dirfd)
{
	const struct dv_verify_at at = {stage, folder, NULL};
	char detail[128];
	struct dv_stat st;
	struct dv_store *s = v->s;
	if (is_alive(v, stage->fd, folder, dirfd))
		return;
	bool owned = has_owner_file(v, dirfd);
	if (!owned) {
		nanosleep(&(struct timespec){.tv_nsec = SETTLE_NS}, NULL);
		if (DV_B(s, stat, stage->fd, folder, &st) || is_alive(v, stage->fd, folder, dirfd))
			return;
		owned = has_owner_file(v, dirfd);
	}
	if (!owned) {
		leftover(v, stage, folder, "an owner's folder without its owner file");
		return;
	}
	snprintf(detail, sizeof(detail),
		 "of a process that is gone, with %" PRIu64
		 " open records; the next mount finishes them",
		 count_records(v, dirfd));
	dv_verify_tell(v, &at, DV_FINDING_UNFINISHED, DV_CLASS_NOTE, detail, NULL);
}

static dv_err look_at_stage(struct dv_verify *v, struct dv_verify_dir *d, const struct dv_dirent *e,
			    void *ctx)
{
	struct dv_store *s = v->s;
	(void)ctx;
	if (strcmp(e->name, s->owner_folder) == 0)
		return 0;
	int fd = dv_open_quiet(s, d->fd, e->name, DV_VERIFY_READ | O_DIRECTORY);
	if (fd == -ENOENT)
		return 0;
	if (fd == -ENOTDIR || fd == -ELOOP) {
		leftover(v, d, e->name, "no owner's folder");
		return 0;
	}
	if (fd < 0)
		return fd;
	look_at_owner(v, d, e->name, fd);
	DV_B(s, close, fd);
	return 0;
}

struct others {
	char *who;
	size_t size;
	bool found;
};

static dv_err look_for_others(struct dv_verify *v, struct dv_verify_dir *d,
			      const struct dv_dirent *e, void *ctx)
{
	struct others *o = ctx;
	struct dv_store *s = v->s;
	char text[DV_OWNER_MAX + 1] = "", pid[32] = "?", mount[PATH_MAX] = "";
	if (o->found || strcmp(e->name, s->owner_folder) == 0)
		return 0;
	int fd = dv_open_quiet(s, d->fd, e->name, DV_VERIFY_READ | O_DIRECTORY);
	if (fd < 0)
		return 0;
	bool here = dv_owner_is_here(s, fd, text);
	o->found = here || (has_owner_file(v, fd) && is_alive(v, d->fd, e->name, fd));
	DV_B(s, close, fd);
	if (!o->found)
		return 0;
	if (here) {
		dv_ignore(dv_owner_field(text, "pid", pid, sizeof(pid)));
		dv_ignore(dv_owner_field(text, "mountpoint", mount, sizeof(mount)));
	}
	snprintf(o->who, o->size, "by process %s%s%.300s%s", pid, mount[0] ? ", mounted on " : "",
		 mount, here ? "" : " of another machine");
	return 0;
}

bool dv_verify_others(struct dv_verify *v, char *who, size_t size)
{
	struct others o = {who, size, false};
	dv_err err = each_name_in(v, DV_STAGE_DIR, look_for_others, &o);
	if (err)
		snprintf(who, size, "or can not be told to be free: %s", strerror(-err));
	return err || o.found;
}

/* ---- records ---- */

enum speech { SAYS_NOTHING, SAYS_MAYBE, SAYS_YES };

struct question {
	const char *key;
	const struct dv_stat *packed, *raw;
	int64_t age_ns; /* of the younger one of the two */
	enum dv_under_way answer;
};

/* Device numbers change over a reboot. */
static bool is_object(const struct dv_ident *id, const struct dv_stat *st)
{
	return id->ino == st->ino && id->btime_ns == dv_time_ns(st->btime);
}

/* Maybe: of one that was packed the record stays, and says nothing of what came beside it since; but
 * while its packer is at work another mount may put another raw file there, which it then finds. */
static enum speech speaks_of(const struct question *q, const struct dv_record *r)
{
	bool packed = is_object(&r->packed, q->packed);
	bool key = r->path_len == strlen(q->key) && memcmp(r->path, q->key, r->path_len) == 0;
	bool yes;
	if (!q->raw) /* is it written in place? */
		yes = packed && (r->type == DV_RECORD_TAIL || r->type == DV_RECORD_COPY);
	else if (r->type != DV_RECORD_SWAP)
		yes = key;
	else
		yes = packed && (!(r->flags & DV_RECORD_PACKED_WINS) || is_object(&r->raw, q->raw));
	return yes ? SAYS_YES : q->raw && (packed || key) ? SAYS_MAYBE : SAYS_NOTHING;
}

/* What an owner that lives says of two files of one key. Whoever makes one of them looks at the other one
 * afterwards, which need not be in any record. */
static bool is_at_it(const struct question *q, enum speech says)
{
	if (says == SAYS_YES)
		return true;
	return q->raw && q->age_ns < (says == SAYS_MAYBE ? PACKING_NS : LOOKING_NS);
}

static dv_err ask_owner(struct dv_verify *v, struct dv_verify_dir *d, const struct dv_dirent *e,
			void *ctx)
{
	struct question *q = ctx;
	struct dv_store *s = v->s;
	struct dv_pending p;
	enum speech says = SAYS_NOTHING, one;
	if (q->answer == DV_WAY_ALIVE || strcmp(e->name, s->owner_folder) == 0)
		return 0;
	int fd = dv_open_quiet(s, d->fd, e->name, DV_VERIFY_READ | O_DIRECTORY);
	if (fd < 0)
		return 0;
	dv_err err = dv_pending_read(s, fd, &p);
	for (struct dv_open_record *o = p.open; !err && o; o = o->hh.next) {
		one = speaks_of(q, &o->r);
		says = one > says ? one : says;
	}
	dv_pending_release(&p);
	if (err && err != -ENOENT) /* can not be told */
		q->answer = DV_WAY_ALIVE;
	else if (is_at_it(q, says) && is_alive(v, d->fd, e->name, fd))
		q->answer = DV_WAY_ALIVE;
	else if (says == SAYS_YES)
		q->answer = DV_WAY_DEAD;
	DV_B(s, close, fd);
	return 0;
}

static int64_t age_of(const struct dv_stat *st)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return dv_time_ns(now) - dv_time_ns(st->ctime);
}

enum dv_under_way dv_verify_under_way(struct dv_verify *v, const char *key,
				      const struct dv_stat *packed, const struct dv_stat *raw)
{
	struct question q = {key, packed, raw, age_of(packed), DV_WAY_NONE};
	if (raw && age_of(raw) < q.age_ns)
		q.age_ns = age_of(raw);
	if (each_name_in(v, DV_STAGE_DIR, ask_owner, &q)) /* can not be told */
		return DV_WAY_ALIVE;
	return q.answer;
}

/* ---- the folder itself ---- */

static dv_err count_lost(struct dv_verify *v, struct dv_verify_dir *d, const struct dv_dirent *e,
			 void *ctx)
{
	DV_AUTO_FREE char *path = dv_verify_join(d->path, e->name);
	unsigned depth = *(unsigned *)ctx + 1;
	struct dv_store *s = v->s;
	struct dv_stat st;
	if (!path)
		return -ENOMEM;
	if (DV_B(s, stat, d->fd, e->name, &st))
		return 0;
	if (!S_ISDIR(st.mode)) {
		v->r->lost++;
		return 0;
	}
	return depth < LOST_DEPTH ? each_name_in(v, path, count_lost, &depth) : 0;
}

static dv_err look_at_control(struct dv_verify *v, struct dv_verify_dir *d,
			      const struct dv_dirent *e, void *ctx)
{
	static const char *const known[] = {"config",  "dict",	"keep-zst", "pack",
					    "reshard", "stage", "lost"};
	(void)ctx;
	for (size_t i = 0; i < DV_ARRAY_LEN(known); i++)
		if (strcmp(e->name, known[i]) == 0)
			return 0;
	struct dv_store *s = v->s;
	struct dv_stat st;
	/* Files of a moment, that get another name. */
	nanosleep(&(struct timespec){.tv_nsec = SETTLE_NS}, NULL);
	if (DV_B(s, stat, d->fd, e->name, &st) == 0)
		leftover(v, d, e->name, "nothing that belongs there");
	return 0;
}

dv_err dv_verify_control(struct dv_verify *v)
{
	unsigned depth = 0;
	dv_err err = each_name_in(v, DV_LOST_DIR, count_lost, &depth);
	if (!err)
		err = each_name_in(v, DV_CONTROL_DIR, look_at_control, NULL);
	return err ? err : each_name_in(v, DV_STAGE_DIR, look_at_stage, NULL);
}
