/*
 * test_tls_backends.c - backends that demand TLS, or may have it, as worker 0 asks them: healthy or not, what they offer, whether they relay
 * for strangers, in the order of POLICY section 5.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

static const struct sim_wire clean = { .delay_us = 500 };
static struct scene s; /* one at a time */
static const char body[] = "Subject: hello\r\n\r\nfirst line\r\n";

static void
conf(void)
{
	scene_conf(&s);
	s.config.conf.grey_block_s = 1;
	scene_tls(&s, &scene_certs);
}

static void
speaks_tls(struct fake_mta *m, bool only)
{
	m->tls_create = scene_tls_backend;
	m->tls_arg = &s;
	m->tls_only = only;
}

static const struct backend_state *
state_of(uint32_t backend)
{
	return segment_backend(sim_segment(s.sim), s.config.backend[backend].id, false);
}

static uint64_t
counted(enum counter which)
{
	return sim_segment(s.sim)->counters[0].value[which];
}

static void
check_words(const char *label, uint32_t backend, const char *words)
{
	if (strstr(state_of(backend)->words, words) == NULL)
		fail_msg("%s: words \"%s\"", label, state_of(backend)->words);
}

/* Each way of telling the client's address: PROXY 2, XCLIENT, PROXY 1. */
static void
test_backends_that_demand_tls_are_up_and_tested_for_relaying(void **state)
{
	struct fake_mta *const mta[] = { &s.mta, &s.mta_x, &s.mta_v1 };
	char from[64];

	(void)state;
	conf();
	for (uint32_t i = 0; i < ARRAY_LEN(mta); i++) {
		s.config.backend[i].tls = BACKEND_TLS_REQUIRE;
		speaks_tls(mta[i], true);
		mta[i]->ext = "250-SIZE 50000000\r\n250-8BITMIME\r\n";
	}
	scene_start(&s, 1, 1, clean);
	scene_settle(&s);
	for (uint32_t i = 0; i < ARRAY_LEN(mta); i++) {
		snprintf(from, sizeof(from), "backend %u", i);
		CHECK_EQ(from, state_of(i)->health, BACKEND_UP);
		CHECK_EQ(from, state_of(i)->under_tls, 1);
		CHECK_EQ("what it says under TLS", state_of(i)->size_octets, 50000000);
		CHECK_TRUE("it was tested as a stranger", state_of(i)->relaytest_s != 0);
		CHECK_TRUE("and TLS was spoken", mta[i]->n_tls >= 1);
	}
	CHECK_EQ("none failed", counted(CTR_tls_backend_failed), 0);
	/* and a session has what was found */
	CHECK_EQ("first", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
	CHECK_TRUE("SIZE is offered", strstr(s.reply, "seconds") != NULL);
	sim_run(s.sim, 3000000);
	CHECK_EQ("retry", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	scene_end(&s);
}

static void
test_open_relays_behind_tls_are_taken_out_of_service(void **state)
{
	struct fake_mta *const mta[] = { &s.mta, &s.mta_x, &s.mta_v1 };

	(void)state;
	for (uint32_t tls = BACKEND_TLS_MAY; tls <= BACKEND_TLS_REQUIRE; tls++) {
		conf();
		for (uint32_t i = 0; i < ARRAY_LEN(mta); i++) {
			s.config.backend[i].tls = (uint8_t)tls;
			speaks_tls(mta[i], true);
			mta[i]->open_relay = true;
		}
		scene_start(&s, 1, 1, clean);
		scene_settle(&s);
		for (uint32_t i = 0; i < ARRAY_LEN(mta); i++) {
			CHECK_EQ("open relay", state_of(i)->health, BACKEND_OPEN_RELAY);
			check_words("which says what to do", i, "mynetworks");
		}
		CHECK_EQ("nobody gets there", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body),
			451);
		sim_run(s.sim, 3000000);
		CHECK_EQ("nobody gets there", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body),
			451);
		CHECK_EQ("no message", s.mta.n_messages + s.mta_x.n_messages + s.mta_v1.n_messages, 0);
		scene_end(&s);
	}
}

