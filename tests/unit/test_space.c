/* SPDX-License-Identifier: MIT */
/*
 * test_space.c - the store where space is short, values that are edited again and again, values
 * that are never packed. On simfs, through store.h; of the inside only what is counted there.
 */
#include "core/cleanup.h"
#include "core/internal.h"
#include "tests/unit/space_fixture.h"

#include <errno.h>

/* ---- never packed ---- */

static void test_values_that_match_a_pattern_stay_raw_whoever_packs(void)
{
	struct fix f;
	DV_AUTO_FREE char *text = text_of(40000, 1);
	setup(&f, (struct dv_store_options){.nopack = "*.log"}, "*.db");
	put(&f, "a.db", text, 40000);
	put(&f, "a.log", text, 40000);
	put(&f, "a.txt", text, 40000);
	dv_store_run(f.s, true);
	CHECK(!is_packed(&f, "a.db") && !is_packed(&f, "a.log") && is_packed(&f, "a.txt"));
	pack_all(&f);
	CHECK(!is_packed(&f, "a.db") && !is_packed(&f, "a.log"));
	/* The store's own are there without the option, the mount's are not. */
	close_store(&f);
	open_store(&f, (struct dv_store_options){0});
	pack_all(&f);
	CHECK(!is_packed(&f, "a.db") && is_packed(&f, "a.log"));
	teardown(&f);
}

static void test_a_packed_value_that_matches_stays_packed_until_it_changes(void)
{
	struct fix f;
	DV_AUTO_FREE char *text = text_of(40000, 2);
	setup(&f, (struct dv_store_options){0}, NULL);
	put(&f, "a.db", text, 40000);
	pack_all(&f);
	close_store(&f);
	open_store(&f, (struct dv_store_options){.nopack = "*.db"});
	pack_all(&f);
	CHECK(is_packed(&f, "a.db"));
	struct dv_node *n = find(&f, "a.db");
	CHECK_EQ(write_at(&f, n, text, (struct dv_range){100, 10}), 10);
	dv_node_unref(f.s, n);
	dv_store_run(f.s, true);
	pack_all(&f);
	CHECK(!is_packed(&f, "a.db") && is(&f, "a.db", text, 40000));
	teardown(&f);
}

static void test_neither_a_stream_nor_an_append_packs_a_value_that_matches(void)
{
	struct fix f;
	const size_t len = 10 * MIB, piece = MIB / 2;
	DV_AUTO_FREE char *text = text_of(len + 100, 12);
	static const char *const names[] = {"a.db", "a.txt"};
	setup(&f, (struct dv_store_options){0}, NULL);
	put(&f, "old.db", text, len);
	pack_all(&f);
	close_store(&f);
	open_store(&f, (struct dv_store_options){.nopack = "*.db"});
	uint64_t before = stats(&f).frames_encoded;
	for (size_t i = 0; i < DV_ARRAY_LEN(names); i++) {
		struct dv_node *n = create(&f, names[i]);
		for (size_t at = 0; at < len; at += piece)
			CHECK_EQ(write_at(&f, n, text, (struct dv_range){at, piece}),
				 (ssize_t)piece);
		CHECK((stats(&f).frames_encoded > before) == (i == 1));
		CHECK_EQ(dv_store_fsync(f.s, &call, n, false), 0);
		dv_node_unref(f.s, n);
	}
	CHECK(!is_packed(&f, "a.db") && is(&f, "a.db", text, len));
	CHECK(is(&f, "a.txt", text, len));
	struct dv_node *n = find(&f, "old.db");
	CHECK_EQ(write_at(&f, n, text, (struct dv_range){len, 100}), 100);
	CHECK_EQ(dv_store_fsync(f.s, &call, n, false), 0);
	dv_node_unref(f.s, n);
	pack_all(&f);
	CHECK(!is_packed(&f, "old.db") && is(&f, "old.db", text, len + 100));
	teardown(&f);
}

static void test_a_new_name_that_does_not_match_lets_a_value_be_packed(void)
{
	struct fix f;
	DV_AUTO_FREE char *text = text_of(40000, 3);
	setup(&f, (struct dv_store_options){0}, "*.tmp");
	put(&f, "a.tmp", text, 40000);
	while (dv_store_run(f.s, true) > 0)
		;
	CHECK_EQ(dv_store_rename(f.s, &call, f.root, "a.tmp", f.root, "a", 0), 0);
	dv_store_run(f.s, true);
	CHECK(is_packed(&f, "a"));
	teardown(&f);
}

