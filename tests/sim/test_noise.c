/*
 * test_noise.c - bad input to a whole worker: 100,000 random sessions, and a segment whose contents are hostile.
 *
 * Keeps:  every octet the gateway answers belongs to a well-formed 7-bit reply line; nothing crashes, hangs or leaks; the backend gets a
 *         message only when the client was told 250 or left before it could be.
 * The seed is printed; TEST_SEED=N plays it again, TEST_SESSIONS=N plays more or fewer.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <stdlib.h>

#include "dataplane/worker/worker_impl.h"

#define AT_ONCE          64
#define SESSIONS_DEFAULT 100000u
#define SAY_MAX_OCTETS   6000

static struct scene s;

struct talker {
	struct sim_conn *c;
	uint8_t say[SAY_MAX_OCTETS];
	uint32_t say_octets, pieces_left;
	uint64_t next_us, end_us;
};

static const char *const words[] = {
	"EHLO client.example\r\n",
	"HELO x\r\n",
	"EHLO\r\n",
	"MAIL FROM:<a@sender.example>\r\n",
	"MAIL FROM:<>\r\n",
	"MAIL FROM:<a@b> SIZE=999999999999999999999\r\n",
	"RCPT TO:<u@example.org>\r\n",
	"RCPT TO:<u@elsewhere.example>\r\n",
	"RCPT TO:<postmaster>\r\n",
	"RCPT TO:<\"a b\"@example.org>\r\n",
	"RCPT TO:<@a,@b:u@example.org>\r\n",
	"DATA\r\n",
	"BDAT 10\r\n",
	"BDAT 0 LAST\r\n",
	"BDAT 99999999999999999999 LAST\r\n",
	"line of a message\r\n",
	".\r\n",
	"..\r\n",
	"\n.\n",
	"\r.\r",
	"\r\n.\n",
	"RSET\r\n",
	"NOOP\r\n",
	"VRFY u\r\n",
	"QUIT\r\n",
	"STARTTLS\r\n",
	"AUTH PLAIN AAAA\r\n",
	"XCLIENT ADDR=127.0.0.1\r\n",
	"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
	"GET / HTTP/1.0\r\n\r\n",
	"\r\n",
	"\n",
	"\r",
	"MAIL",
	" ",
	"<",
	">",
	":",
	"@",
	"\\",
	"\"",
	"[",
	"]",
};

static uint32_t
below(uint32_t n)
{
	return (uint32_t)(sim_random(s.sim) % n);
}

static uint32_t
add_word(uint8_t *to, uint32_t room)
{
	const char *word = words[below(ARRAY_LEN(words))];
	const uint32_t n = MIN((uint32_t)strlen(word), room);

	memcpy(to, word, n);
	return n;
}

/* Words of the dialogue, noise, or very long lines; then some octets are turned. */
static void
think_up(struct talker *t)
{
	const uint32_t kind = below(10);
	uint32_t n = 0, want = 1 + below(kind == 0 ? SAY_MAX_OCTETS : 600);

	while (n < want) {
		if (kind < 6)
			n += add_word(t->say + n, want - n);
		else if (kind < 8)
			t->say[n++] = (uint8_t)below(256);
		else
			t->say[n++] = kind == 8 ? 'A' : (uint8_t) "\r\n.\0a"[below(5)];
	}
	for (uint32_t i = below(4); kind < 6 && i > 0; i--)
		t->say[below(n)] = (uint8_t)below(256);
	t->say_octets = n;
	t->pieces_left = 1 + below(6);
}

/* Replies are lines "DDD[ -]text CRLF", 7-bit, in what was received so far (a cut last line is fine). */
static void
check_replies(const struct sim_conn *c)
{
	uint32_t col = 0;

	for (size_t i = 0; i < c->in_octets; i++) {
		const uint8_t o = c->in[i];

		if (o == '\n') {
			CHECK_TRUE("lines end by CRLF", i > 0 && c->in[i - 1] == '\r');
			col = 0;
			continue;
		}
		if (o == '\r')
			continue;
		CHECK_TRUE("printable 7-bit", o >= 32 && o < 127);
		if (col == 0)
			CHECK_TRUE("a reply begins with 2 to 5", o >= '2' && o <= '5');
		if (col == 3)
			CHECK_TRUE("code, then space or hyphen", o == ' ' || o == '-');
		CHECK_TRUE("a reply line has an end", ++col <= 512);
	}
}

static void
talk(struct talker *t)
{
	const uint64_t now = sim_now_us(s.sim);

	if (t->c->tcp == NULL || now >= t->end_us) {
		check_replies(t->c);
		if (t->c->tcp != NULL) {
			if (below(2))
				sim_abort(t->c);
			else
				sim_close(t->c);
		}
		sim_conn_forget(t->c);
		t->c = NULL;
		return;
	}
	if (now < t->next_us || t->c->out_octets > 0 || !t->c->connected)
		return;
	if (t->pieces_left == 0) {
		t->end_us = MIN(t->end_us, now + below(200000));
		return;
	}
	think_up(t);
	sim_send(t->c, t->say, t->say_octets);
	t->pieces_left--;
	t->next_us = now + below(20000);
}

