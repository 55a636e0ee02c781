/*
 * test_body.c - octets of a message on their way to the backend, by the short way (worker/session_body.c) and by session_pump() alone.
 *
 * Twins: the same random messages, cut and paused the same, through two gateways that differ in nothing but that one knows its clients to be
 * in clear. Whatever anybody can see has to be the same, and at the same time. Then directed scenes, one for each end of the short way.
 *
 * The client, the backends and control are played by the test (scene.h).
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <stdio.h>
#include <stdlib.h>

#include "dataplane/tcp/tcp_conn.h"
#include "dataplane/worker/worker_impl.h"

#define SECOND_US   UINT64_C(1000000)
#define LOOK_US     5000
#define PIECES_MAX  400
#define TEXT_OCTETS (1u << 20)
#define ROOM_OCTETS (256u << 10) /* of a send queue */

static struct scene s; /* one at a time */

/* ---- random messages ---- */

struct draws {
	uint64_t x;
};

static uint32_t
draw(struct draws *d, uint32_t below)
{
	d->x = d->x * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(d->x >> 33) % below;
}

struct text {
	uint8_t octet[TEXT_OCTETS + 8192];
	size_t octets;
	bool odd; /* holds what is not passed as it is */
};

static void
add(struct text *t, const char *words)
{
	const size_t n = strlen(words);

	memcpy(t->octet + t->octets, words, n);
	t->octets += n;
}

static void
add_line(struct draws *d, struct text *t)
{
	const size_t n = draw(d, 8) == 0 ? draw(d, 3000) : draw(d, 80);

	if (draw(d, 6) == 0)
		add(t, draw(d, 2) ? ".." : "..."); /* stuffed */
	else
		t->octet[t->octets++] = (uint8_t)('a' + draw(d, 26));
	for (size_t i = 0; i < n; i++)
		t->octet[t->octets++] = draw(d, 50) == 0 ? '.' : (uint8_t)(0x20 + draw(d, 0xdf));
	add(t, "\r\n");
}

/* What bare_lf = normalize changes. Nothing of it holds CRLF.CRLF, whatever stands around it. */
static void
add_odd(struct draws *d, struct text *t)
{
	static const char *const odd[] = { "\n", "x\n", "\n.x\r\n", "x\n.\ny", "\rx", "x\r \r\n", "\n\n\n\n", "\r\n\n",
		"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\no\np\nq\nr\ns\nt\nu\nv\nw\nx\ny\nz\r\n" };

	t->odd = true;
	if (draw(d, 8) == 0) {
		add(t, "x\r\n");
		t->octet[t->octets++] = '\0';
	}
	add(t, odd[draw(d, ARRAY_LEN(odd))]);
}

/* A text with its end; odd_pm: of a thousand parts so many are none that pass as they are. */
static void
make_text(struct draws *d, struct text *t, size_t octets, uint32_t odd_pm)
{
	t->octets = 0;
	t->odd = false;
	while (t->octets < octets)
		if (draw(d, 1000) < odd_pm)
			add_odd(d, t);
		else
			add_line(d, t);
	if (t->octets > 0)
		add(t, "x\r\n");
	add(t, ".\r\n");
}

/* ---- one client's life, told ---- */

struct told {
	char words[1 << 16];
	size_t n;
	struct counters counters;
};

static void __attribute__((format(printf, 2, 3))) tell(struct told *t, const char *form, ...)
{
	va_list ap;

	va_start(ap, form);
	t->n += (size_t)vsnprintf(t->words + t->n, sizeof(t->words) - t->n, form, ap);
	va_end(ap);
	BUG_ON(t->n >= sizeof(t->words));
}

/*
 * One more reply, looked for at times that both twins look at: a step of the simulator ends when the next thing is due, which may be a timer that
 * only one of them has.
 */
