/* SPDX-License-Identifier: MIT */
/* node_gates.c - the gates of nodes: see node.h and gate.h. */
#include "core/internal.h"

dv_err dv_gate_shared(struct dv_node *n, bool nowait)
{
	if (nowait)
		return dv_gate_try_shared(&n->gate) ? 0 : -EAGAIN;
	dv_gate_take_shared(&n->gate);
	return 0;
}

dv_err dv_gate_exclusive(struct dv_node *n, bool nowait)
{
	if (nowait)
		return dv_gate_try_exclusive(&n->gate) ? 0 : -EAGAIN;
	dv_gate_take_exclusive(&n->gate);
	return 0;
}

void dv_gate_open(struct dv_node *n)
{
	dv_gate_give(&n->gate);
}

dv_err dv_gates_shared(struct dv_node *a, struct dv_node *b, bool nowait)
{
	struct dv_node *first = a < b ? a : b, *second = a < b ? b : a;
	dv_err err = dv_gate_shared(first, nowait);
	if (err || first == second)
		return err;
	err = dv_gate_shared(second, nowait);
	if (err)
		dv_gate_open(first);
	return err;
}

void dv_gates_open(struct dv_node *a, struct dv_node *b)
{
	dv_gate_open(a);
	if (a != b)
		dv_gate_open(b);
}
