/* SPDX-License-Identifier: MIT */
/* verify_mend.c - see verify_mend.h. */
#include "core/verify_mend.h"

#include "core/cleanup.h"
#include "core/format.h"
#include "core/io.h"
#include "core/meta.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COPY_BYTES (256u << 10)
#define TEXT_BYTES (16u << 10)
#define LINE_MAX_  256u
#define PIECE	   4096u /* entries of a table that are written at once */

/* stored: of `from`; to_off: where they go. buf: COPY_BYTES. */
struct copying {
	int from, to;
	uint8_t *buf;
};
static dv_err copy_bytes(struct dv_store *s, const struct copying *c, struct dv_range stored,
			 uint64_t to_off)
{
	uint64_t off = stored.off, len = stored.len;
	dv_err err = 0;
	while (len && !err) {
		size_t n = len < COPY_BYTES ? (size_t)len : COPY_BYTES;
		err = dv_read_full(s, c->from, c->buf, n, off);
		if (!err)
			err = dv_write_full(s, c->to, c->buf, n, to_off);
		off += n;
		to_off += n;
		len -= n;
	}
	return err;
}

/* ---- whole frames of a damaged file ---- */

struct saving {
	struct dv_store *s;
	int from, to, list;
	uint64_t at, list_at, frames;
	size_t text_len;
	uint8_t buf[COPY_BYTES];
	char text[TEXT_BYTES];
};

static dv_err flush_text(struct saving *w)
{
	dv_err err = dv_write_full(w->s, w->list, w->text, w->text_len, w->list_at);
	w->list_at += w->text_len;
	w->text_len = 0;
	return err;
}

static dv_err save_frame(void *self, const struct dv_scan_frame *f)
{
	struct saving *w = self;
	char plain[64] = "not known";
	if (f->skippable)
		return 0;
	dv_err err = w->text_len + LINE_MAX_ > TEXT_BYTES ? flush_text(w) : 0;
	if (!err)
		err = copy_bytes(w->s, &(struct copying){w->from, w->to, w->buf},
				 (struct dv_range){f->off, f->len}, w->at);
	if (err)
		return err;
	if (f->placed)
		snprintf(plain, sizeof(plain), "%" PRIu64 " to %" PRIu64, f->plain_off,
			 f->plain_off + f->plain_len);
	w->text_len += (size_t)snprintf(
		w->text + w->text_len, LINE_MAX_,
		"bytes of the value: %s; of the damaged file: %" PRIu64 " to %" PRIu64
		"; of this one: %" PRIu64 " to %" PRIu64 "; %" PRIu64 " plain\n",
		plain, f->off, f->off + f->len, w->at, w->at + f->len, f->plain_len);
	w->at += f->len;
	w->frames++;
	return 0;
}

static dv_err save_all(struct dv_verify *v, const struct dv_look *look, struct saving *w)
{
	const struct dv_scan_ops ops = {.self = w, .frame = save_frame};
	struct dv_scan_result r;
	struct dv_store *s = v->s;
	w->text_len = (size_t)snprintf(
		w->text, TEXT_BYTES,
		"Whole %s of a damaged file of %" PRIu64
		" bytes, in their order; from byte A to before B:\n",
		dv_coding_is_sealed(&s->coding) ? "gzip members" : "zstd frames", look->st.size);
	dv_err err = dv_verify_scan(v, look, &ops, &r);
	if (!err)
		err = flush_text(w);
	/* Owner and mode as the file's; where that can not be it is the daemon's, and not lost. */
	dv_ignore(dv_meta_copy(s, w->from, &look->st, w->to));
	dv_ignore(dv_meta_copy(s, w->from, &look->st, w->list));
	if (!err)
		err = DV_B(s, fsync, w->to);
	return err ? err : DV_B(s, fsync, w->list);
}

