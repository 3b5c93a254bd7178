/* SPDX-License-Identifier: MIT */
/*
 * oprc.c - the timed loops of scripts/bench, without a shell or an interpreter in the way.
 *
 *   oprc read DIR N PASSES     open, read, close of DIR/0 ... DIR/N-1
 *   oprc create DIR N          create, write 4 KiB, close
 *   oprc random FILE N SEED    pread of 4 KiB at N random blocks
 *   oprc list DIR              readdir of all of it
 *   oprc latency DIR N FSYNC   truncate, write 4 KiB (FSYNC 1: and fsync), close of DIR/0 ... DIR/99 in turn
 *
 * Prints nanoseconds for each operation (for list: for each name; for latency: of the median, p99, p99.9
 * and the worst one). Ends with 1 where anything fails
 * or a file holds less than it must.
 */
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096

static char block[BLOCK];

static double now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void enter(const char *dir)
{
	if (chdir(dir) != 0)
		err(1, "%s", dir);
}

static unsigned long read_files(unsigned long count, unsigned long passes)
{
	char name[32];

	for (unsigned long pass = 0; pass < passes; pass++) {
		for (unsigned long i = 0; i < count; i++) {
			snprintf(name, sizeof(name), "%lu", i);
			int fd = open(name, O_RDONLY);
			if (fd < 0 || read(fd, block, BLOCK) != BLOCK)
				err(1, "%s", name);
			close(fd);
		}
	}
	return count * passes;
}

static unsigned long create_files(unsigned long count)
{
	char name[32];

	for (unsigned long i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%lu", i);
		memset(block, 'a' + (int)(i % 26), BLOCK);
		int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
		if (fd < 0 || write(fd, block, BLOCK) != BLOCK || close(fd) != 0)
			err(1, "%s", name);
	}
	return count;
}

static unsigned long read_random(const char *file, unsigned long count, unsigned long seed)
{
	struct stat st;
	uint64_t x = seed * 2 + 1;
	int fd = open(file, O_RDONLY);

	if (fd < 0 || fstat(fd, &st) != 0)
		err(1, "%s", file);
	uint64_t blocks = (uint64_t)st.st_size / BLOCK;
	if (blocks == 0)
		errx(1, "%s: too small", file);
	for (unsigned long i = 0; i < count; i++) {
		/* xorshift64: the same places for every side of one run */
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		if (pread(fd, block, BLOCK, (off_t)(x % blocks * BLOCK)) != BLOCK)
			err(1, "%s", file);
	}
	close(fd);
	return count;
}

static unsigned long list_names(const char *dir)
{
	unsigned long count = 0;
	DIR *d = opendir(dir);

	if (!d)
		err(1, "%s", dir);
	while (readdir(d))
		count++;
	closedir(d);
	return count;
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void print_latencies(unsigned long count, int with_fsync)
{
	double *took = calloc(count, sizeof(*took));
	char name[32];

	if (!took || count < 1)
		errx(1, "no memory, or nothing to do");
	for (unsigned long i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%lu", i % 100);
		memset(block, 'a' + (int)(i % 26), BLOCK);
		double begin = now_ns();
		int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
		if (fd < 0 || write(fd, block, BLOCK) != BLOCK || (with_fsync && fsync(fd)) ||
		    close(fd) != 0)
			err(1, "%s", name);
		took[i] = now_ns() - begin;
	}
	qsort(took, count, sizeof(*took), by_value);
	printf("%.1f %.1f %.1f %.1f\n", took[count / 2], took[count * 99 / 100],
	       took[count * 999 / 1000], took[count - 1]);
	free(took);
}

static unsigned long number(const char *text)
{
	return strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	unsigned long operations;
	double begin;

	if (strcmp(what, "read") == 0 && argc == 5) {
		enter(argv[2]);
		begin = now_ns();
		operations = read_files(number(argv[3]), number(argv[4]));
	} else if (strcmp(what, "create") == 0 && argc == 4) {
		enter(argv[2]);
		begin = now_ns();
		operations = create_files(number(argv[3]));
	} else if (strcmp(what, "random") == 0 && argc == 5) {
		begin = now_ns();
		operations = read_random(argv[2], number(argv[3]), number(argv[4]));
	} else if (strcmp(what, "list") == 0 && argc == 3) {
		begin = now_ns();
		operations = list_names(argv[2]);
	} else if (strcmp(what, "latency") == 0 && argc == 5) {
		enter(argv[2]);
		print_latencies(number(argv[3]), strcmp(argv[4], "1") == 0);
		return 0;
	} else {
		errx(2, "see the top of oprc.c");
	}
	printf("%.1f\n", (now_ns() - begin) / (double)(operations ? operations : 1));
	return 0;
}
