/* SPDX-License-Identifier: MIT */
/*
 * order.c - a window over a sorted directory.
 *
 *   window   [ entry ][ entry ] ... [ free ]
 *   entry    u8 not/is a directory | text NUL | name NUL
 *   index    where each entry begins, in the order in which they are given
 *
 * Entries are compared as a whole, the kind behind the text, so that each has its own place in the
 * order and `last` tells which were given. Where the window is full its larger half is dropped, and
 * `cut` is set: they are found again by the next read.
 */
#include "core/order.h"
#include "core/cleanup.h"

#include <dirent.h>
#include <string.h>

#define ENTRY_MAX    (1 + DV_ORDER_TEXT + DV_NAME_MAX + 1)
#define READ_BYTES   32768u
#define READ_MAX     1024u
#define WINDOW_LEAST (2 * ENTRY_MAX)

struct dv_order {
	dv_order_text_fn *text;
	void *ctx;
	size_t window; /* bytes at most */
	char *bytes;
	size_t used, room;
	uint32_t *index;
	size_t count, index_room, next;
	char last[ENTRY_MAX];  /* the last one of the window before this one */
	char bound[ENTRY_MAX]; /* cut: what is not smaller stays for a later window */
	bool has_last, cut, filled;
	struct dv_dirent lent;
};

static const char *text_of(const char *entry)
{
	return entry + 1;
}

static const char *name_of(const char *entry)
{
	return entry + 1 + strlen(entry + 1) + 1;
}

static size_t size_of(const char *entry)
{
	const char *name = name_of(entry);
	return (size_t)(name - entry) + strlen(name) + 1;
}

static int compare(const char *a, const char *b)
{
	int order = strcmp(text_of(a), text_of(b));
	if (!order)
		order = (a[0] == DT_DIR) - (b[0] == DT_DIR);
	return order ? order : strcmp(name_of(a), name_of(b));
}

static int by_order(const void *a, const void *b, void *bytes)
{
	return compare((char *)bytes + *(const uint32_t *)a, (char *)bytes + *(const uint32_t *)b);
}

static int by_place(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

struct dv_order *dv_order_new(size_t window, dv_order_text_fn *text, void *ctx)
{
	struct dv_order *o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->window = window < WINDOW_LEAST ? WINDOW_LEAST : window;
	o->text = text;
	o->ctx = ctx;
	return o;
}

void dv_order_free(struct dv_order **o)
{
	if (!*o)
		return;
	free((*o)->bytes);
	free((*o)->index);
	free(*o);
	*o = NULL;
}

/* Keeps the smaller half of the window. */
static void drop_half(struct dv_order *o)
{
	qsort_r(o->index, o->count, sizeof(*o->index), by_order, o->bytes);
	o->count = (o->count + 1) / 2;
	const char *largest = o->bytes + o->index[o->count - 1];
	memcpy(o->bound, largest, size_of(largest));
	o->cut = true;
	qsort(o->index, o->count, sizeof(*o->index), by_place);
	size_t used = 0;
	for (size_t i = 0; i < o->count; i++) {
		const char *entry = o->bytes + o->index[i];
		size_t size = size_of(entry);
		memmove(o->bytes + used, entry, size);
		o->index[i] = (uint32_t)used;
		used += size;
	}
	o->used = used;
}

/* Doubled up to the window's size. */
static dv_err make_room(struct dv_order *o, size_t size)
{
	if (o->count == o->index_room) {
		size_t room = o->index_room ? o->index_room * 2 : 64;
		uint32_t *grown = realloc(o->index, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		o->index = grown;
		o->index_room = room;
	}
	while (size > o->room - o->used) {
		if (o->room == o->window) {
			drop_half(o);
			continue;
		}
		size_t room = o->room ? o->room * 2 : 4096;
		if (room > o->window)
			room = o->window;
		char *grown = realloc(o->bytes, room);
		if (!grown)
			return -ENOMEM;
		o->bytes = grown;
		o->room = room;
	}
	return 0;
}

static dv_err add(struct dv_order *o, const struct dv_dirent *e)
{
	char text[DV_ORDER_TEXT], entry[ENTRY_MAX];
	if (!strcmp(e->name, ".") || !strcmp(e->name, ".."))
		return 0;
	if (strlen(e->name) > DV_NAME_MAX)
		return -ENAMETOOLONG;
	dv_err err = o->text(o->ctx, e, text);
	if (err)
		return err == -ENOENT ? 0 : err;
	entry[0] = (char)e->type;
	strcpy(stpcpy(entry + 1, text) + 1, e->name);
	if (o->has_last && compare(entry, o->last) <= 0)
		return 0;
	if (o->cut && compare(entry, o->bound) >= 0)
		return 0;
	size_t size = size_of(entry);
	err = make_room(o, size);
	/* Making room may have set the bound. */
	if (err || (o->cut && compare(entry, o->bound) >= 0))
		return err;
	memcpy(o->bytes + o->used, entry, size);
	o->index[o->count++] = (uint32_t)o->used;
	o->used += size;
	return 0;
}

/* Not every filesystem tells the type with the name. */
static void find_type(struct dv_store *s, int fd, struct dv_dirent *e)
{
	struct dv_stat st;
	if (e->type == DT_UNKNOWN && DV_B(s, stat, fd, e->name, &st) == 0)
		e->type = IFTODT(st.mode);
}

static dv_err fill(struct dv_store *s, struct dv_order *o, int fd)
{
	DV_AUTO_FREE char *buf = malloc(READ_BYTES);
	DV_AUTO_FREE struct dv_dirent *ents = malloc(READ_MAX * sizeof(*ents));
	if (!buf || !ents)
		return -ENOMEM;
	int64_t cookie = 0;
	o->used = o->count = o->next = 0;
	o->cut = false;
	for (;;) {
		ssize_t n = DV_B(s, readdir, fd, cookie, buf, READ_BYTES, ents, READ_MAX);
		if (n < 0)
			return (dv_err)n;
		if (n == 0)
			break;
		cookie = ents[n - 1].cookie;
		for (ssize_t i = 0; i < n; i++) {
			find_type(s, fd, &ents[i]);
			dv_err err = add(o, &ents[i]);
			if (err)
				return err;
		}
	}
	if (o->count)
		qsort_r(o->index, o->count, sizeof(*o->index), by_order, o->bytes);
	o->filled = true;
	return 0;
}

dv_err dv_order_peek(struct dv_store *s, struct dv_order *o, int fd, const struct dv_dirent **out)
{
	*out = NULL;
	if (o->filled && o->next == o->count && o->cut) {
		const char *last = o->bytes + o->index[o->count - 1];
		memcpy(o->last, last, size_of(last));
		o->has_last = true;
		o->filled = false;
	}
	if (!o->filled) {
		dv_err err = fill(s, o, fd);
		if (err)
			return err;
	}
	if (o->next == o->count)
		return 0;
	const char *entry = o->bytes + o->index[o->next];
	o->lent = (struct dv_dirent){.type = (uint8_t)entry[0], .name = name_of(entry)};
	*out = &o->lent;
	return 0;
}

void dv_order_take(struct dv_order *o)
{
	if (o->next < o->count)
		o->next++;
}
