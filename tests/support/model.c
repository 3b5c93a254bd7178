/* SPDX-License-Identifier: MIT */
/* model.c - see model.h. */
#include "tests/support/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

struct model_bytes *model_bytes_new(size_t len)
{
	struct model_bytes *b = must(calloc(1, sizeof(*b) + len));
	b->refs = 1;
	b->len = len;
	return b;
}

struct model_bytes *model_bytes_ref(struct model_bytes *b)
{
	if (b)
		b->refs++;
	return b;
}

void model_bytes_unref(struct model_bytes *b)
{
	if (b && --b->refs == 0)
		free(b);
}

void model_release(struct model *m)
{
	for (size_t k = 0; k < m->count; k++) {
		for (size_t i = 0; i < m->keys[k].count; i++)
			model_bytes_unref(m->keys[k].states[i].bytes);
		free(m->keys[k].states);
	}
	*m = (struct model){0};
}

size_t model_key(struct model *m, const char *path)
{
	for (size_t k = 0; k < m->count; k++)
		if (!strcmp(m->keys[k].path, path))
			return k;
	if (m->count == MODEL_KEYS || strlen(path) >= MODEL_PATH)
		abort();
	struct model_key *key = &m->keys[m->count];
	strcpy(key->path, path);
	key->group = ++m->groups;
	m->count++;
	model_push(m, m->count - 1, NULL, true);
	return m->count - 1;
}

struct model_bytes *model_now(const struct model *m, size_t key)
{
	const struct model_key *k = &m->keys[key];
	return k->states[k->count - 1].bytes;
}

static void push(struct model *m, struct model_key *k, struct model_bytes *bytes)
{
	if (k->count == k->room) {
		k->room = k->room ? k->room * 2 : 8;
		k->states = must(realloc(k->states, k->room * sizeof(*k->states)));
	}
	k->states[k->count++] = (struct model_state){
		.bytes = bytes,
		.segment = k->segment,
		.file = k->file,
		.stamp = ++m->stamps,
	};
}

void model_push(struct model *m, size_t key, struct model_bytes *bytes, bool as_whole)
{
	struct model_key *k = &m->keys[key];
	if (as_whole) {
		k->segment++;
		k->file = ++m->files;
	}
	push(m, k, bytes);
}

void model_push_over(struct model *m, size_t from, size_t to)
{
	struct model_key *b = &m->keys[to];
	b->segment++;
	b->file = m->keys[from].file;
	push(m, b, model_bytes_ref(model_now(m, from)));
}

/* Forgets states from..to-1. Numbers move only where they are the first ones. */
static void forget(struct model_key *k, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		model_bytes_unref(k->states[i].bytes);
	memmove(k->states + from, k->states + to, (k->count - to) * sizeof(*k->states));
	k->count -= to - from;
	if (from == 0)
		k->base += to;
}

void model_settle(struct model *m, size_t key)
{
	struct model_key *k = &m->keys[key];
	forget(k, 0, k->count - 1);
}

static size_t segment_start(const struct model_key *k)
{
	size_t at = k->count;
	while (at > 0 && k->states[at - 1].segment == k->segment)
		at--;
	return at;
}

void model_commit(struct model *m, size_t key)
{
	struct model_key *k = &m->keys[key];
	if (!k->hidden)
		return;
	k->hidden = false;
	/* Numbers must not move: what came before the last one becomes the same as the last. */
	for (size_t i = segment_start(k); i + 1 < k->count; i++) {
		model_bytes_unref(k->states[i].bytes);
		k->states[i].bytes = model_bytes_ref(model_now(m, key));
	}
}

void model_drop_stage(struct model *m, size_t key)
{
	struct model_key *k = &m->keys[key];
	if (!k->hidden)
		return;
	k->hidden = false;
	size_t from = segment_start(k);
	if (from == 0) /* settled as a stage: kill -9 only */
		return;
	struct model_state before = k->states[from - 1];
	for (size_t i = from; i < k->count; i++) {
		model_bytes_unref(k->states[i].bytes);
		k->states[i].bytes = model_bytes_ref(before.bytes);
		k->states[i].segment = before.segment;
		k->states[i].file = before.file;
	}
	k->segment = before.segment;
	k->file = before.file;
}

