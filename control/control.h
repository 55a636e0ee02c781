/*
 * control.h - what the parts of greyline-control hang from.
 *
 * Flow:   main.c -> control_start() -> event loop -> control_stop();  events.c, api_*.c, stats.c work on struct control
 * Touches: run_dir, state_dir, the segment, by its parts.
 */
#ifndef GREYLINE_CONTROL_CONTROL_H
#define GREYLINE_CONTROL_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "control/config.h"
#include "control/log.h"
#include "control/report.h"
#include "control/resolver.h"
#include "control/store.h"
#include "dataplane/link/segment.h"
#include "dataplane/link/snapshot.h"
#include "dataplane/policy/policy.h"

#define CONTROL_VERSION           "0.1.0"
#define CONTROL_CLIENTS_MAX       1000000u /* networks and names of `client allow|deny` */
#define CONTROL_CONFIRM_US        5000000  /* so long reload and set wait for the workers */
#define CONTROL_CONFIRMATIONS_MAX 64
#define CONTROL_HEARTBEAT_DEAD_US 2000000 /* a data plane silent for so long is not there */

struct event_base;
struct event;
struct json_t;
struct api;
struct stats_server;

/* Networks of `client allow|deny`. */
struct control_networks {
	struct prefix_entry *v;
	uint32_t n, room;
};

typedef void confirm_fn(void *arg, bool confirmed);

struct confirmation {
	uint64_t generation, deadline_us;
	confirm_fn *fn;
	void *arg;
};

/* Counts of control's own, copied into its counters in the segment. */
struct control_counts {
	uint64_t events_client, events_names, events_name, events_log, events_malformed, events_stale, answers,
		name_answers, answers_full, rejects_kept, segments_lost;
};

struct control {
	struct event_base *base;
	struct event *turn, *slow, *sighup, *sigterm, *sigint;
	char config_path[1024];
	struct config *config;
	struct store *store;
	struct segment segment;
	bool attached;
	char segment_path[SEGMENT_PATH_OCTETS], snapshot_path[160], socket_path[160];
	struct siphash_key table_key;
	struct snapshot snapshot; /* our own copy of what the data plane decides by */
	bool mapped;
	uint64_t generation;
	uint64_t seed;
	struct control_networks allow, deny; /* the operator's */
	uint32_t n_names;                    /* the operator's names, in the lists of config */
	struct resolver *resolver;
	struct log log;
	struct report report;
	struct api *api;
	struct stats_server *stats_server;
	struct control_counts counts;
	struct confirmation confirmation[CONTROL_CONFIRMATIONS_MAX];
	uint32_t n_confirmations;
	struct backend_state backend_kept[CONF_BACKENDS_MAX]; /* as in the database */
	uint64_t started_us;
	uint64_t commit_at_us, check_at_us, second_at_us, figures_at_us;
	uint64_t load_began_us, load_again_us;
	struct vt_counts table_counts; /* for status, of counted_us */
	uint64_t counted_us, count_cost_us;
	bool commit_behind; /* the last turn could not write all */
	uint32_t turn_us;   /* of the ring timer, by how busy it is */
	uint32_t unclean_seen;
	uint32_t sweep_bucket, sweep_from_s,
		sweep_now_s; /* of the table: windows that closed between the two times are counted */
	struct json_t *alarms_seen,
		*alarms_said; /* as texts: of the last look, and those that were told and hold yet */
	uint64_t alarms_at_us;
	int lock_fd;
	bool stopping;
	/* as they were at start: options that count at the next start of control or data plane */
	struct option_values at_start;
	struct option_values dataplane_start; /* as the serving data plane found them */
	uint32_t dataplane_incarnation;
	struct cert_check *cert_check; /* under way; NULL: none */
	uint64_t cert_questions;       /* numbers of its questions to the data plane */
};

/* Everything up to the running loop. 0, or -errno after a message on stderr. */
int control_start(struct control *c, const char *config_path, struct config *config);
void control_stop(struct control *c);

/* Compiles what is in force into a snapshot of the next generation and asks the data plane for it. 0 or -errno. */
int control_publish(struct control *c);
/* Reads the file anew. 0; -EINVAL with every error; then nothing changed. */
int control_reload(struct control *c, struct config_errors *errors);
/* Calls fn when all workers have the generation in force, or the time is up; at once where no data plane serves. */
void control_confirm(struct control *c, confirm_fn *fn, void *arg);
bool control_confirmed(const struct control *c);
bool control_dataplane_serves(const struct control *c);

/* `client allow|deny|forget`: key a network or a name. why: OPTION_ERROR_OCTETS. Publishes. -EINVAL, -ENOENT, -EIO. */
int control_client_put(struct control *c, const char *key, char list, const char *note, char *why);
int control_client_remove(struct control *c, const char *key);

/* Zones or name lists are others: asks by them, and forgets verdicts by the old ones. 0 or -EIO. */
int control_questions_changed(struct control *c);
/* What policy decides by, for explain and for records of clients. */
void control_policy_ctx(struct control *c, struct policy_ctx *ctx);
uint32_t control_now_s(const struct control *c); /* policy time */
int64_t control_wall_us(void);
uint64_t control_mono_us(void);
/* A point of policy time on the wall clock, for people. */
int64_t control_wall_of(const struct control *c, uint32_t policy_s);
/* Waiting options: set or in the file, but counting at the next start. Gives each name. */
void control_waiting(const struct control *c, void (*fn)(void *arg, const char *path), void *arg);
/* Removes an entry from table and database. */
bool control_entry_remove(struct control *c, enum vt_kind kind, uint64_t tag);

/* events.c: one turn over the rings; how many records were taken. */
uint32_t events_turn(struct control *c);
/* events.c: stores what DNS said about a client; resolver_params.finished. */
void events_client_finished(void *arg, const struct ip_addr *client, const struct resolver_result *result);

/* events.c: whether the client's network earned automatic allow by delivered mail; resolver_params.in_good_standing. */
bool events_client_is_good(void *arg, const struct ip_addr *client);

#endif
