/*
 * record.h - the values of the store, one struct and one codec for each table.
 *
 * Flow:   control/store -> X_build -> LMDB -> X_parse;  `greylinectl db` reads with the same code.
 * Pure:   octets in, octets out. Libc alone.
 * Keeps:  the first octet of every value is the version of its encoding; integers are big endian; a value is read whole
 *         or not at all. Building then parsing gives the same struct. README.md has the tables.
 *
 * X_build: octets written, 0 where room is too small or a text longer than its cap.
 * X_parse: 0; -EBADMSG damaged or cut; -ENOTSUP a version this build does not know (the caller leaves the record
 * alone); *out on success only. Texts *lend* the LMDB value until its transaction ends; they are not NUL-terminated.
 */
#ifndef GREYLINE_LMDB_SCHEMA_RECORD_H
#define GREYLINE_LMDB_SCHEMA_RECORD_H

#include <stddef.h>
#include <stdint.h>

#define SCHEMA_VALUE_MAX_OCTETS   2048 /* room that is enough for every build */
#define SCHEMA_PATH_MAX_OCTETS    320  /* sender, recipient */
#define SCHEMA_HOST_MAX_OCTETS    255
#define SCHEMA_WORD_MAX_OCTETS    64
#define SCHEMA_REPLY_MAX_OCTETS   256
#define SCHEMA_OPTION_MAX_OCTETS  1024
#define SCHEMA_BOOT_ID_MAX_OCTETS 39

#define SCHEMA_ENTRY_VERSION   1
#define SCHEMA_NAME_VERSION    1
#define SCHEMA_OPTION_VERSION  1
#define SCHEMA_BACKEND_VERSION 1
#define SCHEMA_WHY_VERSION     1
#define SCHEMA_ORDER_VERSION   1
#define SCHEMA_META_VERSION    1

struct schema_text {
	const char *ptr;
	uint32_t len_octets;
};

/* The text of a C string; NULL is "". */
struct schema_text schema_text_of(const char *s);
/* A copy with NUL, cut where room is smaller. Returns out. */
char *schema_text_copy(struct schema_text t, char *out, size_t room);

/* entries: what an entry of the verdict table holds besides its tag and kind, which are the key. */
struct schema_entry {
	uint8_t state, flags;
	uint16_t aux;
	uint32_t time_s; /* policy time */
};
size_t schema_entry_build(const struct schema_entry *e, uint8_t *out, size_t room);
int schema_entry_parse(const void *value, size_t octets, struct schema_entry *out);

/* names: what an entry's hash stands for, to be read by people. May be missing. */
struct schema_name {
	uint8_t network[16];             /* IPv4 in its mapped form */
	uint32_t first_s;                /* policy time the name came */
	struct schema_text sender, rcpt; /* empty for kinds without */
};
size_t schema_name_build(const struct schema_name *n, uint8_t *out, size_t room);
int schema_name_parse(const void *value, size_t octets, struct schema_name *out);

/* options: a value given by `set`, as text; the option's name is the key. */
struct schema_option {
	uint64_t set_wall_s; /* wall clock: for people */
	struct schema_text text;
};
size_t schema_option_build(const struct schema_option *o, uint8_t *out, size_t room);
int schema_option_parse(const void *value, size_t octets, struct schema_option *out);

/* backends: the last known state, so that a restart begins with it. */
struct schema_backend {
	uint8_t health, drained, failures, probed;
	uint32_t ext, probed_s, relaytest_s, changed_s;
	uint64_t size_octets;
	struct schema_text words;
};
size_t schema_backend_build(const struct schema_backend *b, uint8_t *out, size_t room);
int schema_backend_parse(const void *value, size_t octets, struct schema_backend *out);

/* why: one reject; the reference is the key. */
struct schema_why {
	uint64_t sequence; /* its key in why_order */
	uint64_t wall_s;   /* wall clock: for people */
	uint32_t time_s;
	uint8_t client[16];
	uint8_t verdict, rule, mode;
	uint16_t code;
	int16_t score;
	struct schema_text listener, ptr, helo, from, rcpt, reason, reply;
};
size_t schema_why_build(const struct schema_why *w, uint8_t *out, size_t room);
int schema_why_parse(const void *value, size_t octets, struct schema_why *out);

/* why_order: the reference that came as the key's number; the lowest key is the oldest. */
size_t schema_order_build(uint64_t ref, uint8_t *out, size_t room);
int schema_order_parse(const void *value, size_t octets, uint64_t *ref);

/* meta "schema": which layout the databases have. */
struct schema_meta {
	uint32_t schema;
	uint64_t created_wall_s;
};
size_t schema_meta_build(const struct schema_meta *m, uint8_t *out, size_t room);
int schema_meta_parse(const void *value, size_t octets, struct schema_meta *out);

/* meta "table_key": the secret of all tags. Without it the entries mean nothing. */
struct schema_table_key {
	uint64_t k0, k1;
};
size_t schema_table_key_build(const struct schema_table_key *k, uint8_t *out, size_t room);
int schema_table_key_parse(const void *value, size_t octets, struct schema_table_key *out);

/* meta "policy": the offset of policy time and the boot it belongs to. */
struct schema_policy_time {
	int64_t offset_s;
	char boot_id[SCHEMA_BOOT_ID_MAX_OCTETS + 1];
};
size_t schema_policy_time_build(const struct schema_policy_time *p, uint8_t *out, size_t room);
int schema_policy_time_parse(const void *value, size_t octets, struct schema_policy_time *out);

#endif
