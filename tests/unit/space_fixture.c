/* SPDX-License-Identifier: MIT */
/* space_fixture.c - see space_fixture.h. */
#include "tests/unit/space_fixture.h"

#include "core/cleanup.h"

const struct dv_call call = {0};

void no_log(enum dv_log_level level, const char *line)
{
	(void)level;
	(void)line;
}

void open_store(struct fix *f, struct dv_store_options o)
{
	char why[256] = "";
	o.threads = 1;
	o.boot_id = "boot-a";
	dv_err err = dv_store_open(simfs_backing(f->fs), "/", &o, &f->s, why, sizeof(why));
	if (err)
		fprintf(stderr, "%s\n", why);
	CHECK_EQ(err, 0);
	f->root = dv_store_root(f->s);
}

void setup(struct fix *f, struct dv_store_options o, const char *nopack)
{
	char why[256];
	struct dv_init_options init = {.nopack = nopack};
	f->fs = simfs_new();
	CHECK_EQ(dv_store_init(simfs_backing(f->fs), "/", &init, why, sizeof(why)), 0);
	open_store(f, o);
}

void close_store(struct fix *f)
{
	dv_node_unref(f->s, f->root);
	CHECK_EQ(dv_store_close(&f->s, NULL), 0);
}

void teardown(struct fix *f)
{
	close_store(f);
	CHECK_EQ(simfs_open_fds(f->fs), 0);
	CHECK_EQ(simfs_bad_fds(f->fs), 0);
	simfs_free(f->fs);
}

struct dv_node *find(struct fix *f, const char *name)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	CHECK_EQ(dv_store_lookup(f->s, &call, f->root, name, &n, &st), 0);
	return n;
}

char *text_of(size_t len, unsigned seed)
{
	char *text = malloc(len);
	CHECK(text != NULL);
	for (size_t i = 0; i < len; i++)
		text[i] = (char)('a' + (seed + i / 64) % 23);
	return text;
}

struct dv_node *create(struct fix *f, const char *name)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	CHECK_EQ(dv_store_mknod(f->s, &call, f->root, name, S_IFREG | 0644, 0, &n, &st), 0);
	return n;
}

ssize_t write_at(struct fix *f, struct dv_node *n, const char *text, struct dv_range range)
{
	return dv_store_write(f->s, &call, n, text + range.off, range, 0);
}

void put(struct fix *f, const char *name, const char *text, size_t len)
{
	struct dv_node *n = create(f, name);
	CHECK_EQ(write_at(f, n, text, (struct dv_range){0, len}), (ssize_t)len);
	dv_node_unref(f->s, n);
}

bool is(struct fix *f, const char *name, const char *text, size_t len)
{
	DV_AUTO_FREE char *got = malloc(len + 1);
	struct dv_node *n = find(f, name);
	ssize_t r = dv_store_read(f->s, &call, n, got, (struct dv_range){0, len + 1});
	dv_node_unref(f->s, n);
	return r == (ssize_t)len && !memcmp(got, text, len);
}

bool is_packed(struct fix *f, const char *name)
{
	char form[16] = "";
	struct dv_node *n = find(f, name);
	CHECK(dv_store_getxattr(f->s, &call, n, "user.diskvfs.form", form, sizeof(form)) > 0);
	dv_node_unref(f->s, n);
	return !strcmp(form, "packed");
}

void pack_all(struct fix *f)
{
	struct dv_pack_result r;
	CHECK_EQ(dv_store_pack_all(f->s, &r), 0);
}

struct dv_store_stats stats(struct fix *f)
{
	struct dv_store_stats st;
	dv_store_stats(f->s, &st);
	return st;
}
