/* SPDX-License-Identifier: MIT */
/* test_spares.c - claims about core/spares.h. */
#include "core/spares.h"

#include "core/cleanup.h"
#include "tests/support/check.h"

#define FRAME (128u << 10)

static void test_a_block_given_back_is_given_out_for_the_same_size_only(void)
{
	struct dv_spares s;
	dv_spares_init(&s);
	void *block = dv_spares_get(&s, FRAME);
	CHECK(block);
	dv_spares_put(&s, block, FRAME);
	void *other = dv_spares_get(&s, FRAME + 1);
	CHECK(other && other != block);
	void *again = dv_spares_get(&s, FRAME);
	CHECK(again == block);
	void *fresh = dv_spares_get(&s, FRAME);
	CHECK(fresh && fresh != block);
	dv_spares_put(&s, other, FRAME + 1);
	dv_spares_put(&s, again, FRAME);
	dv_spares_put(&s, fresh, FRAME);
	dv_spares_put(&s, NULL, FRAME);
	dv_spares_release(&s);
}

static size_t kept(const struct dv_spares *s)
{
	size_t bytes = 0;
	for (unsigned i = 0; i < DV_SPARES_MAX; i++)
		bytes += s->lens[i];
	return bytes;
}

static void test_few_are_kept_and_of_one_size_range(void)
{
	static const size_t not_kept[] = {1, DV_SPARE_BYTES_MIN - 1, DV_SPARE_BYTES_MAX + 1};
	void *blocks[3 * DV_SPARES_MAX];
	struct dv_spares s;
	dv_spares_init(&s);
	for (size_t i = 0; i < DV_ARRAY_LEN(not_kept); i++) {
		void *block = dv_spares_get(&s, not_kept[i]);
		CHECK(block);
		dv_spares_put(&s, block, not_kept[i]);
		CHECK_EQ(kept(&s), 0);
	}
	for (size_t i = 0; i < DV_ARRAY_LEN(blocks); i++)
		blocks[i] = dv_spares_get(&s, FRAME);
	for (size_t i = 0; i < DV_ARRAY_LEN(blocks); i++)
		dv_spares_put(&s, blocks[i], FRAME);
	CHECK_EQ(kept(&s), DV_SPARES_MAX * FRAME);
	dv_spares_release(&s);
}

static void test_blocks_of_a_size_no_longer_asked_for_give_way(void)
{
	struct dv_spares s;
	dv_spares_init(&s);
	for (size_t len = FRAME; len < FRAME + 3 * DV_SPARES_MAX; len++) {
		void *block = dv_spares_get(&s, len);
		CHECK(block);
		dv_spares_put(&s, block, len);
		void *again = dv_spares_get(&s, len);
		CHECK(again == block);
		dv_spares_put(&s, again, len);
	}
	dv_spares_release(&s);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_a_block_given_back_is_given_out_for_the_same_size_only),
		CHECK_TEST(test_few_are_kept_and_of_one_size_range),
		CHECK_TEST(test_blocks_of_a_size_no_longer_asked_for_give_way),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
