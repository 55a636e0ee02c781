/*
 * config_zones.c - DNS zones: lists of client addresses, of HELO names, of sender domains.
 *
 * Flow:   config_parts.c: reader_part() -> reader_zones()
 * Keeps:  a key (the first labels of a zone) is only ever in spec.zone, never in an error; a name nobody has confirmed cannot speak for a
 *         client, so lists of names have no negative weights.
 * Source: POLICY section 4; the notation is dnsbl.h's.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "control/config_member.h"
#include "dataplane/base/bug.h"

#define ZONE_KEY_OCTETS 16 /* keys of subscriptions have 26 or 32 */

struct zone_place {
	struct config_reader *r;
	enum conf_zone_kind kind;
	const char *path;
	uint32_t line;
};

static const char *const zone_paths[ZONE_KINDS] = {
	[ZONE_KIND_CLIENT] = "dnsbl.zones",
	[ZONE_KIND_HELO] = "dnsbl.helo_zones",
	[ZONE_KIND_SENDER] = "dnsbl.sender_zones",
};

bool
reader_zone_kind(const char *path, enum conf_zone_kind *kind)
{
	for (unsigned k = 0; k < ZONE_KINDS; k++)
		if (strcmp(path, zone_paths[k]) == 0) {
			*kind = (enum conf_zone_kind)k;
			return true;
		}
	return false;
}

static bool
has_negative_weight(const struct dnsbl_zone *z)
{
	if (z->n_filters == 0)
		return z->weight < 0;
	for (unsigned i = 0; i < z->n_filters; i++)
		if (z->filter[i].weight < 0)
			return true;
	return false;
}

/* A label as subscriptions have it: long, letters and digits alone, some of them digits. No list's own name looks so. */
static bool
has_key(const char *zone)
{
	while (*zone != '\0') {
		const size_t octets = strcspn(zone, ".");
		size_t digits = 0, letters = 0;

		for (size_t i = 0; i < octets; i++) {
			digits += isdigit((unsigned char)zone[i]) != 0;
			letters += isalpha((unsigned char)zone[i]) != 0;
		}
		if (octets >= ZONE_KEY_OCTETS && digits > 0 && digits + letters == octets)
			return true;
		zone += octets + (zone[octets] == '.');
	}
	return false;
}

/* The next free zone with what all notations give; NULL when something was wrong. It counts when n_zones is raised. */
static struct config_zone *
zone_begin(const struct zone_place *p, const char *text, const char *name)
{
	struct config *c = p->r->config;
	struct config_zone *z = &c->zone[c->n_zones];
	char why[DNSBL_WHY_OCTETS];

	if (c->n_zones == CONF_ZONES_MAX) {
		reader_error(p->r, p->line, p->path, "more than %d zones", CONF_ZONES_MAX);
		return NULL;
	}
	*z = (struct config_zone){ .kind = p->kind, .line = p->line };
	if (dnsbl_zone_parse(text, &z->spec, why) != 0) {
		reader_error(p->r, p->line, p->path, "%s", why);
		return NULL;
	}
	if (name == NULL && has_key(z->spec.zone)) /* the line must not show it either */
		reader_error(p->r, p->line, p->path,
			"a label of this zone looks like a key, and without a name of its own the zone shows in "
			"replies and "
			"logs: give it as { zone = ...; name = \"public.name\"; filters = ...; }");
	for (uint32_t i = 0; i < c->n_zones; i++)
		if (c->zone[i].kind == p->kind && strcasecmp(c->zone[i].spec.zone, z->spec.zone) == 0)
			reader_error(p->r, p->line, p->path, "this zone is there already (line %u)", c->zone[i].line);
	if (p->kind != ZONE_KIND_CLIENT && has_negative_weight(&z->spec))
		reader_error(p->r, p->line, p->path,
			"negative weights are for lists of client addresses: anybody may use a HELO name or a sender "
			"domain");
	snprintf(z->name, sizeof(z->name), "%s", name != NULL ? name : z->spec.zone);
	snprintf(z->test_point, sizeof(z->test_point), "%s", DNSBL_TEST_DOMAIN);
	return z;
}

/* A member that holds a domain; what is no domain is an error. */
static void
zone_domain(struct member_ctx *m, const char *member, char out[CONF_HOST_OCTETS])
{
	char text[CONF_HOST_OCTETS];
	const char *bad;

	if (!member_text(m, member, text, sizeof(text), false) || text[0] == '\0')
		return;
	bad = dnsbl_zone_wrong(text);
	if (bad != NULL)
		reader_error(m->r, member_line_of(m->group), m->path, "%s = \"%.60s\": %s", member, text, bad);
	else
		memcpy(out, text, sizeof(text));
}

static void
read_group(struct config_reader *r, const config_setting_t *s, enum conf_zone_kind kind, int index)
{
	char zone[CONF_HOST_OCTETS], name[CONF_HOST_OCTETS], text[2048];
	struct config_texts filters = { 0 };
	const config_setting_t *list;
	struct config_zone *z = NULL;
	struct zone_place place;
	struct member_ctx m;
	bool decisive;
	size_t at;

	if (!member_begin(&m, r, s, zone_paths[kind], index) || !member_text(&m, "zone", zone, sizeof(zone), true))
		return;
	if (!member_text(&m, "name", name, sizeof(name), false) || !member_bool(&m, "decisive", &decisive))
		return;
	place = (struct zone_place){ r, kind, m.path, member_line_of(s) };
	list = config_setting_get_member(s, "filters");
	if (list != NULL)
		reader_texts(r, list, m.path, &filters);
	at = (size_t)snprintf(text, sizeof(text), "%s", zone);
	for (uint32_t i = 0; i < filters.n && at < sizeof(text); i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%c%s", i == 0 ? '=' : ',', filters.v[i].text);
	if (at >= sizeof(text))
		reader_error(r, place.line, m.path, "filters are too long");
	else
		z = zone_begin(&place, text, name[0] != '\0' ? name : NULL);
	config_texts_free(&filters);
	if (z == NULL)
		return;
	z->spec.decisive = decisive;
	zone_domain(&m, "whoami", z->whoami);
	if (kind != ZONE_KIND_CLIENT)
		zone_domain(&m, "test_point", z->test_point);
	r->config->n_zones++;
}

void
reader_zones(struct config_reader *r, const config_setting_t *list, enum conf_zone_kind kind)
{
	char path[64];

	for (int i = 0; i < config_setting_length(list); i++) {
		const config_setting_t *s = config_setting_get_elem(list, (unsigned)i);
		const struct zone_place place = { r, kind, path, member_line_of(s) };

		snprintf(path, sizeof(path), "%s[%d]", zone_paths[kind], i);
		if (config_setting_type(s) == CONFIG_TYPE_STRING) {
			if (zone_begin(&place, config_setting_get_string(s), NULL) != NULL)
				r->config->n_zones++;
		} else {
			read_group(r, s, kind, i);
		}
	}
}

void
reader_sort_zones(struct config *c)
{
	for (uint32_t i = 1; i < c->n_zones; i++)
		for (uint32_t k = i; k > 0 && c->zone[k].kind < c->zone[k - 1].kind; k--) {
			const struct config_zone z = c->zone[k];

			c->zone[k] = c->zone[k - 1];
			c->zone[k - 1] = z;
		}
}
