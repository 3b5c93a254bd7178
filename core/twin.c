/* SPDX-License-Identifier: MIT */
/* twin.c - see twin.h. */
#include "core/twin.h"

#include "core/cleanup.h"
#include "core/fnv.h"
#include "core/journal.h"
#include "core/log.h"
#include "core/meta.h"
#include "core/pending.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS	 4096u /* a power of two, sparse enough for DV_TWINS_MAX */
#define PATH_LEN 4096u

struct dv_twins {
	pthread_mutex_t lock; /* short; none is taken under it */
	unsigned count;
	uint64_t marks[SLOTS]; /* of directory and name; 0: free */
};

dv_err dv_twins_new(struct dv_twins **out)
{
	struct dv_twins *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	*out = t;
	return 0;
}

void dv_twins_free(struct dv_twins **t)
{
	if (!*t)
		return;
	pthread_mutex_destroy(&(*t)->lock);
	free(*t);
	*t = NULL;
}

uint64_t dv_twins_count(struct dv_twins *t)
{
	pthread_mutex_lock(&t->lock);
	uint64_t count = t->count;
	pthread_mutex_unlock(&t->lock);
	return count;
}

/* Was it not there, and is there room? */
static bool add_mark(struct dv_twins *t, uint64_t mark)
{
	bool added = false;
	pthread_mutex_lock(&t->lock);
	size_t i = mark & (SLOTS - 1);
	while (t->marks[i] && t->marks[i] != mark)
		i = (i + 1) & (SLOTS - 1);
	if (!t->marks[i] && t->count < DV_TWINS_MAX) {
		t->marks[i] = mark;
		t->count++;
		added = true;
	}
	pthread_mutex_unlock(&t->lock);
	return added;
}

bool dv_twin_is_foreign(struct dv_store *s, int dirfd, const char *packed, uint64_t ino)
{
	struct dv_stat st;
	struct dv_tag tag;
	if (!packed[0] || DV_B(s, stat, dirfd, packed, &st) || !S_ISREG(st.mode))
		return false;
	return !dv_tag_load(s, dirfd, packed, &st, &tag) || tag.st_ino != ino;
}

uint64_t dv_twin_ino(struct dv_store *s, int dirfd, const char *stored, const struct dv_stat *st)
{
	struct dv_ident id = dv_ident_of(st);
	struct dv_tag tag;
	bool tagged = S_ISREG(st->mode) && dv_tag_load(s, dirfd, stored, st, &tag);
	return tagged ? tag.st_ino : dv_meta_ino(&id);
}

/* Of a value that was packed, whose record is open as long as the log, and says nothing against it; or of
 * what is moved just now. */
static bool says_nothing(const struct dv_record *r)
{
	return r->type == DV_RECORD_VIA ||
	       (r->type == DV_RECORD_SWAP && (r->flags & DV_RECORD_PACKED_WINS));
}

/* Does an open record of the owner folder speak of the packed object? Where that can not be told it
 * may. raw: does one say that this took its place? Then it is to be told. */
static bool folder_speaks_of(struct dv_store *s, int dirfd, const struct dv_ident *packed,
			     const struct dv_ident *raw)
{
	struct dv_pending p;
	bool does = dv_pending_read(s, dirfd, &p) != 0 && !raw;
	for (struct dv_open_record *o = p.open; !does && o; o = o->hh.next)
		does = dv_ident_same_file(&o->r.packed, packed) && !says_nothing(&o->r) &&
		       (!raw ||
			(o->r.type == DV_RECORD_SWAP && dv_ident_same_file(&o->r.raw, raw)));
	dv_pending_release(&p);
	return does;
}

bool dv_twin_is_recorded(struct dv_store *s, const struct dv_ident *packed,
			 const struct dv_ident *raw)
{
	enum { BUF = 32768, MAX = 256 };
	DV_AUTO_FREE char *buf = malloc(BUF);
	DV_AUTO_FREE struct dv_dirent *ents = malloc(MAX * sizeof(*ents));
	int64_t cookie = 0;
	ssize_t n = -1;
	bool known = buf && ents, is = !known && !raw;
	int stagefd =
		DV_B(s, open, s->rootfd, DV_STAGE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (stagefd < 0)
		return !raw;
	while (known && !is && (n = DV_B(s, readdir, stagefd, cookie, buf, BUF, ents, MAX)) > 0)
		for (ssize_t i = 0; i < n && !is; i++) {
			int fd = DV_B(s, open, stagefd, ents[i].name,
				      O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
			cookie = ents[i].cookie;
			/* Gone since, or no folder; else it may. */
			bool none = fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP;
			is = fd >= 0 ? folder_speaks_of(s, fd, packed, raw) : !none && !raw;
			if (fd >= 0)
				DV_B(s, close, fd);
		}
	DV_B(s, close, stagefd);
	return is || (n < 0 && !raw);
}

/* The key's path, for people. */
static void key_text(struct dv_store *s, struct dv_node *dir, const char *name, char *out,
		     size_t size)
{
	char path[PATH_LEN];
	dv_node_path(s, dir, path, sizeof(path));
	size_t len = strlen(path);
	snprintf(path + len, sizeof(path) - len, "%s%s", len ? "/" : "", name);
	dv_log_key(out, size, path);
}

void dv_twin_tell(struct dv_store *s, struct dv_node *dir, const char *name, int dirfd,
		  const char *packed)
{
	char text[1024];
	struct dv_stat st;
	struct dv_ident id;
	if (DV_B(s, stat, dirfd, packed, &st))
		return;
	id = dv_ident_of(&st);
	if (dv_twin_is_recorded(s, &id, NULL)) /* superseded, by another mount: it goes soon */
		return;
	uint64_t mark = dv_fnv1a(DV_FNV1A ^ dir->ino, name, strlen(name));
	if (!add_mark(s->twins, mark | 1))
		return;
	key_text(s, dir, name, text, sizeof(text));
	dv_warn("%s and %s.zst are both in the store: the former is served and stays as it is, the "
		"latter is kept",
		text, text);
}

void dv_twin_release(struct dv_store *s, const struct dv_place *p, uint64_t ino,
		     const struct dv_ident *was)
{
	char as[DV_NAME_MAX + 8], text[1024];
	const char *packed = p->names.packed;
	struct dv_stat st;
	/* Without tags a form that another mount is about to take back looks the same. */
	if (!s->has_xattrs || !dv_twin_is_foreign(s, p->dirfd, packed, ino) ||
	    DV_B(s, stat, p->dirfd, packed, &st))
		return;
	struct dv_ident id = dv_ident_of(&st);
	if (!dv_ident_equal(&id, was)) /* a value that has the name since */
		return;
	if (dv_twin_is_recorded(s, &id, NULL)) /* its owner drops it */
		return;
	key_text(s, p->dir, p->name, text, sizeof(text));
	snprintf(as, sizeof(as), "%s.raw", packed);
	dv_err err = strlen(as) > DV_NAME_MAX
			     ? -ENAMETOOLONG
			     : DV_B(s, rename, p->dirfd, packed, p->dirfd, as, RENAME_NOREPLACE);
	if (err)
		dv_warn("%s is gone, and %s.zst, which lay beside it, shows under the name: it "
			"could not "
			"be renamed to %s.zst.raw: %s",
			text, text, text, strerror(-err));
	else
		dv_warn("%s is gone; %s.zst, which lay beside it, is %s.zst.raw in the store now",
			text, text, text);
}
