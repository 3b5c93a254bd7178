/* SPDX-License-Identifier: MIT */
/*
 * adopt.c - see adopt.h.
 *
 * A walk of the tree, depth first, holding an open directory and 8 KiB for each level. Renaming in
 * a directory that is being read may bring an entry up again, under its new name, which says that
 * it is done; where a reading renamed anything the directory is read once more, until none is left.
 */
#include "core/adopt.h"

#include "core/cleanup.h"
#include "core/key.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 2048u /* as PATH_MAX allows */
#define BUF_BYTES 8192u
#define ENTS_MAX  256u
#define MARK_PATH DV_CONTROL_DIR "/keep-zst"

enum pass { LOOK, CHECK, RENAME };

struct level {
	int fd;
	int64_t cookie;
	size_t path_len; /* of the walk's path up to here */
	ssize_t count, next;
	bool renamed; /* in this reading */
	struct timespec mtime;
	struct dv_dirent ents[ENTS_MAX];
	char buf[BUF_BYTES];
};

struct walk {
	struct dv_store *s;
	enum pass pass;
	bool begun;
	bool shallow; /* the root alone */
	struct dv_adoption *out;
	char *why;
	size_t why_size;
	struct level **levels;
	unsigned depth;
	char path[4096];
};

/* why[]: what is at the path, and what is wrong with it. */
static dv_err refuse(struct walk *w, const char *name, dv_err err, const char *text)
{
	if (w->why_size && !w->why[0])
		snprintf(w->why, w->why_size, "%s%s%s %s", w->path,
			 w->path[0] && name[0] ? "/" : "", name, text);
	return err;
}

static dv_err refuse_errno(struct walk *w, const char *name, dv_err err)
{
	char text[160];
	snprintf(text, sizeof(text), "can not be %s: %s%s",
		 w->pass == RENAME ? "renamed" : "looked at", strerror(-err),
		 w->pass == RENAME ? "; when that is mended, run this again" : "");
	return refuse(w, name, err, text);
}

static bool ends_in(const char *name, const char *ending)
{
	size_t len = strlen(name), n = strlen(ending);
	return len >= n && strcmp(name + len - n, ending) == 0;
}

/* Does it match .zst(.raw)+$? */
static bool is_raw_of_zst(const char *name)
{
	size_t len = strlen(name);
	while (len > 4 && memcmp(name + len - 4, ".raw", 4) == 0)
		len -= 4;
	return len < strlen(name) && len >= 4 && memcmp(name + len - 4, ".zst", 4) == 0;
}

/* Would a mount take the regular file for a packed value, or, of ".zst", for nothing? Under split
 * and hash the directory decides too: there it is answered with yes. */
static bool is_packed_name(struct dv_store *s, const char *name)
{
	char key[DV_NAME_MAX + 1];
	enum dv_form form;
	if (!ends_in(name, ".zst"))
		return false;
	if (dv_transform_has_shards(s->transform) || strcmp(name, ".zst") == 0)
		return true;
	return dv_names_parse(s->transform, name, true, "", key, &form) == 0 &&
	       form == DV_FORM_PACKED;
}

static dv_err push_level(struct walk *w, int parent, const char *name)
{
	struct dv_store *s = w->s;
	size_t len = strlen(w->path), more = strlen(name);
	struct dv_stat st;
	if (w->depth == DEPTH_MAX || len + more + 2 > sizeof(w->path))
		return refuse(w, name, -ENAMETOOLONG, "lies too deep to be looked through");
	if (!w->levels[w->depth] && !(w->levels[w->depth] = calloc(1, sizeof(struct level))))
		return -ENOMEM;
	int fd = DV_B(s, open, parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0; /* changed meanwhile */
	if (fd == -EXDEV)
		return 0; /* something is mounted there */
	if (fd == -EACCES && w->pass == LOOK)
		return 0; /* nobody can tell */
	if (fd < 0)
		return refuse_errno(w, name, fd);
	dv_err err = DV_B(s, stat, fd, "", &st);
	if (err) {
		DV_B(s, close, fd);
		return refuse_errno(w, name, err);
	}
	struct level *l = w->levels[w->depth++];
	l->fd = fd;
	l->cookie = 0;
	l->count = l->next = 0;
	l->renamed = false;
	l->mtime = st.mtime;
	if (name[0]) {
		snprintf(w->path + len, sizeof(w->path) - len, "%s%s", len ? "/" : "", name);
	}
	l->path_len = strlen(w->path);
	return 0;
}

static void put_back_mtime(struct walk *w, const struct level *l)
{
	struct dv_store *s = w->s;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, l->mtime};
	dv_ignore(DV_B(s, utimens, l->fd, times)); /* not the owner: it moves to now */
}

