/* SPDX-License-Identifier: MIT */
/*
 * test_library_many.c - many threads, and many processes, on one store: every value that is read is
 * one that was written, whole; nothing that was written is lost; directories that some make and others
 * prune are in nobody's way; a killed process leaves whole values.
 */
#include "tests/support/lib.h"

#include <dirent.h>
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

/* ---- what is refused ---- */

/* The child of a fork; 0 or the line that is wrong. */
static int use_in_child(struct dvfs *s, struct dvfs_writer *w, struct dvfs_reader *r,
			struct dvfs_iter *it)
{
	struct dvfs_stats stats;
	struct dvfs_value v;
	const char *key;
	char text[256], byte;
	void *buf;
	size_t len;
	if (dvfs_write(s, "k", "c", 1, 0) != -ECHILD || dvfs_read(s, "k", &buf, &len) != -ECHILD ||
	    dvfs_has(s, "k") != -ECHILD || dvfs_stat(s, "k", &v) != -ECHILD ||
	    dvfs_erase(s, "k") != -ECHILD || dvfs_erase_all(s, NULL) != -ECHILD)
		return __LINE__;
	if (dvfs_sync(s) != -ECHILD || dvfs_pack(s, NULL) != -ECHILD ||
	    dvfs_import(s, "i", "/etc/hostname", 0) != -ECHILD ||
	    dvfs_keys(s, NULL, count_key, &(int){0}) != -ECHILD)
		return __LINE__;
	dvfs_stats(s, &stats);
	if (stats.bytes_written ||
	    !strstr(dvfs_explain(s, "k", -ECHILD, text, sizeof(text)), "fork"))
		return __LINE__;
	if (dvfs_writer_write(w, "x", 1) != -ECHILD || dvfs_writer_set_key(w, "y") != -ECHILD ||
	    dvfs_reader_read(r, &byte, 1) != -ECHILD ||
	    dvfs_reader_pread(r, &byte, 1, 0) != -ECHILD || dvfs_iter_next(it, &key) != -ECHILD)
		return __LINE__;
	if (dvfs_writer_commit(&w) != -ECHILD || w)
		return __LINE__;
	dvfs_reader_close(&r);
	dvfs_iter_close(&it);
	if (r || it || dvfs_close(&s) != -ECHILD || s)
		return __LINE__;
	return 0;
}

/* The thread sanitizer ends a child of a process with threads that starts one itself, unless told. Asked for by
 * its runtime, unused else. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

static void test_the_child_of_a_fork_is_refused_and_harms_nothing(void)
{
	struct lib l;
	struct dvfs_writer *w;
	struct dvfs_reader *r;
	struct dvfs_iter *it;
	const char *key;
	char byte;
	int status;
	lib_begin(&l, "path");
	lib_write(&l, "k", "parent");
	CHECK_EQ(dvfs_writer_open(l.s, "w", 0, &w), 0);
	CHECK_EQ(dvfs_writer_write(w, "12", 2), 0);
	CHECK_EQ(dvfs_reader_open(l.s, "k", 0, &r), 0);
	CHECK_EQ(dvfs_iter_open(l.s, NULL, &it), 0);
	pid_t child = fork();
	CHECK(child >= 0);
	if (!child) {
		struct lib own = l;
		int line = use_in_child(l.s, w, r, it);
		if (!line && dvfs_open(l.path, &own.o, &own.s, NULL, 0))
			line = __LINE__;
		if (!line && (dvfs_write(own.s, "c", "child", 5, 0) || dvfs_close(&own.s)))
			line = __LINE__;
		if (line)
			fprintf(stderr, "the child: line %d\n", line);
		_exit(line != 0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	CHECK_EQ(dvfs_iter_next(it, &key), 1);
	CHECK_EQ(dvfs_reader_read(r, &byte, 1), 1);
	CHECK_EQ(dvfs_writer_write(w, "3", 1), 0);
	CHECK_EQ(dvfs_writer_commit(&w), 0);
	dvfs_reader_close(&r);
	dvfs_iter_close(&it);
	lib_is(&l, "w", "123");
	lib_is(&l, "k", "parent");
	lib_is(&l, "c", "child");
	lib_end(&l);
}

/* Threads of this process, but the calling one, that have a signal of SIGALRM and SIGUSR1 unblocked.
 * *count: how many there are. */
