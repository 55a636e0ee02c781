/*
 * port_mbuf.c - buffers over mbufs, and frames to and from mbufs.
 *
 * Flow:   buf_alloc() and its sisters of a worker -> here;  port_dpdk.c -> frames
 * Touches: mempools.
 * Keeps:  struct buf is struct rte_mbuf. A payload view is attached to a sent frame by an indirect mbuf, which holds a reference to the
 *         buffer until the device is done with it; the buffer's own octets and lengths are never written after it was shared.
 *         What other lcores freed into their caches counts as used: available() errs on the safe side.
 */
#include "dataplane/port/port_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_mbuf_pool_ops.h>

#include "dataplane/base/bug.h"
#include "dataplane/net/vlan.h"

static struct rte_mbuf *
mbuf_of(struct buf *buf)
{
	return (struct rte_mbuf *)buf;
}

/*
 * What is known of its octets lies where a device has told the hash of a frame: that was read when the frame was taken, nobody asks for it afterwards,
 * and it is in the line that references touch.
 */
#define SUM_OFFSET offsetof(struct rte_mbuf, hash)
static_assert(sizeof(((struct rte_mbuf *)0)->hash) >= sizeof(struct buf_sum) &&
		      SUM_OFFSET % _Alignof(struct buf_sum) == 0 && SUM_OFFSET + sizeof(struct buf_sum) <= 64,
	"room for what is known, in the first line");

static struct buf_sum *
sum_of(struct rte_mbuf *m)
{
	return (struct buf_sum *)(void *)((char *)m + SUM_OFFSET);
}

static struct buf *
port_buf_alloc(struct buf_pool *pool, uint32_t room_octets, uint8_t **data)
{
	struct port_pool *p = (struct port_pool *)pool;
	struct rte_mbuf *m;

	if (room_octets > pool->room_octets)
		return NULL;
	m = rte_pktmbuf_alloc(p->mp);
	if (m == NULL)
		return NULL;
	sum_of(m)->len_octets = 0;
	*data = rte_pktmbuf_mtod(m, uint8_t *);
	return (struct buf *)m;
}

static void
port_buf_ref(struct buf_pool *pool, struct buf *buf)
{
	struct rte_mbuf *m = mbuf_of(buf);

	if (((const struct port_pool *)pool)->crosses)
		rte_mbuf_refcnt_update(m, 1);
	else
		rte_mbuf_refcnt_set(m, (uint16_t)(rte_mbuf_refcnt_read(m) + 1));
}

static void
port_buf_unref(struct buf_pool *pool, struct buf *buf)
{
	struct rte_mbuf *m = mbuf_of(buf);
	const uint16_t refs = rte_mbuf_refcnt_read(m);

	if (refs > 1 && !((const struct port_pool *)pool)->crosses)
		rte_mbuf_refcnt_set(m, (uint16_t)(refs - 1));
	else
		rte_pktmbuf_free(m); /* which knows where it came from, perhaps another worker's pool */
}

static uint32_t
port_buf_available(const struct buf_pool *pool)
{
	const struct port_pool *p = (const struct port_pool *)pool;
	const struct rte_mempool_cache *cache = rte_mempool_default_cache(p->mp, rte_lcore_id());

	return rte_mempool_get_ops(p->mp->ops_index)->get_count(p->mp) + (cache != NULL ? cache->len : 0);
}

static const struct buf_ops port_buf_ops = {
	.alloc = port_buf_alloc,
	.ref = port_buf_ref,
	.unref = port_buf_unref,
	.available = port_buf_available,
};

/*
 * As rte_pktmbuf_pool_create(), but without hugepages objects may lie across pages: only virtual devices work there, and they do not care
 * where a page lies; else each 4 KiB page would hold one buffer.
 */
