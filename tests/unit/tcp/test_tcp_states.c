/*
 * test_tcp_states.c - every state meets every segment: RFC 9293 section 3.10.7, as amended by RFC 5961.
 *
 * One row for a state, one column for a segment. A cell is the answer and the state after it.
 */
#include "tests/check.h"
#include "tests/helpers/tcp_peer.h"

enum answer { NOTHING, ACK, RST, RST_ACK, SYN_ACK, REPLY_N };

static const char *const answer_name[] = { "nothing", "ACK", "RST", "RST+ACK", "SYN-ACK", "?" };

enum what {
	SYN_SAME,  /* the SYN again */
	SYN_NEW,   /* a SYN with a number in the window */
	ACK_EXACT, /* of all but our FIN where we sent one that is not acknowledged */
	ACK_ALL,   /* FIN included */
	ACK_TOO_HIGH,
	RST_EXACT,
	RST_IN_WINDOW,
	RST_OUTSIDE,
	FIN,
	DATA,
	DATA_OLD,
	DATA_BEYOND,
	DATA_ACROSS, /* begins in the window and ends beyond it */
	NO_FLAGS,
	WHAT_N
};

static const char *const what_name[] = { "SYN again", "new SYN", "ACK", "ACK of all", "ACK too high", "RST exact",
	"RST in window", "RST outside", "FIN", "data", "old data", "data beyond", "data across", "no flags" };

#define WINDOW 65535 /* of the handshake, before anything was read */

static void
say(struct peer *p, enum what what, enum peer_state state)
{
	const bool fin_out = state == PEER_FIN_WAIT_1 || state == PEER_CLOSING || state == PEER_LAST_ACK;
	const uint32_t wnd = p->c != NULL ? p->c->rcv_adv - p->c->rcv_nxt : WINDOW;

	switch (what) {
	case SYN_SAME:
		SAY(p, .flags = TCP_SYN, .seq = -(int64_t)(p->snd_nxt - p->iss), .keep = true);
		break;
	case SYN_NEW:
		SAY(p, .flags = TCP_SYN, .seq = 1000, .tsval = 10, .keep = true);
		break;
	case ACK_EXACT:
		SAY(p, .ack = 0);
		break;
	case ACK_ALL:
		SAY(p, .ack = fin_out);
		break;
	case ACK_TOO_HIGH:
		SAY(p, .ack = 100000);
		break;
	case RST_EXACT:
		SAY(p, .flags = TCP_RST, .keep = true);
		break;
	case RST_IN_WINDOW:
		SAY(p, .flags = TCP_RST, .seq = 1, .keep = true);
		break;
	case RST_OUTSIDE:
		SAY(p, .flags = TCP_RST, .seq = 1000000, .keep = true);
		break;
	case FIN:
		SAY(p, .flags = TCP_FIN | TCP_ACK, .keep = true);
		break;
	case DATA:
		SAY(p, .text = "hello");
		break;
	case DATA_OLD:
		SAY(p, .text = "hello", .seq = -5);
		break;
	case DATA_BEYOND:
		SAY(p, .text = "hello", .seq = wnd, .keep = true);
		break;
	case DATA_ACROSS:
		SAY(p, .text = "hello", .seq = wnd - 2, .keep = true);
		break;
	case NO_FLAGS:
		SAY(p, .no_flags = true);
		break;
	case WHAT_N:
		break;
	}
}

static enum answer
hear(struct peer *p)
{
	const struct heard *h = peer_hear(p);

	if (!h->any && p->c != NULL && p->c->delack_due_us != TCP_NEVER) {
		peer_wait(p, 50000); /* a delayed ACK is an ACK */
		h = peer_hear(p);
	}
	if (!h->any)
		return NOTHING;
	if ((h->h.flags & TCP_RST) != 0)
		return (h->h.flags & TCP_ACK) != 0 ? RST_ACK : RST;
	if ((h->h.flags & TCP_ACK) == 0)
		return REPLY_N;
	return (h->h.flags & TCP_SYN) != 0 ? SYN_ACK : ACK;
}

struct cell {
	uint8_t answer;
	uint8_t then; /* enum peer_state */
};

