/* SPDX-License-Identifier: MIT */
/*
 * init.c - makes a folder a store, and finds out who has one mounted.
 *
 * The config file is written last, through a temporary name: a folder is a store from the moment
 * its config is whole.
 */
#include "core/adopt.h"
#include "core/cleanup.h"
#include "core/dict.h"
#include "core/globs.h"
#include "core/internal.h"
#include "core/io.h"
#include "core/log.h"
#include "core/ops.h"
#include "core/owner.h"

#include <stdio.h>
#include <string.h>

#define CONFIG_PATH DV_CONTROL_DIR "/config"
#define CONFIG_TEMP DV_CONTROL_DIR "/config.new"

static dv_err say(char *why, size_t size, dv_err err, const char *path, const char *text)
{
	snprintf(why, size, "%s %s", path, text);
	return err;
}

static dv_err say_error(char *why, size_t size, dv_err err, const char *path)
{
	snprintf(why, size, "%s: %s", path, strerror(-err));
	return err;
}

static dv_err make_control(struct dv_store *s)
{
	dv_err err = DV_B(s, mkdir, s->rootfd, DV_CONTROL_DIR, 0700);
	return err == -EEXIST ? 0 : err;
}

dv_err dv_write_config(struct dv_store *s)
{
	char *text = NULL;
	dv_err err = dv_config_write(&s->config, &text);
	if (err)
		return err;
	int fd = DV_B(s, open, s->rootfd, CONFIG_TEMP, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW,
		      0600);
	if (fd < 0)
		err = fd;
	size_t len = strlen(text);
	if (!err)
		err = dv_write_full(s, fd, text, len, 0);
	free(text);
	if (!err)
		err = DV_B(s, fsync, fd);
	if (fd >= 0)
		DV_B(s, close, fd);
	if (!err)
		err = DV_B(s, rename, s->rootfd, CONFIG_TEMP, s->rootfd, CONFIG_PATH, 0);
	if (err)
		return err;
	fd = DV_B(s, open, s->rootfd, DV_CONTROL_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	err = DV_B(s, fsync, fd);
	DV_B(s, close, fd);
	return err ? err : DV_B(s, fsync, s->rootfd);
}

/* Makes the folder where it is missing; its parent must be there. */
static dv_err open_or_make(struct dv_store *s, const char *path)
{
	s->rootfd = DV_B(s, open_root, path);
	if (s->rootfd != -ENOENT)
		return s->rootfd < 0 ? s->rootfd : 0;
	DV_AUTO_FREE char *parent = strdup(path);
	if (!parent)
		return -ENOMEM;
	size_t len = strlen(parent);
	while (len > 1 && parent[len - 1] == '/')
		parent[--len] = '\0';
	char *slash = strrchr(parent, '/');
	const char *name = slash ? slash + 1 : parent;
	DV_AUTO_FREE char *last = strdup(name);
	if (!last)
		return -ENOMEM;
	if (slash)
		slash[slash == parent] = '\0';
	int dirfd = DV_B(s, open_root, slash ? parent : ".");
	if (dirfd < 0)
		return dirfd;
	dv_err err = DV_B(s, mkdir, dirfd, last, 0755);
	if (!err)
		err = DV_B(s, fsync, dirfd);
	DV_B(s, close, dirfd);
	if (err)
		return err;
	s->rootfd = DV_B(s, open_root, path);
	return s->rootfd < 0 ? s->rootfd : 0;
}

static dv_err choose_layout(struct dv_store *s, const struct dv_init_options *o, char *why,
			    size_t why_size)
{
	if (!o->layout && !o->dict)
		return 0;
	dv_err err = o->layout ? dv_coding_parse(o->layout, &s->config.coding, why, why_size) : 0;
	if (err)
		return err;
	const char *fault = NULL;
	if (o->compress)
		fault = "a store in diskv's layout is compressed as its layout says; leave "
			"compress "
			"out";
	else if (o->decode_zst || o->keep_zst)
		fault = "in diskv's layout a file that ends in .zst is a value like any other; "
			"leave "
			"decode_zst and keep_zst out";
	else if (o->dict && s->config.coding.kind != DV_CODING_ZLIB)
		fault = "a dictionary goes with layout=diskv:zlib only";
	else if (o->dict && (o->dict_len == 0 || o->dict_len > DV_DICT_MAX))
		fault = "a dictionary holds 1 byte to 1 MiB";
	if (fault) {
		snprintf(why, why_size, "%s", fault);
		return -EINVAL;
	}
	s->config.format = DV_FORMAT_MAX;
	s->config.compress = 0;
	dv_transform_set_spelling(s->transform, DV_SPELL_PLAIN); /* for what looks at the files */
	return 0;
}

static dv_err choose(struct dv_store *s, const struct dv_init_options *o, char *why,
		     size_t why_size)
{
	const char *spec = o->plugin ? o->plugin->spec : o->transform ? o->transform : "path";
	dv_err err = dv_transform_new(spec, &s->transform, why, why_size);
	if (!err && o->plugin) {
		dv_transform_bind(s->transform, o->plugin);
		err = dv_transform_check_laws(s->transform, why, why_size);
	}
	if (err)
		return err;
	snprintf(s->config.transform, sizeof(s->config.transform), "%s",
		 dv_transform_spec(s->transform));
	err = choose_layout(s, o, why, why_size);
	if (err)
		return err;
	if (o->compress && dv_config_set_compress(&s->config, o->compress)) {
		snprintf(why, why_size,
			 "compress=%s: it is none, zstd or zstd:LEVEL with a level from -7 to 19",
			 o->compress);
		return -EINVAL;
	}
	char fault[256];
	if (o->nopack && dv_globs_check(o->nopack, fault, sizeof(fault))) {
		snprintf(why, why_size, "nopack: %s", fault);
		return -EINVAL;
	}
	if (o->nopack && !(s->config.nopack = strdup(o->nopack)))
		return -ENOMEM;
	if (o->frame_size)
		s->config.frame_size = o->frame_size;
	if (s->config.frame_size < DV_FRAME_SIZE_MIN || s->config.frame_size > DV_FRAME_SIZE_MAX ||
	    (s->config.frame_size & (s->config.frame_size - 1))) {
		snprintf(why, why_size, "frame size %u: it is a power of two from 4K to 4M",
			 s->config.frame_size);
		return -EINVAL;
	}
	return 0;
}

/* What is told of a file is told from the root of the store: puts the store's path before it. */
static dv_err within(const char *path, dv_err err, char *why, size_t why_size)
{
	DV_AUTO_FREE char *file = err && err != -EINVAL && why[0] ? strdup(why) : NULL;
	if (file)
		snprintf(why, why_size, "%s/%s", path, file);
	return err;
}

/* May what lies in the folder become a store? */
static dv_err look_inside(struct dv_store *s, const char *path, const struct dv_init_options *o,
			  char *why, size_t why_size)
{
	struct dv_adoption in;
	bool told = o->decode_zst || o->keep_zst || o->layout;
	dv_err err = within(path, dv_adopt_look(s, !told, &in, why, why_size), why, why_size);
	if (err)
		return err;
	if (in.begun && !o->keep_zst)
		return say(
			why, why_size, -ENOTEMPTY, path,
			"was being adopted with --keep-zst, which was interrupted: run that again");
	if (!in.empty && !o->adopt)
		return say(why, why_size, -ENOTEMPTY, path,
			   "holds files; diskvfs init --adopt makes it a store with these as its "
			   "values");
	if (!in.zst[0] || told)
		return 0;
	snprintf(why, why_size,
		 "%s holds files that end in .zst (%s); choose with --adopt --decode-zst that each "
		 "is "
		 "served as its content, or with --adopt --keep-zst as the file that it is",
		 path, in.zst);
	return -ENOTEMPTY;
}

static dv_err check_and_write(struct dv_store *s, const char *path, const struct dv_init_options *o,
			      char *why, size_t why_size)
{
	struct dv_stat st, root;
	dv_err err = DV_B(s, stat, s->rootfd, CONFIG_PATH, &st);
	if (!err)
		return say(why, why_size, -EEXIST, path, "is a store already");
	if (err != -ENOENT)
		return say(why, why_size, err, path, "can not be looked into");
	err = DV_B(s, stat, s->rootfd, "", &root);
	if (!err)
		err = look_inside(s, path, o, why, why_size);
	if (!err && o->keep_zst)
		err = within(path, dv_adopt_keep(s, why, why_size), why, why_size);
	if (err)
		return why[0] ? err : say_error(why, why_size, err, path);
	err = make_control(s);
	if (!err && o->dict)
		err = dv_dict_save(s, o->dict, o->dict_len);
	if (!err)
		err = dv_write_config(s);
	if (!err && o->keep_zst)
		dv_adopt_done(s);
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, root.mtime};
	if (o->adopt)
		dv_ignore(DV_B(s, utimens, s->rootfd, times)); /* not the owner: it moves to now */
	return err ? say_error(why, why_size, err, path) : 0;
}

