/* wire.c - see wire.h. */
#include "bench/load/wire.h"

#include <rte_ethdev.h>

#define QUEUE_DESCS 1024
#define TX_TRIES    8 /* without a frame taken */

int
wire_start(struct wire *w, uint16_t port, struct rte_mempool *pool)
{
	const struct rte_eth_conf conf = { 0 };
	int rc;

	w->port = port;
	w->pool = pool;
	if ((rc = rte_eth_dev_configure(port, 1, 1, &conf)) != 0 ||
		(rc = rte_eth_rx_queue_setup(port, 0, QUEUE_DESCS, SOCKET_ID_ANY, NULL, pool)) != 0 ||
		(rc = rte_eth_tx_queue_setup(port, 0, QUEUE_DESCS, SOCKET_ID_ANY, NULL)) != 0)
		return rc;
	return rte_eth_dev_start(port);
}

void
tape_note(struct tape *t, uint16_t octets)
{
	t->octets[t->n++ % WIRE_TAPE_SIZES] = octets;
}

uint16_t
tape_next(struct tape *t)
{
	const uint32_t n = RTE_MIN(t->n, (uint32_t)WIRE_TAPE_SIZES);

	return n > 0 ? t->octets[t->at++ % n] : 64;
}

void
wire_flush(struct wire *w)
{
	uint32_t tries = 0;

	while (w->n > 0 && tries < TX_TRIES) {
		const uint32_t run = RTE_MIN(RTE_MIN(w->n, WIRE_WAITING_MAX - w->first), (uint32_t)WIRE_BURST);
		const uint16_t sent = rte_eth_tx_burst(w->port, 0, w->waiting + w->first, (uint16_t)run);

		w->first = (w->first + sent) % WIRE_WAITING_MAX;
		w->n -= sent;
		w->sent += sent;
		tries += sent == 0;
	}
}

bool
wire_waiting(const struct wire *w)
{
	return w->n > WIRE_BURST;
}

uint8_t *
wire_room(struct wire *w)
{
	if (w->n == WIRE_WAITING_MAX) {
		w->full++;
		return NULL;
	}
	if (w->lent == NULL)
		w->lent = rte_pktmbuf_alloc(w->pool);
	return w->lent != NULL ? rte_pktmbuf_mtod(w->lent, uint8_t *) : NULL;
}

void
wire_send(struct wire *w, uint32_t octets)
{
	w->lent->data_len = (uint16_t)octets;
	w->lent->pkt_len = octets;
	if (w->tape != NULL)
		tape_note(w->tape, (uint16_t)octets);
	w->waiting[(w->first + w->n++) % WIRE_WAITING_MAX] = w->lent;
	w->lent = NULL;
	if (w->n % WIRE_BURST == 0)
		wire_flush(w);
}

uint16_t
wire_receive(struct wire *w, struct rte_mbuf **out)
{
	const uint16_t n = rte_eth_rx_burst(w->port, 0, out, WIRE_BURST);

	for (uint16_t i = 0; w->tape != NULL && i < n; i++)
		tape_note(w->tape, out[i]->data_len);
	w->received += n;
	return n;
}
