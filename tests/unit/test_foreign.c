/* SPDX-License-Identifier: MIT */
/*
 * test_foreign.c - zstd files of every make, read through the store; and mutations of them: the
 * bytes that a decoder of its own makes of them, or -EBADMSG, in bounded work and memory.
 *
 * MUTATIONS, SEED in the environment: how many, and which.
 */
#include "core/cleanup.h"
#include "core/foreign.h"
#include "core/log.h"
#include "core/store.h"
#include "tests/support/check.h"
#include "tests/support/folder.h"
#include "tests/support/random.h"
#include "tests/support/simfs.h"
#include "tests/support/workloads.h"
#include "tests/unit/foreign_kinds.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB	   (1u << 20)
#define PLAIN_MAX  (32u * MIB) /* of a mutation that is read to its end */
#define READ_BYTES (128u << 10)
#define BLOCK	   (128u << 10)

static const struct dv_call call;
static char path[64], told[4096];
static struct dv_store *store;
static struct dv_node *root;

static void keep_log(enum dv_log_level level, const char *line)
{
	(void)level;
	snprintf(told, sizeof(told), "%s", line);
}

static void open_store(uint64_t cache_bytes)
{
	char why[512];
	struct dv_store_options o = {.threads = 2, .cache_bytes = cache_bytes};
	CHECK_EQ(dv_store_open(dv_backing_posix(), path, &o, &store, why, sizeof(why)), 0);
	root = dv_store_root(store);
}

static void setup(void)
{
	char why[512];
	struct dv_init_options init = {0};
	folder_make(path, "foreign");
	CHECK_EQ(dv_store_init(dv_backing_posix(), path, &init, why, sizeof(why)), 0);
	/* The smallest cache: frames of more than 4 MiB are huge. */
	open_store(MIB);
}

static void close_store(void)
{
	dv_node_unref(store, root);
	CHECK_EQ(dv_store_close(&store, NULL), 0);
}

static void teardown(void)
{
	close_store();
	folder_remove(path);
}

static void write_file(const char *name, const uint8_t *bytes, size_t len)
{
	char file[160];
	snprintf(file, sizeof(file), "%s/%s.zst", path, name);
	FILE *f = fopen(file, "wxb");
	CHECK(f != NULL);
	CHECK_EQ(fwrite(bytes, 1, len, f), len);
	CHECK_EQ(fclose(f), 0);
}

static void remove_file(const char *name)
{
	char file[160];
	snprintf(file, sizeof(file), "%s/%s.zst", path, name);
	CHECK_EQ(unlink(file), 0);
}

static struct dv_node *find(const char *name, struct dv_stat *st)
{
	struct dv_node *n = NULL;
	CHECK_EQ(dv_store_lookup(store, &call, root, name, &n, st), 0);
	return n;
}

static ssize_t read_at(struct dv_node *n, void *buf, uint64_t off, size_t len)
{
	return dv_store_read(store, &call, n, buf, (struct dv_range){off, len});
}

static uint64_t pieces(void)
{
	struct dv_store_stats st;
	dv_store_stats(store, &st);
	return st.pieces_decoded;
}

static const struct kind *kind_named(const char *name)
{
	const struct kind *k = foreign_kinds();
	while (strcmp(k->name, name) != 0)
		CHECK((++k)->name != NULL);
	return k;
}

/* Reads all in sequence and compares; -> 0 or the error that ended it. */
static int read_all(struct dv_node *n, const uint8_t *plain, size_t len)
{
	static uint8_t buf[READ_BYTES];
	for (uint64_t off = 0;;) {
		ssize_t got = read_at(n, buf, off, sizeof(buf));
		if (got <= 0) {
			CHECK(got < 0 || off == len);
			return (int)got;
		}
		CHECK(off + (uint64_t)got <= len && !memcmp(buf, plain + off, (size_t)got));
		off += (uint64_t)got;
	}
}

/* ---- the kinds as they are ---- */

