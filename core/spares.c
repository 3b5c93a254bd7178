/* SPDX-License-Identifier: MIT */
/* spares.c - see spares.h. The oldest block gives way to a new one, so other sizes soon do. */
#include "core/spares.h"

#include <stdlib.h>
#include <string.h>

void dv_spares_init(struct dv_spares *s)
{
	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL); /* can not fail on Linux with default attributes */
}

void dv_spares_release(struct dv_spares *s)
{
	for (unsigned i = 0; i < DV_SPARES_MAX; i++)
		free(s->blocks[i]);
	pthread_mutex_destroy(&s->lock);
}

void *dv_spares_get(struct dv_spares *s, size_t len)
{
	void *block = NULL;

	if (len < DV_SPARE_BYTES_MIN || len > DV_SPARE_BYTES_MAX)
		return malloc(len);
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < DV_SPARES_MAX && !block; i++) {
		if (s->lens[i] != len)
			continue;
		block = s->blocks[i];
		s->blocks[i] = NULL;
		s->lens[i] = 0;
	}
	pthread_mutex_unlock(&s->lock);
	return block ? block : malloc(len);
}

void dv_spares_put(struct dv_spares *s, void *block, size_t len)
{
	void *old = block;

	if (block && len >= DV_SPARE_BYTES_MIN && len <= DV_SPARE_BYTES_MAX) {
		pthread_mutex_lock(&s->lock);
		unsigned place = s->next;
		for (unsigned i = 0; i < DV_SPARES_MAX; i++)
			if (!s->lens[i])
				place = i;
		old = s->blocks[place];
		s->blocks[place] = block;
		s->lens[place] = len;
		s->next = (place + 1) % DV_SPARES_MAX;
		pthread_mutex_unlock(&s->lock);
	}
	free(old);
}
