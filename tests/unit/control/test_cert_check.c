/*
 * test_cert_check.c - `cert check` with a data plane played by the test: what MTAs show, do not show, and show of another kind than asked.
 *
 * The program's path is the first argument.
 */
#include "tests/unit/control/daemon_play.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "dataplane/link/segment.h"

#define SPLICE "smtp = { known_clients = \"splice\"; };"
#define DAY_S  86400

/* What the MTA shows for each kind of key. */
struct showing {
	uint32_t result; /* of questions for kinds that it has not */
	const char *words;
	uint8_t spki[CERT_KEY_TYPE_N]; /* first octet of the key's digest; 0: none of that kind */
	const char *names;             /* NULL: ours */
	int64_t left_s;                /* 0: a year */
	bool wrong_kind;               /* answers any question by the RSA certificate */
};

struct player {
	struct segment s;
	pthread_t thread;
	atomic_bool stop;
	_Atomic(const struct showing *) show;
	atomic_uint n_questions;
	char asked[64][256]; /* names, in the order of the questions */
};

static void
answer(struct player *p, const struct link_answer_keys *q)
{
	const struct showing *w = atomic_load(&p->show);
	struct link_event_keys *slot = ring_reserve(&p->s.event[0]), e;
	const uint32_t kind = w->wrong_kind ? (uint32_t)CERT_KEY_RSA : q->key_type;

	snprintf(p->asked[atomic_load(&p->n_questions) % 64], 256, "%s", q->name);
	atomic_fetch_add(&p->n_questions, 1);
	e = (struct link_event_keys){ .head = { .type = LINK_EVENT_KEYS, .len_octets = sizeof(e) },
		.question = q->question,
		.result = w->spki[kind] != 0 ? LINK_KEYS_SHOWN : w->result };
	e.shown = (struct cert_status){ .key_type = (uint8_t)kind,
		.key_bits = 256,
		.not_after = (int64_t)time(NULL) + (w->left_s != 0 ? w->left_s : 365 * DAY_S),
		.n_names = 1,
		.spki_sha256 = { w->spki[kind], 1 },
		.cert_sha256 = { w->spki[kind], 2 } };
	snprintf(e.shown.names, sizeof(e.shown.names), "%s",
		w->names != NULL ? w->names : "gw.example.org *.example.net");
	snprintf(e.shown.why, sizeof(e.shown.why), "%s", w->words != NULL ? w->words : "TLS with it fails: tls-alert");
	memcpy(slot, &e, sizeof(e));
	ring_publish(&p->s.event[0]);
	/* a question that nobody asked is nothing to control */
	slot = ring_reserve(&p->s.event[0]);
	e.question += 100000;
	memcpy(slot, &e, sizeof(e));
	ring_publish(&p->s.event[0]);
}

static void *
play(void *arg)
{
	struct player *p = arg;
	union link_answer a;

	while (!atomic_load(&p->stop)) {
		__atomic_store_n(&p->s.live->heartbeat_us[SEGMENT_DATAPLANE], segment_boot_us(), __ATOMIC_RELAXED);
		while (link_answer_take(&p->s.answer[0], &a) == LINK_TAKEN)
			if (a.head.type == LINK_ANSWER_KEYS)
				answer(p, &a.keys);
		usleep(1000);
	}
	return NULL;
}

static void
player_start(struct player *p, struct daemon *d, const struct showing *show)
{
	json_t *j = ask_line(d, "{\"cmd\":\"status\"}");
	const int64_t now_s = (int64_t)time(NULL);
	char why[256];

	memset(p, 0, sizeof(*p));
	atomic_store(&p->show, show);
	assert_int_equal(segment_open_dataplane(&p->s, value_at(j, "result/segment"), why, sizeof(why)), 0);
	json_decref(j);
	p->s.certs->generation = 1;
	p->s.certs->n_rows = 2;
	for (uint32_t i = 0; i < 2; i++)
		p->s.certs->row[i] = (struct cert_status){ .label = "mx",
			.in_use = 1,
			.key_type = i == 0 ? CERT_KEY_ECDSA : CERT_KEY_RSA,
			.key_bits = 256,
			.not_before = 1,
			.not_after = now_s + 300 * DAY_S,
			.n_names = 2,
			.names = "gw.example.org *.example.net",
			.spki_sha256 = { i == 0 ? 0xec : 0x25, 1 } };
	__atomic_store_n(&p->s.live->dataplane_state, 2, __ATOMIC_RELAXED);
	__atomic_store_n(&p->s.live->heartbeat_us[SEGMENT_DATAPLANE], segment_boot_us(), __ATOMIC_RELAXED);
	assert_int_equal(pthread_create(&p->thread, NULL, play, p), 0);
}

