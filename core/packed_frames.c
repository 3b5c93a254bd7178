/* SPDX-License-Identifier: MIT */
/*
 * packed_frames.c - frames of a packed file for those who add to it: their checksums, whether they
 * are good. See packed.h.
 */
#include "core/cleanup.h"
#include "core/codec.h"
#include "core/io.h"
#include "core/packed_private.h"

#define HEADS_MAX 4096u

static dv_err read_head(struct dv_store *s, int fd, const struct dv_frame *fr,
			struct dv_frame_head *out)
{
	uint8_t bytes[DV_FRAME_HEAD_MAX];
	size_t len = fr->stored_len < sizeof(bytes) ? fr->stored_len : sizeof(bytes);
	dv_err err = dv_read_full(s, fd, bytes, len, fr->stored_off);
	return err ? err : dv_codec_head(bytes, len, out);
}

dv_err dv_frame_checksum(struct dv_store *s, int fd, const struct dv_frame *fr, uint32_t *out)
{
	uint8_t end[4];
	struct dv_frame_head head;
	dv_err err = read_head(s, fd, fr, &head);
	if (!err && (head.skip_len || !head.has_checksum || fr->stored_len < sizeof(end)))
		return -EOPNOTSUPP;
	if (!err)
		err = dv_read_full(s, fd, end, sizeof(end), fr->stored_off + fr->stored_len - 4);
	*out = err ? 0 : dv_codec_checksum(end, sizeof(end));
	return err;
}

/* As diskvfs makes them: a frame is decoded as a whole, in memory, each time it is needed. */
static bool are_ours(const struct dv_layout *l)
{
	for (uint32_t i = 0; i < l->count; i++) {
		struct dv_frame fr = dv_layout_frame(l, i);
		if (fr.plain_len == 0 || fr.plain_len > DV_FRAME_SIZE_MAX)
			return false;
	}
	return true;
}

/*
 * Do frames that a seek table tells of say the same themselves? The table goes with what is added, and recovery has
 * nothing but them. Makers do it in all frames or in none: of many some are looked at.
 */
static dv_err check_heads(struct dv_store *s, int fd, const struct dv_layout *l)
{
	uint32_t step = l->count / HEADS_MAX + 1;
	for (uint64_t i = 0; i < l->count; i += step) {
		struct dv_frame fr = dv_layout_frame(l, (uint32_t)i);
		struct dv_frame_head head;
		dv_err err = read_head(s, fd, &fr, &head);
		if (err)
			return err == -EAGAIN ? -EBADMSG : err;
		if (head.skip_len || !head.has_checksum || head.plain_len != fr.plain_len)
			return -EOPNOTSUPP;
	}
	return 0;
}

dv_err dv_packed_layout(struct dv_store *s, int fd, uint64_t size, struct dv_layout *out,
			uint32_t **out_checksums)
{
	struct dv_walk w;
	bool walked, torn;
	*out_checksums = NULL;
	dv_layout_init(out);
	dv_err err = dv_load_layout(s, fd, size, false, &w, &walked, &torn);
	if (!err && (w.stream || w.decoded || !are_ours(&w.layout)))
		err = -EOPNOTSUPP;
	if (!err && !walked)
		err = check_heads(s, fd, &w.layout);
	if (err) {
		dv_layout_release(&w.layout);
		return err;
	}
	*out = w.layout;
	uint32_t *sums = calloc(out->count ? out->count : 1, sizeof(*sums));
	err = !sums ? -ENOMEM : walked ? -ENOENT : dv_load_checksums(s, fd, size, out->count, sums);
	if (err == -ENOENT || err == -EBADMSG) { /* they end the frames, too */
		err = 0;
		for (uint32_t i = 0; !err && i < out->count; i++) {
			struct dv_frame fr = dv_layout_frame(out, i);
			err = dv_frame_checksum(s, fd, &fr, &sums[i]);
		}
	}
	if (err) {
		free(sums);
		dv_layout_release(out);
		return err;
	}
	*out_checksums = sums;
	return 0;
}

/* Of the frames from `from` on, in plain bytes. */
static uint64_t largest_plain(const struct dv_layout *l, uint32_t from)
{
	uint64_t largest = 0;
	for (uint32_t i = from; i < l->count; i++) {
		struct dv_frame fr = dv_layout_frame(l, i);
		if (fr.plain_len > largest)
			largest = fr.plain_len;
	}
	return largest;
}

dv_err dv_frames_decode(struct dv_store *s, const struct dv_frames *frames, int fd)
{
	const struct dv_layout *l = frames->layout;
	uint64_t largest = largest_plain(l, 0);
	dv_err err = 0;
	if (largest > DV_FRAME_PLAIN_MAX)
		return dv_as_corrupt(-EFBIG);
	DV_AUTO_FREE void *plain = malloc(largest ? (size_t)largest : 1);
	if (!plain)
		err = -ENOMEM;
	for (uint32_t i = 0; !err && i < l->count; i++) {
		struct dv_frame fr = dv_layout_frame(l, i);
		if (fr.plain_len == 0)
			continue;
		err = dv_decode_frame(s, frames->fd, &fr, plain, false);
		if (!err)
			err = dv_write_full(s, fd, plain, (size_t)fr.plain_len, fr.plain_off);
	}
	return dv_as_corrupt(err);
}

dv_err dv_frames_check(struct dv_store *s, const struct dv_frames *frames, uint32_t from,
		       uint32_t *out_good)
{
	const struct dv_layout *l = frames->layout;
	uint64_t largest = largest_plain(l, from);
	size_t room = largest < DV_FRAME_PLAIN_MAX ? (size_t)largest : DV_FRAME_PLAIN_MAX;
	DV_AUTO_FREE void *plain = malloc(room ? room : 1);
	dv_err err = plain ? 0 : -ENOMEM;
	uint32_t i = from;
	for (; !err && i < l->count; i++) {
		struct dv_frame fr = dv_layout_frame(l, i);
		if (fr.plain_len > DV_FRAME_PLAIN_MAX)
			err = -EFBIG;
		else if (fr.plain_len)
			err = dv_decode_frame(s, frames->fd, &fr, plain, false);
		if (err)
			break;
	}
	*out_good = i;
	return dv_facts_are_bad(err) ? 0 : err;
}