#define ROW(...)                                                                                                       \
	{                                                                                                              \
		__VA_ARGS__                                                                                            \
	}
#define N_(s)                                                                                                          \
	{                                                                                                              \
		NOTHING, PEER_##s                                                                                      \
	}
#define A_(s)                                                                                                          \
	{                                                                                                              \
		ACK, PEER_##s                                                                                          \
	}
#define R_(s)                                                                                                          \
	{                                                                                                              \
		RST, PEER_##s                                                                                          \
	}
#define RA(s)                                                                                                          \
	{                                                                                                              \
		RST_ACK, PEER_##s                                                                                      \
	}
#define S_(s)                                                                                                          \
	{                                                                                                              \
		SYN_ACK, PEER_##s                                                                                      \
	}

/* clang-format off */
static const struct cell want[PEER_STATE_N][WHAT_N] = {
	/*                        SYN again    new SYN     ACK         ACK all      too high    RST exact   RST in wnd  RST outside
	 *                        FIN          data        old data    beyond       across      no flags */
	[PEER_CLOSED] =      ROW(RA(CLOSED), RA(CLOSED), R_(CLOSED), R_(CLOSED), R_(CLOSED), N_(CLOSED), N_(CLOSED), N_(CLOSED),
				 R_(CLOSED), R_(CLOSED), R_(CLOSED), R_(CLOSED), R_(CLOSED), RA(CLOSED)),
	[PEER_LISTEN] =      ROW(S_(SYN_RECEIVED), S_(SYN_RECEIVED), R_(LISTEN), R_(LISTEN), R_(LISTEN), N_(LISTEN), N_(LISTEN), N_(LISTEN),
				 R_(LISTEN), R_(LISTEN), R_(LISTEN), R_(LISTEN), R_(LISTEN), N_(LISTEN)),
	[PEER_SYN_RECEIVED] = ROW(S_(SYN_RECEIVED), S_(SYN_RECEIVED), N_(ESTABLISHED), N_(ESTABLISHED), R_(SYN_RECEIVED), N_(LISTEN),
				 N_(SYN_RECEIVED), N_(SYN_RECEIVED), A_(CLOSE_WAIT), A_(ESTABLISHED), N_(SYN_RECEIVED), A_(ESTABLISHED),
				 A_(ESTABLISHED), N_(SYN_RECEIVED)),
	/* SYN-SENT: the peer's number is free, so every SYN is a simultaneous open; segments with an ACK of our SYN but no SYN are
	 * dropped; an RST needs an ACK to be believed */
	[PEER_SYN_SENT] =    ROW(S_(SYN_RECEIVED_BOTH), S_(SYN_RECEIVED_BOTH), N_(SYN_SENT), N_(SYN_SENT), R_(SYN_SENT), N_(SYN_SENT),
				 N_(SYN_SENT), N_(SYN_SENT), N_(SYN_SENT), N_(SYN_SENT), N_(SYN_SENT), N_(SYN_SENT), N_(SYN_SENT), N_(SYN_SENT)),
	[PEER_SYN_RECEIVED_BOTH] = ROW(A_(SYN_RECEIVED_BOTH), A_(SYN_RECEIVED_BOTH), N_(ESTABLISHED), N_(ESTABLISHED),
				 R_(SYN_RECEIVED_BOTH), N_(CLOSED), A_(SYN_RECEIVED_BOTH), N_(SYN_RECEIVED_BOTH), A_(CLOSE_WAIT),
				 A_(ESTABLISHED), A_(SYN_RECEIVED_BOTH), A_(SYN_RECEIVED_BOTH), A_(ESTABLISHED), N_(SYN_RECEIVED_BOTH)),
	[PEER_ESTABLISHED] = ROW(A_(ESTABLISHED), A_(ESTABLISHED), N_(ESTABLISHED), N_(ESTABLISHED), A_(ESTABLISHED), N_(CLOSED),
				 A_(ESTABLISHED), N_(ESTABLISHED), A_(CLOSE_WAIT), A_(ESTABLISHED), A_(ESTABLISHED), A_(ESTABLISHED),
				 A_(ESTABLISHED), N_(ESTABLISHED)),
	[PEER_FIN_WAIT_1] =  ROW(A_(FIN_WAIT_1), A_(FIN_WAIT_1), N_(FIN_WAIT_1), N_(FIN_WAIT_2), A_(FIN_WAIT_1), N_(CLOSED),
				 A_(FIN_WAIT_1), N_(FIN_WAIT_1), A_(CLOSING), A_(FIN_WAIT_1), A_(FIN_WAIT_1), A_(FIN_WAIT_1),
				 A_(FIN_WAIT_1), N_(FIN_WAIT_1)),
	[PEER_FIN_WAIT_2] =  ROW(A_(FIN_WAIT_2), A_(FIN_WAIT_2), N_(FIN_WAIT_2), N_(FIN_WAIT_2), A_(FIN_WAIT_2), N_(CLOSED),
				 A_(FIN_WAIT_2), N_(FIN_WAIT_2), A_(TIME_WAIT), A_(FIN_WAIT_2), A_(FIN_WAIT_2), A_(FIN_WAIT_2),
				 A_(FIN_WAIT_2), N_(FIN_WAIT_2)),
	/* after the peer's FIN its data is ignored where it claims to be new, acknowledged where it is old */
	[PEER_CLOSE_WAIT] =  ROW(A_(CLOSE_WAIT), A_(CLOSE_WAIT), N_(CLOSE_WAIT), N_(CLOSE_WAIT), A_(CLOSE_WAIT), N_(CLOSED),
				 A_(CLOSE_WAIT), N_(CLOSE_WAIT), N_(CLOSE_WAIT), N_(CLOSE_WAIT), A_(CLOSE_WAIT), A_(CLOSE_WAIT),
				 A_(CLOSE_WAIT), N_(CLOSE_WAIT)),
	[PEER_CLOSING] =     ROW(A_(CLOSING), A_(CLOSING), N_(CLOSING), N_(TIME_WAIT), A_(CLOSING), N_(CLOSED), A_(CLOSING), N_(CLOSING),
				 N_(CLOSING), N_(CLOSING), A_(CLOSING), A_(CLOSING), A_(CLOSING), N_(CLOSING)),
	[PEER_LAST_ACK] =    ROW(A_(LAST_ACK), A_(LAST_ACK), N_(LAST_ACK), N_(CLOSED), A_(LAST_ACK), N_(CLOSED), A_(LAST_ACK), N_(LAST_ACK),
				 N_(LAST_ACK), N_(LAST_ACK), A_(LAST_ACK), A_(LAST_ACK), A_(LAST_ACK), N_(LAST_ACK)),
	[PEER_TIME_WAIT] =   ROW(A_(TIME_WAIT), S_(SYN_RECEIVED), N_(TIME_WAIT), N_(TIME_WAIT), N_(TIME_WAIT), N_(TIME_WAIT), N_(TIME_WAIT),
				 N_(TIME_WAIT), A_(TIME_WAIT), A_(TIME_WAIT), A_(TIME_WAIT), A_(TIME_WAIT), A_(TIME_WAIT), N_(TIME_WAIT)),
};
/* clang-format on */

static void
test_states_meet_segments(void **state)
{
	uint32_t wrong = 0, cells = 0;

	(void)state;
	for (uint32_t s = 0; s < PEER_STATE_N; s++) {
		for (uint32_t w = 0; w < WHAT_N; w++) {
			struct peer p;
			enum answer got;
			enum peer_state then;

			peer_in(&p, s);
			say(&p, w, s);
			got = hear(&p);
			then = peer_state(&p);
			cells++;
			if (got != want[s][w].answer || then != want[s][w].then) {
				print_error("%s meets %s: got %s and %s, want %s and %s\n", peer_state_name(s),
					what_name[w], answer_name[got], peer_state_name(then),
					answer_name[want[s][w].answer], peer_state_name(want[s][w].then));
				wrong++;
			}
			/* nobody is answered for ever: what follows one segment is one answer at most */
			peer_expect_silence(&p, what_name[w]);
			peer_fini(&p);
		}
	}
	print_message("  %u cells\n", cells);
	CHECK_EQ("cells that differ", wrong, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states_meet_segments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
