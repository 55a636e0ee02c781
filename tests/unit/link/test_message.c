/*
 * test_message.c - records on the rings: log fields built and read, and everything a hostile other side may write.
 */
#include "dataplane/link/message.h"

#include <stdlib.h>

#include "dataplane/link/log_record.h"
#include "dataplane/link/ring.h"
#include "tests/check.h"

enum { SLOTS = 4 };

static struct ring
ring_new(uint32_t slot_octets)
{
	const uint64_t octets = ring_octets(slot_octets, SLOTS);
	void *memory = aligned_alloc(64, octets);
	struct ring r;

	memset(memory, 0, octets);
	ring_bind(&r, memory, slot_octets, SLOTS);
	return r;
}

static void
test_log_record_fields_come_back(void **state)
{
	struct link_event_log rec;
	struct log_field f;
	char big[3000];

	(void)state;
	memset(big, 'x', sizeof(big));
	log_record_start(&rec, LINK_LOG_RCPT, 1234);
	CHECK_TRUE("empty is valid", log_record_valid(&rec) && !log_record_first(&rec, &f));
	CHECK_TRUE("text", log_record_put_text(&rec, LOG_helo, "mail.example.org"));
	CHECK_TRUE("empty text", log_record_put_text(&rec, LOG_from, ""));
	CHECK_TRUE("number", log_record_put_number(&rec, LOG_score, -17));
	CHECK_TRUE("octets", log_record_put(&rec, LOG_reply, "a\0b\n", 4));
	CHECK_TRUE("valid", log_record_valid(&rec));

	CHECK_TRUE("first", log_record_first(&rec, &f));
	CHECK_STR("name", log_field_name(f.id), "helo");
	CHECK_OCTETS("text", f.octets, f.len_octets, "mail.example.org", 16);
	CHECK_TRUE("second", log_record_next(&rec, &f));
	CHECK_EQ("empty", f.len_octets, 0);
	CHECK_TRUE("third", log_record_next(&rec, &f));
	CHECK_OCTETS("number", f.octets, f.len_octets, "-17", 3);
	CHECK_TRUE("fourth", log_record_next(&rec, &f));
	CHECK_OCTETS("octets", f.octets, f.len_octets, "a\0b\n", 4);
	CHECK_TRUE("end", !log_record_next(&rec, &f));
	CHECK_TRUE("found", log_record_find(&rec, LOG_score, &f));
	CHECK_TRUE("not found", !log_record_find(&rec, LOG_dns_ms, &f));

	CHECK_TRUE("too long is cut", log_record_put(&rec, LOG_text, big, sizeof(big)));
	CHECK_TRUE("still valid", log_record_valid(&rec));
	CHECK_TRUE("found", log_record_find(&rec, LOG_text, &f));
	CHECK_EQ("to the end of the record", rec.head.len_octets, sizeof(rec));
	CHECK_TRUE("no room at all", !log_record_put(&rec, LOG_text, "y", 1));
	CHECK_TRUE("still valid", log_record_valid(&rec));
}

static void
test_log_record_has_255_fields_at_most(void **state)
{
	struct link_event_log rec;

	(void)state;
	log_record_start(&rec, LINK_LOG_SESSION, 1);
	for (unsigned i = 0; i < 255; i++)
		CHECK_TRUE("room", log_record_put(&rec, LOG_text, "", 0));
	CHECK_TRUE("no more", !log_record_put(&rec, LOG_text, "", 0));
	CHECK_TRUE("valid", log_record_valid(&rec));
}

static void
test_log_record_names_are_those_of_the_policy(void **state)
{
	(void)state;
	CHECK_STR("left_s", log_field_name(LOG_left_s), "left_s");
	CHECK_STR("backend_reply", log_field_name(LOG_backend_reply), "backend_reply");
	CHECK_STR("none", log_field_name(LOG_FIELD_N), "?");
}

static void
test_log_record_put_does_not_believe_a_length_in_shared_memory(void **state)
{
	struct link_event_log rec;

	(void)state;
	log_record_start(&rec, LINK_LOG_RCPT, 1);
	rec.head.len_octets = 65535;
	CHECK_TRUE("refused", !log_record_put(&rec, LOG_text, "y", 1));
	rec.head.len_octets = 3;
	CHECK_TRUE("refused", !log_record_put(&rec, LOG_text, "y", 1));
}

