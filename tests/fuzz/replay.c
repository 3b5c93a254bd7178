/* SPDX-License-Identifier: MIT */
/*
 * replay.c - runs each file named on the command line through a fuzz target: the driver of builds
 * without libFuzzer, and how kept finds are tested. The name is printed first, so that the last
 * one is the culprit of a crash.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define INPUT_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int run_file(const char *name)
{
	FILE *f = fopen(name, "rb");
	if (!f) {
		perror(name);
		return 1;
	}
	uint8_t *room = malloc(INPUT_MAX);
	size_t len = room ? fread(room, 1, INPUT_MAX, f) : 0;
	int failed = !room || ferror(f) || !feof(f);
	fclose(f);

	/* A block of the exact size: a sanitizer sees the first byte read behind it. */
	uint8_t *data = failed ? NULL : realloc(room, len ? len : 1);
	if (!data) {
		fprintf(stderr, "%s: can not be read, or larger than %u bytes\n", name, INPUT_MAX);
		free(room);
		return 1;
	}
	printf("%s: %zu bytes\n", name, len);
	fflush(stdout);
	LLVMFuzzerTestOneInput(data, len);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s FILE...\n", argv[0]);
		return 2;
	}
	int failed = 0;
	for (int i = 1; i < argc; i++)
		failed |= run_file(argv[i]);
	return failed;
}
