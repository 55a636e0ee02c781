/*
 * log_record.h - log lines as they travel: fields of (id, length, octets) in an event.
 *
 * Flow:   worker: log_record_start(), log_record_put() -> event ring -> control: log_record_first(), log_record_next()
 *         -> a line
 * Pure:   the record given; borrowed.
 * Keeps:  a record is well formed after every call, whatever did not fit; a reader of log_record_valid() records never
 *         leaves them. Values are octets as they came from the peer: the one who writes the line escapes them.
 */
#ifndef GREYLINE_LINK_LOG_RECORD_H
#define GREYLINE_LINK_LOG_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/link/message.h"

#define LOG_FIELD_HEAD_OCTETS 3 /* id and length */

/* Makes an empty record; the caller fills head's worker and incarnations, rule, verdict, ref and client as it knows
 * them. */
void log_record_start(struct link_event_log *rec, enum link_log_kind kind, uint32_t policy_s);

/* Appends a field. What does not fit whole is cut at the record's end; false where not even one octet had room, or 255
 * fields are there. */
bool log_record_put(struct link_event_log *rec, enum link_log_field field, const void *octets, uint32_t len_octets);
bool log_record_put_text(struct link_event_log *rec, enum link_log_field field, const char *text);
bool log_record_put_number(struct link_event_log *rec, enum link_log_field field, int64_t value);

/* Whether the record's length, kind, verdict, rule and all its fields are as they should be. */
bool log_record_valid(const struct link_event_log *rec);

struct log_field {
	enum link_log_field id;
	uint32_t len_octets;
	const uint8_t *octets; /* lends until the record goes */
	uint32_t at;           /* where the next field begins */
	uint32_t index;        /* of this field */
};

/* The fields in the order they were put. Every length is checked again: false at the end and at anything malformed. */
bool log_record_first(const struct link_event_log *rec, struct log_field *f);
bool log_record_next(const struct link_event_log *rec, struct log_field *f);
/* The first field of that id. */
bool log_record_find(const struct link_event_log *rec, enum link_log_field id, struct log_field *f);

/* "client", "left_s": as in POLICY section 8; "?" for an id that is none. */
const char *log_field_name(enum link_log_field id);

#endif
