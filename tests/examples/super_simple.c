/* SPDX-License-Identifier: MIT */
/*
 * super_simple.c - diskv's example of that name: a key is written, read, erased. The transform puts all
 * keys into one folder.
 */
#include <diskvfs.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct dvfs_options o;
	struct dvfs *d;
	char why[256], text[256];
	const char *key = "alpha";
	void *value;
	size_t len;
	int e;

	if (argc != 2)
		errx(1, "usage: super_simple FOLDER");
	dvfs_options_init(&o, sizeof(o));
	o.create = 1;
	o.transform = "flat";
	o.cache_bytes = 1024 * 1024;
	if (dvfs_open(argv[1], &o, &d, why, sizeof(why)) < 0)
		errx(1, "%s", why);

	e = dvfs_write(d, key, "123", 3, 0);
	if (e < 0)
		errx(1, "%s", dvfs_explain(d, key, e, text, sizeof(text)));
	e = dvfs_read(d, key, &value, &len);
	if (e < 0)
		errx(1, "%s", dvfs_explain(d, key, e, text, sizeof(text)));
	printf("%.*s\n", (int)len, (char *)value);
	free(value);
	e = dvfs_erase(d, key);
	if (e < 0)
		errx(1, "%s", dvfs_explain(d, key, e, text, sizeof(text)));
	return dvfs_close(&d) < 0;
}
