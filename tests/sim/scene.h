/*
 * scene.h - a test's stage: simulator, a client host, the fakes, and the words to hold a dialogue with.
 */
#ifndef GREYLINE_TESTS_SIM_SCENE_H
#define GREYLINE_TESTS_SIM_SCENE_H

#include "tests/helpers/tls_certs.h"
#include "tests/sim/peers.h"

#define CLIENT4  "198.18.0.10"
#define GATEWAY4 "198.18.0.2"
#define CLIENT6  "2001:db8:0:1::10"
#define GATEWAY6 "2001:db8:0:1::2"

struct scene {
	struct sim *sim;
	struct sim_config config;
	struct sim_host *client, *lan;
	struct fake_mta mta, mta_x, mta_v1, submit;
	struct fake_control control;
	bool framed; /* clients and gateway talk through the stream that re-frames and delays */
	bool long_way; /* the gateway's sessions have a stream that changes nothing, but is not the one that lets them take short ways */
	bool tls; /* clients say EHLO and STARTTLS before anything else; needs scene_tls() */
	struct tls_context *tls_client, *tls_backend; /* of the client hosts and of the fakes */
	struct counters tls_counters;                 /* theirs */
	char reply[8192];                             /* the last one, whole */
	char message[4096];                           /* room for scene_deliver() */
};

/* config may be changed between scene_conf() and scene_start(). */
void scene_conf(struct scene *s);
void scene_start(struct scene *s, uint64_t seed, uint32_t n_workers, struct sim_wire wire);
/* The same with workers that the test runs itself (sim_outside). */
void scene_start_outside(struct scene *s, uint64_t seed, uint32_t n_workers);
void scene_end(struct scene *s);
/* Runs until every backend was probed. */
void scene_settle(struct scene *s);
/* Both that follow scene_conf(): one worker, and a wire that only takes half a millisecond. */
void scene_begin(struct scene *s);
/* All three, with what scene_conf() has, one worker and a wire that only takes half a millisecond. */
void scene_usual(struct scene *s);

/* Puts the re-framing stream on a connection that was just opened, where the scene has it. */
void scene_frame(struct scene *s, struct sim_conn *c);
/*
 * Between scene_conf() and scene_start(): the gateway shows the certificates of certs (which outlive the scene), the mx listener offers
 * STARTTLS. At any time later: other certificates, as certs holds them now.
 */
void scene_tls(struct scene *s, struct tls_certs *certs);
void scene_tls_reload(struct scene *s, struct tls_certs *certs);
/* Fixtures of a group of tests: scene_certs has a pair of either kind for gw.example, made once for all of them. */
extern struct tls_certs scene_certs;
int scene_tls_set_up(void **state);
int scene_tls_tear_down(void **state);
/* The client's side of TLS on a connection, for its owner to set; and a backend's. Destroyed with the scene. */
struct stream *scene_tls_client(struct scene *s);
struct stream *scene_tls_backend(void *scene);
/* STARTTLS, and the handshake: true when both are done. */
bool scene_starttls(struct scene *s, struct sim_conn *c);
/* Waits for a handshake that has begun: false when it failed. */
bool scene_tls_wait(struct scene *s, struct sim_conn *c);
/* For scene.c. */
void scene_tls_conf(struct scene *s, struct sim_conf *conf);
void scene_tls_end(struct scene *s);
void scene_tls_gone(struct scene *s);

/* Opens a connection and takes the banner; NULL-safe others below work on what it gives. */
struct sim_conn *scene_open(struct scene *s, const char *from, const char *to);
/* Sends line (CRLF is added) and waits for one whole reply; answers its code, 0 when the connection ended or nothing came in limit. */
int scene_chat(struct scene *s, struct sim_conn *c, const char *line);
/* Waits for one more reply. */
int scene_reply(struct scene *s, struct sim_conn *c);
int scene_reply_within(struct scene *s, struct sim_conn *c, uint64_t limit_us);
/* EHLO, MAIL, RCPT: the code of RCPT. */
int scene_rcpt(struct scene *s, struct sim_conn *c, const char *from, const char *to);
/* A whole delivery in a session of its own: the code of RCPT, or of the message where RCPT was 250. */
int scene_deliver(struct scene *s, const char *client, const char *from, const char *to, const char *body);
/* Lets the triplet through the greylist with the usual block of 240 s: dies where the first attempt is not 451, the second not 250. */
void scene_make_white(struct scene *s, const char *client, const char *from, const char *to);
/* Sends what may take several turns; returns when it is out. */
void scene_send_all(struct scene *s, struct sim_conn *c, const void *data, size_t octets);
/* Of a struct sim_conn: for sim_until(). */
bool scene_is_gone(void *conn);
/* The only worker, or the first. */
struct worker *scene_worker(struct scene *s);
/* Its only session that has a block, or the first; dies where there is none. */
struct session *scene_session(struct scene *s);
/* Over all workers. */
uint64_t scene_count(struct scene *s, enum counter which);
/* Passes of that worker that did work and whose time was noted. */
uint64_t scene_passes(struct scene *s, uint32_t worker);
/* n sessions are at rest, and nothing is held besides their records; dies where it is not so. bufs_before: sim_bufs_in_use() before them. */
void scene_check_resting(struct scene *s, const char *label, uint32_t n, uint32_t bufs_before);
/* Every session ends, and with it all that it held; dies where it does not. bufs_before: sim_bufs_in_use() before the sessions. */
void scene_check_nothing_left(struct scene *s, const char *label, uint32_t bufs_before);
/* N of "try again in N seconds" of the last reply; -1 when there is none. */
int scene_wait_s(const struct scene *s);
void scene_quit(struct scene *s, struct sim_conn *c);

#endif
