/* SPDX-License-Identifier: MIT */
/*
 * no_prune.c - LD_PRELOAD: the kernel does not know FUSE_NOTIFY_PRUNE, as before Linux 6.18.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOTIFY_PRUNE 9

ssize_t write(int fd, const void *buf, size_t count)
{
	struct fuse_out_header head;

	if (count >= sizeof(head)) {
		memcpy(&head, buf, sizeof(head));
		if (head.unique == 0 && head.error == NOTIFY_PRUNE && head.len == count) {
			errno = EINVAL;
			return -1;
		}
	}
	return syscall(SYS_write, fd, buf, count);
}