static void
player_end(struct player *p)
{
	atomic_store(&p->stop, true);
	pthread_join(p->thread, NULL);
	__atomic_store_n(&p->s.live->dataplane_state, 3, __ATOMIC_RELAXED);
	segment_close(&p->s, true);
}

#define OURS   "ec01000000000000000000000000000000000000000000000000000000000000"
#define OURS_R "2501000000000000000000000000000000000000000000000000000000000000"
#define OTHER  "7701000000000000000000000000000000000000000000000000000000000000"

static void
test_cert_check_compares_what_mtas_show(void **state)
{
	static const struct {
		const char *label;
		struct showing show;
		const char *well, *severity, *text; /* of the first finding; "": there is none */
		const char *result, *same;          /* of the first row */
	} rows[] = {
		{ "the same keys", { .result = LINK_KEYS_TLS_FAILED, .spki = { 0xec, 0x25 } }, "true", "", "", "shown",
			"true" },
		{ "one of them alone", { .result = LINK_KEYS_TLS_FAILED, .spki = { 0xec } }, "true", "", "", "shown",
			"true" },
		{ "another ECDSA key", { .result = LINK_KEYS_TLS_FAILED, .spki = { 0x77, 0x25 } }, "false", "warning",
			"known clients are spliced to it, and its ECDSA key for gw.example.org is not ours: TLSA must "
			"list "
			"both, 3 1 1 " OURS " (ours) and 3 1 1 " OTHER " (its)",
			"shown", "false" },
		{ "another RSA key", { .result = LINK_KEYS_TLS_FAILED, .spki = { 0xec, 0x77 } }, "false", "warning",
			"known clients are spliced to it, and its RSA key for gw.example.org is not ours: TLSA must "
			"list "
			"both, 3 1 1 " OURS_R " (ours) and 3 1 1 " OTHER " (its)",
			"shown", "true" },
		{ "a key of a kind we have not", { .result = LINK_KEYS_TLS_FAILED, .spki = { 0xec, 0x25, 0x77 } },
			"false", "warning",
			"known clients are spliced to it, and it has a key of a kind that we have none of for "
			"gw.example.org, Ed25519: TLSA must list it, too, 3 1 1 " OTHER,
			"shown", "true" },
		{ "another name", { .result = LINK_KEYS_TLS_FAILED, .spki = { 0xec }, .names = "mta.example.org" },
			"false", "warning",
			"known clients are spliced to it, and its ECDSA certificate is not for gw.example.org, but for "
			"mta.example.org: who checks names (MTA-STS) does not deliver",
			"shown", "true" },
		{ "no name that could be told", { .result = LINK_KEYS_TLS_FAILED, .spki = { 0xec }, .names = "" },
			"false", "warning",
			"known clients are spliced to it, and its ECDSA certificate is not for gw.example.org, but for "
			"no "
			"name: who checks names (MTA-STS) does not deliver",
			"shown", "true" },
		{ "expired", { .result = LINK_KEYS_TLS_FAILED, .spki = { 0xec }, .left_s = -5 }, "false", "error",
			"known clients are spliced to it, and its ECDSA certificate has expired", "shown", "true" },
		{ "about to", { .result = LINK_KEYS_TLS_FAILED, .spki = { 0xec }, .left_s = 3 * DAY_S + 60 }, "false",
			"warning", "known clients are spliced to it, and its ECDSA certificate expires in 3 days",
			"shown", "true" },
		{ "no STARTTLS", { .result = LINK_KEYS_NO_STARTTLS, .words = "STARTTLS is not offered" }, "false",
			"error",
			"known clients are spliced to it, and it has no STARTTLS (STARTTLS is not offered): they lose "
			"TLS, "
			"and who demands it (DANE, MTA-STS) does not deliver",
			"no-starttls", "" },
		{ "unreachable", { .result = LINK_KEYS_UNREACHABLE, .words = "no connection in time" }, "false",
			"error", "it could not be asked for its certificate: no connection in time", "unreachable",
			"" },
		{ "words that are not fit to print", { .result = LINK_KEYS_UNREACHABLE, .words = "\x1b[31mred\n" },
			"false", "error", "it could not be asked for its certificate: ?[31mred?", "unreachable", "" },
		{ "TLS that fails", { .result = LINK_KEYS_TLS_FAILED }, "false", "error",
			"known clients are spliced to it; TLS with it fails: tls-alert", "tls-failed", "" },
		{ "one that answers with another kind than asked for", { .spki = { 0, 0x25 }, .wrong_kind = true },
			"true", "", "", "shown", "true" },
	};
	static struct player p;
	struct daemon d;

	(void)state;
	daemon_start(&d, SPLICE);
	player_start(&p, &d, &rows[0].show);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		json_t *j;

		atomic_store(&p.show, &rows[i].show);
		j = ask_line(&d, "{\"cmd\":\"cert check\"}");
		CHECK_STR(rows[i].label, value_at(j, "result/findings/0/text"), rows[i].text);
		CHECK_STR(rows[i].label, value_at(j, "result/findings/0/severity"), rows[i].severity);
		CHECK_STR(rows[i].label, value_at(j, "result/well"), rows[i].well);
		CHECK_STR(rows[i].label, value_at(j, "result/mtas/0/result"), rows[i].result);
		CHECK_STR(rows[i].label, value_at(j, "result/mtas/0/same"), rows[i].same);
		CHECK_STR(rows[i].label, value_at(j, "result/mtas/0/backend"), "mta1");
		json_decref(j);
	}
	player_end(&p);
	daemon_end(&d);
}