static uint32_t
number_from(const char *name, uint32_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? (uint32_t)strtoul(text, NULL, 10) : otherwise;
}

static void
run_noise(uint32_t sessions, void (*meanwhile)(void))
{
	static struct talker talker[AT_ONCE];
	uint32_t begun = 0, live = 0;

	memset(talker, 0, sizeof(talker));
	do {
		live = 0;
		for (uint32_t i = 0; i < AT_ONCE; i++) {
			struct talker *t = &talker[i];

			if (t->c == NULL && begun < sessions) {
				t->c = sim_connect(s.client, CLIENT4, GATEWAY4, below(8) == 0 ? 587 : 25);
				t->next_us = sim_now_us(s.sim);
				t->end_us = t->next_us + 300000;
				t->pieces_left = 1 + below(6);
				begun++;
			}
			if (t->c != NULL)
				talk(t);
			live += t->c != NULL;
		}
		if (meanwhile != NULL)
			meanwhile();
		sim_step(s.sim, 20000);
	} while (live > 0 || begun < sessions);
}

static void
test_random_sessions_get_correct_replies_or_a_closed_connection(void **state)
{
	const uint32_t seed = number_from("TEST_SEED", 4711), sessions = number_from("TEST_SESSIONS", SESSIONS_DEFAULT);
	uint64_t turns;

	(void)state;
	print_message("seed %u, %u sessions\n", seed, sessions);
	scene_conf(&s);
	s.config.conf.grey_block_s = 1;
	s.config.conf.grey_source_budget = 0;
	s.control.verdict.score = 0;
	scene_start(&s, seed, 2,
		(struct sim_wire){ .loss = 2, .duplicate = 2, .reorder = 5, .delay_us = 300, .jitter_us = 300 });
	scene_settle(&s);
	run_noise(sessions, NULL);
	sim_run(s.sim, 700000000);
	CHECK_EQ("sessions left", worker_sessions(sim_worker(s.sim, 0)) + worker_sessions(sim_worker(s.sim, 1)), 0);
	CHECK_TRUE("sessions begun",
		counter_read(&sim_segment(s.sim)->counters[0], CTR_worker_sessions_begun) > sessions / 10);
	/* a turn that worked has a pass at least; a further one follows a full one alone */
	turns = counter_read(&sim_segment(s.sim)->counters[0], CTR_worker_turns_busy);
	CHECK_TRUE("every pass of a turn that worked has its time", scene_passes(&s, 0) >= turns);
	CHECK_TRUE("once", scene_passes(&s, 0) <= turns + scene_count(&s, CTR_tcp_in_segs) / BACKLOG_PASS_FRAMES);
	CHECK_EQ("and it still serves", scene_deliver(&s, CLIENT6, "z@sender.example", "u@example.org", "x\r\n"), 451);
	scene_end(&s);
}

/* What another process may do to the segment at any time: the table, budgets, states, answers, counters, times. */
static void
scribble(void)
{
	struct segment *seg = sim_segment(s.sim);
	uint8_t *base = seg->base;
	/* the header's sizes and offsets were copied at attach; everything behind the page they lie in is fair game */
	const uint64_t from = 4096;

	for (uint32_t i = 0; i < 64; i++) {
		const uint64_t at = from + sim_random(s.sim) % (seg->octets - from);

		base[at] = (uint8_t)below(256);
	}
	/* and aimed: states of backends, heads of the answer rings, live times */
	((uint8_t *)seg->backends)[below(CONF_BACKENDS_MAX * sizeof(struct backend_state))] = (uint8_t)below(256);
	for (uint32_t i = 0; i < 2; i++)
		if (below(50) == 0)
			seg->answer[i].shared->head = sim_random(s.sim);
}

static void
test_a_hostile_segment_crashes_nothing(void **state)
{
	const uint32_t seed = number_from("TEST_SEED", 4712),
		       sessions = number_from("TEST_SESSIONS", SESSIONS_DEFAULT) / 10;

	(void)state;
	print_message("seed %u, %u sessions\n", seed, sessions);
	scene_conf(&s);
	s.config.conf.grey_block_s = 1;
	s.control.silent = true; /* the rings it would read are scribbled on, too: control has tests of its own */
	scene_start(&s, seed, 2, (struct sim_wire){ .delay_us = 300 });
	scene_settle(&s);
	sim_on_step(s.sim, NULL, NULL);
	run_noise(sessions, scribble);
	CHECK_TRUE("sessions begun", counter_read(&sim_segment(s.sim)->counters[0], CTR_worker_turns_busy) != 0);
	scene_end(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_sessions_get_correct_replies_or_a_closed_connection),
		cmocka_unit_test(test_a_hostile_segment_crashes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
