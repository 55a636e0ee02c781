/*
 * test_smuggling.c - every short string that some MTA might take for the end of a message, through a whole worker.
 *
 * Flow:   sessions of an allowed client -> worker -> the recording backend, compared with tests/helpers/smtp_naive.c.
 * Keeps:  the corpus is all strings of up to six octets over CR, LF, dot, NUL and a. Each stands behind "b" CRLF and in front of the
 *         commands of a second message, so that an end seen too early delivers that one, too. Each is cut into segments at
 *         every border, and into single octets.
 * Source: POLICY section 6, PITFALLS 31.
 *
 * TEST_LENGTH=N plays the strings of up to N octets only (in each mode).
 */
#include "tests/check.h"
#include "tests/helpers/smtp_naive.h"
#include "tests/sim/scene.h"

#include <stdlib.h>

#define AT_ONCE        64
#define LENGTH_MAX     6
#define BEFORE         "b\r\n"
#define BEFORE_OCTETS  3u
#define PIECES_MAX     (LENGTH_MAX + 4)
#define REPLY_LIMIT_US UINT64_C(60000000)

static const uint8_t alphabet[] = { '\r', '\n', '.', '\0', 'a' };

static struct scene s;

/* One string and one way to cut it. */
struct job {
	uint32_t length, string, cut;
};

enum talker_at {
	AT_BANNER,
	AT_EHLO,
	AT_ENVELOPE,
	AT_PIECES,
	AT_END,
	AT_QUIT,
};

struct talker {
	struct sim_conn *c;
	enum talker_at at;
	uint32_t index, serial, replies_due;
	uint64_t since_us;
	char envelope[256];
	uint8_t wire[SMTP_NAIVE_MAX_OCTETS];
	uint32_t n_wire, piece_end[PIECES_MAX], n_pieces, piece;
	struct smtp_naive want;
	uint32_t n_messages;
	bool equal;
	int code; /* of the last reply */
};

static struct talker talker[AT_ONCE];

static struct {
	struct job next;
	uint32_t length_max;
	enum conf_bare_lf mode;
	uint32_t n_messages, n_true_ends, n_refused;
} play;

static void
describe(const struct talker *t, char *out)
{
	for (uint32_t i = 0; i < t->n_wire; i++)
		out += sprintf(out, i == t->piece_end[0] ? "| %02x " : "%02x ", t->wire[i]);
	*out = '\0';
}

static void
wrong(const struct talker *t, const char *what)
{
	char text[4 * SMTP_NAIVE_MAX_OCTETS];

	describe(t, text);
	fail_msg("%s: %s (%u messages at the backend, last reply %d)", text, what, t->n_messages, t->code);
}

/* The backend was given a whole message: whose, and is it that one? */
static void
on_message(void *arg, const struct fake_message *msg)
{
	unsigned index, serial;
	struct talker *t;

	(void)arg;
	if (sscanf(msg->from, "m%u-%u@", &index, &serial) != 2 || index >= AT_ONCE)
		fail_msg("a message from <%s>: nobody sent it", msg->from);
	t = &talker[index];
	t->n_messages++;
	if (strstr(msg->from, "@smuggled.example") != NULL)
		wrong(t, "a smuggled message");
	if (serial != t->serial)
		wrong(t, "an earlier message once more");
	t->equal = msg->octets == t->want.n_out && memcmp(msg->data, t->want.out, msg->octets) == 0;
}

static uint32_t
strings_of(uint32_t length)
{
	uint32_t n = 1;

	while (length-- > 0)
		n *= ARRAY_LEN(alphabet);
	return n;
}

/* Cuts of a string of this length: at each of its borders, and every octet apart. */
static uint32_t
cuts_of(uint32_t length)
{
	return length + 2;
}

static bool
next_job(struct job *out)
{
	if (play.next.length > play.length_max)
		return false;
	*out = play.next;
	if (++play.next.cut < cuts_of(play.next.length))
		return true;
	play.next.cut = 0;
	if (++play.next.string == strings_of(play.next.length)) {
		play.next.string = 0;
		play.next.length++;
	}
	return true;
}

