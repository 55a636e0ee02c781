/*
 * log.c - lines of the mail log.
 *
 * Flow:   struct link_event_log (hostile contents) -> fields -> escaped line -> buffer -> file
 * Touches: the log file. log_format_event(), log_text(), log_escape() are pure.
 * Keeps:  a value is quoted unless it is of plain characters, so that no octet of a peer can begin a field; a field comes once.
 * Source: POLICY section 8, PITFALLS 53.
 */
#include "control/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/base/bug.h"

#define LOG_ESCAPED_MAX_OCTETS 2048 /* of one value */

static const char *const kind_names[] = { "rcpt", "message", "session", "notice" };

size_t
log_escape(const void *octets, size_t n, char *out, size_t room)
{
	static const char hex[] = "0123456789abcdef";
	const uint8_t *p = octets;
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		const bool plain = p[i] >= 0x20 && p[i] < 0x7f && p[i] != '\\';
		const size_t need = plain ? 1 : p[i] == '\\' ? 2 : 4;

		if (at + need >= room)
			break;
		if (plain) {
			out[at++] = (char)p[i];
		} else if (p[i] == '\\') {
			out[at++] = '\\';
			out[at++] = '\\';
		} else {
			out[at++] = '\\';
			out[at++] = 'x';
			out[at++] = hex[p[i] >> 4];
			out[at++] = hex[p[i] & 15];
		}
	}
	if (room > 0)
		out[at] = '\0';
	return at;
}

/* --- a line under construction */

struct line {
	char *out;
	size_t n;
	enum log_format format;
	bool first;
};

static void
line_char(struct line *l, char c)
{
	if (l->n < LOG_LINE_MAX_OCTETS - 3) /* room for the end of a JSON object */
		l->out[l->n++] = c;
}

static void
line_text(struct line *l, const char *text)
{
	while (*text != '\0')
		line_char(l, *text++);
}

/* What may stand without quotes: no space, quote, equals sign or backslash. */
static bool
is_plain(const char *text)
{
	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++)
		if (*text <= 0x20 || *text >= 0x7f || *text == '"' || *text == '=' || *text == '\\')
			return false;
	return true;
}

static bool
is_number(const char *text)
{
	size_t digits = 0;

	if (*text == '-')
		text++;
	if (*text == '0' && text[1] != '\0')
		return false;
	for (; *text >= '0' && *text <= '9'; text++)
		digits++;
	return *text == '\0' && digits > 0 && digits < 18;
}

static bool
field_is_number(enum link_log_field field)
{
	switch ((int)field) {
	case LOG_score:
	case LOG_left_s:
	case LOG_waited_s:
	case LOG_dns_ms:
	case LOG_rcpts:
	case LOG_octets:
	case LOG_duration_s:
	case LOG_msgs:
	case LOG_count:
	case LOG_rule:
		return true;
	default: /* a number of many: the rest are texts */
		return false;
	}
}

/* A pair; value holds printable ASCII alone, with backslashes doubled by log_escape(). */
static void
line_pair(struct line *l, const char *name, const char *value, bool number)
{
	if (l->format == LOG_FORMAT_JSON) {
		line_text(l, l->first ? "{\"" : ",\"");
		line_text(l, name);
		line_text(l, "\":");
		l->first = false;
		if (number && is_number(value)) {
			line_text(l, value);
			return;
		}
		line_char(l, '"');
		for (; *value != '\0'; value++) {
			if (*value == '"' || *value == '\\')
				line_char(l, '\\');
			line_char(l, *value);
		}
		line_char(l, '"');
		return;
	}
	if (!l->first)
		line_char(l, ' ');
	l->first = false;
	line_text(l, name);
	line_char(l, '=');
	if (is_plain(value)) {
		line_text(l, value);
		return;
	}
	line_char(l, '"');
	for (; *value != '\0'; value++) { /* backslashes are doubled already */
		if (*value == '"')
			line_char(l, '\\');
		line_char(l, *value);
	}
	line_char(l, '"');
}

static void
line_begin(struct line *l, char *out, enum log_format format, int64_t wall_us, const char *kind)
{
	time_t s = (time_t)(wall_us / 1000000);
	char stamp[48];
	struct tm tm;

	*l = (struct line){ .out = out, .format = format, .first = true };
	gmtime_r(&s, &tm);
	snprintf(stamp, sizeof(stamp), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (tm.tm_year + 1900) % 10000,
		tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(wall_us / 1000 % 1000));
	line_pair(l, "time", stamp, false);
	line_pair(l, "kind", kind, false);
}

static size_t
line_end(struct line *l)
{
	if (l->format == LOG_FORMAT_JSON)
		l->out[l->n++] = '}';
	l->out[l->n] = '\0';
	return l->n;
}

