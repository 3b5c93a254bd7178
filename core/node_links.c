/* SPDX-License-Identifier: MIT */
/* node_links.c - the names of one node: see node_private.h. */
#include "core/node_private.h"

#include "core/cleanup.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct other_link {
	struct dv_link *back; /* of the first: to the last of the others */
	struct dv_link link;
};

static struct dv_link **back_of(struct dv_link *l)
{
	assert(!l->in_node);
	return &DV_TABLE_OWNER(l, struct other_link, link)->back;
}

void dv_link_name(struct dv_link *l, const char *name, size_t len)
{
	assert(len <= DV_NAME_MAX);
	l->name_len = (uint8_t)len;
	memcpy(l->name, name, len + 1);
}

#define OTHER_LINK_BYTES(name_len) (offsetof(struct other_link, link) + DV_LINK_BYTES(name_len))

/* Zeroed, for names of any length. */
static _Thread_local struct other_link *reserve[2];

dv_err dv_node_reserve_names(void)
{
	for (size_t i = 0; i < DV_ARRAY_LEN(reserve); i++)
		if (!reserve[i] && !(reserve[i] = calloc(1, OTHER_LINK_BYTES(DV_NAME_MAX))))
			return -ENOMEM;
	return 0;
}

void dv_node_release_names(void)
{
	for (size_t i = 0; i < DV_ARRAY_LEN(reserve); i++)
		free(dv_take_ptr(&reserve[i]));
}

struct dv_link *dv_link_new(struct dv_node *dir, const char *name, uint8_t slot)
{
	size_t len = strlen(name);
	struct other_link *o = calloc(1, OTHER_LINK_BYTES(len));
	for (size_t i = 0; !o && i < DV_ARRAY_LEN(reserve); i++)
		o = dv_take_ptr(&reserve[i]);
	if (!o)
		return NULL;
	o->link.slot = slot;
	o->link.dir = dir;
	dv_link_name(&o->link, name, len);
	return &o->link;
}

void dv_link_free(struct dv_link *l)
{
	if (l)
		free(DV_TABLE_OWNER(l, struct other_link, link));
}

void dv_link_chain(struct dv_node *n, struct dv_link *l)
{
	struct dv_link *first = n->links;
	assert(!first || !l->in_node);
	l->node = n;
	l->next = first;
	n->links = l;
	if (l->in_node)
		return;
	if (first && !first->in_node) {
		*back_of(l) = *back_of(first);
		*back_of(first) = l;
	} else {
		*back_of(l) = l;
	}
}

void dv_link_unchain(struct dv_link *l)
{
	struct dv_link *first = l->node->links, *next = l->next;
	if (l == first)
		l->node->links = next;
	else if (l->in_node)
		(*back_of(first))->next = next;
	else
		(*back_of(l))->next = next;
	if (l->in_node)
		return;
	if (next && !next->in_node)
		*back_of(next) = *back_of(l);
	else if (l != first) /* it was the last of the others */
		*back_of(first) = *back_of(l);
}