static void test_every_good_kind_is_served_as_its_content(void)
{
	setup();
	for (const struct kind *k = foreign_kinds(); k->name; k++) {
		struct dv_stat st;
		if (!k->good)
			continue;
		write_file(k->name, k->bytes, k->len);
		struct dv_node *n = find(k->name, &st);
		if (st.size != k->plain_len)
			fprintf(stderr, "%s:\n", k->name);
		CHECK_EQ(st.size, k->plain_len);
		CHECK_EQ(read_all(n, k->plain, k->plain_len), 0);
		/* Here and there, backwards too. */
		struct test_random r = {7};
		for (int i = 0; i < 8 && k->plain_len; i++) {
			uint8_t buf[4096];
			uint64_t off = test_random_below(&r, k->plain_len);
			ssize_t got = read_at(n, buf, off, sizeof(buf));
			uint64_t want = k->plain_len - off;
			CHECK_EQ(got, want < sizeof(buf) ? want : sizeof(buf));
			CHECK(!memcmp(buf, k->plain + off, (size_t)got));
		}
		dv_node_unref(store, n);
	}
	teardown();
}

static void check_bad(const struct kind *k)
{
	struct dv_stat st;
	uint8_t buf[100];
	setup();
	dv_log_set_sink(keep_log);
	write_file(k->name, k->bytes, k->len);
	struct dv_node *n = find(k->name, &st);
	CHECK(st.size > 0); /* else reading would tell an early end */
	CHECK_EQ(read_at(n, buf, 0, sizeof(buf)), -EBADMSG);
	if (!strstr(told, k->told))
		fprintf(stderr, "%s: told \"%s\", not \"%s\"\n", k->name, told, k->told);
	CHECK(strstr(told, k->told) && strstr(told, k->name));
	dv_node_unref(store, n);
	dv_log_set_sink(NULL);
	teardown();
}

static void test_every_bad_kind_is_eio_and_the_log_says_why(void)
{
	for (const struct kind *k = foreign_kinds(); k->name; k++) {
		int status;
		if (k->good)
			continue;
		fflush(stdout);
		pid_t pid = fork(); /* the log's limit of lines counts from anew */
		CHECK(pid >= 0);
		if (pid == 0) {
			check_bad(k);
			_exit(0);
		}
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_EQ(status, 0);
	}
}

static void test_reading_a_huge_frame_in_sequence_decodes_it_once(void)
{
	static const char *const names[] = {"huge", "huge and unsized", "pzstd"};
	setup();
	for (size_t i = 0; i < DV_ARRAY_LEN(names); i++) {
		const struct kind *k = kind_named(names[i]);
		struct dv_stat st;
		write_file(k->name, k->bytes, k->len);
		struct dv_node *n = find(k->name, &st);
		uint64_t before = pieces();
		CHECK_EQ(read_all(n, k->plain, k->plain_len), 0);
		CHECK_EQ(pieces() - before, (k->plain_len + DV_PIECE_BYTES - 1) / DV_PIECE_BYTES);
		dv_node_unref(store, n);
	}
	teardown();
}

struct reader {
	struct dv_node *n;
	const struct kind *k;
	atomic_ullong *next; /* READ_BYTES each, whoever comes first */
};

static void *read_some(void *arg)
{
	struct reader *r = arg;
	uint8_t *buf = malloc(READ_BYTES);
	CHECK(buf != NULL);
	for (;;) {
		uint64_t off = atomic_fetch_add(r->next, 1) * READ_BYTES;
		if (off >= r->k->plain_len)
			break;
		uint64_t want = r->k->plain_len - off;
		ssize_t got = read_at(r->n, buf, off, READ_BYTES);
		CHECK_EQ(got, want < READ_BYTES ? want : READ_BYTES);
		CHECK(!memcmp(buf, r->k->plain + off, (size_t)got));
	}
	free(buf);
	return NULL;
}

