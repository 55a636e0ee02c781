/*
 * play.h - one scenario of tests/dialogues/worker, played line by line; test_scenes.c describes the language and reads the files.
 *
 * Keeps:  a scenario has a process of its own: there is one stage, and what does not hold ends the process.
 */
#ifndef GREYLINE_TESTS_SIM_PLAY_H
#define GREYLINE_TESTS_SIM_PLAY_H

#include "tests/sim/scene.h"

#define PLAY_LINE_MAX_OCTETS 8192
#define PLAY_OCTETS_MAX      (512u << 10)
#define CONNS_MAX            16
#define IDS_MAX              12

struct scenario {
	const char *file, *title;
	unsigned line;    /* of its title */
	const char *text; /* what follows the title */
	const char *end;
	char ids[IDS_MAX][64];
	unsigned n_ids;
};

/* One scenario under way. */
struct play {
	const struct scenario *of;
	unsigned line;
	struct scene s;
	bool begun, framed;
	char client[64];
	struct {
		char name[32];
		struct sim_conn *c;
	} conn[CONNS_MAX];
	unsigned n_conns, at;
	uint32_t cut;
	uint64_t mark_us;
	uint32_t log_from, message_at[4];
	size_t heard_at[4];
};

extern struct play play;

/* Plays it and ends the process: 0 when it held. */
__attribute__((noreturn)) void play_scenario(const struct scenario *sc);

/* Says where the scenario does not hold and why, and ends the process. */
__attribute__((format(printf, 1, 2), noreturn)) void play_failed(const char *fmt, ...);

/* The next word of *at (lent until overwritten); "" at the end. */
char *play_word(char **at);
/* Those that fail end the process. */
uint64_t play_number(const char *text);
uint64_t play_time_us(const char *text);
bool play_on_off(const char *text);
unsigned play_one_of(const char *text, const char *const *names, unsigned n);
/* Whether text is as pattern says: {*} any text, {A..B} a number between. */
bool play_matches(const char *pattern, const char *text);
/* Without escapes, to play_octets; returns how many. */
size_t play_unescape(const char *text);
extern uint8_t play_octets[];

struct fake_mta *play_backend(const char *name, unsigned *index);

/* The lines that change what the gateway, its backends and DNS are: what follows the first word. */
void play_set(char *args);
void play_set_list(char *args);
void play_set_listener(char *args);
void play_set_pool(char *args);
void play_set_backend(char *args);
void play_set_dns(char *args);

#endif
