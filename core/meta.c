/* SPDX-License-Identifier: MIT */
/* meta.c - see meta.h. */
#include "core/meta.h"

#include "core/cleanup.h"

#include <string.h>

#define XFS_ACLS                                                                                   \
	"trusted.SGI_ACL_" /* XFS shows root each ACL a second time, under a name that no other    \
			      filesystem knows */
#define TAG_BYTES                                                                                  \
	64 /* with its name all that ext4 has room for in an inode of 256 bytes: more takes a      \
	      block of its own */
#define TAG_VERSION    1
#define HAS_SIZE       1
#define HAS_CTIME      2
#define SINGLE	       4
#define STREAM	       8
#define UNPACKED       16
#define OPEN_END       32
#define ANEW	       64
#define STORED_MAX     (UINT64_MAX >> 8) /* above it: how often it was unpacked */
#define XATTR_LIST_MAX 65536		 /* XATTR_LIST_MAX and XATTR_SIZE_MAX of the kernel */

/* splitmix64's finaliser (Steele, Lea, Flood 2014): a bijection on 64 bits that mixes well. */
static uint64_t mix(uint64_t v)
{
	v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9u;
	v = (v ^ (v >> 27)) * 0x94d049bb133111ebu;
	return v ^ (v >> 31);
}

uint64_t dv_meta_ino(const struct dv_ident *id)
{
	uint64_t ino = mix(id->ino ^ mix((uint64_t)id->btime_ns));
	ino &= INT64_MAX; /* programs keep inode numbers in signed types */
	return ino < 2 ? ino + 2 : ino;
}

static uint8_t *put64(uint8_t *at, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		at[i] = (uint8_t)(v >> (8 * i));
	return at + 8;
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v |= (uint64_t)at[i] << (8 * i);
	return v;
}

static struct timespec get_time(const uint8_t *at)
{
	return dv_time_of_ns((int64_t)get64(at));
}

