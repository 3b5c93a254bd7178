/* SPDX-License-Identifier: MIT */
/*
 * error.h - the one error type of the project.
 *
 * A dv_err is 0 or a negative errno and nothing else. Functions that return a count return ssize_t
 * with the same negative range. Codes with a fixed meaning:
 *
 *   -ENOENT    no such key
 *   -EINVAL    the key, option or argument is not valid
 *   -EBADMSG   stored bytes are corrupt; the mount answers EIO
 *   -EFBIG     a limit of the program or of the format is exceeded
 *   -EAGAIN    the call was told not to wait (dv_call.nowait) and would have to
 *   -ESTALE    the object that a handle stands for is no longer where it was
 *
 * Codes of other libraries are translated in the one file that includes that library.
 */
#ifndef DV_ERROR_H
#define DV_ERROR_H

#include <errno.h>

typedef int dv_err;

/* Every function that returns a dv_err carries this. */
#define DV_CHECK __attribute__((warn_unused_result))

/* Drops a result on purpose; the reason stands in a comment beside it. */
#define dv_ignore(expr)                                                                            \
	do {                                                                                       \
		if ((expr) < 0) {                                                                  \
		}                                                                                  \
	} while (0)

#endif
