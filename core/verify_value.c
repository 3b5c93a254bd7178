/* SPDX-License-Identifier: MIT */
/*
 * verify_value.c - one file of a value: all its bytes are read, and decoded where it is packed.
 *
 * Beside writers a file may be another by the time it is read. So what seems wrong is kept until the
 * file is seen to be in the state in which it was opened; else it is looked at again, some times, and
 * then left as in use. What is found in a state that is younger than the clock's steps is looked at
 * once more too: a change within one step does not show.
 */
#include "core/cleanup.h"
#include "core/io.h"
#include "core/meta.h"
#include "core/sealed.h"
#include "core/verify_members.h"
#include "core/verify_private.h"
#include "core/walk.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TRIES	     5
#define YOUNG_NS     50000000ll /* some steps of the coarsest clock */
#define RAW_BAD_MAX  16u	/* errors of the disk in one file, then it is left */
#define PROGRESS_MIN (1u << 20)

void dv_faults_add(struct dv_faults *f, enum dv_finding_kind kind, const char *fmt, ...)
{
	va_list ap;
	if (f->count == DV_FAULTS_MAX) {
		f->more++;
		return;
	}
	f->at[f->count].kind = kind;
	va_start(ap, fmt);
	vsnprintf(f->at[f->count].detail, sizeof(f->at[0].detail), fmt, ap);
	va_end(ap);
	f->count++;
}

int dv_verify_open(struct dv_verify *v, const struct dv_verify_item *item, struct dv_stat *st)
{
	struct dv_store *s = v->s;
	int fd = dv_open_quiet(s, item->dir->fd, item->stored, DV_VERIFY_READ);
	if (fd == -ENOENT || fd == -ELOOP || fd == -ENXIO || fd == -ESTALE)
		return -ESTALE;
	if (fd < 0)
		return fd;
	dv_err err = DV_B(s, stat, fd, "", st);
	if (!err && S_ISREG(st->mode))
		return fd;
	DV_B(s, close, fd);
	return err ? err : -ESTALE;
}

bool dv_verify_is_same(struct dv_verify *v, const struct dv_verify_item *item, const char *stored,
		       const struct dv_stat *st)
{
	struct dv_store *s = v->s;
	struct dv_stat now;
	if (DV_B(s, stat, item->dir->fd, stored, &now))
		return false;
	const struct dv_ident a = dv_ident_of(st), b = dv_ident_of(&now);
	const struct dv_version x = dv_version_of(st), y = dv_version_of(&now);
	return dv_ident_equal(&a, &b) && dv_version_equal(&x, &y);
}

/* ---- forms ---- */

/* What was read is added in larger steps, so that threads do not meet for each piece. */
struct reading {
	struct dv_verify *v;
	uint64_t untold;
};

static void note_read(void *self, uint64_t bytes)
{
	struct reading *r = self;
	r->untold += bytes;
	if (r->untold < PROGRESS_MIN)
		return;
	dv_verify_progress(r->v, 0, r->untold);
	r->untold = 0;
}

static void end_reading(struct reading *r)
{
	if (r->untold)
		dv_verify_progress(r->v, 0, r->untold);
	r->untold = 0;
}

/* Reads what is not a hole. */
static dv_err read_raw(struct dv_verify *v, struct dv_look *look)
{
	struct dv_store *s = v->s;
	struct reading r = {.v = v};
	uint8_t *buf = dv_scan_buffer(look->scan);
	uint64_t off = 0, size = look->st.size, data = 0, data_end = 0;
	unsigned bad = 0;
	while (off < size && bad < RAW_BAD_MAX) {
		if (off >= data_end) {
			dv_err err = DV_B(s, seek, look->fd, off, SEEK_DATA, &data);
			if (err == -ENXIO)
				break;
			if (err || DV_B(s, seek, look->fd, data, SEEK_HOLE, &data_end) ||
			    data_end <= data)
				data = off, data_end = size; /* knows no holes */
			off = data > off ? data : off;
		}
		uint64_t want = data_end - off < DV_SCAN_BYTES ? data_end - off : DV_SCAN_BYTES;
		ssize_t n = DV_B(s, pread, look->fd, buf, (size_t)want, off);
		if (n == 0)
			break; /* it is shorter now */
		if (n < 0) {
			bad++;
			dv_faults_add(&look->faults, DV_FINDING_READ,
				      "byte %" PRIu64 " and on can not be read: %s", off,
				      strerror((int)-n));
			n = (ssize_t)want;
		}
		off += (uint64_t)n;
		note_read(&r, (uint64_t)n);
	}
	end_reading(&r);
	look->plain = size;
	return 0;
}

static dv_err read_sealed(struct dv_verify *v, struct dv_look *look)
{
	struct dv_walk w;
	dv_err err = dv_sealed_walk(v->s, look->fd, look->st.size, false, &w);
	look->plain = w.plain_size;
	dv_verify_progress(v, 0, look->st.size);
	switch (err) {
	case 0:
	case -ENOMEM:
		return err;
	case -EBADMSG:
		dv_faults_add(&look->faults, DV_FINDING_FRAME, "%s", w.why);
		return 0;
	case -EOPNOTSUPP:
		dv_faults_add(&look->faults, DV_FINDING_DICTIONARY, "%s", w.why);
		return 0;
	case -EFBIG:
		dv_faults_add(&look->faults, DV_FINDING_LIMIT, "%s", w.why);
		return 0;
	default:
		dv_faults_add(&look->faults, DV_FINDING_READ, "it can not be read: %s",
			      strerror(-err));
		return 0;
	}
}

