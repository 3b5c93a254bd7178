/* SPDX-License-Identifier: MIT */
/*
 * test_parts.c - values in two parts: streams that are packed while they are written, and bytes that are
 * added to packed values, over the kernel. Limits are small, so that a few frames are much.
 */
#include "core/cleanup.h"
#include "core/format.h"
#include "core/xxh64.h"
#include "tests/support/random.h"
#include "tests/unit/parts_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

/* ---- streams ---- */

static void test_a_value_written_in_sequence_is_packed_while_it_is_written(void)
{
	struct fix f;
	setup(&f);
	make(&f, "a");
	while (f.len < STREAM)
		add(&f, 1000);
	CHECK_STR(form(&f), "raw");
	add(&f, 1000);
	CHECK_STR(form(&f), "streaming");
	check_bytes(&f);
	while (f.len < 50 * FRAME) {
		add(&f, 3333);
		check_bytes(&f);
	}
	CHECK(stats(&f).frames_encoded > 40);
	/* What it takes of the disk is frames, and what waits to become some. */
	CHECK(f.st.blocks * 512 < f.len / 2 + 24 * FRAME);
	uint64_t ino = f.st.ino;
	struct timespec mtime = f.st.mtime;
	(void)dv_store_run(f.s, true);
	CHECK_STR(form(&f), "packed");
	check_bytes(&f);
	CHECK_EQ(f.st.ino, ino);
	CHECK_EQ(f.st.mtime.tv_nsec, mtime.tv_nsec);
	CHECK_EQ(f.st.mode & 07777, 0640);
	check_stored(&f, "a.zst");
	CHECK(!is_there(&f, "a"));
	CHECK_EQ(frames(&f), (long)((f.len + FRAME - 1) / FRAME));
	CHECK_EQ(stats(&f).streamed, 1);
	close_store(&f);
	open_store(&f);
	look_up(&f, "a");
	check_bytes(&f);
	CHECK_EQ(f.st.ino, ino);
	teardown(&f);
}

static void test_fsync_puts_a_stream_in_place_and_it_goes_on(void)
{
	struct fix f;
	setup(&f);
	make(&f, "a");
	while (f.len < 10 * FRAME)
		add(&f, 5000);
	CHECK_EQ(dv_store_fsync(f.s, &call, f.n, false), 0);
	CHECK_STR(form(&f), "packed");
	check_stored(&f, "a.zst");
	add(&f, 100);
	CHECK_STR(form(&f), "appending");
	while (f.len < 40 * FRAME)
		add(&f, 5000);
	check_bytes(&f);
	CHECK_EQ(dv_store_fsync(f.s, &call, f.n, false), 0);
	check_bytes(&f);
	(void)dv_store_run(f.s, true);
	CHECK_STR(form(&f), "packed");
	check_bytes(&f);
	check_stored(&f, "a.zst");
	CHECK_EQ(frames(&f), (long)((f.len + FRAME - 1) / FRAME));
	teardown(&f);
}

static void test_a_replacement_that_streams_leaves_the_old_value_until_its_writer_is_gone(void)
{
	for (int packed = 0; packed < 2; packed++) {
		struct fix f;
		setup(&f);
		make(&f, "a");
		add(&f, 3 * FRAME);
		if (packed)
			(void)dv_store_run(f.s, true);
		f.writers = 1;
		size_t old = f.len;
		uint8_t *was = malloc(old);
		CHECK(was != NULL);
		memcpy(was, f.bytes, old);
		set_size(&f, 0);
		while (f.len < 30 * FRAME)
			add(&f, 2500);
		CHECK_STR(form(&f), "streaming");
		(void)dv_store_run(f.s, true);
		CHECK_STR(form(&f), "streaming");
		check_bytes(&f);
		struct fix g = f;
		g.bytes = was;
		g.len = old;
		if (packed)
			check_stored(&g, "a.zst");
		else
			CHECK(is_there(&f, "a") && !is_there(&f, "a.zst"));
		free(was);
		f.writers = 0;
		(void)dv_store_run(f.s, true);
		CHECK_STR(form(&f), "packed");
		check_bytes(&f);
		check_stored(&f, "a.zst");
		CHECK(!is_there(&f, "a"));
		CHECK_EQ(stats(&f).replaced, 1);
		teardown(&f);
	}
}