/* Enough of a time to tell that it is another. */
static uint32_t fold(struct timespec t)
{
	uint64_t v = mix((uint64_t)dv_time_ns(t));
	return (uint32_t)(v ^ v >> 32);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

static bool parse_tag(const uint8_t *tag, ssize_t len, const struct dv_stat *st, struct dv_tag *out)
{
	if (len != TAG_BYTES || tag[0] != TAG_VERSION)
		return false;
	if (get64(tag + 16) != st->ino || get64(tag + 40) != (uint64_t)dv_time_ns(st->btime))
		return false;
	out->st_ino = get64(tag + 8);
	out->generation = (uint16_t)(tag[2] | tag[3] << 8);
	out->plain_size = get64(tag + 24);
	out->stored_size = get64(tag + 32) & STORED_MAX;
	out->unpacks = tag[39];
	/* Else it was changed by others in place: look at the frames. */
	bool same = out->stored_size == st->size && get32(tag + 4) == fold(st->mtime);
	out->has_size = (tag[1] & HAS_SIZE) && out->plain_size <= INT64_MAX && same;
	out->unpacked = (tag[1] & UNPACKED) && same;
	out->mtime = st->mtime;
	/* A packed file is not written to; a raw one is, and then says so by its size and mtime. */
	out->has_ctime = (tag[1] & HAS_CTIME) && (!(tag[1] & UNPACKED) || same);
	out->single = tag[1] & SINGLE;
	out->stream = tag[1] & STREAM;
	out->open_end = tag[1] & OPEN_END;
	out->anew = tag[1] & ANEW;
	out->ctime = get_time(tag + 48);
	out->swapped = get_time(tag + 56);
	return out->st_ino > 1 && out->st_ino <= INT64_MAX;
}

bool dv_tag_load(struct dv_store *s, int dirfd, const char *name, const struct dv_stat *st,
		 struct dv_tag *out)
{
	uint8_t tag[TAG_BYTES + 1];
	if (!s->has_xattrs)
		return false;
	ssize_t len = DV_B(s, getxattr_at, dirfd, name, DV_TAG_NAME, tag, sizeof(tag));
	return len > 0 && parse_tag(tag, len, st, out);
}

bool dv_tag_load_fd(struct dv_store *s, int fd, const struct dv_stat *st, struct dv_tag *out)
{
	uint8_t tag[TAG_BYTES + 1];
	if (!s->has_xattrs)
		return false;
	ssize_t len = DV_B(s, getxattr, fd, DV_TAG_NAME, tag, sizeof(tag));
	return len > 0 && parse_tag(tag, len, st, out);
}

static dv_err write_tag(struct dv_store *s, int fd, const struct dv_ident *id,
			const struct dv_tag *t)
{
	uint8_t tag[TAG_BYTES] = {TAG_VERSION};
	tag[1] = (uint8_t)((t->has_size ? HAS_SIZE : 0) | (t->has_ctime ? HAS_CTIME : 0) |
			   (t->single ? SINGLE : 0) | (t->stream ? STREAM : 0) |
			   (t->unpacked ? UNPACKED : 0) | (t->open_end ? OPEN_END : 0) |
			   (t->anew ? ANEW : 0));
	tag[2] = (uint8_t)t->generation;
	tag[3] = (uint8_t)(t->generation >> 8);
	for (int i = 0; i < 4; i++)
		tag[4 + i] = (uint8_t)(fold(t->mtime) >> (8 * i));
	uint8_t *at = put64(tag + 8, t->st_ino);
	at = put64(at, id->ino);
	at = put64(at, t->plain_size);
	at = put64(at, (t->stored_size & STORED_MAX) | (uint64_t)t->unpacks << 56);
	at = put64(at, (uint64_t)id->btime_ns);
	at = put64(at, (uint64_t)dv_time_ns(t->ctime));
	put64(at, (uint64_t)dv_time_ns(t->swapped));
	return DV_B(s, setxattr, fd, DV_TAG_NAME, tag, sizeof(tag), 0);
}

void dv_tag_store(struct dv_store *s, int fd, const struct dv_ident *id, const struct dv_tag *t)
{
	/* Without the tag the value is whole; only its inode number moves with the swap. */
	if (s->has_xattrs)
		dv_ignore(write_tag(s, fd, id, t));
}

dv_err dv_tag_strip(struct dv_store *s, int fd)
{
	struct dv_stat st;
	struct dv_tag tag;
	uint8_t bytes[TAG_BYTES + 1];
	if (!s->has_xattrs)
		return 0;
	dv_err err = DV_B(s, stat, fd, "", &st);
	if (err)
		return err;
	ssize_t len = DV_B(s, getxattr, fd, DV_TAG_NAME, bytes, sizeof(bytes));
	if (len <
	    0) /* not to be told apart from a tag that would lie later, where it is another error */
		return len == -ENODATA || len == -ERANGE || len == -EOPNOTSUPP ? 0 : (dv_err)len;
	if (!parse_tag(bytes, len, &st, &tag) || (!tag.has_size && !tag.has_ctime && !tag.unpacked))
		return 0;
	struct dv_ident id = dv_ident_of(&st);
	tag = (struct dv_tag){
		.st_ino = tag.st_ino, .generation = tag.generation, .unpacks = tag.unpacks};
	return write_tag(s, fd, &id, &tag);
}

struct timespec dv_tag_ctime(const struct dv_tag *tag, const struct dv_stat *st)
{
	if (!tag->has_ctime || st->ctime.tv_sec > tag->swapped.tv_sec + DV_TAG_SLACK_S)
		return st->ctime;
	return tag->ctime;
}

bool dv_meta_is_hidden(const char *attr)
{
	size_t n = strlen(DV_TAG_NAME);
	if (strncmp(attr, XFS_ACLS, strlen(XFS_ACLS)) == 0)
		return true;
	return strncmp(attr, DV_TAG_NAME, n) == 0 && (attr[n] == '\0' || attr[n] == '.');
}

static dv_err copy_xattr(struct dv_store *s, int from, int to, const char *attr, char **value)
{
	if (!*value && !(*value = malloc(XATTR_LIST_MAX)))
		return -ENOMEM;
	ssize_t len = DV_B(s, getxattr, from, attr, *value, XATTR_LIST_MAX);
	if (len == -ENODATA)
		return 0;
	if (len < 0)
		return (dv_err)len;
	dv_err err = DV_B(s, setxattr, to, attr, *value, (size_t)len, 0);
	/* Labels that the system sets by itself need not be, and may not be, set again. */
	if (err && strncmp(attr, "security.", 9) == 0 && strcmp(attr, "security.capability") != 0)
		return 0;
	return err;
}

static dv_err copy_xattrs(struct dv_store *s, int from, int to)
{
	char small[1024];
	DV_AUTO_FREE char *large = NULL;
	DV_AUTO_FREE char *value = NULL;
	char *list = small;
	ssize_t len = DV_B(s, listxattr, from, small, sizeof(small));
	if (len == -ERANGE) {
		list = large = malloc(XATTR_LIST_MAX);
		if (!large)
			return -ENOMEM;
		len = DV_B(s, listxattr, from, large, XATTR_LIST_MAX);
	}
	if (len == -EOPNOTSUPP)
		return 0;
	if (len < 0)
		return (dv_err)len;
	for (char *attr = list; attr < list + len; attr += strlen(attr) + 1) {
		if (dv_meta_is_hidden(attr))
			continue;
		dv_err err = copy_xattr(s, from, to, attr, &value);
		if (err)
			return err;
	}
	return 0;
}

dv_err dv_meta_copy(struct dv_store *s, int from, const struct dv_stat *st, int to)
{
	struct dv_stat now;
	dv_err err = DV_B(s, stat, to, "", &now);
	if (err)
		return err;
	if (now.uid != st->uid || now.gid != st->gid) {
		err = DV_B(s, chown, to, st->uid, st->gid);
		if (err)
			return err;
	}
	err = copy_xattrs(s, from, to);
	if (err)
		return err;
	return DV_B(s, chmod, to, st->mode & 07777);
}

static bool is_member(const struct dv_call *call, gid_t gid)
{
	return call->gid == gid || (call->in_group && call->in_group(call, gid));
}

/* setattr_should_drop_sgid() of Linux: without the group's x bit a member of the group keeps it. */
static bool drops_sgid(const struct dv_stat *st, const struct dv_call *call)
{
	if (!(st->mode & S_ISGID))
		return false;
	if (st->mode & S_IXGRP)
		return true;
	return !is_member(call, st->gid);
}

dv_err dv_meta_kill_suid(struct dv_store *s, int fd, const struct dv_call *call)
{
	struct dv_stat st;
	dv_err err = DV_B(s, stat, fd, "", &st);
	if (err)
		return err;
	mode_t clean = st.mode & 07777 & ~(mode_t)S_ISUID;
	if (drops_sgid(&st, call))
		clean &= ~(mode_t)S_ISGID;
	return clean == (st.mode & 07777) ? 0 : DV_B(s, chmod, fd, clean);
}

/* posix_acl_update_mode() of Linux; the backing does it for the daemon, who may keep the bit. */
dv_err dv_meta_acl_set(struct dv_store *s, int fd, const struct dv_call *call)
{
	struct dv_stat st;
	dv_err err = DV_B(s, stat, fd, "", &st);
	if (err || call->uid == 0 || !(st.mode & S_ISGID) || is_member(call, st.gid))
		return err;
	return DV_B(s, chmod, fd, st.mode & 07777 & ~(mode_t)S_ISGID);
}