/* What a session with it would meet is what the probe says. */
static void
test_a_backend_without_the_tls_demanded_goes_down_and_comes_back(void **state)
{
	(void)state;
	conf();
	s.config.backend[0].tls = BACKEND_TLS_REQUIRE;
	s.config.pool[0].backends = 1;
	scene_start(&s, 1, 1, clean);
	sim_run(s.sim, 20000000);
	CHECK_EQ("down", state_of(0)->health, BACKEND_DOWN);
	check_words("not offered", 0, "STARTTLS is not offered");
	CHECK_TRUE("logged", fake_control_find(&s.control, "is down: STARTTLS is not offered")[0] != '\0');
	speaks_tls(&s.mta, true);
	sim_run(s.sim, 20000000);
	CHECK_EQ("up by itself", state_of(0)->health, BACKEND_UP);
	s.mta.at_starttls = FAKE_4XX;
	sim_run(s.sim, 100000000); /* while up it is asked twice a minute */
	CHECK_EQ("down", state_of(0)->health, BACKEND_DOWN);
	s.mta.at_starttls = FAKE_RAW;
	s.mta.raw = "220 go on\r\n250 injected\r\n";
	sim_run(s.sim, 20000000);
	check_words("injection", 0, "octets behind the answer to STARTTLS");
	s.mta.raw = "220 go on\r\n"; /* and no handshake */
	s.mta.tolerant = true;
	sim_run(s.sim, 40000000);
	check_words("no handshake", 0, "TLS");
	CHECK_EQ("still down", state_of(0)->health, BACKEND_DOWN);
	s.mta.at_starttls = FAKE_OK;
	sim_run(s.sim, 20000000);
	CHECK_EQ("up by itself", state_of(0)->health, BACKEND_UP);
	scene_end(&s);
}

static void
test_a_backend_with_another_key_is_down_whatever_it_offers(void **state)
{
	(void)state;
	conf();
	s.config.backend[0].tls = BACKEND_TLS_MAY;
	s.config.backend[0].n_fingerprints = 1; /* of nobody */
	s.config.pool[0].backends = 1;
	speaks_tls(&s.mta, false);
	scene_start(&s, 1, 1, clean);
	sim_run(s.sim, 20000000);
	CHECK_EQ("down", state_of(0)->health, BACKEND_DOWN);
	check_words("why", 0, "tls-unverified");
	CHECK_TRUE("counted", counted(CTR_tls_backend_unverified) >= 3);
	scene_end(&s);
}

static void
test_a_backend_that_may_have_tls_is_asked_in_plain_text_where_it_fails(void **state)
{
	(void)state;
	conf();
	s.config.backend[0].tls = BACKEND_TLS_MAY;
	speaks_tls(&s.mta, false);
	s.mta.at_starttls = FAKE_RAW;
	s.mta.raw = "220 go on\r\n"; /* and no handshake follows */
	s.mta.tolerant = true;
	s.mta.ext = "250-SIZE 7000000\r\n";
	scene_start(&s, 1, 1, clean);
	scene_settle(&s);
	CHECK_EQ("up", state_of(0)->health, BACKEND_UP);
	CHECK_EQ("in plain text", state_of(0)->under_tls, 0);
	CHECK_EQ("with its extensions", state_of(0)->size_octets, 7000000);
	CHECK_TRUE("tested for relaying all the same", state_of(0)->relaytest_s != 0);
	CHECK_TRUE("counted", counted(CTR_tls_backend_failed) >= 1);
	s.mta.at_starttls = FAKE_OK;
	sim_run(s.sim, 40000000);
	CHECK_EQ("by TLS once it works", state_of(0)->under_tls, 1);
	scene_end(&s);
}