void model_copy(struct model *m, size_t from, size_t to, bool all)
{
	struct model_key *a = &m->keys[from], *b = &m->keys[to];
	unsigned segment = 0;
	for (size_t i = all ? 0 : segment_start(a); i < a->count; i++) {
		if (segment != a->states[i].segment)
			b->segment++;
		segment = a->states[i].segment;
		b->file = a->states[i].file;
		push(m, b, model_bytes_ref(a->states[i].bytes));
	}
	b->hidden = a->hidden;
}

void model_exchange(struct model *m, size_t a, size_t b)
{
	struct model_key *ka = &m->keys[a], *kb = &m->keys[b];
	size_t from_a = segment_start(ka), count_a = ka->count - from_a;
	size_t from_b = segment_start(kb), count_b = kb->count - from_b;
	unsigned file = ka->file, group = ka->group;
	ka->file = kb->file;
	kb->file = file;
	ka->segment++;
	kb->segment++;
	for (size_t i = 0; i < count_b; i++)
		push(m, ka, model_bytes_ref(kb->states[from_b + i].bytes));
	for (size_t i = 0; i < count_a; i++)
		push(m, kb, model_bytes_ref(ka->states[from_a + i].bytes));
	ka->group = kb->group;
	kb->group = group;
}

size_t model_next(const struct model *m, size_t key)
{
	return m->keys[key].base + m->keys[key].count;
}

void model_pair(struct model *m, size_t a, size_t b, bool of_directory)
{
	if (m->pair_count == MODEL_PAIRS)
		abort();
	m->pairs[m->pair_count++] = (struct model_pair){
		.key = {a, b},
		.state = {model_next(m, a), model_next(m, b)},
		.of_directory = of_directory,
	};
}

/* ---- explaining ---- */

static bool sector_equal(const struct model_bytes *b, const struct model_seen *seen, size_t off,
			 size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t want = off + i < b->len ? b->data[off + i] : 0;
		if (seen->data[off + i] != want)
			return false;
	}
	return true;
}

static bool is_zero(const struct model_seen *seen, size_t off, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (seen->data[off + i])
			return false;
	return true;
}

/* Do all states of the segment agree about these bytes? Then they were synced long ago. */
static bool agreed(const struct model_state *s, size_t count, size_t off, size_t len)
{
	for (size_t i = 1; i < count; i++)
		for (size_t j = off; j < off + len; j++) {
			int a = j < s[0].bytes->len ? s[0].bytes->data[j] : -1;
			int b = j < s[i].bytes->len ? s[i].bytes->data[j] : -1;
			if (a != b)
				return false;
		}
	return true;
}

/* Is it a mix of the count states of one segment? */
static bool is_mix(const struct model_state *s, size_t count, const struct model_seen *seen)
{
	size_t least = SIZE_MAX, most = 0;
	for (size_t i = 0; i < count; i++) {
		least = s[i].bytes->len < least ? s[i].bytes->len : least;
		most = s[i].bytes->len > most ? s[i].bytes->len : most;
	}
	if (count < 2 || seen->len < least || seen->len > most)
		return false;
	for (size_t off = 0; off < seen->len; off += SECTOR) {
		size_t len = seen->len - off < SECTOR ? seen->len - off : SECTOR;
		bool ok = !agreed(s, count, off, len) && is_zero(seen, off, len);
		for (size_t i = 0; i < count && !ok; i++)
			ok = sector_equal(s[i].bytes, seen, off, len);
		if (!ok)
			return false;
	}
	return true;
}

static bool is_state(const struct model_state *s, const struct model_seen *seen)
{
	if (!s->bytes || !seen->exists)
		return !s->bytes && !seen->exists;
	return s->bytes->len == seen->len && !memcmp(s->bytes->data, seen->data, seen->len);
}

static void note(struct model_seen *seen, bool *found, size_t first, size_t last)
{
	if (!*found || first < seen->first)
		seen->first = first;
	if (!*found || last > seen->last)
		seen->last = last;
	*found = true;
}