static void pop_level(struct walk *w)
{
	struct level *l = w->levels[--w->depth];
	if (l->renamed) /* by a run that failed */
		put_back_mtime(w, l);
	struct dv_store *s = w->s;
	DV_B(s, close, l->fd);
	w->path[w->depth ? w->levels[w->depth - 1]->path_len : 0] = '\0';
}

/* May the file be renamed? */
static dv_err check_one(struct walk *w, int dirfd, const char *name)
{
	struct dv_store *s = w->s;
	char raw[DV_NAME_MAX + 8];
	struct dv_stat st;
	snprintf(raw, sizeof(raw), "%s.raw", name);
	if (strlen(raw) > DV_NAME_MAX)
		return refuse(w, name, -ENAMETOOLONG,
			      "has a name that leaves no room for .raw; rename it");
	dv_err err = DV_B(s, stat, dirfd, raw, &st);
	if (!err)
		return refuse(w, raw, -EEXIST, "is in the way of the file without .raw; rename it");
	return err == -ENOENT ? 0 : refuse_errno(w, raw, err);
}

static dv_err rename_one(struct walk *w, struct level *l, const char *name)
{
	struct dv_store *s = w->s;
	char raw[DV_NAME_MAX + 8];
	dv_err err = check_one(w, l->fd, name);
	if (err)
		return err;
	snprintf(raw, sizeof(raw), "%s.raw", name);
	err = DV_B(s, rename, l->fd, name, l->fd, raw, RENAME_NOREPLACE);
	if (err == -ENOENT)
		return 0;
	l->renamed |= !err;
	return err ? refuse_errno(w, name, err) : 0;
}

static dv_err look_at_file(struct walk *w, struct level *l, const char *name)
{
	if (!is_packed_name(w->s, name)) {
		/* Only names as a whole run would make are its own. */
		if (w->pass == CHECK && !w->begun && is_raw_of_zst(name))
			return refuse(
				w, name, -EEXIST,
				"would be shown without its .raw: rename it, or, if it is of a "
				"store whose .diskvfs is gone, adopt it with --decode-zst");
		return 0;
	}
	if (w->pass == CHECK)
		return check_one(w, l->fd, name);
	if (w->pass == RENAME)
		return rename_one(w, l, name);
	if (!w->out->zst[0])
		snprintf(w->out->zst, sizeof(w->out->zst), "%s%s%s", w->path, w->path[0] ? "/" : "",
			 name);
	return 0;
}

static dv_err look_at(struct walk *w, struct level *l, const struct dv_dirent *e)
{
	struct dv_store *s = w->s;
	uint8_t type = e->type;
	bool top = w->depth == 1;
	if (top && (!strcmp(e->name, DV_CONTROL_DIR) || !strcmp(e->name, "lost+found")))
		return 0;
	if (w->pass == LOOK)
		w->out->empty = false;
	if (type == DT_UNKNOWN) {
		struct dv_stat st;
		if (DV_B(s, stat, l->fd, e->name, &st))
			return 0;
		type = IFTODT(st.mode);
	}
	if (type == DT_REG)
		return look_at_file(w, l, e->name);
	/* flat has no directories: what lies in them is in no mount. */
	if (type == DT_DIR && !w->shallow &&
	    (dv_transform_has_dirs(s->transform) || dv_transform_has_shards(s->transform)))
		return push_level(w, l->fd, e->name);
	return 0;
}

