/* SPDX-License-Identifier: MIT */
/*
 * steps.c - the kinds of steps, and a step as a line of text.
 */
#include "tests/mount/exerciser/exerciser.h"

#include <inttypes.h>
#include <stddef.h>

#define DEEP_LEVELS 15 /* of 255 bytes: a name of 255 in them makes PATH_MAX - 1 */

/* Weights: rare calls often, those of the whole mount seldom, since they take long. */
const struct ex_kind_info ex_kinds[EX_KINDS] = {
	[EX_OPEN] = {"open", 2200, "asfmu"},
	[EX_OPENAT] = {"openat", 200, "bstfmu"},
	[EX_CLOSE] = {"close", 250, "s"},
	[EX_READ] = {"read", 200, "sl"},
	[EX_PREAD] = {"pread", 250, "sol"},
	[EX_WRITE] = {"write", 500, "sld"},
	[EX_PWRITE] = {"pwrite", 900, "sold"},
	[EX_WRITEV] = {"writev", 120, "sld"},
	[EX_LSEEK] = {"lseek", 300, "sfo"},
	[EX_FTRUNCATE] = {"ftruncate", 300, "so"},
	[EX_TRUNCATE] = {"truncate", 300, "ao"},
	[EX_FALLOCATE] = {"fallocate", 300, "sfol"},
	[EX_COPY] = {"copy_file_range", 200, "stol"},
	[EX_SENDFILE] = {"sendfile", 100, "stol"},
	[EX_SPLICE] = {"splice", 80, "stl"},
	[EX_STORE] = {"mmap-store", 150, "sold"},
	[EX_MAP] = {"map", 150, "stf"},
	[EX_MAP_WRITE] = {"map-write", 250, "told"},
	[EX_MSYNC] = {"msync", 80, "tf"},
	[EX_MUNMAP] = {"munmap", 80, "t"},
	[EX_FSYNC] = {"fsync", 150, "sf"},
	[EX_SETFL] = {"setfl", 60, "sf"},
	[EX_LOCK] = {"lock", 400, "sfol"},
	[EX_REPLACE] = {"replace", 400, "afld"},
	[EX_SAVE] = {"save", 250, "abfld"},
	[EX_STREAM] = {"stream", 10, "afold"},
	[EX_UNLINK] = {"unlink", 550, "a"},
	[EX_UNLINKAT] = {"unlinkat", 80, "bsf"},
	[EX_MKDIR] = {"mkdir", 350, "amu"},
	[EX_RMDIR] = {"rmdir", 150, "a"},
	[EX_RENAME] = {"rename", 1200, "abf"},
	[EX_RENAMEAT] = {"renameat", 120, "abstf"},
	[EX_LINK] = {"link", 500, "abf"},
	[EX_LINK_FD] = {"link-fd", 60, "bs"},
	[EX_SYMLINK] = {"symlink", 200, "ad"},
	[EX_READLINK] = {"readlink", 80, "al"},
	[EX_MKNOD] = {"mknod", 200, "afmu"},
	[EX_LIST] = {"list", 200, "af"},
	[EX_ACCESS] = {"access", 120, "af"},
	[EX_STATFS] = {"statfs", 30, "a"},
	[EX_CHMOD] = {"chmod", 250, "am"},
	[EX_FCHMOD] = {"fchmod", 100, "sm"},
	[EX_CHOWN] = {"chown", 250, "ai"},
	[EX_FCHOWN] = {"fchown", 100, "si"},
	[EX_UTIMENS] = {"utimens", 350, "afx"},
	[EX_FUTIMENS] = {"futimens", 100, "sx"},
	[EX_SETXATTR] = {"setxattr", 250, "atfld"},
	[EX_FSETXATTR] = {"fsetxattr", 80, "stfld"},
	[EX_GETXATTR] = {"getxattr", 80, "atl"},
	[EX_REMOVEXATTR] = {"removexattr", 100, "at"},
	[EX_LISTXATTR] = {"listxattr", 60, "al"},
	[EX_SETACL] = {"setacl", 200, "afd"},
	[EX_PAUSE] = {"pause", 20, "o"},
	[EX_PACK] = {"pack", 45, ""},
	[EX_UNPACK] = {"unpack", 15, ""},
	[EX_REMOUNT] = {"remount", 8, "d"},
	[EX_KILL] = {"kill", 8, "d"},
};

static void print_times(const struct ex_step *s, FILE *out)
{
	fprintf(out, " atime=%lld.%ld mtime=%lld.%ld", (long long)s->times[0].tv_sec,
		s->times[0].tv_nsec, (long long)s->times[1].tv_sec, s->times[1].tv_nsec);
}

static void print_field(const struct ex_step *s, char letter, FILE *out)
{
	switch (letter) {
	case 'a':
		fprintf(out, " a=%s", s->a);
		break;
	case 'b':
		fprintf(out, " b=%s", s->b);
		break;
	case 's':
		fprintf(out, " slot=%u", s->slot);
		break;
	case 't':
		fprintf(out, " slot2=%u", s->slot2);
		break;
	case 'f':
		fprintf(out, " flags=%#o", s->flags);
		break;
	case 'm':
		fprintf(out, " mode=%#o", s->mode);
		break;
	case 'u':
		fprintf(out, " umask=%#o", s->umask);
		break;
	case 'o':
		fprintf(out, " off=%" PRIu64, s->off);
		break;
	case 'l':
		fprintf(out, " len=%" PRIu64, s->len);
		break;
	case 'd':
		fprintf(out, " fill=%#" PRIx64, s->fill);
		break;
	case 'i':
		fprintf(out, " uid=%" PRId64 " gid=%" PRId64, s->uid, s->gid);
		break;
	default:
		print_times(s, out);
	}
}