size_t
log_format_event(enum log_format format, const struct link_event_log *e, int64_t wall_us, char *out)
{
	const char *kind = e->kind < ARRAY_LEN(kind_names) ? kind_names[e->kind] : "unknown";
	char value[LOG_ESCAPED_MAX_OCTETS];
	struct log_field f;
	uint64_t seen = 0;
	struct line l;

	line_begin(&l, out, format, wall_us, kind);
	for (bool more = log_record_first(e, &f); more; more = log_record_next(e, &f)) {
		if ((unsigned)f.id >= LOG_FIELD_N || (seen >> f.id & 1) != 0)
			continue;
		seen |= UINT64_C(1) << f.id;
		log_escape(f.octets, f.len_octets, value, sizeof(value));
		line_pair(&l, log_field_name(f.id), value, field_is_number(f.id));
	}
	return line_end(&l);
}

bool
log_text(const struct link_event_log *e, enum link_log_field field, char *out, size_t octets)
{
	struct log_field f;

	out[0] = '\0';
	if (!log_record_find(e, field, &f))
		return false;
	log_escape(f.octets, f.len_octets, out, octets);
	return true;
}

/* --- the file */

void
log_init(struct log *log)
{
	*log = (struct log){ .fd = -1, .buffer = malloc(LOG_BUFFER_OCTETS) };
	BUG_ON(log->buffer == NULL);
}

int
log_open(struct log *log, const char *path)
{
	int fd = -1, error = 0;

	if (path[0] != '\0') {
		/* O_NONBLOCK: a pipe whose reader sleeps is lost lines, never a control process that sleeps with it */
		fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
		if (fd < 0)
			error = -errno;
	}
	if (log->fd >= 0)
		close(log->fd);
	log->fd = fd;
	log->error = error;
	if (path != log->path)
		snprintf(log->path, sizeof(log->path), "%s", path);
	return error;
}

void
log_fini(struct log *log)
{
	if (log->fd >= 0)
		close(log->fd);
	free(log->buffer);
	*log = (struct log){ .fd = -1 };
}

static void
buffer_write(struct log *log)
{
	size_t done = 0;

	if (log->fd < 0) {
		log->filled = 0;
		return;
	}
	while (done < log->filled) {
		ssize_t n = write(log->fd, log->buffer + done, log->filled - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) { /* full disk, slow pipe: what is buffered is lost, and counted */
			log->error = n < 0 ? -errno : -EIO;
			for (size_t i = done; i < log->filled; i++)
				log->lost += log->buffer[i] == '\n';
			break;
		}
		done += (size_t)n;
		log->error = 0;
	}
	log->filled = 0;
}

static void
buffer_line(struct log *log, const char *line, size_t n)
{
	if (log->path[0] == '\0')
		return;
	if (log->fd < 0) {
		log->lost++;
		return;
	}
	if (log->filled + n + 1 > LOG_BUFFER_OCTETS)
		buffer_write(log);
	memcpy(log->buffer + log->filled, line, n);
	log->buffer[log->filled + n] = '\n';
	log->filled += n + 1;
	log->lines++;
}

static void
second_turn(struct log *log, int64_t wall_us)
{
	const int64_t second = wall_us / 1000000;
	char out[LOG_LINE_MAX_OCTETS], count[16];
	struct line l;

	if (second == log->second)
		return;
	/* the folder may be mounted, the disk mended since: nobody has to come and say so */
	if (log->fd < 0 && log->path[0] != '\0')
		(void)log_open(log, log->path);
	if (log->grey_capped > 0) {
		snprintf(count, sizeof(count), "%u", log->grey_capped);
		line_begin(&l, out, log->format, wall_us, "notice");
		line_pair(&l, "text", "lines of greylisted strangers not written", false);
		line_pair(&l, "count", count, true);
		buffer_line(log, out, line_end(&l));
	}
	log->second = second;
	log->grey_in_second = log->grey_capped = 0;
}

void
log_event(struct log *log, const struct link_event_log *e, int64_t wall_us, int64_t at_us)
{
	char out[LOG_LINE_MAX_OCTETS];

	second_turn(log, wall_us);
	if (e->kind == LINK_LOG_RCPT && e->verdict == VERDICT_DEFER && e->rule == RULE_GREYLIST) {
		if (log->grey_in_second >= log->grey_per_s) {
			log->grey_capped++;
			log->capped_total++;
			return;
		}
		log->grey_in_second++;
	}
	buffer_line(log, out, log_format_event(log->format, e, at_us, out));
}

void
log_notice(struct log *log, int64_t wall_us, const char *format, ...)
{
	char text[1024], escaped[LOG_ESCAPED_MAX_OCTETS], out[LOG_LINE_MAX_OCTETS];
	struct line l;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_escape(text, strlen(text), escaped, sizeof(escaped));
	line_begin(&l, out, log->format, wall_us, "notice");
	line_pair(&l, "text", escaped, false);
	buffer_line(log, out, line_end(&l));
}

void
log_flush(struct log *log, int64_t wall_us)
{
	second_turn(log, wall_us);
	if (log->filled > 0)
		buffer_write(log);
}