static void test_readahead_by_several_threads_decodes_once(void)
{
	const struct kind *k = kind_named("huge");
	struct dv_stat st;
	pthread_t threads[4];
	atomic_ullong next = 0;
	setup();
	write_file(k->name, k->bytes, k->len);
	struct reader r = {find(k->name, &st), k, &next};
	for (size_t i = 0; i < DV_ARRAY_LEN(threads); i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, read_some, &r), 0);
	for (size_t i = 0; i < DV_ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(pieces(), (k->plain_len + DV_PIECE_BYTES - 1) / DV_PIECE_BYTES);
	dv_node_unref(store, r.n);
	teardown();
}

static void test_two_readers_at_two_places_do_not_restart_each_other(void)
{
	const struct kind *k = kind_named("huge");
	uint64_t count = (k->plain_len + DV_PIECE_BYTES - 1) / DV_PIECE_BYTES, half = count / 2;
	uint8_t *buf = malloc(DV_PIECE_BYTES);
	struct dv_stat st;
	setup();
	write_file(k->name, k->bytes, k->len);
	struct dv_node *n = find(k->name, &st);
	CHECK(read_at(n, buf, (count - half) * DV_PIECE_BYTES, 100) > 0);
	for (uint64_t i = 0; i < half; i++) {
		CHECK(read_at(n, buf, i * DV_PIECE_BYTES, DV_PIECE_BYTES) > 0);
		CHECK(read_at(n, buf, (count - half + i) * DV_PIECE_BYTES, DV_PIECE_BYTES) > 0);
	}
	/* Each has decoded its own way once. */
	CHECK(pieces() <= count + half + 1);
	dv_node_unref(store, n);
	free(buf);
	teardown();
}

static void test_decoders_stay_within_their_bound_and_go_with_their_file(void)
{
	enum { FILES = 12 };
	const struct kind *k = kind_named("huge");
	struct dv_node *n[FILES];
	struct dv_store_stats st;
	struct dv_stat attr;
	uint8_t buf[4096];
	setup();
	for (int i = 0; i < FILES; i++) {
		char name[16];
		snprintf(name, sizeof(name), "h%d", i);
		write_file(name, k->bytes, k->len);
		n[i] = find(name, &attr);
	}
	for (uint64_t off = 0; off < k->plain_len; off += MIB)
		for (int i = 0; i < FILES; i++) {
			ssize_t got = read_at(n[i], buf, off, sizeof(buf));
			CHECK(got > 0 && !memcmp(buf, k->plain + off, (size_t)got));
			dv_store_stats(store, &st);
			CHECK(st.decoder_bytes <= DV_FOREIGN_BYTES_MIN);
		}
	CHECK(st.decoder_bytes > 0);
	for (int i = 0; i < FILES; i++)
		dv_node_unref(store, n[i]);
	teardown();
}

static void test_an_error_of_the_disk_is_not_remembered(void)
{
	const struct kind *k = kind_named("huge");
	struct simfs *fs = simfs_new();
	struct dv_backing b = simfs_backing(fs);
	struct dv_init_options init = {0};
	struct dv_store_options o = {.threads = 1, .cache_bytes = MIB, .boot_id = "boot"};
	char why[512];
	struct dv_stat st;
	CHECK_EQ(dv_store_init(b, "/", &init, why, sizeof(why)), 0);
	CHECK_EQ(dv_store_open(b, "/", &o, &store, why, sizeof(why)), 0);
	root = dv_store_root(store);
	int dir = b.ops->open_root(b.self, "/");
	simfs_fail_op(fs, "pread");
	for (unsigned long nth = 1; nth < 20; nth += 3) {
		char name[16];
		snprintf(name, sizeof(name), "%lu.zst", nth);
		int fd = b.ops->open(b.self, dir, name, O_RDWR | O_CREAT, 0644);
		CHECK_EQ(b.ops->pwrite(b.self, fd, k->bytes, k->len, 0), k->len);
		b.ops->close(b.self, fd);
		name[strlen(name) - 4] = '\0';
		struct dv_node *n = find(name, &st);
		simfs_fail_nth(fs, nth, EIO, false);
		CHECK_EQ(read_all(n, k->plain, k->plain_len), -EIO);
		simfs_fail_nth(fs, 0, 0, false);
		CHECK_EQ(read_all(n, k->plain, k->plain_len), 0);
		dv_node_unref(store, n);
	}
	b.ops->close(b.self, dir);
	close_store();
	simfs_free(fs);
}

