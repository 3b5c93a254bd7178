/* SPDX-License-Identifier: MIT */
/* parts_fixture.c - see parts_fixture.h. */
#include "tests/unit/parts_fixture.h"
#include "tests/support/folder.h"

#include <fcntl.h>
#include <unistd.h>
#include <zstd.h>

const struct dv_call call;

void no_log(enum dv_log_level level, const char *line)
{
	if (getenv("TEST_LOG"))
		fprintf(stderr, "%d %s\n", level, line);
}

static int has_writer(void *self, struct dv_node *n)
{
	struct fix *f = self;
	(void)n;
	return f->writers;
}

void open_store(struct fix *f)
{
	char why[512];
	struct dv_store_options o = {.threads = 2,
				     .background = f->background,
				     .settle_ms = 50,
				     .stream_bytes = STREAM,
				     .append_bytes = APPEND,
				     .segment_bytes = SEGMENT,
				     .frames_max = f->frames_max,
				     .read_only = f->read_only,
				     .hooks = {.self = f, .has_writer = has_writer}};
	dv_err err = dv_store_open(dv_backing_posix(), f->path, &o, &f->s, why, sizeof(why));
	if (err)
		fprintf(stderr, "open: %s\n", why);
	CHECK_EQ(err, 0);
	f->root = dv_store_root(f->s);
}

void setup(struct fix *f)
{
	char why[512];
	struct dv_init_options init = {.frame_size = FRAME};
	*f = (struct fix){.bytes = calloc(1, MAX + 64)};
	CHECK(f->bytes != NULL);
	folder_make(f->path, "parts");
	CHECK_EQ(dv_store_init(dv_backing_posix(), f->path, &init, why, sizeof(why)), 0);
	open_store(f);
}

void close_store(struct fix *f)
{
	dv_node_unref(f->s, f->n);
	dv_node_unref(f->s, f->root);
	f->n = NULL;
	CHECK_EQ(dv_store_close(&f->s, NULL), 0);
}

void teardown(struct fix *f)
{
	close_store(f);
	folder_remove(f->path);
	free(f->bytes);
}

void make(struct fix *f, const char *name)
{
	dv_node_unref(f->s, f->n);
	CHECK_EQ(dv_store_mknod(f->s, &call, f->root, name, S_IFREG | 0640, 0, &f->n, &f->st), 0);
	f->len = 0;
}

void look_up(struct fix *f, const char *name)
{
	dv_node_unref(f->s, f->n);
	f->n = NULL;
	CHECK_EQ(dv_store_lookup(f->s, &call, f->root, name, &f->n, &f->st), 0);
}

void fill(struct fix *f, size_t off, size_t len, bool noise)
{
	char line[64];
	f->seed++;
	uint64_t x = f->seed * 0x9e3779b97f4a7c15u + 1;
	for (size_t i = 0; i < len; i++) {
		if (i % 32 == 0)
			snprintf(line, sizeof(line), "write %06u at %010zu, text\n", f->seed,
				 off + i);
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		f->bytes[off + i] = noise ? (uint8_t)(x >> 20) : (uint8_t)line[i % 32];
	}
}

void write_at(struct fix *f, size_t off, size_t len, unsigned flags)
{
	CHECK(off + len <= MAX);
	fill(f, off, len, false);
	if (off + len > f->len)
		f->len = off + len;
	CHECK_EQ(dv_store_write(f->s, &call, f->n, f->bytes + off, (struct dv_range){off, len},
				flags),
		 (ssize_t)len);
}

void add(struct fix *f, size_t len)
{
	write_at(f, f->len, len, f->seed & 1 ? DV_WRITE_APPEND : 0);
}

void set_size(struct fix *f, size_t len)
{
	struct dv_setattr set = {.valid = DV_SET_SIZE, .size = len};
	CHECK_EQ(dv_store_setattr(f->s, &call, f->n, &set, &f->st), 0);
	if (len > f->len)
		memset(f->bytes + f->len, 0, len - f->len);
	f->len = len;
}

const char *form(struct fix *f)
{
	static char buf[64];
	ssize_t len =
		dv_store_getxattr(f->s, &call, f->n, "user.diskvfs.form", buf, sizeof(buf) - 1);
	CHECK(len >= 0);
	buf[len] = '\0';
	return buf;
}

long frames(struct fix *f)
{
	char buf[64];
	ssize_t len =
		dv_store_getxattr(f->s, &call, f->n, "user.diskvfs.frames", buf, sizeof(buf) - 1);
	CHECK(len >= 0);
	buf[len] = '\0';
	return atol(buf);
}

struct dv_store_stats stats(struct fix *f)
{
	struct dv_store_stats st;
	dv_store_stats(f->s, &st);
	return st;
}

/* All of it, and pieces that cross borders. */
void check_bytes(struct fix *f)
{
	char *buf = malloc(MAX + 1);
	CHECK(buf != NULL);
	CHECK_EQ(dv_store_getattr(f->s, &call, f->n, &f->st), 0);
	CHECK_EQ(f->st.size, f->len);
	CHECK(f->st.blocks > 0 || !f->len);
	CHECK_EQ(dv_store_read(f->s, &call, f->n, buf, (struct dv_range){0, MAX + 1}),
		 (ssize_t)f->len);
	CHECK(!f->len || !memcmp(buf, f->bytes, f->len));
	for (size_t off = 0; off < f->len; off += FRAME - 700) {
		size_t want = f->len - off < 1500 ? f->len - off : 1500;
		CHECK_EQ(dv_store_read(f->s, &call, f->n, buf, (struct dv_range){off, 1500}),
			 (ssize_t)want);
		CHECK(!memcmp(buf, f->bytes + off, want));
	}
	free(buf);
}

/* The store's own file, as zstd sees it. */
void check_stored(struct fix *f, const char *stored)
{
	char path[200];
	snprintf(path, sizeof(path), "%s/%s", f->path, stored);
	FILE *file = fopen(path, "r");
	CHECK(file != NULL);
	char *in = malloc(2 * MAX), *out = malloc(MAX + 1);
	CHECK(in && out);
	size_t len = fread(in, 1, 2 * MAX, file);
	fclose(file);
	size_t plain = ZSTD_decompress(out, MAX + 1, in, len);
	CHECK(!ZSTD_isError(plain));
	CHECK_EQ(plain, f->len);
	CHECK(!memcmp(out, f->bytes, f->len));
	free(in);
	free(out);
}

bool is_there(struct fix *f, const char *stored)
{
	char path[200];
	snprintf(path, sizeof(path), "%s/%s", f->path, stored);
	return access(path, F_OK) == 0;
}

void remove_stages(struct fix *f)
{
	char path[200];
	snprintf(path, sizeof(path), "%s/.diskvfs/stage", f->path);
	folder_remove(path);
}
