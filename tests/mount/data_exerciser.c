/* SPDX-License-Identifier: MIT */
/*
 * data_exerciser.c - random changes of one file's bytes, against a shadow in memory.
 *
 *   data_exerciser PROGRAM STORE MOUNTPOINT SEED STEPS [-v]
 *
 * Written, mapped, truncated, punched, read, synced, closed and opened again, packed, remounted,
 * its daemon killed; after each step the size and after many the bytes are compared. A second
 * descriptor and a second name read along. The idea is that of fsx (Apple, 1991).
 */
#include "tests/mount/mounted.h"
#include "tests/support/random.h"

#include <linux/falloc.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define SIZE_MAX_BYTES (600u << 10)
#define HANG_SECONDS   60

static struct mounted mounted;
static struct test_random rng;
static char *shadow, *buf;
static size_t size;
static int fd = -1, other = -1;
static char path[4000], second[4096];
static unsigned long step;
static bool verbose;
static char doing[200];

static void fail(const char *what)
{
	fprintf(stderr, "DIFFERENT: %s\n  at step %lu: %s; errno %s\n", what, step, doing,
		strerror(errno));
	exit(1);
}

static void on_alarm(int signal_number)
{
	static const char text[] = "HANGS\n";

	(void)signal_number;
	if (write(2, text, sizeof(text) - 1) < 0)
		_exit(4);
	_exit(3);
}

static size_t below(size_t limit)
{
	return (size_t)test_random_below(&rng, limit);
}

static size_t pick(size_t limit)
{
	static const size_t grid[] = {1, 512, 4096, 16384, 65536};
	size_t n = below(limit + 1), g = grid[below(5)];

	switch (below(4)) {
	case 0:
		return n / g * g;
	case 1:
		n = n / g * g;
		return n ? n - 1 : 0;
	default:
		return n;
	}
}

static void open_files(void)
{
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	other = open(second, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || other < 0)
		fail("open");
}

static void close_files(void)
{
	if (fd >= 0 && close(fd))
		fail("close");
	if (other >= 0 && close(other))
		fail("close");
	fd = other = -1;
}

static void compare(int from, size_t off, size_t len)
{
	ssize_t n = pread(from, buf, len, (off_t)off);
	size_t want = off >= size ? 0 : size - off < len ? size - off : len;

	if (n < 0)
		fail("read");
	if ((size_t)n != want) {
		fprintf(stderr, "read %zd of %zu bytes at %zu, size %zu\n", n, want, off, size);
		fail("bytes read");
	}
	for (size_t i = 0; i < want; i++)
		if (buf[i] != shadow[off + i]) {
			fprintf(stderr, "at %zu: %#x, should be %#x\n", off + i, (uint8_t)buf[i],
				(uint8_t)shadow[off + i]);
			fail("bytes");
		}
}

static void check_size(void)
{
	struct stat st;

	if (fstat(fd, &st))
		fail("fstat");
	if ((size_t)st.st_size != size) {
		fprintf(stderr, "size %lld, should be %zu\n", (long long)st.st_size, size);
		fail("size");
	}
}

static void resize(size_t new_size)
{
	if (new_size > size)
		memset(shadow + size, 0, new_size - size);
	size = new_size;
}

static void random_bytes(char *to, size_t len)
{
	if (below(3) == 0)
		memset(to, (int)below(256), len);
	else
		test_random_fill(&rng, to, len);
}

static void do_write(bool append)
{
	size_t off = append ? size : pick(SIZE_MAX_BYTES - 1), len = 1 + pick(70000);

	if (len > SIZE_MAX_BYTES - off)
		len = SIZE_MAX_BYTES - off;
	snprintf(doing, sizeof(doing), "write %zu at %zu of %zu", len, off, size);
	random_bytes(buf, len);
	if (len && pwrite(fd, buf, len, (off_t)off) != (ssize_t)len)
		fail("write");
	if (off + len > size && len)
		resize(off + len);
	memcpy(shadow + off, buf, len);
}

static void do_truncate(void)
{
	size_t to = below(5) == 0 ? 0 : pick(SIZE_MAX_BYTES);

	snprintf(doing, sizeof(doing), "truncate to %zu of %zu", to, size);
	if (below(2) ? ftruncate(fd, (off_t)to) : truncate(path, (off_t)to))
		fail("truncate");
	resize(to);
}

static void do_fallocate(void)
{
	static const int modes[] = {0,
				    FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				    FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				    FALLOC_FL_ZERO_RANGE,
				    FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
	int mode = modes[below(6)];
	size_t off = pick(SIZE_MAX_BYTES - 1), len = 1 + pick(70000);

	if (len > SIZE_MAX_BYTES - off)
		len = SIZE_MAX_BYTES - off;
	snprintf(doing, sizeof(doing), "fallocate %#x of %zu at %zu of %zu", (unsigned)mode, len,
		 off, size);
	if (fallocate(fd, mode, (off_t)off, (off_t)len)) {
		if (errno != EOPNOTSUPP)
			fail("fallocate");
		return;
	}
	if (!(mode & FALLOC_FL_KEEP_SIZE) && off + len > size)
		resize(off + len);
	if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) && off < size)
		memset(shadow + off, 0, off + len > size ? size - off : len);
}