static void test_a_stream_beside_which_others_put_a_packed_file_is_raw(void)
{
	for (int i = 0; i < 2; i++) {
		struct fix f;
		char path[200];
		setup(&f);
		make(&f, "a");
		if (i == 1) {
			add(&f, 100);
			set_size(&f, 0);
		}
		while (f.len < 20 * FRAME)
			add(&f, 5000);
		CHECK_STR(form(&f), "streaming");
		snprintf(path, sizeof(path), "%s/a.zst", f.path);
		FILE *twin = fopen(path, "w");
		CHECK(twin != NULL);
		CHECK(fputs("of others", twin) > 0);
		fclose(twin);
		(void)dv_store_run(f.s, true);
		CHECK_STR(form(&f), "raw");
		check_bytes(&f);
		CHECK_EQ(stats(&f).put_aside, 0);
		CHECK(is_there(&f, "a.zst"));
		close_store(&f);
		open_store(&f);
		look_up(&f, "a");
		check_bytes(&f);
		teardown(&f);
	}
}

static void test_incompressible_bytes_and_twins_are_not_streamed(void)
{
	struct fix f;
	setup(&f);
	make(&f, "a");
	fill(&f, 0, 20 * FRAME, true);
	for (; f.len < 20 * FRAME; f.len += FRAME)
		CHECK_EQ(dv_store_write(f.s, &call, f.n, f.bytes + f.len,
					(struct dv_range){f.len, FRAME}, 0),
			 FRAME);
	CHECK_STR(form(&f), "raw");
	check_bytes(&f);
	make(&f, "b");
	char path[200];
	snprintf(path, sizeof(path), "%s/b.zst", f.path);
	FILE *file = fopen(path, "w");
	CHECK(file && fputs("not ours", file) >= 0 && fclose(file) == 0);
	while (f.len < 20 * FRAME)
		add(&f, 3000);
	CHECK_STR(form(&f), "raw");
	check_bytes(&f);
	teardown(&f);
}

/* The same at each number of bytes written so far, around the borders. */
static void for_each_length(void (*step)(struct fix *f))
{
	static const size_t lengths[] = {
		STREAM + 1,  STREAM + FRAME,	   STREAM + FRAME + 1,	    SEGMENT - 1,    SEGMENT,
		SEGMENT + 1, SEGMENT + 10 * FRAME, 2 * SEGMENT + 8 * FRAME, 50 * FRAME + 77};
	for (size_t i = 0; i < DV_ARRAY_LEN(lengths); i++)
		for (int replaces = 0; replaces < 2; replaces++) {
			struct fix f;
			setup(&f);
			make(&f, "a");
			if (replaces) {
				add(&f, 9000);
				set_size(&f, 0);
				f.writers = 1;
			}
			while (f.len < lengths[i])
				add(&f, lengths[i] - f.len < 2048 ? lengths[i] - f.len : 2048);
			CHECK_STR(form(&f), "streaming");
			step(&f);
			check_bytes(&f);
			f.writers = 0;
			(void)dv_store_run(f.s, true);
			check_bytes(&f);
			(void)dv_store_run(f.s, true);
			check_bytes(&f);
			close_store(&f);
			open_store(&f);
			look_up(&f, "a");
			check_bytes(&f);
			teardown(&f);
		}
}

static void write_in_front(struct fix *f)
{
	write_at(f, 100, 50, 0);
	CHECK_EQ(stats(f).joined, 1);
	check_bytes(f);
	add(f, 5000);
}

static void leave_a_hole(struct fix *f)
{
	size_t end = f->len;
	memset(f->bytes + end, 0, 3000);
	write_at(f, end + 3000, 1000, 0);
}

