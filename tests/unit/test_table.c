/* SPDX-License-Identifier: MIT */
/* test_table.c - claims about core/table.h. */
#include "core/table.h"

#include "core/cleanup.h"
#include "tests/support/check.h"

#include <stdbool.h>

struct thing {
	struct dv_table_entry entry;
	uint64_t id;
};

static uint64_t hash_thing(const struct dv_table_entry *e, uint64_t seed)
{
	const struct thing *t = DV_TABLE_OWNER(e, const struct thing, entry);
	return dv_table_hash_bytes(seed, &t->id, sizeof(t->id));
}

static uint64_t hash_all_alike(const struct dv_table_entry *e, uint64_t seed)
{
	(void)e;
	(void)seed;
	return 7;
}

static struct thing *find(const struct dv_table *t, uint64_t id, size_t *steps)
{
	uint64_t hash = dv_table_hash_bytes(t->seed, &id, sizeof(id));
	struct dv_table_entry *e = dv_table_chain(t, hash);
	for (; e; e = e->next) {
		struct thing *found = DV_TABLE_OWNER(e, struct thing, entry);
		++*steps;
		if (found->id == id)
			return found;
	}
	return NULL;
}

static struct thing *things(size_t count)
{
	struct thing *all = calloc(count, sizeof(*all));
	CHECK(all);
	for (size_t i = 0; i < count; i++)
		all[i].id = i;
	return all;
}

static void test_what_was_inserted_is_found_and_what_was_removed_is_not(void)
{
	enum { COUNT = 20000 };
	struct thing *all = things(COUNT);
	struct dv_table t;
	size_t steps = 0;
	CHECK_EQ(dv_table_init(&t, hash_thing), 0);
	for (size_t i = 0; i < COUNT; i++) {
		CHECK(!find(&t, i, &steps));
		dv_table_insert(&t, &all[i].entry);
		CHECK(find(&t, i / 2, &steps) == &all[i / 2]);
	}
	for (size_t i = 0; i < COUNT; i++)
		CHECK(find(&t, i, &steps) == &all[i]);
	for (size_t i = 0; i < COUNT; i += 2)
		dv_table_remove(&t, &all[i].entry);
	for (size_t i = 0; i < COUNT; i++)
		CHECK(find(&t, i, &steps) == (i % 2 ? &all[i] : NULL));
	CHECK_EQ(t.count, COUNT / 2);
	dv_table_release(&t);
	free(all);
}

static void test_chains_stay_short_at_every_size(void)
{
	enum { COUNT = 50000 };
	struct thing *all = things(COUNT);
	struct dv_table t;
	CHECK_EQ(dv_table_init(&t, hash_thing), 0);
	for (size_t i = 0; i < COUNT; i++) {
		dv_table_insert(&t, &all[i].entry);
		if (i % 5000 != 4999)
			continue;
		size_t steps = 0;
		for (size_t k = 0; k <= i; k++)
			CHECK(find(&t, k, &steps));
		/* 2 where all buckets are alike, and a little more between two doublings */
		CHECK(2 * steps < 5 * (i + 1));
	}
	dv_table_release(&t);
	free(all);
}

static void test_an_insertion_moves_one_bucket_and_not_the_table(void)
{
	enum { COUNT = 5000 };
	struct thing *all = things(COUNT);
	struct dv_table t;
	CHECK_EQ(dv_table_init(&t, hash_thing), 0);
	for (size_t i = 0; i < COUNT; i++) {
		size_t before = dv_table_buckets(&t);
		dv_table_insert(&t, &all[i].entry);
		CHECK(dv_table_buckets(&t) <= before + 1);
		CHECK(dv_table_buckets(&t) * DV_TABLE_LOAD >= t.count);
	}
	dv_table_release(&t);
	free(all);
}

static void test_an_emptied_table_is_as_small_as_a_new_one(void)
{
	enum { COUNT = 30000 };
	struct thing *all = things(COUNT);
	struct dv_table t;
	size_t steps = 0;
	CHECK_EQ(dv_table_init(&t, hash_thing), 0);
	size_t small = dv_table_buckets(&t);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < COUNT; i++)
			dv_table_insert(&t, &all[i].entry);
		for (size_t i = 0; i < COUNT; i++) {
			dv_table_remove(&t, &all[i].entry);
			if (i + 1 < COUNT)
				CHECK(find(&t, COUNT - 1, &steps));
		}
		CHECK_EQ(t.count, 0);
		CHECK_EQ(dv_table_buckets(&t), small);
	}
	dv_table_release(&t);
	free(all);
}

static void test_entries_of_one_hash_are_all_kept(void)
{
	enum { COUNT = 1500 };
	struct thing *all = things(COUNT);
	struct dv_table t;
	CHECK_EQ(dv_table_init(&t, hash_all_alike), 0);
	for (size_t i = 0; i < COUNT; i++)
		dv_table_insert(&t, &all[i].entry);
	size_t seen = 0;
	for (struct dv_table_entry *e = dv_table_chain(&t, 7); e; e = e->next)
		seen++;
	CHECK_EQ(seen, COUNT);
	for (size_t i = COUNT; i-- > 0;)
		dv_table_remove(&t, &all[i].entry);
	CHECK(!dv_table_chain(&t, 7));
	dv_table_release(&t);
	free(all);
}

static void test_the_hash_depends_on_the_seed_the_length_and_each_byte(void)
{
	char name[40] = {0};
	uint64_t plain = dv_table_hash_bytes(1, name, 20);
	CHECK(dv_table_hash_bytes(2, name, 20) != plain);
	CHECK(dv_table_hash_bytes(1, name, 21) != plain);
	for (size_t i = 0; i < 20; i++) {
		name[i] = 1;
		CHECK(dv_table_hash_bytes(1, name, 20) != plain);
		name[i] = 0;
	}
	name[20] = 1;
	CHECK(dv_table_hash_bytes(1, name, 20) == plain);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_what_was_inserted_is_found_and_what_was_removed_is_not),
		CHECK_TEST(test_chains_stay_short_at_every_size),
		CHECK_TEST(test_an_insertion_moves_one_bucket_and_not_the_table),
		CHECK_TEST(test_an_emptied_table_is_as_small_as_a_new_one),
		CHECK_TEST(test_entries_of_one_hash_are_all_kept),
		CHECK_TEST(test_the_hash_depends_on_the_seed_the_length_and_each_byte),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