static void do_map(bool writing)
{
	size_t off = pick(size), len = 1 + pick(70000);

	if (off >= size)
		return;
	if (len > size - off)
		len = size - off;
	snprintf(doing, sizeof(doing), "map-%s %zu at %zu of %zu", writing ? "write" : "read", len,
		 off, size);
	char *map =
		mmap(NULL, size, writing ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		fail("mmap");
	if (writing) {
		random_bytes(shadow + off, len);
		memcpy(map + off, shadow + off, len);
	} else if (memcmp(map + off, shadow + off, len) != 0) {
		fail("mapped bytes");
	}
	if (writing && below(3) == 0) { /* written after the descriptor is gone */
		close_files();
		memcpy(map, shadow, len < 100 ? len : 100);
		open_files();
	}
	if (writing && below(2) && msync(map, size, MS_SYNC))
		fail("msync");
	if (munmap(map, size))
		fail("munmap");
}

static void do_replace(void)
{
	size_t len = pick(SIZE_MAX_BYTES);

	snprintf(doing, sizeof(doing), "O_TRUNC, then write %zu", len);
	close_files();
	fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);
	other = open(second, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || other < 0)
		fail("open O_TRUNC");
	resize(0);
	random_bytes(shadow, len);
	if (len && write(fd, shadow, len) != (ssize_t)len)
		fail("write");
	size = len;
}

/* Sometimes the second name is a link to the file, sometimes the file's own. */
static void do_link(void)
{
	snprintf(doing, sizeof(doing), "link or unlink");
	close_files();
	if (strcmp(second, path) == 0) {
		strcat(strcpy(second, path), ".zst");
		if (link(path, second))
			fail("link");
	} else {
		if (unlink(second))
			fail("unlink");
		strcpy(second, path);
	}
	open_files();
}

static void do_mount(unsigned how)
{
	static const char *const options[] = {"settle=0", "settle=0.05", "settle=1",
					      "settle=5,coherence=0"};

	snprintf(doing, sizeof(doing), "%s", how == 0 ? "pack" : how == 1 ? "remount" : "kill");
	mounted.options = options[below(4)];
	if (how == 0) {
		if (below(2))
			close_files();
		mounted_pack(&mounted);
		if (fd < 0)
			open_files();
	} else {
		close_files();
		if (how == 1)
			mounted_down(&mounted);
		else
			mounted_kill(&mounted);
		mounted_up(&mounted);
		open_files();
	}
	compare(fd, 0, SIZE_MAX_BYTES);
	compare(other, 0, SIZE_MAX_BYTES);
}

static void take_step(void)
{
	size_t what = below(100);

	if (what < 25)
		do_write(false);
	else if (what < 33)
		do_write(true);
	else if (what < 41)
		do_truncate();
	else if (what < 47)
		do_fallocate();
	else if (what < 55)
		do_map(true);
	else if (what < 61)
		do_map(false);
	else if (what < 66)
		do_replace();
	else if (what < 68)
		do_link();
	else if (what < 72 && (below(2) ? fsync(fd) : fdatasync(fd)))
		fail("fsync");
	else if (what < 77)
		close_files(), open_files();
	else if (what < 83)
		do_mount(0);
	else if (what < 85)
		do_mount(1 + (unsigned)below(2));
	else
		compare(below(2) ? fd : other, pick(size), pick(SIZE_MAX_BYTES));
	check_size();
}

int main(int argc, char **argv)
{
	if (argc < 6) {
		fprintf(stderr, "see the top of data_exerciser.c\n");
		return 2;
	}
	mounted = (struct mounted){argv[1], argv[2], argv[3], "settle=1"};
	uint64_t seed = strtoull(argv[4], NULL, 0);
	unsigned long steps = strtoul(argv[5], NULL, 0);
	verbose = argc > 6;
	rng.state = seed * 0x9e3779b97f4a7c15u + 1;
	shadow = calloc(1, SIZE_MAX_BYTES);
	buf = malloc(SIZE_MAX_BYTES);
	if (!shadow || !buf)
		return 2;
	signal(SIGALRM, on_alarm);
	snprintf(path, sizeof(path), "%s/value", argv[3]);
	strcpy(second, path);
	open_files();
	for (step = 0; step < steps; step++) {
		alarm(HANG_SECONDS);
		take_step();
		if (verbose)
			fprintf(stderr, "%lu %s\n", step, doing);
		if (step % 8 == 0)
			compare(step % 16 ? fd : other, 0, SIZE_MAX_BYTES);
	}
	close_files();
	alarm(0);
	free(shadow);
	free(buf);
	return 0;
}
