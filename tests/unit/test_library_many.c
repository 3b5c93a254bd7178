/* SPDX-License-Identifier: MIT */
/*
 * test_library_many.c - many threads, and many processes, on one store: every value that is read is
 * one that was written, whole; nothing that was written is lost; directories that some make and others
 * prune are in nobody's way; a killed process leaves whole values.
 */
#include "tests/support/lib.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#define KEYS	16
#define THREADS 4

/* A sanitizer takes ten times as long. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROUNDS 60
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ROUNDS 60
#endif
#endif
#ifndef ROUNDS
#define ROUNDS 250
#endif

static unsigned next(unsigned *x)
{
	*x = *x * 1664525u + 1013904223u;
	return *x >> 8;
}

/* A value that tells of itself: its length, and one number all over. */
static size_t make_value(char *buf, unsigned number)
{
	size_t len = number % 7 == 0 ? 0 : 16 * (1 + number % 4000);
	for (size_t at = 0; at < len; at += 16)
		snprintf(buf + at, 17, "%07u %07zu\n", number % 10000000u, len);
	return len;
}

#define VALUE_MAX (16 * 4000 + 1)

static void check_value(const char *buf, size_t len)
{
	char first[17];
	if (!len)
		return;
	CHECK_EQ(len % 16, 0);
	memcpy(first, buf, 16);
	first[16] = '\0';
	CHECK_EQ(strtoul(first + 8, NULL, 10), len);
	for (size_t at = 0; at < len; at += 16)
		CHECK(memcmp(buf + at, first, 16) == 0);
}

static void check_read(struct dvfs *s, const char *key)
{
	void *buf;
	size_t len;
	int err = dvfs_read(s, key, &buf, &len);
	if (err == -ENOENT)
		return;
	CHECK_EQ(err, 0);
	check_value(buf, len);
	free(buf);
}

/* In pieces, while others replace it. */
static void check_stream(struct dvfs *s, const char *key, char *buf)
{
	struct dvfs_reader *r;
	int err = dvfs_reader_open(s, key,
				   next(&(unsigned){(unsigned)key[0]}) % 2 ? DVFS_DIRECT : 0, &r);
	size_t len = 0;
	ssize_t got;
	if (err == -ENOENT)
		return;
	CHECK_EQ(err, 0);
	while ((got = dvfs_reader_read(r, buf + len, 5000)) > 0)
		len += (size_t)got;
	CHECK_EQ(got, 0);
	check_value(buf, len);
	dvfs_reader_close(&r);
}

static void write_stream(struct dvfs *s, const char *key, const char *buf, size_t len, int commit)
{
	struct dvfs_writer *w;
	CHECK_EQ(dvfs_writer_open(s, key, 0, &w), 0);
	for (size_t at = 0; at < len; at += 4096)
		CHECK_EQ(dvfs_writer_write(w, buf + at, len - at < 4096 ? len - at : 4096), 0);
	if (commit)
		CHECK_EQ(dvfs_writer_commit(&w), 0);
	else
		dvfs_writer_abort(&w);
}

static int count_key(void *ctx, const char *key)
{
	(void)key;
	return ++*(int *)ctx < 0;
}

static void work(struct dvfs *s, unsigned seed, unsigned rounds)
{
	char *buf = malloc(VALUE_MAX + 5000), key[32];
	unsigned x = seed;
	int count = 0;
	CHECK(buf != NULL);
	for (unsigned i = 0; i < rounds; i++) {
		unsigned k = next(&x) % KEYS, op = next(&x) % 16;
		int err;
		size_t len;
		snprintf(key, sizeof(key), "d%u/e%u/k", k % 3, k);
		switch (op) {
		case 0 ... 4:
			len = make_value(buf, next(&x));
			CHECK_EQ(dvfs_write(s, key, buf, len, op == 0 ? DVFS_SYNC : 0), 0);
			break;
		case 5 ... 6:
			len = make_value(buf, next(&x));
			write_stream(s, key, buf, len, op == 5);
			break;
		case 7 ... 9:
			check_read(s, key);
			break;
		case 10 ... 11:
			check_stream(s, key, buf);
			break;
		case 12:
			err = dvfs_erase(s, key);
			CHECK(err == 0 || err == -ENOENT);
			break;
		case 13:
			CHECK_EQ(dvfs_keys(s, NULL, count_key, &count), 0);
			break;
		case 14:
			err = dvfs_has(s, key);
			CHECK(err == 0 || err == 1);
			break;
		default:
			err = i % 4 ? 0 : dvfs_pack(s, NULL);
			CHECK_EQ(err, 0);
			break;
		}
	}
	free(buf);
}

static struct dvfs *shared;

static void *thread_work(void *seed)
{
	work(shared, *(unsigned *)seed, ROUNDS);
	return NULL;
}

static void check_all(struct lib *l)
{
	struct dvfs_iter *it;
	const char *key;
	int got;
	CHECK_EQ(dvfs_iter_open(l->s, NULL, &it), 0);
	while ((got = dvfs_iter_next(it, &key)) == 1) {
		if (strncmp(key, "own/", 4) == 0)
			continue;
		CHECK_STR(key + strlen(key) - 2, "/k"); /* no form of a value has become a key */
		check_read(l->s, key);
	}
	CHECK_EQ(got, 0);
	dvfs_iter_close(&it);
}

