/*
 * config_member.h - reading the members of one group: ports, pools, backends, listeners, zones.
 *
 * Flow:   config_parts.c, config_tls.c -> member_*() -> values; every error by reader_error() with line, path and what would be right
 * Keeps:  an unknown member is refused with the nearest name; a value is taken whole or not at all.
 */
#ifndef GREYLINE_CONTROL_CONFIG_MEMBER_H
#define GREYLINE_CONTROL_CONFIG_MEMBER_H

#include "control/config_reader.h"

struct member_ctx {
	struct config_reader *r;
	const config_setting_t *group;
	const char *kind; /* "ports" */
	char path[320];   /* "ports[0]" or "ports.wan" once the name is known */
};

uint32_t member_line_of(const config_setting_t *s);
/* The path for messages; unknown members are refused with the nearest name. False when it is no group. */
bool member_begin(
	struct member_ctx *m, struct config_reader *r, const config_setting_t *group, const char *kind, int index);
const config_setting_t *member_get(const struct member_ctx *m, const char *name, bool required);
/* A text into out; "" when it is not there. False on error or absence of a required one. */
bool member_text(const struct member_ctx *m, const char *name, char *out, size_t octets, bool required);
/* One of words (their index into *out); def when it is not there. */
bool member_word(
	const struct member_ctx *m, const char *name, const char *const *words, unsigned n, uint8_t def, uint8_t *out);
bool member_number(const struct member_ctx *m, const char *name, long min, long max, long def, uint16_t *out);
bool member_bool(const struct member_ctx *m, const char *name, bool *out);
/* family 4, 6, or 0 for either. */
bool member_addr(const struct member_ctx *m, const char *name, struct ip_addr *out, bool required, int family);
/* A name of ours: letters, digits, hyphen, underscore, dot; it goes into logs as it is. */
bool member_name(const struct member_ctx *m, char *out);
void member_domains(const struct member_ctx *m, struct config_texts *out);

#endif
