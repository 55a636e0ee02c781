/*
 * smtp_auth.h - the names of AUTH mechanisms as a set: what backends offer and a listener may pass on.
 *
 * Flow:   probe's EHLO -> smtp_auth_bit() -> backend_state.auth -> backend_offer_auth() -> EHLO to clients
 * Pure:   octets.
 * Keeps:  only mechanisms named here are ever offered or passed. Not here: what binds to the TLS channel (-PLUS), which ends at us, and
 *         EXTERNAL, by which a backend would take the client for whoever holds our certificate.
 * Source: RFC 4422, RFC 4954, RFC 5802; the registry of SASL mechanisms.
 */
#ifndef GREYLINE_SMTP_SMTP_AUTH_H
#define GREYLINE_SMTP_SMTP_AUTH_H

#include <stdint.h>

/* In the order they are offered. */
#define SMTP_AUTH_MECHANISMS(X)                                                                                        \
	X(SCRAM_SHA_512, "SCRAM-SHA-512")                                                                              \
	X(SCRAM_SHA_256, "SCRAM-SHA-256")                                                                              \
	X(SCRAM_SHA_1, "SCRAM-SHA-1")                                                                                  \
	X(GSSAPI, "GSSAPI")                                                                                            \
	X(GS2_KRB5, "GS2-KRB5")                                                                                        \
	X(DIGEST_MD5, "DIGEST-MD5")                                                                                    \
	X(CRAM_MD5, "CRAM-MD5")                                                                                        \
	X(NTLM, "NTLM")                                                                                                \
	X(OAUTHBEARER, "OAUTHBEARER")                                                                                  \
	X(XOAUTH2, "XOAUTH2")                                                                                          \
	X(PLAIN, "PLAIN")                                                                                              \
	X(LOGIN, "LOGIN")

#define SMTP_AUTH_NAMES_MAX_OCTETS 160 /* all of them with a space before each */

/* The mechanism's bit; 0: none of ours. Any case. */
uint32_t smtp_auth_bit(const char *name, uint32_t len_octets);
/* " PLAIN LOGIN" for a set, NUL-terminated; "" for none. Returns out. */
char *smtp_auth_names(uint32_t set, char out[SMTP_AUTH_NAMES_MAX_OCTETS]);

#endif
