/* SPDX-License-Identifier: MIT */
/*
 * log.c - the one sink for text meant for people.
 *
 * Layer 0, called from everywhere. A line is formatted and written outside the lock, with one
 * write, so that lines of several threads do not mix. errno is the same after a call as before it.
 *
 *   dv_log_at -> level -> rate limit of the site (lock) -> format -> sink, or stderr and syslog
 */
#include "core/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/* Bytes of a line; two escaped keys of 255 bytes and their sentence fit. Longer text is cut. */
#define LINE_MAX_BYTES 2560
#define WINDOW_NS      INT64_C(10000000000)
#define PREFIX	       "diskvfs: "

static atomic_int log_level = DV_LOG_INFO;

/* Guards everything below and the counters of every site. Never held while a line is written. */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*log_sink)(enum dv_log_level level, const char *line);
static bool log_to_syslog;
static char log_ident[64]; /* openlog() keeps the pointer */

void dv_log_set_level(enum dv_log_level level)
{
	atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

void dv_log_use_syslog(const char *ident)
{
	pthread_mutex_lock(&log_lock);
	snprintf(log_ident, sizeof(log_ident), "%s", ident);
	openlog(log_ident, LOG_PID, LOG_DAEMON);
	log_to_syslog = true;
	pthread_mutex_unlock(&log_lock);
}

void dv_log_set_sink(void (*sink)(enum dv_log_level level, const char *line))
{
	pthread_mutex_lock(&log_lock);
	log_sink = sink;
	pthread_mutex_unlock(&log_lock);
}

static int64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* May the site write a line now? *out_held: how many lines were held back since the last one. */
static bool site_pass_locked(struct dv_log_site *site, int64_t now, unsigned *out_held)
{
	/* passed == 0: the site's first line, window_start_ns says nothing yet. */
	if (site->passed == 0 || now - site->window_start_ns >= WINDOW_NS) {
		site->window_start_ns = now;
		site->passed = 0;
	}
	if (site->passed >= DV_LOG_BURST) {
		site->held_back++;
		return false;
	}
	site->passed++;
	*out_held = site->held_back;
	site->held_back = 0;
	return true;
}

/* A line is one line on a terminal and in a file, whatever its arguments held. */
static void replace_control_bytes(char *line)
{
	for (unsigned char *p = (unsigned char *)line; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
}

/* whole: prefix and line, with room for the newline that takes the place of its NUL for the write.
 */
static void write_stderr(char *whole, size_t len)
{
	whole[len] = '\n';
	/* A closed or full stderr has nobody left to be told. */
	ssize_t n = write(STDERR_FILENO, whole, len + 1);
	(void)n;
	whole[len] = '\0';
}

static int syslog_priority(enum dv_log_level level)
{
	switch (level) {
	case DV_LOG_ERROR:
		return LOG_ERR;
	case DV_LOG_WARN:
		return LOG_WARNING;
	case DV_LOG_INFO:
		return LOG_INFO;
	case DV_LOG_DEBUG:
		break;
	}
	return LOG_DEBUG;
}

void dv_log_at(struct dv_log_site *site, enum dv_log_level level, const char *fmt, ...)
{
	if ((int)level > atomic_load_explicit(&log_level, memory_order_relaxed))
		return;

	const int saved_errno = errno;
	unsigned held = 0;
	pthread_mutex_lock(&log_lock);
	bool pass = site_pass_locked(site, now_ns(), &held);
	void (*sink)(enum dv_log_level, const char *) = log_sink;
	bool to_syslog = log_to_syslog;
	pthread_mutex_unlock(&log_lock);
	if (!pass) {
		errno = saved_errno;
		return;
	}

	char whole[sizeof(PREFIX) + LINE_MAX_BYTES + 64] = PREFIX;
	char *line = whole + strlen(PREFIX);
	va_list args;
	va_start(args, fmt);
	errno = saved_errno; /* for %m */
	vsnprintf(line, LINE_MAX_BYTES, fmt, args);
	va_end(args);
	if (held > 0)
		snprintf(line + strlen(line), 64, " (%u like it held back)", held);
	replace_control_bytes(line);

	if (sink) {
		sink(level, line);
	} else {
		write_stderr(whole, strlen(whole));
		if (to_syslog)
			syslog(syslog_priority(level), "%s", line);
	}
	errno = saved_errno;
}

const char *dv_log_key(char *buf, size_t buf_size, const char *key)
{
	if (buf_size == 0)
		return "";

	size_t pos = 0, cut = 0; /* cut: the last place where "..." still fits */
	for (const unsigned char *p = (const unsigned char *)key; *p; p++) {
		bool odd = *p < 0x20 || *p >= 0x7f || *p == '\\';
		size_t need = odd ? 4 : 1;
		if (pos + 3 < buf_size)
			cut = pos;
		if (need >= buf_size - pos) {
			snprintf(buf + cut, buf_size - cut, "...");
			return buf;
		}
		if (odd)
			snprintf(buf + pos, buf_size - pos, "\\x%02x", *p);
		else
			buf[pos] = (char)*p;
		pos += need;
	}
	buf[pos] = '\0';
	return buf;
}

static _Thread_local struct {
	bool there;
	char text[DV_LOG_NOTE_BYTES];
} note;

void dv_log_note(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(note.text, sizeof(note.text), fmt, ap);
	va_end(ap);
	note.there = true;
}

const char *dv_log_note_take(void)
{
	const char *text = note.there ? note.text : "";
	note.there = false;
	return text;
}
