/* SPDX-License-Identifier: MIT */
/*
 * fuzz_value.c - any bytes as the file of one value, packed, foreign, gzip, zlib or raw, which is then read
 * and changed.
 *
 *   input   u8: layouts[] | u8: how many operations | operations | rest: the file
 *   operation   u8 kind | u8 length / 64 | u16 offset / 4; from kind 240 on: fsync, and then one that does not
 *               change what the value is, cut short at a call: u8 kind | u8 which call | u16 what the disk keeps;
 *               or one write or truncation, killed: u8 kind | u8 which call | u8 offset / 64 | u8 length / 64
 *
 * What the store gives of the value is what zstd or zlib make of the whole file, or an error; it is an
 * error where they give one. From there on reads give what was written, over packing, unpacking, remounts,
 * kills and power cuts, and at the end the file in the store is decoded by zstd or zlib to the same, and verify finds
 * nothing.
 */
#include "core/cleanup.h"
#include "core/deflate.h"
#include "core/log.h"
#include "core/store.h"
#include "core/verify.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/simfs.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

#define PLAIN_MAX FUZZ_PLAIN_MAX
#define FILE_MAX  (2u * PLAIN_MAX)
#define OPS_MAX	  16u
#define OP_BYTES  4u
#define CUT_SHORT 240u

enum coding { ZSTD, GZIP, ZLIB, RAW };

static const struct {
	struct dv_init_options init;
	enum coding coding;
	const char *file;
	bool small; /* values come in two parts early */
} layouts[8] = {
	{{.frame_size = 4096}, ZSTD, "k.zst", false},
	{{.frame_size = 4096}, ZSTD, "k.zst", true},
	{{.layout = "diskv:gzip"}, GZIP, "k", false},
	{{.layout = "diskv:zlib"}, ZLIB, "k", false},
	{{.frame_size = 4096}, RAW, "k", true},
	{{.transform = "flat"}, ZSTD, "k.zst", false},
	{{.transform = "split:1", .frame_size = 8192}, ZSTD, "k/k.zst", true},
	{{.layout = "diskv"}, RAW, "k", false},
};

static const struct dv_call call;

static struct world {
	struct simfs *fs;
	struct dv_store *s;
	struct dv_node *root, *value;
	unsigned layout;
	char boot[16];
	unsigned boots;
	bool has_table; /* the file as it was given ends in one, whole or not */
	bool had_table; /* it has a frame with the magic number of one */
	bool hides_table; /* in a frame of somebody else's: zstd goes by the frame, verify by the table */
	bool known;	  /* what the value is: model[0..len) */
	size_t len;
	uint8_t model[PLAIN_MAX];
} w;

/* In place of libc's: nothing is waited for. */
int nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)time;
	(void)left;
	return 0;
}

static void no_log(enum dv_log_level level, const char *line)
{
	(void)level;
	if (getenv("FUZZ_TELL"))
		fprintf(stderr, "%s\n", line);
}

/* Is the end of the file, where a table would be, in a skippable frame that begins before it? */
static bool ends_in_a_frame_of_others(const uint8_t *file, size_t len)
{
	for (size_t off = 0, n; off < len; off += n) {
		n = ZSTD_findFrameCompressedSize(file + off, len - off);
		if (ZSTD_isError(n))
			return false;
		if (n == len - off)
			return file[off + 1] == 0x2a && file[off] != 0x5e;
	}
	return false;
}

static void put_file(const uint8_t *bytes, size_t len)
{
	struct dv_backing b = simfs_backing(w.fs);
	int root = b.ops->open_root(b.self, "/store");
	require(root >= 0);
	if (strchr(layouts[w.layout].file, '/'))
		require(b.ops->mkdir(b.self, root, "k", 0755) == 0);
	int fd = b.ops->open(b.self, root, layouts[w.layout].file, O_CREAT | O_RDWR, 0644);
	require(fd >= 0);
	require(b.ops->pwrite(b.self, fd, bytes, len, 0) == (ssize_t)len);
	require(b.ops->syncfs(b.self, fd) == 0);
	b.ops->close(b.self, fd);
	b.ops->close(b.self, root);
}

