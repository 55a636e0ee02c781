/*
 * test_together.c - recipients that come in one turn are judged together (worker/session_rcpts.c): everybody gets the answer he would get
 * alone, in his own order, and who is gone meanwhile gets none.
 *
 * The client, the backend and control are played by the test (scene.h).
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <stdio.h>

#define CLIENTS 40 /* more than are judged at once */

static struct scene s; /* one at a time */

/* All of what this client says next, in one segment; its greeting is over. */
static void
say(struct sim_conn *c, const char *words)
{
	sim_send(c, words, strlen(words));
}

static void
test_everybody_of_a_turn_gets_his_own_answer_in_order(void **state)
{
	static const int first[] = { 250, 550, 451, 451 }; /* of a known triplet, foreign, new */
	static char words[CLIENTS][512];
	struct sim_conn *c[CLIENTS];
	uint64_t judged;

	(void)state;
	scene_usual(&s);
	scene_make_white(&s, CLIENT4, "known@sender.example", "u@example.org");
	for (uint32_t i = 0; i < CLIENTS; i++) {
		c[i] = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("EHLO", scene_chat(&s, c[i], "EHLO client.example"), 250);
		snprintf(words[i], sizeof(words[i]),
			"MAIL FROM:<%s@sender.example>\r\nRCPT TO:<%s>\r\nRCPT TO:<v%u@example.org>\r\nNOOP\r\nRCPT "
			"TO:<x@foreign.example>\r\nRSET\r\n",
			i % 4 == 0 ? "known" : "new", i % 4 == 1 ? "x@foreign.example" : "u@example.org", i);
	}
	judged = scene_count(&s, CTR_policy_judged);
	for (uint32_t i = 0; i < CLIENTS; i++)
		say(c[i], words[i]);
	for (uint32_t i = 0; i < CLIENTS; i++) {
		CHECK_EQ("MAIL", scene_reply(&s, c[i]), 250);
		CHECK_EQ("the first", scene_reply(&s, c[i]), first[i % ARRAY_LEN(first)]);
		CHECK_EQ("the second is new", scene_reply(&s, c[i]), 451);
		CHECK_EQ("NOOP behind them", scene_reply(&s, c[i]), 250);
		CHECK_EQ("the third is foreign", scene_reply(&s, c[i]), 550);
		CHECK_EQ("RSET", scene_reply(&s, c[i]), 250);
	}
	CHECK_EQ("each was judged once", scene_count(&s, CTR_policy_judged) - judged, 3 * CLIENTS);
	for (uint32_t i = 0; i < CLIENTS; i++)
		scene_quit(&s, c[i]);
	scene_end(&s);
}

/* Two that begin the same triplet in one turn: the record is there for the second. */
static void
test_the_second_of_a_turn_finds_what_the_first_wrote(void **state)
{
	static const char words[] = "MAIL FROM:<a@sender.example>\r\nRCPT TO:<u@example.org>\r\n";
	struct sim_conn *c[2];

	(void)state;
	scene_usual(&s);
	for (uint32_t i = 0; i < 2; i++) {
		c[i] = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("EHLO", scene_chat(&s, c[i], "EHLO client.example"), 250);
	}
	for (uint32_t i = 0; i < 2; i++)
		say(c[i], words);
	for (uint32_t i = 0; i < 2; i++) {
		CHECK_EQ("MAIL", scene_reply(&s, c[i]), 250);
		CHECK_EQ("RCPT", scene_reply(&s, c[i]), 451);
	}
	CHECK_EQ("one began", scene_count(&s, CTR_policy_grey_new), 1);
	CHECK_EQ("the other was early", scene_count(&s, CTR_policy_grey_early), 1);
	for (uint32_t i = 0; i < 2; i++)
		scene_quit(&s, c[i]);
	scene_end(&s);
}

/*
 * The first recipient waits for DNS, the second is behind it. In the turn that brings the answer the second is looked at; where the client's reset
 * comes in the same turn, it is not judged.
 */
static void
test_who_is_gone_within_the_turn_is_not_judged(void **state)
{
	static const char words[] =
		"MAIL FROM:<a@sender.example>\r\nRCPT TO:<u@example.org>\r\nRCPT TO:<v@example.org>\r\n";

	(void)state;
	for (uint32_t gone = 0; gone < 2; gone++) {
		uint64_t commands, judged;
		struct sim_conn *c;
		uint32_t before;

		scene_usual(&s);
		before = sim_bufs_in_use(s.sim);
		s.control.delay_us = 100000;
		c = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
		commands = scene_count(&s, CTR_smtp_commands);
		judged = scene_count(&s, CTR_policy_judged);
		say(c, words);
		CHECK_EQ("one answer is held", s.control.n_held, 1);
		while (sim_now_us(s.sim) < s.control.held[0].due_us)
			sim_step(s.sim, s.control.held[0].due_us - sim_now_us(s.sim));
		CHECK_EQ("MAIL and the first recipient were looked at", scene_count(&s, CTR_smtp_commands) - commands,
			2);
		CHECK_EQ("who waits", scene_count(&s, CTR_policy_judged) - judged, 0);
		if (gone) /* its reset is the next thing due, and the worker finds the answer in that turn */
			sim_abort(c);
		sim_run(s.sim, 300000);
		CHECK_EQ("both were looked at", scene_count(&s, CTR_smtp_commands) - commands, 3);
		CHECK_EQ("judged", scene_count(&s, CTR_policy_judged) - judged, gone ? 1 : 2);
		if (!gone)
			scene_quit(&s, c);
		scene_check_nothing_left(&s, "gone within the turn", before);
		scene_end(&s);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everybody_of_a_turn_gets_his_own_answer_in_order),
		cmocka_unit_test(test_the_second_of_a_turn_finds_what_the_first_wrote),
		cmocka_unit_test(test_who_is_gone_within_the_turn_is_not_judged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
