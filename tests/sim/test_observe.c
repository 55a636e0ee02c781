/*
 * test_observe.c - observe mode beside direct delivery: of generated mixed traffic the backend gets the same messages either way.
 *
 * Flow:   one script -> the gateway in observe mode -> the recording backend
 *         the same   -> a second recording backend on the client's own wire, no gateway between
 * Keeps:  after each script: the same reply codes, the same messages in the same order, with the same envelopes and octets.
 *
 * Clients are of every verdict, so that enforcing would refuse or delay most of them. Messages come by DATA or in chunks, of any octets
 * that the line-end rules pass as they are (in chunks: of any octets at all), cut anywhere. The seed is printed; TEST_SEED=N plays
 * it again, TEST_SESSIONS=N plays more or fewer.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <stdlib.h>

#define SESSIONS_DEFAULT 1000u
#define CLIENTS          5u
#define DIRECT           "198.18.0.77"
#define TRANSACTIONS_MAX 4
#define BODY_MAX_OCTETS  40000u
#define MESSAGES_MAX     TRANSACTIONS_MAX
#define CODES_MAX        64

static struct scene s;
static struct fake_mta direct;
static struct sim_host *client[CLIENTS];

static const struct {
	const char *label, *addr;
	struct client_verdict verdict;
} kinds[CLIENTS] = {
	{ "good", "198.18.0.20", { .ptr_state = PTR_CONFIRMED, .zone = ZONE_NONE } },
	{ "listed", "198.18.0.21", { .ptr_state = PTR_CONFIRMED, .zone = 0, .score = 9 } },
	{ "hinted", "198.18.0.22", { .ptr_state = PTR_CONFIRMED, .zone = 0, .score = 2 } },
	{ "without a PTR", "198.18.0.23", { .ptr_state = PTR_NONE, .zone = ZONE_NONE } },
	{ "of failing DNS", "198.18.0.24", { .ptr_state = PTR_TEMPERR, .zone = ZONE_NONE } },
};

struct transaction {
	char from[64], to[4][64];
	uint32_t n_to;
	bool chunks;
	uint8_t *body; /* for DATA with dots stuffed and the end */
	uint32_t octets;
};

struct kept {
	struct fake_message msg; /* its data is ours */
};

/* What one side saw of a script. */
struct side {
	const char *label;
	struct kept kept[MESSAGES_MAX];
	uint32_t n_kept;
	int code[CODES_MAX];
	uint32_t n_codes;
};

static struct side through = { .label = "through the gateway" }, beside = { .label = "directly" };
static uint32_t n_messages, n_chunked;
static uint64_t n_octets;

static uint32_t
below(uint32_t n)
{
	return (uint32_t)(sim_random(s.sim) % n);
}

static void
on_message(void *arg, const struct fake_message *msg)
{
	struct side *side = arg;
	struct fake_message *to;

	CHECK_TRUE("no more messages than were sent", side->n_kept < MESSAGES_MAX);
	to = &side->kept[side->n_kept++].msg;
	*to = *msg;
	to->data = malloc(msg->octets + 1);
	BUG_ON(to->data == NULL);
	if (msg->octets > 0)
		memcpy(to->data, msg->data, msg->octets);
}

static void
forget(struct side *side)
{
	while (side->n_kept > 0)
		free(side->kept[--side->n_kept].msg.data);
	side->n_codes = 0;
}

/* Lines of any octets but CR, LF and NUL; dots at their start are many. */
static uint32_t
text_body(uint8_t *to, uint32_t octets)
{
	uint32_t n = 0;

	while (n < octets) {
		uint32_t line = below(4) == 0 ? below(2000) : below(80);

		if (below(5) == 0) {
			to[n++] = '.'; /* what is sent for a line that begins with a dot */
			to[n++] = '.';
		}
		for (; line > 0; line--) {
			const uint8_t o = (uint8_t)below(256);
			const bool first_dot = o == '.' && (n == 0 || to[n - 1] == '\n');

			to[n] = o == '\0' || o == '\r' || o == '\n' || first_dot ? 'x' : o;
			n++;
		}
		to[n++] = '\r';
		to[n++] = '\n';
	}
	memcpy(to + n, ".\r\n", 3);
	return n + 3;
}

