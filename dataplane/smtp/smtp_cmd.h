/*
 * smtp_cmd.h - the commands, one row each.
 *
 * Flow:   smtp_session.c has a line -> smtp_cmd_find() -> states of the row -> check -> apply
 * Keeps:  check looks at syntax and parameters and leaves the dialogue as it is (it may fill the envelope, which nobody reads
 *         before apply); apply takes effect and queues the reply, or tells the action that leads to one.
 * Source: RFC 5321 section 4.1.1; POLICY section 6.
 */
#ifndef GREYLINE_SMTP_SMTP_CMD_H
#define GREYLINE_SMTP_SMTP_CMD_H

#include "dataplane/smtp/smtp_session_impl.h"

struct smtp_cmd {
	const char *name;
	uint32_t states; /* 1 << enum smtp_state, where it is in order */
	bool uncounted;  /* not under commands_max and errors_max */
	struct smtp_refusal (*check)(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args);
	void (*apply)(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args);
};

/* The row of the line's first word, in any case; *args is what follows, without spaces around it. NULL: nobody knows it. */
const struct smtp_cmd *smtp_cmd_find(struct smtp_str line, struct smtp_str *args);
bool smtp_cmd_is_auth(const struct smtp_cmd *cmd); /* NULL: no */
/* What any other command gets behind a refusing banner. */
extern const struct smtp_refusal smtp_only_quit;
/* Whether cmd is obeyed before STARTTLS where TLS is required, and what the others get. */
bool smtp_cmd_before_tls(const struct smtp_cmd *cmd);
struct smtp_refusal smtp_needs_tls(const struct smtp_env *env);
/* Why cmd is out of order now. */
struct smtp_refusal smtp_cmd_out_of_order(const struct smtp_session *s, const struct smtp_cmd *cmd);

#endif