static void test_a_pattern_that_is_none_is_refused_with_its_text(void)
{
	char why[256] = "";
	struct fix f;
	struct dv_store *s = NULL;
	struct dv_init_options init = {.nopack = "a:[b"};
	struct dv_store_options o = {.nopack = "a:[b"};
	f.fs = simfs_new();
	CHECK_EQ(dv_store_init(simfs_backing(f.fs), "/", &init, why, sizeof(why)), -EINVAL);
	CHECK(strstr(why, "'[b'") != NULL);
	init.nopack = NULL;
	CHECK_EQ(dv_store_init(simfs_backing(f.fs), "/", &init, why, sizeof(why)), 0);
	CHECK_EQ(dv_store_open(simfs_backing(f.fs), "/", &o, &s, why, sizeof(why)), -EINVAL);
	CHECK(strstr(why, "'[b'") != NULL);
	CHECK_EQ(simfs_open_fds(f.fs), 0);
	simfs_free(f.fs);
}

/* ---- edited again and again ---- */

static void edit_and_pack(struct fix *f, const char *name, const char *text)
{
	struct dv_node *n = find(f, name);
	CHECK_EQ(write_at(f, n, text, (struct dv_range){100, 10}), 10);
	CHECK_EQ(dv_store_fsync(f->s, &call, n, false), 0);
	dv_node_unref(f->s, n);
	pack_all(f);
	CHECK(is_packed(f, name));
}

/* How long name waits after a change. The store runs by itself for nobody here. */
static int64_t wait_ms(struct fix *f, const char *name, const char *text)
{
	struct dv_node *n = find(f, name);
	CHECK_EQ(write_at(f, n, text, (struct dv_range){100, 10}), 10);
	CHECK_EQ(dv_store_fsync(f->s, &call, n, false), 0);
	while (dv_now_ns() < n->due_ns) /* the stage's look, 100 ms */
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	dv_store_run(f->s, false);
	int64_t ms = (n->due_ns - n->changed_ns) / 1000000;
	dv_node_unref(f->s, n);
	return ms;
}

static void test_each_unpacking_doubles_the_wait_also_over_a_remount(void)
{
	struct fix f;
	DV_AUTO_FREE char *text = text_of(40000, 4);
	const struct dv_store_options o = {.settle_ms = 5000};
	setup(&f, o, NULL);
	put(&f, "a", text, 40000);
	pack_all(&f);
	edit_and_pack(&f, "a", text);
	close_store(&f);
	open_store(&f, o);
	edit_and_pack(&f, "a", text);
	int64_t ms = wait_ms(&f, "a", text); /* the third time */
	CHECK(ms >= 40000 && ms <= 40100);
	pack_all(&f);
	close_store(&f);
	open_store(&f, o);
	for (int i = 0; i < 20; i++)
		edit_and_pack(&f, "a", text);
	ms = wait_ms(&f, "a", text);
	CHECK(ms >= DV_SETTLE_MAX_MS && ms <= DV_SETTLE_MAX_MS + 100);
	CHECK(is(&f, "a", text, 40000));
	teardown(&f);
}

static void test_a_value_left_alone_for_a_day_is_counted_anew(void)
{
	struct fix f;
	DV_AUTO_FREE char *text = text_of(40000, 5);
	const struct dv_store_options o = {.settle_ms = 5000};
	setup(&f, o, NULL);
	put(&f, "a", text, 40000);
	pack_all(&f);
	for (int i = 0; i < 5; i++)
		edit_and_pack(&f, "a", text);
	simfs_advance_clock(f.fs, (uint64_t)DV_SETTLE_MAX_MS * 1000000);
	int64_t ms = wait_ms(&f, "a", text);
	CHECK(ms >= 10000 && ms <= 10100);
	teardown(&f);
}

/* ---- short of space ---- */

static void test_a_write_without_room_packs_others_first(void)
{
	struct fix f;
	DV_AUTO_FREE char *text = text_of(40 * BLOCK, 6);
	setup(&f, (struct dv_store_options){.settle_ms = 86400000}, NULL);
	put(&f, "old", text, 40 * BLOCK);
	simfs_set_free_blocks(f.fs, 12);
	put(&f, "new", text, 30 * BLOCK);
	CHECK(is_packed(&f, "old"));
	CHECK_EQ(stats(&f).packed, 1);
	CHECK(is(&f, "old", text, 40 * BLOCK) && is(&f, "new", text, 30 * BLOCK));
	teardown(&f);
}

static void test_an_append_without_room_is_not_made_twice(void)
{
	struct fix f;
	DV_AUTO_FREE char *text = text_of(40 * BLOCK, 7);
	setup(&f, (struct dv_store_options){.settle_ms = 86400000}, NULL);
	put(&f, "old", text, 40 * BLOCK);
	struct dv_node *n = create(&f, "new");
	simfs_set_free_blocks(f.fs, 12);
	size_t done = 0;
	while (done < 30 * BLOCK) {
		ssize_t w =
			dv_store_write(f.s, &call, n, text + done,
				       (struct dv_range){0, 30 * BLOCK - done}, DV_WRITE_APPEND);
		CHECK(w > 0);
		done += (size_t)w;
		/* It is not taken back: another mount may have appended behind it. */
		simfs_set_free_blocks(f.fs, 4);
	}
	dv_node_unref(f.s, n);
	CHECK(is(&f, "new", text, 30 * BLOCK));
	teardown(&f);
}