static void
hear(struct told *t, struct sim_conn *c, uint64_t limit_us)
{
	const uint64_t begun_us = sim_now_us(s.sim);

	do {
		sim_run(s.sim, LOOK_US);
	} while (scene_reply_within(&s, c, 0) == 0 && c->tcp != NULL && !c->eof &&
		 sim_now_us(s.sim) - begun_us < limit_us);
	tell(t, "%llu %s", (unsigned long long)sim_now_us(s.sim), s.reply[0] != '\0' ? s.reply : "-\n");
}

static void
chat(struct told *t, struct sim_conn *c, const char *line)
{
	static char words[512];

	if (c->tcp == NULL)
		return;
	snprintf(words, sizeof(words), "%s\r\n", line);
	sim_send(c, words, strlen(words));
	hear(t, c, 60 * SECOND_US);
}

enum trouble { TROUBLE_NONE, TROUBLE_FIN, TROUBLE_RESET, TROUBLE_SILENCE, TROUBLE_421, TROUBLE_REFUSED, TROUBLE_N };

struct plan {
	struct draws d;
	uint32_t piece_max;
	uint32_t deaf_pm; /* before each piece, of a thousand: the backend stops reading, or goes on */
	uint32_t long_pm; /* a pause of seconds rather than of microseconds */
	enum trouble trouble;
	uint32_t trouble_at; /* before this piece */
	bool deaf;
};

static void
set_deaf(struct plan *p, bool deaf)
{
	p->deaf = deaf;
	fake_mta_deafen(&s.mta, deaf);
}

/* What was given to the connection goes out, though the backend may have to begin to read for it. */
static void
wait_out(struct plan *p, struct sim_conn *c)
{
	const uint64_t begun_us = sim_now_us(s.sim);

	while (c->out_octets > 0 && c->tcp != NULL) {
		if (p->deaf && sim_now_us(s.sim) - begun_us > 2 * SECOND_US)
			set_deaf(p, false);
		sim_run(s.sim, 1000);
	}
}

static void
pause_a_while(struct plan *p)
{
	static const uint32_t us[] = { 0, 0, 0, 100, 400, 1000, 3000, 40000 };

	if (draw(&p->d, 1000) < p->long_pm)
		sim_run(s.sim, (1 + draw(&p->d, 150)) * SECOND_US);
	else
		sim_run(s.sim, us[draw(&p->d, ARRAY_LEN(us))]);
}

static void
cause(struct plan *p, struct sim_conn *c)
{
	switch (p->trouble) {
	case TROUBLE_NONE:
	case TROUBLE_N:
		break;
	case TROUBLE_FIN:
		sim_close(c);
		break;
	case TROUBLE_RESET:
		sim_abort(c);
		break;
	case TROUBLE_SILENCE:
		sim_run(s.sim, 200 * SECOND_US);
		break;
	case TROUBLE_421:
		fake_mta_shout(&s.mta, "421 4.3.2 going down\r\n");
		break;
	case TROUBLE_REFUSED:
		fake_mta_shout(&s.mta, "552 5.2.2 no more of this\r\n");
		break;
	}
}

/* Octets in pieces. False: the client says no more. */
static bool
send_pieces(struct plan *p, struct sim_conn *c, const uint8_t *octet, size_t octets)
{
	for (uint32_t i = 0; octets > 0; i++) {
		const size_t want = 1 + draw(&p->d, p->piece_max), n = i == PIECES_MAX ? octets : MIN(octets, want);

		if (draw(&p->d, 1000) < p->deaf_pm)
			set_deaf(p, !p->deaf);
		if (i == p->trouble_at && p->trouble != TROUBLE_NONE) {
			cause(p, c);
			if (p->trouble < TROUBLE_421)
				return false;
		}
		if (c->tcp == NULL)
			return false;
		sim_send(c, octet, n);
		octet += n;
		octets -= n;
		wait_out(p, c);
		pause_a_while(p);
	}
	return true;
}

