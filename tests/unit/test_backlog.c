/* SPDX-License-Identifier: MIT */
/*
 * test_backlog.c - raw bytes that wait for the keeper: how they are counted, how many there may be; and what
 * waits for frames where there is no room for them.
 */
#include "core/cleanup.h"
#include "core/internal.h"
#include "core/space.h"
#include "core/stage.h"
#include "tests/unit/space_fixture.h"

#include <errno.h>

/* ---- raw bytes that wait ---- */

static uint64_t backlog(struct fix *f)
{
	return atomic_load(&f->s->space.backlog);
}

static void test_a_round_leaves_in_the_backlog_what_it_has_not_looked_at(void)
{
	struct fix f;
	struct dv_space_round r;
	setup(&f, (struct dv_store_options){0}, NULL);
	dv_space_wrote(f.s, 100 * MIB);
	dv_space_round_begin(f.s, &r, 10, 5);
	dv_space_round_saw(f.s, &r, 30 * MIB);
	CHECK_EQ(backlog(&f), 70 * MIB);
	dv_space_round_saw(f.s, &r, 0); /* one of ten */
	CHECK_EQ(backlog(&f), 60 * MIB);
	dv_space_wrote(f.s, 5 * MIB);
	dv_space_round_done(f.s, &r);
	CHECK_EQ(backlog(&f), 65 * MIB);
	dv_space_round_begin(f.s, &r, 3, 3);
	dv_space_wrote(f.s, 7 * MIB); /* meanwhile: it was not looked at */
	dv_space_round_saw(f.s, &r, MIB);
	dv_space_round_done(f.s, &r);
	CHECK_EQ(backlog(&f), 7 * MIB);
	teardown(&f);
}

static void test_a_round_of_many_values_looks_at_as_many_as_it_takes(void)
{
	struct fix f;
	char name[16];
	DV_AUTO_FREE char *text = text_of(3 * BLOCK, 3);
	enum { COUNT = 1500 }; /* 1024 make a round */
	setup(&f, (struct dv_store_options){.settle_ms = 86400000}, NULL);
	for (int i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "%d", i);
		put(&f, name, text, 3 * BLOCK);
	}
	CHECK_EQ(backlog(&f), COUNT * 3ull * BLOCK);
	(void)dv_store_run(f.s, true);
	CHECK_EQ(stats(&f).packed, 1024);
	CHECK_EQ(backlog(&f), (COUNT - 1024) * 3ull * BLOCK);
	(void)dv_store_run(f.s, true);
	CHECK_EQ(stats(&f).packed, COUNT);
	CHECK_EQ(backlog(&f), 0);
	teardown(&f);
}

/* What may wait before the keeper hurries. */
static uint64_t bound(struct fix *f)
{
	int64_t since = 0;
	atomic_store(&f->s->space.grace, 0);
	f->s->keeper_running = true; /* else nobody waits for it */
	CHECK_EQ(dv_space_admit(f->s, &call, 1, &since), 0);
	f->s->keeper_running = false;
	return atomic_load(&f->s->space.backlog_max);
}

static void test_more_may_wait_the_more_has_come_to_rest(void)
{
	struct fix f;
	setup(&f, (struct dv_store_options){0}, NULL);
	simfs_set_free_blocks(f.fs, 8ull << 30 >> 12);
	CHECK_EQ(bound(&f), DV_SPACE_BACKLOG_MIN);
	dv_space_rests(f.s, 2ull << 30);
	CHECK_EQ(bound(&f), 128 * MIB);
	dv_space_rests(f.s, 14ull << 30);
	CHECK_EQ(bound(&f), DV_SPACE_BACKLOG_MAX);
	simfs_set_free_blocks(f.fs, UINT32_MAX); /* it is not there any more */
	CHECK_EQ(bound(&f), DV_SPACE_BACKLOG_MIN);
	teardown(&f);
}

/* ---- what waits for frames ---- */

/* Reads it all, or the error. */
static ssize_t read_node(struct fix *f, struct dv_node *n, const char *text, size_t len)
{
	DV_AUTO_FREE char *got = malloc(len + 1);
	CHECK(got != NULL);
	ssize_t r = dv_store_read(f->s, &call, n, got, (struct dv_range){0, len + 1});
	CHECK(r < 0 || ((size_t)r == len && memcmp(got, text, len) == 0));
	return r;
}

