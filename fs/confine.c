/* SPDX-License-Identifier: MIT */
/*
 * confine.c - capabilities, no_new_privs, Landlock, seccomp; confine.h tells what of each.
 *
 * The order matters: no_new_privs lets a user set up the other two, Landlock needs calls that are
 * made before seccomp is, and both need nothing of the capabilities.
 *
 * seccomp: a list of what is denied, not of what is allowed. Another libc, or the next version of
 * this one, makes calls that no list foresees, and a daemon that is killed by its own sandbox loses
 * more than it protects. What is denied says EPERM, so that it is an error like any other. The
 * kernel keeps a bitmap of calls that a filter always allows, so the length of the list costs nothing.
 *
 * Sources: capabilities(7), landlock(7), seccomp(2), linux/landlock.h.
 */
#include "fs/confine.h"

#include "core/cleanup.h"
#include "core/digest.h"
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Reports of sanitizers, and counts of coverage, need files, programs and tracing of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(DISKVFS_COVERAGE)
#define INSTRUMENTED true
#elif defined(__has_feature)
#define INSTRUMENTED                                                                               \
	(__has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                    \
	 __has_feature(undefined_behavior_sanitizer))
#else
#define INSTRUMENTED false
#endif

/* ---- capabilities ---- */

static const unsigned char kept[] = {
	CAP_CHOWN,	  /* owners of what users make, chown(2) of the mount */
	CAP_DAC_OVERRIDE, /* the kernel has checked modes for the mount's user (default_permissions) */
	CAP_DAC_READ_SEARCH, /* the same; open_by_handle_at(2) of the probe for writers */
	CAP_FOWNER,	     /* chmod, utimes, ACLs of users' files; sticky directories */
	CAP_FSETID,	     /* set-group-id bits stay as the kernel asked for them */
	CAP_MKNOD,	     /* device nodes in the mount */
	CAP_SETUID,	     /* setfsuid(2), setfsgid(2): new files belong to the caller */
	CAP_SETGID,	     CAP_LEASE, /* read leases on users' files: is a writer left? */
	CAP_SETFCAP,			/* security.capability */
	CAP_SYS_ADMIN, /* trusted.* and security.*; what else it allows seccomp denies */
	CAP_SYS_NICE,  /* the keeper's priority, up again where writers wait for space */
};

static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	uint32_t keep[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capget, &header, data))
		return;
	for (size_t i = 0; i < sizeof(kept); i++)
		keep[CAP_TO_INDEX(kept[i])] |= CAP_TO_MASK(kept[i]);
	for (size_t i = 0; i < DV_ARRAY_LEN(data); i++) {
		data[i].effective &= keep[i];
		data[i].permitted &= keep[i];
		data[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &header, data))
		dv_debug("capabilities are kept: %s", strerror(errno));
}

/* ---- Landlock ---- */

/* What linux/landlock.h has since which ABI; the one installed may be older than the kernel. */
#define FS_ABI_1     ((UINT64_C(1) << 13) - 1)
#define FS_REFER     (UINT64_C(1) << 13) /* 2: renames and links between folders */
#define FS_TRUNCATE  (UINT64_C(1) << 14) /* 3 */
#define FS_IOCTL_DEV (UINT64_C(1) << 15) /* 5 */
#define NET_TCP	     UINT64_C(3)	 /* 4: bind, connect */
#define SCOPE_OTHERS UINT64_C(3)	 /* 6: abstract sockets, signals */
#define ABI_NEEDED   2
#define FS_READ	     (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
struct ruleset {
	uint64_t fs, net, scoped;
};

/*
 * access of a file: without what only directories have. A place that is not there needs no rule. Asks no
 * filesystem anything: the mount does not answer yet.
 */
static void allow(int ruleset, const struct ruleset *r, const char *path, uint64_t access)
{
	struct landlock_path_beneath_attr rule = {.allowed_access = access & r->fs};
	int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return;
	rule.parent_fd = fd;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
		dv_debug("Landlock: %s: %s", path, strerror(errno));
	close(fd);
}