static void cut(struct fix *f)
{
	set_size(f, f->len - FRAME - 3);
	add(f, 100);
}

static void grow(struct fix *f)
{
	set_size(f, f->len + 2 * FRAME + 3);
	add(f, 100);
}

static void empty(struct fix *f)
{
	set_size(f, 0);
	check_bytes(f);
	add(f, 5000);
}

static void empty_and_stream_again(struct fix *f)
{
	set_size(f, 0);
	while (f->len < 2 * STREAM)
		add(f, 2000);
	CHECK_STR(form(f), "streaming");
}

static void rename_it(struct fix *f)
{
	CHECK_EQ(dv_store_rename(f->s, &call, f->root, "a", f->root, "b", 0), 0);
	CHECK_STR(form(f), "packed");
	check_stored(f, "b.zst");
	add(f, 10);
	CHECK_EQ(dv_store_rename(f->s, &call, f->root, "b", f->root, "a", 0), 0);
	check_stored(f, "a.zst");
}

static void link_it(struct fix *f)
{
	CHECK_EQ(dv_store_link(f->s, &call, f->n, f->root, "b", &f->st), 0);
	CHECK_EQ(f->st.nlink, 2);
	add(f, 777);
	CHECK_EQ(dv_store_fsync(f->s, &call, f->n, false), 0);
	CHECK_EQ(dv_store_unlink(f->s, &call, f->root, "b"), 0);
}

static void set_attributes(struct fix *f)
{
	struct dv_setattr set = {.valid = DV_SET_MODE | DV_SET_MTIME,
				 .mode = 0604,
				 .mtime = {.tv_sec = 1234567890, .tv_nsec = 5}};
	CHECK_EQ(dv_store_setxattr(f->s, &call, f->n, "user.colour", "blue", 4, 0), 0);
	CHECK_EQ(dv_store_setattr(f->s, &call, f->n, &set, &f->st), 0);
	f->writers = 0;
	for (int i = 0; i < 2; i++) {
		char buf[8];
		CHECK_EQ(f->st.mode & 07777, 0604);
		CHECK_EQ(f->st.mtime.tv_sec, 1234567890);
		CHECK_EQ(f->st.mtime.tv_nsec, 5);
		CHECK_EQ(dv_store_getxattr(f->s, &call, f->n, "user.colour", buf, sizeof(buf)), 4);
		(void)dv_store_run(f->s, true);
		CHECK_STR(form(f), "packed");
		CHECK_EQ(dv_store_getattr(f->s, &call, f->n, &f->st), 0);
	}
}

static void test_a_write_elsewhere_loses_nothing(void)
{
	for_each_length(write_in_front);
}

static void test_a_hole_loses_nothing(void)
{
	for_each_length(leave_a_hole);
}

static void test_truncation_loses_nothing(void)
{
	for_each_length(cut);
	for_each_length(grow);
}

static void test_a_stream_may_be_emptied_and_begun_again(void)
{
	for_each_length(empty);
	for_each_length(empty_and_stream_again);
}

static void test_a_stream_may_be_renamed_and_linked(void)
{
	for_each_length(rename_it);
	for_each_length(link_it);
}

static void test_attributes_set_while_it_streams_are_kept(void)
{
	for_each_length(set_attributes);
}

static void test_a_stream_that_is_unlinked_goes_on_for_those_who_have_it_open(void)
{
	struct fix f;
	setup(&f);
	make(&f, "a");
	while (f.len < 20 * FRAME + 5)
		add(&f, 2000);
	CHECK_STR(form(&f), "streaming");
	CHECK_EQ(dv_store_unlink(f.s, &call, f.root, "a"), 0);
	check_bytes(&f);
	add(&f, 1000);
	write_at(&f, 5, 10, 0);
	check_bytes(&f);
	CHECK(!is_there(&f, "a") && !is_there(&f, "a.zst"));
	teardown(&f);
}

