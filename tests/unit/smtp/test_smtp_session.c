/*
 * test_smtp_session.c - a hundred thousand random dialogues, whose promises the fuzz target checks; and what dialogues in a file
 * cannot say: memory and a client that does not read.
 */
#include <stdlib.h>

#include "dataplane/smtp/smtp_session.h"
#include "dataplane/smtp/smtp_session_impl.h"
#include "tests/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SESSIONS 100000
#define SEED     20261121

static uint32_t
piece(uint8_t *out)
{
	static const char *const lines[] = {
		"EHLO c.example\r\n",
		"HELO c\r\n",
		"MAIL FROM:<s@a.example>\r\n",
		"MAIL FROM:<> SIZE=10 BODY=8BITMIME\r\n",
		"MAIL FROM:<j\xc3\xbcrgen@a.example> SMTPUTF8\r\n",
		"MAIL FROM:<s@a.example> BODY=BINARYMIME\r\n",
		"RCPT TO:<r@example.org>\r\n",
		"RCPT TO:<r@example.org>\r\n",
		"RCPT TO:<r@example.org> NOTIFY=NEVER\r\n",
		"RCPT TO:<bad\r\n",
		"DATA\r\n",
		"DATA\r\n",
		"BDAT 5\r\n",
		"BDAT 5 LAST\r\n",
		"BDAT 0\r\n",
		"BDAT 0 LAST\r\n",
		"BDAT x\r\n",
		"BDAT 99999999999999999999\r\n",
		"RSET\r\n",
		"NOOP\r\n",
		"QUIT\r\n",
		"STARTTLS\r\n",
		"VRFY x\r\n",
		"AUTH PLAIN\r\n",
		"XCLIENT ADDR=1\r\n",
		"GET / HTTP/1.0\r\n",
		"text\r\n",
		"..stuffed\r\n",
		".\r\n",
		".\r\n",
		"\r\n.\r\n",
		"\n.\n",
		"\r.\r",
		"bare\n",
		"\r\n",
		"\n",
		"\r",
		".",
		"abcde",
	};
	const uint32_t which = (uint32_t)random() % (ARRAY_LEN(lines) + 4);
	uint32_t n;

	if (which < ARRAY_LEN(lines)) {
		n = (uint32_t)strlen(lines[which]);
		memcpy(out, lines[which], n);
		return n;
	}
	n = (uint32_t)random() % (which == ARRAY_LEN(lines) ? 3000 : 20);
	for (uint32_t i = 0; i < n; i++)
		out[i] = which % 2 == 0 ? (uint8_t)random() : 'x';
	return n;
}

static void
test_smtp_session_survives_random_dialogues(void **state)
{
	static uint8_t in[65536];

	(void)state;
	printf("seed %d\n", SEED);
	srandom(SEED);
	for (unsigned k = 0; k < SESSIONS; k++) {
		const uint32_t pieces = (uint32_t)random() % 40;
		uint32_t n = 6;

		for (uint32_t i = 0; i < n; i++)
			in[i] = (uint8_t)random();
		if (k % 4 != 0) { /* most get to a message */
			in[1] |= (uint8_t)EXT_CHUNKING;
			n += (uint32_t)sprintf(
				(char *)in + n, "EHLO c\r\nMAIL FROM:<s@a.example>\r\nRCPT TO:<r@example.org>\r\n");
		}
		for (uint32_t i = 0; i < pieces && n < sizeof(in) - 4096; i++)
			n += piece(in + n);
		LLVMFuzzerTestOneInput(in, n);
	}
}

static const struct conf conf = {
	.hostname = "gw.example.org", .command_timeout_s = 300, .data_timeout_s = 180, .rcpts_max = 100
};

