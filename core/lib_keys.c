/* SPDX-License-Identifier: MIT */
/* lib_keys.c - which keys there are: iterators. See diskvfs.h; the walks are in lib_walk.c and
 * lib_sorted.c. */
#include "core/lib.h"

#include "core/cleanup.h"

#include <stdlib.h>
#include <string.h>

struct dvfs_iter {
	struct dvfs *s;
	char *prefix, *after;
	uint64_t left; /* of the limit */
	bool limited;
	struct lib_walk *walk; /* one of the two; NULL both: it has ended */
	struct lib_sorted *sorted;
};

int dvfs_keys_in_order(struct dvfs *s)
{
	return !lib_may(s) && lib_in_order(s);
}

int dvfs_iter_open(struct dvfs *s, const struct dvfs_range *range, struct dvfs_iter **out)
{
	static const struct dvfs_range all;
	if (!out)
		return -EINVAL;
	*out = NULL;
	if (!range)
		range = &all;
	if (range->unsorted && (range->sorted || (range->after && range->after[0])))
		return -EINVAL;
	dv_err err = lib_enter(s);
	if (err)
		return err;
	struct dvfs_iter *it = calloc(1, sizeof(*it));
	if (!it) {
		lib_leave(s);
		return -ENOMEM;
	}
	it->s = s;
	it->limited = range->limit;
	it->left = range->limit;
	it->prefix = strdup(range->prefix ? range->prefix : "");
	it->after = strdup(range->after ? range->after : "");
	err = it->prefix && it->after ? 0 : -ENOMEM;
	if (!err && !lib_in_order(s) && (range->sorted || it->after[0]))
		err = lib_sorted_open(s, it->prefix, it->after, LIB_WINDOW, &it->sorted);
	else if (!err)
		err = lib_walk_open(s, it->prefix, it->after, range->unsorted, &it->walk);
	if (err)
		dvfs_iter_close(&it);
	*out = it;
	return err;
}

int dvfs_iter_next(struct dvfs_iter *it, const char **key)
{
	const char *next = NULL;
	if (!it || !key)
		return -EINVAL;
	*key = NULL;
	if (it->limited && !it->left)
		return 0;
	dv_err err = lib_may(it->s);
	if (err)
		return err;
	err = it->sorted ? lib_sorted_next(it->sorted, &next) : lib_walk_next(it->walk, &next);
	if (err || !next)
		return err;
	it->left -= it->limited;
	*key = next;
	return 1;
}

void dvfs_iter_close(struct dvfs_iter **iter)
{
	struct dvfs_iter *it = iter ? *iter : NULL;
	if (!it || lib_may(it->s) == -EDEADLK)
		return;
	*iter = NULL;
	if (lib_may(it->s))
		return;
	lib_walk_close(&it->walk);
	lib_sorted_close(&it->sorted);
	lib_leave(it->s);
	free(it->prefix);
	free(it->after);
	free(it);
}

int dvfs_keys(struct dvfs *s, const struct dvfs_range *range,
	      int (*each)(void *ctx, const char *key), void *ctx)
{
	struct dvfs_iter *it = NULL;
	const char *key;
	if (!each)
		return -EINVAL;
	int got = dvfs_iter_open(s, range, &it);
	while (!got && (got = dvfs_iter_next(it, &key)) == 1)
		got = each(ctx, key);
	dvfs_iter_close(&it);
	return got;
}
