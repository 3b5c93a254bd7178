/* SPDX-License-Identifier: MIT */
/* node_links.c - the names of one node: see node_private.h. */
#include "core/node_private.h"

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

struct dv_link *dv_link_new(struct dv_node *dir, const char *name, uint8_t slot)
{
	size_t len = strlen(name);
	struct other_link *o = calloc(1, offsetof(struct other_link, link) + DV_LINK_BYTES(len));
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
