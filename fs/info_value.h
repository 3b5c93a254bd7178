/* SPDX-License-Identifier: MIT */
/* info_value.h - what diskvfs info tells of single values. */
#ifndef FS_INFO_VALUE_H
#define FS_INFO_VALUE_H

#include <stdbool.h>

struct fs_info_flags {
	bool json, quiet; /* quiet: errors and the exit status alone */
};

/* operand: STORE|MOUNTPOINT. Each value in a few lines, or as one object in a line. -> exit status: 1 where
 * a key is missing, else 2 on an error, what is wrong having been told. */
int fs_info_values(const char *operand, char **keys, int count, const struct fs_info_flags *flags);

#endif