static void test_without_anything_to_pack_the_error_comes_and_is_believed_for_a_while(void)
{
	static const int errors[] = {ENOSPC, EDQUOT};
	for (size_t i = 0; i < DV_ARRAY_LEN(errors); i++) {
		struct fix f;
		DV_AUTO_FREE char *text = text_of(10 * BLOCK, 8);
		setup(&f, (struct dv_store_options){0}, NULL);
		struct dv_node *n = create(&f, "a");
		simfs_fail_op(f.fs, "pwrite");
		simfs_fail_nth(f.fs, 1, errors[i], true);
		CHECK_EQ(write_at(&f, n, text, (struct dv_range){0, 10 * BLOCK}), -errors[i]);
		uint64_t rounds = f.s->space.rounds;
		CHECK_EQ(rounds, 1);
		CHECK_EQ(write_at(&f, n, text, (struct dv_range){0, 10 * BLOCK}), -errors[i]);
		CHECK_EQ(f.s->space.rounds, rounds);
		CHECK_EQ(stats(&f).errors_space, 2);
		simfs_fail_nth(f.fs, 0, 0, false);
		CHECK_EQ(write_at(&f, n, text, (struct dv_range){0, 10 * BLOCK}), 10 * BLOCK);
		dv_node_unref(f.s, n);
		teardown(&f);
	}
}

static void test_an_edit_without_room_fails_before_it_takes_any(void)
{
	struct fix f;
	struct dv_stat st;
	size_t len = 8 * MIB;
	DV_AUTO_FREE char *text = text_of(len, 9);
	setup(&f, (struct dv_store_options){0}, NULL);
	put(&f, "a", text, len);
	pack_all(&f);
	CHECK(is_packed(&f, "a"));
	struct dv_node *n = find(&f, "a");
	uint64_t decoded = stats(&f).frames_decoded;
	simfs_set_free_blocks(f.fs, len / BLOCK - 10);
	CHECK_EQ(write_at(&f, n, text, (struct dv_range){5, 10}), -ENOSPC);
	struct dv_setattr set = {.valid = DV_SET_SIZE, .size = len - 1};
	CHECK_EQ(dv_store_setattr(f.s, &call, n, &set, &st), -ENOSPC);
	CHECK_EQ(dv_store_fallocate(f.s, &call, n, 0, (struct dv_range){0, len + 1}), -ENOSPC);
	CHECK_EQ(stats(&f).frames_decoded, decoded);
	CHECK_EQ(stats(&f).pending, 0);
	struct dv_fsinfo fs;
	CHECK_EQ(dv_store_statfs(f.s, &fs), 0);
	CHECK(fs.bavail >= len / BLOCK - 20);
	CHECK(is_packed(&f, "a") && is(&f, "a", text, len));
	simfs_set_free_blocks(f.fs, len / BLOCK + 40);
	CHECK_EQ(write_at(&f, n, text, (struct dv_range){5, 10}), 10);
	dv_node_unref(f.s, n);
	CHECK(is(&f, "a", text, len));
	teardown(&f);
}

static void test_what_there_was_no_room_to_pack_is_packed_when_there_is(void)
{
	struct fix f;
	struct dv_pack_result r;
	DV_AUTO_FREE char *text = text_of(40 * BLOCK, 10);
	setup(&f, (struct dv_store_options){0}, NULL);
	put(&f, "a", text, 40 * BLOCK);
	simfs_fail_op(f.fs, "pwrite");
	simfs_fail_nth(f.fs, 1, ENOSPC, true);
	CHECK(dv_store_run(f.s, true) > 0); /* it waits */
	CHECK(!is_packed(&f, "a") && is(&f, "a", text, 40 * BLOCK));
	CHECK_EQ(dv_store_pack_all(f.s, &r), -ENOSPC);
	CHECK_EQ(r.failed, 1);
	simfs_fail_nth(f.fs, 0, 0, false);
	dv_store_run(f.s, true);
	CHECK(is_packed(&f, "a") && is(&f, "a", text, 40 * BLOCK));
	teardown(&f);
}

