/* SPDX-License-Identifier: MIT */
/* dict.c - see dict.h. */
#include "core/dict.h"

#include "core/cleanup.h"
#include "core/io.h"

#include <stdio.h>
#include <string.h>

#define DICT_TEMP DV_CONTROL_DIR "/dict.new"

static dv_err read_dict(struct dv_store *s, void *buf, size_t size, size_t *out_len)
{
	int fd = dv_open_quiet(s, s->rootfd, DV_DICT_PATH, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return fd;
	ssize_t n = DV_B(s, pread, fd, buf, size, 0);
	DV_B(s, close, fd);
	if (n < 0)
		return (dv_err)n;
	*out_len = (size_t)n;
	return 0;
}

dv_err dv_dict_load(struct dv_store *s, const char *path, char *why, size_t why_size)
{
	char digest[DV_DIGEST_TEXT];
	size_t len = 0;
	s->coding = s->config.coding;
	dv_transform_set_spelling(s->transform, dv_coding_is_sealed(&s->coding)	 ? DV_SPELL_SEALED
						: dv_coding_is_diskv(&s->coding) ? DV_SPELL_PLAIN
										 : DV_SPELL_OWN);
	if (dv_coding_is_diskv(&s->coding))
		s->config.compress = 0;
	if (!s->config.dict[0])
		return 0;
	DV_AUTO_FREE void *bytes = malloc(DV_DICT_MAX + 1);
	if (!bytes)
		return -ENOMEM;
	dv_err err = read_dict(s, bytes, DV_DICT_MAX + 1, &len);
	if (!err)
		err = dv_digest(bytes, len, digest);
	if (err == -ENOMEM)
		return err;
	if (err || strcmp(digest, s->config.dict) != 0) {
		snprintf(why, why_size,
			 "%s/%s is %s; put the dictionary there that the store was made with", path,
			 DV_DICT_PATH, err ? strerror(-err) : "another one");
		return -EINVAL;
	}
	s->dict = dv_take_ptr(&bytes);
	s->coding.dict = s->dict;
	s->coding.dict_len = len;
	return 0;
}

void dv_dict_release(struct dv_store *s)
{
	free(s->dict);
	s->dict = NULL;
}

dv_err dv_dict_save(struct dv_store *s, const void *bytes, size_t len)
{
	dv_err err = dv_digest(bytes, len, s->config.dict);
	if (err)
		return err;
	int fd = DV_B(s, open, s->rootfd, DICT_TEMP, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	err = dv_write_full(s, fd, bytes, len, 0);
	if (!err)
		err = DV_B(s, fsync, fd);
	DV_B(s, close, fd);
	return err ? err : DV_B(s, rename, s->rootfd, DICT_TEMP, s->rootfd, DV_DICT_PATH, 0);
}
