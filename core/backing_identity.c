/* SPDX-License-Identifier: MIT */
/*
 * backing_identity.c - whom a thread acts as, what the process may, which run of the kernel it is.
 *
 * setfsuid and setfsgid are per thread in the kernel, and glibc keeps no process-wide state for
 * them. Each thread remembers whom it acts as, so that a repeated call costs nothing.
 */
#include "core/backing_private.h"

#include "core/log.h"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The 16 bit calls of old 32 bit machines cut user ids. */
#ifdef SYS_setfsuid32
#define SYS_FSUID SYS_setfsuid32
#define SYS_FSGID SYS_setfsgid32
#else
#define SYS_FSUID SYS_setfsuid
#define SYS_FSGID SYS_setfsgid
#endif

/* Written by dv_backing_posix_prepare before any thread starts. */
static bool can_act = false;

static __thread struct {
	bool known;
	uid_t uid;
	gid_t gid;
} acting;

void dv_posix_act_as(void *self, uid_t uid, gid_t gid)
{
	(void)self;
	if (!can_act)
		return;
	if (!acting.known) {
		/* -1 changes nothing and tells: a thread inherits from the one that made it. */
		acting.gid = (gid_t)syscall(SYS_FSGID, -1);
		acting.uid = (uid_t)syscall(SYS_FSUID, -1);
		acting.known = true;
	}
	/* The group first: where the capabilities do go with the user, they are still there. */
	if (acting.gid != gid)
		syscall(SYS_FSGID, gid);
	if (acting.uid != uid)
		syscall(SYS_FSUID, uid);
	acting.uid = uid;
	acting.gid = gid;
}

/* Without this bit a thread that acts as a user loses its capabilities over files. */
static bool keep_capabilities(void)
{
	int bits = prctl(PR_GET_SECUREBITS);
	if (bits < 0)
		return false;
	return prctl(PR_SET_SECUREBITS, (unsigned long)bits | SECBIT_NO_SETUID_FIXUP, 0, 0, 0) == 0;
}

static bool may_change_ids(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	const uint32_t both = CAP_TO_MASK(CAP_SETUID) | CAP_TO_MASK(CAP_SETGID);
	return syscall(SYS_capget, &header, data) != 0 ||
	       (data[CAP_TO_INDEX(CAP_SETUID)].effective & both) == both;
}

/*
 * Whoever has CAP_SYS_RESOURCE writes past every quota and into the blocks that are kept for root,
 * and files of users are written by this process.
 */
static void obey_limits(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	if (syscall(SYS_capget, &header, data))
		return;
	data[CAP_TO_INDEX(CAP_SYS_RESOURCE)].effective &= ~CAP_TO_MASK(CAP_SYS_RESOURCE);
	dv_ignore((dv_err)syscall(SYS_capset, &header, data)); /* to have less is always allowed */
}

/* The limit of who started the process says nothing of the values of others: a write past it fails, at most. */
static void lift_file_size(void)
{
	struct rlimit size;
	signal(SIGXFSZ, SIG_IGN);
	if (getrlimit(RLIMIT_FSIZE, &size) || size.rlim_cur == RLIM_INFINITY)
		return;
	if (setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}) == 0)
		return;
	size.rlim_cur = size.rlim_max;
	dv_ignore(setrlimit(RLIMIT_FSIZE, &size));
}

void dv_backing_posix_prepare(void)
{
	struct rlimit files;
	if (geteuid() == 0) {
		can_act = keep_capabilities();
		if (!can_act)
			dv_warn("no CAP_SETPCAP: new files belong to the daemon's user");
		else if (!may_change_ids())
			dv_warn("no CAP_SETUID or CAP_SETGID: new files belong to the daemon's "
				"user or "
				"group");
	}
	umask(0);
	signal(SIGIO, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		dv_ignore(setrlimit(RLIMIT_NOFILE, &files));
	}
	lift_file_size();
	obey_limits();
}

void dv_boot_id(char out[64])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, out, 63);
	if (fd >= 0)
		close(fd);
	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}