static void test_a_replacement_without_room_is_dropped_where_nothing_can_be_recorded(void)
{
	struct fix f;
	struct dv_stat st;
	DV_AUTO_FREE char *text = text_of(10 * BLOCK, 13);
	setup(&f, (struct dv_store_options){0}, NULL);
	put(&f, "a", text, 10 * BLOCK);
	pack_all(&f); /* to replace such a one takes a record */
	CHECK(is_packed(&f, "a"));
	struct dv_node *n = find(&f, "a");
	struct dv_setattr set = {.valid = DV_SET_SIZE};
	CHECK_EQ(dv_store_setattr(f.s, &call, n, &set, &st), 0);
	simfs_fail_op(f.fs, "pwrite"); /* the log's, too */
	simfs_fail_nth(f.fs, 1, ENOSPC, true);
	CHECK_EQ(write_at(&f, n, text, (struct dv_range){0, BLOCK}), -ENOSPC);
	CHECK_EQ(dv_store_fsync(f.s, &call, n, false), -ENOSPC);
	dv_store_run(f.s, true);
	CHECK_EQ(stats(&f).pending, 0);
	CHECK(is(&f, "a", text, 10 * BLOCK));
	dv_node_unref(f.s, n);
	simfs_fail_nth(f.fs, 0, 0, false);
	teardown(&f);
}

/* ---- callers who park ---- */

struct told {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned count;
};

static void retry(void *self)
{
	struct told *t = self;
	pthread_mutex_lock(&t->lock);
	t->count++;
	pthread_cond_broadcast(&t->cond);
	pthread_mutex_unlock(&t->lock);
}

static void test_who_parks_is_told_and_who_may_not_wait_never_does(void)
{
	struct fix f;
	struct told t = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
	const struct dv_call nowait = {.nowait = true};
	struct dv_call parks = {.parks = true};
	struct dv_range range = {0, 30 * BLOCK};
	DV_AUTO_FREE char *text = text_of(40 * BLOCK, 11);
	setup(&f,
	      (struct dv_store_options){
		      .background = true, .settle_ms = 86400000, .hooks = {&t, .retry = retry}},
	      NULL);
	put(&f, "old", text, 40 * BLOCK);
	struct dv_node *n = create(&f, "new");
	simfs_set_free_blocks(f.fs, 12);
	CHECK_EQ(dv_store_write(f.s, &nowait, n, text, range, 0), -EAGAIN);
	unsigned parked = 0;
	ssize_t w;
	for (;; parked++) {
		pthread_mutex_lock(&t.lock);
		unsigned before = t.count;
		pthread_mutex_unlock(&t.lock);
		w = dv_store_write(f.s, &parks, n, text, range, 0);
		if (w != -EINPROGRESS)
			break;
		CHECK(parked < 10);
		pthread_mutex_lock(&t.lock);
		while (t.count == before)
			pthread_cond_wait(&t.cond, &t.lock);
		pthread_mutex_unlock(&t.lock);
	}
	CHECK_EQ(w, 30 * BLOCK);
	CHECK(parked >= 1);
	CHECK(is_packed(&f, "old") && is(&f, "new", text, 30 * BLOCK));
	/* Who has waited long enough is not parked again, whatever could be gained. */
	simfs_set_free_blocks(f.fs, 0);
	parks.waited_ns = INT64_MAX;
	range = (struct dv_range){30 * BLOCK, 10 * BLOCK};
	CHECK_EQ(dv_store_write(f.s, &parks, n, text, range, 0), -ENOSPC);
	simfs_set_free_blocks(f.fs, 100000);
	dv_node_unref(f.s, n);
	teardown(&f);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_values_that_match_a_pattern_stay_raw_whoever_packs),
		CHECK_TEST(test_a_packed_value_that_matches_stays_packed_until_it_changes),
		CHECK_TEST(test_neither_a_stream_nor_an_append_packs_a_value_that_matches),
		CHECK_TEST(test_a_new_name_that_does_not_match_lets_a_value_be_packed),
		CHECK_TEST(test_a_pattern_that_is_none_is_refused_with_its_text),
		CHECK_TEST(test_each_unpacking_doubles_the_wait_also_over_a_remount),
		CHECK_TEST(test_a_value_left_alone_for_a_day_is_counted_anew),
		CHECK_TEST(test_a_write_without_room_packs_others_first),
		CHECK_TEST(test_an_append_without_room_is_not_made_twice),
		CHECK_TEST(
			test_without_anything_to_pack_the_error_comes_and_is_believed_for_a_while),
		CHECK_TEST(test_an_edit_without_room_fails_before_it_takes_any),
		CHECK_TEST(test_what_there_was_no_room_to_pack_is_packed_when_there_is),
		CHECK_TEST(
			test_a_replacement_without_room_is_dropped_where_nothing_can_be_recorded),
		CHECK_TEST(test_who_parks_is_told_and_who_may_not_wait_never_does),
	};
	dv_log_set_sink(no_log);
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
