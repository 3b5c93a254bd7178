/* SPDX-License-Identifier: MIT */
/*
 * act_names.c - names and directories.
 */
#include "tests/mount/exerciser/exerciser.h"

#include <dirent.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#define LIST_MAX 8192

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The type belongs to the name, where it is told. */
static char *entry_text(const struct dirent *e)
{
	char *text = malloc(strlen(e->d_name) + 8);

	if (!text)
		ex_fail("memory", "a listing");
	sprintf(text, "%s/%u", e->d_name, e->d_type == DT_UNKNOWN ? 0u : e->d_type);
	return text;
}

static long sum_names(char **list, size_t count, uint64_t *sum)
{
	qsort(list, count, sizeof(*list), by_name);
	for (size_t i = 0; i < count; i++) {
		*sum = *sum * 31 + ex_sum(list[i], strlen(list[i]));
		free(list[i]);
	}
	return (long)count;
}

/* Goes back to where it was after a few names, and reads the rest again. */
static long read_names(DIR *d, bool twice, uint64_t *sum)
{
	static char *list[2 * LIST_MAX];
	size_t count = 0, first = 3;
	long place = -1;

	for (struct dirent *e; count < LIST_MAX && (e = readdir(d));) {
		list[count++] = entry_text(e);
		if (twice && count == first)
			place = telldir(d);
	}
	if (place < 0)
		return sum_names(list, count, sum);
	size_t all = count;
	seekdir(d, place);
	for (struct dirent *e; count < 2 * LIST_MAX && (e = readdir(d));)
		list[count++] = entry_text(e);
	if (count - all != all - first)
		ex_fail_values("names after seekdir", ".", (long long)(count - all),
			       (long long)(all - first));
	while (count > all)
		free(list[--count]);
	return sum_names(list, count, sum);
}

long ex_list(int dir, uint64_t *sum)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	long n;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	n = read_names(d, false, sum);
	closedir(d);
	return n;
}

static long list_path(const struct ex_step *s, const char *path, uint64_t *sum)
{
	DIR *d = opendir(path);
	long n;

	if (!d)
		return -1;
	n = read_names(d, s->flags & 1, sum);
	closedir(d);
	return n;
}

static long make_node(const struct ex_step *s, const char *path)
{
	static const mode_t types[] = {S_IFIFO, S_IFREG, S_IFSOCK, S_IFCHR,
				       S_IFBLK, S_IFREG, S_IFDIR,  0};
	mode_t type = types[s->flags & 7];
	bool device = type == S_IFCHR || type == S_IFBLK;

	return mknod(path, type | s->mode, device ? makedev(1, 3) : 0);
}

/* No target leads out of the base, nor to it, for paths go on with "..": modes of what it leads to are
 * changed. */
static long make_symlink(const struct ex_step *s, const char *path)
{
	static const char *const targets[] = {"a",  "d.zst", "d/a.zst", "no such", "d/.",
					      "d/", "c",     "d",	"\xff\n"};
	char longest[PATH_MAX];
	uint64_t which = s->fill >> 4 & 15;

	if (which < sizeof(targets) / sizeof(*targets))
		return symlink(targets[which], path);
	if (which == 15)
		return symlink("", path);
	memset(longest, 't', sizeof(longest));
	longest[which & 1 ? PATH_MAX - 1 : 3000] = '\0';
	return symlink(longest, path);
}

static long read_target(const struct ex_step *s, const char *path, uint64_t *sum)
{
	ssize_t n = readlink(path, ex.data, s->len < PATH_MAX ? s->len : PATH_MAX);

	if (n > 0)
		*sum = ex_sum(ex.data, (size_t)n);
	return n;
}

static long tell_space(const char *path, uint64_t *sum)
{
	struct statvfs st;

	if (statvfs(path, &st))
		return -1;
	if (st.f_bavail > st.f_bfree || st.f_bfree > st.f_blocks || st.f_frsize == 0)
		ex_fail("statvfs", path);
	*sum = (uint64_t)st.f_blocks * st.f_frsize ^ st.f_namemax << 1;
	return 0;
}

static unsigned rename_flags(const struct ex_step *s)
{
	return s->flags;
}

long ex_act_names(const struct ex_step *s, int side, uint64_t *sum)
{
	char a[EX_PATH_BYTES], b[EX_PATH_BYTES];
	const int *fds = ex.side[side].fds;

	ex_path(s->a, a);
	ex_path(s->b, b);
	switch (s->kind) {
	case EX_UNLINK:
		return unlink(a);
	case EX_UNLINKAT:
		return unlinkat(fds[s->slot], b, s->flags & 1 ? AT_REMOVEDIR : 0);
	case EX_MKDIR:
		return mkdir(a, s->mode);
	case EX_RMDIR:
		return rmdir(a);
	case EX_RENAME:
		return renameat2(AT_FDCWD, a, AT_FDCWD, b, rename_flags(s));
	case EX_RENAMEAT:
		return renameat2(fds[s->slot], a, fds[s->slot2], b, rename_flags(s));
	case EX_LINK:
		return linkat(AT_FDCWD, a, AT_FDCWD, b, s->flags & 1 ? AT_SYMLINK_FOLLOW : 0);
	case EX_LINK_FD:
		return linkat(fds[s->slot], "", AT_FDCWD, b, AT_EMPTY_PATH);
	case EX_SYMLINK:
		return make_symlink(s, a);
	case EX_READLINK:
		return read_target(s, a, sum);
	case EX_MKNOD:
		return make_node(s, a);
	case EX_LIST:
		return list_path(s, a, sum);
	case EX_ACCESS:
		return faccessat(AT_FDCWD, a, (int)s->flags, AT_EACCESS);
	default:
		return tell_space(a, sum);
	}
}
