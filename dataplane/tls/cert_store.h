/*
 * cert_store.h - the folder of certificates as the main thread keeps it: looked at, loaded, reported.
 *
 * Flow:   main thread, every CERT_LOOK_US or when asked -> cert_store_look() -> a new set, or what is wrong with the new files
 * Touches: the folder and the files in it (cert_pair.h).
 * Keeps:  a bad pair never replaces a good one; a folder that cannot be read, or that holds no usable pair any more, changes nothing.
 */
#ifndef GREYLINE_TLS_CERT_STORE_H
#define GREYLINE_TLS_CERT_STORE_H

#include "dataplane/tls/cert_set.h"

#define CERT_ENTRIES_MAX 2048 /* of the folder; with more it is refused as a whole */
#define CERT_FILE_OCTETS 768  /* a path, with NUL */

struct cert_store;

struct cert_store *cert_store_create(void);
/* Workers must be gone, or hold the set themselves. */
void cert_store_destroy(struct cert_store *store);

struct cert_look {
	const char *folder;       /* "": no TLS is wanted, the set becomes none */
	const char *default_name; /* for clients without SNI */
	int64_t now_s;            /* wall clock: certificates are dated by it */
	bool now;                 /* asked for by the operator: files that are still changing are read all the same */
};

/*
 * One look. Files are read only when something of the folder changed and has been at rest since the look before, when a date passed,
 * or when look->now is set. True: there is something new to tell (cert_store_report()), and cert_store_set() may be another one.
 * A set given before stays valid until the caller releases it.
 */
bool cert_store_look(struct cert_store *store, const struct cert_look *look);

/* The set to be in force, lent until the next look; NULL: none. */
const struct cert_set *cert_store_set(const struct cert_store *store);

struct cert_report {
	uint32_t n_rows;
	char folder_error[CERT_TEXT_OCTETS]; /* "" when the folder is right */
	char note[CERT_TEXT_OCTETS];         /* a default name that no certificate holds and the like; "" */
	struct cert_status row[CERT_ROWS_MAX];
};

/* What the last look that read files found; lent until the next look. */
const struct cert_report *cert_store_report(const struct cert_store *store);

#endif