/* -> as plain_of_zstd() */
static long plain_of(enum coding coding, const uint8_t *file, size_t len, uint8_t *out)
{
	if (coding == ZSTD)
		return plain_of_zstd(file, len, out, PLAIN_MAX);
	if (coding == GZIP || coding == ZLIB)
		return plain_of_deflate(file, len, coding == GZIP, out, PLAIN_MAX);
	require(len <= PLAIN_MAX);
	memcpy(out, file, len);
	return (long)len;
}

static void open_store(void)
{
	bool small = layouts[w.layout].small;
	struct dv_store_options o = {.threads = 1,
				     .cache_bytes = 1u << 20,
				     .boot_id = w.boot,
				     .host_id = "here",
				     .gated_bytes = small ? 5000 : 0,
				     .stream_bytes = small ? 12000 : 0,
				     .append_bytes = small ? 12000 : 0,
				     .segment_bytes = small ? 8192 : 0};
	char why[512];
	require(dv_store_open(simfs_backing(w.fs), "/store", &o, &w.s, why, sizeof(why)) == 0);
	w.root = dv_store_root(w.s);
	struct dv_stat st;
	dv_err err = dv_store_lookup(w.s, &call, w.root, "k", &w.value, &st);
	if (getenv("FUZZ_TELL"))
		fprintf(stderr, "opened: lookup %d, %lld bytes, model %zu, known %d\n", err,
			err ? -1LL : (long long)st.size, w.len, w.known);
	require(err == 0 || (!w.known && err == -EBADMSG));
	if (err)
		w.value = NULL;
	else if (w.known)
		require((size_t)st.size == w.len);
}

static void close_store(void)
{
	dv_node_unref(w.s, w.value);
	dv_node_unref(w.s, w.root);
	dv_err err = dv_store_close(&w.s, NULL);
	require(err == 0 || !w.known);
}

static void require_damage(ssize_t err)
{
	require(!w.known);
	require(err == -EBADMSG || err == -EOPNOTSUPP || err == -EFBIG);
}

/* What there is of [off, off + len) is as it should be, in pieces of `piece`. -> bytes, or the error */
static ssize_t check_read(uint64_t off, size_t len, size_t piece)
{
	static uint8_t buf[PLAIN_MAX];
	for (size_t done = 0; done < len;) {
		size_t want = len - done < piece ? len - done : piece;
		ssize_t n = dv_store_read(w.s, &call, w.value, buf,
					  (struct dv_range){off + done, want});
		if (n < 0) {
			require_damage(n);
			return n;
		}
		require((size_t)n <= want);
		uint64_t from = off + done;
		if (w.known) {
			require(from >= w.len ? n == 0 : from + (size_t)n <= w.len);
			require((size_t)n == want || from + (size_t)n == w.len || from >= w.len);
			require(from >= w.len || !memcmp(buf, w.model + from, (size_t)n));
		}
		if (n == 0)
			return (ssize_t)done;
		done += (size_t)n;
	}
	return (ssize_t)len;
}

/* ---- what is there ---- */

/* Everything that is read comes from the file, or nothing does. -> false: nothing to go on with */
static bool check_given(const uint8_t *file, size_t len, unsigned piece_bits)
{
	static uint8_t plain[PLAIN_MAX], got[PLAIN_MAX];
	enum coding coding = layouts[w.layout].coding;
	long made = plain_of(coding, file, len, plain);
	if (made == -2)
		return false;
	if (coding == ZSTD && (made >= 0 ? !zstd_is_strict(file, len)
					 : zstd_decodes_at_once(file, len, plain, sizeof(plain))))
		return false; /* either answer is right, by whatever way it is read */
	if (!w.value) {	      /* only where it is no value at all */
		require(made < 0);
		return false;
	}
	size_t done = 0, piece = (size_t)512 << (piece_bits % 8);
	ssize_t n = 1;
	for (; n > 0 && done<sizeof(got); done += n> 0 ? (size_t)n : 0) {
		size_t want = sizeof(got) - done < piece ? sizeof(got) - done : piece;
		n = dv_store_read(w.s, &call, w.value, got + done, (struct dv_range){done, want});
	}
	if (n < 0) {
		require_damage(n);
		/* A table that is wrong makes a file that is no less whole for zstd be refused. */
		require(made < 0 || (coding == ZSTD && w.has_table));
		return true;
	}
	/* What is left of an empty value that could not be written whole is one, too. */
	require(made >= 0 || (coding != ZSTD && done == 0 && len < 64));
	made = made < 0 ? 0 : made;
	require((long)done == made && !memcmp(got, plain, done));
	memcpy(w.model, plain, done);
	w.len = done;
	w.known = true;
	return true;
}