static uint32_t
any_body(uint8_t *to, uint32_t octets)
{
	for (uint32_t i = 0; i < octets; i++)
		to[i] = below(3) == 0 ? (uint8_t) "\r\n.\0a"[below(5)] : (uint8_t)below(256);
	return octets;
}

static void
think_up(struct transaction *t, uint32_t script, uint32_t number)
{
	static const char *const names[] = { "one", "two", "three", "nobody", "postmaster" };

	*t = (struct transaction){ .n_to = 1 + below(4), .chunks = below(3) == 0 };
	if (below(8) > 0)
		sprintf(t->from, "m%u.%u@sender.example", script, number);
	for (uint32_t i = 0; i < t->n_to; i++)
		sprintf(t->to[i], "%s@example.org", names[below(ARRAY_LEN(names))]);
	t->body = malloc(BODY_MAX_OCTETS + 4096);
	BUG_ON(t->body == NULL);
	t->octets = below(4) == 0 ? below(BODY_MAX_OCTETS) : below(500);
	t->octets = t->chunks ? any_body(t->body, t->octets) : text_body(t->body, t->octets);
}

static bool
all_out(void *arg)
{
	const struct sim_conn *c = arg;

	return c->out_octets == 0 || c->tcp == NULL;
}

static void
send_cut(struct sim_conn *c, const uint8_t *octets, uint32_t n)
{
	while (n > 0 && c->tcp != NULL) {
		const uint32_t wanted = below(3) == 0 ? 1 + below(20) : 1 + below(12000);
		const uint32_t piece = MIN(n, wanted);

		sim_send(c, octets, piece);
		sim_until(s.sim, 60000000, all_out, c);
		if (below(2))
			sim_step(s.sim, 1000);
		octets += piece;
		n -= piece;
	}
}

static int
note(struct side *side, int code)
{
	CHECK_TRUE("codes fit", side->n_codes < CODES_MAX);
	return side->code[side->n_codes++] = code;
}

/* BDAT in some pieces, each with its octets behind it and its reply before the next. */
static void
send_chunks(struct side *side, struct sim_conn *c, const struct transaction *t, uint32_t n_chunks)
{
	uint32_t at = 0;

	for (uint32_t i = 1; i <= n_chunks; i++) {
		const uint32_t to = (uint32_t)((uint64_t)t->octets * i / n_chunks);
		char line[64];
		const int n = sprintf(line, "BDAT %u%s\r\n", to - at, i == n_chunks ? " LAST" : "");

		send_cut(c, (const uint8_t *)line, (uint32_t)n);
		send_cut(c, t->body + at, to - at);
		at = to;
		note(side, scene_reply(&s, c));
	}
}

static void
play(struct side *side, struct sim_host *from, const char *local, const char *remote, const struct transaction *t,
	uint32_t n, uint32_t n_chunks)
{
	struct sim_conn *c = sim_connect(from, local, remote, 25);
	char line[256];

	note(side, scene_reply(&s, c));
	note(side, scene_chat(&s, c, "EHLO client.example"));
	for (uint32_t i = 0; i < n; i++, t++) {
		bool any = false;

		snprintf(line, sizeof(line), "MAIL FROM:<%s>%s", t->from, t->chunks ? " BODY=BINARYMIME" : "");
		note(side, scene_chat(&s, c, line));
		for (uint32_t j = 0; j < t->n_to; j++) {
			snprintf(line, sizeof(line), "RCPT TO:<%s>", t->to[j]);
			any |= note(side, scene_chat(&s, c, line)) == 250;
		}
		if (!any) {
			note(side, scene_chat(&s, c, "RSET"));
		} else if (t->chunks) {
			send_chunks(side, c, t, n_chunks);
		} else {
			note(side, scene_chat(&s, c, "DATA"));
			send_cut(c, t->body, t->octets);
			note(side, scene_reply(&s, c));
		}
	}
	note(side, scene_chat(&s, c, "QUIT"));
	sim_close(c);
	sim_conn_forget(c);
	sim_run(s.sim, 50000);
}