static void test_a_size_that_was_decoded_is_kept_with_the_file(void)
{
	const struct kind *k = kind_named("huge and unsized");
	struct dv_stat before, after;
	struct dv_store_stats stats;
	uint8_t buf[100];
	setup();
	write_file(k->name, k->bytes, k->len);
	struct dv_node *n = find(k->name, &before);
	CHECK_EQ(before.size, k->plain_len);
	CHECK_EQ(dv_store_getattr(store, &call, n, &after), 0);
	CHECK(before.ctime.tv_sec == after.ctime.tv_sec &&
	      before.ctime.tv_nsec == after.ctime.tv_nsec);
	dv_node_unref(store, n);
	close_store();
	open_store(MIB);
	/* Who may not wait is told at once: nothing is decoded. */
	n = NULL;
	struct dv_call nowait = {.nowait = true};
	CHECK_EQ(dv_store_lookup(store, &nowait, root, k->name, &n, &after), 0);
	CHECK_EQ(after.size, k->plain_len);
	CHECK(before.ctime.tv_nsec == after.ctime.tv_nsec);
	CHECK_EQ(read_at(n, buf, 0, sizeof(buf)), sizeof(buf));
	dv_store_stats(store, &stats);
	CHECK_EQ(stats.frames_decoded, 0);
	CHECK_EQ(stats.pieces_decoded, 1);
	dv_node_unref(store, n);
	teardown();
}

static void test_a_size_is_never_decoded_by_a_caller_who_may_not_wait(void)
{
	/* 32 KiB of RLE blocks make 1 GiB. */
	uint8_t bomb[6 + 8000 * 4] = {0x28, 0xb5, 0x2f, 0xfd, 0, 0x70};
	struct dv_call nowait = {.nowait = true};
	struct dv_node *n = NULL;
	struct dv_stat st;
	for (size_t i = 0; i < 8000; i++) {
		uint32_t head = (BLOCK << 3) | 1u << 1 | (i == 7999);
		memcpy(bomb + 6 + i * 4,
		       (uint8_t[]){(uint8_t)head, (uint8_t)(head >> 8), (uint8_t)(head >> 16), 'x'},
		       4);
	}
	setup();
	write_file("bomb", bomb, sizeof(bomb));
	CHECK_EQ(dv_store_lookup(store, &nowait, root, "bomb", &n, &st), -EAGAIN);
	n = find("bomb", &st);
	CHECK_EQ(st.size, (uint64_t)8000 * BLOCK);
	dv_node_unref(store, n);
	teardown();
}

static void test_an_edit_unpacks_any_kind(void)
{
	static const char *const names[] = {"huge between small", "huge and unsized", "pzstd",
					    "skippable frames with user data", "empty frame"};
	setup();
	for (size_t i = 0; i < DV_ARRAY_LEN(names); i++) {
		const struct kind *k = kind_named(names[i]);
		struct dv_stat st;
		uint8_t *all = malloc(k->plain_len + 100);
		CHECK(all != NULL);
		write_file(k->name, k->bytes, k->len);
		struct dv_node *n = find(k->name, &st);
		CHECK_EQ(dv_store_write(store, &call, n, "tail", (struct dv_range){0, 4},
					DV_WRITE_APPEND),
			 4);
		CHECK_EQ(dv_store_finish(store), 0);
		ssize_t got = read_at(n, all, 0, k->plain_len + 100);
		CHECK_EQ(got, k->plain_len + 4);
		CHECK(!k->plain_len || !memcmp(all, k->plain, k->plain_len));
		CHECK(!memcmp(all + k->plain_len, "tail", 4));
		dv_node_unref(store, n);
		free(all);
	}
	teardown();
}

