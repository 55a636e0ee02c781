/*
 * message.c - copies records off a ring and checks them.
 *
 * Flow:   see message.h.
 * Touches: the ring's shared memory, read once.
 * Keeps:  what leaves here has every length inside its record; octets beyond a record's length are zero, so that no
 *         copy shows what an earlier record left in the slot.
 */
#include "dataplane/link/message.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "dataplane/link/log_record.h"
#include "dataplane/link/ring.h"
#include "dataplane/table/verdict_table.h"

static_assert(sizeof(union link_event) == LINK_EVENT_OCTETS, "an event fits its slot");
static_assert(sizeof(union link_answer) == LINK_ANSWER_OCTETS, "an answer fits its slot");

static bool
name_valid(const struct link_event_name *n)
{
	return n->sender_len <= LINK_NAME_PART_MAX_OCTETS && n->rcpt_len <= LINK_NAME_PART_MAX_OCTETS &&
	       offsetof(struct link_event_name, text) + n->sender_len + n->rcpt_len <= n->head.len_octets &&
	       n->kind != VT_FREE && n->kind <= VT_KIND_KNOWN && n->tag != 0;
}

static bool
names_valid(const struct link_event_names *n)
{
	return n->helo_len <= LINK_DOMAIN_MAX_OCTETS && n->sender_len <= LINK_DOMAIN_MAX_OCTETS &&
	       offsetof(struct link_event_names, text) + n->helo_len + n->sender_len <= n->head.len_octets;
}

bool
link_event_valid(const union link_event *e)
{
	switch ((enum link_event_type)e->head.type) {
	case LINK_EVENT_CLIENT:
		return e->head.len_octets >= sizeof(e->client);
	case LINK_EVENT_NAME:
		return e->head.len_octets >= offsetof(struct link_event_name, text) && name_valid(&e->name);
	case LINK_EVENT_LOG:
		return log_record_valid(&e->log);
	case LINK_EVENT_NAMES:
		return e->head.len_octets >= offsetof(struct link_event_names, text) && names_valid(&e->names);
	case LINK_EVENT_BACKEND:
		return e->head.len_octets >= sizeof(e->head);
	case LINK_EVENT_KEYS:
		return e->head.len_octets >= sizeof(e->keys) && e->keys.result < LINK_KEYS_RESULT_N;
	}
	return false;
}

static bool
verdict_valid(const struct client_verdict *v)
{
	return v->known <= CLIENT_LATE && v->ptr_state <= PTR_TEMPERR && v->name_list <= NAME_LIST_BIG_SENDER &&
	       v->score >= -999 && v->score <= 999;
}

static bool
name_verdict_valid(const struct name_verdict *v)
{
	return v->known <= CLIENT_LATE && v->helo_decisive <= 1 && v->helo_score >= 0 && v->helo_score <= 999 &&
	       v->sender_score >= 0 && v->sender_score <= 999;
}

bool
link_answer_valid(const union link_answer *a)
{
	switch ((enum link_answer_type)a->head.type) {
	case LINK_ANSWER_CLIENT:
		return a->head.len_octets >= offsetof(struct link_answer_client, ptr) &&
		       a->client.ptr_len <= sizeof(a->client.ptr) &&
		       offsetof(struct link_answer_client, ptr) + a->client.ptr_len <= a->head.len_octets &&
		       verdict_valid(&a->client.verdict);
	case LINK_ANSWER_PROBE:
		return a->head.len_octets >= sizeof(a->probe);
	case LINK_ANSWER_NAMES:
		return a->head.len_octets >= sizeof(a->names) && name_verdict_valid(&a->names.names);
	case LINK_ANSWER_KEYS:
		return a->head.len_octets >= sizeof(a->keys) && a->keys.key_type < CERT_KEY_TYPE_N &&
		       memchr(a->keys.name, '\0', sizeof(a->keys.name)) != NULL;
	}
	return false;
}

/* The head is read once, and what it says about the length holds for the copy. */
static enum link_take
take(struct ring *r, uint8_t *out, uint32_t slot_octets)
{
	const uint8_t *slot = ring_front(r);
	struct link_head head;

	if (slot == NULL)
		return LINK_EMPTY;
	memcpy(&head, slot, sizeof(head));
	if (head.len_octets < sizeof(head) || head.len_octets > slot_octets) {
		ring_release(r);
		return LINK_MALFORMED;
	}
	memcpy(out, &head, sizeof(head));
	memcpy(out + sizeof(head), slot + sizeof(head), head.len_octets - sizeof(head));
	memset(out + head.len_octets, 0, slot_octets - head.len_octets);
	ring_release(r);
	return LINK_TAKEN;
}

enum link_take
link_event_take(struct ring *r, union link_event *out)
{
	const enum link_take t = take(r, out->octets, sizeof(*out));

	return t == LINK_TAKEN && !link_event_valid(out) ? LINK_MALFORMED : t;
}

enum link_take
link_answer_take(struct ring *r, union link_answer *out)
{
	const enum link_take t = take(r, out->octets, sizeof(*out));

	return t == LINK_TAKEN && !link_answer_valid(out) ? LINK_MALFORMED : t;
}
