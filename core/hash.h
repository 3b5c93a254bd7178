/* SPDX-License-Identifier: MIT */
/*
 * hash.h - uthash, told to leave out what there is no memory for. By itself it ends the process.
 *
 * After each HASH_ADD*: where !DV_HASHED(element) it is not in the table, which is as it was.
 */
#ifndef DV_HASH_H
#define DV_HASH_H

#define HASH_NONFATAL_OOM	     1
#define uthash_nonfatal_oom(element) ((void)(element))

#include <uthash.h>

#define DV_HASHED(element) ((element)->hh.tbl != NULL)

#endif