/* ---- appends ---- */

static void pack_value(struct fix *f, size_t len)
{
	make(f, "a");
	while (f->len < len)
		add(f, len - f->len < 3000 ? len - f->len : 3000);
	(void)dv_store_run(f->s, true);
	(void)dv_store_run(f->s, true);
	CHECK_STR(form(f), "packed");
}

static void test_many_small_appends_leave_whole_frames(void)
{
	struct fix f;
	setup(&f);
	pack_value(&f, 3 * FRAME + 100);
	for (int i = 0; i < 500; i++) {
		add(&f, 100);
		if (i % 7 == 0)
			CHECK_EQ(dv_store_fsync(f.s, &call, f.n, true), 0);
		if (i % 13 == 0) {
			(void)dv_store_run(f.s, true);
			CHECK_STR(form(&f), "packed");
			check_stored(&f, "a.zst");
		}
		if (i % 29 == 0)
			check_bytes(&f);
	}
	(void)dv_store_run(f.s, true);
	CHECK_EQ(frames(&f), (long)((f.len + FRAME - 1) / FRAME));
	CHECK_EQ(stats(&f).unpacked, 0);
	check_bytes(&f);
	check_stored(&f, "a.zst");
	teardown(&f);
}

/* Gives the lock of fd back a while after the append has begun to wait for it. */
static void *let_go(void *ctx)
{
	usleep(20000);
	CHECK_EQ(flock(*(int *)ctx, LOCK_UN), 0);
	return NULL;
}

static void test_an_append_waits_for_who_has_the_value_locked(void)
{
	struct fix f;
	pthread_t other;
	char path[128];
	setup(&f);
	pack_value(&f, 3 * FRAME + 100);
	snprintf(path, sizeof(path), "%s/a.zst", f.path);
	int fd = open(path, O_RDONLY);
	CHECK(fd >= 0);
	CHECK_EQ(flock(fd, LOCK_EX), 0);
	CHECK_EQ(pthread_create(&other, NULL, let_go, &fd), 0);
	add(&f, 100);
	CHECK_EQ(pthread_join(other, NULL), 0);
	close(fd);
	(void)dv_store_run(f.s, true);
	CHECK_STR(form(&f), "packed");
	CHECK_EQ(stats(&f).appended, 1);
	CHECK_EQ(stats(&f).unpacked, 0);
	check_bytes(&f);
	teardown(&f);
}

static void test_more_frames_than_a_value_may_have_are_not_made(void)
{
	for (int i = 0; i < 3; i++) {
		struct fix f;
		setup(&f);
		close_store(&f);
		f.frames_max = 20;
		open_store(&f);
		if (i < 2) {
			make(&f, "a");
			if (i == 1) { /* replaced: it is not put in place before */
				add(&f, 100);
				set_size(&f, 0);
				f.writers = 1;
			}
			while (f.len < 15 * FRAME)
				add(&f, 3333);
			CHECK_STR(form(&f), "streaming");
		} else {
			pack_value(&f, 19 * FRAME + 5);
			add(&f, FRAME - 5);
			CHECK_STR(form(&f), "appending");
		}
		while (f.len < 30 * FRAME) {
			add(&f, 3333);
			check_bytes(&f);
		}
		f.writers = 0;
		(void)dv_store_run(f.s, true);
		CHECK_STR(form(&f), "raw");
		check_bytes(&f);
		close_store(&f);
		open_store(&f);
		look_up(&f, "a");
		check_bytes(&f);
		teardown(&f);
	}
}

static void test_small_values_are_unpacked_instead(void)
{
	struct fix f;
	setup(&f);
	pack_value(&f, APPEND);
	add(&f, 100);
	CHECK_STR(form(&f), "editing");
	check_bytes(&f);
	teardown(&f);
}

