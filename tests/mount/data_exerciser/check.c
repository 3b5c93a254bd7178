/* SPDX-License-Identifier: MIT */
/*
 * check.c - the file against its shadow.
 */
#include "tests/mount/data_exerciser/data.h"

void dx_fail(const char *what)
{
	fprintf(stderr, "DIFFERENT: %s; errno %s; size %llu\n  at step ", what, strerror(errno),
		(unsigned long long)dx.size);
	dx_print(&dx.now, stderr);
	fflush(stderr);
	_exit(1);
}

void dx_compare(int fd, uint64_t off, uint64_t len)
{
	uint64_t want = off >= dx.size ? 0 : dx.size - off < len ? dx.size - off : len;
	ssize_t n = pread(fd, dx.buf, len, (off_t)off);

	if (n < 0)
		dx_fail("read");
	if ((uint64_t)n != want) {
		fprintf(stderr, "read %zd of %llu bytes at %llu\n", n, (unsigned long long)want,
			(unsigned long long)off);
		dx_fail("bytes read");
	}
	if (want == 0 || memcmp(dx.buf, dx.shadow + off, want) == 0)
		return;
	for (uint64_t i = 0; i < want; i++)
		if (dx.buf[i] != dx.shadow[off + i]) {
			fprintf(stderr, "at %llu: %#x, should be %#x\n",
				(unsigned long long)(off + i), (uint8_t)dx.buf[i],
				(uint8_t)dx.shadow[off + i]);
			dx_fail("bytes");
		}
}

static void check_size(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		dx_fail("fstat");
	if ((uint64_t)st.st_size != dx.size) {
		fprintf(stderr, "size %lld, should be %llu\n", (long long)st.st_size,
			(unsigned long long)dx.size);
		dx_fail("size");
	}
}

void dx_check_all(void)
{
	check_size(dx.fd);
	check_size(dx.other);
	dx_compare(dx.fd, 0, DX_LARGE_BYTES);
	dx_compare(dx.other, 0, DX_LARGE_BYTES);
}

void dx_check(const struct dx_step *s)
{
	int fd = s->number % 2 ? dx.fd : dx.other;

	check_size(fd);
	if (s->number % 8 == 0 && dx.size <= DX_COMPARED_ALL) {
		dx_compare(fd, 0, DX_COMPARED_ALL);
	} else if (s->number % 8 == 0) {
		dx_compare(fd, 0, DX_COMPARED_ALL / 4);
		dx_compare(fd, dx.size - DX_COMPARED_ALL / 4, DX_COMPARED_ALL / 4);
		dx_compare(fd, s->off, DX_COMPARED_ALL / 4);
	}
}

/* What is told to be no data has to be zeros; what is behind the end is an error. */
void dx_check_holes(const struct dx_step *s)
{
	off_t data = lseek(dx.fd, (off_t)s->off, SEEK_DATA);
	int err = errno;
	off_t hole = lseek(dx.fd, (off_t)s->off, SEEK_HOLE);
	uint64_t end;

	if (s->off >= dx.size) {
		if (data >= 0 || hole >= 0 || err != ENXIO || errno != ENXIO)
			dx_fail("seek behind the end");
		return;
	}
	if (data < 0 && err != ENXIO)
		dx_fail("SEEK_DATA");
	if (hole < (off_t)s->off || hole > (off_t)dx.size)
		dx_fail("SEEK_HOLE");
	end = data < 0 ? dx.size : (uint64_t)data;
	if (end > dx.size)
		dx_fail("SEEK_DATA behind the end");
	for (uint64_t i = s->off; i < end; i++)
		if (dx.shadow[i])
			dx_fail("data in a hole");
	if (hole < (off_t)dx.size && dx.shadow[hole])
		dx_fail("a hole that is data");
}
