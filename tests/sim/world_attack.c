/*
 * world_attack.c - attackers of a world, and how good clients fare beside them.
 */
#include "tests/sim/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const attack_name[] = { "none", "spoofed SYNs", "spoofed ACKs", "RSTs at clients' connections",
	"connections that say nothing", "peers that never open their window", "one octet a segment",
	"an octet now and then" };

#define ATTACK_EVERY_US 1000 /* a thousand segments a second */
#define DRIP_ONE_IN     60   /* of turns of 50 ms: some three seconds between two octets of a connection */

static const char drip[] = "EHLO slow.example\r\nMAIL FROM:<slow@sender.example>\r\nNOOP\r\n";

static void
forge(struct world *w)
{
	static const uint8_t gateway[16] = { [10] = 0xff, [11] = 0xff, 198, 18, 0, 2 };
	uint8_t from[16] = { [10] = 0xff, [11] = 0xff, 11 };
	const struct sender *s = &w->sender[world_draw(w, w->n_senders)];
	uint16_t port = (uint16_t)(1024 + world_draw(w, 60000));

	from[13] = (uint8_t)world_draw(w, 256);
	from[14] = (uint8_t)world_draw(w, 256);
	from[15] = (uint8_t)(1 + world_draw(w, 254));
	w->n_forged++;
	if (w->attack == A_SYNS) {
		model_forge(&w->evil[0], from, port, gateway, 25, world_draw(w, UINT32_MAX), 0, 2, 0);
	} else if (w->attack == A_ACKS) {
		model_forge(&w->evil[0], from, port, gateway, 25, world_draw(w, UINT32_MAX), world_draw(w, UINT32_MAX),
			16, world_draw(w, 2) * 100);
	} else if (s->conn != NULL && !s->conn->v6) {
		model_forge(&w->evil[0], s->conn->here, s->conn->port_here, gateway, 25, world_draw(w, UINT32_MAX),
			world_draw(w, UINT32_MAX), world_one_in(w, 2) ? 4 : 20, 0);
	}
}

/* As many connections as it can have, opened again when they are taken away. */
static void
evil_turn(struct world *w, struct model_host *h)
{
	for (uint32_t i = 0; i < MODEL_CONNS_MAX; i++) {
		struct model_conn *c = &h->conn[i];

		if (c->state == MODEL_ENDED)
			model_forget(c);
		else if (c->state == MODEL_OPEN && c->eof && world_one_in(w, 50))
			model_abort(c);
		else if (c->state == MODEL_OPEN && w->attack == A_SLOWLORIS && world_one_in(w, DRIP_ONE_IN))
			model_send(c, &drip[c->out_octets % (sizeof(drip) - 1)], 1);
		if (c->state != MODEL_FREE || !world_one_in(w, 20))
			continue;
		c = model_connect(h, false, "198.18.0.2", 25);
		for (uint32_t k = 0; c != NULL && w->attack == A_ONE_OCTET && k < 300; k++)
			model_send(c, "NOOP\r\n", 6);
	}
}

void
world_attack_turn(struct world *w)
{
	if (w->attack == A_NONE || sim_now_us(w->sim) < w->attack_due_us || world_all_done(w))
		return;
	if (w->attack <= A_RSTS) {
		forge(w);
		w->attack_due_us = sim_now_us(w->sim) + ATTACK_EVERY_US;
		return;
	}
	for (uint32_t i = 0; i < EVIL_HOSTS; i++)
		evil_turn(w, &w->evil[i]);
	w->attack_due_us = sim_now_us(w->sim) + 50 * ATTACK_EVERY_US;
}

/* An attacked world: good clients on a clean wire, who stand on no list, against one kind of attack. */
void
world_attack_start(struct world *w, enum attack attack, uint64_t seed)
{
	w->attack = attack;
	w->n_troubles = 0;
	w->n_messages = 0;
	w->n_senders = MIN(w->n_senders, 8u);
	*sim_wire_of(w->sim) = (struct sim_wire){ .delay_us = 1000 };
	for (uint32_t i = 0; i < w->n_senders; i++) {
		struct sender *s = &w->sender[i];

		s->one_each = true;
		s->message = w->n_messages;
		w->n_messages += MESSAGES_MAX / w->n_senders;
		s->messages_end = w->n_messages;
	}
	for (uint32_t i = 0; i < EVIL_HOSTS; i++) {
		char ip4[32], ip6[48];
		struct model_habits *b = &w->evil[i].habits;

		snprintf(ip4, sizeof(ip4), "198.19.%u.7", 1 + i);
		snprintf(ip6, sizeof(ip6), "2001:db8:0:1::%u", 200 + i);
		model_host_init(&w->evil[i], w->sim, 0, ip4, ip6, seed * 1000 + i);
		if (attack == A_ZERO_WINDOWS)
			b->window = 0;
		if (attack == A_ONE_OCTET)
			b->seg_max = 1;
	}
	for (uint32_t i = 0; i < w->n_clients; i++)
		w->client[i].habits = w->evil[0].habits.window == 0 || attack == A_ONE_OCTET
		                              ? (struct model_habits){ .mss = 1400,
							.ts = true,
							.sack = true,
							.wscale = 5,
							.window = 65535,
							.seg_max = 1400,
							.rto_us = 400000 }
		                              : w->evil[0].habits;
}

void
world_attack_judge(struct world *w)
{
	uint32_t sessions = 0, failed = 0;

	for (uint32_t i = 0; i < w->n_senders; i++) {
		sessions += w->sender[i].sessions;
		failed += w->sender[i].failed;
	}
	printf("seed %llu, %s slots, %s: %u sessions of good clients, %u failed; %u segments forged\n",
		(unsigned long long)w->seed, w->roomy ? "plenty of" : "few", attack_name[w->attack], sessions, failed,
		w->n_forged);
	if (failed * 100 > sessions)
		world_die("more than one in a hundred of the good clients' sessions failed");
	for (uint32_t i = 0; i < EVIL_HOSTS; i++) {
		model_crash(&w->evil[i]);
		model_host_fini(&w->evil[i]);
	}
}