/* Where nobody is spliced to an MTA its certificate is of no matter to clients of the MX: told, and no reason to be unwell. */
static void
test_cert_check_tells_apart_who_meets_the_mta(void **state)
{
	static const struct showing other = { .result = LINK_KEYS_TLS_FAILED, .spki = { 0x77 }, .names = "x.example" },
				    dead = { .result = LINK_KEYS_UNREACHABLE, .words = "no connection" },
				    plain = { .result = LINK_KEYS_NO_STARTTLS, .words = "STARTTLS is not offered" };
	static struct player p;
	struct daemon d;

	(void)state;
	daemon_start(&d, "");
	player_start(&p, &d, &other);
	check(&d, "{\"cmd\":\"cert check\"}", "result/findings/0/text",
		"no client is spliced to it; its ECDSA key for gw.example.org is not ours: TLSA must list both, 3 1 "
		"1 " OURS " (ours) and 3 1 1 " OTHER " (its)");
	check(&d, "{\"cmd\":\"cert check\"}", "result/well", "true");
	check(&d, "{\"cmd\":\"cert check\"}", "result/findings", "1 elements");
	atomic_store(&p.show, &dead);
	check(&d, "{\"cmd\":\"cert check\"}", "result/findings/0/severity", "note");
	check(&d, "{\"cmd\":\"cert check\"}", "result/well", "true");
	atomic_store(&p.show, &plain);
	check(&d, "{\"cmd\":\"cert check\"}", "result/findings", "0 elements");
	player_end(&p);
	/* without a data plane nobody can ask */
	check(&d, "{\"cmd\":\"cert check\"}", "result/findings/0/text",
		"it could not be asked for its certificate: the data plane does not serve, and only it can reach it");
	check(&d, "{\"cmd\":\"cert check\"}", "result/well", "true");
	daemon_end(&d);
}

static void
test_cert_check_asks_for_each_name_and_kind_and_no_more(void **state)
{
	static const struct showing same = {
		.result = LINK_KEYS_TLS_FAILED, .spki = { 0xec, 0x25 }, .names = "*.example.org"
	};
	static struct player p;
	unsigned before;
	struct daemon d;
	json_t *j;

	(void)state;
	daemon_start(&d, SPLICE);
	player_start(&p, &d, &same);
	for (uint32_t i = 0; i < 2; i++)
		snprintf(p.s.certs->row[i].names, sizeof(p.s.certs->row[i].names),
			"a.example.org b.example.org c.example.org d.example.org e.example.org f.example.org "
			"g.example.org "
			"h.example.org i.example.org *.example.org");
	j = ask_line(&d, "{\"cmd\":\"cert check\"}");
	CHECK_STR("names that were left out are told", value_at(j, "result/findings/0/text"),
		"MTAs were asked about 8 names, and not about the others");
	CHECK_STR("each name in each kind that it has", value_at(j, "result/mtas"), "16 elements");
	CHECK_STR("all the same", value_at(j, "result/mtas/15/same"), "true");
	json_decref(j);
	CHECK_EQ("questions", atomic_load(&p.n_questions), 24);
	CHECK_STR("the default name first", p.asked[0], "gw.example.org");
	/* two who ask at once are answered by one check */
	before = atomic_load(&p.n_questions);
	assert_int_equal(write(d.fd, "{\"cmd\":\"cert check\"}\n", 21), 21);
	check(&d, "{\"cmd\":\"cert check\"}", "result/well", "true");
	check(&d, "{\"cmd\":\"status\"}", "ok", "true");
	CHECK_TRUE("bounded", atomic_load(&p.n_questions) - before <= 48);
	player_end(&p);
	daemon_end(&d);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cert_check_compares_what_mtas_show),
		cmocka_unit_test(test_cert_check_tells_apart_who_meets_the_mta),
		cmocka_unit_test(test_cert_check_asks_for_each_name_and_kind_and_no_more),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: test_cert_check GREYLINE-CONTROL\n");
		return 2;
	}
	daemon_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
