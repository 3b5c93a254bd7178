/* SPDX-License-Identifier: MIT */
/*
 * act_kill.c - the daemon is killed while another process writes.
 *
 * What was acknowledged is there after the next mount; the one write that was under way may be
 * there in part; nothing else has changed.
 */
#include "tests/mount/data_exerciser/data.h"

#include <stdatomic.h>
#include <sys/mman.h>

#define WRITES_MAX 2000u
#define WAIT_STEPS 20000u
#define WAIT_NS	   1000000

enum how { ADD, OVERWRITE, REPLACE, HOWS };

struct job {
	enum how how;
	bool synced; /* each write is followed by an fsync */
	uint64_t piece;
	unsigned enough; /* acknowledged writes after which the daemon is killed */
};

static char byte_of(const struct dx_step *s, uint64_t at)
{
	return (char)(s->fill >> 8 ^ at * 2654435761u >> 7);
}

/* Ends where the daemon does, or after WRITES_MAX. */
__attribute__((noreturn)) static void write_on(const struct dx_step *s, const struct job *j,
					       atomic_uint *acknowledged)
{
	static const int flags[HOWS] = {O_APPEND, 0, O_TRUNC};
	int fd = open(dx.path, O_WRONLY | O_CLOEXEC | flags[j->how]);
	uint64_t at = 0;

	for (unsigned i = 0; fd >= 0 && i < WRITES_MAX; i++) {
		for (uint64_t k = 0; k < j->piece; k++)
			dx.buf[k] = byte_of(s, at + k);
		if (write(fd, dx.buf, j->piece) != (ssize_t)j->piece || (j->synced && fsync(fd)))
			break;
		at += j->piece;
		atomic_fetch_add(acknowledged, 1);
	}
	_exit(0);
}

static unsigned kill_in_between(const struct dx_step *s, const struct job *j)
{
	atomic_uint *acknowledged =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const struct timespec pause = {.tv_nsec = WAIT_NS};
	unsigned count;
	pid_t pid;

	if (acknowledged == MAP_FAILED)
		dx_fail("memory");
	pid = fork();
	if (pid == 0)
		write_on(s, j, acknowledged);
	for (unsigned i = 0; atomic_load(acknowledged) < j->enough; i++) {
		if (i == WAIT_STEPS)
			dx_fail("a process does not get on with writing");
		nanosleep(&pause, NULL);
	}
	mounted_kill(&dx.mounted);
	if (waitpid(pid, NULL, 0) != pid)
		dx_fail("waitpid");
	count = atomic_load(acknowledged);
	munmap(acknowledged, 4096);
	return count;
}

/* The shadow gets what must be there, and of the write that was under way what is. */
static void expect(const struct dx_step *s, const struct job *j, unsigned acknowledged)
{
	uint64_t start = j->how == ADD ? dx.size : 0, sure = start + acknowledged * j->piece;
	uint64_t old = j->how == REPLACE ? 0 : dx.size, end;
	struct stat st;

	if (fstat(dx.fd, &st))
		dx_fail("fstat");
	end = (uint64_t)st.st_size;
	if (end < sure || end > (sure + j->piece > old ? sure + j->piece : old) || end < old) {
		fprintf(stderr, "size %llu, was %llu; %u writes of %llu were acknowledged\n",
			(unsigned long long)end, (unsigned long long)dx.size, acknowledged,
			(unsigned long long)j->piece);
		dx_fail("size after a kill");
	}
	for (uint64_t at = start; at < sure; at++)
		dx.shadow[at] = byte_of(s, at - start);
	if (end > old && end > sure)
		memset(dx.shadow + (sure > old ? sure : old), 0, end - (sure > old ? sure : old));
	dx.size = end;
	for (uint64_t at = sure; at < end && at < sure + j->piece; at++) {
		char now;
		if (pread(dx.fd, &now, 1, (off_t)at) != 1)
			dx_fail("read");
		if (now == byte_of(s, at - start))
			dx.shadow[at] = now;
	}
}

void dx_kill_writing(const struct dx_step *s)
{
	struct job j = {.how = (enum how)(s->flags % HOWS),
			.synced = s->fill & 16,
			.piece = 1 + s->len % 9000,
			.enough = 1 + (unsigned)(s->fill >> 32) % 60};
	unsigned acknowledged;

	if (dx.size + WRITES_MAX * j.piece > DX_LARGE_BYTES)
		return;
	dx_close_files();
	acknowledged = kill_in_between(s, &j);
	dx_mount_up(s);
	dx_open_files();
	expect(s, &j, acknowledged);
	dx_check_all();
}