/*
 * The states that the file of k's segment at..at+n-1 may be in: those, and what was written to it
 * later under other names. Frees nothing of them; the array is the caller's.
 */
static struct model_state *file_states(const struct model *m, const struct model_key *k, size_t at,
				       size_t n, size_t *count)
{
	const struct model_state *last = &k->states[at + n - 1];
	size_t room = n;
	for (size_t i = 0; i < m->count; i++)
		room += m->keys[i].count;
	struct model_state *all = must(malloc(room * sizeof(*all)));
	memcpy(all, k->states + at, n * sizeof(*all));
	*count = n;
	for (size_t i = 0; i < m->count; i++)
		for (size_t j = 0; j < m->keys[i].count; j++) {
			const struct model_state *s = &m->keys[i].states[j];
			if (s->bytes && s->file == last->file && s->stamp > last->stamp)
				all[(*count)++] = *s;
		}
	return all;
}

static bool explain_from(const struct model *m, size_t key, size_t from, bool hidden_too,
			 struct model_seen *seen)
{
	const struct model_key *k = &m->keys[key];
	size_t limit = k->hidden && !hidden_too ? segment_start(k) : k->count;
	bool found = false;
	for (size_t i = from; i < limit; i++)
		if (is_state(&k->states[i], seen))
			note(seen, &found, k->base + i, k->base + i);
	if (!seen->exists)
		return found;
	/* Where a state explains it already, only a file that was changed under another name may do
	 * so too: what looks like the later file may be the earlier one. */
	bool exact = found;
	for (size_t i = from, n; i < limit; i += n) {
		for (n = 1; i + n < limit && k->states[i + n].segment == k->states[i].segment;)
			n++;
		if (!k->states[i].bytes)
			continue;
		size_t count;
		struct model_state *all = file_states(m, k, i, n, &count);
		if ((!exact || count > n) && is_mix(all, count, seen))
			note(seen, &found, k->base + i, k->base + i + n - 1);
		free(all);
	}
	return found;
}

/* As a name beneath a directory whose renaming was lost. */
static bool explain_elsewhere(const struct model *m, size_t key, bool hidden_too,
			      struct model_seen *seen, unsigned depth)
{
	for (size_t i = 0; i < m->pair_count && depth < 8; i++) {
		const struct model_pair *p = &m->pairs[i];
		if (!p->of_directory || p->key[0] != key)
			continue;
		size_t base = m->keys[p->key[1]].base,
		       from = p->state[1] > base ? p->state[1] - base : 0;
		if (explain_from(m, p->key[1], from, hidden_too, seen) ||
		    explain_elsewhere(m, p->key[1], hidden_too, seen, depth + 1)) {
			seen->first = seen->last = p->state[0] - 1;
			return true;
		}
	}
	return false;
}

bool model_explain(const struct model *m, size_t key, bool hidden_too, struct model_seen *seen)
{
	return explain_from(m, key, 0, hidden_too, seen) ||
	       (!hidden_too && explain_elsewhere(m, key, hidden_too, seen, 0));
}

/* Is the key's value elsewhere, since the directory that it lay in was renamed? Then what is seen
 * of the key tells nothing of what was done to it before. */
static bool went_with_directory(const struct model *m, size_t key, const struct model_seen *seen)
{
	for (size_t i = 0; i < m->pair_count && !seen[key].exists; i++) {
		const struct model_pair *p = &m->pairs[i];
		if (p->of_directory && p->key[0] == key && seen[p->key[1]].exists)
			return true;
	}
	return false;
}

int model_torn_pair(const struct model *m, const struct model_seen *seen)
{
	for (size_t i = 0; i < m->pair_count; i++) {
		const struct model_pair *p = &m->pairs[i];
		if (!p->of_directory && (went_with_directory(m, p->key[0], seen) ||
					 went_with_directory(m, p->key[1], seen)))
			continue;
		const struct model_seen *a = &seen[p->key[0]], *b = &seen[p->key[1]];
		bool a_before = a->last < p->state[0], a_after = a->first >= p->state[0];
		bool b_before = b->last < p->state[1], b_after = b->first >= p->state[1];
		if ((a_before && b_after) || (a_after && b_before))
			return (int)i;
	}
	return -1;
}