/* ---- what is done ---- */

static void change_model(uint64_t off, const uint8_t *bytes, size_t len)
{
	if (off > w.len)
		memset(w.model + w.len, 0, off - w.len);
	memcpy(w.model + off, bytes, len);
	w.len = w.len < off + len ? off + len : w.len;
}

static const uint8_t *pattern(size_t len, uint8_t seed)
{
	static uint8_t bytes[1u << 15];
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(seed & 1 ? i / 64 + seed : (i * 2654435761u + seed) >> 13);
	return bytes;
}

static void write_value(uint64_t off, size_t len, unsigned flags, uint8_t seed)
{
	const uint8_t *bytes = pattern(len, seed);
	uint64_t at = flags & DV_WRITE_APPEND ? w.len : off;
	if (len == 0 || at + len > PLAIN_MAX)
		return;
	ssize_t n = dv_store_write(w.s, &call, w.value, bytes, (struct dv_range){off, len}, flags);
	require(n == (ssize_t)len || !w.known);
	if (w.known)
		change_model(at, bytes, len);
}

static void truncate_value(uint64_t size)
{
	struct dv_setattr set = {.valid = DV_SET_SIZE, .size = size};
	struct dv_stat st;
	dv_err err = dv_store_setattr(w.s, &call, w.value, &set, &st);
	require(err == 0 || !w.known);
	if (err)
		return;
	if (w.known && size > w.len)
		memset(w.model + w.len, 0, size - w.len);
	w.known = w.known || size == 0;
	w.len = size;
}

/* The process that has the store open ends, and another one opens it on what is left. */
static void go_on_with(struct simfs *after)
{
	struct simfs *before = w.fs;
	struct dv_store *dead = w.s;
	struct dv_node *root = w.root, *value = w.value;
	struct dv_stat st;
	bool known = w.known;
	w.fs = after;
	w.known = false;
	open_store();
	dv_err err = w.value ? dv_store_getattr(w.s, &call, w.value, &st) : -EBADMSG;
	w.known = known && !err && (size_t)st.size == w.len;
	require(w.known == known);
	/* What is left of the dead one in memory; its files are no longer looked at. */
	dv_node_unref(dead, value);
	dv_node_unref(dead, root);
	dv_ignore(dv_store_close(&dead, NULL));
	simfs_free(before);
}

/* A write or a truncation that was killed was made, or was not. */
static void change_and_kill(const uint8_t op[OP_BYTES])
{
	static uint8_t before[PLAIN_MAX], got[PLAIN_MAX];
	uint64_t off = op[2] * 64u;
	size_t len = op[3] * 64u, was = w.len, n = 0;
	ssize_t part = 1;
	memcpy(before, w.model, was);
	simfs_power_cut_at(w.fs, 1 + op[1]);
	w.known = false; /* it may fail */
	if (op[0] & 1)
		truncate_value(off);
	else
		write_value(off, len, 0, op[1]);
	simfs_power_cut_at(w.fs, 0);
	go_on_with(simfs_after_kill(w.fs));
	require(w.value != NULL);
	for (; part > 0 && n<sizeof(got); n += part> 0 ? (size_t)part : 0)
		part = dv_store_read(w.s, &call, w.value, got + n,
				     (struct dv_range){n, sizeof(got) - n});
	require(part >= 0);
	w.len = was;
	w.known = true;
	if (n == was && !memcmp(got, before, n))
		return;
	if (op[0] & 1) {
		require(n == off && !memcmp(got, before, n < was ? n : was));
		for (size_t i = was; i < n; i++)
			require(got[i] == 0);
		memcpy(w.model, got, n);
	} else {
		change_model(off, pattern(len, op[1]), len);
		require(n == w.len && !memcmp(got, w.model, n));
	}
	w.len = n;
}