static struct rte_mempool *
pool_create(const char *name, uint32_t n, uint32_t data_room_octets)
{
	struct rte_pktmbuf_pool_private priv = { .mbuf_data_room_size = (uint16_t)data_room_octets };
	const unsigned flags = rte_eal_has_hugepages() ? 0 : RTE_MEMPOOL_F_NO_IOVA_CONTIG;
	struct rte_mempool *mp;
	int rc;

	mp = rte_mempool_create_empty(name, n, (unsigned)sizeof(struct rte_mbuf) + data_room_octets, PORT_POOL_CACHE,
		sizeof(priv), (int)rte_socket_id(), flags);
	if (mp == NULL)
		return NULL;
	rc = rte_mempool_set_ops_byname(mp, rte_mbuf_best_mempool_ops(), NULL);
	if (rc == 0) {
		rte_pktmbuf_pool_init(mp, &priv);
		rc = rte_mempool_populate_default(mp);
	}
	if (rc < 0) {
		rte_mempool_free(mp);
		rte_errno = -rc;
		return NULL;
	}
	rte_mempool_obj_iter(mp, rte_pktmbuf_init, NULL);
	return mp;
}

int
port_pool_init(struct port_pool *p, uint32_t worker, uint32_t n_bufs, uint32_t room_octets)
{
	char name[RTE_MEMPOOL_NAMESIZE];

	static_assert(offsetof(struct port_pool, pool) == 0, "ops get the pool");
	snprintf(name, sizeof(name), "gl_buf_%u", worker);
	p->mp = pool_create(name, n_bufs, RTE_PKTMBUF_HEADROOM + room_octets);
	if (p->mp == NULL)
		return -rte_errno;
	snprintf(name, sizeof(name), "gl_clone_%u", worker);
	p->clones = pool_create(name, RTE_MIN(n_bufs, (uint32_t)PORT_CLONES_MAX), 0);
	if (p->clones == NULL) {
		const int err = rte_errno;

		port_pool_fini(p);
		return -err;
	}
	p->pool = (struct buf_pool){
		.ops = &port_buf_ops, .sum_offset = SUM_OFFSET, .room_octets = room_octets, .n_bufs = n_bufs
	};
	return 0;
}

void
port_pool_fini(struct port_pool *p)
{
	rte_mempool_free(p->clones);
	rte_mempool_free(p->mp);
	*p = (struct port_pool){ 0 };
}

/* ---- to send ---- */

static void
copy_views(struct rte_mbuf *m, const struct frame *f)
{
	for (uint32_t i = 0; i < f->n_views; i++) {
		char *at = rte_pktmbuf_append(m, (uint16_t)f->view[i].len_octets);

		memcpy(at, f->view[i].ptr, f->view[i].len_octets);
	}
}

/* A view as an mbuf of its own: an indirect one where it has a buffer, else a copy. */
static struct rte_mbuf *
mbuf_of_view(struct port_pool *p, const struct buf_view *v)
{
	struct rte_mbuf *m;

	if (v->buf != NULL && v->len_octets <= UINT16_MAX) {
		m = rte_pktmbuf_alloc(p->clones);
		if (m == NULL)
			return NULL;
		rte_pktmbuf_attach(m, mbuf_of(v->buf));
		m->data_off = (uint16_t)(v->ptr - (const uint8_t *)m->buf_addr);
		m->data_len = (uint16_t)v->len_octets;
		m->pkt_len = v->len_octets;
		return m;
	}
	if (v->len_octets > p->pool.room_octets)
		return NULL;
	m = rte_pktmbuf_alloc(p->mp);
	if (m != NULL)
		memcpy(rte_pktmbuf_append(m, (uint16_t)v->len_octets), v->ptr, v->len_octets);
	return m;
}

static bool
chain_views(struct port_pool *p, struct rte_mbuf *head, const struct frame *f)
{
	struct rte_mbuf *last = head;

	for (uint32_t i = 0; i < f->n_views; i++) {
		struct rte_mbuf *m;

		if (f->view[i].len_octets == 0)
			continue;
		m = mbuf_of_view(p, &f->view[i]);
		if (m == NULL)
			return false;
		last->next = m;
		last = m;
		head->nb_segs++;
		head->pkt_len += m->data_len;
	}
	return true;
}

