/* SPDX-License-Identifier: MIT */
/*
 * mapped.h - which files have bytes in a mapping that the mount may not have seen yet.
 *
 * Known by the plain side's inode number; of all actors, in memory that they share.
 */
#ifndef TEST_EXERCISER_MAPPED_H
#define TEST_EXERCISER_MAPPED_H

#include <stdbool.h>
#include <sys/types.h>

void ex_mapped_init(void); /* before the actors are made */
void ex_mapped_add(ino_t plain);
bool ex_is_mapped(ino_t plain);
bool ex_any_mapped(void);
void ex_mapped_clear(void); /* all mappings are gone */
/* What was stored after the times had been set may have moved them on one side, when the mapping went. */
bool ex_times_are_apart(ino_t plain);
void ex_times_are_set(ino_t plain);

#endif