/* A stream, or an append to a packed value, of which much waits for frames; removed without any room. */
static void remove_without_room(bool append)
{
	enum { FRAME = 131072, HALF = 40 * FRAME, LEN = 71 * FRAME + 5 };
	struct fix f;
	struct dv_stat st;
	DV_AUTO_FREE char *text = text_of(LEN, 8);
	setup(&f, (struct dv_store_options){.settle_ms = 0, .stream_bytes = 4 * FRAME}, NULL);
	struct dv_node *n = create(&f, "a");
	for (size_t at = 0; at < LEN;) {
		size_t part = LEN - at < FRAME / 2 ? LEN - at : FRAME / 2;
		CHECK_EQ(write_at(&f, n, text, (struct dv_range){at, part}), (ssize_t)part);
		at += part;
		if (append && at == HALF)
			(void)dv_store_run(f.s, true);
	}
	CHECK_EQ(stats(&f).streamed, append);
	CHECK_EQ(stats(&f).pending, 1);
	simfs_set_free_blocks(f.fs, 0);
	CHECK_EQ(dv_store_unlink(f.s, &call, f.root, "a"), 0);
	CHECK_EQ(dv_store_getattr(f.s, &call, n, &st), 0);
	CHECK_EQ(st.size, LEN);
	CHECK_EQ(read_node(&f, n, text, LEN), LEN);
	dv_node_unref(f.s, n);
	CHECK_EQ(stats(&f).errors_space, 0);
	teardown(&f);
}

static void test_what_streams_is_whole_for_who_has_it_open_when_it_is_removed_from_a_full_disk(void)
{
	remove_without_room(false);
	remove_without_room(true);
}

static void test_what_outgrows_its_frames_is_unpacked_where_there_is_room_for_all_of_it(void)
{
	enum { FRAME = 131072, LEN = 30 * FRAME };
	struct fix f;
	DV_AUTO_FREE char *text = text_of(LEN, 9);
	size_t at = 0;
	setup(&f,
	      (struct dv_store_options){.settle_ms = 86400000,
					.stream_bytes = 4 * FRAME,
					.segment_bytes = FRAME,
					.frames_max = 20},
	      NULL);
	struct dv_node *n = create(&f, "a");
	for (; at < 20 * FRAME; at += FRAME)
		CHECK_EQ(write_at(&f, n, text, (struct dv_range){at, FRAME}), FRAME);
	CHECK_EQ(stats(&f).pending, 1);
	simfs_set_free_blocks(f.fs, 10 * FRAME / BLOCK);
	uint64_t decoded = stats(&f).frames_decoded;
	CHECK_EQ(write_at(&f, n, text, (struct dv_range){at, FRAME}), -ENOSPC);
	CHECK_EQ(stats(&f).joined, 0);
	CHECK_EQ(stats(&f).frames_decoded, decoded); /* none of it was taken */
	CHECK(is(&f, "a", text, at));
	simfs_set_free_blocks(f.fs, 100 * FRAME / BLOCK);
	for (; at < LEN; at += FRAME)
		CHECK_EQ(write_at(&f, n, text, (struct dv_range){at, FRAME}), FRAME);
	CHECK_EQ(stats(&f).joined, 1);
	dv_node_unref(f.s, n);
	CHECK(is(&f, "a", text, LEN));
	pack_all(&f);
	CHECK(!is_packed(&f, "a") && is(&f, "a", text, LEN));
	teardown(&f);
}

static void test_a_large_append_waits_until_its_commit_pays(void)
{
	enum { FRAME = 131072, LEN = 20 * FRAME, MORE = 6 * MIB };
	struct fix f;
	DV_AUTO_FREE char *text = text_of(LEN + MORE, 10);
	setup(&f, (struct dv_store_options){0}, NULL);
	put(&f, "a", text, LEN);
	pack_all(&f);
	struct dv_node *n = find(&f, "a");
	CHECK_EQ(write_at(&f, n, text, (struct dv_range){LEN, 100}), 100);
	CHECK(n->stage && dv_stage_append_pays(n->stage)); /* a line of a log */
	CHECK_EQ(write_at(&f, n, text, (struct dv_range){LEN + 100, MORE - 100}), MORE - 100);
	CHECK(n->stage &&
	      !dv_stage_append_pays(n->stage)); /* it packs to little more than a table */
	(void)dv_store_run(f.s, true);
	CHECK(!n->stage);
	CHECK_EQ(stats(&f).appended, 1);
	dv_node_unref(f.s, n);
	CHECK(is(&f, "a", text, LEN + MORE));
	teardown(&f);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_a_round_leaves_in_the_backlog_what_it_has_not_looked_at),
		CHECK_TEST(test_a_round_of_many_values_looks_at_as_many_as_it_takes),
		CHECK_TEST(test_more_may_wait_the_more_has_come_to_rest),
		CHECK_TEST(
			test_what_streams_is_whole_for_who_has_it_open_when_it_is_removed_from_a_full_disk),
		CHECK_TEST(test_a_large_append_waits_until_its_commit_pays),
		CHECK_TEST(
			test_what_outgrows_its_frames_is_unpacked_where_there_is_room_for_all_of_it),
	};
	dv_log_set_sink(no_log);
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