static uint64_t rng = 4711;

static uint64_t
random64(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* Every octet broken in turn, then noise: valid or not, the reader stays inside. */
static void
test_log_record_hostile_contents(void **state)
{
	union link_event *e = malloc(sizeof(*e));
	struct log_field f;

	(void)state;
	for (unsigned round = 0; round < 30000; round++) {
		uint32_t n = 0, sum = 0;

		memset(e, 0, sizeof(*e));
		log_record_start(&e->log, LINK_LOG_RCPT, 1);
		for (unsigned i = 0; i < 5; i++)
			log_record_put(&e->log, (enum link_log_field)(i * 3), "some text", 9);
		for (unsigned i = 0; i < 1 + round % 4; i++)
			e->octets[random64() % (round % 2 ? 120 : LINK_EVENT_OCTETS)] = (uint8_t)random64();
		for (bool more = log_record_first(&e->log, &f); more; more = log_record_next(&e->log, &f)) {
			CHECK_TRUE(
				"inside", f.octets >= e->octets && f.octets + f.len_octets <= e->octets + sizeof(*e));
			for (uint32_t i = 0; i < f.len_octets; i++)
				sum += f.octets[i];
			CHECK_TRUE("bounded", n++ < 256);
		}
		(void)sum;
		if (log_record_valid(&e->log))
			CHECK_EQ("all fields", n, e->log.n_fields);
	}
	free(e);
}

static void
test_link_event_valid_checks_every_length(void **state)
{
	static const struct {
		const char *label;
		union link_event e;
		bool want;
	} rows[] = {
		{ "client",
			{ .client = { .head = { .type = LINK_EVENT_CLIENT,
					      .len_octets = sizeof(struct link_event_client) } } },
			true },
		{ "client cut", { .client = { .head = { .type = LINK_EVENT_CLIENT, .len_octets = 20 } } }, false },
		{ "type 0", { .head = { .type = 0, .len_octets = 100 } }, false },
		{ "unknown type", { .head = { .type = 9, .len_octets = 100 } }, false },
		{ "backend", { .head = { .type = LINK_EVENT_BACKEND, .len_octets = sizeof(struct link_head) } }, true },
		{ "keys",
			{ .keys = { .head = { .type = LINK_EVENT_KEYS, .len_octets = sizeof(struct link_event_keys) },
				  .result = LINK_KEYS_UNREACHABLE } },
			true },
		{ "keys cut",
			{ .keys = { .head = { .type = LINK_EVENT_KEYS,
					    .len_octets = sizeof(struct link_event_keys) - 1 } } },
			false },
		{ "keys with a result that is none",
			{ .keys = { .head = { .type = LINK_EVENT_KEYS, .len_octets = sizeof(struct link_event_keys) },
				  .result = LINK_KEYS_RESULT_N } },
			false },
		{ "name",
			{ .name = { .head = { .type = LINK_EVENT_NAME, .len_octets = sizeof(struct link_event_name) },
				  .kind = 1,
				  .tag = 5,
				  .sender_len = 320,
				  .rcpt_len = 320 } },
			true },
		{ "name with a sender too long",
			{ .name = { .head = { .type = LINK_EVENT_NAME, .len_octets = sizeof(struct link_event_name) },
				  .kind = 1,
				  .tag = 5,
				  .sender_len = 321 } },
			false },
		{ "name with a rcpt too long",
			{ .name = { .head = { .type = LINK_EVENT_NAME, .len_octets = sizeof(struct link_event_name) },
				  .kind = 1,
				  .tag = 5,
				  .rcpt_len = 65535 } },
			false },
		{ "name beyond its record",
			{ .name = { .head = { .type = LINK_EVENT_NAME, .len_octets = 60 },
				  .kind = 1,
				  .tag = 5,
				  .sender_len = 100 } },
			false },
		{ "name of no tag",
			{ .name = { .head = { .type = LINK_EVENT_NAME, .len_octets = sizeof(struct link_event_name) },
				  .kind = 1 } },
			false },
		{ "name of no kind",
			{ .name = { .head = { .type = LINK_EVENT_NAME, .len_octets = sizeof(struct link_event_name) },
				  .kind = 200,
				  .tag = 5 } },
			false },
		{ "names",
			{ .names = { .head = { .type = LINK_EVENT_NAMES,
					     .len_octets = sizeof(struct link_event_names) },
				  .helo_len = 253,
				  .sender_len = 253 } },
			true },
		{ "a HELO name too long",
			{ .names = { .head = { .type = LINK_EVENT_NAMES,
					     .len_octets = sizeof(struct link_event_names) },
				  .helo_len = 254 } },
			false },
		{ "a sender's domain too long",
			{ .names = { .head = { .type = LINK_EVENT_NAMES,
					     .len_octets = sizeof(struct link_event_names) },
				  .sender_len = 65535 } },
			false },
		{ "names beyond their record",
			{ .names = { .head = { .type = LINK_EVENT_NAMES,
					     .len_octets = offsetof(struct link_event_names, text) + 20 },
				  .helo_len = 10,
				  .sender_len = 11 } },
			false },
		{ "names cut", { .names = { .head = { .type = LINK_EVENT_NAMES, .len_octets = 40 } } }, false },
		{ "log of no kind", { .log = { .head = { .type = LINK_EVENT_LOG, .len_octets = 48 }, .kind = 99 } },
			false },
		{ "log with fields it has not",
			{ .log = { .head = { .type = LINK_EVENT_LOG, .len_octets = 48 }, .n_fields = 1 } }, false },
		{ "log with octets that are no field",
			{ .log = { .head = { .type = LINK_EVENT_LOG, .len_octets = 60 } } }, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_EQ(rows[i].label, link_event_valid(&rows[i].e), rows[i].want);
}

static void
test_link_answer_valid_checks_every_length_and_choice(void **state)
{
	union link_answer a = {
		.client = { .head = { .type = LINK_ANSWER_CLIENT, .len_octets = sizeof(struct link_answer_client) },
			.verdict = { .known = CLIENT_KNOWN },
			.ptr_len = 256 }
	};
	union link_answer b = a;

	(void)state;
	CHECK_TRUE("sound", link_answer_valid(&a));
	b.client.ptr_len = 257;
	CHECK_TRUE("a name too long", !link_answer_valid(&b));
	b = a;
	b.head.len_octets = (uint16_t)(offsetof(struct link_answer_client, ptr) + 10);
	CHECK_TRUE("a name beyond its record", !link_answer_valid(&b));
	b.client.ptr_len = 10;
	CHECK_TRUE("cut to its name", link_answer_valid(&b));
	b = a;
	b.client.verdict.known = 77;
	CHECK_TRUE("a state that does not exist", !link_answer_valid(&b));
	b = a;
	b.client.verdict.score = 1000;
	CHECK_TRUE("a score that cannot be", !link_answer_valid(&b));
	b = (union link_answer){
		.probe = { .head = { .type = LINK_ANSWER_PROBE, .len_octets = sizeof(struct link_answer_probe) } }
	};
	CHECK_TRUE("probe", link_answer_valid(&b));
	b.head.len_octets = 17;
	CHECK_TRUE("probe cut", !link_answer_valid(&b));
	b = (union link_answer){
		.keys = { .head = { .type = LINK_ANSWER_KEYS, .len_octets = sizeof(struct link_answer_keys) },
			.key_type = CERT_KEY_RSA,
			.name = "mx.example" }
	};
	CHECK_TRUE("keys", link_answer_valid(&b));
	b.keys.key_type = CERT_KEY_TYPE_N;
	CHECK_TRUE("keys of a kind that is none", !link_answer_valid(&b));
	b.keys.key_type = CERT_KEY_RSA;
	memset(b.keys.name, 'x', sizeof(b.keys.name));
	CHECK_TRUE("keys with a name that does not end", !link_answer_valid(&b));
	b = (union link_answer){
		.names = { .head = { .type = LINK_ANSWER_NAMES, .len_octets = sizeof(struct link_answer_names) },
			.names = { .known = CLIENT_KNOWN, .helo_score = 999, .sender_score = 999 } }
	};
	CHECK_TRUE("names", link_answer_valid(&b));
	b.names.names.helo_score = -1;
	CHECK_TRUE("nobody speaks for a client by a HELO name", !link_answer_valid(&b));
	b.names.names.helo_score = 1000;
	CHECK_TRUE("a score that cannot be", !link_answer_valid(&b));
	b.names.names.helo_score = 0;
	b.names.names.sender_score = -999;
	CHECK_TRUE("nor by a sender's domain", !link_answer_valid(&b));
	b.names.names.sender_score = 0;
	b.names.names.helo_decisive = 2;
	CHECK_TRUE("a choice that does not exist", !link_answer_valid(&b));
	b.names.names.helo_decisive = 1;
	b.head.len_octets = sizeof(struct link_answer_names) - 1;
	CHECK_TRUE("names cut short", !link_answer_valid(&b));
}

static void
test_link_event_take_copies_checks_and_goes_on(void **state)
{
	struct ring r = ring_new(LINK_EVENT_OCTETS);
	union link_event *slot, out;

	(void)state;
	CHECK_EQ("empty", link_event_take(&r, &out), LINK_EMPTY);
	slot = ring_reserve(&r);
	memset(slot, 0xaa, sizeof(*slot)); /* what an earlier record left */
	slot->client =
		(struct link_event_client){ .head = { .type = LINK_EVENT_CLIENT, .len_octets = sizeof(slot->client) },
			.session = 7 };
	ring_publish(&r);
	slot = ring_reserve(&r);
	slot->head = (struct link_head){ .type = LINK_EVENT_CLIENT, .len_octets = 65535 };
	ring_publish(&r);
	slot = ring_reserve(&r);
	slot->head = (struct link_head){ .type = LINK_EVENT_CLIENT, .len_octets = 3 };
	ring_publish(&r);
	slot = ring_reserve(&r);
	slot->head = (struct link_head){ .type = LINK_EVENT_BACKEND, .len_octets = sizeof(slot->head) };
	ring_publish(&r);

	CHECK_EQ("taken", link_event_take(&r, &out), LINK_TAKEN);
	CHECK_EQ("whole", out.client.session, 7);
	CHECK_EQ("nothing of an earlier record", out.octets[sizeof(out.client)], 0);
	CHECK_EQ("too long", link_event_take(&r, &out), LINK_MALFORMED);
	CHECK_EQ("too short", link_event_take(&r, &out), LINK_MALFORMED);
	CHECK_EQ("and on", link_event_take(&r, &out), LINK_TAKEN);
	CHECK_EQ("empty", link_event_take(&r, &out), LINK_EMPTY);
	free(r.shared);
}

static void
test_link_answer_take_copies_and_checks(void **state)
{
	struct ring r = ring_new(LINK_ANSWER_OCTETS);
	union link_answer *slot = ring_reserve(&r), out;

	(void)state;
	slot->probe =
		(struct link_answer_probe){ .head = { .type = LINK_ANSWER_PROBE, .len_octets = sizeof(slot->probe) },
			.backend_id = 3 };
	ring_publish(&r);
	slot = ring_reserve(&r);
	slot->head = (struct link_head){ .type = LINK_ANSWER_CLIENT, .len_octets = sizeof(*slot) };
	slot->client.ptr_len = 400;
	ring_publish(&r);
	CHECK_EQ("taken", link_answer_take(&r, &out), LINK_TAKEN);
	CHECK_EQ("whole", out.probe.backend_id, 3);
	CHECK_EQ("malformed", link_answer_take(&r, &out), LINK_MALFORMED);
	CHECK_EQ("empty", link_answer_take(&r, &out), LINK_EMPTY);
	free(r.shared);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_log_record_fields_come_back),
		cmocka_unit_test(test_log_record_has_255_fields_at_most),
		cmocka_unit_test(test_log_record_names_are_those_of_the_policy),
		cmocka_unit_test(test_log_record_put_does_not_believe_a_length_in_shared_memory),
		cmocka_unit_test(test_log_record_hostile_contents),
		cmocka_unit_test(test_link_event_valid_checks_every_length),
		cmocka_unit_test(test_link_answer_valid_checks_every_length_and_choice),
		cmocka_unit_test(test_link_event_take_copies_checks_and_goes_on),
		cmocka_unit_test(test_link_answer_take_copies_and_checks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
