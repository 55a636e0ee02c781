/*
 * control_impl.h - what the parts of control.c share.
 *
 * Flow:   control.c (start, publishing, end), control_settings.c (what changes while running), control_segment.c (shared memory),
 *         control_turns.c (the loop)
 * Touches: nothing by itself.
 */
#ifndef GREYLINE_CONTROL_CONTROL_IMPL_H
#define GREYLINE_CONTROL_CONTROL_IMPL_H

#include <event2/util.h>

#include "control/control.h"

#define TURN_MIN_US      1000
#define COMMIT_BUDGET_US 20000
#define SECOND_US        1000000

/* --- control.c */

/* Answers who waits for the workers: who are confirmed, whose time is up, all when stopping. */
void control_confirmations_turn(struct control *c, uint64_t now);

/* --- control_settings.c */

/* A verdict holds the index of a zone and whether a name was on a list: under other zones or lists it is asked for anew. */
void control_verdicts_drop(struct control *c);
/* Lays what was set over the file's values. */
void control_overlay(struct control *c, struct config *config);
/* The operator's entries as the database has them, into the networks and the name lists of the configuration in force. */
void control_clients_read(struct control *c);

/* --- control_segment.c */

/* The key of the tags: the database's; else that of a segment that is there; else a new one. 0 or -errno. */
int control_table_key(struct control *c);
/* Creates or finds the segment. 0 or -errno after a message on stderr. */
int control_attach(struct control *c);
/* The segment was deleted or replaced under us: what it holds is kept, another is made, and a snapshot that names it. */
void control_segment_lost(struct control *c);
/* Leaves the segment and attaches to the one there is, or a new one, for the key in force. 0 or -errno: tried again by the loop. */
int control_segment_renew(struct control *c);
void control_policy_time_start(struct control *c);
struct vt_ages control_ages(const struct control *c);
/* Fills a cold segment from the database until that moment at most. */
void control_load_until(struct control *c, uint64_t until_us);
bool control_is_loading(const struct control *c);
/* Begins anew where the last load was cut short, a minute later. */
void control_load_again(struct control *c);

/* --- control_turns.c */

/* Timers of the loop; arg is the struct control. */
void control_turn(evutil_socket_t fd, short what, void *arg);
void control_slow(evutil_socket_t fd, short what, void *arg);
/* States of backends that changed, into the database. */
void control_backends_keep(struct control *c);

#endif
