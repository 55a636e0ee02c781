/*
 * log_record.c - see log_record.h.
 *
 * Pure:   see the header.
 * Keeps:  head.len_octets is where the next field goes: one length, not two that could differ. Field lengths are in
 *         host order, as both ends are one machine.
 */
#include "dataplane/link/log_record.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "dataplane/base/bug.h"

#define FIELDS_START offsetof(struct link_event_log, fields)

static_assert(sizeof(struct link_event_log) <= LINK_EVENT_OCTETS, "a log record fits its slot");
static_assert(LOG_FIELD_N <= UINT8_MAX, "an id has one octet");

void
log_record_start(struct link_event_log *rec, enum link_log_kind kind, uint32_t policy_s)
{
	memset(rec, 0, FIELDS_START);
	rec->head.type = LINK_EVENT_LOG;
	rec->head.len_octets = (uint16_t)FIELDS_START;
	rec->policy_s = policy_s;
	rec->kind = (uint8_t)kind;
}

bool
log_record_put(struct link_event_log *rec, enum link_log_field field, const void *octets, uint32_t len_octets)
{
	const uint32_t record_octets = __atomic_load_n(&rec->head.len_octets, __ATOMIC_RELAXED);
	const uint32_t used = record_octets - (uint32_t)FIELDS_START;
	const uint32_t room = (uint32_t)sizeof(rec->fields) - used;
	uint32_t len = len_octets;
	uint16_t len16;

	BUG_ON(field >= LOG_FIELD_N);
	/* built in a slot of the ring, the record is memory the other side can write to: its length is not believed
	 * either */
	if (record_octets < FIELDS_START || used > sizeof(rec->fields) || room < LOG_FIELD_HEAD_OCTETS ||
		rec->n_fields == UINT8_MAX)
		return false;
	len = MIN(len, room - LOG_FIELD_HEAD_OCTETS);
	if (len == 0 && len_octets > 0)
		return false;
	len16 = (uint16_t)len;
	rec->fields[used] = (uint8_t)field;
	memcpy(&rec->fields[used + 1], &len16, sizeof(len16));
	if (len > 0)
		memcpy(&rec->fields[used + LOG_FIELD_HEAD_OCTETS], octets, len);
	rec->head.len_octets = (uint16_t)(record_octets + LOG_FIELD_HEAD_OCTETS + len);
	rec->n_fields++;
	return true;
}

bool
log_record_put_text(struct link_event_log *rec, enum link_log_field field, const char *text)
{
	return log_record_put(rec, field, text, (uint32_t)strnlen(text, sizeof(rec->fields)));
}

bool
log_record_put_number(struct link_event_log *rec, enum link_log_field field, int64_t value)
{
	char text[24]; /* filled from its end; by hand, because a session's line has several numbers */
	uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
	uint32_t at = sizeof(text);

	do {
		text[--at] = (char)('0' + left % 10);
		left /= 10;
	} while (left > 0);
	if (value < 0)
		text[--at] = '-';
	return log_record_put(rec, field, text + at, (uint32_t)sizeof(text) - at);
}

/* The field at f->at. */
static bool
read_field(const struct link_event_log *rec, struct log_field *f)
{
	const uint32_t end = MIN(rec->head.len_octets, (uint32_t)sizeof(*rec));
	uint32_t at = f->at;
	uint16_t len;

	if (f->index >= rec->n_fields || end < FIELDS_START || at > end - FIELDS_START ||
		end - FIELDS_START - at < LOG_FIELD_HEAD_OCTETS)
		return false;
	memcpy(&len, &rec->fields[at + 1], sizeof(len));
	if (rec->fields[at] >= LOG_FIELD_N || len > end - FIELDS_START - at - LOG_FIELD_HEAD_OCTETS)
		return false;
	f->id = (enum link_log_field)rec->fields[at];
	f->len_octets = len;
	f->octets = &rec->fields[at + LOG_FIELD_HEAD_OCTETS];
	f->at = at + LOG_FIELD_HEAD_OCTETS + len;
	return true;
}

bool
log_record_first(const struct link_event_log *rec, struct log_field *f)
{
	*f = (struct log_field){ 0 };
	return read_field(rec, f);
}

bool
log_record_next(const struct link_event_log *rec, struct log_field *f)
{
	f->index++;
	return read_field(rec, f);
}

bool
log_record_find(const struct link_event_log *rec, enum link_log_field id, struct log_field *f)
{
	for (bool more = log_record_first(rec, f); more; more = log_record_next(rec, f)) {
		if (f->id == id)
			return true;
	}
	return false;
}

bool
log_record_valid(const struct link_event_log *rec)
{
	struct log_field f;
	uint32_t n = 0;

	if (rec->head.type != LINK_EVENT_LOG || rec->head.len_octets < FIELDS_START ||
		rec->head.len_octets > sizeof(*rec) || rec->kind > LINK_LOG_NOTICE || rec->verdict > VERDICT_WAIT ||
		rec->rule > RULE_GREYLIST)
		return false;
	f.at = 0;
	for (bool more = log_record_first(rec, &f); more; more = log_record_next(rec, &f))
		n++;
	return n == rec->n_fields && f.at == rec->head.len_octets - FIELDS_START;
}

const char *
log_field_name(enum link_log_field id)
{
	static const char *const names[LOG_FIELD_N] = {
#define X(name) #name,
		LINK_LOG_FIELDS(X)
#undef X
	};

	return id < LOG_FIELD_N ? names[id] : "?";
}
