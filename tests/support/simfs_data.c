/* SPDX-License-Identifier: MIT */
/* simfs_data.c - data, and what makes it durable; see simfs_private.h. */
#include "tests/support/simfs_private.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- data ---- */

ssize_t sim_read_data(const struct image *im, void *buf, size_t len, uint64_t off)
{
	unsigned char *out = buf;
	if (off >= im->size)
		return 0;
	if (len > im->size - off)
		len = (size_t)(im->size - off);
	for (size_t done = 0; done < len;) {
		size_t at = (size_t)((off + done) % BLOCK_SIZE);
		size_t part = BLOCK_SIZE - at < len - done ? BLOCK_SIZE - at : len - done;
		const struct block *b = sim_image_block(im, (size_t)((off + done) / BLOCK_SIZE));
		if (b != NULL)
			memcpy(out + done, b->bytes + at, part);
		else
			memset(out + done, 0, part);
		done += part;
	}
	return (ssize_t)len;
}

static ssize_t read_fd(struct simfs *fs, int fd, void *buf, size_t len, uint64_t off)
{
	struct file *file = sim_get_file(fs, fd);
	if (file == NULL || !sim_can_read(file))
		return -EBADF;
	if (off > INT64_MAX)
		return -EINVAL;
	if (sim_is_dir(file->inode))
		return -EISDIR;
	return sim_read_data(&file->inode->now, buf, sim_transfer_len(fs, len), off);
}

ssize_t sim_pread(void *self, int fd, void *buf, size_t len, uint64_t off)
{
	struct simfs *fs = self;
	ssize_t n = sim_enter(fs, "pread", TRANSFER);
	if (n == 0)
		n = read_fd(fs, fd, buf, len, off);
	return sim_leave_count(fs, n);
}

ssize_t sim_pread_nowait(void *self, int fd, void *buf, size_t len, uint64_t off)
{
	struct simfs *fs = self;
	ssize_t n = sim_enter(fs, "pread_nowait", TRANSFER);
	if (n == 0)
		n = fs->cold ? -EAGAIN : read_fd(fs, fd, buf, len, off);
	return sim_leave_count(fs, n);
}

/* A block that may be written; NULL where space is out. */
static struct block *block_for_write(struct simfs *fs, struct image *im, size_t index)
{
	struct block *b = sim_image_own_block(im, index);
	if (b != NULL || fs->free_blocks == 0)
		return b;
	fs->free_blocks--;
	b = sim_block_new();
	sim_image_set_block(im, index, b);
	return b;
}

static ssize_t write_data(struct simfs *fs, struct inode *in, const void *buf, size_t len,
			  uint64_t off)
{
	const unsigned char *from = buf;
	size_t done = 0;
	if (off > INT64_MAX)
		return -EINVAL;
	if (len == 0)
		return 0;
	if (off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - off)
		return -EFBIG;
	while (done < len) {
		size_t at = (size_t)((off + done) % BLOCK_SIZE);
		size_t part = BLOCK_SIZE - at < len - done ? BLOCK_SIZE - at : len - done;
		struct block *b =
			block_for_write(fs, &in->now, (size_t)((off + done) / BLOCK_SIZE));
		if (b == NULL)
			break;
		memcpy(b->bytes + at, from + done, part);
		done += part;
	}
	if (done == 0)
		return -ENOSPC;
	if (off + done > in->now.size)
		in->now.size = off + done;
	sim_touch_mtime(fs, in);
	return (ssize_t)done;
}

ssize_t sim_pwrite(void *self, int fd, const void *buf, size_t len, uint64_t off)
{
	struct simfs *fs = self;
	ssize_t n = sim_enter(fs, "pwrite", CHANGE | TRANSFER);
	if (n == 0) {
		struct file *file = sim_get_file(fs, fd);
		if (file == NULL || !sim_can_write(file)) {
			n = -EBADF;
		} else {
			if (file->flags & O_APPEND)
				off = file->inode->now.size;
			n = write_data(fs, file->inode, buf, sim_transfer_len(fs, len), off);
		}
	}
	return sim_leave_count(fs, n);
}

