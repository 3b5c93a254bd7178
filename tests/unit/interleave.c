/* SPDX-License-Identifier: MIT */
/* interleave.c - see interleave.h. */
#include "tests/unit/interleave.h"

#include "core/cleanup.h"
#include "core/codec.h"
#include "tests/support/check.h"

#include <errno.h>
#include <zlib.h>
#include <zstd.h>

static const struct dv_call root_call = {0};

struct simfs *fs;
struct mount mount_a, mount_b;
__thread bool wrote_all;
const char *world_layout;
bool world_streams;
char world_small;
static bool world_is_there; /* what is written while it is made comes in one piece, and stays raw */

enum { A_AT = 100, X_AT = 300, FRAME = 4096 };

/* ---- values ---- */

static size_t size_of(char letter)
{
	return letter == 'o' ? SIZE_OLD : letter == 'a' ? SIZE_A : SIZE_X;
}

void fill_value(char letter, char *buf, size_t *len)
{
	*len = size_of(letter);
	memset(buf, letter, *len);
}

struct shape parse_value(const char *buf, size_t len)
{
	struct shape none = {.base = '!'}, s = {.base = len ? buf[0] : '!'};
	size_t size = size_of(s.base);
	if (!strchr("oax", s.base) || len < size)
		return none;
	for (size_t i = 0; i < size; i++) {
		if (buf[i] == s.base)
			continue;
		if (i == A_AT && buf[i] == 'A')
			s.a_edit = true;
		else if (i == X_AT && buf[i] == 'X')
			s.x_edit = true;
		else
			return none;
	}
	for (size_t i = size; i < len; i++) {
		if (buf[i] != 'A' && buf[i] != 'X')
			return none;
		s.a_tails += buf[i] == 'A';
		s.x_tails += buf[i] == 'X';
	}
	return s;
}

bool same_shape(struct shape x, struct shape y)
{
	return x.base == y.base && x.a_edit == y.a_edit && x.x_edit == y.x_edit &&
	       x.a_tails == y.a_tails && x.x_tails == y.x_tails;
}

const char *shape_text(struct shape x)
{
	static _Thread_local char text[8][32];
	static _Thread_local unsigned turn;
	char *out = text[turn++ % DV_ARRAY_LEN(text)];
	snprintf(out, sizeof(text[0]), "%c%s%s+%uA%uX", x.base ? x.base : '-', x.a_edit ? "A" : "",
		 x.x_edit ? "X" : "", x.a_tails, x.x_tails);
	return out;
}

/* ---- mounts ---- */

static int has_writer(void *self, struct dv_node *n)
{
	(void)n;
	return ((struct mount *)self)->writers;
}

static void open_mount(struct mount *m, char letter)
{
	char why[256];
	struct dv_store_options o = {.threads = 1, .boot_id = "boot-a"};
	*m = (struct mount){.letter = letter};
	if (world_streams && letter != world_small)
		o.stream_bytes = o.append_bytes = o.segment_bytes = 2 * FRAME;
	o.hooks = (struct dv_store_hooks){.self = m, .has_writer = has_writer};
	CHECK_EQ(dv_store_open(simfs_backing(fs), "/", &o, &m->s, why, sizeof(why)), 0);
	m->root = dv_store_root(m->s);
}

static void close_mount(struct mount *m)
{
	unsigned left = 0;
	dv_node_unref(m->s, m->root);
	CHECK_EQ(dv_store_close(&m->s, &left), 0);
	CHECK_EQ(left, 0);
}

void come_to_rest(struct mount *m)
{
	for (int i = 0; i < 4; i++)
		dv_store_run(m->s, true);
}

struct dv_node *find_node(struct mount *m, const char *name)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	dv_err err = dv_store_lookup(m->s, &root_call, m->root, name, &n, &st);
	return err ? NULL : n;
}