static void
prepare(struct talker *t, const struct job *job)
{
	uint32_t at = job->string, n = BEFORE_OCTETS;
	const uint32_t after = BEFORE_OCTETS + job->length;

	memcpy(t->wire, BEFORE, BEFORE_OCTETS);
	for (uint32_t i = 0; i < job->length; i++, at /= ARRAY_LEN(alphabet))
		t->wire[n++] = alphabet[at % ARRAY_LEN(alphabet)];
	t->serial++;
	n += (uint32_t)sprintf((char *)t->wire + n,
		"MAIL FROM:<m%u-%u@smuggled.example>\r\nRCPT TO:<u@example.org>\r\nDATA\r\nsmuggled\r\n.\r\n", t->index,
		t->serial);
	t->want = smtp_naive(t->wire, n, play.mode);
	CHECK_TRUE("it ends", t->want.ended);
	/* where the string holds a true end, what follows are the client's own commands: nothing to smuggle, not sent */
	play.n_true_ends += t->want.used != n;
	t->n_wire = t->want.used;
	t->n_pieces = 0;
	if (job->cut <= job->length) {
		t->piece_end[t->n_pieces++] = BEFORE_OCTETS + job->cut;
	} else {
		for (uint32_t end = BEFORE_OCTETS; end <= after; end++)
			t->piece_end[t->n_pieces++] = end;
	}
	t->piece_end[t->n_pieces++] = t->n_wire;
	t->piece = 0;
	t->n_messages = 0;
	t->equal = false;
}

/* The next whole reply, if it is there: its code into t->code. */
static bool
took_reply(struct talker *t)
{
	struct sim_conn *c = t->c;

	for (;;) {
		const uint8_t *line = c->in + c->in_seen;
		const uint8_t *nl = c->in_octets > c->in_seen ? memchr(line, '\n', c->in_octets - c->in_seen) : NULL;

		if (nl == NULL) {
			if (c->tcp == NULL || c->eof)
				wrong(t, "the session was closed");
			if (sim_now_us(s.sim) - t->since_us > REPLY_LIMIT_US)
				wrong(t, "no reply");
			return false;
		}
		c->in_seen += (size_t)(nl + 1 - line);
		if (line[3] == '-')
			continue;
		t->code = atoi((const char *)line);
		return true;
	}
}

static void
judge(struct talker *t)
{
	play.n_messages++;
	if (t->want.broken) {
		play.n_refused++;
		if (t->code != 550 || t->n_messages != 0)
			wrong(t, "want 550 and no message");
		return;
	}
	if (t->code != 250 || t->n_messages != 1)
		wrong(t, "want 250 and one message");
	if (!t->equal)
		wrong(t, "the message is not the reference's");
}

/* Begins the next message, or ends the session when there is none. */
static void
begin(struct talker *t)
{
	struct job job;

	if (!next_job(&job)) {
		t->at = AT_QUIT;
		t->replies_due = 1;
		sim_send(t->c, "QUIT\r\n", 6);
		return;
	}
	prepare(t, &job);
	sprintf(t->envelope, "MAIL FROM:<m%u-%u@sender.example>\r\nRCPT TO:<u@example.org>\r\nDATA\r\n", t->index,
		t->serial);
	t->at = AT_ENVELOPE;
	t->replies_due = 3;
	sim_send(t->c, t->envelope, strlen(t->envelope));
}

