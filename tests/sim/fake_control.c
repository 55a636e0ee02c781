/*
 * fake_control.c - control as a test plays it in the simulator: answers as told, keeps log lines.
 */
#include "tests/sim/peers.h"

#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/link/log_record.h"

static void
keep_log(struct fake_control *c, const struct link_event_log *e)
{
	char *line = c->log[c->n_log++ % ARRAY_LEN(c->log)];
	size_t n = (size_t)snprintf(line, sizeof(c->log[0]), "kind=%u", e->kind);
	struct log_field f;

	BUG_ON(!log_record_valid(e));
	for (bool more = log_record_first(e, &f); more; more = log_record_next(e, &f))
		n += (size_t)snprintf(line + n, sizeof(c->log[0]) - n, " %s=%.*s", log_field_name(f.id),
			(int)MIN(f.len_octets, 300u), (const char *)f.octets);
}

static void
answer(struct fake_control *c, const union link_answer *a, uint16_t worker)
{
	union link_answer *to = ring_reserve(&sim_segment(c->sim)->answer[worker]);

	if (to == NULL)
		return;
	memcpy(to, a, a->head.len_octets);
	ring_publish(&sim_segment(c->sim)->answer[worker]);
}

static void
answer_after(struct fake_control *c, const union link_answer *a, uint16_t worker, uint64_t delay_us)
{
	if (delay_us == 0) {
		answer(c, a, worker);
		return;
	}
	BUG_ON(c->n_held == ARRAY_LEN(c->held));
	c->held[c->n_held].due_us = sim_now_us(c->sim) + delay_us;
	c->held[c->n_held].worker = worker;
	c->held[c->n_held++].a = *a;
}

static void
name_question(struct fake_control *c, const struct link_event_names *e)
{
	union link_answer a = {
		.names = { .head = e->head, .session = e->session, .transaction = e->transaction, .names = c->names }
	};

	c->n_name_questions++;
	snprintf(c->asked_helo, sizeof(c->asked_helo), "%.*s", e->helo_len, e->text);
	snprintf(c->asked_sender, sizeof(c->asked_sender), "%.*s", e->sender_len, e->text + e->helo_len);
	a.head.type = LINK_ANSWER_NAMES;
	a.head.len_octets = sizeof(a.names);
	a.names.names.known = CLIENT_KNOWN;
	if (!c->names_silent)
		answer_after(c, &a, e->head.worker, c->names_delay_us);
}

static void
question(struct fake_control *c, const struct link_event_client *e)
{
	union link_answer a = { .client = {
					.head = e->head,
					.session = e->session,
					.client = e->client,
					.verdict = c->verdict,
				} };

	c->n_questions++;
	c->n_last_name_questions += e->want_name == LINK_WANT_LAST_NAME;
	a.head.type = LINK_ANSWER_CLIENT;
	a.head.len_octets = sizeof(a.client);
	a.client.verdict.known = CLIENT_KNOWN;
	if (c->ptr != NULL) {
		a.client.ptr_len = (uint16_t)strlen(c->ptr);
		memcpy(a.client.ptr, c->ptr, a.client.ptr_len);
	}
	if (!c->silent)
		answer_after(c, &a, e->head.worker, c->delay_us);
}

void
fake_control_step(struct fake_control *c)
{
	for (uint32_t i = 0; i < sim_segment(c->sim)->n_workers; i++) {
		const void *record;

		while ((record = ring_front(&sim_segment(c->sim)->event[i])) != NULL) {
			const struct link_head *head = record;

			if (head->type == LINK_EVENT_CLIENT)
				question(c, record);
			else if (head->type == LINK_EVENT_NAMES)
				name_question(c, record);
			else if (head->type == LINK_EVENT_KEYS)
				memcpy(&c->keys, head, sizeof(c->keys));
			else if (head->type == LINK_EVENT_LOG)
				keep_log(c, record);
			ring_release(&sim_segment(c->sim)->event[i]);
		}
	}
	for (uint32_t i = 0; i < c->n_held;) {
		if (c->held[i].due_us > sim_now_us(c->sim)) {
			i++;
			continue;
		}
		answer(c, &c->held[i].a, c->held[i].worker);
		c->held[i] = c->held[--c->n_held];
	}
}

const char *
fake_control_find(const struct fake_control *c, const char *text)
{
	for (uint32_t i = c->n_log; i-- > 0 && i + ARRAY_LEN(c->log) >= c->n_log;)
		if (strstr(c->log[i % ARRAY_LEN(c->log)], text) != NULL)
			return c->log[i % ARRAY_LEN(c->log)];
	return "";
}
