/*
 * relay_dialogue.h - rows of a dialogue between a relay and a scripted backend, and the steps that most of them begin with.
 */
#ifndef GREYLINE_TESTS_UNIT_RELAY_RELAY_DIALOGUE_H
#define GREYLINE_TESTS_UNIT_RELAY_RELAY_DIALOGUE_H

#include "tests/unit/relay/relay_play.h"

/* Each dialogue runs three times: the backend's octets whole, one at a time, and three at a time. */
static const uint32_t cuts[] = { 0, 1, 3 };

struct dialogue {
	const char *label;
	struct step steps[PLAY_STEPS_MAX];
};

static inline void
run(const struct dialogue *d, size_t n, enum conf_client_address how)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t c = 0; c < ARRAY_LEN(cuts); c++) {
			struct play p;

			play_init(&p, d[i].label, how);
			p.cut = cuts[c];
			play_steps(&p, d[i].steps);
		}
	}
}

#define MAIL_LINE "MAIL FROM:<from@sender.example>\r\n"
#define RCPT_LINE "RCPT TO:<a@example.org>\r\n"
#define EHLO_LINE "EHLO " CLIENT_HELO "\r\n"
#define FAILURE   "451 4.3.0 Mail server temporarily unavailable, please try again later\r\n"

/* up to the answer to the greeting, without pipelining */
#define GREETED           CONNECT, WANT(""), SAY("220 mta.example ESMTP\r\n"), WANT(EHLO_LINE), SAY("250 mta.example\r\n")
#define GREETED_WITH(ext) CONNECT, SAY("220 mta.example ESMTP\r\n"), WANT(EHLO_LINE), SAY("250-mta.example\r\n" ext)
/* one accepted recipient */
#define FIRST_RCPT                                                                                                     \
	RCPT("a@example.org"), WANT(MAIL_LINE), SAY("250 ok\r\n"), WANT(RCPT_LINE), SAY("250 ok\r\n"),                 \
		RCPT_REPLY("250 ok\r\n"), NOTHING
/* the octets of a message pass */
#define FIRST_DATA DATA, WANT("DATA\r\n"), SAY("354 go\r\n"), DATA_REPLY("354 go\r\n"), BODY(1000), AT(BODY)
#define ACCEPTED   GREETED, FIRST_RCPT
#define IN_BODY    ACCEPTED, FIRST_DATA
#define DELIVERED  IN_BODY, DOT, NOTHING, SAY("250 queued as 1\r\n"), MESSAGE_REPLY("250 queued as 1\r\n"), NOTHING

#define XCLIENT_OFFER "250-mta\r\n250 XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN\r\n"
#define XCLIENT_LINE                                                                                                   \
	"XCLIENT NAME=mail.sender.example REVERSE_NAME=mail.sender.example ADDR=192.0.2.7 PORT=40001 PROTO=ESMTP "     \
	"HELO=" CLIENT_HELO "\r\n"
#define XCLIENT_SENT                                                                                                   \
	RCPT("a@example.org"), CONNECT, WANT(""), SAY("220 hi\r\n"), WANT("EHLO " OUR_NAME "\r\n"),                    \
		SAY(XCLIENT_OFFER), WANT(XCLIENT_LINE)

#endif
