/* SPDX-License-Identifier: MIT */
/*
 * verify_pair.c - two files of one key, of which the mount serves one: are they equal? See
 * twin.h for what makes them.
 *
 * While a mount gives a value its other form both are there for a moment, which its records tell.
 */
#include "core/cleanup.h"
#include "core/io.h"
#include "core/meta.h"
#include "core/twin.h"
#include "core/verify_private.h"

#include <stdio.h>
#include <string.h>

#define PIECE_BYTES (64u << 10)

struct comparing {
	struct dv_store *s;
	int raw;
	bool differ;
	char piece[PIECE_BYTES];
};

static dv_err compare(void *self, const void *plain, size_t len, uint64_t off)
{
	struct comparing *c = self;
	const char *at = plain;
	while (len && !c->differ) {
		size_t n = len < PIECE_BYTES ? len : PIECE_BYTES;
		dv_err err = dv_read_full(c->s, c->raw, c->piece, n, off);
		if (err && err != -EBADMSG)
			return err;
		c->differ = err || memcmp(c->piece, at, n) != 0;
		at += n;
		off += n;
		len -= n;
	}
	return c->differ ? -EILSEQ : 0;
}

/* Of one that decodes, and the raw one. */
static dv_err are_equal(struct dv_verify *v, const struct dv_look *look, const struct dv_look *raw,
			bool *out)
{
	DV_AUTO_FREE struct comparing *c = malloc(sizeof(*c));
	struct dv_scan_result r;
	*out = false;
	if (look->plain != raw->st.size)
		return 0;
	if (!c)
		return -ENOMEM;
	c->s = v->s;
	c->raw = raw->fd;
	c->differ = false;
	const struct dv_scan_ops ops = {.self = c, .bytes = compare};
	dv_err err = dv_verify_scan(v, look, &ops, &r);
	if (err == -EILSEQ)
		return 0;
	*out = !err && !r.bad && r.plain == raw->st.size;
	return err;
}

static void tell(struct dv_verify *v, const struct dv_verify_item *item, const char *detail)
{
	const struct dv_verify_at at = {item->dir, item->stored, item->name};
	dv_verify_tell(v, &at, DV_FINDING_TWIN, DV_CLASS_ERROR, detail,
		       v->options->repair ? "both are kept" : NULL);
}

/* -> true: records tell why both are there, or it was told. */
static bool is_under_way(struct dv_verify *v, const struct dv_verify_item *item,
			 const struct dv_look *look, const struct dv_stat *raw)
{
	const struct dv_verify_at at = {item->dir, item->stored, item->name};
	DV_AUTO_FREE char *key = dv_verify_join(item->dir->key, item->name);
	enum dv_under_way way = key ? dv_verify_under_way(v, key, &look->st, raw) : DV_WAY_ALIVE;
	if (way == DV_WAY_DEAD)
		dv_verify_tell(v, &at, DV_FINDING_UNFINISHED, DV_CLASS_NOTE,
			       "its other form was superseded; the next mount removes it", NULL);
	return way != DV_WAY_NONE;
}

static dv_err judge(struct dv_verify *v, struct dv_verify_item *item, struct dv_look *look,
		    const struct dv_look *raw)
{
	char detail[DV_NAME_MAX + 128];
	bool equal = false;
	dv_err err = are_equal(v, look, raw, &equal);
	if (err && err != -EIO)
		return err;
	if (!dv_verify_is_same(v, item, item->stored, &look->st) ||
	    !dv_verify_is_same(v, item, item->pair, &raw->st))
		return -EAGAIN;
	uint64_t ino = dv_twin_ino(v->s, item->dir->fd, item->pair, &raw->st);
	bool same_value = !dv_twin_is_foreign(v->s, item->dir->fd, item->stored, ino);
	snprintf(detail, sizeof(detail), "%s%s beside %s, which is served",
		 same_value ? "another form of the value, " : "",
		 equal ? "equal bytes" : "other bytes", item->pair);
	if (equal && v->options->repair)
		dv_repair_twin(v, item, look, raw, detail);
	else
		tell(v, item, detail);
	return 0;
}

dv_err dv_verify_pair(struct dv_verify *v, struct dv_verify_item *item, struct dv_look *look)
{
	struct dv_store *s = v->s;
	char detail[DV_NAME_MAX + 128];
	DV_AUTO_FREE struct dv_look *raw = calloc(1, sizeof(*raw));
	if (!raw)
		return -ENOMEM;
	if (DV_B(s, stat, item->dir->fd, item->pair, &raw->st)) /* one is left by now */
		return 0;
	if (is_under_way(v, item, look, &raw->st))
		return 0;
	if (!S_ISREG(raw->st.mode) || item->form != DV_FORM_PACKED) {
		if (!dv_verify_is_same(v, item, item->stored, &look->st))
			return -EAGAIN;
		snprintf(detail, sizeof(detail), "not served: %s has the name of its key",
			 item->pair);
		tell(v, item, detail);
		return 0;
	}
	raw->fd = dv_open_quiet(s, item->dir->fd, item->pair, DV_VERIFY_READ);
	if (raw->fd < 0)
		return raw->fd == -ENOENT ? 0 : -EAGAIN;
	dv_err err = judge(v, item, look, raw);
	DV_B(s, close, raw->fd);
	return err;
}
