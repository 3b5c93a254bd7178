/* SPDX-License-Identifier: MIT */
/*
 * test_node_ids.c - the table of node ids, over nodes that only count their references.
 */
#include "core/cleanup.h"
#include "fs/node.h"
#include "tests/support/check.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- the store that fs/node.c calls ---- */

struct dv_node {
	atomic_int refs;
	uint32_t cookie;
	bool named; /* a name leads to it */
	atomic_int rests;
};

static struct dv_node root;

struct dv_node *dv_store_root(struct dv_store *s)
{
	(void)s;
	return dv_node_ref(&root);
}

struct dv_node *dv_node_ref(struct dv_node *n)
{
	atomic_fetch_add(&n->refs, 1);
	return n;
}

void dv_node_unref(struct dv_store *s, struct dv_node *n)
{
	(void)s;
	CHECK(!n || atomic_fetch_sub(&n->refs, 1) > 0);
}

uint32_t *dv_node_cookie(struct dv_node *n)
{
	return &n->cookie;
}

bool dv_node_rest(struct dv_store *s, struct dv_node *n)
{
	(void)s;
	n->rests++;
	return n->named;
}

/* ---- tests ---- */

#define IDLE_MAX 4

static struct fs_nodes *table(void)
{
	struct fs_nodes *nodes = NULL;

	atomic_store(&root.refs, 0);
	CHECK_EQ(fs_nodes_new(NULL, IDLE_MAX, &nodes), 0);
	return nodes;
}

static void test_the_root_is_1_and_stays(void)
{
	struct fs_nodes *nodes = table();

	CHECK_EQ(fs_nodes_id_of(nodes, &root), FS_ROOT_ID);
	fs_nodes_forget(nodes, FS_ROOT_ID, 1000);
	CHECK(fs_nodes_get(nodes, FS_ROOT_ID) == &root);
	dv_node_unref(NULL, &root);
	CHECK_EQ(fs_nodes_count(nodes), 1);
	fs_nodes_free(&nodes);
	CHECK(!nodes);
	CHECK_EQ(root.refs, 0);
	CHECK(!root.cookie);
}

static void test_one_node_has_one_id_while_the_kernel_knows_it(void)
{
	struct fs_nodes *nodes = table();
	struct dv_node n = {0};
	uint64_t id = fs_nodes_enter(nodes, dv_node_ref(&n));

	CHECK(id > FS_ROOT_ID);
	CHECK_EQ(fs_nodes_enter(nodes, dv_node_ref(&n)), id);
	CHECK_EQ(n.refs, 1); /* the table's, however many lookups */
	CHECK_EQ(fs_nodes_id_of(nodes, &n), id);
	CHECK(fs_nodes_get(nodes, id) == &n);
	dv_node_unref(NULL, &n);
	fs_nodes_forget(nodes, id, 1);
	CHECK_EQ(n.refs, 1);
	fs_nodes_forget(nodes, id, 1);
	CHECK_EQ(n.refs, 0);
	CHECK(!n.cookie);
	CHECK(!fs_nodes_get(nodes, id));
	CHECK_EQ(fs_nodes_id_of(nodes, &n), 0);
	fs_nodes_free(&nodes);
}

static void test_an_id_is_never_used_again(void)
{
	struct fs_nodes *nodes = table();
	struct dv_node n = {0};
	uint64_t last = FS_ROOT_ID;

	for (int i = 0; i < 1000; i++) {
		uint64_t id = fs_nodes_enter(nodes, dv_node_ref(&n));

		CHECK(id > last);
		last = id;
		fs_nodes_forget(nodes, id, 1);
	}
	fs_nodes_free(&nodes);
}

static void test_too_many_or_unknown_forgets_do_no_harm(void)
{
	struct fs_nodes *nodes = table();
	struct dv_node n = {0};
	uint64_t id = fs_nodes_enter(nodes, dv_node_ref(&n));

	fs_nodes_forget(nodes, id + 1, 1);
	fs_nodes_forget(nodes, id, 5);
	CHECK_EQ(n.refs, 0);
	fs_nodes_forget(nodes, id, 1);
	fs_nodes_free(&nodes);
}

/* LOOKUPS_MAX is 1000 here. */
static void test_a_node_looked_up_too_often_to_count_stays(void)
{
	struct fs_nodes *nodes = table();
	struct dv_node n = {0};
	uint64_t id = 0;

	for (int i = 0; i < LOOKUPS_MAX; i++)
		id = fs_nodes_enter(nodes, dv_node_ref(&n));
	for (int i = 0; i < 3; i++)
		CHECK_EQ(fs_nodes_enter(nodes, dv_node_ref(&n)), id);
	fs_nodes_forget(nodes, id, 2);
	fs_nodes_forget(nodes, id, LOOKUPS_MAX + 1);
	CHECK_EQ(n.refs, 1);
	CHECK_EQ(fs_nodes_id_of(nodes, &n), id);
	fs_nodes_free(&nodes);
	CHECK_EQ(n.refs, 0);
}

static void test_the_numbers_tell_of_now_and_of_the_worst(void)
{
	struct fs_nodes *nodes = table();
	struct fs_nodes_numbers numbers;
	static struct dv_node many[10];
	uint64_t id = 0;

	for (size_t i = 0; i < DV_ARRAY_LEN(many); i++)
		id = fs_nodes_enter(nodes, dv_node_ref(&many[i]));
	fs_nodes_forget(nodes, id, 1);
	fs_nodes_tell(nodes, &numbers);
	CHECK_EQ(numbers.count, 10);
	CHECK_EQ(numbers.peak, 11);
	CHECK_EQ(numbers.forgotten, 1);
	fs_nodes_free(&nodes);
}

