/* SPDX-License-Identifier: MIT */
/* lib_codec.c - a value's bytes on their way through the program's codec. See diskvfs.h. */
#include "core/lib.h"

#include <stdlib.h>

#define PIECE 16384u /* at a time, so that what comes of it is bounded */

struct lib_filter {
	const struct dvfs_codec *codec; /* of the store */
	void *stream;
};

dv_err lib_filter_new(const struct dvfs *s, bool decode, struct lib_filter **out)
{
	struct lib_filter *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->codec = &s->codec;
	f->stream = s->codec.begin(s->codec.self, decode);
	if (!f->stream) {
		free(f);
		return -ENOMEM;
	}
	*out = f;
	return 0;
}

void lib_filter_free(struct lib_filter **filter)
{
	struct lib_filter *f = *filter;
	if (!f)
		return;
	f->codec->end(f->stream);
	free(f);
	*filter = NULL;
}

dv_err lib_filter_run(struct lib_filter *f, const void *buf, size_t len, bool end, dvfs_sink *sink,
		      void *ctx)
{
	const char *at = buf;
	do {
		size_t part = len < PIECE ? len : PIECE;
		int err = f->codec->run(f->stream, at, part, end && part == len, sink, ctx);
		if (err)
			return err < 0 ? err : -EIO;
		at = part ? at + part : at;
		len -= part;
	} while (len);
	return 0;
}
