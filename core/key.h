/* SPDX-License-Identifier: MIT */
/*
 * key.h - the names under which one key component is stored: pure, no I/O.
 *
 * The name decides the form. For a component c (with SUFFIX for regular files, then escaped):
 *
 *   raw     c, but c.raw where c matches \.zst(\.raw)*$
 *   packed  c.zst
 *   other   of directories, symbolic links, special files: as raw, without the suffix
 *   aside   raw.raw: where a shard directory takes the raw name (split only)
 *
 * In the layouts of diskv (coding.h) c is stored as it is: a value's file is c, which is `raw` where
 * it holds the bytes and `packed` where it is compressed, and the other one does not exist; so is
 * any other object, SUFFIX left out. There is no name aside: abc beside abcabc is refused as diskv
 * does. ".diskvfs..." is no name (-EINVAL).
 *
 * Escaping: ".", "..", and names that begin with ".diskvfs" get their first dot written %2e; names
 * that would look escaped get "25" put behind their '%' (%2e -> %252e). One to one.
 *
 * With path:SUFFIX a non-regular name that matches SUFFIX(\.raw)*$ gets .raw, so that a directory
 * "x.txt" never takes the file of the key "x".
 *
 * A shard directory takes a raw name only where the key is exactly one block: abc under split:3, in
 * abc/abc, beside abcabc in abc/abc/abcabc. Then, and only then, a name aside exists: abc/abc.raw.
 * With blocks of five bytes and more "abcde.raw" is a key of the same directory: aside has as many
 * .raw as make it two blocks long, abcde/abcde.raw.raw, and keys of that name lie further down.
 */
#ifndef DV_KEY_H
#define DV_KEY_H

#include "core/transform.h"

enum dv_form {
	DV_FORM_RAW,
	DV_FORM_PACKED,
	DV_FORM_OTHER,	   /* not a regular file */
} __attribute__((packed)); /* a byte: each node has one */

/*
 * Empty string: this name does not exist. It is too long for a stored name; or, of other, the
 * transform has regular files only (flat, split, hash); or, of aside, nothing takes the raw name.
 */
struct dv_names {
	char raw[DV_NAME_MAX + 1];
	char packed[DV_NAME_MAX + 1];
	char other[DV_NAME_MAX + 1];
	char aside[DV_NAME_MAX + 1];
};

/*
 * The stored names of `name`, a component as seen in the mount (1 to 255 bytes, no '/'). Where
 * packed exists, raw does (in our own layout). -ENAMETOOLONG where neither raw nor other fits: under
 * path:SUFFIX a directory's name may fit where raw is empty. -EINVAL for an empty name, one
 * with '/', and in a layout of diskv ".diskvfs...".
 */
DV_CHECK dv_err dv_names_of(const struct dv_transform *t, const char *name, struct dv_names *out);

/*
 * The inverse: which name of the mount and which form does the stored entry have?
 *
 * regular: whether it is a regular file. shard: the relative path of the shard directory it was
 * found in ("" for path, flat). name gets the component. A value that lies aside is DV_FORM_RAW.
 *
 * A non-regular entry whose name dv_names_of() never gives (a directory "d.zst" that another
 * program made) is served as it is: name is the stored name, and its `other` name is name.raw, by
 * which a lookup knows to try name itself. -ENOENT where that is not so (escaped, over 251 bytes).
 *
 * -ENOENT: not a value of this transform (foreign; not listed): .diskvfs..., a regular file without
 * SUFFIX or with an empty key, a file in a shard directory that is not its own, anything but
 * regular files under flat, split, hash. -ENOMEM: under hash, no memory for the digest.
 */
DV_CHECK dv_err dv_names_parse(const struct dv_transform *t, const char *stored, bool regular,
			       const char *shard, char name[DV_NAME_MAX + 1],
			       enum dv_form *out_form);

#endif