/* A message in one of its two forms. False: the session is over. */
static bool
give_message(struct told *t, struct plan *p, struct sim_conn *c, const struct text *text)
{
	size_t at = 0;
	const size_t octets = text->octets - 3; /* chunks have no dot */

	chat(t, c, "MAIL FROM:<a@sender.example>");
	chat(t, c, "RCPT TO:<u@example.org>");
	if (draw(&p->d, 3) != 0) {
		chat(t, c, "DATA");
		if (!send_pieces(p, c, text->octet, text->octets))
			return false;
		set_deaf(p, false);
		hear(t, c, 900 * SECOND_US);
		return true;
	}
	do {
		const size_t want = draw(&p->d, 4) == 0 ? octets : draw(&p->d, 40000), n = MIN(octets - at, want);
		char line[64];

		snprintf(line, sizeof(line), "BDAT %zu%s\r\n", n, at + n == octets ? " LAST" : "");
		if (c->tcp == NULL)
			return false;
		sim_send(c, line, strlen(line));
		wait_out(p, c);
		if (draw(&p->d, 2) == 0)
			sim_run(s.sim, 5000);
		if (!send_pieces(p, c, text->octet + at, n))
			return false;
		set_deaf(p, false);
		hear(t, c, 900 * SECOND_US);
		at += n;
	} while (at < octets && strncmp(s.reply, "250", 3) == 0);
	return true;
}

static void
tell_messages(struct told *t, uint32_t from)
{
	for (uint32_t i = from; i < s.mta.n_messages; i++) {
		uint64_t hash = UINT64_C(14695981039346656037);

		for (size_t n = 0; n < s.mta.message[i].octets; n++)
			hash = (hash ^ s.mta.message[i].data[n]) * UINT64_C(1099511628211);
		tell(t, "message of %zu octets, %016llx\n", s.mta.message[i].octets, (unsigned long long)hash);
	}
}

static void
tell_log(struct told *t, uint32_t from)
{
	BUG_ON(s.control.n_log - from > ARRAY_LEN(s.control.log));
	for (uint32_t i = from; i < s.control.n_log; i++)
		tell(t, "%s\n", s.control.log[i % ARRAY_LEN(s.control.log)]);
}

/* One session of some messages; everything that is drawn is drawn from seed. */
static void
live(struct told *t, uint64_t seed)
{
	static struct text text;
	struct plan p = { .d = { seed * 2654435761u + 1 } };
	const uint32_t log_from = s.control.n_log, messages_from = s.mta.n_messages, aborted = s.mta.n_aborted_in_data;
	const bool large = draw(&p.d, 5) == 0;
	struct sim_conn *c;

	sim_host_window(s.lan, draw(&p.d, 2) == 0 ? UINT32_MAX : 1000 + draw(&p.d, 30000));
	c = scene_open(&s, CLIENT4, GATEWAY4);
	sim_run(s.sim, SECOND_US - sim_now_us(s.sim) % SECOND_US);
	chat(t, c, "EHLO client.example");
	for (uint32_t n = 1 + draw(&p.d, 3); n > 0; n--) {
		const uint32_t odd_pm = draw(&p.d, 3) == 0 ? 0 : 1u << draw(&p.d, 10);

		make_text(&p.d, &text, large ? ROOM_OCTETS + draw(&p.d, ROOM_OCTETS) : draw(&p.d, 20000), odd_pm);
		p.piece_max = large ? 60000 : 1u << (1 + draw(&p.d, 13));
		p.deaf_pm = draw(&p.d, 3) == 0 ? 0 : draw(&p.d, 300);
		p.long_pm = draw(&p.d, 4) == 0 ? draw(&p.d, 20) : 0;
		p.trouble = n == 1 && draw(&p.d, 2) == 0 ? (enum trouble)draw(&p.d, TROUBLE_N) : TROUBLE_NONE;
		p.trouble_at = draw(&p.d, 12);
		if (!give_message(t, &p, c, &text))
			break;
		if (s.mta.n_messages > messages_from && !text.odd && strncmp(s.reply, "250", 3) == 0) {
			const struct fake_message *m = &s.mta.message[s.mta.n_messages - 1];

			/* the dot and its CRLF belong to DATA alone */
			CHECK_TRUE("all octets", m->octets == text.octets || m->octets == text.octets - 3);
			CHECK_OCTETS("as they were sent", m->data, m->octets, text.octet, m->octets);
		}
	}
	set_deaf(&p, false);
	if (c->tcp != NULL && p.trouble == TROUBLE_NONE)
		chat(t, c, "QUIT");
	sim_close(c);
	sim_run(s.sim, 20 * SECOND_US);
	tell(t, "%s%s%s aborted %u\n", c->eof ? "eof " : "", c->reset ? "reset " : "", c->tcp == NULL ? "gone" : "",
		s.mta.n_aborted_in_data - aborted);
	sim_conn_forget(c);
	tell_messages(t, messages_from);
	tell_log(t, log_from);
}

