/*
 * config_reader.h - what the files of the configuration reader share among themselves.
 *
 * Flow:   config.c (single values, lists) -> config_parts.c (ports, pools, listeners, zones)
 */
#ifndef GREYLINE_CONTROL_CONFIG_READER_H
#define GREYLINE_CONTROL_CONFIG_READER_H

#include <libconfig.h>

#include "control/config.h"

struct config_reader {
	struct config *config;
	struct config_errors *errors;
	bool read_files;
	/* pool names as listeners wrote them, resolved when all pools are known */
	struct config_texts listener_pools[CONF_LISTENERS_MAX];
	uint32_t listener_line[CONF_LISTENERS_MAX], pool_line[CONF_POOLS_MAX], backend_line[CONF_BACKENDS_MAX];
	bool listener_trusts[CONF_LISTENERS_MAX];
};

/* An error at a setting: FILE:LINE: PATH: message. */
void reader_error(struct config_reader *r, uint32_t line, const char *path, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* The setting's value as text for a message. */
const char *reader_value(const config_setting_t *s, char *out, size_t octets);
/* Texts of an array; anything else is an error. item NULL: any text. */
void reader_texts(struct config_reader *r, const config_setting_t *s, const char *path, struct config_texts *out);
/* Reads a list file into texts or networks. */
void reader_list_file(struct config_reader *r, enum list_kind kind, const struct config_text *file, const char *path,
	struct config_networks *networks, struct config_texts *texts);

/* The whole of a file, named from the configuration's folder; the caller frees. NULL after an error, and where files are not read. */
char *reader_file(
	struct config_reader *r, uint32_t line, const char *path, const char *name, size_t max_octets, size_t *octets);

/* config_zones.c: whether path is a list of zones, and of which; reads it. */
bool reader_zone_kind(const char *path, enum conf_zone_kind *kind);
void reader_zones(struct config_reader *r, const config_setting_t *list, enum conf_zone_kind kind);
/* After all were read: by kind, in the order of the file within each. */
void reader_sort_zones(struct config *c);

/* Whether path is one of ports, pools, listeners, or a list of zones: then it is read. */
bool reader_part(struct config_reader *r, const config_setting_t *s, const char *path);
/* Relations between the parts, after everything was read. */
void reader_check_parts(struct config_reader *r);

#endif