static void test_the_end_gives_back_what_the_kernel_still_holds(void)
{
	struct fs_nodes *nodes = table();
	static struct dv_node many[1000];

	for (size_t i = 0; i < DV_ARRAY_LEN(many); i++)
		CHECK(fs_nodes_enter(nodes, dv_node_ref(&many[i])) != 0);
	CHECK_EQ(fs_nodes_count(nodes), 1001);
	fs_nodes_free(&nodes);
	for (size_t i = 0; i < DV_ARRAY_LEN(many); i++)
		CHECK(many[i].refs == 0 && !many[i].cookie);
}

static void test_what_the_kernel_forgot_last_is_found_again_under_its_id(void)
{
	struct fs_nodes *nodes = table();
	struct fs_nodes_numbers numbers;
	struct dv_node n = {.named = true};
	uint64_t id = fs_nodes_enter(nodes, dv_node_ref(&n));

	fs_nodes_forget(nodes, id, 1);
	CHECK_EQ(n.refs, 1);
	CHECK_EQ(n.rests, 1);
	CHECK_EQ(fs_nodes_id_of(nodes, &n), 0); /* the kernel has none of it */
	fs_nodes_tell(nodes, &numbers);
	CHECK_EQ(numbers.count, 1);
	CHECK_EQ(numbers.idle, 1);
	CHECK(fs_nodes_get(nodes, id) == &n);
	CHECK_EQ(fs_nodes_enter(nodes, &n), id);
	CHECK_EQ(n.refs, 1);
	CHECK_EQ(fs_nodes_id_of(nodes, &n), id);
	fs_nodes_tell(nodes, &numbers);
	CHECK_EQ(numbers.count, 2);
	CHECK_EQ(numbers.idle, 0);
	fs_nodes_forget(nodes, id, 1);
	fs_nodes_free(&nodes);
	CHECK(n.refs == 0 && !n.cookie);
}

static void test_a_bounded_number_is_kept_and_the_oldest_go_first(void)
{
	struct fs_nodes *nodes = table();
	struct fs_nodes_numbers numbers;
	static struct dv_node many[IDLE_MAX + 3];
	uint64_t ids[DV_ARRAY_LEN(many)];

	for (size_t i = 0; i < DV_ARRAY_LEN(many); i++) {
		many[i].named = true;
		ids[i] = fs_nodes_enter(nodes, dv_node_ref(&many[i]));
	}
	for (size_t i = 0; i < DV_ARRAY_LEN(many); i++)
		fs_nodes_forget(nodes, ids[i], 1);
	for (size_t i = 0; i < DV_ARRAY_LEN(many); i++) {
		struct dv_node *n = fs_nodes_get(nodes, ids[i]);

		CHECK(n == (i < 3 ? NULL : &many[i]));
		dv_node_unref(NULL, n);
		CHECK_EQ(many[i].refs, i < 3 ? 0 : 1);
	}
	fs_nodes_tell(nodes, &numbers);
	CHECK_EQ(numbers.idle, IDLE_MAX);
	CHECK_EQ(numbers.forgotten, DV_ARRAY_LEN(many));
	/* A forgotten one is not asked to go, nor forgotten twice. */
	CHECK_EQ(fs_nodes_oldest(nodes, ids, 1), 0);
	fs_nodes_forget(nodes, ids[IDLE_MAX + 2], 1);
	CHECK_EQ(many[IDLE_MAX + 2].refs, 1);
	fs_nodes_free(&nodes);
}

static struct fs_nodes *shared;
static struct dv_node contended;

static void *look_up_and_forget(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20000; i++) {
		uint64_t id = fs_nodes_enter(shared, dv_node_ref(&contended));
		struct dv_node *n = fs_nodes_get(shared, id);

		CHECK(n == &contended);
		dv_node_unref(NULL, n);
		fs_nodes_forget(shared, id, 1);
	}
	return NULL;
}

static void test_lookups_racing_with_forgets_lose_nothing(void)
{
	pthread_t threads[4];

	for (int named = 0; named < 2; named++) {
		contended.named = named;
		shared = table();
		for (size_t i = 0; i < DV_ARRAY_LEN(threads); i++)
			CHECK_EQ(pthread_create(&threads[i], NULL, look_up_and_forget, NULL), 0);
		for (size_t i = 0; i < DV_ARRAY_LEN(threads); i++)
			pthread_join(threads[i], NULL);
		CHECK_EQ(fs_nodes_count(shared), 1);
		CHECK_EQ(contended.refs, named);
		fs_nodes_free(&shared);
		CHECK_EQ(contended.refs, 0);
	}
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_the_root_is_1_and_stays),
		CHECK_TEST(test_one_node_has_one_id_while_the_kernel_knows_it),
		CHECK_TEST(test_an_id_is_never_used_again),
		CHECK_TEST(test_too_many_or_unknown_forgets_do_no_harm),
		CHECK_TEST(test_a_node_looked_up_too_often_to_count_stays),
		CHECK_TEST(test_the_numbers_tell_of_now_and_of_the_worst),
		CHECK_TEST(test_the_end_gives_back_what_the_kernel_still_holds),
		CHECK_TEST(test_what_the_kernel_forgot_last_is_found_again_under_its_id),
		CHECK_TEST(test_a_bounded_number_is_kept_and_the_oldest_go_first),
		CHECK_TEST(test_lookups_racing_with_forgets_lose_nothing),
	};

	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