dv_err dv_mend_save_frames(struct dv_verify *v, const struct dv_verify_item *item,
			   const struct dv_look *look, struct dv_lost_dir *d, struct dv_saved *out)
{
	DV_AUTO_FREE struct saving *w = malloc(sizeof(*w));
	char list[DV_NAME_MAX + 1];
	struct dv_store *s = v->s;
	if (!w)
		return -ENOMEM;
	w->s = s;
	w->from = look->fd;
	w->at = w->list_at = w->frames = 0;
	w->to = dv_lost_create(v, d, item->stored,
			       dv_coding_is_sealed(&s->coding) ? ".frames.gz" : ".frames.zst",
			       out->name);
	w->list = w->to < 0 ? w->to : dv_lost_create(v, d, item->stored, ".frames.txt", list);
	dv_err err = w->list < 0 ? w->list : save_all(v, look, w);
	if (w->to >= 0)
		DV_B(s, close, w->to);
	if (w->list >= 0)
		DV_B(s, close, w->list);
	out->frames = w->frames;
	return err; /* what was written stays: it is said by no one, and harms no one */
}

/* ---- a new table ---- */

struct mending {
	struct dv_layout layout;
	uint32_t *sums;
	uint32_t room;
	bool all_summed;
};

static dv_err add_frame(void *self, const struct dv_scan_frame *f)
{
	struct mending *m = self;
	if (f->skippable || !f->plain_len || f->len > UINT32_MAX || f->plain_len > UINT32_MAX ||
	    m->layout.count >= DV_LAYOUT_FRAMES_MAX)
		return -EFBIG;
	if (m->layout.count == m->room) {
		uint32_t room = m->room ? m->room * 2 : 64;
		uint32_t *grown = realloc(m->sums, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		m->sums = grown;
		m->room = room;
	}
	m->sums[m->layout.count] = f->sum;
	m->all_summed &= f->has_sum;
	return dv_layout_add(&m->layout, f->len, f->plain_len);
}

static dv_err write_table(struct dv_store *s, const struct mending *m, int to, uint8_t *buf,
			  uint64_t *at)
{
	const uint32_t *sums = m->all_summed ? m->sums : NULL;
	size_t n = dv_table_write_head(&m->layout, sums != NULL, buf);
	dv_err err = dv_write_full(s, to, buf, n, *at);
	*at += n;
	for (uint32_t i = 0; !err && i < m->layout.count;) {
		uint32_t count = m->layout.count - i < PIECE ? m->layout.count - i : PIECE;
		n = dv_table_write_entries(&m->layout, sums, i, count, buf);
		err = dv_write_full(s, to, buf, n, *at);
		*at += n;
		i += count;
	}
	if (err)
		return err;
	n = dv_table_write_footer(&m->layout, sums != NULL, buf);
	err = dv_write_full(s, to, buf, n, *at);
	*at += n;
	return err;
}

/* The new file has the old one's attributes, and shows its inode number and times. */
static dv_err give_attributes(struct dv_store *s, const struct dv_look *look,
			      const struct mending *m, uint64_t stored, int to)
{
	const struct dv_stat *st = &look->st;
	const struct timespec times[2] = {st->atime, st->mtime};
	const struct dv_ident old = dv_ident_of(st);
	struct dv_stat now;
	struct dv_tag tag = {0};
	dv_err err = dv_meta_copy(s, look->fd, st, to);
	if (!err)
		err = DV_B(s, utimens, to, times);
	if (!err)
		err = DV_B(s, stat, to, "", &now);
	if (err)
		return err;
	if (!dv_tag_load_fd(s, look->fd, st, &tag))
		tag = (struct dv_tag){.st_ino = dv_meta_ino(&old)};
	tag.has_size = true;
	tag.plain_size = dv_layout_plain_size(&m->layout);
	tag.stored_size = stored;
	tag.single = tag.stream = tag.open_end = false;
	tag.ctime = st->ctime;
	tag.has_ctime = true;
	tag.swapped = now.ctime;
	tag.mtime = now.mtime;
	const struct dv_ident id = dv_ident_of(&now);
	dv_tag_store(s, to, &id, &tag);
	return 0;
}

/* Is the copy what it should be? Its bytes are read again. */
static dv_err check_copy(struct dv_verify *v, const struct dv_look *look, int fd, uint64_t size)
{
	const struct dv_scan_file copy = {fd, size, true, &v->wide};
	const struct dv_scan_ops none = {0};
	struct dv_scan_result r;
	dv_err err = dv_scan_frames(v->s, look->scan, &copy, &none, &r);
	if (!err && (r.bad || r.table != DV_SCAN_TABLE_GOOD || r.plain != look->found.plain))
		err = -EIO;
	return err;
}

static dv_err make_copy(struct dv_verify *v, const struct dv_look *look, struct mending *m, int to)
{
	const struct dv_scan_ops ops = {.self = m, .frame = add_frame};
	DV_AUTO_FREE uint8_t *buf = malloc(COPY_BYTES);
	struct dv_store *s = v->s;
	struct dv_scan_result r;
	if (!buf)
		return -ENOMEM;
	dv_err err = dv_verify_scan(v, look, &ops, &r);
	if (!err && (r.bad || r.plain != look->found.plain))
		err = -EAGAIN;
	uint64_t at = dv_layout_stored_size(&m->layout);
	if (!err)
		err = dv_reserve(s, to, at);
	if (!err)
		err = copy_bytes(s, &(struct copying){look->fd, to, buf}, (struct dv_range){0, at},
				 0);
	if (!err)
		err = write_table(s, m, to, buf, &at);
	if (!err)
		err = check_copy(v, look, to, at);
	if (!err)
		err = give_attributes(s, look, m, at, to);
	return err ? err : DV_B(s, fsync, to);
}

/* The copy and the file take each other's place. */
static dv_err exchange(struct dv_verify *v, const struct dv_verify_item *item,
		       const struct dv_look *look, struct dv_lost_dir *d, const char *name)
{
	struct dv_store *s = v->s;
	const struct dv_ident old = dv_ident_of(&look->st);
	struct dv_stat st;
	dv_err err = DV_B(s, fsync, d->fd); /* the copy has its name */
	if (!err && !dv_verify_is_same(v, item, item->stored, &look->st))
		err = -EREMCHG;
	if (!err)
		err = DV_B(s, rename, d->fd, name, item->dir->fd, item->stored, RENAME_EXCHANGE);
	if (err)
		return err;
	err = DV_B(s, stat, d->fd, name, &st);
	const struct dv_ident now = dv_ident_of(&st);
	if (err || !dv_ident_equal(&now, &old)) {
		err = DV_B(s, rename, d->fd, name, item->dir->fd, item->stored, RENAME_EXCHANGE);
		return err ? err : -EREMCHG;
	}
	err = DV_B(s, fsync, item->dir->fd);
	return err ? err : DV_B(s, fsync, d->fd);
}

/* A copy that came to nothing, if it is what has the name. */
static void drop_copy(struct dv_store *s, int to, const struct dv_lost_dir *d, const char *name)
{
	struct dv_stat copy, named;
	if (DV_B(s, stat, to, "", &copy) || DV_B(s, stat, d->fd, name, &named))
		return;
	const struct dv_ident a = dv_ident_of(&copy), b = dv_ident_of(&named);
	if (dv_ident_equal(&a, &b))
		dv_ignore(DV_B(s, unlink, d->fd, name)); /* stays, then: nobody's value */
}

dv_err dv_mend_table(struct dv_verify *v, const struct dv_verify_item *item,
		     const struct dv_look *look, struct dv_lost_dir *d, char name[DV_NAME_MAX + 1])
{
	struct mending m = {.all_summed = true};
	struct dv_store *s = v->s;
	dv_layout_init(&m.layout);
	int to = dv_lost_create(v, d, item->stored, "", name);
	if (to < 0)
		return to;
	dv_err err = make_copy(v, look, &m, to);
	if (!err)
		err = exchange(v, item, look, d, name);
	if (err)
		drop_copy(s, to, d, name);
	DV_B(s, close, to);
	dv_layout_release(&m.layout);
	free(m.sums);
	return err;
}
