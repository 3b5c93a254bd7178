/* SPDX-License-Identifier: MIT */
/*
 * fuzz_store.c - any files, under the names that mean something, as a store: verified, opened, which
 * recovers what a dead owner left, listed, read, packed, repaired.
 *
 *   input   u8: which transform and layout (bits 0 to 2), 8: the machine was started since, 16: it
 *           is repaired before it is opened | entries, as many as there are
 *   entry   u8 kind, u8 name (of names[]), and by kind
 *     0..3  a file: u8 len * (kind + 1) bytes of content
 *     4     a directory
 *     5     a link to the file of u8 name
 *     6     a record in the owner's log: u8 type, u8 flags, u8 name of the raw object, u8 name of the
 *           packed one, u8 id, u8 size, u8 stored_from / 16; name is the key
 *     7     a hole behind the content of the file: u8 size in units of 2^32
 *     8     whole frames: u8 how many - 1 (bits 0 to 2), 8: and their seek table, 16: and they lack an
 *           end; u8 * 4 seeds of the first one (make_frame)
 *     9     the file's tag: u8 flags, u8 plain bytes / 16, u8 times unpacked
 *
 * Nothing crashes or hangs; verify writes nothing; repairs that follow each other come to where
 * there is nothing to mend; no descriptor is left open. Where no record tells that something is to be
 * taken away, the content of each file is still somewhere at the end, if only in lost/.
 */
#include "core/cleanup.h"
#include "core/internal.h"
#include "core/log.h"
#include "core/meta.h"
#include "core/record.h"
#include "core/store.h"
#include "core/transform.h"
#include "core/verify.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/kept.h"
#include "tests/support/simfs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define ENTRIES_MAX 24
#define READ_MAX    (1u << 20) /* bytes of each value */
#define DEPTH_MAX   4
#define ROUNDS_MAX  8 /* of repair */
#define OWNER	    ".diskvfs/stage/boot-1-00000001"

static const char *const names[] = {
	"k",
	"k.zst",
	"k.zst.raw",
	"k.raw",
	"kk",
	"kk.zst",
	"d",
	"d/k",
	"d/k.zst",
	"kk/kk",
	"kk/kk.zst",
	"d.zst",
	"k.txt",
	"k.txt.zst",
	"%2ediskvfs",
	"%2",
	OWNER "/1",
	OWNER "/1.z",
	OWNER "/2",
	OWNER "/log",
	OWNER "/owner",
	OWNER "/via",
	".diskvfs/stage/x",
	".diskvfs/lost",
	".diskvfs/lost/k",
	".diskvfs/config",
	".diskvfs/config.new",
	".diskvfs/dict",
	".diskvfs/reshard",
	"8c",
	"8c/k.zst",
	"\xff\n.zst",
};

static const struct dv_init_options stores[8] = {
	{.transform = "path", .frame_size = 4096},
	{.transform = "flat"},
	{.transform = "split:2", .frame_size = 4096},
	{.transform = "hash:md5:2x1"},
	{.transform = "path", .layout = "diskv:gzip"},
	{.transform = "flat", .layout = "diskv:zlib"},
	{.transform = "path:.txt"},
	{.transform = "split:1", .layout = "diskv"},
};

struct input {
	const uint8_t *at;
	size_t len;
};

struct files {
	struct dv_backing b;
	int root;
};

/* In place of libc's: how long another host is watched for is bounded, but not for a fuzzer. */
int nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)time;
	(void)left;
	return 0;
}

static void no_log(enum dv_log_level level, const char *line)
{
	(void)level;
	(void)line;
}

static uint8_t byte(struct input *in)
{
	if (!in->len)
		return 0;
	in->len--;
	return *in->at++;
}

static const char *name_of(struct input *in)
{
	return names[byte(in) % DV_ARRAY_LEN(names)];
}

/* ---- making ---- */

static void append(struct files *f, const char *name, const void *bytes, size_t len)
{
	struct dv_stat st;
	int fd = f->b.ops->open(f->b.self, f->root, name, O_CREAT | O_RDWR, 0644);
	if (fd < 0)
		return; /* its directory is not there, or it is one */
	if (len && f->b.ops->stat(f->b.self, fd, "", &st) == 0)
		dv_ignore((dv_err)f->b.ops->pwrite(f->b.self, fd, bytes, len, (uint64_t)st.size));
	f->b.ops->close(f->b.self, fd);
}

static void make_hole(struct files *f, const char *name, uint8_t units)
{
	int fd = f->b.ops->open(f->b.self, f->root, name, O_RDWR, 0);
	if (fd < 0)
		return;
	dv_ignore(f->b.ops->truncate(f->b.self, fd, (uint64_t)units << 32));
	f->b.ops->close(f->b.self, fd);
}

