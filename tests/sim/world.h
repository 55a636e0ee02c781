/*
 * world.h - the world of one seed: who lives in it, and what befalls it. test_seeds.c begins and ends it and says what must hold.
 */
#ifndef GREYLINE_TESTS_SIM_WORLD_H
#define GREYLINE_TESTS_SIM_WORLD_H

#include "dataplane/base/bug.h"
#include "tests/sim/model.h"
#include "tests/sim/peers.h"

#define CLIENTS_MAX  4
#define SENDERS_MAX  3 /* of a client */
#define BACKENDS     2
#define MESSAGES_MAX 64
#define EVIL_HOSTS   4
#define SECOND       UINT64_C(1000000)

struct sender {
	struct model_host *host;
	struct model_conn *conn;
	uint32_t stage, message, messages_end, tries;
	uint64_t again_us;
	bool done, half_closes, pipelines;
	bool one_each; /* a session for each message */
	uint32_t sessions, failed;
	char reply[512];
};

struct mailbox { /* of one connection of a backend */
	struct model_conn *conn;
	bool in_data, header_seen, closing;
	size_t data_from;
	uint64_t answer_us;
};

struct backend {
	struct model_host host;
	struct mailbox box[MODEL_CONNS_MAX];
	uint64_t up_us;
};

struct trouble {
	uint64_t at_us;
	uint32_t kind;
};

enum attack { A_NONE, A_SYNS, A_ACKS, A_RSTS, A_IDLERS, A_ZERO_WINDOWS, A_ONE_OCTET, A_SLOWLORIS, A_N };

struct world {
	uint64_t seed;
	bool verbose;
	enum attack attack;
	bool roomy; /* with default limits, not with the few slots of a small worker */
	uint64_t attack_due_us;
	struct model_host evil[EVIL_HOSTS];
	uint32_t n_forged;
	uint64_t rng;
	struct sim *sim;
	struct sim_config config;
	struct fake_control control;
	uint64_t control_until_us; /* stalled until then */
	struct model_host client[CLIENTS_MAX];
	uint32_t n_clients, n_senders, n_messages;
	struct sender sender[CLIENTS_MAX * SENDERS_MAX];
	struct backend backend[BACKENDS];
	uint32_t delivered[MESSAGES_MAX];
	bool accepted[MESSAGES_MAX];
	struct trouble trouble[12];
	uint32_t n_troubles, n_kills;
	uint64_t calm_us;
};

enum stage { S_BANNER, S_EHLO, S_MAIL, S_RCPT, S_DATA, S_DOT, S_QUIT };

enum {
	T_WIRE,
	T_REHASH,
	T_CONTROL_STALLS,
	T_CONTROL_FORGETS,
	T_BACKEND_STALLS,
	T_BACKEND_CRASHES,
	T_CLIENT_CRASHES,
	T_DATAPLANE_KILLED, /* and started anew at once: segment and marks stay */
	T_N
};

/* Ends the program; the handler of SIGABRT says how to play the world again. */
void __attribute__((format(printf, 1, 2), noreturn)) world_die(const char *format, ...);

/* A number below n, of the seed's own sequence; n 0: 0. */
uint32_t world_draw(struct world *w, uint32_t n);
bool world_one_in(struct world *w, uint32_t n);

/* The text of message n as it crosses the wire, dots stuffed, with the end of data. A function of seed and number, made once. */
const uint8_t *world_body(const struct world *w, uint32_t n, size_t *octets);
/* Every sender has nothing left to deliver, and no connection. */
bool world_all_done(void *arg);

/* What somebody does in one step. */
void world_sender_turn(struct world *w, struct sender *s);
void world_backend_turn(struct world *w, struct backend *be);
void world_attack_turn(struct world *w);

void world_draw_wire(struct world *w);
void world_draw_habits(struct world *w, struct model_host *h);
/* One of T_*. */
void world_trouble(struct world *w, uint32_t kind);

/* An attacked world: good clients on a clean wire, who stand on no list, against one kind of attack. */
void world_attack_start(struct world *w, enum attack attack, uint64_t seed);
/* Prints how the good clients fared; dies where more than one session in a hundred failed. */
void world_attack_judge(struct world *w);

#endif
