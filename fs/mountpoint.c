/* SPDX-License-Identifier: MIT */
/*
 * mountpoint.c - /proc/self/mountinfo and umount.
 *
 * mountinfo, one mount a line (proc(5)):
 *   36 35 98:0 /root /mountpoint rw,noatime optional... - type source options
 * with space, tab, newline and backslash written \040 \011 \012 \134.
 */
#include "fs/mountpoint.h"

#include "core/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void unescape(char *s)
{
	char *to = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

struct mountinfo {
	const char *point, *type, *source;
	unsigned major, minor;
};

/* line is taken apart, and lent to *out. */
static bool parse_line(char *line, struct mountinfo *out)
{
	char *rest, *fields[5], *save = NULL, *type, *source;

	rest = strstr(line, " - ");
	if (!rest)
		return false;
	*rest = '\0';
	for (size_t i = 0; i < DV_ARRAY_LEN(fields); i++) {
		fields[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!fields[i])
			return false;
	}
	if (sscanf(fields[2], "%u:%u", &out->major, &out->minor) != 2)
		return false;
	type = strtok_r(rest + 3, " ", &save);
	source = strtok_r(NULL, " ", &save);
	if (!type || !source)
		return false;
	unescape(fields[4]);
	unescape(source);
	out->point = fields[4];
	out->type = type;
	out->source = source;
	return true;
}

dv_err fs_mountpoint_find(const char *path, struct fs_mount *out)
{
	DV_AUTO_FREE char *line = NULL;
	size_t room = 0;
	dv_err err = -ENOENT;
	struct mountinfo info;
	FILE *f = fopen("/proc/self/mountinfo", "re");

	if (!f)
		return -errno;
	while (getline(&line, &room, f) >= 0) {
		if (!parse_line(line, &info) || strcmp(info.point, path) != 0)
			continue;
		snprintf(out->type, sizeof(out->type), "%s", info.type);
		snprintf(out->source, sizeof(out->source), "%s", info.source);
		out->major = info.major;
		out->minor = info.minor;
		err = 0; /* the last line is the topmost mount */
	}
	fclose(f);
	return err;
}

/* Does the process see the filesystem of m anywhere? */
static bool is_seen_by(const char *pid, const struct fs_mount *m, char path[PATH_MAX])
{
	DV_AUTO_FREE char *line = NULL;
	size_t room = 0;
	bool found = false;
	struct mountinfo info;
	char name[64];
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%.20s/mountinfo", pid);
	f = fopen(name, "re");
	if (!f)
		return false;
	while (!found && getline(&line, &room, f) >= 0)
		if (parse_line(line, &info) && info.major == m->major && info.minor == m->minor &&
		    !strcmp(info.type, m->type) && !strcmp(info.source, m->source)) {
			snprintf(path, PATH_MAX, "%s", info.point);
			found = true;
		}
	fclose(f);
	return found;
}

bool fs_mountpoint_elsewhere(const struct fs_mount *m, pid_t *pid, char path[PATH_MAX])
{
	DIR *proc;
	struct dirent *e;
	bool found = false;

	*pid = 0;
	if (is_seen_by("self", m, path))
		return true;
	proc = opendir("/proc");
	while (proc && !found && (e = readdir(proc)))
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && is_seen_by(e->d_name, m, path)) {
			*pid = (pid_t)strtol(e->d_name, NULL, 10);
			found = true;
		}
	if (proc)
		closedir(proc);
	return found;
}

