/* SPDX-License-Identifier: MIT */
/*
 * record.h - what an owner's log holds: pure encoding, no I/O.
 *
 *   record   u32 magic "DVR1" | u32 bytes of the body | u64 FNV-1a of the body | body
 *   body     u64 id | u8 type | u8 flags | u16 0 | u32 bytes of path | raw: ident, version
 *            packed: ident | u64 st_ino | u64 stored_from | path
 *   ident    u64 dev | u64 ino | i64 btime seconds | u32 btime nanoseconds | u32 0
 *   version  u64 size | i64 mtime s | u32 mtime ns | u32 0 | i64 ctime s | u32 ctime ns | u32 0
 *   all little endian
 *
 * A log is read from its start until the first record that is torn, cut off or damaged; what
 * follows was never relied on.
 */
#ifndef DV_RECORD_H
#define DV_RECORD_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Times are nanoseconds since 1970: nodes hold many. Outside of 1677 to 2262 they wrap, which is as
 * good to tell one from another. */
static inline int64_t dv_time_ns(struct timespec t)
{
	return (int64_t)((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec);
}

static inline struct timespec dv_time_of_ns(int64_t ns)
{
	int64_t rest = ns % 1000000000;
	rest += rest < 0 ? 1000000000 : 0;
	return (struct timespec){.tv_sec = (time_t)((ns - rest) / 1000000000),
				 .tv_nsec = (long)rest};
}

/* Which object of the backing filesystem: numbers are reused, birth times are not. */
struct dv_ident {
	uint64_t dev, ino;
	int64_t btime_ns;
};

/* Which state of its content. */
struct dv_version {
	uint64_t size;
	int64_t mtime_ns, ctime_ns;
};

enum dv_record_type {
	DV_RECORD_STAGE = 1, /* stage file "ID" holds newer bytes of path, whose object is `raw` or
				`packed` */
	DV_RECORD_SWAP,	     /* path has, or is getting, both forms: which one stays is in flags */
	DV_RECORD_COPY,	     /* stage file "ID" is to be copied into the object `packed` of path, in
				place */
	DV_RECORD_END,	     /* record ID is done */
	DV_RECORD_STREAM,    /* as STAGE; the newer bytes are in two parts (tail.h): frames in file
				"ID.z", the rest in segments of ID */
	DV_RECORD_TAIL,	     /* bytes are added to the object `packed` of path, in place: from
				stored byte `stored_from` on, which is plain byte raw_version.size,
				it is made of whole frames as far as they go, and of segments of ID
				behind them. `raw` is void; raw.ino is a checksum of what lies
				before stored_from */
	DV_RECORD_VIA, /* file "ID" is what was found under path's raw or packed name where the
				object `raw` or `packed` was to be unlinked; another one goes back */
};

/* A record that is written again, with the same id, takes the place of the earlier one (its
 * directory was renamed). */

enum {
	DV_RECORD_OLD_PACKED = 1, /* STAGE: the object it replaces is packed */
	DV_RECORD_PACKED_WINS =
		2, /* SWAP: the packed form stays, if raw's version is still as recorded where.. */
	DV_RECORD_CHECK_RAW = 4, /* ..this is set too; else the raw form stays */
	DV_RECORD_IN_PLACE =
		8, /* STAGE: is copied over the object, which keeps its owner and mode */
	DV_RECORD_DURABLE = 16, /* STAGE: its bytes are on the disk: its owner ended in good order,
				   and could not commit it */
	DV_RECORD_RAW_IS_HEAD =
		32, /* SWAP, STREAM: raw is the beginning of what is packed. Changed by others it
				       stays, and the packed form is put aside, but for a power cut,
				       which may have changed it too */
};

struct dv_record {
	uint64_t id;
	uint8_t type, flags;
	struct dv_ident raw, packed;
	struct dv_version
		raw_version; /* STAGE, STREAM over a raw object: its own, when they began */
	uint64_t st_ino;
	uint64_t stored_from; /* TAIL; else 0 */
	const char *path;     /* borrowed; key path in the mount; not NUL terminated when decoded */
	size_t path_len;
};

#define DV_RECORD_PATH_MAX 65535u
#define DV_RECORD_FIXED	   152u /* bytes without the path */

size_t dv_record_bytes(const struct dv_record *r);
/* out: dv_record_bytes(r). */
void dv_record_encode(const struct dv_record *r, uint8_t *out);
/* -> bytes consumed; 0: no whole, undamaged record begins here. out->path points into bytes. */
size_t dv_record_decode(const uint8_t *bytes, size_t len, struct dv_record *out);

bool dv_ident_equal(const struct dv_ident *a, const struct dv_ident *b);
/* Whatever the device number, which changes over a reboot. */
bool dv_ident_same_file(const struct dv_ident *a, const struct dv_ident *b);
bool dv_version_equal(const struct dv_version *a, const struct dv_version *b);

#endif