/* What was fsynced is there, whatever was under way, and whatever the disk has kept of that. */
static void cut_short(const uint8_t op[OP_BYTES])
{
	struct dv_pack_result result;
	unsigned seed = op[2] | (unsigned)op[3] << 8;
	if (!w.known || dv_store_fsync(w.s, &call, w.value, false))
		return;
	if ((op[0] >> 1 & 3) == 3) {
		change_and_kill(op);
		return;
	}
	simfs_power_cut_at(w.fs, 1 + op[1]);
	switch (op[0] >> 1 & 3) {
	case 0:
		dv_ignore(dv_store_pack_all(w.s, &result));
		break;
	case 1:
		dv_ignore(dv_store_unpack(w.s, NULL, &result));
		break;
	default:
		(void)dv_store_run(w.s, op[0] & 2);
	}
	if (getenv("FUZZ_TELL"))
		fprintf(stderr, "%s at call %u of %u, disk %u\n", op[0] & 1 ? "power cut" : "kill",
			1u + op[1], op[0] >> 1 & 3u, seed);
	if (op[0] & 1)
		snprintf(w.boot, sizeof(w.boot), "boot%u", (unsigned)++w.boots);
	go_on_with(op[0] & 1 ? simfs_after_cut(w.fs, seed) : simfs_after_kill(w.fs));
	dv_ignore((dv_err)check_read(0, PLAIN_MAX, 65536));
}

static void operate(const uint8_t op[OP_BYTES])
{
	struct dv_pack_result result;
	size_t len = op[1] * 64u + (op[1] & 63u);
	uint64_t off = (op[2] | (uint64_t)op[3] << 8) * 4 + (op[1] & 3u);
	if (getenv("FUZZ_TELL"))
		fprintf(stderr, "operation %u, %zu bytes at %llu of %zu\n", op[0] % 12u, len,
			(unsigned long long)off, w.len);
	if (op[0] >= CUT_SHORT) {
		cut_short(op);
		return;
	}
	switch (op[0] % 12) {
	case 0:
	case 1:
		dv_ignore((dv_err)check_read(off, len + 1, len + 1));
		return;
	case 2:
		write_value(off, len, 0, op[0]);
		return;
	case 3:
	case 4:
		write_value(0, len, DV_WRITE_APPEND, op[0]);
		return;
	case 5:
		truncate_value(op[1] < 32 ? 0 : off);
		return;
	case 6:
		require(dv_store_fsync(w.s, &call, w.value, op[1] & 1) == 0 || !w.known);
		return;
	case 7:
		require(dv_store_pack_all(w.s, &result) == 0 || !w.known);
		return;
	case 8:
		require(dv_store_unpack(w.s, NULL, &result) == 0 || !w.known ||
			layouts[w.layout].init.layout); /* there values have one form */
		return;
	case 9:
		close_store();
		open_store();
		return;
	case 10:
		go_on_with(simfs_after_kill(w.fs));
		return;
	default:
		simfs_advance_clock(w.fs, 1000000000u);
		(void)dv_store_run(w.s, op[1] & 1);
	}
}

/* ---- at the end ---- */

static void found(void *self, const struct dv_finding *f)
{
	(void)self;
	if (getenv("FUZZ_TELL"))
		fprintf(stderr, "%s: %s: %s; %s\n", f->file, dv_finding_name(f->kind), f->detail,
			f->done ? f->done : "");
	require(f->file && f->detail);
	/*
	 * A table whose checksums are wrong leads to the right frames, which may have none of their own; what is
	 * a table but for its last byte is damaged to verify, and a frame of somebody else's to zstd.
	 */
	require(!w.known || f->class == DV_CLASS_NOTE || w.hides_table ||
		(w.had_table && f->kind == DV_FINDING_TABLE) ||
		(w.has_table && strstr(f->detail, "the checksum of the seek table")));
}

