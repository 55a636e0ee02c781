/*
 * world_trouble.c - what befalls a world: wires, habits, stalls, crashes.
 */
#include "tests/sim/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
world_draw_wire(struct world *w)
{
	static const uint32_t mtu[] = { 0, 0, 0, 0, 1400, 1280 };
	struct sim_wire *wire = sim_wire_of(w->sim);
	const bool bad = world_one_in(w, 2);

	*wire = (struct sim_wire){ .loss = world_one_in(w, 2) ? world_draw(w, bad ? 150 : 30) : 0,
		.duplicate = world_one_in(w, 3) ? world_draw(w, 50) : 0,
		.reorder = world_one_in(w, 2) ? world_draw(w, 100) : 0,
		.corrupt = world_one_in(w, 3) ? world_draw(w, 20) : 0,
		.delay_us = 50 + world_draw(w, world_one_in(w, 3) ? 150000 : 3000),
		.jitter_us = world_one_in(w, 3) ? world_draw(w, 20000) : 0,
		.mtu = mtu[world_draw(w, ARRAY_LEN(mtu))],
		.mtu_silent = world_one_in(w, 4) };
}

void
world_draw_habits(struct world *w, struct model_host *h)
{
	static const uint16_t mss[] = { 1460, 1460, 1440, 1220, 536, 88, 0, 8960 };
	struct model_habits *b = &h->habits;

	b->mss = mss[world_draw(w, ARRAY_LEN(mss))];
	b->ts = !world_one_in(w, 4);
	b->sack = !world_one_in(w, 4);
	b->wscale = world_one_in(w, 4) ? -1 : (int)world_draw(w, 15);
	b->window =
		world_one_in(w, 5) ? 400 + world_draw(w, 3000) : 8000 + world_draw(w, b->wscale > 0 ? 200000 : 57000);
	if (b->wscale > 8 && b->window < 1u << (b->wscale + 2))
		b->wscale = 8;
	b->delack_us = world_one_in(w, 3) ? 0 : world_draw(w, 200000);
	b->seg_max = world_one_in(w, 4) ? 1 + world_draw(w, 100) : 1440;
	b->ragged = world_one_in(w, 4);
	b->reneges = world_one_in(w, 6);
	b->repeats_syn = world_one_in(w, 6);
	b->deaf_pm = world_one_in(w, 4) ? world_draw(w, 100) : 0;
	b->deaf_us = 1000 + world_draw(w, 3000000);
	b->rto_us = 250000 + world_draw(w, 1000000);
}

void
world_trouble(struct world *w, uint32_t kind)
{
	struct backend *be = &w->backend[world_draw(w, BACKENDS)];
	const uint64_t now_us = sim_now_us(w->sim), for_us = (1 + world_draw(w, 40)) * SECOND;

	if (w->verbose)
		printf("%10.6f trouble %u\n", (double)now_us / 1e6, kind);
	switch (kind) {
	case T_WIRE:
		world_draw_wire(w);
		break;
	case T_REHASH:
		sim_rehash(w->sim);
		break;
	case T_CONTROL_FORGETS:
		w->control.n_held = 0;
		w->control_until_us = now_us + for_us / 8;
		break;
	case T_CONTROL_STALLS:
		w->control_until_us = now_us + for_us;
		break;
	case T_BACKEND_CRASHES:
		model_crash(&be->host);
		/* fall through */
	case T_BACKEND_STALLS:
		be->host.down = true;
		be->up_us = now_us + for_us;
		break;
	case T_CLIENT_CRASHES:
		model_crash(&w->client[world_draw(w, w->n_clients)]);
		break;
	case T_DATAPLANE_KILLED:
		sim_kill_gateway(w->sim);
		w->n_kills++;
		break;
	}
}