struct packed_read {
	struct reading r;
	struct dv_look *look;
};

static void add_fault(void *self, enum dv_finding_kind kind, const char *detail)
{
	struct packed_read *p = self;
	dv_faults_add(&p->look->faults, kind, "%s", detail);
}

static void packed_bytes(void *self, uint64_t bytes)
{
	struct packed_read *p = self;
	note_read(&p->r, bytes);
}

/* Against what its attribute says of it, where that is not a copy's. */
static void judge_tag(struct dv_look *look, const struct dv_tag *tag)
{
	struct dv_scan_result *r = &look->found;
	bool less = tag->plain_size > r->plain && tag->plain_size <= INT64_MAX;
	if (r->bad || r->table == DV_SCAN_TABLE_BAD)
		return;
	if (tag->has_size && tag->plain_size != r->plain) {
		dv_faults_add(&look->faults, DV_FINDING_SIZE,
			      "it holds %" PRIu64 " bytes, and its attribute says %" PRIu64,
			      r->plain, tag->plain_size);
	} else if (!tag->has_size && less && tag->stored_size > look->st.size && r->like_ours &&
		   r->table == DV_SCAN_NO_TABLE && !tag->single) {
		dv_faults_add(&look->faults, DV_FINDING_SIZE,
			      "cut off at byte %" PRIu64 ": %" PRIu64 " of %" PRIu64
			      " plain bytes are left, in whole frames",
			      look->st.size, r->plain, tag->plain_size);
	} else if (r->frames > 1 && r->like_ours && r->table == DV_SCAN_NO_TABLE &&
		   tag->stored_size > look->st.size) { /* a file of another maker has a tag, too */
		r->table = DV_SCAN_TABLE_BAD;
		dv_faults_add(&look->faults, DV_FINDING_TABLE, "its seek table is gone");
	}
}

dv_err dv_verify_scan(struct dv_verify *v, const struct dv_look *look,
		      const struct dv_scan_ops *ops, struct dv_scan_result *out)
{
	const struct dv_scan_file file = {look->fd, look->st.size, look->ours, &v->wide};
	if (dv_coding_is_sealed(&v->s->coding))
		return dv_scan_members(v->s, look->scan, &file, ops, out);
	return dv_scan_frames(v->s, look->scan, &file, ops, out);
}

static dv_err read_packed(struct dv_verify *v, struct dv_look *look)
{
	struct packed_read p = {.r = {.v = v}, .look = look};
	const struct dv_scan_ops ops = {.self = &p, .fault = add_fault, .read = packed_bytes};
	struct dv_tag tag;
	look->ours = dv_tag_load_fd(v->s, look->fd, &look->st, &tag);
	dv_err err = dv_verify_scan(v, look, &ops, &look->found);
	end_reading(&p.r);
	look->plain = look->found.plain;
	if (!err && look->ours)
		judge_tag(look, &tag);
	return err;
}

/* ---- one look ---- */

static dv_err look_once(struct dv_verify *v, const struct dv_verify_item *item,
			struct dv_look *look)
{
	look->faults.count = 0;
	look->faults.more = 0;
	look->ours = false;
	look->found = (struct dv_scan_result){0};
	if (item->form == DV_FORM_RAW)
		return read_raw(v, look);
	if (dv_coding_is_sealed(&v->s->coding))
		return read_sealed(v, look);
	return read_packed(v, look);
}

static bool is_young(const struct dv_stat *st)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	int64_t age = dv_time_ns(now) - dv_time_ns(st->ctime);
	return age >= 0 && age < YOUNG_NS;
}

static void let_it_age(void)
{
	nanosleep(&(struct timespec){.tv_nsec = YOUNG_NS}, NULL);
}

/* Is it good, in whichever state it was, or has it stayed as it was when it was found to be bad? */
static bool is_settled(struct dv_verify *v, const struct dv_verify_item *item,
		       const struct dv_look *look)
{
	if (!look->faults.count)
		return true;
	return dv_verify_is_same(v, item, item->stored, &look->st) && !is_young(&look->st);
}

static uint64_t mark_of(const struct dv_stat *st)
{
	uint64_t m = (st->ino ^ st->dev << 40) * 0x9e3779b97f4a7c15u;
	m ^= (uint64_t)dv_time_ns(st->ctime);
	return m * 0xbf58476d1ce4e5b9u | 1;
}

/* Of an object with several names: was it good under another one? */
static bool was_seen(struct dv_verify *v, const struct dv_stat *st, bool add)
{
	uint64_t mark = mark_of(st), *at = &v->seen[mark >> 48 & (DV_VERIFY_SEEN - 1)];
	if (st->nlink < 2)
		return false;
	pthread_mutex_lock(&v->lock);
	bool seen = *at == mark;
	if (add)
		*at = mark;
	pthread_mutex_unlock(&v->lock);
	return seen;
}

