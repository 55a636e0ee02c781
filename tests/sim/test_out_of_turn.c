/*
 * test_out_of_turn.c - backends that speak, or leave, before they can have had what they answer.
 *
 * What is handed to a connection has not reached the backend: a queue holds whole messages, and a backend that reads nothing of them may still
 * speak. TCP tells how much it has: an answer to octets cannot come before their acknowledgement.
 *
 * The client, the backends and control are played by the test (scene.h).
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <stdio.h>
#include <stdlib.h>

#include "dataplane/tcp/tcp_conn.h"
#include "dataplane/worker/worker_impl.h"

#define SECOND_US UINT64_C(1000000)

static struct scene s; /* one at a time */

static void
begin(bool tls)
{
	scene_conf(&s);
	if (tls) {
		scene_tls(&s, &scene_certs);
		s.config.backend[0].tls = BACKEND_TLS_REQUIRE;
		s.mta.tls_create = scene_tls_backend;
		s.mta.tls_arg = &s;
	}
	s.mta.ext = s.mta_x.ext = s.mta_v1.ext = "250-SIZE 50000000\r\n250-8BITMIME\r\n250-CHUNKING\r\n";
	s.config.conf.greet_pause_ms = 0;
	scene_begin(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
}

static char mail[200000]; /* more than the window of a host that does not read, less than a queue */

static void
make_mail(bool bdat)
{
	memset(mail, 'x', sizeof(mail));
	for (size_t i = 70; i + 10 < sizeof(mail); i += 70)
		memcpy(mail + i, "\r\n", 2);
	if (!bdat)
		memcpy(mail + sizeof(mail) - 5, "\r\n.\r\n", 5);
}

/* A session whose whole message lies in the queue to a backend that has read next to nothing of it. */
static struct sim_conn *
queue_message(bool bdat)
{
	struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);
	char line[64];

	make_mail(bdat);
	CHECK_EQ("rcpt", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	if (bdat) {
		fake_mta_deafen(&s.mta, true);
		snprintf(line, sizeof(line), "BDAT %u LAST\r\n", (unsigned)sizeof(mail));
		scene_send_all(&s, c, line, strlen(line));
	} else {
		s.mta.deaf_in_data = true;
		CHECK_EQ("data", scene_chat(&s, c, "DATA"), 354);
	}
	scene_send_all(&s, c, mail, sizeof(mail));
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("its end is awaited", scene_session(&s)->wait, SESSION_WAIT_BACKEND_DOT);
	CHECK_TRUE("it is not with the backend", tcp_unacked_octets(scene_session(&s)->backend.conn) > 10000);
	return c;
}

/*
 * What a backend says before it can have had the end of a message does not answer it: 250 is nonsense and no delivery, a refusal is passed on, and
 * the connection, which is out of step, is not used again.
 */
static void
test_what_is_said_before_the_end_arrived_does_not_answer_it(void **state)
{
	static const struct {
		const char *says, *told, *logged;
		int code;
	} rows[] = {
		{ "250 2.0.0 Ok: so soon\r\n", "451 4.3.0 ", "result=failed", 451 },
		{ "552 5.2.2 Over quota\r\n", "552 5.2.2 Over quota", "result=refused", 552 },
		{ "452 4.3.1 Full\r\n", "452 4.3.1 Full", "result=deferred", 452 },
		{ "421 4.3.2 Going down\r\n", "451 4.3.0 ", "result=failed", 451 },
		{ "354 what?\r\n", "451 4.3.0 ", "result=failed", 451 },
	};

	(void)state;
	for (uint32_t way = 0; way < 4; way++)
		for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
			struct sim_conn *c;
			uint32_t sessions, before;

			begin(way >= 2);
			before = sim_bufs_in_use(s.sim);
			sim_host_window(s.lan, 1500);
			c = queue_message(way % 2 != 0);
			fake_mta_shout(&s.mta, rows[i].says);
			CHECK_EQ(rows[i].says, scene_reply_within(&s, c, 5 * SECOND_US), rows[i].code);
			CHECK_TRUE(rows[i].says, strncmp(s.reply, rows[i].told, strlen(rows[i].told)) == 0);
			fake_mta_deafen(&s.mta, false);
			s.mta.deaf_in_data = false;
			sim_run(s.sim, 5 * SECOND_US);
			CHECK_TRUE(rows[i].logged, fake_control_find(&s.control, rows[i].logged)[0] != '\0');
			CHECK_EQ("the backend has no whole message", s.mta.n_messages, 1);
			CHECK_EQ("nor one that it may keep", s.mta.n_unanswered, 0);
			sessions = s.mta.n_sessions;
			CHECK_EQ("the next goes on", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
			CHECK_EQ("rcpt", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
			CHECK_EQ("over another connection", s.mta.n_sessions, sessions + 1);
			scene_quit(&s, c);
			scene_check_nothing_left(&s, "gone", before);
			scene_end(&s);
		}
}

/* The client has left behind its dot: it is logged what the backend's words were, and that nobody heard them. */
static void
test_what_is_said_before_the_end_arrived_is_no_delivery_unheard_either(void **state)
{
	(void)state;
	for (uint32_t bdat = 0; bdat < 2; bdat++) {
		struct sim_conn *c;
		uint32_t before;

		begin(false);
		before = sim_bufs_in_use(s.sim);
		sim_host_window(s.lan, 1500);
		c = queue_message(bdat != 0);
		sim_abort(c);
		sim_run(s.sim, SECOND_US);
		fake_mta_shout(&s.mta, "250 2.0.0 Ok: so soon\r\n");
		sim_run(s.sim, SECOND_US);
		fake_mta_deafen(&s.mta, false);
		sim_run(s.sim, 5 * SECOND_US);
		CHECK_TRUE("logged", fake_control_find(&s.control, "result=unheard stage=BODY")[0] != '\0');
		CHECK_EQ("not delivered", scene_count(&s, CTR_worker_messages_delivered), 1);
		CHECK_EQ("no message", s.mta.n_messages, 1);
		scene_check_nothing_left(&s, "gone", before);
		scene_end(&s);
	}
}

/*
 * A backend closes its side while a whole message waits for it, and reads on: the client hears 451 and will come again, so the backend must not have the
 * message from the queue as well.
 */
static void
test_a_message_whose_backend_closes_is_not_delivered_from_the_queue(void **state)
{
	(void)state;
	for (uint32_t way = 0; way < 4; way++) {
		struct sim_conn *c;
		uint32_t before;

		begin(way >= 2);
		before = sim_bufs_in_use(s.sim);
		sim_host_window(s.lan, 1500);
		c = queue_message(way % 2 != 0);
		fake_mta_shut(&s.mta);
		CHECK_EQ("told", scene_reply_within(&s, c, 5 * SECOND_US), 451);
		fake_mta_deafen(&s.mta, false);
		sim_run(s.sim, 100 * SECOND_US);
		CHECK_EQ("no message", s.mta.n_messages, 1);
		CHECK_EQ("nor one that it may keep", s.mta.n_unanswered, 0);
		scene_quit(&s, c);
		scene_check_nothing_left(&s, "gone", before);
		scene_end(&s);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_said_before_the_end_arrived_does_not_answer_it),
		cmocka_unit_test(test_what_is_said_before_the_end_arrived_is_no_delivery_unheard_either),
		cmocka_unit_test(test_a_message_whose_backend_closes_is_not_delivered_from_the_queue),
	};

	return cmocka_run_group_tests(tests, scene_tls_set_up, scene_tls_tear_down);
}