dv_err fs_mountpoint_resolve(const char *path, char out[PATH_MAX])
{
	DV_AUTO_FREE char *for_dir = NULL;
	DV_AUTO_FREE char *for_base = NULL;
	DV_AUTO_FREE char *dir = NULL;
	const char *base;
	int len;

	if (realpath(path, out))
		return 0;
	if (errno != ENOTCONN && errno != ECONNABORTED && errno != EACCES)
		return -errno;
	for_dir = strdup(path);
	for_base = strdup(path);
	if (!for_dir || !for_base)
		return -ENOMEM;
	dir = realpath(dirname(for_dir), NULL);
	if (!dir)
		return -errno;
	base = basename(for_base);
	if (!strcmp(base, ".") || !strcmp(base, "..") || !strcmp(base, "/"))
		return -ENOTCONN;
	len = snprintf(out, PATH_MAX, "%s%s%s", dir, strcmp(dir, "/") ? "/" : "", base);
	return len < 0 || len >= PATH_MAX ? -ENAMETOOLONG : 0;
}

bool fs_mountpoint_is_stale(const char *path)
{
	struct statx stx;

	/* The kernel answers stat(2) of a dead mount from its cache for a while. */
	return statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT, STATX_MODE, &stx) < 0 &&
	       (errno == ENOTCONN || errno == ECONNABORTED);
}

static dv_err run_fusermount(const char *path, bool lazy)
{
	const char *argv[] = {"fusermount3", lazy ? "-uqz" : "-uq", "--", path, NULL};
	pid_t pid;
	int status, err;

	err = posix_spawnp(&pid, argv[0], NULL, NULL, (char **)argv, environ);
	if (err)
		return -err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	/* fusermount3 tells only that it failed; being in use is by far the usual reason. */
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

dv_err fs_mountpoint_unmount(const char *path, bool lazy)
{
	if (geteuid() != 0)
		return run_fusermount(path, lazy);
	return umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) < 0 ? -errno : 0;
}

dv_err fs_mountpoint_remount(const char *path, bool read_only)
{
	static const struct {
		unsigned long st, ms;
	} kept[] = {
		{ST_NOSUID, MS_NOSUID},	    {ST_NODEV, MS_NODEV},
		{ST_NOEXEC, MS_NOEXEC},	    {ST_NOATIME, MS_NOATIME},
		{ST_RELATIME, MS_RELATIME}, {ST_SYNCHRONOUS, MS_SYNCHRONOUS},
		{ST_MANDLOCK, MS_MANDLOCK},
	};
	unsigned long flags = MS_REMOUNT | (read_only ? MS_RDONLY : 0);
	struct statvfs st;

	if (statvfs(path, &st) < 0)
		return -errno;
	for (size_t i = 0; i < DV_ARRAY_LEN(kept); i++)
		if (st.f_flag & kept[i].st)
			flags |= kept[i].ms;
	return mount(NULL, path, NULL, flags, NULL) < 0 ? -errno : 0;
}

dv_err fs_mountpoint_read_ahead(const char *path, unsigned kib)
{
	DV_AUTO_FREE struct fs_mount *m = malloc(sizeof(*m));
	char file[64], text[16];
	int fd, len;
	dv_err err;

	if (!m)
		return -ENOMEM;
	err = fs_mountpoint_find(path, m);
	if (err < 0)
		return err;
	snprintf(file, sizeof(file), "/sys/class/bdi/%u:%u/read_ahead_kb", m->major, m->minor);
	fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = snprintf(text, sizeof(text), "%u", kib);
	err = write(fd, text, (size_t)len) < 0 ? -errno : 0;
	close(fd);
	return err;
}

bool fs_mountpoint_users_may_share(void)
{
	DV_AUTO_FREE char *line = NULL;
	size_t room = 0;
	bool may = false;
	FILE *f = fopen(FS_FUSE_CONF, "re");

	if (!f)
		return false;
	while (!may && getline(&line, &room, f) >= 0) {
		char *save = NULL, *word = strtok_r(line, " \t\n", &save);

		may = word && !strcmp(word, "user_allow_other");
	}
	fclose(f);
	return may;
}

bool fs_path_is_within(const char *inner, const char *outer)
{
	size_t len = strlen(outer);

	if (len == 1) /* "/" holds everything */
		return true;
	return !strncmp(inner, outer, len) && (inner[len] == '\0' || inner[len] == '/');
}