static ssize_t read_file(const char *name, uint8_t *out)
{
	struct dv_backing b = simfs_backing(w.fs);
	int root = b.ops->open_root(b.self, "/store");
	int fd = b.ops->open(b.self, root, name, O_RDONLY, 0);
	ssize_t n = fd;
	if (fd >= 0) {
		n = b.ops->pread(b.self, fd, out, FILE_MAX, 0);
		b.ops->close(b.self, fd);
	}
	b.ops->close(b.self, root);
	return n;
}

static void check_stored(void)
{
	static uint8_t file[FILE_MAX], plain[PLAIN_MAX];
	const char *packed = layouts[w.layout].file, *raw = packed;
	bool own = !layouts[w.layout].init.layout;
	enum coding coding = layouts[w.layout].coding;
	if (own) {
		packed = strchr(packed, '/') ? "k/k.zst" : "k.zst";
		raw = strchr(packed, '/') ? "k/k" : "k";
		coding = RAW;
	}
	ssize_t n = read_file(raw, file);
	if (own && n == -ENOENT) {
		coding = ZSTD;
		n = read_file(packed, file);
	}
	require(n >= 0);
	if (!own && w.len == 0 && n < DV_EMPTY_MAX)
		return; /* of an empty value there may be less than a whole stream (coding.h) */
	require(plain_of(coding, file, (size_t)n, plain) == (long)w.len);
	require(!memcmp(plain, w.model, w.len));
}

static void finish(void)
{
	const struct dv_verify_options o = {.jobs = 1, .boot_id = w.boot};
	const struct dv_verify_ops ops = {.found = found};
	struct dv_verify_result r;
	char why[512];
	close_store();
	dv_err err = dv_store_verify(simfs_backing(w.fs), "/store", &o, &ops, &r, why, sizeof(why));
	require(err == 0);
	if (w.known)
		check_stored();
	require(simfs_open_fds(w.fs) == 0 && simfs_bad_fds(w.fs) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char why[512];
	if (len < 2)
		return 0;
	unsigned count = data[1] % (OPS_MAX + 1), piece_bits = data[0] >> 4;
	const uint8_t *ops = data + 2;
	w.layout = data[0] & 7;
	if (len - 2 < count * OP_BYTES || len > PLAIN_MAX)
		return 0;
	const uint8_t *file = ops + count * OP_BYTES;
	size_t file_len = len - 2 - count * OP_BYTES;
	dv_log_set_sink(no_log);
	w.known = false;
	w.boots = 0;
	snprintf(w.boot, sizeof(w.boot), "boot");
	w.has_table = file_len > 9 && file[file_len - 1] == 0x8f;
	w.hides_table = w.has_table && ends_in_a_frame_of_others(file, file_len);
	w.had_table = w.has_table || memmem(file, file_len, "\x5e\x2a\x4d\x18", 4);
	w.fs = simfs_new();
	simfs_advance_clock(w.fs, 1000000000000u);
	require(dv_store_init(simfs_backing(w.fs), "/store", &layouts[w.layout].init, why,
			      sizeof(why)) == 0);
	put_file(file, file_len);
	open_store();
	if (check_given(file, file_len, piece_bits)) {
		for (unsigned i = 0; i < count; i++)
			operate(ops + i * OP_BYTES);
		dv_ignore((dv_err)check_read(0, PLAIN_MAX, 65536));
	} else {
		w.known = false;
	}
	finish();
	simfs_free(w.fs);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t room, unsigned seed)
{
	len = LLVMFuzzerMutate(data, len, room);
	if (len < 2 || seed % 16 == 0)
		return len;
	data[1] %= OPS_MAX + 1;
	size_t head = 2 + data[1] * OP_BYTES;
	if (head >= len)
		return len;
	enum coding coding = layouts[data[0] & 7].coding;
	if (coding == GZIP)
		return head + mend_gzip(data + head, len - head);
	if (coding == ZLIB)
		return head + mend_zlib(data + head, len - head, NULL, 0);
	if (coding == RAW)
		return len;
	if (seed % 8 == 1)
		len = head + splice_frame(data + head, len - head, room - head, seed >> 4);
	return head + mend_zstd(data + head, len - head, room - head, seed >> 4);
}