struct rte_mbuf *
port_mbuf_of_frame(struct port_pool *p, const struct frame *f, const struct port_dev *dev)
{
	uint32_t payload_octets = 0;
	struct rte_mbuf *m;

	for (uint32_t i = 0; i < f->n_views; i++)
		payload_octets += f->view[i].len_octets;
	m = rte_pktmbuf_alloc(p->mp);
	if (m == NULL)
		return NULL;
	/* the tag is written here, where the header is copied anyway: the same for every driver, whatever it offers to do itself */
	rte_pktmbuf_append(m, (uint16_t)vlan_tag(rte_pktmbuf_mtod(m, uint8_t *), f->hdr, f->hdr_len_octets, dev->vlan));
	if (payload_octets <= PORT_COPY_OCTETS || !dev->may_chain) {
		if (payload_octets <= rte_pktmbuf_tailroom(m)) {
			copy_views(m, f);
			return m;
		}
	} else if (chain_views(p, m, f)) {
		return m;
	}
	rte_pktmbuf_free(m);
	return NULL;
}

/* One mbuf alone, with octets of its own and nobody else to read them; a tag is put in where a frame is copied. */
uint8_t *
port_room_of_mbuf(struct rte_mbuf *m, const struct port_dev *dev)
{
	if (dev->vlan != 0 || rte_mbuf_refcnt_read(m) != 1 || !RTE_MBUF_DIRECT(m) || m->nb_segs != 1 ||
		m->buf_len - m->data_off < FRAME_HEADER_MAX_OCTETS)
		return NULL;
	return rte_pktmbuf_mtod(m, uint8_t *);
}

struct rte_mbuf *
port_mbuf_of_answer(const struct net_frame *received, uint32_t octets)
{
	struct rte_mbuf *m = mbuf_of(received->view.buf);

	HOT_BUG_ON(received->room != rte_pktmbuf_mtod(m, uint8_t *) || octets > FRAME_HEADER_MAX_OCTETS);
	BUG_ON(rte_mbuf_refcnt_read(m) != 1); /* PITFALLS 29 */
	m->data_len = (uint16_t)octets;
	m->pkt_len = octets;
	m->ol_flags = 0; /* what they said was of the frame received */
	return m;
}

/* ---- received ---- */

/* DPDK's four states (PITFALLS 28): NONE is "not in the packet, but the data is sound", as virtio says of its host's frames. */
static uint8_t
l4_checksum_of(const struct rte_mbuf *m)
{
	switch (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) {
	case RTE_MBUF_F_RX_L4_CKSUM_GOOD:
	case RTE_MBUF_F_RX_L4_CKSUM_NONE:
		return 1;
	case RTE_MBUF_F_RX_L4_CKSUM_BAD:
		return 2;
	default: /* RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN */
		return 0;
	}
}

/* A frame that came in several mbufs, in one of ours. NULL: no buffer or too long. Takes m. */
static struct rte_mbuf *
in_one(struct port_pool *p, struct rte_mbuf *m)
{
	struct rte_mbuf *one = m->pkt_len <= p->pool.room_octets ? rte_pktmbuf_alloc(p->mp) : NULL;

	if (one != NULL) {
		char *at = rte_pktmbuf_append(one, (uint16_t)m->pkt_len);
		const void *data = rte_pktmbuf_read(m, 0, m->pkt_len, at);

		if (data != at)
			memcpy(at, data, m->pkt_len);
		one->ol_flags = m->ol_flags;
		one->hash = m->hash;
		one->vlan_tci = m->vlan_tci;
	}
	rte_pktmbuf_free(m);
	return one;
}