/* Its 530 is said to the gateway, which came without TLS: a client that was told so would take its mail back. */
static void
test_a_demand_for_tls_is_our_failure_and_not_the_clients(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 2; i++) {
		conf();
		s.config.pool[0].backends = 1;
		s.mta.tls_only = true;
		s.mta.ext = i == 0 ? "" : "250-PIPELINING\r\n";
		scene_start(&s, 1, 1, clean);
		sim_run(s.sim, 5000000);
		s.mta.ext = i == 0 ? NULL : "250-PIPELINING\r\n";
		CHECK_EQ("first", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
		sim_run(s.sim, 3000000);
		CHECK_EQ("retry", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
		CHECK_STR("as any failure of ours", s.reply,
			"451 4.3.0 Mail server temporarily unavailable, please try again later\r\n");
		CHECK_TRUE(
			"and the log has its words", fake_control_find(&s.control, "Must issue a STARTTLS")[0] != '\0');
		scene_end(&s);
	}
}

/* ---- cert check: the data plane's part ---- */

static bool
is_answered(void *arg)
{
	(void)arg;
	return s.control.keys.question != 0;
}

static const struct link_event_keys *
keys_of(uint32_t backend_id, uint32_t kind, const char *name)
{
	static uint64_t question;
	struct segment *seg = sim_segment(s.sim);
	struct link_answer_keys *slot = ring_reserve(&seg->answer[0]);

	*slot = (struct link_answer_keys){ .head = { .type = LINK_ANSWER_KEYS,
						   .len_octets = sizeof(*slot),
						   .dataplane_incarnation = seg->incarnation },
		.question = ++question,
		.backend_id = backend_id,
		.key_type = kind };
	snprintf(slot->name, sizeof(slot->name), "%s", name);
	ring_publish(&seg->answer[0]);
	s.control.keys = (struct link_event_keys){ 0 };
	CHECK_TRUE("an answer", sim_until(s.sim, 30000000, is_answered, NULL));
	CHECK_EQ("to this question", s.control.keys.question, question);
	return &s.control.keys;
}

static void
test_a_backend_is_asked_for_its_certificates(void **state)
{
	const struct link_event_keys *k = &s.control.keys;
	uint8_t ecdsa[32], rsa[32];
	uint32_t id;

	(void)state;
	tls_certs_fingerprint(&scene_certs, "gw-ecdsa", ecdsa);
	tls_certs_fingerprint(&scene_certs, "gw-rsa", rsa);
	conf(); /* tls = never: it is asked all the same */
	speaks_tls(&s.mta, false);
	speaks_tls(&s.mta_x, true);
	scene_start(&s, 1, 1, clean);
	scene_settle(&s);
	for (uint32_t i = 0; i < 2; i++) {
		id = s.config.backend[i].id;
		keys_of(id, CERT_KEY_ECDSA, "gw.example");
		CHECK_EQ(k->shown.why, k->result, LINK_KEYS_SHOWN);
		CHECK_OCTETS("its ECDSA key", k->shown.spki_sha256, 32, ecdsa, 32);
		CHECK_EQ("kind", k->shown.key_type, CERT_KEY_ECDSA);
		CHECK_STR("names", k->shown.names, "gw.example");
		CHECK_TRUE("dates", k->shown.not_after > k->shown.not_before && k->shown.not_before > 0);
		keys_of(id, CERT_KEY_RSA, "");
		CHECK_EQ(k->shown.why, k->result, LINK_KEYS_SHOWN);
		CHECK_OCTETS("its RSA key", k->shown.spki_sha256, 32, rsa, 32);
		CHECK_EQ("bits", k->shown.key_bits, 2048);
		keys_of(id, CERT_KEY_ED25519, "gw.example");
		CHECK_EQ("it has none of that kind", k->result, LINK_KEYS_TLS_FAILED);
	}
	CHECK_EQ("nobody's state follows from that", state_of(0)->failures, 0);
	CHECK_EQ("nor is it spoken to by TLS now", state_of(0)->under_tls, 0);
	keys_of(s.config.backend[2].id, CERT_KEY_RSA, "gw.example");
	CHECK_EQ("no STARTTLS", k->result, LINK_KEYS_NO_STARTTLS);
	CHECK_STR("words", k->shown.why, "STARTTLS is not offered");
	s.mta.at_starttls = FAKE_4XX;
	keys_of(s.config.backend[0].id, CERT_KEY_RSA, "gw.example");
	CHECK_EQ("refused", k->result, LINK_KEYS_NO_STARTTLS);
	s.mta.at_starttls = FAKE_CLOSE;
	keys_of(s.config.backend[0].id, CERT_KEY_RSA, "gw.example");
	CHECK_EQ("closed", k->result, LINK_KEYS_UNREACHABLE);
	s.mta.at_starttls = FAKE_OK;
	s.mta.at_banner = FAKE_SILENT;
	keys_of(s.config.backend[0].id, CERT_KEY_RSA, "gw.example");
	CHECK_EQ("silent", k->result, LINK_KEYS_UNREACHABLE);
	CHECK_TRUE(k->shown.why, strstr(k->shown.why, "no answer in time") != NULL);
	keys_of(4711, CERT_KEY_RSA, "gw.example");
	CHECK_STR("nobody", k->shown.why, "it is not configured");
	scene_end(&s);
}

/* Every octet of a backend's side of the probe arrives alone, over a wire that loses some. */
static void
test_a_probe_by_tls_over_a_bad_wire(void **state)
{
	static const struct sim_wire lossy = {
		.loss = 30, .duplicate = 10, .reorder = 20, .delay_us = 3000, .jitter_us = 2000
	};

	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		conf();
		s.config.backend[0].tls = BACKEND_TLS_REQUIRE;
		speaks_tls(&s.mta, true);
		s.mta.dribble = seed % 2 == 0;
		scene_start(&s, seed, 1, lossy);
		scene_settle(&s);
		CHECK_EQ("up", state_of(0)->health, BACKEND_UP);
		CHECK_EQ("by TLS", state_of(0)->under_tls, 1);
		scene_end(&s);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backends_that_demand_tls_are_up_and_tested_for_relaying),
		cmocka_unit_test(test_open_relays_behind_tls_are_taken_out_of_service),
		cmocka_unit_test(test_a_backend_without_the_tls_demanded_goes_down_and_comes_back),
		cmocka_unit_test(test_a_backend_with_another_key_is_down_whatever_it_offers),
		cmocka_unit_test(test_a_backend_that_may_have_tls_is_asked_in_plain_text_where_it_fails),
		cmocka_unit_test(test_a_backend_is_asked_for_its_certificates),
		cmocka_unit_test(test_a_demand_for_tls_is_our_failure_and_not_the_clients),
		cmocka_unit_test(test_a_probe_by_tls_over_a_bad_wire),
	};

	return cmocka_run_group_tests(tests, scene_tls_set_up, scene_tls_tear_down);
}
