/* SPDX-License-Identifier: MIT */
/*
 * recorder.c - a disk that remembers in which order it was written: a filesystem of one file,
 * `disk`, for a loop device to be set up on.
 *
 *   recorder IMAGE LOG MOUNTPOINT    returns when `disk` is there, goes on in the background
 *
 * What is read and written is IMAGE. Each write and each flush that reaches the device (a loop
 * device turns a flush into fsync) is added to LOG before it is answered:
 *
 *   struct record, then for a write its bytes
 *
 * So the length of LOG, taken when a program was told that something is durable, is behind the
 * flush that made it so: who replays LOG to there and loses what comes after the last flush has a
 * disk as a power cut leaves it (tests/crash/device.py).
 *
 * One thread serves, or the log would have another order than the answers. Discards are refused:
 * the filesystem above goes on without them. Numbers in the log are the machine's own.
 */
#define FUSE_USE_VERSION 31

#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define DISK "/disk"

enum { RECORD_WRITE = 1, RECORD_FLUSH = 2 };

struct record {
	uint64_t kind;
	uint64_t off, len; /* of a write, in bytes; len bytes follow */
};

static int image = -1, journal = -1;

static int record(uint64_t kind, uint64_t off, const char *bytes, size_t len)
{
	struct record r = {.kind = kind, .off = off, .len = len};
	struct iovec parts[2] = {
		{.iov_base = &r, .iov_len = sizeof(r)},
		{.iov_base = (void *)(uintptr_t)bytes, .iov_len = len},
	};
	ssize_t n = writev(journal, parts, len > 0 ? 2 : 1);
	if (n < 0)
		return -errno;
	if ((size_t)n != sizeof(r) + len) { /* half a record: the log can not be read past it */
		fprintf(stderr, "recorder: the log could not be written whole\n");
		abort();
	}
	return 0;
}

static int disk_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	if (!strcmp(path, "/")) {
		*st = (struct stat){.st_mode = S_IFDIR | 0700, .st_nlink = 2};
		return 0;
	}
	return strcmp(path, DISK) ? -ENOENT : fstat(image, st) ? -errno : 0;
}

static int disk_open(const char *path, struct fuse_file_info *fi)
{
	(void)fi;
	return strcmp(path, DISK) ? -ENOENT : 0;
}

static int disk_read(const char *path, char *buf, size_t len, off_t off, struct fuse_file_info *fi)
{
	(void)path;
	(void)fi;
	ssize_t n = pread(image, buf, len, off);
	return n < 0 ? -errno : (int)n;
}

static int disk_write(const char *path, const char *buf, size_t len, off_t off,
		      struct fuse_file_info *fi)
{
	(void)path;
	(void)fi;
	int err = record(RECORD_WRITE, (uint64_t)off, buf, len);
	if (err)
		return err;
	ssize_t n = pwrite(image, buf, len, off);
	return n < 0 ? -errno : (int)n;
}

static int disk_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
	(void)path;
	(void)datasync;
	(void)fi;
	return record(RECORD_FLUSH, 0, NULL, 0);
}

static const struct fuse_operations operations = {
	.getattr = disk_getattr,
	.open = disk_open,
	.read = disk_read,
	.write = disk_write,
	.fsync = disk_fsync,
};

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: recorder IMAGE LOG MOUNTPOINT\n");
		return 2;
	}
	image = open(argv[1], O_RDWR | O_CLOEXEC);
	journal = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (image < 0 || journal < 0) {
		fprintf(stderr, "recorder: %s: %s\n", argv[image < 0 ? 1 : 2], strerror(errno));
		return 1;
	}
	char *args[] = {argv[0], "-s", "-o", "fsname=recorder,subtype=recorder", argv[3], NULL};
	return fuse_main(5, args, &operations, NULL);
}
