/* SPDX-License-Identifier: MIT */
/*
 * gate.h - a lock of four bytes: many who read, or one who changes.
 *
 * There is one in each node, and a node is small: pthread_rwlock_t takes 56 bytes. What a waiting
 * thread needs (a mutex and a condition) is shared by all gates, in a table that the gate's address
 * leads to; a gate that is free, or is taken by readers only, never goes there.
 *
 *   word   | 1 bit: a writer has it | 1 bit: readers wait | 14 bits: writers that wait | 16 bits:
 *   readers |
 *
 * Who wants to change comes before those who begin to read, so no thread takes a gate twice: the
 * second time it would wait for a writer that waits for it. All zeros is a free gate. A gate that
 * is free may be freed as soon as dv_gate_give() was called for the last time, even before that
 * call has returned.
 *
 * Threads   any. At most 65535 readers and 16383 waiting writers: there are fewer threads.
 * Waiting   the take functions; the others never wait.
 */
#ifndef DV_GATE_H
#define DV_GATE_H

#include <stdatomic.h>
#include <stdbool.h>

struct dv_gate {
	atomic_uint word;
};

void dv_gate_init(struct dv_gate *g);
/* Free, and nobody will take it. */
void dv_gate_release(struct dv_gate *g);

void dv_gate_take_shared(struct dv_gate *g);
void dv_gate_take_exclusive(struct dv_gate *g);
/* -> false: it is taken, or (shared) somebody waits to change. */
bool dv_gate_try_shared(struct dv_gate *g);
bool dv_gate_try_exclusive(struct dv_gate *g);
/* Gives back what the calling thread took, however it did. */
void dv_gate_give(struct dv_gate *g);

#endif
