// SPDX-License-Identifier: MIT
// header.cc - a C++ program includes the header and calls the library.
#include <diskvfs.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

int main(int argc, char **argv)
{
	dvfs_options o;
	dvfs *d = 0;
	char why[256];
	void *value = 0;
	size_t len = 0;

	if (argc != 2)
		return 1;
	dvfs_options_init(&o, sizeof(o));
	o.create = 1;
	if (dvfs_open(argv[1], &o, &d, why, sizeof(why)) < 0) {
		std::fprintf(stderr, "%s\n", why);
		return 1;
	}
	int bad = dvfs_write(d, "c++", "98", 2, 0) < 0 || dvfs_read(d, "c++", &value, &len) < 0 ||
		  len != 2 || std::memcmp(value, "98", 2) != 0;
	std::free(value);
	return dvfs_close(&d) < 0 || bad;
}