static void test_an_append_keeps_numbers_and_other_links(void)
{
	struct fix f;
	setup(&f);
	pack_value(&f, 5 * FRAME);
	uint64_t ino = f.st.ino;
	CHECK_EQ(dv_store_link(f.s, &call, f.n, f.root, "b", &f.st), 0);
	add(&f, 1000);
	CHECK_STR(form(&f), "appending");
	check_bytes(&f);
	CHECK_EQ(f.st.nlink, 2);
	CHECK_EQ(dv_store_unlink(f.s, &call, f.root, "a"), 0);
	look_up(&f, "b");
	check_bytes(&f);
	CHECK_EQ(f.st.ino, ino);
	check_stored(&f, "b.zst");
	teardown(&f);
}

static void test_an_edit_after_an_append_finds_all_bytes(void)
{
	for (int i = 0; i < 5; i++) {
		struct fix f;
		setup(&f);
		pack_value(&f, 5 * FRAME + 9);
		for (int j = 0; j < i * 8; j++)
			add(&f, 2000);
		add(&f, 10);
		CHECK_STR(form(&f), "appending");
		if (i & 1)
			write_at(&f, 7, 7, 0);
		else
			set_size(&f, f.len - 20);
		check_bytes(&f);
		(void)dv_store_run(f.s, true);
		check_bytes(&f);
		teardown(&f);
	}
}

static void test_a_value_that_is_emptied_while_it_is_appended_to_stays_until_it_is_replaced(void)
{
	struct fix f;
	setup(&f);
	pack_value(&f, 5 * FRAME + 9);
	add(&f, 3000);
	check_bytes(&f);
	struct fix old = f;
	old.bytes = malloc(f.len);
	CHECK(old.bytes != NULL);
	memcpy(old.bytes, f.bytes, f.len);
	f.writers = 1;
	set_size(&f, 0);
	check_bytes(&f);
	add(&f, 100);
	(void)dv_store_run(f.s, true);
	check_bytes(&f);
	check_stored(&old, "a.zst");
	free(old.bytes);
	f.writers = 0;
	teardown(&f);
}

static void test_a_lost_table_is_made_again_by_an_append(void)
{
	struct fix f;
	char path[200];
	struct stat st;
	setup(&f);
	pack_value(&f, 9 * FRAME + 9);
	close_store(&f);
	snprintf(path, sizeof(path), "%s/a.zst", f.path);
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(truncate(path, st.st_size - (8 + 10 * 12 + 9)), 0);
	open_store(&f);
	look_up(&f, "a");
	check_bytes(&f);
	add(&f, 10);
	CHECK_STR(form(&f), "appending");
	(void)dv_store_run(f.s, true);
	check_bytes(&f);
	check_stored(&f, "a.zst");
	CHECK_EQ(frames(&f), 10);
	teardown(&f);
}

/* Another process adds bytes that were filled in, by pieces, and dies. */
static void die_while_adding(struct fix *f, size_t len)
{
	close_store(f);
	fill(f, f->len, len, false);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		open_store(f);
		look_up(f, "a");
		for (size_t end = f->len + len; f->len < end; f->len += FRAME)
			CHECK_EQ(dv_store_write(f->s, &call, f->n, f->bytes + f->len,
						(struct dv_range){f->len, FRAME}, 0),
				 FRAME);
		_exit(0);
	}
	int status = -1;
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
}

static void test_what_was_added_is_there_after_a_kill(void)
{
	struct fix f;
	setup(&f);
	pack_value(&f, 9 * FRAME + 10);
	die_while_adding(&f, 21 * FRAME);
	f.len += 21 * FRAME;
	open_store(&f);
	look_up(&f, "a");
	CHECK_STR(form(&f), "packed");
	check_bytes(&f);
	check_stored(&f, "a.zst");
	CHECK_EQ(stats(&f).recovered, 1);
	teardown(&f);
}

