/* SPDX-License-Identifier: MIT */
/* verify_fixture.c - see verify_fixture.h. */
#include "tests/unit/verify_fixture.h"

#include "core/cleanup.h"

#include <fcntl.h>
#include <sys/stat.h>

static const struct dv_call call;

static struct dv_store *open_store(struct vt *t)
{
	struct dv_store_options o = {
		.threads = 1, .boot_id = t->boot ? t->boot : "boot", .cache_bytes = 8 << 20};
	struct dv_store *s = NULL;
	dv_err err = dv_store_open(simfs_backing(t->fs), "/store", &o, &s, t->why, sizeof(t->why));
	if (err)
		fprintf(stderr, "open: %s\n", t->why);
	CHECK_EQ(err, 0);
	return s;
}

static void close_store(struct dv_store *s)
{
	CHECK_EQ(dv_store_close(&s, NULL), 0);
}

void vt_begin_as(struct vt *t, struct dv_init_options options)
{
	memset(t, 0, sizeof(*t));
	t->fs = simfs_new();
	if (!options.frame_size && !options.layout)
		options.frame_size = 4096;
	CHECK_EQ(dv_store_init(simfs_backing(t->fs), "/store", &options, t->why, sizeof(t->why)),
		 0);
}

void vt_begin(struct vt *t, const char *transform)
{
	vt_begin_as(t, (struct dv_init_options){.transform = transform});
}

void vt_end(struct vt *t)
{
	CHECK_EQ(simfs_open_fds(t->fs), 0);
	CHECK_EQ(simfs_bad_fds(t->fs), 0);
	simfs_free(t->fs);
}

void vt_text(const char *key, char *out, size_t len)
{
	char line[64];
	for (size_t at = 0; at < len; at += 32) {
		snprintf(line, sizeof(line), "%08zx %-22.22s\n", at * 2654435761u % 0xffffffffu,
			 key);
		memcpy(out + at, line, len - at < 32 ? len - at : 32);
	}
}

static struct dv_node *find(struct dv_store *s, struct dv_node *dir, const char *name, bool make,
			    mode_t mode)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	dv_err err = dv_store_lookup(s, &call, dir, name, &n, &st);
	if (err == -ENOENT && make)
		err = S_ISDIR(mode) ? dv_store_mkdir(s, &call, dir, name, mode & 07777, &n, &st)
				    : dv_store_mknod(s, &call, dir, name, mode, 0, &n, &st);
	return err ? NULL : n;
}

/* Of a path with slashes; directories are made too. */
static struct dv_node *find_key(struct dv_store *s, const char *key, bool make)
{
	struct dv_node *dir = dv_store_root(s), *n;
	char name[256];
	const char *slash;
	for (; (slash = strchr(key, '/')); key = slash + 1) {
		snprintf(name, sizeof(name), "%.*s", (int)(slash - key), key);
		n = find(s, dir, name, make, S_IFDIR | 0755);
		dv_node_unref(s, dir);
		CHECK(n != NULL);
		dir = n;
	}
	n = find(s, dir, key, make, S_IFREG | 0640);
	dv_node_unref(s, dir);
	return n;
}

void vt_put(struct vt *t, const char *key, size_t len)
{
	DV_AUTO_FREE char *text = malloc(len + 1);
	struct dv_store *s = open_store(t);
	struct dv_node *n = find_key(s, key, true);
	CHECK(n && text);
	vt_text(key, text, len);
	if (len)
		CHECK_EQ(dv_store_write(s, &call, n, text, (struct dv_range){0, len}, 0),
			 (long long)len);
	dv_node_unref(s, n);
	close_store(s);
}

int vt_is(struct vt *t, const char *key, size_t len)
{
	DV_AUTO_FREE char *want = malloc(len + 1);
	DV_AUTO_FREE char *got = malloc(len + 1);
	struct dv_store *s = open_store(t);
	struct dv_node *n = find_key(s, key, false);
	ssize_t is = -ENOENT;
	CHECK(want && got);
	vt_text(key, want, len);
	if (n) {
		is = dv_store_read(s, &call, n, got, (struct dv_range){0, len + 1});
		if (is >= 0)
			is = (size_t)is == len && memcmp(want, got, len) == 0;
		dv_node_unref(s, n);
	}
	close_store(s);
	return (int)is;
}

void vt_pack(struct vt *t)
{
	struct dv_store *s = open_store(t);
	struct dv_pack_result r;
	CHECK_EQ(dv_store_pack_all(s, &r), 0);
	close_store(s);
}

/* ---- files ---- */

struct at {
	struct dv_backing b;
	int root;
};

static struct at enter(struct vt *t)
{
	struct at a = {simfs_backing(t->fs), -1};
	a.root = a.b.ops->open_root(a.b.self, "/store");
	CHECK(a.root >= 0);
	return a;
}

static void leave(struct at *a)
{
	a->b.ops->close(a->b.self, a->root);
}

