/* SPDX-License-Identifier: MIT */
/*
 * content_addressable.c - diskv's content-addressable store: the key of a value is the digest of its
 * bytes, its place split from that in blocks. All values are listed, with the beginning of each.
 */
#include <diskvfs.h>

#include <err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const data[] = {
	"I am the very model of a modern Major-General",
	"I've information vegetable, animal, and mineral",
	"I know the kings of England, and I quote the fights historical",
	"From Marathon to Waterloo, in order categorical",
	"I'm very well acquainted, too, with matters mathematical",
	"I understand equations, both the simple and quadratical",
	"About binomial theorem I'm teeming with a lot o' news",
	"With many cheerful facts about the square of the hypotenuse",
};

static void digest(const char *text, char out[41])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len;

	if (EVP_Digest(text, strlen(text), md, &len, EVP_sha1(), NULL) != 1)
		errx(1, "no memory for a digest");
	for (unsigned i = 0; i < len; i++)
		sprintf(out + (size_t)2 * i, "%02x", md[i]);
}

int main(int argc, char **argv)
{
	struct dvfs_options o;
	struct dvfs_iter *it;
	struct dvfs *d;
	char why[256], key[41], again[41];
	const char *next;
	unsigned count = 0;

	if (argc != 2)
		errx(1, "usage: content_addressable FOLDER");
	dvfs_options_init(&o, sizeof(o));
	o.create = 1;
	o.transform = "split:5"; /* the example's blocks */
	if (dvfs_open(argv[1], &o, &d, why, sizeof(why)) < 0)
		errx(1, "%s", why);
	for (size_t i = 0; i < sizeof(data) / sizeof(data[0]); i++) {
		digest(data[i], key);
		if (dvfs_write(d, key, data[i], strlen(data[i]), 0) < 0)
			errx(1, "%s can not be written", key);
	}
	if (dvfs_iter_open(d, NULL, &it) < 0)
		errx(1, "no keys");
	while (dvfs_iter_next(it, &next) == 1) {
		void *value;
		size_t len;

		if (dvfs_read(d, next, &value, &len) < 0)
			errx(1, "%s can not be read", next);
		digest(value, again);
		if (strcmp(next, again) != 0)
			errx(1, "%s is %s", next, again);
		printf("%s: '%.20s'\n", next, (char *)value);
		free(value);
		count++;
	}
	dvfs_iter_close(&it);
	if (dvfs_erase_all(d, NULL) < 0 || dvfs_close(&d) < 0)
		errx(1, "not all could be erased");
	return count != sizeof(data) / sizeof(data[0]);
}