ssize_t sim_append(void *self, int fd, const void *buf, size_t len)
{
	struct simfs *fs = self;
	ssize_t n = sim_enter(fs, "pwrite", CHANGE | TRANSFER);
	if (n == 0) {
		struct file *file = sim_get_file(fs, fd);
		n = file == NULL || !sim_can_write(file)
			    ? -EBADF
			    : write_data(fs, file->inode, buf, sim_transfer_len(fs, len),
					 file->inode->now.size);
	}
	return sim_leave_count(fs, n);
}

int sim_truncate(void *self, int fd, uint64_t size)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "truncate", CHANGE);
	if (err == 0) {
		struct file *file = sim_get_open_file(fs, fd);
		if (size > INT64_MAX)
			err = -EINVAL;
		else if (file == NULL)
			err = -EBADF;
		else if (!sim_can_write(file))
			err = -EINVAL;
		else if (size > FILE_SIZE_MAX)
			err = -EFBIG;
		else {
			sim_set_size(fs, file->inode, size);
			sim_touch_mtime(fs, file->inode);
		}
	}
	return sim_leave(fs, err);
}

/* Makes [off, end) zero; whole blocks become holes with punch, else blocks of zeros. */
static int zero_range(struct simfs *fs, struct inode *in, uint64_t off, uint64_t end, bool punch)
{
	struct image *im = &in->now;
	while (off < end) {
		size_t index = (size_t)(off / BLOCK_SIZE), at = (size_t)(off % BLOCK_SIZE);
		uint64_t left = end - off;
		size_t part = BLOCK_SIZE - at < left ? BLOCK_SIZE - at : (size_t)left;
		if (punch && part == BLOCK_SIZE) {
			fs->free_blocks += sim_image_block(im, index) != NULL;
			sim_image_set_block(im, index, NULL);
		} else {
			struct block *b = punch ? sim_image_own_block(im, index)
						: block_for_write(fs, im, index);
			if (b == NULL && !punch)
				return -ENOSPC;
			if (b != NULL)
				memset(b->bytes + at, 0, part);
		}
		off += part;
	}
	return 0;
}

static int allocate_range(struct simfs *fs, struct inode *in, uint64_t off, uint64_t end)
{
	for (size_t i = (size_t)(off / BLOCK_SIZE); i * (uint64_t)BLOCK_SIZE < end; i++) {
		if (block_for_write(fs, &in->now, i) == NULL)
			return -ENOSPC;
	}
	return 0;
}

static int fallocate_inode(struct simfs *fs, struct inode *in, int mode, uint64_t off, uint64_t len)
{
	const int zero = FALLOC_FL_ZERO_RANGE, punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	int err;
	if (len == 0 || off > INT64_MAX || len > INT64_MAX)
		return -EINVAL;
	if (mode != punch && (mode & ~(FALLOC_FL_KEEP_SIZE | zero)) != 0)
		return -EOPNOTSUPP;
	if (off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - off)
		return -EFBIG;
	uint64_t end = off + len;
	if (mode == punch)
		err = zero_range(fs, in, off, end, true);
	else if (mode & zero)
		err = zero_range(fs, in, off, end, false);
	else
		err = allocate_range(fs, in, off, end);
	if (err == 0 && (mode & FALLOC_FL_KEEP_SIZE) == 0 && end > in->now.size)
		in->now.size = end;
	if (err == 0)
		sim_touch_mtime(fs, in);
	return err;
}

int sim_fallocate(void *self, int fd, int mode, uint64_t off, uint64_t len)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "fallocate", CHANGE);
	if (err == 0) {
		struct file *file = sim_get_file(fs, fd);
		if (file == NULL || !sim_can_write(file))
			err = -EBADF;
		else
			err = fallocate_inode(fs, file->inode, mode, off, len);
	}
	return sim_leave(fs, err);
}

static int seek_image(const struct image *im, uint64_t off, int whence, uint64_t *out)
{
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	if (off >= im->size)
		return -ENXIO;
	while (off < im->size) {
		bool data = sim_image_block(im, (size_t)(off / BLOCK_SIZE)) != NULL;
		if (data == (whence == SEEK_DATA)) {
			*out = off;
			return 0;
		}
		off = (off / BLOCK_SIZE + 1) * BLOCK_SIZE;
	}
	*out = im->size;
	return whence == SEEK_HOLE ? 0 : -ENXIO;
}

