/*
 * smtp_session_impl.h - the struct behind smtp_session.h, for the files of the dialogue (smtp_session.c, smtp_body.c, smtp_answer.c, smtp_cmd.c)
 *                       and for who embeds it.
 *
 * Keeps:  the transaction is a struct of its own (struct smtp_envelope), so that it can move to a pool of its own; nothing here
 *         points to it but this one member.
 */
#ifndef GREYLINE_SMTP_SMTP_SESSION_IMPL_H
#define GREYLINE_SMTP_SMTP_SESSION_IMPL_H

#include "dataplane/smtp/smtp_data.h"
#include "dataplane/smtp/smtp_line.h"
#include "dataplane/smtp/smtp_session.h"

/* No command is looked at unless the longest reply and a 421 behind it still fit. */
#define SMTP_OUT_RESERVE_OCTETS (SMTP_REPLY_MAX_OCTETS + SMTP_REPLY_LINE_MAX_OCTETS)
#define SMTP_OUT_MAX_OCTETS     (SMTP_OUT_RESERVE_OCTETS + 1024)

struct smtp_session {
	uint8_t state;  /* enum smtp_state */
	uint8_t resume; /* enum smtp_state: where SWALLOW goes */
	bool esmtp, early_talker, peer_eof;
	bool tls, tls_wait; /* under TLS; STARTTLS was answered and the stream not changed yet */
	bool offered_tls;   /* by the last EHLO */
	bool authenticated;
	bool auth_whole; /* AUTH's line is held whole, else its rest passes */
	bool auth_cr;    /* a CR of the line under way waits for its LF */
	bool bdat;       /* the message under way comes in chunks */
	bool chunk_last;
	bool held;             /* SWALLOW: line.text holds the reply that follows the data */
	uint8_t chunks_failed; /* 4 or 5: class of the reply that ended a message between its chunks; 0: none */
	uint8_t manners;       /* enum smtp_manner seen */
	uint16_t pending;      /* bit of each enum smtp_action to be told */
	uint16_t held_octets, held_code;
	uint16_t auth_octets;        /* AUTH_WAIT: of the command in line.text */
	uint16_t auth_line_octets;   /* of the line under way that passed */
	uint16_t out_at, out_octets; /* what is queued lies at out[out_at], out_octets of it */
	/* since the last message a backend took: a session that delivers is no nuisance */
	uint32_t n_commands, n_errors;
	uint32_t n_messages;
	uint32_t n_rcpts_tried;
	uint32_t mail_needs; /* enum ehlo_ext that MAIL declared */
	uint32_t
		offered; /* enum ehlo_ext the last EHLO was told: holds for the session, whatever becomes of the backends */
	uint64_t since_us;               /* waiting for the client since */
	uint64_t floor_us, floor_octets; /* where the rate floor counts from */
	uint64_t chunk_octets, chunk_left;
	uint64_t message_octets;
	struct smtp_line line; /* how much of one has come stands beside the rest of the state, its room behind */
	struct smtp_data data; /* begun by DATA */
	char helo[SMTP_HELO_MAX_OCTETS];
	struct smtp_envelope envelope;
	uint8_t out[SMTP_OUT_MAX_OCTETS];
};

struct smtp_refusal { /* code 0: nothing to refuse */
	uint16_t code;
	const char *enhanced, *text;
};

/* Begins a new transaction's record: texts are cut by their first octet, no kilobytes are cleared. */
void smtp_envelope_clear(struct smtp_envelope *e);
/* A dialogue of which nothing was said. */
void smtp_session_clear(struct smtp_session *s);

static inline enum smtp_state
smtp_state_of(const struct smtp_session *s)
{
	return (enum smtp_state)s->state;
}

/* smtp_session.c */
void smtp_state_set(struct smtp_session *s, enum smtp_state state);
void smtp_tell(struct smtp_session *s, enum smtp_action action);
/* Queues one line. */
void smtp_say(struct smtp_session *s, uint16_t code, const char *enhanced, const char *text);
void smtp_say_raw(struct smtp_session *s, const char *text, uint32_t len_octets);
/* A whole line as it stands in the source, and its length, for what nearly every session hears. */
#define SMTP_FIXED(line) line, sizeof(line) - 1
/* Queues the refusal; a 5xx counts as an error of the client where counts, and one too many is 421 instead and the end. */
void smtp_refuse(struct smtp_session *s, const struct smtp_env *env, struct smtp_refusal why, bool counts);
/* 421 (or another last reply) and the end; a message under way is aborted. */
void smtp_close(struct smtp_session *s, uint16_t code, const char *enhanced, const char *text, enum smtp_action how);
/* AUTH, of which len_octets lie in line.text, is to be carried to a backend. */
void smtp_auth_begin(struct smtp_session *s, const struct smtp_env *env, uint32_t len_octets, bool whole);
/* Counts a command; false: one too many, 421 is queued. */
bool smtp_count_command(struct smtp_session *s, const struct smtp_env *env);
/* The largest message, 0: no limit of ours. */
uint64_t smtp_size_limit(const struct smtp_env *env);

void smtp_close_raw(struct smtp_session *s, const char *line, uint32_t len_octets, enum smtp_action how);

/* smtp_answer.c */
void smtp_give_reply(struct smtp_session *s, const struct smtp_reply *r);

/* smtp_body.c: each returns octets consumed */
uint32_t smtp_body_input(struct smtp_session *s, const struct smtp_env *env, const struct buf_view *in,
	uint32_t room_octets, struct buf_view *body, uint32_t *n_body, uint64_t now_us);
uint32_t smtp_auth_input(struct smtp_session *s, const struct smtp_env *env, const struct buf_view *in,
	uint32_t room_octets, struct buf_view *body, uint32_t *n_body);
uint32_t smtp_swallow_input(struct smtp_session *s, const struct buf_view *in, uint64_t now_us);
void smtp_swallow_rest(struct smtp_session *s, const struct smtp_env *env, const struct smtp_reply *r);
void smtp_body_done(struct smtp_session *s);

#endif