static void
live_all(struct told *t, uint64_t seed, uint32_t n, bool long_way)
{
	scene_conf(&s);
	s.long_way = long_way;
	s.mta.ext = s.mta_x.ext = s.mta_v1.ext = "250-SIZE 50000000\r\n250-8BITMIME\r\n250-CHUNKING\r\n";
	scene_start(&s, seed, 1, (struct sim_wire){ .delay_us = 200 });
	scene_settle(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	for (uint32_t i = 0; i < n; i++) {
		t[i].n = 0;
		live(&t[i], seed + i);
		t[i].counters = sim_segment(s.sim)->counters[0];
	}
	scene_check_nothing_left(&s, long_way ? "the long way" : "the short way", sim_bufs_in_use(s.sim));
	scene_end(&s);
}

/* A timer that is let stand fires once more than one that is armed anew each time, and finds nothing due. */
static bool
may_differ(enum counter which)
{
	return which == CTR_worker_turns_busy || which == CTR_worker_busy_cycles;
}

/* Ends at the first line that differs. */
static void
check_told(const char *label, const char *a, const char *b)
{
	while (*a != '\0' || *b != '\0') {
		const size_t na = strcspn(a, "\n"), nb = strcspn(b, "\n");

		if (na != nb || memcmp(a, b, na) != 0)
			fail_msg("%s: by the short way \"%.*s\", by the long one \"%.*s\"", label, (int)na, a, (int)nb,
				b);
		a += na + (a[na] == '\n');
		b += nb + (b[nb] == '\n');
	}
}

static void
test_the_short_way_is_the_long_way(void **state)
{
	enum { LIVES = 40 };
	static struct told by_short[LIVES], by_long[LIVES];
	char label[64];

	(void)state;
	live_all(by_short, 1, LIVES, false);
	live_all(by_long, 1, LIVES, true);
	for (uint32_t i = 0; i < LIVES; i++) {
		snprintf(label, sizeof(label), "life %u", i + 1);
		check_told(label, by_short[i].words, by_long[i].words);
		for (uint32_t k = 0; k < COUNTER_N; k++)
			if (!may_differ((enum counter)k) &&
				by_short[i].counters.value[k] != by_long[i].counters.value[k])
				fail_msg("%s: %s.%s is %llu by the short way, %llu by the long one", label,
					counter_names[k].group, counter_names[k].name,
					(unsigned long long)by_short[i].counters.value[k],
					(unsigned long long)by_long[i].counters.value[k]);
	}
}

/* ---- scenes ---- */

static void
begin(bool long_way)
{
	scene_conf(&s);
	s.long_way = long_way;
	s.mta.ext = s.mta_x.ext = s.mta_v1.ext = "250-SIZE 50000000\r\n250-8BITMIME\r\n250-CHUNKING\r\n";
	s.config.conf.greet_pause_ms = 0;
	scene_begin(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
}

/* A session inside a message. */
static struct sim_conn *
open_message(void)
{
	struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);

	CHECK_EQ("rcpt", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	CHECK_EQ("data", scene_chat(&s, c, "DATA"), 354);
	return c;
}

static void
say(struct sim_conn *c, const char *words)
{
	sim_send(c, words, strlen(words));
}

static void
check_message(const char *label, uint32_t which, const char *want)
{
	CHECK_EQ(label, s.mta.n_messages, which + 1);
	CHECK_OCTETS(label, s.mta.message[which].data, s.mta.message[which].octets, want, strlen(want));
}

/* Silence is counted from the last octet, however often the timer that stands was too early (POLICY section 6: 180 s). */
static void
test_silence_in_a_message_is_counted_from_its_last_octet(void **state)
{
	static const uint32_t pauses_s[] = { 1, 100, 179, 30 };

	(void)state;
	for (uint32_t way = 0; way < 2; way++) {
		struct sim_conn *c;
		uint32_t aborted;

		begin(way != 0);
		c = open_message();
		aborted = s.mta.n_aborted_in_data;
		for (uint32_t i = 0; i < ARRAY_LEN(pauses_s); i++) {
			sim_run(s.sim, pauses_s[i] * SECOND_US);
			say(c, "a line\r\n");
		}
		sim_run(s.sim, 180 * SECOND_US);
		CHECK_EQ("not too early", c->in_octets - c->in_seen, 0);
		sim_run(s.sim, 100000);
		CHECK_EQ("not too late", scene_reply_within(&s, c, 0), 421);
		sim_run(s.sim, 5 * SECOND_US);
		CHECK_EQ("the backend has no half of it", s.mta.n_aborted_in_data, aborted + 1);
		CHECK_EQ("nor a whole", s.mta.n_messages, 1);
		CHECK_TRUE("logged", fake_control_find(&s.control, "end=client-silent")[0] != '\0');
		scene_end(&s);
	}
}

/* A message may take longer than anything else may, as long as it goes on: in the end it is delivered, in either form. */
static void
test_a_slow_message_that_goes_on_is_delivered(void **state)
{
	(void)state;
	for (uint32_t way = 0; way < 2; way++)
		for (uint32_t bdat = 0; bdat < 2; bdat++) {
			struct sim_conn *c;
			char want[256] = "";

			begin(way != 0);
			if (bdat) {
				c = scene_open(&s, CLIENT4, GATEWAY4);
				CHECK_EQ("rcpt", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
				say(c, "BDAT 80 LAST\r\n");
			} else {
				c = open_message();
			}
			for (uint32_t i = 0; i < 8; i++) {
				sim_run(s.sim, 170 * SECOND_US);
				say(c, "12345678\r\n");
				strcat(want, "12345678\r\n");
			}
			if (!bdat) {
				say(c, ".\r\n");
				strcat(want, ".\r\n");
			}
			CHECK_EQ("taken", scene_reply_within(&s, c, SECOND_US), 250);
			check_message("whole", 1, want);
			scene_quit(&s, c);
			scene_end(&s);
		}
}

/* A reload that shortens the period acts from the next octet on. */
static void
test_a_shorter_period_holds_from_the_next_octet(void **state)
{
	(void)state;
	for (uint32_t way = 0; way < 2; way++) {
		struct sim_conn *c;

		begin(way != 0);
		c = open_message();
		say(c, "a line\r\n");
		sim_run(s.sim, 10 * SECOND_US);
		s.config.conf.data_timeout_s = 20;
		sim_publish(s.sim, sim_conf_parts(&s.config));
		say(c, "a line\r\n");
		sim_run(s.sim, 20 * SECOND_US);
		CHECK_EQ("not too early", c->in_octets - c->in_seen, 0);
		sim_run(s.sim, 100000);
		CHECK_EQ("nor by the old one", scene_reply_within(&s, c, 0), 421);
		scene_end(&s);
	}
}

static char mail[2 * ROOM_OCTETS]; /* more than a send queue and the window of a host that does not read */

static void
make_mail(void)
{
	static const char line[] = "..abc\r\n"; /* of such lines a few octets are taken at a time */
	size_t n = 4;                           /* so that they do not fill a queue to its last octet */

	memcpy(mail, "xx\r\n", n);
	for (; n + 2 * strlen(line) < sizeof(mail); n += strlen(line))
		memcpy(mail + n, line, strlen(line));
	memset(mail + n, 'x', sizeof(mail) - n);
	memcpy(mail + sizeof(mail) - 5, "\r\n.\r\n", 5);
}

/*
 * The backend takes nothing for longer than the client may be silent: that is not the client's silence, whatever it sends meanwhile. Then it reads
 * on, and has every octet. Of the room a rest is left that is too small for what one octet may become.
 */
static void
wait_for_the_backend(bool long_way)
{
	enum { FIRST = ROOM_OCTETS + 100000 };
	struct sim_conn *c;
	uint32_t room;

	sim_host_window(s.lan, 1500);
	s.mta.deaf_in_data = true;
	c = open_message();
	sim_send(c, mail, FIRST);
	sim_run(s.sim, 150000); /* later a probe of the backend's window brings some room, which nobody is told of */
	room = tcp_send_room(scene_session(&s)->backend.conn);
	CHECK_TRUE("no room is left", scene_session(&s)->backend_stream != NULL || room < SMTP_BODY_ROOM_MIN_OCTETS);
	CHECK_TRUE("to speak of", room > 0);
	CHECK_TRUE("octets wait", tcp_readable_octets(scene_session(&s)->client.conn) > 0);
	sim_run(s.sim, 100 * SECOND_US);
	sim_send(c, mail + FIRST, 100);
	sim_run(s.sim, 150 * SECOND_US);
	CHECK_EQ("it is not told to hurry", c->in_octets - c->in_seen, 0);
	fake_mta_deafen(&s.mta, false);
	sim_run(s.sim, 70 * SECOND_US); /* the backend's window is asked for now and then */
	sim_send(c, mail + FIRST + 100, sizeof(mail) - FIRST - 100);
	CHECK_EQ("taken", scene_reply_within(&s, c, 100 * SECOND_US), 250);
	CHECK_OCTETS(long_way ? "whole by the long way" : "whole", s.mta.message[1].data, s.mta.message[1].octets, mail,
		sizeof(mail));
	scene_quit(&s, c);
}

static void
test_a_backend_that_does_not_read_is_waited_for(void **state)
{
	(void)state;
	make_mail();
	for (uint32_t way = 0; way < 2; way++) {
		begin(way != 0);
		wait_for_the_backend(way != 0);
		scene_end(&s);
	}
}

/* To a backend under TLS octets need more room than they have themselves. */
static void
test_a_backend_under_tls_that_does_not_read_is_waited_for(void **state)
{
	(void)state;
	make_mail();
	scene_conf(&s);
	scene_tls(&s, &scene_certs);
	s.config.backend[0].tls = BACKEND_TLS_REQUIRE;
	s.mta.tls_create = scene_tls_backend;
	s.mta.tls_arg = &s;
	scene_begin(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	CHECK_TRUE("it speaks TLS", s.mta.message[0].under_tls);
	wait_for_the_backend(false);
	scene_end(&s);
}

/*
 * The backend speaks in the turn in which the last octets come: it answers nothing of them, so 250 is nonsense and no delivery, a refusal is passed
 * on, and the connection is not used again.
 */
static void
test_what_a_backend_says_before_the_end_does_not_answer_it(void **state)
{
	static const struct {
		const char *says, *told, *logged;
		int code;
	} rows[] = {
		{ "250 2.0.0 Ok: so soon\r\n", "451 4.3.0 ", "result=failed", 451 },
		{ "552 5.2.2 Over quota\r\n", "552 5.2.2 Over quota", "result=refused", 552 },
		{ "452 4.3.1 Full\r\n", "452 4.3.1 Full", "result=deferred", 452 },
		{ "421 4.3.2 Going down\r\n", "451 4.3.0 ", "result=failed", 451 },
	};

	(void)state;
	for (uint32_t way = 0; way < 4; way++)
		for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
			const bool bdat = way >= 2;
			struct sim_conn *c;
			uint64_t early;

			begin(way % 2 != 0);
			if (bdat) {
				c = scene_open(&s, CLIENT4, GATEWAY4);
				CHECK_EQ("rcpt", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
				say(c, "BDAT 20 LAST\r\na line\r\n");
			} else {
				c = open_message();
				say(c, "a line\r\n");
			}
			sim_run(s.sim, SECOND_US);
			early = scene_count(&s, CTR_relay_early_replies) + scene_count(&s, CTR_relay_closing_replies);
			fake_mta_shout(&s.mta, rows[i].says);
			fake_mta_step(&s.mta); /* out in the same step as the client's */
			say(c, bdat ? "another on\r\n" : "another\r\n.\r\n");
			CHECK_EQ(rows[i].says, scene_reply_within(&s, c, 5 * SECOND_US), rows[i].code);
			CHECK_TRUE(rows[i].says, strncmp(s.reply, rows[i].told, strlen(rows[i].told)) == 0);
			CHECK_EQ("it was heard as what it is",
				scene_count(&s, CTR_relay_early_replies) + scene_count(&s, CTR_relay_closing_replies),
				early + 1);
			sim_run(s.sim, SECOND_US);
			CHECK_TRUE(rows[i].logged, fake_control_find(&s.control, rows[i].logged)[0] != '\0');
			CHECK_EQ("the next goes on", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
			CHECK_EQ("rcpt", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
			CHECK_EQ("over another connection", scene_session(&s)->backend_opens, 2);
			scene_quit(&s, c);
			scene_end(&s);
		}
}

/*
 * The answer to a chunk may come before its octets were acknowledged. The next chunk's command then waits for room; its octets wait behind it, also
 * when the room comes in the turn in which they do.
 */
static void
test_octets_of_a_chunk_wait_for_its_command(void **state)
{
	static const char end[] = "0123456789";
	uint32_t full =
		0; /* octets of a chunk that fill the backend's window and the queue: learned in the first round */

	(void)state;
	make_mail();
	for (uint32_t late_us = 0; late_us < 4000; late_us += 500) {
		const uint32_t octets = full != 0 ? full : sizeof(mail);
		struct sim_conn *c;
		char line[64];

		begin(false);
		sim_host_window(s.lan, 1500);
		c = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("rcpt", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
		fake_mta_deafen(&s.mta, true);
		snprintf(line, sizeof(line), "BDAT %u\r\n", octets);
		say(c, line);
		sim_run(s.sim, SECOND_US);
		sim_send(c, mail, octets);
		sim_run(s.sim, 150000);
		CHECK_EQ("no room", tcp_send_room(scene_session(&s)->backend.conn), 0);
		if (full == 0) {
			full = (uint32_t)smtp_session_message_octets(scene_session(&s)->smtp);
			sim_abort(c);
			fake_mta_deafen(&s.mta, false);
			scene_end(&s);
			continue;
		}
		fake_mta_shout(&s.mta, "250 2.0.0 so soon\r\n");
		CHECK_EQ("the chunk is answered", scene_reply_within(&s, c, SECOND_US), 250);
		say(c, "BDAT 10 LAST\r\n");
		sim_run(s.sim, 10000);
		CHECK_EQ("the command waits", relay_wants_body(scene_session(&s)->relay->relay), false);
		fake_mta_deafen(&s.mta, false);
		sim_run(s.sim, late_us);
		say(c, end);
		sim_run(s.sim, 70 * SECOND_US);
		CHECK_EQ("message", s.mta.n_messages, 2);
		CHECK_EQ("of both chunks", s.mta.message[1].octets, full + strlen(end));
		CHECK_TRUE("in order", memcmp(s.mta.message[1].data, mail, full) == 0 &&
					       memcmp(s.mta.message[1].data + full, end, strlen(end)) == 0);
		scene_end(&s);
	}
}

/* The client goes while octets of it wait for a backend that does not read: what it said is no message, and the backend never has an end of it. */
static void
test_a_client_that_leaves_behind_a_full_queue_leaves_no_message(void **state)
{
	(void)state;
	make_mail();
	for (uint32_t way = 0; way < 2; way++) {
		const uint32_t octets = sizeof(mail) - 5;
		uint32_t aborted, quits, before;
		struct sim_conn *c;

		begin(way != 0);
		before = sim_bufs_in_use(s.sim);
		sim_host_window(s.lan, 1500);
		s.mta.deaf_in_data = true;
		c = open_message();
		aborted = s.mta.n_aborted_in_data;
		quits = s.mta.n_session_quits;
		sim_send(c, mail, octets);
		sim_close(c);
		sim_run(s.sim, 5 * SECOND_US);
		CHECK_TRUE("octets wait", tcp_readable_octets(scene_session(&s)->client.conn) > 0);
		CHECK_EQ("the backend has what there is", s.mta.n_aborted_in_data, aborted);
		fake_mta_deafen(&s.mta, false);
		sim_run(s.sim, 100 * SECOND_US);
		CHECK_EQ("cut off", s.mta.n_aborted_in_data, aborted + 1);
		CHECK_EQ("no message", s.mta.n_messages, 1);
		CHECK_EQ("no farewell", s.mta.n_session_quits, quits);
		CHECK_TRUE("logged", fake_control_find(&s.control, "end=client-closed")[0] != '\0');
		scene_check_nothing_left(&s, "gone", before);
		scene_end(&s);
	}
}

/* No buffer is left for octets of a message: client and backend lose their connections, and the backend has no message. */
static void
test_a_message_without_buffers_is_cut_off(void **state)
{
	(void)state;
	make_mail();
	for (uint32_t way = 0; way < 2; way++) {
		struct tcp_pieces *pieces;
		struct tcp_piece *kept, **last;
		uint32_t aborted;
		struct sim_conn *c;

		begin(way != 0);
		c = open_message();
		aborted = s.mta.n_aborted_in_data;
		sim_send(c, mail, 1000);
		sim_run(s.sim, SECOND_US);
		pieces = &scene_worker(&s)->tcp->pieces;
		kept = pieces->free;
		pieces->free = NULL;
		sim_send(c, mail + 1000, 1000);
		sim_run(s.sim, SECOND_US / 10);
		for (last = &pieces->free; *last != NULL; last = &(*last)->next)
			;
		*last = kept;
		CHECK_EQ("counted", scene_count(&s, CTR_worker_body_cut), 1);
		sim_run(s.sim, SECOND_US);
		CHECK_TRUE("the client is told by a reset", c->reset);
		CHECK_EQ("so is the backend", s.mta.n_aborted_in_data, aborted + 1);
		CHECK_EQ("no message", s.mta.n_messages, 1);
		CHECK_TRUE("logged", fake_control_find(&s.control, "end=no-buffer")[0] != '\0');
		scene_end(&s);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_short_way_is_the_long_way),
		cmocka_unit_test(test_silence_in_a_message_is_counted_from_its_last_octet),
		cmocka_unit_test(test_a_slow_message_that_goes_on_is_delivered),
		cmocka_unit_test(test_a_shorter_period_holds_from_the_next_octet),
		cmocka_unit_test(test_a_backend_that_does_not_read_is_waited_for),
		cmocka_unit_test(test_what_a_backend_says_before_the_end_does_not_answer_it),
		cmocka_unit_test(test_octets_of_a_chunk_wait_for_its_command),
		cmocka_unit_test(test_a_client_that_leaves_behind_a_full_queue_leaves_no_message),
		cmocka_unit_test(test_a_message_without_buffers_is_cut_off),
		cmocka_unit_test(test_a_backend_under_tls_that_does_not_read_is_waited_for),
	};

	return cmocka_run_group_tests(tests, scene_tls_set_up, scene_tls_tear_down);
}