void ex_step_print(const struct ex_step *s, FILE *out)
{
	fprintf(out, "%u %s proc=%u who=%u", s->number, ex_kinds[s->kind].name, s->proc, s->who);
	for (const char *f = ex_kinds[s->kind].fields; *f; f++)
		print_field(s, *f, out);
	fputc('\n', out);
}

static void parse_time(const char *value, struct timespec *out)
{
	char *end;

	out->tv_sec = (time_t)strtoll(value, &end, 10);
	out->tv_nsec = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
}

static void parse_word(const char *name, const char *value, struct ex_step *s)
{
	const struct {
		const char *name;
		unsigned *to;
	} small[] = {{"proc", &s->proc},   {"who", &s->who},	 {"slot", &s->slot},
		     {"slot2", &s->slot2}, {"flags", &s->flags}, {"mode", &s->mode},
		     {"umask", &s->umask}};
	const struct {
		const char *name;
		void *to;
	} large[] = {{"off", &s->off},
		     {"len", &s->len},
		     {"fill", &s->fill},
		     {"uid", &s->uid},
		     {"gid", &s->gid}};
	uint64_t n = (uint64_t)strtoll(value, NULL, 0);

	if (!strcmp(name, "fill"))
		n = strtoull(value, NULL, 0);
	for (size_t i = 0; i < sizeof(small) / sizeof(*small); i++)
		if (!strcmp(name, small[i].name))
			*small[i].to = (unsigned)n;
	for (size_t i = 0; i < sizeof(large) / sizeof(*large); i++)
		if (!strcmp(name, large[i].name))
			memcpy(large[i].to, &n, sizeof(n));
	if (!strcmp(name, "a"))
		snprintf(s->a, sizeof(s->a), "%s", value);
	if (!strcmp(name, "b"))
		snprintf(s->b, sizeof(s->b), "%s", value);
	if (!strcmp(name, "atime"))
		parse_time(value, &s->times[0]);
	if (!strcmp(name, "mtime"))
		parse_time(value, &s->times[1]);
}

bool ex_step_parse(const char *line, struct ex_step *out)
{
	char text[EX_LINE_BYTES], *rest = NULL, *word;
	int kind = 0;

	memset(out, 0, sizeof(*out));
	if (strlen(line) >= sizeof(text))
		return false;
	strcpy(text, line);
	word = strtok_r(text, " \n", &rest);
	if (!word || *word < '0' || *word > '9')
		return false;
	out->number = (unsigned)strtoul(word, NULL, 10);
	word = strtok_r(NULL, " \n", &rest);
	while (word && kind < EX_KINDS && strcmp(word, ex_kinds[kind].name) != 0)
		kind++;
	if (!word || kind == EX_KINDS)
		return false;
	out->kind = (enum ex_kind)kind;
	while ((word = strtok_r(NULL, " \n", &rest))) {
		char *value = strchr(word, '=');
		if (!value)
			return false;
		*value = '\0';
		parse_word(word, value + 1, out);
	}
	return out->proc < EX_ACTORS && out->who < EX_USERS && out->slot < EX_SLOTS;
}

/* ---- paths ---- */

static size_t put_component(const char *at, size_t len, char *out)
{
	size_t used = 0;
	char letter = 'n';
	unsigned long n = len > 1 && at[0] == '@' ? strtoul(at + 1, NULL, 10) : 0;

	if (n > 0 && n < 300) {
		memset(out, letter, n);
		return n;
	}
	for (size_t i = 0; i < len; i++) {
		unsigned byte;
		if (at[i] == '%' && i + 2 < len && sscanf(at + i + 1, "%2x", &byte) == 1) {
			out[used++] = (char)byte;
			i += 2;
		} else {
			out[used++] = at[i];
		}
	}
	return used;
}

void ex_path(const char *token, char out[EX_PATH_BYTES])
{
	size_t used = 0;

	for (const char *at = token;; at++) {
		size_t len = strcspn(at, "/");
		if (len == 5 && !memcmp(at, "@DEEP", 5)) {
			for (int i = 0; i < DEEP_LEVELS; i++) {
				memset(out + used, 'p', NAME_MAX);
				used += NAME_MAX;
				out[used++] = '/';
			}
			used--;
		} else {
			used += put_component(at, len, out + used);
		}
		at += len;
		if (*at == '\0')
			break;
		out[used++] = '/';
	}
	out[used] = '\0';
}

void ex_parent(const char *path, char out[EX_PATH_BYTES])
{
	size_t len = strlen(path);

	while (len > 0 && path[len - 1] == '/')
		len--;
	while (len > 0 && path[len - 1] != '/')
		len--;
	while (len > 0 && path[len - 1] == '/')
		len--;
	memcpy(out, path, len);
	out[len] = '\0';
	if (len == 0)
		strcpy(out, ".");
}