dv_err look_whole(struct mount *m, const char *name, struct shape *out)
{
	char buf[SIZE_MAX_ALL];
	struct dv_node *n = NULL;
	struct dv_stat st;
	*out = (struct shape){0};
	dv_err err = dv_store_lookup(m->s, &root_call, m->root, name, &n, &st);
	if (err)
		return err;
	ssize_t got = dv_store_read(m->s, &root_call, n, buf, (struct dv_range){0, sizeof(buf)});
	dv_node_unref(m->s, n);
	if (got < 0)
		return (dv_err)got;
	*out = parse_value(buf, (size_t)got);
	return 0;
}

static dv_err write_value(struct mount *m, struct dv_node *n)
{
	char buf[SIZE_MAX_ALL];
	size_t len;
	fill_value(m->letter, buf, &len);
	size_t step = world_streams && world_is_there ? FRAME : len;
	for (size_t at = 0; at < len; at += step) {
		struct dv_range part = {at, len - at < step ? len - at : step};
		ssize_t got = dv_store_write(m->s, &root_call, n, buf + at, part, 0);
		if (got != (ssize_t)part.len)
			return got < 0 ? (dv_err)got : -EIO;
	}
	return 0;
}

static dv_err make_value(struct mount *m, const char *name)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	dv_err err = dv_store_mknod(m->s, &root_call, m->root, name, S_IFREG | 0644, 0, &n, &st);
	if (!err)
		err = write_value(m, n);
	dv_node_unref(m->s, n);
	return err;
}

/* ---- what mounts do ---- */

static void closed(struct mount *m)
{
	m->writers = 0;
	wrote_all = true;
	come_to_rest(m);
}

static dv_err do_replace(struct mount *m)
{
	struct dv_setattr set = {.valid = DV_SET_SIZE | DV_SET_BY_NAME};
	struct dv_node *n = NULL;
	struct dv_stat st;
	dv_err err = -ESTALE;
	for (int tries = 0; err == -ESTALE && tries < 3; tries++) { /* as open(2) does */
		err = dv_store_lookup(m->s, &root_call, m->root, "k", &n, &st);
		if (err)
			return err;
		m->writers = 1;
		err = dv_store_setattr(m->s, &root_call, n, &set, &st);
		if (err)
			dv_node_unref(m->s, n);
	}
	if (err) {
		m->writers = 0;
		return err;
	}
	CHECK_EQ(write_value(m, n), 0);
	closed(m);
	dv_node_unref(m->s, n);
	return 0;
}

static dv_err do_rename(struct mount *m)
{
	dv_err err = dv_store_rename(m->s, &root_call, m->root, m->letter == 'a' ? "ta" : "tx",
				     m->root, "k", 0);
	closed(m);
	return err;
}

static dv_err write_one(struct mount *m, uint64_t off, unsigned flags)
{
	struct dv_node *n = find_node(m, "k");
	if (!n)
		return -ENOENT;
	m->writers = 1;
	ssize_t got = dv_store_write(m->s, &root_call, n, m->letter == 'a' ? "A" : "X",
				     (struct dv_range){off, 1}, flags);
	closed(m);
	dv_node_unref(m->s, n);
	return got == 1 ? 0 : got < 0 ? (dv_err)got : -EIO;
}

static dv_err do_edit(struct mount *m)
{
	return write_one(m, m->letter == 'a' ? A_AT : X_AT, 0);
}

static dv_err do_append(struct mount *m)
{
	return write_one(m, 0, DV_WRITE_APPEND);
}

static dv_err do_remove(struct mount *m)
{
	dv_err err = dv_store_unlink(m->s, &root_call, m->root, "k");
	closed(m);
	return err;
}

static dv_err do_create(struct mount *m)
{
	dv_err err = make_value(m, "k");
	closed(m);
	return err;
}

static dv_err do_pack(struct mount *m)
{
	struct dv_pack_result r;
	return dv_store_pack_all(m->s, &r);
}

static dv_err do_unpack(struct mount *m)
{
	struct dv_pack_result r;
	return dv_store_unpack(m->s, "k", &r);
}

