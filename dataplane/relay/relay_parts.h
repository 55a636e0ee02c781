/*
 * relay_parts.h - what the parts of the relay share: relay.c (the doors), relay_greeting.c (the hand-off), relay_transaction.c (what
 *                 follows it) and relay_end.c (how it ends).
 */
#ifndef GREYLINE_RELAY_RELAY_PARTS_H
#define GREYLINE_RELAY_RELAY_PARTS_H

#include "dataplane/relay/relay_impl.h"

#define RELAY_FAILURE_TEXT "Mail server temporarily unavailable, please try again later"

static inline void
relay_count(const struct relay *r, enum counter which)
{
	if (r->counters != NULL)
		counter_inc(r->counters, which);
}

/* relay.c: what goes out, and the words for the log */
void relay_words_set(struct relay *r, const char *words);
bool relay_out_add(struct relay *r, const char *text, size_t n);
bool relay_out_str(struct relay *r, const char *text);
void relay_await(struct relay *r, enum relay_stage stage, uint64_t now_us);

/* relay_end.c: how it ends */
void relay_say(struct relay *r, enum relay_action action);
void relay_forget_auth(struct relay *r);
void relay_end(struct relay *r);
void relay_fail(struct relay *r);
void relay_lose(struct relay *r, bool retry);
void relay_nonsense(struct relay *r);
void relay_timeout(struct relay *r);

/* relay_greeting.c: the hand-off */
void relay_greet_as_client(struct relay *r, enum relay_stage stage, uint64_t now_us);
enum relay_stage relay_greet_stage(const struct relay *r);
void relay_in_banner(struct relay *r, uint64_t now_us);
void relay_in_ehlo0(struct relay *r, uint64_t now_us);
void relay_in_starttls(struct relay *r, uint64_t now_us);
void relay_in_ehlo(struct relay *r, uint64_t now_us);
void relay_in_xclient(struct relay *r, uint64_t now_us);

/* relay_transaction.c: commands and their replies */
void relay_advance(struct relay *r, uint64_t now_us);
void relay_ready(struct relay *r, uint64_t now_us);
void relay_pass(struct relay *r, enum relay_action action);
void relay_in_mail(struct relay *r, uint64_t now_us);
void relay_in_rcpt(struct relay *r, uint64_t now_us);
void relay_in_auth(struct relay *r, uint64_t now_us);
void relay_in_data(struct relay *r, uint64_t now_us);
void relay_in_body(struct relay *r);
void relay_in_dot(struct relay *r, uint64_t now_us);
void relay_in_rset(struct relay *r, uint64_t now_us);

#endif
