/* SPDX-License-Identifier: MIT */
/*
 * test_library_streams.c - streams of the library: values much larger than the memory that they take,
 * and writers that come to no end, which keep nobody waiting. STREAM_MB: how large (128).
 */
#include "tests/support/lib.h"

#include <signal.h>
#include <sys/wait.h>

#define CACHE_BYTES (4u << 20)
#define ROOM_KB	    16384u /* for frames that are made and decoded, beside the cache */

static size_t stream_mb(void)
{
	const char *text = getenv("STREAM_MB");
	return text ? strtoul(text, NULL, 10) : 128;
}

static void write_stream(struct lib *l, size_t mb, char *piece)
{
	struct dvfs_writer *w;
	CHECK_EQ(dvfs_writer_open(l->s, "large", DVFS_SYNC, &w), 0);
	for (size_t i = 0; i < mb; i++) {
		sprintf(piece, "%15zu", i);
		CHECK_EQ(dvfs_writer_write(w, piece, 1 << 20), 0);
	}
	CHECK_EQ(dvfs_writer_commit(&w), 0);
}

static void read_stream(struct lib *l, size_t mb, const char *piece, char *buf, int flags)
{
	struct dvfs_reader *r;
	char mark[32];
	CHECK_EQ(dvfs_reader_open(l->s, "large", flags, &r), 0);
	for (size_t i = 0; i < mb; i++) {
		CHECK_EQ(dvfs_reader_read(r, buf, 1 << 20), 1 << 20);
		sprintf(mark, "%15zu", i);
		CHECK(memcmp(buf, mark, 15) == 0);
		CHECK(memcmp(buf + 16, piece + 16, (1 << 20) - 16) == 0);
	}
	CHECK_EQ(dvfs_reader_read(r, buf, 1 << 20), 0);
	dvfs_reader_close(&r);
}

static void test_streams_take_no_memory_of_their_size(void)
{
	size_t mb = stream_mb();
	char *piece = lib_text(1 << 20, 1), *buf = malloc(1 << 20);
	struct dvfs_value v;
	struct lib l;
	lib_begin(&l, "path");
	l.o.cache_bytes = CACHE_BYTES;
	lib_reopen(&l);
	CHECK(buf != NULL);
	unsigned before = lib_hwm_kb();
	write_stream(&l, mb, piece);
	CHECK_EQ(dvfs_pack(l.s, NULL), 0);
	CHECK_EQ(dvfs_stat(l.s, "large", &v), 0);
	CHECK(v.packed && v.size == (uint64_t)mb << 20 && v.stored_bytes < v.size / 2);
	read_stream(&l, mb, piece, buf, 0);
	read_stream(&l, mb, piece, buf, DVFS_DIRECT);
	unsigned grown = lib_hwm_kb() - before;
	printf("%zu MiB: VmHWM grows by %u KiB\n", mb, grown);
	if (MEMORY_IS_OURS)
		CHECK(grown <= CACHE_BYTES / 1024 + ROOM_KB);
	free(piece);
	free(buf);
	lib_end(&l);
}

/* A program of its own, as one that is forked from threads may not start any under the thread sanitizer. Stops
 * in the middle of the value of "a", and ends it when it is let go on. */
static void write_half(const char *path)
{
	struct lib own = {0};
	struct dvfs_writer *w;
	dvfs_options_init(&own.o, sizeof(own.o));
	if (dvfs_open(path, &own.o, &own.s, NULL, 0) || dvfs_writer_open(own.s, "a", 0, &w) ||
	    dvfs_writer_write(w, "slow", 4) || raise(SIGSTOP) || dvfs_writer_write(w, "ly", 2) ||
	    dvfs_writer_commit(&w) || dvfs_close(&own.s))
		_exit(1);
	_exit(0);
}

static void test_a_writer_that_stops_halfway_keeps_nobody_waiting(void)
{
	struct dvfs_writer *w;
	struct lib l;
	int status;
	lib_begin(&l, "path");
	lib_write(&l, "a", "old");
	CHECK_EQ(dvfs_pack(l.s, NULL), 0);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		execl("/proc/self/exe", "test_library_streams", "--write-half", l.path, NULL);
		_exit(127);
	}
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECK(WIFSTOPPED(status));

	/* And one of this process that comes to no end. */
	CHECK_EQ(dvfs_writer_open(l.s, "a", 0, &w), 0);
	CHECK_EQ(dvfs_writer_write(w, "never", 5), 0);
	lib_is(&l, "a", "old");
	CHECK_EQ(dvfs_has(l.s, "a"), 1);
	lib_write(&l, "b", "other");
	lib_is(&l, "b", "other");
	lib_write(&l, "a", "new");
	lib_is(&l, "a", "new");
	lib_keys_are(&l, NULL, "a\nb\n");
	CHECK_EQ(dvfs_pack(l.s, NULL), 0);
	CHECK_EQ(dvfs_erase(l.s, "b"), 0);
	dvfs_writer_abort(&w);

	CHECK_EQ(kill(pid, SIGCONT), 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	lib_is(&l, "a", "slowly");
	lib_keys_are(&l, NULL, "a\n");
	lib_end(&l);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_streams_take_no_memory_of_their_size),
		CHECK_TEST(test_a_writer_that_stops_halfway_keeps_nobody_waiting),
	};
	if (argc == 3 && !strcmp(argv[1], "--write-half"))
		write_half(argv[2]);
	return check_main(argc, argv, tests, LEN(tests));
}