static void add_rules(int ruleset, const struct ruleset *r, const struct fs_confines *c)
{
	char bdi[64];
	const uint64_t all = r->fs & ~(LANDLOCK_ACCESS_FS_EXECUTE | FS_IOCTL_DEV);

	allow(ruleset, r, c->store, c->read_only ? FS_READ : all);
	allow(ruleset, r, c->mountpoint, FS_READ); /* the probe for writers */
	allow(ruleset, r, "/proc", FS_READ);	   /* mounts, groups of callers, owners */
	allow(ruleset, r, "/sys/devices/system/cpu", FS_READ); /* how many there are */
	allow(ruleset, r, "/etc/localtime",
	      LANDLOCK_ACCESS_FS_READ_FILE); /* times in lines of the log */
	allow(ruleset, r, "/usr/share/zoneinfo", FS_READ);
	/* Which machine this is. */
	allow(ruleset, r, "/etc/machine-id", LANDLOCK_ACCESS_FS_READ_FILE);
	allow(ruleset, r, "/var/lib/dbus/machine-id", LANDLOCK_ACCESS_FS_READ_FILE);
	allow(ruleset, r, "/dev/null",
	      LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
	snprintf(bdi, sizeof(bdi), "/sys/class/bdi/%u:%u/read_ahead_kb", c->dev_major,
		 c->dev_minor);
	allow(ruleset, r, bdi, LANDLOCK_ACCESS_FS_WRITE_FILE);
}

static void restrict_files(const struct fs_confines *c)
{
	struct ruleset r = {.fs = FS_ABI_1 | FS_REFER};
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	size_t size = offsetof(struct ruleset, net);
	int fd;

	if (abi < ABI_NEEDED) { /* the first would forbid every rename between two folders */
		dv_debug("no Landlock: %s", abi < 0 ? strerror(errno) : "it is too old");
		return;
	}
	if (abi >= 3)
		r.fs |= FS_TRUNCATE;
	if (abi >= 4) {
		r.net = NET_TCP;
		size = offsetof(struct ruleset, scoped);
	}
	if (abi >= 5)
		r.fs |= FS_IOCTL_DEV;
	if (abi >= 6) {
		r.scoped = SCOPE_OTHERS;
		size = sizeof(r);
	}
	fd = (int)syscall(SYS_landlock_create_ruleset, &r, size, 0);
	if (fd < 0) {
		dv_debug("no Landlock: %s", strerror(errno));
		return;
	}
	add_rules(fd, &r, c);
	if (syscall(SYS_landlock_restrict_self, fd, 0))
		dv_debug("no Landlock: %s", strerror(errno));
	else
		dv_debug("Landlock, version %ld: nothing but %s is written to", abi, c->store);
	close(fd);
}

/* ---- seccomp ---- */

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define ARCH AUDIT_ARCH_PPC64LE
#elif defined(__i386__)
#define ARCH AUDIT_ARCH_I386
#elif defined(__arm__) && defined(__ARM_EABI__)
#define ARCH AUDIT_ARCH_ARM
#endif

#ifdef ARCH

/* Calls that came after the oldest headers that this is built with have their numbers everywhere. */
static const uint32_t denied[] = {
	/* programs, other processes */
	__NR_execve, __NR_execveat, __NR_ptrace, __NR_process_vm_readv, __NR_process_vm_writev,
	__NR_kcmp, __NR_kill, __NR_tkill, __NR_rt_sigqueueinfo, __NR_rt_tgsigqueueinfo,
	__NR_pidfd_send_signal, __NR_pidfd_getfd, __NR_migrate_pages, __NR_move_pages,
	/* mounts, namespaces */
	__NR_mount, __NR_umount2, __NR_pivot_root, __NR_chroot, __NR_setns, __NR_unshare,
	__NR_fsopen, __NR_fsconfig, __NR_fsmount, __NR_fspick, __NR_move_mount, __NR_open_tree,
	__NR_mount_setattr,
	/* the kernel, the machine */
	__NR_init_module, __NR_finit_module, __NR_delete_module, __NR_kexec_load, __NR_bpf,
	__NR_perf_event_open, __NR_userfaultfd, __NR_add_key, __NR_request_key, __NR_keyctl,
	__NR_io_uring_setup, __NR_io_uring_enter, __NR_io_uring_register, __NR_fanotify_init,
	__NR_fanotify_mark, __NR_syslog, __NR_reboot, __NR_swapon, __NR_swapoff, __NR_acct,
	__NR_quotactl, __NR_vhangup, __NR_sethostname, __NR_setdomainname, __NR_settimeofday,
	__NR_clock_settime, __NR_clock_adjtime, __NR_adjtimex, __NR_personality,
	__NR_lookup_dcookie, __NR_nfsservctl,
#ifdef __NR_kexec_file_load
	__NR_kexec_file_load,
#endif
#ifdef __NR_quotactl_fd
	__NR_quotactl_fd,
#endif
#ifdef __NR_iopl
	__NR_iopl, __NR_ioperm, __NR_modify_ldt,
#endif
#ifdef __NR_socketcall
	__NR_socketcall, /* hides what socket() is asked for */
#endif
};

#define NAMESPACES 0x7e020000u /* CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET */
#define X32_BIT	   0x40000000u
#define ERRNO(e)   (SECCOMP_RET_ERRNO | (e))
#define LOAD(what) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, what))
/* The half of an argument that has its lower 32 bits. */
#define LOAD_ARG(i)                                                                                \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS,                                                         \
		 (uint32_t)offsetof(struct seccomp_data, args) + 8 * (i) + LOW_HALF)