/* "a.zst" as another maker writes it: frames that do not tell their sizes, or have no checksum, and a table. */
static void write_foreign(struct fix *f, int with_size, int with_checksum)
{
	DV_AUTO_FREE uint8_t *file = malloc(2 * f->len);
	uint32_t sums[MAX / FRAME];
	struct dv_layout l;
	char path[200];
	size_t at = 0;
	ZSTD_CCtx *c = ZSTD_createCCtx();
	dv_layout_init(&l);
	for (size_t off = 0; off < f->len; off += FRAME) {
		ZSTD_outBuffer out = {file + at, 2 * f->len - at, 0};
		ZSTD_inBuffer in = {f->bytes + off, FRAME, 0};
		ZSTD_CCtx_reset(c, ZSTD_reset_session_and_parameters);
		ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, with_checksum);
		if (with_size)
			ZSTD_CCtx_setPledgedSrcSize(c, FRAME);
		/* Not all at once, or the encoder knows the size. */
		CHECK(!ZSTD_isError(ZSTD_compressStream2(c, &out, &in, ZSTD_e_continue)));
		CHECK_EQ(ZSTD_compressStream2(c, &out, &in, ZSTD_e_end), 0);
		struct dv_xxh64 x;
		dv_xxh64_init(&x);
		dv_xxh64_add(&x, f->bytes + off, FRAME);
		sums[l.count] = (uint32_t)dv_xxh64_end(&x);
		CHECK_EQ(dv_layout_add(&l, out.pos, FRAME), 0);
		at += out.pos;
	}
	dv_table_write(&l, sums, file + at);
	at += dv_table_bytes(l.count, true);
	snprintf(path, sizeof(path), "%s/a.zst", f->path);
	int fd = open(path, O_WRONLY | O_TRUNC);
	CHECK(fd >= 0);
	CHECK_EQ(write(fd, file, at), at);
	close(fd);
	dv_layout_release(&l);
	ZSTD_freeCCtx(c);
}

static void test_what_was_added_to_frames_of_another_maker_is_there_after_a_kill(void)
{
	for (int i = 0; i < 3; i++) {
		struct fix f;
		setup(&f);
		pack_value(&f, 9 * FRAME);
		write_foreign(&f, i != 0, i != 1);
		die_while_adding(&f, 21 * FRAME);
		f.len += 21 * FRAME;
		open_store(&f);
		look_up(&f, "a");
		check_bytes(&f);
		CHECK_EQ(stats(&f).recovered, 1);
		teardown(&f);
	}
}

static void test_a_read_only_store_counts_what_was_left_in_parts(void)
{
	for (int i = 0; i < 2; i++) {
		struct fix f;
		setup(&f);
		if (i == 0)
			make(&f, "a");
		else
			pack_value(&f, 9 * FRAME + 10);
		die_while_adding(&f, 21 * FRAME);
		f.read_only = true;
		open_store(&f);
		CHECK_EQ(stats(&f).left_pending, 1);
		close_store(&f);
		f.read_only = false;
		f.len += 21 * FRAME;
		open_store(&f);
		look_up(&f, "a");
		check_bytes(&f);
		CHECK_EQ(stats(&f).recovered, 1);
		close_store(&f);
		f.read_only = true;
		open_store(&f);
		CHECK_EQ(stats(&f).left_pending, 0);
		look_up(&f, "a");
		check_bytes(&f);
		teardown(&f);
	}
}

static void test_a_torn_end_without_a_record_is_left_out_and_cut_by_the_next_append(void)
{
	struct fix f;
	char path[200];
	struct stat st;
	setup(&f);
	pack_value(&f, 9 * FRAME);
	die_while_adding(&f, 21 * FRAME);
	remove_stages(&f);
	snprintf(path, sizeof(path), "%s/a.zst", f.path);
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(truncate(path, st.st_size - 7), 0);
	open_store(&f);
	look_up(&f, "a");
	CHECK(f.st.size >= 9 * FRAME && f.st.size < 30 * FRAME);
	f.len = f.st.size;
	check_bytes(&f);
	add(&f, 100);
	CHECK_STR(form(&f), "appending");
	(void)dv_store_run(f.s, true);
	check_bytes(&f);
	check_stored(&f, "a.zst");
	/* Without that mark it is damage. */
	close_store(&f);
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(truncate(path, st.st_size - 8 - 12 * 20 - 9 - 7), 0);
	open_store(&f);
	look_up(&f, "a");
	CHECK_EQ(dv_store_read(f.s, &call, f.n, &(char){0}, (struct dv_range){0, 1}), -EBADMSG);
	teardown(&f);
}

