/*
 * fuzz_link_message.c - a slot of a ring as a hostile other side may leave it: taken, checked, read as control and
 * workers do.
 *
 * Input:  one octet (even: event, odd: answer), then the octets of the slot.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/link/log_record.h"
#include "dataplane/link/message.h"
#include "dataplane/link/ring.h"
#include "dataplane/policy/dnsbl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As control reads them: what is asked about is a domain of two labels at least, whatever stood in the record. */
static void
names_askable(const char *text, uint16_t octets)
{
	char name[DNSBL_NAME_MAX_OCTETS + 1], again[DNSBL_NAME_MAX_OCTETS + 1], question[DNSBL_NAME_MAX_OCTETS + 1];
	const size_t n = dnsbl_domain_askable(text, octets, name);

	BUG_ON(n > octets || (n > 0 && (strlen(name) != n || strchr(name, '.') == NULL)));
	if (n == 0)
		return;
	BUG_ON(dnsbl_domain_askable(name, n, again) != n || strcmp(name, again) != 0);
	BUG_ON(dnsbl_query_domain(name, "zone.example", question, sizeof(question)) > DNSBL_NAME_MAX_OCTETS);
}

static void
read_event(const union link_event *e)
{
	struct log_field f;
	uint32_t n = 0, sum = 0;

	switch ((enum link_event_type)e->head.type) {
	case LINK_EVENT_LOG:
		for (bool more = log_record_first(&e->log, &f); more; more = log_record_next(&e->log, &f)) {
			BUG_ON(f.octets < e->octets || f.octets + f.len_octets > e->octets + sizeof(*e));
			BUG_ON(log_field_name(f.id)[0] == '?');
			for (uint32_t i = 0; i < f.len_octets; i++)
				sum += f.octets[i];
			n++;
		}
		BUG_ON(n != e->log.n_fields || sum == UINT32_MAX);
		break;
	case LINK_EVENT_NAME:
		BUG_ON((size_t)e->name.sender_len + e->name.rcpt_len > sizeof(e->name.text));
		break;
	case LINK_EVENT_NAMES:
		BUG_ON((size_t)e->names.helo_len + e->names.sender_len > sizeof(e->names.text));
		names_askable(e->names.text, e->names.helo_len);
		names_askable(e->names.text + e->names.helo_len, e->names.sender_len);
		break;
	case LINK_EVENT_KEYS:
		BUG_ON(e->keys.result >= LINK_KEYS_RESULT_N);
		break;
	case LINK_EVENT_CLIENT:
	case LINK_EVENT_BACKEND:
		break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static _Alignas(64) uint8_t memory[128 + LINK_EVENT_OCTETS];
	const bool is_event = size == 0 || data[0] % 2 == 0;
	const uint32_t slot_octets = is_event ? LINK_EVENT_OCTETS : LINK_ANSWER_OCTETS;
	union link_answer answer;
	union link_event event;
	struct ring r;

	if (size < 1)
		return 0;
	memset(memory, 0x5a, sizeof(memory));
	memset(memory, 0, 128);
	ring_bind(&r, memory, slot_octets, 1);
	memcpy(ring_reserve(&r), data + 1, MIN(size - 1, (size_t)slot_octets));
	ring_publish(&r);
	if (is_event) {
		if (link_event_take(&r, &event) == LINK_TAKEN)
			read_event(&event);
	} else if (link_answer_take(&r, &answer) == LINK_TAKEN) {
		BUG_ON(answer.head.type == LINK_ANSWER_CLIENT && answer.client.ptr_len > sizeof(answer.client.ptr));
		BUG_ON(answer.head.type == LINK_ANSWER_NAMES &&
			(answer.names.names.helo_score < 0 || answer.names.names.sender_score < 0));
	}
	BUG_ON(ring_front(&r) != NULL);
	return 0;
}