static void test_packing_leaves_them_as_they_are(void)
{
	struct dv_pack_result r;
	char file[160];
	setup();
	dv_log_set_sink(keep_log);
	for (const struct kind *k = foreign_kinds(); k->name; k++)
		write_file(k->name, k->bytes, k->len);
	CHECK_EQ(dv_store_pack_all(store, &r), 0);
	CHECK_EQ(r.packed, 0);
	for (const struct kind *k = foreign_kinds(); k->name; k++) {
		snprintf(file, sizeof(file), "%s/%s.zst", path, k->name);
		FILE *f = fopen(file, "rb");
		uint8_t *all = malloc(k->len + 1);
		CHECK(f && all);
		CHECK_EQ(fread(all, 1, k->len + 1, f), k->len);
		CHECK(!memcmp(all, k->bytes, k->len));
		fclose(f);
		free(all);
	}
	dv_log_set_sink(NULL);
	teardown();
}

/* ---- mutations ---- */

static size_t put_number(struct test_random *r, uint8_t *at, size_t room)
{
	static const uint64_t odd[] = {0,	   1,	      127,	  128,	      UINT32_MAX,
				       UINT64_MAX, INT64_MAX, 0x7fffffff, 0x80000000, 1u << 27};
	uint64_t v = test_random_below(r, 3) ? odd[test_random_below(r, DV_ARRAY_LEN(odd))]
					     : test_random_next(r);
	size_t n = 1 + test_random_below(r, 8);
	for (size_t i = 0; i < n && i < room; i++)
		at[i] = (uint8_t)(v >> (8 * i));
	return n;
}

/* A place near a head, half of the time. */
static size_t some_place(struct test_random *r, size_t len)
{
	size_t near = len < 24 ? len : 24;
	if (test_random_below(r, 2))
		return test_random_below(r, near);
	if (test_random_below(r, 4) == 0)
		return len - 1 - test_random_below(r, near);
	return test_random_below(r, len);
}

/* -> the new length; bytes has room for len + 64. */
static size_t mutate(struct test_random *r, uint8_t *bytes, size_t len)
{
	size_t at = some_place(r, len), n = 1 + test_random_below(r, 40);
	switch (test_random_below(r, 6)) {
	case 0:
	case 1: /* bits */
		for (size_t i = 1 + test_random_below(r, 3); i > 0; i--)
			bytes[some_place(r, len)] ^= (uint8_t)(1u << test_random_below(r, 8));
		return len;
	case 2: /* cut */
		return at;
	case 3: /* inserted */
		memmove(bytes + at + n, bytes + at, len - at);
		for (size_t i = 0; i < n; i++)
			bytes[at + i] = (uint8_t)test_random_next(r);
		return len + n;
	case 4: /* taken out */
		n = n < len - at ? n : len - at;
		memmove(bytes + at, bytes + at + n, len - at - n);
		return len - n;
	default: /* lengths */
		put_number(r, bytes + at, len - at);
		return len;
	}
}

/* Its size is not that of its content (a seek table that lies): what is read before the error is
 * right, and the error comes. */
static void check_lies(struct dv_node *n, const uint8_t *plain, size_t len)
{
	static uint8_t buf[READ_BYTES];
	ssize_t got;
	for (uint64_t off = 0; (got = read_at(n, buf, off, sizeof(buf))) > 0; off += (uint64_t)got)
		CHECK(off + (uint64_t)got <= len && !memcmp(buf, plain + off, (size_t)got));
	CHECK_EQ(got, -EBADMSG);
}