int sim_seek(void *self, int fd, uint64_t off, int whence, uint64_t *out)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "seek", LOOK);
	if (err == 0) {
		struct file *file = sim_get_open_file(fs, fd);
		err = file == NULL ? -EBADF : seek_image(&file->inode->now, off, whence, out);
	}
	return sim_leave(fs, err);
}

static ssize_t copy_data(struct simfs *fs, struct file *from, uint64_t from_off, struct file *to,
			 uint64_t to_off, size_t len)
{
	unsigned char bytes[BLOCK_SIZE];
	size_t done = 0;
	if (sim_is_dir(from->inode) || sim_is_dir(to->inode))
		return -EISDIR;
	if (!sim_can_read(from) || !sim_can_write(to) || (to->flags & O_APPEND))
		return -EBADF;
	uint64_t size = from->inode->now.size;
	if (from_off >= size)
		return 0;
	if (len > size - from_off)
		len = (size_t)(size - from_off);
	if (from->inode == to->inode && from_off < to_off + len && to_off < from_off + len)
		return -EINVAL;
	while (done < len) {
		size_t part = len - done < sizeof(bytes) ? len - done : sizeof(bytes);
		sim_read_data(&from->inode->now, bytes, part, from_off + done);
		ssize_t n = write_data(fs, to->inode, bytes, part, to_off + done);
		if (n < 0)
			return done > 0 ? (ssize_t)done : n;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t sim_copy_range(void *self, int from, uint64_t from_off, int to, uint64_t to_off, size_t len)
{
	struct simfs *fs = self;
	ssize_t n = sim_enter(fs, "copy_range", CHANGE | TRANSFER);
	if (n == 0) {
		struct file *in = sim_get_open_file(fs, from), *out = sim_get_open_file(fs, to);
		if (in == NULL || out == NULL)
			n = -EBADF;
		else
			n = copy_data(fs, in, from_off, out, to_off, sim_transfer_len(fs, len));
	}
	return sim_leave_count(fs, n);
}

void sim_advise(void *self, int fd, uint64_t off, uint64_t len, int fadvice)
{
	(void)self, (void)fd, (void)off, (void)len, (void)fadvice;
}

/* ---- durability ---- */

static void sync_data(struct inode *in)
{
	sim_image_copy_data(&in->disk, &in->now);
	in->size_low = in->now.size;
}

static void sync_inode(struct simfs *fs, struct inode *in, bool attributes)
{
	if (sim_is_dir(in))
		sim_changes_sync(fs, in);
	else
		sync_data(in);
	if (attributes || sim_is_dir(in))
		sim_image_copy_attributes(&in->disk, &in->now);
}

static void sync_all(struct simfs *fs)
{
	sim_changes_sync(fs, NULL);
	for (struct inode *in = fs->inodes; in != NULL; in = in->next) {
		sync_data(in);
		sim_image_copy_attributes(&in->disk, &in->now);
	}
}

/* Counts a sync; whether it is one that simfs_ignore_fsync makes void. */
static bool sync_ignored(struct simfs *fs)
{
	fs->fsync_calls++;
	return fs->ignore_fsync_left > 0 && --fs->ignore_fsync_left == 0;
}

static int sync_fd(struct simfs *fs, int fd, const char *op, bool attributes)
{
	int err = sim_enter(fs, op, CHANGE);
	bool ignored = sync_ignored(fs);
	if (err == 0) {
		struct file *file = sim_get_open_file(fs, fd);
		if (file == NULL)
			err = -EBADF;
		else if (!ignored)
			sync_inode(fs, file->inode, attributes);
	}
	return sim_leave(fs, err);
}

int sim_fsync(void *self, int fd)
{
	return sync_fd(self, fd, "fsync", true);
}

int sim_fdatasync(void *self, int fd)
{
	return sync_fd(self, fd, "fdatasync", false);
}

int sim_syncfs(void *self, int fd)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "syncfs", CHANGE);
	bool ignored = sync_ignored(fs);
	if (err == 0) {
		if (sim_get_open_file(fs, fd) == NULL)
			err = -EBADF;
		else if (!ignored)
			sync_all(fs);
	}
	return sim_leave(fs, err);
}
