/* SPDX-License-Identifier: MIT */
/*
 * act_attrs.c - modes, owners, times, extended attributes, ACLs.
 */
#include "tests/mount/exerciser/exerciser.h"

#include <sys/xattr.h>

#define VALUE_MAX 900 /* what is to fit beside others on ext4 */

static const char *attribute_name(unsigned which)
{
	static char longest[2][300];
	static const char *const names[] = {"user.x", "user.y", "user.diskvf", "trusted.t",
					    "security.t"};
	static const char *const wrong[] = {"user.", "system.x", "nodot", ""};

	if (which < 5)
		return names[which];
	for (int i = 0; i < 2; i++) { /* 255 bytes, and one too many */
		memset(longest[i], 'n', 255 + (size_t)i);
		memcpy(longest[i], "user.", 5);
	}
	return which == 5 ? longest[0] : which == 6 ? longest[1] : wrong[which & 3];
}

/* Slot numbers are too few to choose a name by; the other operands help. */
static const char *step_attribute(const struct ex_step *s)
{
	unsigned which = s->slot2;

	if (which == EX_SLOTS - 1)
		which = 4 + (unsigned)(s->len + s->flags) % 6;
	return attribute_name(which);
}

static size_t value_bytes(const struct ex_step *s)
{
	if (s->len == 140000)
		return 65537; /* past XATTR_SIZE_MAX */
	return s->len > VALUE_MAX ? s->len % VALUE_MAX : s->len;
}

long ex_sum_attributes(const char *path, uint64_t *sum)
{
	static char list[EX_LIST_BYTES], value[EX_LIST_BYTES];
	ssize_t len = llistxattr(path, list, sizeof(list));
	uint64_t all = 0;

	for (char *at = list; len > 0 && at < list + len; at += strlen(at) + 1) {
		ssize_t n = lgetxattr(path, at, value, sizeof(value));
		if (n < 0) /* those before it may be others on the other side */
			return -1;
		all += ex_sum(at, strlen(at)) * 31 + ex_sum(value, (size_t)n); /* in any order */
	}
	*sum += all;
	return len;
}

/* How much room is needed, or the names where the room is enough. */
static long list_attributes(const struct ex_step *s, const char *path, uint64_t *sum)
{
	static char list[EX_LIST_BYTES];

	if (s->len == 0)
		return llistxattr(path, NULL, 0);
	if (s->len < 4096)
		return llistxattr(path, list, s->len);
	return ex_sum_attributes(path, sum);
}

static long get_attribute(const struct ex_step *s, const char *path, uint64_t *sum)
{
	ssize_t n = lgetxattr(path, step_attribute(s), ex.data,
			      s->len < EX_DATA_BYTES ? s->len : EX_DATA_BYTES);

	if (n > 0 && s->len > 0)
		*sum = ex_sum(ex.data, (size_t)n);
	return n;
}

struct acl_entry {
	uint16_t tag, perm;
	uint32_t id;
} __attribute__((packed));

/* Mostly valid: user, one user, group, one group, mask, other. Else cut short, out of order, of
 * another version, or without a mask. */
static long set_acl(const struct ex_step *s, const char *path)
{
	static const uint32_t users[] = {1001, 1002, 1003, 1004};
	struct {
		uint32_t version;
		struct acl_entry e[6];
	} __attribute__((packed)) acl = {
		2,
		{{1, s->fill >> 8 & 7, ~0u},
		 {2, s->fill >> 12 & 7, users[s->fill >> 16 & 3]},
		 {4, s->fill >> 20 & 7, ~0u},
		 {8, s->fill >> 24 & 7, users[s->fill >> 28 & 3]},
		 {16, s->fill >> 32 & 7, ~0u},
		 {32, s->fill >> 36 & 7, ~0u}},
	};
	const char *name = s->flags & 1 ? "system.posix_acl_default" : "system.posix_acl_access";
	size_t size = sizeof(acl);

	switch (s->fill >> 40 & 15) {
	case 0:
		size = 4; /* removes it */
		break;
	case 1:
		size -= 5;
		break;
	case 2:
		acl.version = 3;
		break;
	case 3:
		acl.e[3].tag = 64;
		break;
	case 4: /* three entries: a mode */
		acl.e[1] = acl.e[2];
		acl.e[2] = acl.e[5];
		size = 4 + 3 * sizeof(struct acl_entry);
		break;
	case 5:
		size -= sizeof(struct acl_entry);
		break;
	default:
		break;
	}
	if (s->flags & 2)
		return removexattr(path, name);
	return setxattr(path, name, &acl, size, 0);
}

static long on_descriptor(const struct ex_step *s, int fd)
{
	switch (s->kind) {
	case EX_FCHMOD:
		return fchmod(fd, s->mode);
	case EX_FCHOWN:
		return fchown(fd, (uid_t)s->uid, (gid_t)s->gid);
	case EX_FUTIMENS:
		return futimens(fd, s->times);
	default:
		return fsetxattr(fd, step_attribute(s), ex.data, value_bytes(s), (int)s->flags & 3);
	}
}

long ex_act_attrs(const struct ex_step *s, int side, uint64_t *sum)
{
	char a[EX_PATH_BYTES];

	ex_path(s->a, a);
	switch (s->kind) {
	case EX_CHMOD:
		return chmod(a, s->mode);
	case EX_CHOWN:
		return lchown(a, (uid_t)s->uid, (gid_t)s->gid);
	case EX_UTIMENS:
		return utimensat(AT_FDCWD, a, s->times, s->flags & 1 ? AT_SYMLINK_NOFOLLOW : 0);
	case EX_SETXATTR:
		return lsetxattr(a, step_attribute(s), ex.data, value_bytes(s), (int)s->flags & 3);
	case EX_GETXATTR:
		return get_attribute(s, a, sum);
	case EX_REMOVEXATTR:
		return lremovexattr(a, step_attribute(s));
	case EX_LISTXATTR:
		return list_attributes(s, a, sum);
	case EX_SETACL:
		return set_acl(s, a);
	case EX_PAUSE: /* what is quiet is packed meanwhile */
		return usleep(side == MOUNT ? (unsigned)s->off % 60000 + 1 : 1);
	default:
		return on_descriptor(s, ex.side[side].fds[s->slot]);
	}
}
