/*
 * config.h - greyline.conf read, checked and held: what is in force and where each value comes from.
 *
 * Flow:   main, api (reload, set, unset) -> config_load() -> compile.c (snapshot), resolver, log
 * Touches: the configuration file and the list files it names.
 * Keeps:  a struct config is whole and valid or is not there; every error is collected, not only the first; `set` values lie over the
 *         file's and never change them.
 */
#ifndef GREYLINE_CONTROL_CONFIG_H
#define GREYLINE_CONTROL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "control/options.h"
#include "dataplane/base/conf.h"
#include "dataplane/policy/dnsbl.h"
#include "dataplane/table/prefix.h"

#define CONFIG_FILE_MAX_OCTETS      (4u << 20)
#define CONFIG_LIST_FILE_MAX_OCTETS (1u << 30)
#define CONFIG_LIST_ENTRIES_MAX     10000000u /* of one list */
#define CONFIG_SOURCES_MAX          250
#define CONFIG_ERRORS_MAX           200

struct config_errors {
	char **line;
	uint32_t n;
	uint32_t dropped; /* beyond CONFIG_ERRORS_MAX */
};

struct config_text {
	char *text;
	uint32_t line;
	uint16_t source;
};

struct config_texts {
	struct config_text *v;
	uint32_t n, room;
	uint32_t n_inline; /* the first ones stand in the file itself, the rest came from list files */
};

struct config_networks {
	struct prefix_entry *v; /* value: source << 24 | line */
	uint32_t n, room;
};

struct config_zone {
	struct dnsbl_zone spec;      /* spec.zone may hold a key: never shown */
	char name[CONF_HOST_OCTETS]; /* public */
	enum conf_zone_kind kind;
	char whoami[CONF_HOST_OCTETS];     /* a name whose answer tells the resolver's address; "": none */
	char test_point[CONF_HOST_OCTETS]; /* of lists of names: what they must list */
	uint32_t line;
};

enum config_origin { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_SET };

struct config {
	char *path;
	char *source[CONFIG_SOURCES_MAX]; /* file names; 0 is the configuration itself */
	uint32_t n_sources;

	struct option_values file;     /* of the file and the defaults */
	struct option_values values;   /* in force: with what was set */
	uint8_t *file_origin, *origin; /* [option_n], enum config_origin */
	struct config_texts list[LIST_N];
	struct config_networks client_allow, client_deny;
	struct config_texts big_senders; /* empty where clients.big_senders is off */

	struct conf_port port[CONF_PORTS_MAX];
	struct conf_listener listener[CONF_LISTENERS_MAX];
	struct config_texts listener_domains[CONF_LISTENERS_MAX];
	struct conf_pool pool[CONF_POOLS_MAX];
	struct config_texts pool_domains[CONF_POOLS_MAX];
	struct conf_backend backend[CONF_BACKENDS_MAX];
	struct config_zone *zone; /* [CONF_ZONES_MAX] */
	uint32_t n_ports, n_listeners, n_pools, n_backends, n_zones;
	char *ca; /* PEM of every backend's tls_ca, one after another; conf_backend names its part */
	uint32_t ca_octets;
};

/* Reads, checks and returns the configuration; the caller owns it. NULL with every error found in *errors (free with
 * config_errors_free(); also to be called after success). */
struct config *config_load(const char *path, struct config_errors *errors);
/* The same from memory. read_files: whether list files are opened (not by fuzz targets). */
struct config *config_parse(
	const char *path, const char *text, size_t octets, bool read_files, struct config_errors *errors);
void config_free(struct config *config);
void config_errors_free(struct config_errors *errors);

/* One more error; printf. */
void config_error(struct config_errors *errors, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Lays a set value over the file's. 0; -EINVAL with why (OPTION_ERROR_OCTETS), nothing changed then. */
int config_set(struct config *config, const struct option_row *o, const char *text, char *why);
int config_unset(struct config *config, const struct option_row *o, char *why);

/* Reads a list: one entry on each line, # begins a comment. Refused entries are errors named by file and line. */
enum list_kind { LIST_OF_NETWORKS, LIST_OF_HOSTS, LIST_OF_ADDRESSES };
void config_list_parse(enum list_kind kind, const char *file, uint16_t source, const char *text, size_t octets,
	struct config_networks *networks, struct config_texts *texts, struct config_errors *errors);

void config_texts_add(struct config_texts *t, const char *text, size_t octets, uint32_t line, uint16_t source);
void config_texts_free(struct config_texts *t);

/* Whether text is a domain as lists hold them (".example.org", "example.org", "*"), a mail address or a part of one. NULL when it is,
 * else what is wrong. */
const char *config_host_wrong(const char *text);
const char *config_address_wrong(const char *text);
/* Address with optional port: "192.0.2.1", "192.0.2.1:53", "[2001:db8::1]:53", "2001:db8::1". 0 or -EINVAL. */
int config_server_parse(const char *text, uint16_t default_port, struct ip_addr *addr, uint16_t *port);
/* Stable number of a backend: of name, address, port; never 0. */
uint32_t config_backend_id(const char *name, const struct ip_addr *addr, uint16_t port);

#endif