#define LOW_HALF    (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0)
#define RETURN(ret) BPF_STMT(BPF_RET | BPF_K, (ret))
/* Goes on with the next instruction where A has the value, and skips n where it has not. */
#define UNLESS_SKIP(v, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (v), 0, (n))

static const struct sock_filter head[] = {
	LOAD(arch),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
	RETURN(ERRNO(EPERM)), /* calls by another convention have other numbers */
	LOAD(nr),
#ifdef __x86_64__
	BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1),
	RETURN(ERRNO(EPERM)),
#endif
	UNLESS_SKIP(__NR_clone3,
		    1), /* pthread_create() falls back to clone, whose flags are seen */
	RETURN(ERRNO(ENOSYS)),
	UNLESS_SKIP(__NR_socket, 4),
	LOAD_ARG(0),
	UNLESS_SKIP(AF_UNIX, 1),
	RETURN(SECCOMP_RET_ALLOW), /* syslog */
	RETURN(ERRNO(EPERM)),
	UNLESS_SKIP(__NR_clone, 4),
	LOAD_ARG(0),
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 1, 0),
	RETURN(SECCOMP_RET_ALLOW),
	RETURN(ERRNO(EPERM)),
	UNLESS_SKIP(__NR_ioctl, 4),
	LOAD_ARG(1),
	UNLESS_SKIP(TIOCSTI, 1), /* types on the terminal of a daemon in the foreground */
	RETURN(ERRNO(EPERM)),
	RETURN(SECCOMP_RET_ALLOW),
};

static void filter_calls(void)
{
	enum { HEAD = DV_ARRAY_LEN(head), LIST = DV_ARRAY_LEN(denied), ALL = HEAD + LIST + 2 };
	struct sock_filter code[ALL];
	const struct sock_fprog program = {.len = ALL, .filter = code};

	_Static_assert(LIST < 255, "a jump has eight bits");
	memcpy(code, head, sizeof(head));
	for (unsigned i = 0; i < LIST; i++)
		code[HEAD + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, denied[i],
							      (uint8_t)(LIST - i), 0);
	code[HEAD + LIST] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
	code[HEAD + LIST + 1] = (struct sock_filter)RETURN(ERRNO(EPERM));
	/* SPEC_ALLOW: kernels before 5.16 slow such processes down otherwise. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		    &program) &&
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		dv_debug("no seccomp: %s", strerror(errno));
}

#else

static void filter_calls(void)
{
	dv_debug("no seccomp: nobody has told the numbers of this machine's calls");
}

#endif

void fs_confine(const struct fs_confines *c)
{
	char digest[DV_DIGEST_TEXT];

	if (INSTRUMENTED) {
		dv_debug("no sandbox: this program is instrumented");
		return;
	}
	/* Both read what the environment or a configuration may name. */
	tzset();
	dv_ignore(dv_digest("", 0, digest));
	drop_capabilities();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) {
		dv_debug("no sandbox: no_new_privs: %s", strerror(errno));
		return;
	}
	restrict_files(c);
	filter_calls();
}