/* Renamed names are durable, the directory has the time it had. */
static dv_err end_reading(struct walk *w, struct level *l)
{
	struct dv_store *s = w->s;
	dv_err err = DV_B(s, fsync, l->fd);
	put_back_mtime(w, l);
	return err ? refuse_errno(w, "", err) : 0;
}

/* The next entry of the innermost directory, or one level up. */
static dv_err step(struct walk *w)
{
	struct dv_store *s = w->s;
	struct level *l = w->levels[w->depth - 1];
	if (l->next < l->count) {
		const struct dv_dirent *e = &l->ents[l->next++];
		l->cookie = e->cookie;
		return look_at(w, l, e);
	}
	l->next = 0;
	l->count = DV_B(s, readdir, l->fd, l->cookie, l->buf, BUF_BYTES, l->ents, ENTS_MAX);
	if (l->count < 0) {
		dv_err err = (dv_err)l->count;
		l->count = 0;
		return refuse_errno(w, "", err);
	}
	if (l->count)
		return 0;
	if (l->renamed) {
		dv_err err = end_reading(w, l);
		l->renamed = false;
		l->cookie = 0;
		return err;
	}
	pop_level(w);
	return 0;
}

static bool knows_all(const struct walk *w)
{
	return w->pass == LOOK && w->out->zst[0];
}

static dv_err run(struct walk *w)
{
	w->levels = calloc(DEPTH_MAX, sizeof(*w->levels));
	if (!w->levels)
		return -ENOMEM;
	dv_err err = push_level(w, w->s->rootfd, "");
	while (!err && w->depth && !knows_all(w))
		err = step(w);
	while (w->depth)
		pop_level(w);
	for (unsigned i = 0; i < DEPTH_MAX; i++)
		free(w->levels[i]);
	free(w->levels);
	return err;
}

static bool is_begun(struct dv_store *s)
{
	struct dv_stat st;
	return DV_B(s, stat, s->rootfd, MARK_PATH, &st) == 0;
}

dv_err dv_adopt_look(struct dv_store *s, bool deep, struct dv_adoption *out, char *why,
		     size_t why_size)
{
	*out = (struct dv_adoption){.empty = true, .begun = is_begun(s)};
	struct walk w = {.s = s,
			 .pass = LOOK,
			 .out = out,
			 .shallow = !deep,
			 .why = why,
			 .why_size = why_size};
	return run(&w);
}

/* Durable: else a power cut could keep a renaming and lose the mark. */
static dv_err make_mark(struct dv_store *s)
{
	dv_err err = DV_B(s, mkdir, s->rootfd, DV_CONTROL_DIR, 0700);
	if (err && err != -EEXIST)
		return err;
	int fd = DV_B(s, open, s->rootfd, MARK_PATH, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	err = DV_B(s, fsync, fd);
	DV_B(s, close, fd);
	fd = err ? err
		 : DV_B(s, open, s->rootfd, DV_CONTROL_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	err = DV_B(s, fsync, fd);
	DV_B(s, close, fd);
	return err ? err : DV_B(s, fsync, s->rootfd);
}

dv_err dv_adopt_keep(struct dv_store *s, char *why, size_t why_size)
{
	const char *spec = dv_transform_spec(s->transform);
	if (strcmp(spec, "path") != 0 && strcmp(spec, "flat") != 0) {
		snprintf(why, why_size, "--keep-zst is for the transforms path and flat, not %s",
			 spec);
		return -EINVAL;
	}
	bool begun = is_begun(s);
	struct dv_stat st;
	dv_err err = DV_B(s, stat, s->rootfd, "", &st);
	struct walk w = {.s = s, .pass = CHECK, .begun = begun, .why = why, .why_size = why_size};
	if (!err)
		err = run(&w);
	if (!err && !begun) {
		struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st.mtime};
		err = make_mark(s);
		dv_ignore(DV_B(s, utimens, s->rootfd, times)); /* likewise */
	}
	w.pass = RENAME;
	return err ? err : run(&w);
}

void dv_adopt_done(struct dv_store *s)
{
	dv_ignore(DV_B(s, unlink, s->rootfd, MARK_PATH)); /* beside a config it means nothing */
}