static unsigned listening(unsigned *count)
{
	const unsigned long long wanted = 1ull << (SIGALRM - 1) | 1ull << (SIGUSR1 - 1);
	unsigned found = 0;
	struct dirent *e;
	DIR *d = opendir("/proc/self/task");
	CHECK(d != NULL);
	*count = 0;
	while ((e = readdir(d))) {
		char path[300], line[256];
		unsigned long long blocked = 0;
		if (e->d_name[0] == '.' || atoi(e->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", e->d_name);
		FILE *f = fopen(path, "r");
		while (f && fgets(line, sizeof(line), f))
			sscanf(line, "SigBlk: %llx", &blocked);
		if (f)
			fclose(f);
		++*count;
		found += (blocked & wanted) != wanted;
	}
	closedir(d);
	return found;
}

static void test_signals_are_for_the_threads_of_the_program(void)
{
	struct lib l;
	sigset_t now;
	unsigned count;
	char *text = lib_text(12u << 20, 1);
	lib_begin(&l, "path");
	lib_write(&l, "stream", text);
	CHECK_EQ(dvfs_pack(l.s, NULL), 0);
	CHECK_EQ(listening(&count), 0);
	CHECK(count > 1);
	CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
	CHECK_EQ(sigismember(&now, SIGALRM), 0); /* the caller's mask is as it was */
	lib_end(&l);
	free(text);
}

struct meeting {
	struct dvfs *s;
	pthread_barrier_t in, out;
};

static int meet(void *ctx, const char *a, const char *b)
{
	struct meeting *m = ctx;
	if (m->s) {
		struct dvfs *s = m->s;
		m->s = NULL;
		CHECK_EQ(dvfs_has(s, "k"), 1); /* a callback may */
		pthread_barrier_wait(&m->in);
		pthread_barrier_wait(&m->out);
	}
	return strcmp(a, b);
}

static void *list_keys(void *arg)
{
	int count = 0;
	CHECK_EQ(dvfs_keys(arg, &(struct dvfs_range){.sorted = 1}, count_key, &count), 0);
	CHECK_EQ(count, 2);
	return NULL;
}

static void test_nobody_closes_a_store_that_another_thread_is_in(void)
{
	struct lib l;
	struct meeting m = {.s = NULL};
	const struct dvfs_transform t = {.struct_size = sizeof(t), .self = &m, .compare = meet};
	pthread_t other;
	CHECK_EQ(pthread_barrier_init(&m.in, NULL, 2), 0);
	CHECK_EQ(pthread_barrier_init(&m.out, NULL, 2), 0);
	lib_begin(&l, "path");
	l.o.custom_transform = &t;
	lib_reopen(&l);
	lib_write(&l, "k", "");
	lib_write(&l, "l", "");
	m.s = l.s;
	CHECK_EQ(pthread_create(&other, NULL, list_keys, l.s), 0);
	pthread_barrier_wait(&m.in);
	CHECK_EQ(dvfs_close(&l.s), -EBUSY);
	CHECK(l.s != NULL);
	pthread_barrier_wait(&m.out);
	CHECK_EQ(pthread_join(other, NULL), 0);
	lib_end(&l);
	pthread_barrier_destroy(&m.in);
	pthread_barrier_destroy(&m.out);
}

static struct dvfs *sink_store;
static int sink_calls;

static void sink_that_calls(int severity, const char *line)
{
	struct dvfs *s = sink_store;
	(void)severity, (void)line;
	CHECK_EQ(dvfs_has(s, "k"), -EDEADLK);
	CHECK_EQ(dvfs_write(s, "k", "", 0, 0), -EDEADLK);
	CHECK_EQ(dvfs_close(&s), -EDEADLK);
	CHECK(s != NULL);
	sink_calls++;
}

static void test_the_sink_of_the_log_is_refused(void)
{
	struct lib l;
	char path[100];
	void *buf;
	size_t len;
	lib_begin(&l, "path");
	lib_write(&l, "k", "v");
	snprintf(path, sizeof(path), "%s/bad.zst", l.path);
	FILE *f = fopen(path, "w");
	CHECK(f != NULL);
	fputs("no zstd at all", f);
	fclose(f);
	sink_store = l.s;
	dvfs_set_log(sink_that_calls);
	CHECK_EQ(dvfs_read(l.s, "bad", &buf, &len), -EBADMSG);
	CHECK(sink_calls > 0);
	dvfs_set_log(lib_print);
	lib_is(&l, "k", "v");
	lib_end(&l);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_what_one_store_writes_another_reads),
		CHECK_TEST(test_processes_share_a_store),
		CHECK_TEST(test_a_killed_process_leaves_whole_values),
		CHECK_TEST(test_threads_share_a_store),
		CHECK_TEST(test_signals_are_for_the_threads_of_the_program),
		CHECK_TEST(test_the_child_of_a_fork_is_refused_and_harms_nothing),
		CHECK_TEST(test_nobody_closes_a_store_that_another_thread_is_in),
		CHECK_TEST(test_the_sink_of_the_log_is_refused),
	};
	return check_main(argc, argv, tests, LEN(tests));
}