static void test_threads_share_a_store(void)
{
	pthread_t threads[THREADS];
	unsigned seeds[THREADS];
	struct lib l;
	lib_begin(&l, "path");
	l.o.settle_ms = 1;
	lib_reopen(&l);
	shared = l.s;
	for (unsigned i = 0; i < THREADS; i++) {
		seeds[i] = 1000 + i;
		CHECK_EQ(pthread_create(&threads[i], NULL, thread_work, &seeds[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	check_all(&l);
	lib_reopen(&l);
	check_all(&l);
	CHECK_EQ(dvfs_erase_all(l.s, NULL), 0);
	lib_keys_are(&l, NULL, "");
	CHECK(!lib_file(&l, "d0") && !lib_file(&l, "d1") && !lib_file(&l, "d2"));
	lib_end(&l);
}

/* Each has a key of its own too, which nobody else writes. */
static void process_work(struct lib *l, unsigned number)
{
	char key[32], value[32];
	lib_open(l);
	for (unsigned i = 0; i < 10; i++) {
		work(l->s, 50 * number + i, ROUNDS / 10);
		snprintf(key, sizeof(key), "own/%u", number);
		snprintf(value, sizeof(value), "%u of %u", i, number);
		CHECK_EQ(dvfs_write(l->s, key, value, strlen(value), 0), 0);
	}
	CHECK_EQ(dvfs_close(&l->s), 0);
	exit(0);
}

static void test_processes_share_a_store(void)
{
	struct lib l;
	pid_t pids[3];
	char key[32], value[32];
	lib_begin(&l, "path");
	CHECK_EQ(dvfs_close(&l.s), 0);
	for (unsigned i = 0; i < 3; i++) {
		pids[i] = fork();
		CHECK(pids[i] >= 0);
		if (!pids[i])
			process_work(&l, i);
	}
	for (unsigned i = 0; i < 3; i++) {
		int status;
		CHECK_EQ(waitpid(pids[i], &status, 0), pids[i]);
		CHECK_EQ(status, 0);
	}
	lib_open(&l);
	check_all(&l);
	for (unsigned i = 0; i < 3; i++) {
		snprintf(key, sizeof(key), "own/%u", i);
		snprintf(value, sizeof(value), "9 of %u", i);
		lib_is(&l, key, value);
	}
	lib_end(&l);
}

/* What one process has written another one sees with its next call. */
static void test_what_one_store_writes_another_reads(void)
{
	struct lib l, other;
	struct dvfs_reader *r;
	char *text = lib_text(200000, 1), buf[64];
	lib_begin(&l, "path");
	other = l;
	lib_open(&other);
	lib_write(&l, "a/b", "1");
	lib_is(&other, "a/b", "1");
	lib_write(&other, "a/b", text);
	lib_is(&l, "a/b", text);
	CHECK_EQ(dvfs_reader_open(l.s, "a/b", 0, &r), 0);
	CHECK_EQ(dvfs_pack(other.s, NULL), 0);
	lib_is(&l, "a/b", text);
	lib_write(&other, "a/b", "3");
	lib_is(&l, "a/b", "3");
	CHECK_EQ(dvfs_reader_pread(r, buf, sizeof(buf), 150000), sizeof(buf));
	CHECK(memcmp(buf, text + 150000, sizeof(buf)) == 0);
	dvfs_reader_close(&r);
	CHECK_EQ(dvfs_erase(other.s, "a/b"), 0);
	lib_is_not(&l, "a/b");
	lib_write(&l, "a/c", "4");
	lib_keys_are(&other, NULL, "a/c\n");
	CHECK_EQ(dvfs_close(&other.s), 0);
	lib_end(&l);
	free(text);
}

/* Told through a pipe when it has begun, and killed in the middle of whatever it does. */
static void test_a_killed_process_leaves_whole_values(void)
{
	struct lib l;
	lib_begin(&l, "path");
	CHECK_EQ(dvfs_close(&l.s), 0);
	for (unsigned round = 0; round < 6; round++) {
		int fds[2], status;
		char byte = 0;
		CHECK_EQ(pipe(fds), 0);
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			lib_open(&l);
			for (unsigned i = 0;; i++) {
				work(l.s, round * 1000 + i, 20);
				CHECK_EQ(write(fds[1], &byte, 1), 1);
			}
		}
		for (unsigned i = 0; i <= round; i++)
			CHECK_EQ(read(fds[0], &byte, 1), 1);
		CHECK_EQ(kill(pid, SIGKILL), 0);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		close(fds[0]);
		close(fds[1]);
		lib_open(&l);
		check_all(&l);
		CHECK_EQ(dvfs_close(&l.s), 0);
	}
	lib_open(&l);
	lib_end(&l);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_what_one_store_writes_another_reads),
		CHECK_TEST(test_processes_share_a_store),
		CHECK_TEST(test_a_killed_process_leaves_whole_values),
		CHECK_TEST(test_threads_share_a_store),
	};
	return check_main(argc, argv, tests, LEN(tests));
}