static void
talk(struct talker *t)
{
	if (t->c == NULL)
		return;
	if (t->at == AT_PIECES) {
		const uint32_t from = t->piece > 0 ? t->piece_end[t->piece - 1] : 0;
		const uint32_t to = MIN(t->piece_end[t->piece], t->n_wire);

		if (t->c->out_octets > 0)
			return;
		if (to > from)
			sim_send(t->c, t->wire + from, to - from);
		if (++t->piece == t->n_pieces) {
			t->at = AT_END;
			t->since_us = sim_now_us(s.sim);
		}
		return;
	}
	if (t->c->out_octets > 0 || !took_reply(t))
		return;
	t->since_us = sim_now_us(s.sim);
	switch (t->at) {
	case AT_BANNER:
		t->at = AT_EHLO;
		sim_send(t->c, "EHLO client.example\r\n", 21);
		return;
	case AT_EHLO:
		begin(t);
		return;
	case AT_ENVELOPE:
		if (t->code != (--t->replies_due > 0 ? 250 : 354))
			wrong(t, "a reply to the envelope");
		if (t->replies_due == 0)
			t->at = AT_PIECES;
		return;
	case AT_END:
		judge(t);
		begin(t);
		return;
	case AT_QUIT:
		CHECK_EQ("QUIT", t->code, 221);
		CHECK_EQ("nothing is left over", t->c->in_octets - t->c->in_seen, 0);
		sim_close(t->c);
		sim_conn_forget(t->c);
		t->c = NULL;
		return;
	case AT_PIECES:
		return;
	}
}

static bool
all_done(void *arg)
{
	bool done = true;

	(void)arg;
	for (uint32_t i = 0; i < AT_ONCE; i++) {
		talk(&talker[i]);
		done &= talker[i].c == NULL;
	}
	return done;
}

static void
play_corpus(enum conf_bare_lf mode, uint32_t length_max)
{
	uint32_t want = 0;

	memset(&play, 0, sizeof(play));
	play.mode = mode;
	play.length_max = length_max;
	scene_conf(&s);
	s.config.conf.bare_lf = (uint8_t)mode;
	s.config.conf.messages_max = 10000;
	s.config.client_allow = "198.18.0.10";
	s.mta.on_message = on_message;
	scene_start(&s, 31, 1, (struct sim_wire){ .delay_us = 100 });
	scene_settle(&s);
	for (uint32_t i = 0; i < AT_ONCE; i++)
		talker[i] = (struct talker){
			.c = sim_connect(s.client, CLIENT4, GATEWAY4, 25), .index = i, .since_us = sim_now_us(s.sim)
		};
	CHECK_TRUE("all sessions end", sim_until(s.sim, UINT64_C(3500000000), all_done, NULL));
	for (uint32_t length = 0; length <= length_max; length++)
		want += strings_of(length) * cuts_of(length);
	CHECK_EQ("messages", play.n_messages, want);
	print_message("bare_lf %d: %u messages, %u with a true end, %u refused\n", (int)mode, play.n_messages,
		play.n_true_ends, play.n_refused);
	sim_run(s.sim, 2000000);
	scene_end(&s);
}

static uint32_t
length_wanted(uint32_t otherwise)
{
	const char *text = getenv("TEST_LENGTH");

	return text != NULL ? MIN((uint32_t)strtoul(text, NULL, 10), (uint32_t)LENGTH_MAX) : otherwise;
}

static void
test_one_message_and_the_reference_of_every_string(void **state)
{
	(void)state;
	play_corpus(BARE_LF_NORMALIZE, length_wanted(LENGTH_MAX));
	CHECK_TRUE("some strings end the message truly", play.n_true_ends > 0);
	CHECK_EQ("none is refused", play.n_refused, 0);
}

static void
test_a_message_with_bare_line_ends_is_refused_whole(void **state)
{
	(void)state;
	play_corpus(BARE_LF_REJECT, length_wanted(4));
	CHECK_TRUE("some are refused", play.n_refused > 0);
	CHECK_TRUE("some are not", play.n_refused < play.n_messages);
}

static void
test_tolerate_passes_every_string_as_it_is(void **state)
{
	(void)state;
	play_corpus(BARE_LF_TOLERATE, length_wanted(4));
	CHECK_EQ("none is refused", play.n_refused, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_message_and_the_reference_of_every_string),
		cmocka_unit_test(test_a_message_with_bare_line_ends_is_refused_whole),
		cmocka_unit_test(test_tolerate_passes_every_string_as_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