static dv_err do_move(struct mount *m)
{
	dv_err err = dv_store_rename(m->s, &root_call, m->root, "k", m->root, "k2", 0);
	closed(m);
	return err;
}

/* ---- what programs in the store do ---- */

struct in_store {
	struct dv_backing k;
	int root;
};

static struct in_store enter_store(void)
{
	struct in_store p = {.k = simfs_backing(fs)};
	p.root = p.k.ops->open_root(p.k.self, "/");
	CHECK(p.root >= 0);
	return p;
}

static void leave_store(struct in_store *p)
{
	p->k.ops->close(p->k.self, p->root);
}

static bool ident(struct in_store *p, const char *name, struct dv_stat *out)
{
	return p->k.ops->stat(p->k.self, p->root, name, out) == 0;
}

static void put_file(struct in_store *p, const char *name, const void *buf, size_t len)
{
	int fd = p->k.ops->open(p->k.self, p->root, "by-shell", O_RDWR | O_CREAT | O_EXCL, 0644);
	CHECK(fd >= 0);
	CHECK_EQ(p->k.ops->pwrite(p->k.self, fd, buf, len, 0), len);
	p->k.ops->close(p->k.self, fd);
	CHECK_EQ(p->k.ops->rename(p->k.self, p->root, "by-shell", p->root, name, 0), 0);
}

static void remove_if_same(struct in_store *p, const char *name, const struct dv_stat *was)
{
	struct dv_stat now;
	if (ident(p, name, &now) && now.ino == was->ino && now.btime.tv_nsec == was->btime.tv_nsec)
		p->k.ops->unlink(p->k.self, p->root, name);
}

