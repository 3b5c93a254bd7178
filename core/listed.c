/* SPDX-License-Identifier: MIT */
/*
 * listed.c - how many listings of a directory are under way, and until when they count.
 */
#include "core/listed.h"

/* a listing with more to come is asked again within this time */
#define LISTED_CUT_NS 30000000000ll
/* and one that has given all, for its end, though most programs do not wait for that */
#define LISTED_NS 2000000000ll

void dv_listed_begin(struct dv_node *dir, int64_t cookie)
{
	int64_t now = dv_now_ns();
	if (cookie == 0) {
		if (atomic_load(&dir->listed_until_ns) < now) /* those before were given up */
			atomic_store(&dir->listers, 0);
		atomic_fetch_add(&dir->listers, 1);
		atomic_store(&dir->listed_end, 0);
	}
	atomic_store(&dir->listed_until_ns, now + LISTED_CUT_NS);
}

void dv_listed_pause(struct dv_node *dir, int64_t last, bool cut)
{
	if (cut)
		return;
	unsigned others = atomic_load(&dir->listers);
	if (last)
		atomic_store(&dir->listed_end, last);
	else if (others > 0)
		others = atomic_fetch_sub(&dir->listers, 1) - 1;
	if (others <= (last != 0))
		atomic_store(&dir->listed_until_ns, last ? dv_now_ns() + LISTED_NS : 0);
}

void dv_store_list_undone(struct dv_node *dir)
{
	unsigned n = atomic_load(&dir->listers);
	while (n > 0 && !atomic_compare_exchange_weak(&dir->listers, &n, n - 1))
		;
	if (n != 1)
		return;
	atomic_store(&dir->listed_until_ns, 0); /* it was the only one */
	if (atomic_load(&dir->listers) > 0)	/* another has begun meanwhile */
		atomic_store(&dir->listed_until_ns, dv_now_ns() + LISTED_CUT_NS);
}