static void
compare(uint32_t script, const char *label)
{
	char where[128];

	snprintf(where, sizeof(where), "script %u, a client %s", script, label);
	CHECK_EQ(where, through.n_codes, beside.n_codes);
	for (uint32_t i = 0; i < beside.n_codes; i++)
		CHECK_EQ(where, through.code[i], beside.code[i]);
	CHECK_EQ(where, through.n_kept, beside.n_kept);
	for (uint32_t i = 0; i < beside.n_kept; i++) {
		const struct fake_message *a = &through.kept[i].msg, *b = &beside.kept[i].msg;

		CHECK_STR(where, a->from, b->from);
		CHECK_EQ(where, a->n_to, b->n_to);
		for (uint32_t j = 0; j < b->n_to; j++)
			CHECK_STR(where, a->to[j], b->to[j]);
		CHECK_OCTETS(where, a->data, a->octets, b->data, b->octets);
		n_messages++;
		n_octets += b->octets;
	}
}

static uint32_t
number_from(const char *name, uint32_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? (uint32_t)strtoul(text, NULL, 10) : otherwise;
}

static void
start(uint32_t seed)
{
	scene_conf(&s);
	s.config.conf.mode = MODE_OBSERVE;
	s.config.conf.ptr_missing = EFFECT_REJECT;
	s.mta.ext =
		"250-PIPELINING\r\n250-SIZE 50000000\r\n250-8BITMIME\r\n250-DSN\r\n250-CHUNKING\r\n250-BINARYMIME\r\n";
	s.mta_x.ext = s.mta_v1.ext = s.mta.ext;
	s.mta.unknown_rcpt = "nobody@example.org";
	s.mta.on_message = on_message;
	s.mta.on_message_arg = &through;
	scene_start(&s, seed, 1, (struct sim_wire){ .delay_us = 200, .loss = 2, .reorder = 5 });
	memset(&direct, 0, sizeof(direct));
	direct.ext = s.mta.ext;
	direct.unknown_rcpt = s.mta.unknown_rcpt;
	direct.on_message = on_message;
	direct.on_message_arg = &beside;
	fake_mta_start(&direct, s.sim, sim_host_add(s.sim, 0, DIRECT, NULL), DIRECT, 25, CLIENT_ADDRESS_NONE);
	for (uint32_t i = 0; i < CLIENTS; i++)
		client[i] = sim_host_add(s.sim, 0, kinds[i].addr, NULL);
	scene_settle(&s);
}

static void
also_direct(struct sim *sim, void *arg)
{
	(void)sim;
	(void)arg;
	fake_mta_step(&s.mta);
	fake_mta_step(&s.mta_x);
	fake_mta_step(&s.mta_v1);
	fake_mta_step(&s.submit);
	fake_mta_step(&direct);
	fake_control_step(&s.control);
}

static void
test_observe_gives_the_backend_what_direct_delivery_does(void **state)
{
	const uint32_t seed = number_from("TEST_SEED", 8153), sessions = number_from("TEST_SESSIONS", SESSIONS_DEFAULT);

	(void)state;
	start(seed);
	sim_on_step(s.sim, also_direct, NULL);
	for (uint32_t script = 0; script < sessions; script++) {
		struct transaction t[TRANSACTIONS_MAX];
		const uint32_t n = 1 + below(TRANSACTIONS_MAX), kind = below(CLIENTS), n_chunks = 1 + below(4);

		for (uint32_t i = 0; i < n; i++) {
			think_up(&t[i], script, i);
			n_chunked += t[i].chunks;
		}
		s.control.verdict = kinds[kind].verdict;
		play(&through, client[kind], kinds[kind].addr, GATEWAY4, t, n, n_chunks);
		play(&beside, client[kind], kinds[kind].addr, DIRECT, t, n, n_chunks);
		compare(script, kinds[kind].label);
		for (uint32_t i = 0; i < n; i++)
			free(t[i].body);
		forget(&through);
		forget(&beside);
	}
	print_message("seed %u: %u messages, %llu octets\n", seed, n_messages, (unsigned long long)n_octets);
	CHECK_TRUE("messages were compared", n_messages > sessions / 2 && n_chunked > 0);
	CHECK_TRUE("enforcing would have refused",
		strstr(fake_control_find(&s.control, "would=reject"), "verdict=pass") != NULL);
	sim_run(s.sim, 2000000);
	fake_mta_stop(&direct);
	scene_end(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_observe_gives_the_backend_what_direct_delivery_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