/* A whole file of the layout. -> bytes */
static size_t gzip_value(const char *buf, size_t len, char *out, size_t room)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)buf,
		      .avail_in = (uInt)len,
		      .next_out = (Bytef *)out,
		      .avail_out = (uInt)room};
	CHECK_EQ(deflateInit2(&z, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	CHECK_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
	size_t made = z.total_out;
	CHECK_EQ(deflateEnd(&z), Z_OK);
	return made;
}

struct shape unpack_shape(const char *file, size_t len)
{
	char buf[SIZE_MAX_ALL];
	size_t got = ZSTD_decompress(buf, sizeof(buf), file, len);
	return ZSTD_isError(got) ? (struct shape){.base = '!'} : parse_value(buf, got);
}

struct shape gunzip_shape(const char *file, size_t len)
{
	char buf[SIZE_MAX_ALL];
	z_stream z = {.next_in = (Bytef *)(uintptr_t)file,
		      .avail_in = (uInt)len,
		      .next_out = (Bytef *)buf,
		      .avail_out = sizeof(buf)};
	CHECK_EQ(inflateInit2(&z, MAX_WBITS + 16), Z_OK);
	bool good = inflate(&z, Z_FINISH) == Z_STREAM_END;
	size_t got = z.total_out;
	CHECK_EQ(inflateEnd(&z), Z_OK);
	return good ? parse_value(buf, got) : (struct shape){.base = '!'};
}

/* `mv new k`, and the packed form that was there goes. */
static dv_err shell_replaces(struct mount *m)
{
	char buf[SIZE_MAX_ALL];
	size_t len;
	struct dv_stat packed;
	struct in_store p = enter_store();
	(void)m;
	bool had = ident(&p, "k.zst", &packed);
	fill_value('x', buf, &len);
	if (world_layout) {
		char file[SIZE_MAX_ALL];
		put_file(&p, "k", file, gzip_value(buf, len, file, sizeof(file)));
	} else {
		put_file(&p, "k", buf, len);
	}
	if (had)
		remove_if_same(&p, "k.zst", &packed);
	leave_store(&p);
	return 0;
}

/* `mv new.zst k.zst`, and the raw form that was there goes. */
static dv_err shell_puts_packed(struct mount *m)
{
	char buf[SIZE_MAX_ALL], frame[SIZE_MAX_ALL];
	size_t len;
	struct dv_stat raw;
	struct in_store p = enter_store();
	(void)m;
	bool had = ident(&p, "k", &raw);
	fill_value('x', buf, &len);
	ssize_t got = dv_codec_encode(1, buf, len, frame, sizeof(frame));
	CHECK(got > 0);
	put_file(&p, "k.zst", frame, (size_t)got);
	if (had)
		remove_if_same(&p, "k", &raw);
	leave_store(&p);
	return 0;
}

static dv_err shell_removes(struct mount *m)
{
	struct in_store p = enter_store();
	(void)m;
	int err = p.k.ops->unlink(p.k.self, p.root, "k");
	int err2 = p.k.ops->unlink(p.k.self, p.root, "k.zst");
	leave_store(&p);
	return err && err2 ? -ENOENT : 0;
}

static dv_err shell_writes(const char *what, uint64_t off, bool append)
{
	struct in_store p = enter_store();
	dv_err err = 0;
	/* O_NONBLOCK: who holds a lease is asked to give it up; this one comes too late then. */
	int fd = p.k.ops->open(p.k.self, p.root, "k", O_RDWR | O_NONBLOCK, 0);
	if (fd < 0)
		err = fd;
	else if (append)
		CHECK_EQ(p.k.ops->append(p.k.self, fd, what, 1), 1);
	else
		CHECK_EQ(p.k.ops->pwrite(p.k.self, fd, what, 1, off), 1);
	if (fd >= 0)
		p.k.ops->close(p.k.self, fd);
	leave_store(&p);
	return err;
}

static dv_err shell_edits(struct mount *m)
{
	(void)m;
	return shell_writes("X", X_AT, false);
}

static dv_err shell_appends(struct mount *m)
{
	(void)m;
	return shell_writes("X", 0, true);
}

struct shape look_in_store(const char *name, bool *both)
{
	char buf[SIZE_MAX_ALL], frame[SIZE_MAX_ALL], packed[16];
	struct dv_stat st;
	struct shape out = {0};
	struct in_store p = enter_store();
	snprintf(packed, sizeof(packed), "%s.zst", name);
	*both = ident(&p, name, &st) && ident(&p, packed, &st);
	/* Between the two looks the value may be swapped. */
	for (int tries = 0; !out.base && tries < 3; tries++) {
		int fd = p.k.ops->open(p.k.self, p.root, name, O_RDONLY, 0);
		bool raw = fd >= 0;
		if (!raw)
			fd = p.k.ops->open(p.k.self, p.root, packed, O_RDONLY, 0);
		if (fd < 0)
			continue;
		ssize_t got = p.k.ops->pread(p.k.self, fd, raw ? buf : frame, sizeof(buf), 0);
		size_t len = got < 0 ? 0 : (size_t)got;
		if (!raw) {
			out = unpack_shape(frame, len);
		} else {
			out = world_layout ? gunzip_shape(buf, len) : parse_value(buf, len);
		}
		p.k.ops->close(p.k.self, fd);
	}
	leave_store(&p);
	return out;
}

/* ---- what that makes of a state ---- */

static void model_same(struct state *is, char letter)
{
	(void)is, (void)letter;
}

static void model_put(struct state *is, char letter)
{
	is->k = (struct shape){.base = letter};
}

static void model_replace(struct state *is, char letter)
{
	if (is->k.base)
		model_put(is, letter);
}

static void model_edit(struct state *is, char letter)
{
	if (!is->k.base)
		return;
	is->k.a_edit |= letter == 'a';
	is->k.x_edit |= letter == 'x';
}

static void model_append(struct state *is, char letter)
{
	if (!is->k.base)
		return;
	is->k.a_tails += letter == 'a';
	is->k.x_tails += letter == 'x';
}

static void model_remove(struct state *is, char letter)
{
	(void)letter;
	is->k = (struct shape){0};
}

static void model_move(struct state *is, char letter)
{
	(void)letter;
	if (!is->k.base)
		return;
	is->k2 = is->k;
	is->k = (struct shape){0};
}

const struct doing doings[] = {
	{.name = "replace", .run = do_replace, .model = model_replace, .replaces = true},
	{.name = "rename", .run = do_rename, .model = model_put, .replaces = true},
	{.name = "edit", .run = do_edit, .model = model_edit, .on_object = true},
	{.name = "append", .run = do_append, .model = model_append, .on_object = true},
	{.name = "remove", .run = do_remove, .model = model_remove, .replaces = true},
	{.name = "create", .run = do_create, .model = model_put, .needs_none = true},
	{.name = "pack", .run = do_pack, .model = model_same, .not_sealed = true},
	{.name = "unpack", .run = do_unpack, .model = model_same, .not_sealed = true},
	{.name = "move", .run = do_move, .model = model_move, .on_object = true},
	{.name = "shell-replaces",
	 .run = shell_replaces,
	 .model = model_put,
	 .program = true,
	 .replaces = true},
	{.name = "shell-puts-packed",
	 .not_sealed = true,
	 .run = shell_puts_packed,
	 .model = model_put,
	 .program = true,
	 .leaves_twin = true,
	 .replaces = true},
	{.name = "shell-removes",
	 .run = shell_removes,
	 .model = model_remove,
	 .program = true,
	 .replaces = true},
	{.name = "shell-edits",
	 .not_sealed = true,
	 .run = shell_edits,
	 .model = model_edit,
	 .program = true,
	 .on_object = true},
	{.name = "shell-appends",
	 .not_sealed = true,
	 .run = shell_appends,
	 .model = model_append,
	 .program = true,
	 .on_object = true},
};
const size_t doings_count = DV_ARRAY_LEN(doings);

/* ---- the world ---- */

static void make_renamed(const struct forms *forms)
{
	struct dv_pack_result r;
	CHECK_EQ(make_value(&mount_a, "ta"), 0);
	CHECK_EQ(make_value(&mount_b, "tx"), 0);
	if (forms->t_packed) {
		CHECK_EQ(dv_store_pack_all(mount_a.s, &r), 0);
		CHECK_EQ(dv_store_pack_all(mount_b.s, &r), 0);
	}
}

static void make_old(const struct forms *forms)
{
	struct dv_pack_result r;
	mount_a.letter = 'o';
	CHECK_EQ(make_value(&mount_a, "k"), 0);
	mount_a.letter = 'a';
	if (forms->k_packed)
		CHECK_EQ(dv_store_pack_all(mount_a.s, &r), 0);
}

void begin_world(const struct forms *forms, bool there)
{
	char why[256];
	struct dv_init_options o = {.layout = world_layout,
				    .frame_size = world_streams ? FRAME : 0};
	world_is_there = false;
	fs = simfs_new();
	CHECK_EQ(dv_store_init(simfs_backing(fs), "/", &o, why, sizeof(why)), 0);
	open_mount(&mount_a, 'a');
	open_mount(&mount_b, 'x');
	if (there && forms->k_packed)
		make_old(forms); /* before those that are not to be packed with it */
	make_renamed(forms);
	if (there && !forms->k_packed)
		make_old(forms);
	if (world_layout)
		come_to_rest(&mount_a);
	for (int i = 0; i < 2; i++) { /* both know it */
		struct shape is;
		CHECK_EQ(look_whole(i ? &mount_b : &mount_a, "k", &is), there ? 0 : -ENOENT);
	}
	world_is_there = true;
}

void succeed_world(struct simfs *left)
{
	close_mount(&mount_a);
	close_mount(&mount_b);
	simfs_free(fs);
	fs = left;
	open_mount(&mount_a, 'a');
	open_mount(&mount_b, 'x');
}

void end_world(void)
{
	close_mount(&mount_a);
	close_mount(&mount_b);
	CHECK_EQ(simfs_open_fds(fs), 0);
	simfs_free(fs);
}