void vt_write(struct vt *t, const char *path, const void *bytes, size_t len)
{
	struct at a = enter(t);
	int fd = a.b.ops->open(a.b.self, a.root, path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
	CHECK(fd >= 0);
	if (len)
		CHECK_EQ(a.b.ops->pwrite(a.b.self, fd, bytes, len, 0), (long long)len);
	a.b.ops->close(a.b.self, fd);
	leave(&a);
}

size_t vt_read(struct vt *t, const char *path, void *bytes, size_t room)
{
	struct at a = enter(t);
	int fd = a.b.ops->open(a.b.self, a.root, path, O_RDONLY, 0);
	ssize_t n = fd < 0 ? fd : a.b.ops->pread(a.b.self, fd, bytes, room, 0);
	if (n < 0)
		fprintf(stderr, "%s: %zd\n", path, n);
	CHECK(n >= 0);
	a.b.ops->close(a.b.self, fd);
	leave(&a);
	return (size_t)n;
}

bool vt_exists(struct vt *t, const char *path)
{
	struct at a = enter(t);
	struct dv_stat st;
	dv_err err = a.b.ops->stat(a.b.self, a.root, path, &st);
	leave(&a);
	return err == 0;
}

void vt_mkdir(struct vt *t, const char *path)
{
	struct at a = enter(t);
	CHECK_EQ(a.b.ops->mkdir(a.b.self, a.root, path, 0755), 0);
	leave(&a);
}

void vt_rmdir(struct vt *t, const char *path)
{
	struct at a = enter(t);
	CHECK_EQ(a.b.ops->rmdir(a.b.self, a.root, path), 0);
	leave(&a);
}

void vt_rename(struct vt *t, const char *from, const char *to)
{
	struct at a = enter(t);
	CHECK_EQ(a.b.ops->rename(a.b.self, a.root, from, a.root, to, 0), 0);
	leave(&a);
}

void vt_flip(struct vt *t, const char *path, size_t off)
{
	struct at a = enter(t);
	uint8_t byte = 0;
	int fd = a.b.ops->open(a.b.self, a.root, path, O_RDWR, 0);
	CHECK(fd >= 0);
	CHECK_EQ(a.b.ops->pread(a.b.self, fd, &byte, 1, off), 1);
	byte ^= 0x10;
	CHECK_EQ(a.b.ops->pwrite(a.b.self, fd, &byte, 1, off), 1);
	a.b.ops->close(a.b.self, fd);
	leave(&a);
}

void vt_truncate(struct vt *t, const char *path, size_t len)
{
	struct at a = enter(t);
	int fd = a.b.ops->open(a.b.self, a.root, path, O_RDWR, 0);
	CHECK(fd >= 0);
	CHECK_EQ(a.b.ops->truncate(a.b.self, fd, len), 0);
	a.b.ops->close(a.b.self, fd);
	leave(&a);
}

void vt_sync(struct vt *t)
{
	struct at a = enter(t);
	CHECK_EQ(a.b.ops->syncfs(a.b.self, a.root), 0);
	leave(&a);
}

char *vt_contents(struct vt *t)
{
	char *dump = NULL, *out = NULL, line[4096], size[32], hash[32], path[3000];
	size_t dump_len = 0, out_len = 0;
	FILE *to = open_memstream(&dump, &dump_len);
	CHECK(to != NULL);
	simfs_dump(t->fs, to);
	fclose(to);
	FILE *from = fmemopen(dump, dump_len, "r");
	to = open_memstream(&out, &out_len);
	CHECK(from && to);
	while (fgets(line, sizeof(line), from)) {
		if (sscanf(line, "- %*s %31s %31s %2999s", size, hash, path) != 3)
			continue;
		if (!strstr(path, "/.diskvfs/") || strstr(path, "/.diskvfs/lost/"))
			fprintf(to, "%s %s\n", size, hash);
	}
	fclose(from);
	fclose(to);
	free(dump);
	return out;
}

/* ---- verifying ---- */

static void keep(char *to, size_t size, const char *text)
{
	snprintf(to, size, "%s", text ? text : "");
}

static void found(void *self, const struct dv_finding *f)
{
	struct vt *t = self;
	if (t->count == VT_FOUND_MAX)
		return;
	struct vt_finding *k = &t->at[t->count++];
	k->kind = f->kind;
	k->class = f->class;
	keep(k->file, sizeof(k->file), f->file);
	keep(k->key, sizeof(k->key), f->key);
	keep(k->detail, sizeof(k->detail), f->detail);
	keep(k->done, sizeof(k->done), f->done);
}

static void print_all(const struct vt *t)
{
	fprintf(stderr, "verify: %d %s; %zu findings\n", t->err, t->why, t->count);
	for (size_t i = 0; i < t->count; i++)
		fprintf(stderr, "  %d %s: %s (%s): %s: %s\n", t->at[i].class,
			dv_finding_name(t->at[i].kind), t->at[i].file, t->at[i].key,
			t->at[i].detail, t->at[i].done);
}

void vt_verify(struct vt *t, bool repair)
{
	const struct dv_verify_options o = {.repair = repair,
					    .jobs = t->jobs ? t->jobs : 1,
					    .boot_id = t->boot ? t->boot : "boot"};
	const struct dv_verify_ops ops = {.self = t, .found = found};
	t->count = 0;
	t->err = dv_store_verify(simfs_backing(t->fs), "/store", &o, &ops, &t->r, t->why,
				 sizeof(t->why));
}

const struct vt_finding *vt_told(struct vt *t, const char *name, const char *file,
				 const char *detail)
{
	for (size_t i = 0; i < t->count; i++)
		if (!strcmp(dv_finding_name(t->at[i].kind), name) && !strcmp(t->at[i].file, file) &&
		    strstr(t->at[i].detail, detail))
			return &t->at[i];
	fprintf(stderr, "not told: %s of %s: %s\n", name, file, detail);
	print_all(t);
	exit(1);
}

void vt_clean(struct vt *t)
{
	vt_verify(t, false);
	if (t->err || t->r.errors || t->r.failures)
		print_all(t);
	CHECK_EQ(t->err, 0);
	CHECK_EQ(t->r.errors, 0);
	CHECK_EQ(t->r.failures, 0);
}
