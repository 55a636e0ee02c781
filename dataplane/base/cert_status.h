/*
 * cert_status.h - what the data plane tells about one pair of certificate and key: a row for status, metrics and `cert list`.
 *
 * Flow:   dataplane/tls (cert_load) -> segment -> control -> greylinectl
 * Keeps:  no key and nothing secret; texts are printable ASCII and terminated; control still treats every row as hostile.
 */
#ifndef GREYLINE_BASE_CERT_STATUS_H
#define GREYLINE_BASE_CERT_STATUS_H

#include <stdint.h>

#define CERT_LABEL_OCTETS 128 /* with NUL */
#define CERT_TEXT_OCTETS  256
#define CERT_NAMES_OCTETS 1024
#define CERT_ROWS_MAX     640 /* good pairs and files that could not be used */

enum cert_key_type { CERT_KEY_ECDSA, CERT_KEY_RSA, CERT_KEY_ED25519, CERT_KEY_TYPE_N };

/* enum cert_state: what a row is. */
enum cert_state {
	CERT_GOOD,
	CERT_EXPIRED, /* in use: nothing better of that label is there */
	CERT_NOT_YET, /* its time has not come; in use where nothing better is there */
	CERT_KEPT,    /* the files are bad now: the pair loaded from them before stays in use */
	CERT_BAD,     /* not in use: why says what is wrong */
};

struct cert_status {
	char label[CERT_LABEL_OCTETS];
	uint8_t state;    /* enum cert_state */
	uint8_t key_type; /* enum cert_key_type */
	uint8_t is_default;
	uint8_t in_use;
	uint32_t key_bits;
	int64_t not_before, not_after;
	int64_t loaded_at; /* seconds since 1970 */
	uint32_t n_names;  /* all of them; names holds the first ones */
	uint32_t n_chain;  /* certificates in the file */
	uint8_t spki_sha256[32], cert_sha256[32];
	char names[CERT_NAMES_OCTETS]; /* separated by spaces */
	char issuer[CERT_TEXT_OCTETS];
	char why[CERT_TEXT_OCTETS]; /* of KEPT and BAD, or a warning (chain incomplete ...); "" when there is nothing to say */
};

/* Where the rows lie in the segment: one writer (the data plane's main thread), sequence odd while it writes. */
struct cert_area {
	uint32_t sequence;
	uint32_t n_rows;
	uint64_t generation;                 /* of the set in force; 0: none */
	uint64_t reload_wanted;              /* raised by control: `greylinectl cert reload` */
	uint64_t reload_done;                /* the reload_wanted that has been answered */
	int64_t looked_at;                   /* seconds since 1970 */
	char folder_error[CERT_TEXT_OCTETS]; /* the folder, or the options, cannot be used; "" when they can */
	char note[CERT_TEXT_OCTETS];         /* what is worth knowing, no failure; "" */
	struct cert_status row[CERT_ROWS_MAX];
};

_Static_assert(sizeof(struct cert_status) % 8 == 0, "copied by words");

#endif