/* Whether m, whole in one mbuf, is of vlan: then without its tag. A driver may have taken that off: then the frame only looks untagged. */
static enum vlan_result
untag(struct rte_mbuf *m, uint16_t vlan)
{
	struct vlan_frame f = { .octet = rte_pktmbuf_mtod(m, uint8_t *),
		.octets = m->data_len,
		.tci = m->vlan_tci,
		.taken_off = (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0 };
	const enum vlan_result result = vlan_untag(&f, vlan);

	rte_pktmbuf_adj(m, (uint16_t)(m->data_len - f.octets));
	return result;
}

bool
port_frame_of_mbuf(struct port_worker *w, struct rte_mbuf *m, uint8_t port_index, struct net_frame *out)
{
	const struct port_dev *dev = &w->set->dev[port_index];

	if (m->nb_segs > 1) {
		m = in_one(&w->pool, m);
		if (m == NULL) {
			counter_inc(w->io.counters, CTR_port_no_buffer);
			return false;
		}
	}
	if (dev->vlan != 0 || (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0) {
		const enum vlan_result tag = untag(m, dev->vlan);

		if (tag != VLAN_OURS) {
			vlan_count_drop(w->io.counters, tag);
			rte_pktmbuf_free(m);
			return false;
		}
	}
	*out = (struct net_frame){ .port_index = port_index,
		.l4_checksum = l4_checksum_of(m),
		.room = port_room_of_mbuf(m, dev),
		.view = { .ptr = rte_pktmbuf_mtod(m, const uint8_t *),
			.len_octets = m->pkt_len,
			.buf = (struct buf *)m } };
	if (dev->hash_is_ours && (m->ol_flags & RTE_MBUF_F_RX_RSS_HASH) != 0) {
		out->has_hash = true;
		out->hash = m->hash.rss;
	}
	return true;
}

/* Beside the octets a ring carries the port, the checksum's state and the hash: in a field only transmission would use. */
#define PACK_PORT_SHIFT  0
#define PACK_CSUM_SHIFT  8
#define PACK_HASH_SHIFT  16
#define PACK_ROOM_SHIFT  17
#define PACK_VALUE_SHIFT 32

struct rte_mbuf *
port_mbuf_pack(const struct net_frame *f)
{
	struct rte_mbuf *m = mbuf_of(f->view.buf);

	HOT_BUG_ON(m == NULL || rte_mbuf_refcnt_read(m) != 1 || m->nb_segs != 1);
	m->data_off = (uint16_t)(f->view.ptr - (const uint8_t *)m->buf_addr);
	m->data_len = (uint16_t)f->view.len_octets;
	m->pkt_len = f->view.len_octets;
	m->tx_offload = (uint64_t)f->port_index << PACK_PORT_SHIFT | (uint64_t)f->l4_checksum << PACK_CSUM_SHIFT |
	                (uint64_t)f->has_hash << PACK_HASH_SHIFT | (uint64_t)(f->room != NULL) << PACK_ROOM_SHIFT |
	                (uint64_t)f->hash << PACK_VALUE_SHIFT;
	return m;
}

void
port_mbuf_unpack(struct rte_mbuf *m, struct net_frame *out)
{
	const uint64_t packed = m->tx_offload;

	m->tx_offload = 0;
	*out = (struct net_frame){ .view = { .ptr = rte_pktmbuf_mtod(m, const uint8_t *),
					   .len_octets = m->pkt_len,
					   .buf = (struct buf *)m },
		.port_index = (uint8_t)(packed >> PACK_PORT_SHIFT),
		.l4_checksum = (uint8_t)(packed >> PACK_CSUM_SHIFT),
		.room = (packed >> PACK_ROOM_SHIFT & 1) != 0 ? rte_pktmbuf_mtod(m, uint8_t *) : NULL,
		.has_hash = (packed >> PACK_HASH_SHIFT & 1) != 0,
		.hash = (uint32_t)(packed >> PACK_VALUE_SHIFT) };
}