static void test_a_value_replaced_in_the_store_while_it_is_appended_to_is_left_alone(void)
{
	struct fix f;
	char path[200], other[200];
	setup(&f);
	pack_value(&f, 9 * FRAME + 9);
	add(&f, 10);
	CHECK_STR(form(&f), "appending");
	snprintf(path, sizeof(path), "%s/a.zst", f.path);
	snprintf(other, sizeof(other), "%s/other", f.path);
	FILE *file = fopen(other, "w");
	CHECK(file && fputs("another", file) >= 0 && fclose(file) == 0);
	CHECK_EQ(rename(other, path), 0);
	(void)dv_store_run(f.s, true);
	check_bytes(&f); /* who has it open goes on */
	CHECK_EQ(stats(&f).put_aside, 1);
	file = fopen(path, "r");
	char buf[16] = "";
	CHECK(file && fgets(buf, sizeof(buf), file));
	fclose(file);
	CHECK_STR(buf, "another");
	teardown(&f);
}

/* ---- anything ---- */

static void random_step(struct fix *f, struct test_random *r)
{
	size_t x = test_random_below(r, 6000);
	switch (test_random_below(r, 16)) {
	case 0:
		if (f->len) {
			size_t off = test_random_below(r, f->len);
			write_at(f, off, 1 + x < MAX - off ? 1 + x : 1, 0);
		}
		break;
	case 1:
		set_size(f, f->len / 4 * test_random_below(r, 5));
		break;
	case 2:
		set_size(f, 0);
		break;
	case 3:
		CHECK_EQ(dv_store_fsync(f->s, &call, f->n, false), 0);
		break;
	case 4:
		(void)dv_store_run(f->s, true);
		break;
	case 5:
		close_store(f);
		open_store(f);
		look_up(f, "a");
		break;
	case 6:
		f->writers ^= 1;
		break;
	default:
		for (size_t i = 0; i < 8 && f->len + x < MAX; i++)
			add(f, x + 1);
	}
}

static void test_whatever_is_done_the_bytes_are_right(void)
{
	for (uint64_t seed = 1; seed <= 25; seed++) {
		struct fix f;
		struct test_random r = {.state = seed * 77777};
		setup(&f);
		make(&f, "a");
		for (int i = 0; i < 60; i++) {
			random_step(&f, &r);
			check_bytes(&f);
		}
		f.writers = 0;
		CHECK_EQ(stats(&f).put_aside, 0);
		teardown(&f);
	}
}

/* ---- with the store's own threads ---- */

#define STREAMS 4

struct stream {
	struct fix *f;
	int number;
	uint8_t *bytes;
	struct dv_node *n;
};

static void *write_stream(void *arg)
{
	struct stream *w = arg;
	char name[8];
	struct dv_stat st;
	snprintf(name, sizeof(name), "s%d", w->number);
	CHECK_EQ(dv_store_mknod(w->f->s, &call, w->f->root, name, S_IFREG | 0644, 0, &w->n, &st),
		 0);
	for (size_t off = 0; off < MAX; off += 3072) {
		for (size_t i = 0; i < 3072; i++)
			w->bytes[off + i] = (uint8_t)((off + i) / 64 + (size_t)w->number);
		CHECK_EQ(dv_store_write(w->f->s, &call, w->n, w->bytes + off,
					(struct dv_range){off, 3072}, 0),
			 3072);
		uint8_t back[3072];
		size_t at = off / 2;
		size_t want = off + 3072 - at < 3072 ? off + 3072 - at : 3072;
		CHECK_EQ(dv_store_read(w->f->s, &call, w->n, back, (struct dv_range){at, 3072}),
			 (ssize_t)want);
		CHECK(!memcmp(back, w->bytes + at, want));
		if (off % (24 * 3072) == 0)
			CHECK_EQ(dv_store_fsync(w->f->s, &call, w->n, true), 0);
	}
	return NULL;
}

