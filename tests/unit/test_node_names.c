/* SPDX-License-Identifier: MIT */
/*
 * test_node_names.c - any number of names of one value: which are told, and that none costs more
 * than another.
 */
#include "core/cleanup.h"
#include "core/internal.h"
#include "core/node_private.h"
#include "tests/support/check.h"

#include <sys/stat.h>

enum { NAMES = 64, STEPS = 20000 };

static struct dv_store store;
static struct dv_node *dir;

static void begin(void)
{
	memset(&store, 0, sizeof(store));
	CHECK_EQ(dv_nodes_init(&store), 0);
	dir = dv_node_new(S_IFDIR, 1, "");
	CHECK(dir != NULL);
	store.root = dir;
}

static void end(void)
{
	dv_node_unref(&store, dir);
	CHECK_EQ(store.names.count, 0);
	CHECK_EQ(store.objects.count, 0);
	dv_nodes_release(&store);
}

/* A value whose first name is "n0". */
static struct dv_node *new_value(uint64_t ino)
{
	struct dv_node *n = dv_node_new(S_IFREG, ino, "n0"), *out;
	struct dv_entry e = {.dir = dir, .name = "n0"};
	bool again;
	n->id = (struct dv_ident){.ino = ino};
	CHECK_EQ(dv_node_enter(&store, n, &e, &out, &again), 0);
	CHECK(!again);
	return out;
}

struct name {
	char text[16];
};

static struct name name_of(unsigned i)
{
	struct name name;
	snprintf(name.text, sizeof(name.text), "n%u", i);
	return name;
}

/* The names as they should be told, the last given first. */
static unsigned model[NAMES], model_count;

static void model_add(unsigned i)
{
	memmove(model + 1, model, model_count++ * sizeof(*model));
	model[0] = i;
}

static bool model_drop(unsigned i)
{
	for (unsigned at = 0; at < model_count; at++) {
		if (model[at] != i)
			continue;
		memmove(model + at, model + at + 1, (--model_count - at) * sizeof(*model));
		return true;
	}
	return false;
}

static void check_names(struct dv_node *n)
{
	char name[DV_NAME_MAX + 1];
	struct dv_node *in;
	for (unsigned at = 0; at < model_count; at++) {
		CHECK_EQ(dv_node_name(&store, n, at, &in, name, NULL), 0);
		CHECK_STR(name, name_of(model[at]).text);
		dv_node_unref(&store, in);
	}
	CHECK_EQ(dv_node_name(&store, n, model_count, &in, name, NULL), -ESTALE);
	struct dv_name_of some[5];
	for (size_t at = 0, count; at <= model_count; at += count) {
		count = dv_node_names(&store, n, at, some, DV_ARRAY_LEN(some));
		for (size_t i = 0; i < count; i++) {
			CHECK_STR(some[i].name, name_of(model[at + i]).text);
			dv_node_unref(&store, some[i].dir);
		}
		if (count < DV_ARRAY_LEN(some)) {
			CHECK_EQ(at + count, model_count);
			break;
		}
	}
}

static void test_names_come_and_go_in_any_order_and_are_told_last_first(void)
{
	begin();
	struct dv_node *n = new_value(2);
	unsigned random = 1;
	model_count = 0;
	model_add(0);
	for (unsigned step = 0; step < STEPS; step++) {
		random = random * 1103515245u + 12345u;
		unsigned i = random >> 16 & (NAMES - 1), to = random >> 22 & (NAMES - 1);
		if (!model_drop(i)) {
			CHECK_EQ(dv_node_add_name(&store, n, dir, name_of(i).text, 0), 0);
			model_add(i);
		} else if (to != i && step % 3 == 0) {
			CHECK_EQ(dv_node_move_name(&store, dir, name_of(i).text, dir,
						   name_of(to).text, 0),
				 0);
			model_drop(to); /* renamed over */
			model_add(to);
		} else {
			CHECK_EQ(dv_node_drop_name(&store, dir, name_of(i).text), model_count > 0);
		}
		check_names(n);
	}
	dv_node_unref(&store, n);
	end();
}

/* Whoever goes along the names meets this, but next to the one that is removed and at the ends. */
static void poison(struct dv_link **links, struct dv_link **kept, const struct dv_link *removed)
{
	struct dv_link *first = links[0]->node->links;
	for (unsigned i = 0; i < NAMES; i++) {
		kept[i] = links[i]->next;
		bool near = links[i] == removed || links[i] == first || kept[i] == removed ||
			    links[i] == removed->next || !kept[i] || kept[i]->in_node;
		if (!near)
			links[i]->next = (struct dv_link *)16;
	}
}

static void test_a_name_is_removed_without_a_look_at_the_others(void)
{
	begin();
	struct dv_node *n = new_value(2);
	struct dv_link *links[NAMES] = {dv_link_own(n)}, *kept[NAMES];
	for (unsigned i = 1; i < NAMES; i++) {
		links[i] = dv_link_new(dir, name_of(i).text, 0);
		dv_link_chain(n, links[i]);
	}
	for (unsigned i = 1; i < NAMES; i++) {
		struct dv_link *l = links[i];
		poison(links, kept, l);
		dv_link_unchain(l);
		for (unsigned k = 0; k < NAMES; k++)
			if (links[k]->next == (struct dv_link *)16)
				links[k]->next = kept[k];
		dv_link_chain(n, l); /* the first from now on */
		CHECK(n->links == l);
		unsigned count = 0;
		for (struct dv_link *at = n->links; at; at = at->next)
			count++;
		CHECK_EQ(count, NAMES);
	}
	poison(links, kept, links[0]);
	CHECK_EQ(dv_node_drop_name(&store, dir, "n0"), true);
	for (unsigned k = 1; k < NAMES; k++) {
		if (links[k]->next == (struct dv_link *)16)
			links[k]->next = kept[k];
		dv_link_unchain(links[k]);
		dv_link_free(links[k]);
	}
	CHECK(n->links == NULL);
	dv_node_unref(&store, n);
	end();
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_names_come_and_go_in_any_order_and_are_told_last_first),
		CHECK_TEST(test_a_name_is_removed_without_a_look_at_the_others),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
