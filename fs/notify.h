/* SPDX-License-Identifier: MIT */
/*
 * notify.h - tells the kernel that cached attributes of a node are no longer right.
 *
 * Not that its pages are: the kernel would wait for those that a WRITE has locked, in a thread of this daemon
 * that then can not be killed, with the connection open as long as that lives. Nor is it needed: the kernel
 * drops a file's pages by itself where mtime or size are others than it knows (AUTO_INVAL_DATA), and asks for them
 * before each read after a WRITE. So bytes that were appended elsewhere than the kernel believed are read from
 * where they are.
 */
#ifndef FS_NOTIFY_H
#define FS_NOTIFY_H

/*
 * dv_store_hooks.changed; self is the struct fs_session: the attributes (not the bytes) of node are
 * stale. Done at once, from any thread: without pages to drop the kernel waits for nothing.
 */
struct dv_node;
void fs_notify_changed(void *self, struct dv_node *node);

#endif