static void test_frames_are_made_while_several_writers_go_on(void)
{
	struct fix f;
	struct stream streams[STREAMS];
	pthread_t threads[STREAMS];
	setup(&f);
	close_store(&f);
	f.background = true;
	open_store(&f);
	for (int i = 0; i < STREAMS; i++) {
		streams[i] = (struct stream){.f = &f, .number = i, .bytes = malloc(MAX)};
		CHECK(streams[i].bytes != NULL);
		CHECK_EQ(pthread_create(&threads[i], NULL, write_stream, &streams[i]), 0);
	}
	for (int i = 0; i < STREAMS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	uint8_t *own = f.bytes;
	for (int i = 0; i < STREAMS; i++) {
		f.bytes = streams[i].bytes;
		f.len = MAX;
		dv_node_unref(f.s, f.n);
		f.n = streams[i].n;
		check_bytes(&f);
	}
	CHECK(stats(&f).streamed >= 1);
	CHECK_EQ(stats(&f).put_aside, 0);
	f.bytes = own;
	for (int i = 0; i < STREAMS; i++)
		free(streams[i].bytes);
	teardown(&f);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_a_value_written_in_sequence_is_packed_while_it_is_written),
		CHECK_TEST(test_fsync_puts_a_stream_in_place_and_it_goes_on),
		CHECK_TEST(
			test_a_replacement_that_streams_leaves_the_old_value_until_its_writer_is_gone),
		CHECK_TEST(test_a_stream_beside_which_others_put_a_packed_file_is_raw),
		CHECK_TEST(test_incompressible_bytes_and_twins_are_not_streamed),
		CHECK_TEST(test_a_write_elsewhere_loses_nothing),
		CHECK_TEST(test_a_hole_loses_nothing),
		CHECK_TEST(test_truncation_loses_nothing),
		CHECK_TEST(test_a_stream_may_be_emptied_and_begun_again),
		CHECK_TEST(test_a_stream_may_be_renamed_and_linked),
		CHECK_TEST(test_attributes_set_while_it_streams_are_kept),
		CHECK_TEST(test_a_stream_that_is_unlinked_goes_on_for_those_who_have_it_open),
		CHECK_TEST(test_many_small_appends_leave_whole_frames),
		CHECK_TEST(test_an_append_waits_for_who_has_the_value_locked),
		CHECK_TEST(test_more_frames_than_a_value_may_have_are_not_made),
		CHECK_TEST(test_small_values_are_unpacked_instead),
		CHECK_TEST(test_an_append_keeps_numbers_and_other_links),
		CHECK_TEST(test_an_edit_after_an_append_finds_all_bytes),
		CHECK_TEST(
			test_a_value_that_is_emptied_while_it_is_appended_to_stays_until_it_is_replaced),
		CHECK_TEST(test_a_lost_table_is_made_again_by_an_append),
		CHECK_TEST(
			test_a_value_replaced_in_the_store_while_it_is_appended_to_is_left_alone),
		CHECK_TEST(test_what_was_added_is_there_after_a_kill),
		CHECK_TEST(test_what_was_added_to_frames_of_another_maker_is_there_after_a_kill),
		CHECK_TEST(test_a_read_only_store_counts_what_was_left_in_parts),
		CHECK_TEST(test_a_torn_end_without_a_record_is_left_out_and_cut_by_the_next_append),
		CHECK_TEST(test_frames_are_made_while_several_writers_go_on),
		CHECK_TEST(test_whatever_is_done_the_bytes_are_right),
	};
	dv_log_set_sink(no_log);
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