static void count_value(struct dv_verify *v, const struct dv_verify_item *item,
			const struct dv_look *look)
{
	pthread_mutex_lock(&v->lock);
	struct dv_verify_result *r = v->r;
	*(item->form == DV_FORM_RAW ? &r->raw : &r->packed) += 1;
	r->frames += look->found.frames;
	r->unsummed += look->found.unsummed;
	r->plain_bytes += item->form == DV_FORM_RAW ? 0 : look->plain;
	pthread_mutex_unlock(&v->lock);
}

static void count_in_use(struct dv_verify *v)
{
	pthread_mutex_lock(&v->lock);
	v->r->in_use++;
	pthread_mutex_unlock(&v->lock);
}

static void tell_failure(struct dv_verify *v, const struct dv_verify_item *item, dv_err err)
{
	const struct dv_verify_at at = {item->dir, item->stored, item->name};
	char text[128];
	if (err == -EXDEV) {
		dv_verify_tell(v, &at, DV_FINDING_STRAY, DV_CLASS_NOTE,
			       "something is mounted there, which is not looked at", NULL);
		return;
	}
	snprintf(text, sizeof(text), "it could not be looked at: %s", strerror(-err));
	bool disk = err == -EIO || err == -EUCLEAN;
	dv_verify_tell(v, &at, disk ? DV_FINDING_READ : DV_FINDING_ACCESS,
		       disk ? DV_CLASS_ERROR : DV_CLASS_FAILURE, text, NULL);
}

/* It is bad, and was so for a while. -EAGAIN: whoever was at it has come to its end meanwhile. */
static dv_err judge(struct dv_verify *v, struct dv_verify_item *item, struct dv_look *look)
{
	const struct dv_verify_at at = {item->dir, item->stored, item->name};
	DV_AUTO_FREE char *key = dv_verify_join(item->dir->key, item->name);
	enum dv_under_way way = DV_WAY_NONE;
	if (item->form == DV_FORM_PACKED && key)
		way = dv_verify_under_way(v, key, &look->st, NULL);
	if (way == DV_WAY_ALIVE) {
		count_in_use(v);
		return 0;
	}
	if (way == DV_WAY_DEAD) {
		dv_verify_tell(v, &at, DV_FINDING_UNFINISHED, DV_CLASS_NOTE,
			       "bytes were being added to it; the next mount finishes that", NULL);
		return 0;
	}
	/* A record that ended before it was looked for has changed the file before that. */
	if (!dv_verify_is_same(v, item, item->stored, &look->st))
		return -EAGAIN;
	if (v->options->repair) {
		dv_repair_value(v, item, look);
		return 0;
	}
	for (unsigned i = 0; i < look->faults.count; i++)
		dv_verify_tell(v, &at, look->faults.at[i].kind, DV_CLASS_ERROR,
			       look->faults.at[i].detail, NULL);
	if (look->faults.more) {
		char text[64];
		snprintf(text, sizeof(text), "%" PRIu64 " more places like these",
			 look->faults.more);
		dv_verify_tell(v, &at, look->faults.at[0].kind, DV_CLASS_ERROR, text, NULL);
	}
	return 0;
}

static dv_err take_settled(struct dv_verify *v, struct dv_verify_item *item, struct dv_look *look)
{
	dv_err err = 0;
	if (look->faults.count)
		err = judge(v, item, look);
	else
		was_seen(v, &look->st, true);
	if (!err)
		count_value(v, item, look);
	return err;
}

/* -> false: to be looked at again */
static bool look_at_file(struct dv_verify *v, struct dv_verify_item *item, struct dv_look *look)
{
	struct dv_store *s = v->s;
	look->fd = dv_verify_open(v, item, &look->st);
	if (look->fd == -ESTALE) /* gone, which is nobody's fault */
		return true;
	if (look->fd < 0) {
		tell_failure(v, item, look->fd);
		return true;
	}
	bool seen = was_seen(v, &look->st, false);
	dv_err err = seen ? 0 : look_once(v, item, look);
	bool settled = seen || (err != -EAGAIN && is_settled(v, item, look));
	if (settled && err && err != -EAGAIN) {
		tell_failure(v, item, err);
	} else if (settled) {
		/* A file that is put aside, or bad, is no half of a pair. */
		if (item->pair[0] && !look->faults.count)
			settled = dv_verify_pair(v, item, look) == 0;
		if (settled)
			settled = take_settled(v, item, look) == 0;
	}
	DV_B(s, close, look->fd);
	return settled;
}

void dv_verify_file(struct dv_verify *v, struct dv_scan *scan, struct dv_verify_item *item)
{
	DV_AUTO_FREE struct dv_look *look = calloc(1, sizeof(*look));
	if (!look) {
		tell_failure(v, item, -ENOMEM);
		return;
	}
	look->scan = scan;
	for (int i = 0; i < TRIES; i++) {
		if (look_at_file(v, item, look))
			return;
		let_it_age();
	}
	count_in_use(v);
}
