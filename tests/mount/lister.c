/* SPDX-License-Identifier: MIT */
/*
 * lister.c - reads a directory again and again while others make, remove and replace names in it:
 * who stays is seen exactly once, in each reading, after rewinddir, and from each place that telldir
 * gave.
 *
 *   lister [-w] DIR STABLE OTHERS CHANGES [DIR2]
 *
 * STABLE names ("stay" and a number) are in DIR already. Beside the readings OTHERS names come and
 * go in DIR, made by two processes, and a fifth of that in DIR2 (the same directory seen from
 * elsewhere). CHANGES says what is done to those who stay, one letter each, in turn:
 *
 *   r  another file is renamed over it        w  it is truncated and written anew
 *   e  bytes in it are written over           a  something is added to it
 *
 * With -w nothing is read from telldir's places but the start: a file that is written in place of
 * another may have another place. Readings go on until all that is done. Prints what was missing or came twice, and ends with 1.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WINDOW	     300 /* names of one process that are there at once */
#define PLACES_MAX   64
#define READINGS_MIN 3

struct place {
	long at;      /* of telldir */
	size_t count; /* who stays and was seen before it */
};

static size_t stable;
static uint32_t *seen; /* of each who stays: in which reading last */
static uint32_t *rank; /* and as the how manyth of it */
static uint32_t reading;
static bool whole_only;
static const char *phase;
static int complaints;

static void give_up(const char *what, const char *name)
{
	fprintf(stderr, "%s %s: %s\n", what, name, strerror(errno));
	exit(2);
}

static void make_file(int dir, const char *name, const char *bytes, size_t len)
{
	int fd = openat(dir, name, O_CREAT | O_WRONLY | O_TRUNC, 0644);

	if (fd < 0 || (len && write(fd, bytes, len) != (ssize_t)len))
		give_up("make", name);
	close(fd);
}

static int open_folder(const char *path)
{
	int dir = open(path, O_RDONLY | O_DIRECTORY);

	if (dir < 0)
		give_up("open", path);
	return dir;
}

/* Names come and go, at most WINDOW of them there at once. Every third holds something. */
static void come_and_go(const char *path, const char *who, size_t count)
{
	int dir = open_folder(path);
	char name[64];

	for (size_t i = 0; i < count + WINDOW; i++) {
		if (i < count) {
			snprintf(name, sizeof(name), "%s%zu", who, i);
			make_file(dir, name, "some text", i % 3 ? 0 : 9);
		}
		if (i < WINDOW)
			continue;
		snprintf(name, sizeof(name), "%s%zu", who, i - WINDOW);
		if (unlinkat(dir, name, 0) < 0)
			give_up("unlink", name);
	}
}

static void change(int dir, char how, const char *name)
{
	static char text[9000];
	int fd;

	memset(text, 'a' + how % 8, sizeof(text));
	if (how == 'r') {
		make_file(dir, "beside", text, sizeof(text));
		if (renameat(dir, "beside", dir, name) < 0)
			give_up("rename over", name);
		return;
	}
	if (how == 'w') {
		make_file(dir, name, text, sizeof(text));
		return;
	}
	fd = openat(dir, name, how == 'a' ? O_WRONLY | O_APPEND : O_WRONLY);
	if (fd < 0 || pwrite(fd, text, 100, 50) != 100)
		give_up("write to", name);
	close(fd);
}

/* Those who stay are changed, in steps that lead through the whole directory. */
static void change_all(const char *path, const char *how, size_t count)
{
	int dir = open_folder(path);
	char name[64];

	for (size_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "stay%zu", i * 7919 % stable);
		change(dir, how[i % strlen(how)], name);
	}
}

static void complain(const char *what, size_t number)
{
	if (complaints++ < 10)
		printf("reading %u, %s: stay%zu %s\n", reading, phase, number, what);
}

/* Takes what comes until the end. before: how many who stay are taken to have come already. places:
 * NULL, or where telldir's are kept. -> how many places */
static size_t read_all(DIR *d, struct place *places)
{
	size_t count = 0, entries = 0, places_count = 0;

	reading++;
	errno = 0;
	for (struct dirent *e; (e = readdir(d)); entries++) {
		char *end;
		size_t number = strtoul(e->d_name + 4, &end, 10);

		if (places && entries % (stable / PLACES_MAX + 1) == 0 && places_count < PLACES_MAX)
			places[places_count++] = (struct place){telldir(d), count};
		if (strncmp(e->d_name, "stay", 4) != 0 || *end || number >= stable)
			continue;
		if (seen[number] == reading)
			complain("came twice", number);
		seen[number] = reading;
		if (places) {
			/* A place is behind the entry that was read before it was asked for. */
			if (places_count && entries % (stable / PLACES_MAX + 1) == 0)
				places[places_count - 1].count = count + 1;
			rank[number] = (uint32_t)count;
		}
		count++;
	}
	if (errno)
		give_up("read", "the directory");
	return places_count;
}

/* All from the rank `from` on must have come in this reading. */
static void check_from(size_t from)
{
	for (size_t i = 0; i < stable; i++)
		if (seen[i] != reading && rank[i] >= from)
			complain("is missing", i);
}

static void one_round(const char *path)
{
	static struct place places[PLACES_MAX];
	DIR *d = opendir(path);

	if (!d)
		give_up("open", path);
	memset(rank, 0, stable * sizeof(*rank));
	phase = "whole";
	size_t count = read_all(d, places);
	check_from(0);
	for (size_t i = reading % 7; i < count && !whole_only; i += PLACES_MAX / 4) {
		phase = "after seekdir";
		seekdir(d, places[i].at);
		read_all(d, NULL);
		check_from(places[i].count);
	}
	phase = "after rewinddir";
	rewinddir(d);
	read_all(d, NULL);
	check_from(0);
	closedir(d);
}

static bool all_ended(pid_t *children, size_t count)
{
	bool ended = true;
	int status;

	for (size_t i = 0; i < count; i++) {
		if (!children[i])
			continue;
		pid_t pid = waitpid(children[i], &status, WNOHANG);

		if (pid != children[i]) {
			ended = false;
			continue;
		}
		children[i] = 0;
		if (status)
			exit(2);
	}
	return ended;
}

int main(int argc, char **argv)
{
	pid_t children[4] = {0};
	size_t others;

	if (argc > 1 && strcmp(argv[1], "-w") == 0) {
		whole_only = true;
		argv++;
		argc--;
	}
	if (argc < 5)
		return 2;
	stable = strtoul(argv[2], NULL, 10);
	others = strtoul(argv[3], NULL, 10);
	seen = calloc(stable, sizeof(*seen));
	rank = calloc(stable, sizeof(*rank));
	if (!stable || !seen || !rank)
		return 2;
	for (int i = 0; i < 4; i++) {
		children[i] = fork();
		if (children[i] != 0)
			continue;
		if (i < 2)
			come_and_go(argv[1], i ? "two-" : "one-", others / 2);
		else if (i == 2 && argv[4][0])
			change_all(argv[1], argv[4], others / 10 < stable ? others / 10 : stable);
		else if (i == 3 && argc > 5)
			come_and_go(argv[5], "three-", others / 5);
		_exit(0);
	}

	unsigned rounds = 0;

	while (!all_ended(children, 4) || rounds < READINGS_MIN) {
		one_round(argv[1]);
		rounds++;
	}
	printf("%u readings in %u rounds, %d complaints\n", reading, rounds, complaints);
	return complaints > 0;
}
