/* SPDX-License-Identifier: MIT */
/*
 * log.h - the one sink for text meant for people.
 *
 * An error is logged once, where it stops being returned, with operation, key and errno. Nothing is
 * logged per operation above DV_LOG_DEBUG. Each call site passes at most DV_LOG_BURST lines in ten
 * seconds; what it held back is told with the next line it lets through. Bytes of keys are escaped
 * by dv_log_key(), control bytes of a line become '?', errno is left alone. Thread-safe. Writes to
 * stderr and, once dv_log_use_syslog() was called, to syslog.
 */
#ifndef DV_LOG_H
#define DV_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dv_log_level { DV_LOG_ERROR, DV_LOG_WARN, DV_LOG_INFO, DV_LOG_DEBUG };

#define DV_LOG_BURST 10

/* One per call site: its rate limit. */
struct dv_log_site {
	int64_t window_start_ns;
	unsigned passed;
	unsigned held_back;
};

void dv_log_set_level(enum dv_log_level level);
void dv_log_use_syslog(const char *ident);
/* A test's sink; NULL restores the default. line carries no newline. */
void dv_log_set_sink(void (*sink)(enum dv_log_level level, const char *line));

void dv_log_at(struct dv_log_site *site, enum dv_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Writes key into buf with odd bytes as \xNN, cut with "..." where it does not fit; returns buf. */
const char *dv_log_key(char *buf, size_t buf_size, const char *key);

/*
 * What is known of the error that the calling thread is about to return, for whoever logs it: the
 * last one counts. dv_log_note_take() gives it once, "" where there is none; valid until the next
 * note of the thread.
 */
#define DV_LOG_NOTE_BYTES 512
void dv_log_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *dv_log_note_take(void);

#define dv_log(level, ...)                                                                         \
	do {                                                                                       \
		static struct dv_log_site dv_log_here;                                             \
		dv_log_at(&dv_log_here, level, __VA_ARGS__);                                       \
	} while (0)
#define dv_error(...) dv_log(DV_LOG_ERROR, __VA_ARGS__)
#define dv_warn(...)  dv_log(DV_LOG_WARN, __VA_ARGS__)
#define dv_info(...)  dv_log(DV_LOG_INFO, __VA_ARGS__)
#define dv_debug(...) dv_log(DV_LOG_DEBUG, __VA_ARGS__)

#endif