/* A client that sends and never reads is not read from any more, and gets its time-out all the same. */
static void
test_smtp_session_stops_reading_who_does_not_read(void **state)
{
	static const char noop[] = "NOOP\r\n";
	static struct counters counters;
	static struct smtp_session s;
	const struct smtp_env env = { .conf = &conf, .counters = &counters };
	const struct buf_view in = { (const uint8_t *)noop, sizeof(noop) - 1, NULL }, none = { NULL, 0, NULL };
	struct buf_view body[SMTP_BODY_VIEWS_MAX];
	enum smtp_action action;
	uint32_t n_body, taken = 0, used;
	uint8_t out[64];

	(void)state;
	smtp_session_init(&s, &env, 0);
	smtp_session_greet(&s, &env, 0);
	do {
		used = smtp_session_input(&s, &env, &in, 1000, body, &n_body, &action, 0);
		taken += used;
		CHECK_TRUE("it stops", taken < 10000);
	} while (used > 0);
	CHECK_TRUE("bounded", smtp_session_output_pending(&s) <= SMTP_OUT_MAX_OCTETS);
	while (smtp_session_output(&s, out, sizeof(out)) > 0)
		;
	CHECK_EQ(
		"it reads again", smtp_session_input(&s, &env, &in, 1000, body, &n_body, &action, 0), sizeof(noop) - 1);
	smtp_session_input(&s, &env, &none, 1000, body, &n_body, &action, 300000000);
	CHECK_EQ("time-out", action, SMTP_ACTION_CLOSE);
}

/* A command that trickles in octet by octet does not prolong its own period. */
static void
test_smtp_session_trickle_does_not_prolong_a_command(void **state)
{
	static struct counters counters;
	static struct smtp_session s;
	const struct smtp_env env = { .conf = &conf, .counters = &counters };
	const struct buf_view in = { (const uint8_t *)"N", 1, NULL };
	struct buf_view body[SMTP_BODY_VIEWS_MAX];
	enum smtp_action action;
	uint32_t n_body;

	(void)state;
	smtp_session_init(&s, &env, 0);
	smtp_session_greet(&s, &env, 0);
	for (uint64_t t = 0; t < 300; t++)
		smtp_session_input(&s, &env, &in, 1000, body, &n_body, &action, t * 1000000);
	CHECK_TRUE("the deadline stands", smtp_session_deadline_us(&s, &env) == 300000000);
}

/* An action nobody came for is due at once, so that a caller who sleeps until the deadline cannot miss it. */
static void
test_smtp_session_untold_action_is_due(void **state)
{
	static struct counters counters;
	static struct smtp_session s;
	const struct smtp_env env = { .conf = &conf, .counters = &counters };
	const struct buf_view none = { NULL, 0, NULL };
	struct buf_view body[SMTP_BODY_VIEWS_MAX];
	enum smtp_action action;
	struct smtp_reply r;
	uint32_t n_body;

	(void)state;
	smtp_session_init(&s, &env, 5);
	smtp_reply_set(&r, 421, "4.7.1", "Not now");
	smtp_session_refuse(&s, &env, &r, 1000);
	CHECK_TRUE("due", smtp_session_deadline_us(&s, &env) <= 1000);
	smtp_session_input(&s, &env, &none, 1000, body, &n_body, &action, 1000);
	CHECK_EQ("told", action, SMTP_ACTION_CLOSE);
	CHECK_TRUE("nothing more", smtp_session_deadline_us(&s, &env) == UINT64_MAX);
}

static void
test_smtp_session_fits_its_room(void **state)
{
	(void)state;
	CHECK_EQ("size as told", smtp_session_octets(), sizeof(struct smtp_session));
	CHECK_TRUE("within 10 KiB", smtp_session_octets() <= 10240);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smtp_session_survives_random_dialogues),
		cmocka_unit_test(test_smtp_session_stops_reading_who_does_not_read),
		cmocka_unit_test(test_smtp_session_trickle_does_not_prolong_a_command),
		cmocka_unit_test(test_smtp_session_untold_action_is_due),
		cmocka_unit_test(test_smtp_session_fits_its_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
