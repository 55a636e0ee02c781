/*
 * smtp_ehlo.c - what EHLO is answered: the extensions of this listener, as POLICY section 5 derives them.
 *
 * Flow:   worker (each second, for all sessions in clear) or smtp_cmd.c (EHLO) -> smtp_ehlo_write() -> client
 * Pure:   the environment in, the reply out.
 * Keeps:  the lines of one reply, each with its CRLF, within SMTP_EHLO_MAX_OCTETS; the last has its space.
 * Source: RFC 5321 section 4.1.1.1; RFC 1870, 2034, 2920, 3030, 3207, 3461, 4954, 6152, 6531.
 */
#include <assert.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/text.h"
#include "dataplane/smtp/smtp_auth.h"
#include "dataplane/smtp/smtp_session_impl.h"

static const struct {
	uint32_t ext;
	uint8_t octets;
	char keyword[24];
} offers[SMTP_EHLO_OFFERS] = {
#define OFFER(ext, keyword)                                                                                            \
	{                                                                                                              \
		ext, sizeof(keyword) - 1, keyword                                                                      \
	}
	OFFER(EXT_8BITMIME, "8BITMIME"),
	OFFER(EXT_ENHANCEDSTATUSCODES, "ENHANCEDSTATUSCODES"),
	OFFER(EXT_DSN, "DSN"),
	OFFER(EXT_SMTPUTF8, "SMTPUTF8"),
	OFFER(EXT_CHUNKING, "CHUNKING"),
	OFFER(EXT_CHUNKING | EXT_BINARYMIME, "BINARYMIME"),
#undef OFFER
};

static_assert(CONF_HOST_OCTETS + 6 + (SMTP_EHLO_OFFERS + 3) * SMTP_EHLO_LINE_MAX + SMTP_AUTH_NAMES_MAX_OCTETS + 16 <=
		      SMTP_EHLO_MAX_OCTETS,
	"all of it at once");

/* "250-WORD CRLF"; gives the end. By hand: eight lines a session through printf cost more than the command itself. */
static char *
put_line(char *at, const char *word, size_t n)
{
	memcpy(at, "250-", 4);
	memcpy(at + 4, word, n);
	memcpy(at + 4 + n, "\r\n", 2);
	return at + 4 + n + 2;
}

bool
smtp_ehlo_auth(const struct smtp_env *env, bool tls)
{
	return env->auth != 0 && (tls || !env->starttls);
}

bool
smtp_ehlo_starttls(const struct smtp_env *env, bool tls)
{
	return env->starttls && !env->starttls_hidden && !tls;
}

uint32_t
smtp_ehlo_write(char *out, const struct smtp_env *env, bool tls)
{
	static const char pipelining[] = "PIPELINING", starttls[] = "STARTTLS", size[] = "SIZE ";
	char *at, *last;

	last = put_line(out, env->conf->hostname, strnlen(env->conf->hostname, CONF_HOST_OCTETS - 1));
	at = put_line(last, pipelining, sizeof(pipelining) - 1);
	if (env->size_octets > 0) {
		char value[sizeof(size) + TEXT_NUMBER_OCTETS];

		last = at;
		memcpy(value, size, sizeof(size) - 1);
		at = put_line(at, value, (size_t)(text_put_number(value + sizeof(size) - 1, env->size_octets) - value));
	}
	if (smtp_ehlo_starttls(env, tls)) {
		last = at;
		at = put_line(at, starttls, sizeof(starttls) - 1);
	}
	for (uint32_t i = 0; i < ARRAY_LEN(offers); i++) {
		if ((env->ext & offers[i].ext) != offers[i].ext)
			continue;
		last = at;
		at = put_line(at, offers[i].keyword, offers[i].octets);
	}
	if (smtp_ehlo_auth(env, tls)) {
		char auth[4 + SMTP_AUTH_NAMES_MAX_OCTETS];

		memcpy(auth, "AUTH", 4);
		smtp_auth_names(env->auth, auth + 4);
		last = at;
		at = put_line(at, auth, strlen(auth));
	}
	last[3] = ' ';
	return (uint32_t)(at - out);
}
