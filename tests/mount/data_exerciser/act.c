/* SPDX-License-Identifier: MIT */
/*
 * act.c - a step changes the file and its shadow.
 */
#include "tests/mount/data_exerciser/data.h"

#include <linux/falloc.h>
#include <setjmp.h>
#include <sys/mman.h>

#define DIRECT_ALIGN 4096u

void dx_open_files(void)
{
	dx.fd = open(dx.path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	dx.other = open(dx.second, O_RDONLY | O_CLOEXEC);
	if (dx.fd < 0 || dx.other < 0)
		dx_fail("open");
}

void dx_close_files(void)
{
	if (dx.fd >= 0 && close(dx.fd))
		dx_fail("close");
	if (dx.other >= 0 && close(dx.other))
		dx_fail("close");
	dx.fd = dx.other = -1;
}

static void resize(uint64_t size)
{
	if (size > dx.size)
		memset(dx.shadow + dx.size, 0, size - dx.size);
	dx.size = size;
}

static uint64_t clamp(uint64_t off, uint64_t len)
{
	return len > DX_LARGE_BYTES - off ? DX_LARGE_BYTES - off : len;
}

static void fill(const struct dx_step *s, char *to, uint64_t len)
{
	struct test_random r = {s->fill | 1};

	if (s->fill & 2)
		test_random_fill(&r, to, len);
	else
		memset(to, s->fill & 4 ? 0 : (int)(s->fill >> 8), len);
}

/* Writes buf, and the shadow has it. */
static void write_at(int fd, uint64_t off, uint64_t len)
{
	ssize_t n = len ? pwrite(fd, dx.buf, len, (off_t)off) : 0;

	if (n < 0)
		dx_fail("write");
	if ((uint64_t)n != len)
		dx_fail("short write");
	if (len && off + len > dx.size)
		resize(off + len);
	memcpy(dx.shadow + off, dx.buf, len);
}

static void do_write(const struct dx_step *s)
{
	uint64_t len = clamp(s->off, s->len);

	fill(s, dx.buf, len);
	write_at(dx.fd, s->off, len);
}

/* ---- appending ---- */

static void append(int fd, const struct dx_step *s, uint64_t len)
{
	len = clamp(dx.size, len);
	fill(s, dx.buf, len);
	if (len && write(fd, dx.buf, len) != (ssize_t)len)
		dx_fail("append");
	memcpy(dx.shadow + dx.size, dx.buf, len);
	dx.size += len;
}

static void do_append(const struct dx_step *s)
{
	int fd = open(dx.second, O_WRONLY | O_APPEND | O_CLOEXEC);

	if (fd < 0)
		dx_fail("open to append");
	if (s->kind == DX_APPEND)
		append(fd, s, s->len);
	for (int i = 0; s->kind == DX_APPEND_MANY && i < 30; i++)
		append(fd, s, 1 + s->len % 900);
	if ((s->flags & 1) && fsync(fd))
		dx_fail("fsync");
	if (close(fd))
		dx_fail("close");
}

static void record(char out[DX_RECORD_BYTES + 1], unsigned writer, unsigned n)
{
	snprintf(out, DX_RECORD_BYTES + 1, "<writer %u line %5u>\n", writer % 10, n);
}

static void append_records(unsigned writer)
{
	int fd = open(dx.path, O_WRONLY | O_APPEND | O_CLOEXEC);
	char text[DX_RECORD_BYTES + 1];

	for (unsigned i = 0; i < DX_RECORDS; i++) {
		record(text, writer, i);
		if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
			_exit(1);
	}
	_exit(0);
}

/* Several processes at once: each line is there, whole, once, in its writer's order. */
static void append_others(void)
{
	unsigned next[DX_APPENDERS] = {0};
	char text[DX_RECORD_BYTES + 1];
	pid_t pids[DX_APPENDERS];
	uint64_t at = dx.size, bytes;
	ssize_t n;

	record(text, 0, 0);
	bytes = (uint64_t)strlen(text) * DX_RECORDS * DX_APPENDERS;
	if (bytes > DX_LARGE_BYTES - dx.size)
		return;
	for (unsigned i = 0; i < DX_APPENDERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			append_records(i);
	}
	for (int i = 0, status; i < DX_APPENDERS; i++)
		if (waitpid(pids[i], &status, 0) != pids[i] || status)
			dx_fail("an appending process");
	n = pread(dx.fd, dx.shadow + at, bytes, (off_t)at);
	if (n != (ssize_t)bytes)
		dx_fail("what several appended is not all there");
	dx.size += bytes;
	for (uint64_t i = at; i < dx.size; i += strlen(text)) {
		unsigned writer = (unsigned)dx.shadow[i + 8] - '0';
		if (writer >= DX_APPENDERS)
			dx_fail("a line of nobody");
		record(text, writer, next[writer]++);
		if (memcmp(text, dx.shadow + i, strlen(text)) != 0)
			dx_fail("a line is not whole, or not in order");
	}
}

/* ---- O_DIRECT ---- */

static void do_direct(const struct dx_step *s)
{
	int fd = open(dx.path, O_RDWR | O_DIRECT | O_CLOEXEC);
	uint64_t off = s->off / DIRECT_ALIGN * DIRECT_ALIGN;
	uint64_t len = clamp(off, s->len) / DIRECT_ALIGN * DIRECT_ALIGN;

	if (fd < 0)
		dx_fail("open O_DIRECT");
	if (s->kind == DX_READ_DIRECT) {
		dx_compare(fd, off, len);
	} else {
		fill(s, dx.buf, len);
		write_at(fd, off, len);
	}
	if (close(fd))
		dx_fail("close");
}

/* ---- long runs ---- */

static void do_stream(const struct dx_step *s)
{
	uint64_t piece = 4096 + s->fill / 8 % (DX_PIECE_BYTES - 4096);

	dx_close_files();
	if (s->flags & 2)
		dx.fd = open(dx.path, O_RDWR | O_TRUNC | O_CLOEXEC);
	else
		dx.fd = unlink(dx.path)
				? -1
				: open(dx.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (dx.fd < 0)
		dx_fail("open a stream");
	if (!(s->flags & 2) && strcmp(dx.second, dx.path) != 0 && unlink(dx.second))
		dx_fail("unlink");
	if (!(s->flags & 2))
		strcpy(dx.second, dx.path);
	dx.size = 0;
	fill(s, dx.shadow, s->len);
	for (uint64_t at = 0; at < s->len; at += piece) {
		uint64_t n = s->len - at < piece ? s->len - at : piece;
		if (write(dx.fd, dx.shadow + at, n) != (ssize_t)n)
			dx_fail("write a stream");
		if ((s->flags & 12) == 12 && at / piece == 5 && fsync(dx.fd))
			dx_fail("fsync");
	}
	dx.size = s->len;
	dx.other = open(dx.second, O_RDONLY | O_CLOEXEC);
	if (dx.other < 0)
		dx_fail("open");
}

static void do_replace(const struct dx_step *s)
{
	dx_close_files();
	dx.fd = open(dx.path, O_RDWR | O_TRUNC | O_CLOEXEC);
	dx.other = open(dx.second, O_RDONLY | O_CLOEXEC);
	if (dx.fd < 0 || dx.other < 0)
		dx_fail("open O_TRUNC");
	resize(0);
	fill(s, dx.buf, s->len);
	write_at(dx.fd, 0, s->len);
}

/* Written beside it and renamed over it. */
static void do_save(const struct dx_step *s)
{
	char beside[sizeof(dx.path) + 8];
	int fd;

	snprintf(beside, sizeof(beside), "%s.new", dx.path);
	fd = open(beside, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	fill(s, dx.buf, s->len);
	if (fd < 0 || write(fd, dx.buf, s->len) != (ssize_t)s->len)
		dx_fail("write beside");
	if ((s->flags & 1) && fsync(fd))
		dx_fail("fsync");
	if (close(fd) || rename(beside, dx.path))
		dx_fail("rename over");
	dx_close_files();
	if (strcmp(dx.second, dx.path) != 0 && unlink(dx.second))
		dx_fail("unlink");
	strcpy(dx.second, dx.path);
	dx.size = 0;
	resize(s->len);
	memcpy(dx.shadow, dx.buf, s->len);
	dx_open_files();
}

/* ---- sizes and holes ---- */

static void do_truncate(const struct dx_step *s)
{
	if (s->flags & 1 ? ftruncate(dx.fd, (off_t)s->off) : truncate(dx.second, (off_t)s->off))
		dx_fail("truncate");
	resize(s->off);
}

static void do_fallocate(const struct dx_step *s)
{
	static const int modes[] = {0,
				    FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				    FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				    FALLOC_FL_ZERO_RANGE,
				    FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
	int mode = modes[s->flags % 6];
	uint64_t len = clamp(s->off, s->len), end = s->off + len;

	if (fallocate(dx.fd, mode, (off_t)s->off, (off_t)len)) {
		if (errno != EOPNOTSUPP)
			dx_fail("fallocate");
		return;
	}
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > dx.size)
		resize(end);
	if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) && s->off < dx.size)
		memset(dx.shadow + s->off, 0, end > dx.size ? dx.size - s->off : len);
}

/* ---- mappings ---- */

static void do_map(const struct dx_step *s)
{
	bool writing = s->kind == DX_MAP_WRITE;
	uint64_t off = dx.size ? s->off % dx.size : 0, len = s->len;
	char *map;

	if (dx.size == 0)
		return;
	if (len > dx.size - off)
		len = dx.size - off;
	map = mmap(NULL, dx.size, writing ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, dx.fd,
		   0);
	if (map == MAP_FAILED)
		dx_fail("mmap");
	if (writing) {
		fill(s, dx.shadow + off, len);
		memcpy(map + off, dx.shadow + off, len);
	} else if (memcmp(map + off, dx.shadow + off, len) != 0) {
		dx_fail("mapped bytes");
	}
	if (writing && (s->flags & 3) == 0) { /* written after the descriptor is gone */
		dx_close_files();
		memcpy(map, dx.shadow, len < 100 ? len : 100);
		dx_open_files();
	}
	if (writing && (s->flags & 4) && msync(map, dx.size, MS_SYNC))
		dx_fail("msync");
	if (munmap(map, dx.size))
		dx_fail("munmap");
}

static sigjmp_buf bus;

static void on_bus_error(int signal_number)
{
	(void)signal_number;
	siglongjmp(bus, 1);
}

/* A page that a truncation has left without bytes can not be touched; the ones before can. */
static void map_past_end(const struct dx_step *s)
{
	struct sigaction action = {.sa_handler = on_bus_error}, before;
	uint64_t old = dx.size, size = dx.size / 8192 * 4096;
	volatile bool refused = false;
	char *map;

	if (old < 16384)
		return;
	map = mmap(NULL, old, PROT_READ | PROT_WRITE, MAP_SHARED, dx.fd, 0);
	if (map == MAP_FAILED)
		dx_fail("mmap");
	map[old - 1] = (char)s->fill; /* a dirty page is cut off */
	map[0] = dx.shadow[0] = (char)(s->fill >> 8);
	if (ftruncate(dx.fd, (off_t)size))
		dx_fail("ftruncate");
	resize(size);
	sigaction(SIGBUS, &action, &before);
	if (sigsetjmp(bus, 1) == 0)
		*(volatile char *)(map + old - 4096) = 'x';
	else
		refused = true;
	sigaction(SIGBUS, &before, NULL);
	if (!refused)
		dx_fail("a page behind the end was written");
	if (munmap(map, old))
		dx_fail("munmap");
}

/* ---- copies ---- */

static void do_copy(const struct dx_step *s)
{
	uint64_t to = s->off, from = dx.size ? s->fill / 16 % dx.size : 0, len = clamp(to, s->len);
	off_t in = (off_t)from, out = (off_t)to;
	ssize_t n;

	if (from >= dx.size)
		return;
	if (len > dx.size - from)
		len = dx.size - from;
	if (from < to ? to - from < len : from - to < len)
		return; /* it must not overlap */
	memcpy(dx.buf, dx.shadow + from, len);
	for (uint64_t done = 0; done < len; done += (uint64_t)n) {
		n = copy_file_range(dx.other, &in, dx.fd, &out, len - done, 0);
		if (n <= 0)
			dx_fail("copy_file_range");
	}
	if (to + len > dx.size)
		resize(to + len);
	memcpy(dx.shadow + to, dx.buf, len);
}

/* All of it to another file, which is looked at, and put in its place. */
static void copy_out(const struct dx_step *s)
{
	char beside[sizeof(dx.path) + 8];
	ssize_t n = 1;
	off_t in = 0;
	int fd;

	snprintf(beside, sizeof(beside), "%s.copy", dx.path);
	fd = open(beside, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		dx_fail("open a copy");
	while (n > 0)
		n = copy_file_range(dx.other, &in, fd, NULL, DX_LARGE_BYTES, 0);
	if (n < 0)
		dx_fail("copy_file_range");
	dx_compare(fd, 0, DX_LARGE_BYTES);
	if (close(fd))
		dx_fail("close");
	if (s->flags & 1) {
		if (unlink(beside))
			dx_fail("unlink");
		return;
	}
	dx_close_files();
	if (rename(beside, dx.path))
		dx_fail("rename");
	if (strcmp(dx.second, dx.path) != 0 && unlink(dx.second))
		dx_fail("unlink");
	strcpy(dx.second, dx.path);
	dx_open_files();
}

void dx_act(const struct dx_step *s)
{
	switch (s->kind) {
	case DX_WRITE:
		do_write(s);
		break;
	case DX_APPEND:
	case DX_APPEND_MANY:
		do_append(s);
		break;
	case DX_APPEND_OTHERS:
		append_others();
		break;
	case DX_WRITE_DIRECT:
	case DX_READ_DIRECT:
		do_direct(s);
		break;
	case DX_STREAM:
		do_stream(s);
		break;
	case DX_TRUNCATE:
		do_truncate(s);
		break;
	case DX_FALLOCATE:
		do_fallocate(s);
		break;
	case DX_MAP_WRITE:
	case DX_MAP_READ:
		do_map(s);
		break;
	case DX_MAP_PAST_END:
		map_past_end(s);
		break;
	case DX_REPLACE:
		do_replace(s);
		break;
	case DX_SAVE:
		do_save(s);
		break;
	case DX_COPY:
		do_copy(s);
		break;
	case DX_COPY_OUT:
		copy_out(s);
		break;
	default:
		dx_act_mount(s);
	}
}