static struct dv_ident object(struct files *f, const char *name, struct dv_version *version)
{
	struct dv_stat st;
	if (f->b.ops->stat(f->b.self, f->root, name, &st))
		return (struct dv_ident){0};
	*version = (struct dv_version){.size = (uint64_t)st.size,
				       .mtime_ns = dv_time_ns(st.mtime),
				       .ctime_ns = dv_time_ns(st.ctime)};
	return (struct dv_ident){.dev = st.dev, .ino = st.ino, .btime_ns = dv_time_ns(st.btime)};
}

static bool has_records; /* or claims to */

static void add_record(struct files *f, const char *key, struct input *in)
{
	struct dv_record r = {.path = key, .path_len = strlen(key)};
	struct dv_version ignored;
	uint8_t bytes[512];
	has_records = true;
	r.type = byte(in) % 9;
	r.flags = byte(in);
	r.raw = object(f, name_of(in), &r.raw_version);
	r.packed = object(f, name_of(in), &ignored);
	r.id = byte(in) % 4;
	uint8_t size = byte(in);
	if (size)
		r.raw_version.size = size;
	r.stored_from = byte(in) * 16u;
	r.st_ino = r.raw.ino;
	if (dv_record_bytes(&r) > sizeof(bytes))
		return;
	dv_record_encode(&r, bytes);
	append(f, OWNER "/log", bytes, dv_record_bytes(&r));
}

static void add_frames(struct files *f, const char *name, struct input *in)
{
	static uint8_t bytes[1u << 20];
	/* What mend_zstd() makes a table of. */
	static const uint8_t table[17] = {0x5e, 0x2a, 0x4d, 0x18, 9,	0,    0,    0,	 0,
					  0,	0,    0,    128,  0xb1, 0xea, 0x92, 0x8f};
	uint8_t how = byte(in);
	unsigned seed = 0;
	size_t len = 0;
	for (int i = 0; i < 4; i++)
		seed = seed << 8 | byte(in);
	for (unsigned i = 0; i <= (how & 7u); i++)
		len += make_frame(bytes + len, sizeof(bytes) - len, seed + i * 0x10001);
	if (how & 8) {
		memcpy(bytes + len, table, sizeof(table));
		len = mend_zstd(bytes, len + sizeof(table), sizeof(bytes), 1u << 12);
	}
	if ((how & 16) && len > 11)
		len -= 11;
	append(f, name, bytes, len);
}

static void add_tag(struct files *f, const char *name, struct input *in)
{
	struct dv_store s = {.b = f->b, .has_xattrs = true};
	struct dv_stat st;
	uint8_t flags = byte(in);
	struct dv_tag tag = {.has_size = flags & 1,
			     .has_ctime = flags & 2,
			     .single = flags & 4,
			     .stream = flags & 8,
			     .unpacked = flags & 16,
			     .open_end = flags & 32,
			     .anew = flags & 64,
			     .generation = flags};
	int fd = f->b.ops->open(f->b.self, f->root, name, O_RDWR, 0);
	if (fd < 0)
		return;
	tag.plain_size = byte(in) * 16u;
	tag.unpacks = byte(in);
	if (f->b.ops->stat(f->b.self, fd, "", &st) == 0) {
		struct dv_ident id = {
			.dev = st.dev, .ino = st.ino, .btime_ns = dv_time_ns(st.btime)};
		tag.st_ino = st.ino + 1000;
		tag.stored_size = st.size;
		tag.mtime = tag.ctime = tag.swapped = st.mtime;
		dv_tag_store(&s, fd, &id, &tag);
	}
	f->b.ops->close(f->b.self, fd);
}

static void add_entry(struct files *f, struct input *in)
{
	uint8_t kind = byte(in) % 10;
	const char *name = name_of(in);
	size_t len;
	switch (kind) {
	case 4:
		dv_ignore(f->b.ops->mkdir(f->b.self, f->root, name, 0755));
		return;
	case 5:
		dv_ignore(f->b.ops->link(f->b.self, f->root, name_of(in), f->root, name));
		return;
	case 6:
		add_record(f, name, in);
		return;
	case 7:
		make_hole(f, name, byte(in));
		return;
	case 8:
		add_frames(f, name, in);
		return;
	case 9:
		add_tag(f, name, in);
		return;
	default:
		len = byte(in) * (kind + 1u);
		len = len < in->len ? len : in->len;
		append(f, name, in->at, len);
		in->at += len;
		in->len -= len;
	}
}

static void make(struct simfs *fs, uint8_t head, struct input *in)
{
	static const char owner[] = "boot=boot\nhost=here\nname=here\npid=1\nsince=1\nshared=0\n";
	struct files f = {.b = simfs_backing(fs)};
	char why[512];
	require(dv_store_init(f.b, "/store", &stores[head & 7], why, sizeof(why)) == 0);
	f.root = f.b.ops->open_root(f.b.self, "/store");
	require(f.root >= 0);
	dv_ignore(f.b.ops->mkdir(f.b.self, f.root, ".diskvfs/stage", 0700));
	dv_ignore(f.b.ops->mkdir(f.b.self, f.root, OWNER, 0700));
	append(&f, OWNER "/owner", owner, sizeof(owner) - 1);
	for (unsigned i = 0; i < ENTRIES_MAX && in->len > 0; i++)
		add_entry(&f, in);
	f.b.ops->close(f.b.self, f.root);
}