/* -> 1: its content was served; 0: -EBADMSG. */
static int check_mutation(const char *name, const uint8_t *bytes, size_t len)
{
	static uint8_t buf[READ_BYTES];
	uint8_t *plain = NULL;
	size_t plain_len = 0;
	struct dv_stat st;
	int good = foreign_decode(bytes, len, PLAIN_MAX, &plain, &plain_len), served = 0;
	write_file(name, bytes, len);
	uint64_t before = pieces();
	struct dv_node *n = find(name, &st);
	if (good == 1) {
		/* What a decoder takes is served: as it is, or not at all. */
		if (st.size == plain_len)
			served = read_all(n, plain, plain_len) == 0;
		else
			check_lies(n, plain, plain_len);
		CHECK(pieces() - before <= plain_len / DV_PIECE_BYTES + 1);
	} else {
		/* Never an end that looks like a good one. */
		ssize_t got = 1;
		uint64_t off = 0;
		while (got > 0 && off < PLAIN_MAX) {
			got = read_at(n, buf, off, sizeof(buf));
			off += got > 0 ? (uint64_t)got : 0;
		}
		if (good == 0 && got != -EBADMSG) {
			fprintf(stderr, "%zu bytes, size %llu:", len, (unsigned long long)st.size);
			for (size_t i = 0; i < len && i < 40; i++)
				fprintf(stderr, " %02x", bytes[i]);
			fprintf(stderr, "\n");
		}
		if (good == 0)
			CHECK_EQ(got, -EBADMSG);
	}
	dv_node_unref(store, n);
	free(plain);
	return served;
}

static unsigned long from_environment(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);
	return text ? strtoul(text, NULL, 10) : otherwise;
}

static long peak_kib(void)
{
	struct rusage u;
	CHECK_EQ(getrusage(RUSAGE_SELF, &u), 0);
	return u.ru_maxrss;
}

static void test_mutations_are_served_right_or_not_at_all(void)
{
	unsigned long rounds = from_environment("MUTATIONS", TEST_SANITIZED ? 400 : 1500);
	struct test_random r = {from_environment("SEED", 4711)};
	unsigned long served = 0;
	size_t largest = 0;
	for (const struct kind *k = foreign_kinds(); k->name; k++)
		largest = k->len > largest ? k->len : largest;
	uint8_t *bytes = malloc(largest + 64);
	CHECK(bytes != NULL);
	setup();
	dv_log_set_sink(keep_log);
	const struct kind *k = foreign_kinds();
	long base_kib = peak_kib();
	for (unsigned long i = 0; i < rounds; i++) {
		char name[32];
		memcpy(bytes, k->bytes, k->len);
		size_t len = k->len;
		for (size_t more = 1 + test_random_below(&r, 2); more > 0 && len; more--)
			len = mutate(&r, bytes, len < largest ? len : largest);
		snprintf(name, sizeof(name), "%lu", i);
		served += (unsigned long)check_mutation(name, bytes, len);
		remove_file(name);
		k = (k + 1)->name ? k + 1 : foreign_kinds();
	}
	dv_log_set_sink(NULL);
	printf("%lu mutations, %lu of them good, peak %ld KiB over %ld\n", rounds, served,
	       peak_kib() - base_kib, base_kib);
	CHECK(served > 0 && served < rounds);
	/* The cache, decoders, and what the test itself decodes. */
	CHECK(TEST_SANITIZED ||
	      peak_kib() - base_kib < (long)(16 + 2 * PLAIN_MAX / MIB + 32) * 1024);
	free(bytes);
	teardown();
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_every_good_kind_is_served_as_its_content),
		CHECK_TEST(test_every_bad_kind_is_eio_and_the_log_says_why),
		CHECK_TEST(test_reading_a_huge_frame_in_sequence_decodes_it_once),
		CHECK_TEST(test_readahead_by_several_threads_decodes_once),
		CHECK_TEST(test_two_readers_at_two_places_do_not_restart_each_other),
		CHECK_TEST(test_decoders_stay_within_their_bound_and_go_with_their_file),
		CHECK_TEST(test_an_error_of_the_disk_is_not_remembered),
		CHECK_TEST(test_a_size_that_was_decoded_is_kept_with_the_file),
		CHECK_TEST(test_a_size_is_never_decoded_by_a_caller_who_may_not_wait),
		CHECK_TEST(test_an_edit_unpacks_any_kind),
		CHECK_TEST(test_packing_leaves_them_as_they_are),
		CHECK_TEST(test_mutations_are_served_right_or_not_at_all),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
