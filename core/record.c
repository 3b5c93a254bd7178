/* SPDX-License-Identifier: MIT */
/* record.c - see record.h. */
#include "core/record.h"
#include "core/fnv.h"

#include <string.h>

#define MAGIC 0x31525644u /* "DVR1" */
#define HEAD  16u

static uint8_t *put(uint8_t *at, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(v >> (8 * i));
	return at + bytes;
}

static uint64_t get(const uint8_t **at, unsigned bytes)
{
	uint64_t v = 0;
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)(*at)[i] << (8 * i);
	*at += bytes;
	return v;
}

static uint8_t *put_time(uint8_t *at, int64_t ns)
{
	struct timespec t = dv_time_of_ns(ns);
	at = put(at, (uint64_t)t.tv_sec, 8);
	at = put(at, (uint64_t)t.tv_nsec, 4);
	return put(at, 0, 4);
}

static int64_t get_time(const uint8_t **at)
{
	struct timespec t = {.tv_sec = (time_t)get(at, 8)};
	t.tv_nsec = (long)get(at, 4);
	get(at, 4);
	return dv_time_ns(t);
}

static uint8_t *put_ident(uint8_t *at, const struct dv_ident *id)
{
	at = put(at, id->dev, 8);
	at = put(at, id->ino, 8);
	return put_time(at, id->btime_ns);
}

static void get_ident(const uint8_t **at, struct dv_ident *id)
{
	id->dev = get(at, 8);
	id->ino = get(at, 8);
	id->btime_ns = get_time(at);
}

size_t dv_record_bytes(const struct dv_record *r)
{
	return DV_RECORD_FIXED + r->path_len;
}

void dv_record_encode(const struct dv_record *r, uint8_t *out)
{
	uint8_t *at = out + HEAD;
	at = put(at, r->id, 8);
	at = put(at, r->type, 1);
	at = put(at, r->flags, 1);
	at = put(at, 0, 2);
	at = put(at, r->path_len, 4);
	at = put_ident(at, &r->raw);
	at = put(at, r->raw_version.size, 8);
	at = put_time(at, r->raw_version.mtime_ns);
	at = put_time(at, r->raw_version.ctime_ns);
	at = put_ident(at, &r->packed);
	at = put(at, r->st_ino, 8);
	at = put(at, r->stored_from, 8);
	memcpy(at, r->path, r->path_len);
	size_t body = (size_t)(at - (out + HEAD)) + r->path_len;
	uint8_t *head = put(out, MAGIC, 4);
	head = put(head, body, 4);
	put(head, dv_fnv1a(DV_FNV1A, out + HEAD, body), 8);
}

size_t dv_record_decode(const uint8_t *bytes, size_t len, struct dv_record *out)
{
	if (len < DV_RECORD_FIXED)
		return 0;
	const uint8_t *at = bytes;
	if (get(&at, 4) != MAGIC)
		return 0;
	size_t body = get(&at, 4);
	uint64_t sum = get(&at, 8);
	if (body < DV_RECORD_FIXED - HEAD || body > len - HEAD ||
	    dv_fnv1a(DV_FNV1A, at, body) != sum)
		return 0;
	*out = (struct dv_record){.id = get(&at, 8)};
	out->type = (uint8_t)get(&at, 1);
	out->flags = (uint8_t)get(&at, 1);
	get(&at, 2);
	out->path_len = get(&at, 4);
	get_ident(&at, &out->raw);
	out->raw_version.size = get(&at, 8);
	out->raw_version.mtime_ns = get_time(&at);
	out->raw_version.ctime_ns = get_time(&at);
	get_ident(&at, &out->packed);
	out->st_ino = get(&at, 8);
	out->stored_from = get(&at, 8);
	out->path = (const char *)at;
	if (out->path_len != body - (DV_RECORD_FIXED - HEAD) || out->path_len > DV_RECORD_PATH_MAX)
		return 0;
	return HEAD + body;
}

bool dv_ident_equal(const struct dv_ident *a, const struct dv_ident *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->btime_ns == b->btime_ns;
}

bool dv_ident_same_file(const struct dv_ident *a, const struct dv_ident *b)
{
	return a->ino == b->ino && a->btime_ns == b->btime_ns;
}

bool dv_version_equal(const struct dv_version *a, const struct dv_version *b)
{
	return a->size == b->size && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}