dv_err dv_store_init(struct dv_backing backing, const char *path,
		     const struct dv_init_options *options, char *why, size_t why_size)
{
	DV_AUTO_FREE struct dv_store *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	why[0] = '\0';
	s->b = backing;
	s->rootfd = -1;
	dv_config_init(&s->config);
	dv_err err = choose(s, options, why, why_size);
	if (!err) {
		err = open_or_make(s, path);
		if (err)
			err = say_error(why, why_size, err, path);
	}
	if (!err)
		err = check_and_write(s, path, options, why, why_size);
	if (s->rootfd >= 0)
		DV_B(s, close, s->rootfd);
	dv_transform_free(&s->transform);
	dv_config_release(&s->config);
	return err;
}

/* ---- who has it mounted ---- */

/* The mountpoint of a live owner. -> true: found. */
static bool owner_mount(struct dv_store *s, int stagefd, const char *owner, char *buf, size_t size)
{
	char text[DV_OWNER_MAX + 1];
	int fd = DV_B(s, open, stagefd, owner, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return false;
	bool here = dv_owner_is_here(s, fd, text);
	DV_B(s, close, fd);
	return here && dv_owner_field(text, "mountpoint", buf, size) == 0 && buf[0];
}

dv_err dv_store_find_mount(struct dv_backing backing, const char *path, char *buf, size_t buf_size)
{
	enum { BUF = 32768, MAX = 256 };
	DV_AUTO_FREE struct dv_store *s = calloc(1, sizeof(*s));
	DV_AUTO_FREE char *raw = malloc(BUF);
	DV_AUTO_FREE struct dv_dirent *ents = malloc(MAX * sizeof(*ents));
	if (!s || !raw || !ents)
		return -ENOMEM;
	buf[0] = '\0';
	s->b = backing;
	int root = DV_B(s, open_root, path);
	if (root < 0)
		return root;
	int stagefd = DV_B(s, open, root, DV_STAGE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	DV_B(s, close, root);
	if (stagefd < 0)
		return stagefd == -ENOENT ? 0 : stagefd;
	bool found = false;
	int64_t cookie = 0;
	ssize_t n;
	while (!found && (n = DV_B(s, readdir, stagefd, cookie, raw, BUF, ents, MAX)) > 0)
		for (ssize_t i = 0; i < n && !found; i++) {
			found = owner_mount(s, stagefd, ents[i].name, buf, buf_size);
			cookie = ents[i].cookie;
		}
	DV_B(s, close, stagefd);
	if (!found)
		buf[0] = '\0';
	return 0;
}