/* ---- using ---- */

static void found(void *self, const struct dv_finding *f)
{
	(void)self;
	if (getenv("FUZZ_TELL"))
		fprintf(stderr, "%s: %s: %s; %s\n", f->file, dv_finding_name(f->kind), f->detail,
			f->done ? f->done : "");
	require(f->file && f->detail && dv_finding_name(f->kind));
}

static dv_err verify(struct simfs *fs, const char *boot, bool repair, struct dv_verify_result *r)
{
	const struct dv_verify_options o = {.repair = repair, .jobs = 1, .boot_id = boot};
	const struct dv_verify_ops ops = {.found = found};
	char why[512];
	dv_err err = dv_store_verify(simfs_backing(fs), "/store", &o, &ops, r, why, sizeof(why));
	require(err <= 0);
	return err;
}

struct listing {
	struct dv_store *s;
	unsigned count;
	char names[64][DV_NAME_MAX + 1];
};

static bool take(void *ctx, const struct dv_list_entry *e)
{
	struct listing *l = ctx;
	if (l->count == DV_ARRAY_LEN(l->names))
		return false;
	snprintf(l->names[l->count++], sizeof(l->names[0]), "%s", e->name);
	return true;
}

static void read_value(struct dv_store *s, struct dv_node *n)
{
	static const struct dv_call call;
	static uint8_t buf[65536];
	for (uint64_t off = 0; off < READ_MAX;) {
		ssize_t got = dv_store_read(s, &call, n, buf, (struct dv_range){off, sizeof(buf)});
		require(got <= (ssize_t)sizeof(buf));
		if (got <= 0)
			break;
		off += (uint64_t)got;
	}
}

static void walk(struct dv_store *s, struct dv_node *dir, unsigned depth)
{
	static const struct dv_call call;
	DV_AUTO_FREE struct listing *l = calloc(1, sizeof(*l));
	struct dv_list *list = NULL;
	require(l != NULL);
	if (dv_list_open(s, dir, &list))
		return;
	dv_ignore(dv_store_list(s, &call, dir, list, 0, take, l));
	dv_list_close(s, &list);
	for (unsigned i = 0; i < l->count; i++) {
		struct dv_node *n = NULL;
		struct dv_stat st;
		if (dv_store_lookup(s, &call, dir, l->names[i], &n, &st))
			continue;
		if (S_ISREG(st.mode))
			read_value(s, n);
		else if (S_ISDIR(st.mode) && depth < DEPTH_MAX)
			walk(s, n, depth + 1);
		dv_node_unref(s, n);
	}
}

static void mount(struct simfs *fs, const char *boot)
{
	const struct dv_store_options o = {
		.threads = 1, .cache_bytes = 1 << 20, .boot_id = boot, .host_id = "here"};
	struct dv_store *s = NULL;
	char why[512];
	dv_err err = dv_store_open(simfs_backing(fs), "/store", &o, &s, why, sizeof(why));
	require(err <= 0 && (!err || why[0]));
	if (err)
		return;
	struct dv_node *root = dv_store_root(s);
	walk(s, root, 0);
	dv_node_unref(s, root);
	(void)dv_store_run(s, true);
	dv_ignore(dv_store_close(&s, NULL));
}

/* What was mended may let more be seen, or be mended: a place is free, a twin can be compared. It ends. */
static void repair(struct simfs *fs, const char *boot)
{
	for (unsigned rounds = 0; rounds < ROUNDS_MAX; rounds++) {
		struct dv_verify_result r = {0};
		if (verify(fs, boot, true, &r) || r.failures || r.fixed == 0)
			return;
	}
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	uint8_t head = byte(&in);
	const char *boot = head & 8 ? "another" : "boot";
	struct dv_verify_result r = {0};
	struct simfs *fs = simfs_new();
	dv_log_set_sink(no_log);
	simfs_advance_clock(fs, 1000000000000u);
	has_records = false;
	make(fs, head, &in);
	simfs_advance_clock(fs, 1000000000000u);

	static struct kept before, after;
	kept_take(&before, simfs_backing(fs), "/store", ".diskvfs");
	unsigned long changes = simfs_changes(fs);
	dv_ignore(verify(fs, boot, false, &r));
	require(simfs_changes(fs) == changes);
	if (head & 16)
		repair(fs, boot);
	mount(fs, boot);
	repair(fs, boot);
	mount(fs, boot);
	kept_take(&after, simfs_backing(fs), "/store", NULL);
	require(has_records || kept_all(&before, &after));
	require(simfs_open_fds(fs) == 0 && simfs_bad_fds(fs) == 0);
	simfs_free(fs);
	return 0;
}
