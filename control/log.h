/*
 * log.h - the mail log: records of the event rings as lines of key=value or JSON.
 *
 * Flow:   events.c -> log_event() -> buffer -> log_flush() each turn -> file
 * Touches: one file, opened for appending, not blocking; log_format_event() alone is pure.
 * Keeps:  one line for each record; nothing a peer sends can begin a field or a line; printable ASCII; a line that cannot be written is
 *         counted, never waited for.
 * Source: POLICY section 8.
 */
#ifndef GREYLINE_CONTROL_LOG_H
#define GREYLINE_CONTROL_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/link/log_record.h"
#include "dataplane/link/message.h"

enum log_format { LOG_FORMAT_KV, LOG_FORMAT_JSON };

#define LOG_LINE_MAX_OCTETS 16384
#define LOG_BUFFER_OCTETS   (1u << 20)

struct log {
	int fd; /* -1: none */
	char path[512];
	enum log_format format;
	uint32_t grey_per_s;
	char *buffer; /* LOG_BUFFER_OCTETS */
	size_t filled;
	int64_t second; /* the wall second being counted */
	uint32_t grey_in_second, grey_capped;
	uint64_t lines, lost, capped_total;
	int error; /* of the last write, 0 when it went well */
};

void log_init(struct log *log);
/* Opens (or opens anew) path, "" for none. 0 or -errno; then lines are counted as lost, and it is tried again every second. */
int log_open(struct log *log, const char *path);
void log_fini(struct log *log);

/* One record, already checked for its length. wall_us: now, for the caps; at_us: when it happened; both microseconds since 1970. */
void log_event(struct log *log, const struct link_event_log *e, int64_t wall_us, int64_t at_us);
/* A line of our own. text is escaped. */
void log_notice(struct log *log, int64_t wall_us, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Writes what is buffered and, when the second is over, the summary of capped lines. */
void log_flush(struct log *log, int64_t wall_us);

/* The line without newline into out (LOG_LINE_MAX_OCTETS), NUL-terminated; its octets. */
size_t log_format_event(enum log_format format, const struct link_event_log *e, int64_t wall_us, char *out);

/* The text of a field into out, escaped to printable ASCII; false when the record has no such field. */
bool log_text(const struct link_event_log *e, enum link_log_field field, char *out, size_t octets);
/* Octets as printable ASCII: what is not becomes \xHH, a backslash \\. Returns the octets written, out is NUL-terminated. */
size_t log_escape(const void *octets, size_t n, char *out, size_t room);

#endif
