/*
 * test_port.c - the DPDK ports without a NIC: net_ring (as many queues as workers; mbufs pass through, so chains arrive as chains) and a
 * pair of net_memif in this process (one queue, an owner, frames are copied).
 *
 * The EAL starts once; each test opens ports and closes them. After each test all buffers are back.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/check.h"

#include "dataplane/port/port_impl.h"

#define WORKERS 2

static struct flow_steering steering;
static struct counters counters[WORKERS];
static char memif_path[] = "/tmp/greyline-test-XXXXXX";
static char memif_device[2][CONF_DEVICE_OCTETS];

/* ---- a set of ports ---- */

struct rig {
	struct port_set *set;
	struct port_io *io[WORKERS];
	uint32_t available[WORKERS];
};

static struct port_conf
conf_of(struct conf_port *ports, const char *a, const char *b)
{
	memset(ports, 0, 2 * sizeof(*ports));
	for (uint32_t i = 0; i < 2; i++) {
		snprintf(ports[i].name, sizeof(ports[i].name), "p%u", i);
		snprintf(ports[i].device, sizeof(ports[i].device), "%s", i == 0 ? a : b);
		ports[i].mtu = 1500;
	}
	return (struct port_conf){
		.ports = ports, .n_ports = 2, .n_workers = WORKERS, .memory_mb = 32, .instance = "test"
	};
}

static void
open_ports(struct rig *r, const char *a, const char *b)
{
	struct conf_port ports[2];
	const struct port_conf conf = conf_of(ports, a, b);
	char why[256];

	memset(counters, 0, sizeof(counters));
	r->set = port_open(&conf, &steering, counters, why, sizeof(why));
	if (r->set == NULL)
		fail_msg("port_open: %s", why);
	CHECK_TRUE("links", port_wait_links(r->set, 3000));
	for (uint32_t i = 0; i < WORKERS; i++) {
		r->io[i] = port_io_of(r->set, i);
		r->available[i] = buf_available(r->io[i]->pool);
	}
}

static void
close_ports(struct rig *r)
{
	port_close(r->set);
}

static uint64_t
count(uint32_t worker, enum counter which)
{
	return counter_read(&counters[worker], which);
}

/* Receives one frame, however long the device takes; false after a second. Other workers' turns end meanwhile. */
static bool
receive(struct rig *r, uint32_t worker, struct net_frame *out)
{
	for (uint32_t i = 0; i < 1000; i++) {
		for (uint32_t w = 0; w < WORKERS; w++)
			r->io[w]->ops->flush(r->io[w]);
		if (r->io[worker]->ops->rx(r->io[worker], out, 1) == 1)
			return true;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return false;
}

static void
drop(struct rig *r, uint32_t worker, const struct net_frame *f)
{
	buf_unref(r->io[worker]->pool, f->view.buf);
}

/* A frame of 60 octets of header and total octets of payload in n views with buffers; octet i of all is i % 251. */
static struct frame
frame_of(struct rig *r, uint32_t worker, uint8_t port_index, uint32_t payload, uint32_t n)
{
	struct frame f = { .hdr_len_octets = 60, .port_index = port_index, .n_views = (uint8_t)n };
	uint32_t at = 60;

	for (uint32_t i = 0; i < 60; i++)
		f.hdr[i] = (uint8_t)(i % 251);
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t len = (i + 1) * payload / n - i * payload / n;
		uint8_t *data;
		struct buf *buf = buf_alloc(r->io[worker]->pool, len + 5, &data);

		assert_non_null(buf);
		for (uint32_t k = 0; k < len; k++)
			data[5 + k] = (uint8_t)(at++ % 251);
		f.view[i] = (struct buf_view){ .ptr = data + 5, .len_octets = len, .buf = buf };
	}
	return f;
}

static void
drop_views(struct rig *r, uint32_t worker, const struct frame *f)
{
	for (uint32_t i = 0; i < f->n_views; i++)
		buf_unref(r->io[worker]->pool, f->view[i].buf);
}

static void
check_octets(const char *label, const struct net_frame *f, uint32_t want)
{
	CHECK_EQ(label, f->view.len_octets, want);
	for (uint32_t i = 0; i < want; i++)
		if (f->view.ptr[i] != i % 251)
			fail_msg("%s: octet %u is %u", label, i, f->view.ptr[i]);
}

static void
check_all_back(struct rig *r)
{
	for (uint32_t i = 0; i < WORKERS; i++)
		CHECK_EQ("buffers are back", buf_available(r->io[i]->pool), r->available[i]);
}

/* ---- net_ring: a queue for each worker ---- */

static void
test_port_frames_arrive_whole(void **state)
{
	static const struct {
		const char *label;
		uint32_t payload, views;
	} rows[] = {
		{ "no payload", 0, 0 },
		{ "one octet", 1, 1 },
		{ "up to the copy limit", 256, 3 },
		{ "above it: chained", 257, 1 },
		{ "eight views", 1454, 8 },
		{ "a full frame", 1454, 1 },
	};
	struct rig r;

	(void)state;
	open_ports(&r, "net_ring0", "net_ring1");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (uint32_t w = 0; w < WORKERS; w++) {
			for (uint8_t p = 0; p < 2; p++) {
				struct frame f = frame_of(&r, w, p, rows[i].payload, rows[i].views);
				struct net_frame got;

				r.io[w]->ops->tx(r.io[w], &f, 1);
				drop_views(&r, w, &f); /* the port holds references of its own */
				CHECK_TRUE(rows[i].label, receive(&r, w, &got));
				CHECK_EQ(rows[i].label, got.port_index, p);
				CHECK_EQ("nobody verified it", got.l4_checksum, 0);
				check_octets(rows[i].label, &got, 60 + rows[i].payload);
				drop(&r, w, &got);
				check_all_back(&r);
			}
		}
	}
	CHECK_EQ("counted", count(0, CTR_port_tx_frames), 2 * ARRAY_LEN(rows));
	CHECK_EQ("counted", count(1, CTR_port_rx_frames), 2 * ARRAY_LEN(rows));
	CHECK_EQ("octets alike", count(0, CTR_port_tx_octets), count(0, CTR_port_rx_octets));
	close_ports(&r);
}

static void
test_port_lent_octets_are_copied(void **state)
{
	static char text[600];
	struct frame f = { .hdr_len_octets = 14,
		.n_views = 2,
		.view = { { .ptr = (uint8_t *)text, .len_octets = 300 },
			{ .ptr = (uint8_t *)text + 300, .len_octets = 300 } } };
	struct net_frame got;
	struct rig r;

	(void)state;
	open_ports(&r, "net_ring2", "net_ring3");
	memset(text, 'a', sizeof(text));
	r.io[0]->ops->tx(r.io[0], &f, 1);
	memset(text, 'b', sizeof(text));
	CHECK_TRUE("arrives", receive(&r, 0, &got));
	for (uint32_t i = 14; i < 614; i++)
		CHECK_EQ("as it was", got.view.ptr[i], 'a');
	drop(&r, 0, &got);
	check_all_back(&r);
	close_ports(&r);
}

static void
test_port_drops_what_it_cannot_build_or_send(void **state)
{
	struct frame f = { .hdr_len_octets = 60 };
	static struct buf *all[1 << 16];
	struct net_frame got;
	uint32_t n = 0;
	uint8_t *data;
	struct rig r;

	(void)state;
	open_ports(&r, "net_ring4", "net_ring5");
	/* more than the device takes: a ring of net_ring holds 1023 */
	for (uint32_t i = 0; i < 1200; i++)
		r.io[0]->ops->tx(r.io[0], &f, 1);
	r.io[0]->ops->flush(r.io[0]);
	CHECK_EQ("sent and dropped", count(0, CTR_port_tx_frames) + count(0, CTR_port_tx_full), 1200);
	CHECK_TRUE("some dropped", count(0, CTR_port_tx_full) > 0);
	while (r.io[0]->ops->rx(r.io[0], &got, 1) == 1) {
		drop(&r, 0, &got);
		n++;
	}
	CHECK_EQ("what was sent arrived", n, count(0, CTR_port_tx_frames));
	/* no buffer */
	for (n = 0; n < ARRAY_LEN(all) && (all[n] = buf_alloc(r.io[0]->pool, 100, &data)) != NULL; n++)
		;
	CHECK_EQ("all of them", buf_available(r.io[0]->pool), 0);
	r.io[0]->ops->tx(r.io[0], &f, 1);
	CHECK_EQ("counted", count(0, CTR_port_no_buffer), 1);
	while (n > 0)
		buf_unref(r.io[0]->pool, all[--n]);
	CHECK_TRUE(
		"a room larger than a buffer", buf_alloc(r.io[0]->pool, r.io[0]->pool->room_octets + 1, &data) == NULL);
	check_all_back(&r);
	close_ports(&r);
}

static void
test_port_redirect_carries_the_whole_frame(void **state)
{
	struct net_frame f = { .port_index = 1, .l4_checksum = 1, .has_hash = true, .hash = 0xdeadbeef },
			 got[RX_BURST_MAX_SEGS];
	uint32_t n = 0, burst;
	uint8_t *data;
	struct rig r;

	(void)state;
	open_ports(&r, "net_ring6", "net_ring7");
	f.view.buf = buf_alloc(r.io[0]->pool, 100, &data);
	memcpy(data, "0123456789", 10);
	f.view.ptr = data + 3;
	f.view.len_octets = 7;
	r.io[0]->ops->redirect(r.io[0], 1, &f);
	CHECK_EQ("not to oneself", r.io[0]->ops->redirected(r.io[0], got, RX_BURST_MAX_SEGS), 0);
	CHECK_EQ("arrives", r.io[1]->ops->redirected(r.io[1], got, RX_BURST_MAX_SEGS), 1);
	CHECK_OCTETS("octets", got[0].view.ptr, got[0].view.len_octets, "3456789", 7);
	CHECK_EQ("port", got[0].port_index, 1);
	CHECK_EQ("checksum", got[0].l4_checksum, 1);
	CHECK_TRUE("hash", got[0].has_hash && got[0].hash == 0xdeadbeef);
	drop(&r, 1, &got[0]);
	/* nobody listens: the ring fills, the rest is dropped and counted */
	for (uint32_t i = 0; i < 1500; i++) {
		f.view.buf = buf_alloc(r.io[0]->pool, 10, &data);
		f.view.ptr = data;
		f.view.len_octets = 10;
		r.io[0]->ops->redirect(r.io[0], 1, &f);
	}
	CHECK_EQ("dropped", count(0, CTR_port_redirect_full), 1500 - 1023);
	while ((burst = r.io[1]->ops->redirected(r.io[1], got, RX_BURST_MAX_SEGS)) > 0)
		for (uint32_t i = 0; i < burst; i++, n++)
			drop(&r, 1, &got[i]);
	CHECK_EQ("the rest arrives", n, 1023);
	/* a worker that does not exist: our mistake drops a frame, no more */
	f.view.buf = buf_alloc(r.io[0]->pool, 10, &data);
	f.view.ptr = data;
	r.io[0]->ops->redirect(r.io[0], WORKERS, &f);
	check_all_back(&r);
	close_ports(&r);
}

static void
test_port_neighbours_are_told(void **state)
{
	struct net_neighbour n = { .mac = { 1, 2, 3, 4, 5, 6 }, .port_index = 1 }, got;
	uint32_t heard = 0;
	struct rig r;

	(void)state;
	open_ports(&r, "net_ring8", "net_ring9");
	n.addr.octet[15] = 9;
	r.io[1]->ops->neighbour_tell(r.io[1], &n);
	CHECK_TRUE("not by oneself", !r.io[1]->ops->neighbour_hear(r.io[1], &got));
	CHECK_TRUE("by the other", r.io[0]->ops->neighbour_hear(r.io[0], &got));
	CHECK_OCTETS("as told", &got, sizeof(got), &n, sizeof(n));
	CHECK_TRUE("once", !r.io[0]->ops->neighbour_hear(r.io[0], &got));
	for (uint32_t i = 0; i < 1000; i++)
		r.io[0]->ops->neighbour_tell(r.io[0], &n);
	while (r.io[1]->ops->neighbour_hear(r.io[1], &got))
		heard++;
	CHECK_EQ("bounded", heard, 63);
	close_ports(&r);
}

/* ---- two lcores at once ---- */

#define FRAMES 20000

struct lcore {
	struct port_io *io;
	uint32_t index;
	uint32_t sent, received, redirected;
	atomic_uint done; /* frames that ended here */
};

static struct lcore lcores[WORKERS];

/* Frames that ended: at their reader, or counted because the other worker did not get the CPU for a whole ring's time. */
static uint64_t
ended(void)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < WORKERS; i++)
		n += atomic_load(&lcores[i].done) + count(i, CTR_port_redirect_full);
	return n;
}

/* Sends numbered frames on both ports, receives what comes, hands every second one to the other worker, checks each. */
static int
run_lcore(void *arg)
{
	struct lcore *l = arg;
	const struct port_io_ops *ops = l->io->ops;
	const time_t end = time(NULL) + 20;

	while (ended() < WORKERS * FRAMES && time(NULL) < end) {
		struct net_frame f[RX_BURST_MAX_SEGS];
		uint32_t n;

		/* as many on their way as no ring is full of */
		for (uint32_t i = 0; i < 8 && l->sent < FRAMES && l->sent - l->received < 200; i++, l->sent++) {
			uint8_t *data;
			struct frame out = { .hdr_len_octets = 60, .port_index = l->sent & 1, .n_views = 1 };

			out.view[0].buf = buf_alloc(l->io->pool, 400, &data);
			if (out.view[0].buf == NULL)
				break;
			memset(data, (int)(l->sent & 0xff), 400);
			memcpy(out.hdr, &l->sent, sizeof(l->sent));
			out.view[0].ptr = data;
			out.view[0].len_octets = 400;
			ops->tx(l->io, &out, 1);
			buf_unref(l->io->pool, out.view[0].buf);
		}
		n = ops->rx(l->io, f, RX_BURST_MAX_SEGS);
		l->received += n;
		for (uint32_t i = 0; i < n; i++) {
			uint32_t number;

			memcpy(&number, f[i].view.ptr, sizeof(number));
			BUG_ON(f[i].view.len_octets != 460 || f[i].view.ptr[60] != (number & 0xff) ||
				f[i].view.ptr[459] != (number & 0xff));
			if (number & 2) {
				ops->redirect(l->io, 1 - l->index, &f[i]);
			} else {
				buf_unref(l->io->pool, f[i].view.buf);
				atomic_fetch_add(&l->done, 1);
			}
		}
		n = ops->redirected(l->io, f, RX_BURST_MAX_SEGS);
		l->redirected += n;
		for (uint32_t i = 0; i < n; i++) {
			BUG_ON(f[i].view.len_octets != 460 || (f[i].view.ptr[0] & 2) == 0);
			buf_unref(l->io->pool, f[i].view.buf);
			atomic_fetch_add(&l->done, 1);
		}
		ops->flush(l->io);
	}
	return 0;
}

static void
run_two(struct rig *r)
{
	for (uint32_t i = 0; i < WORKERS; i++) {
		memset(&lcores[i], 0, sizeof(lcores[i]));
		lcores[i].io = r->io[i];
		lcores[i].index = i;
	}
	for (uint32_t i = 0; i < WORKERS; i++)
		CHECK_EQ("launched", port_launch(r->set, i, run_lcore, &lcores[i]), 0);
	for (uint32_t i = 0; i < WORKERS; i++)
		port_wait(r->set, i);
	CHECK_EQ("every frame ended somewhere", ended(), WORKERS * FRAMES);
	CHECK_TRUE("and many at the other worker", lcores[0].redirected > 1000 && lcores[1].redirected > 1000);
}

static void
test_port_two_workers_with_a_queue_each(void **state)
{
	struct rig r;

	(void)state;
	open_ports(&r, "net_ring10", "net_ring11");
	run_two(&r);
	CHECK_EQ("nothing was dropped", count(0, CTR_port_tx_full) + count(1, CTR_port_tx_full), 0);
	close_ports(&r);
}

/* ---- net_memif: one queue and an owner; what enters port 0 leaves port 1 and the other way round ---- */

static void
test_port_one_queue_is_shared_through_its_owner(void **state)
{
	struct frame f;
	struct net_frame got;
	char line[256];
	struct rig r;

	(void)state;
	open_ports(&r, memif_device[0], memif_device[1]);
	CHECK_TRUE("says so", strstr(port_describe(r.set, 1, line, sizeof(line)), "1 queue owned by worker 1") != NULL);
	/* worker 1 sends through port 0, which worker 0 owns; it comes out of port 1, which worker 1 polls */
	f = frame_of(&r, 1, 0, 1000, 3);
	r.io[1]->ops->tx(r.io[1], &f, 1);
	drop_views(&r, 1, &f);
	CHECK_TRUE("arrives", receive(&r, 1, &got));
	CHECK_EQ("on port 1", got.port_index, 1);
	check_octets("whole", &got, 1060);
	drop(&r, 1, &got);
	CHECK_EQ("its owner sent it", count(0, CTR_port_tx_frames), 1);
	CHECK_EQ("not the one who wrote it", count(1, CTR_port_tx_frames), 0);
	/* the owner naps: its ring fills, the rest is dropped and counted */
	f = (struct frame){ .hdr_len_octets = 60, .port_index = 0 };
	for (uint32_t i = 0; i < 1100; i++)
		r.io[1]->ops->tx(r.io[1], &f, 1);
	r.io[1]->ops->flush(r.io[1]);
	CHECK_EQ("dropped", count(1, CTR_port_tx_full), 1100 - 1023);
	close_ports(&r);
}

static void
test_port_open_says_what_is_missing(void **state)
{
	struct conf_port ports[2];
	const struct port_conf conf = conf_of(ports, "net_ring12", "net_nothing0,iface=x");
	char why[256] = "";

	(void)state;
	CHECK_TRUE("refused", port_open(&conf, &steering, counters, why, sizeof(why)) == NULL);
	CHECK_STR("and why", why, "port p1: no device net_nothing0 (is it bound, does its interface exist?)");
}

/* PITFALLS 25: net_af_packet waits in poll() for room in its ring, for ever where the link is down: such a port is not given frames. */
static void
test_port_a_link_that_is_down_is_given_nothing(void **state)
{
	struct frame f = { .hdr_len_octets = 60 };
	struct net_frame got;
	uint32_t up = 0;
	struct rig r;

	(void)state;
	open_ports(&r, "net_ring14", "net_ring15");
	CHECK_EQ("down", rte_eth_dev_set_link_down(r.set->dev[0].id), 0);
	CHECK_EQ("the change is noticed", port_watch_links(r.set, &up), 1);
	CHECK_EQ("the other is up", up, 2);
	r.io[0]->ops->tx(r.io[0], &f, 1);
	r.io[0]->ops->flush(r.io[0]);
	CHECK_EQ("dropped and counted", count(0, CTR_port_tx_full), 1);
	CHECK_EQ("not sent", count(0, CTR_port_tx_frames), 0);
	check_all_back(&r);
	CHECK_EQ("up again", rte_eth_dev_set_link_up(r.set->dev[0].id), 0);
	CHECK_EQ("noticed", port_watch_links(r.set, &up), 1);
	r.io[0]->ops->tx(r.io[0], &f, 1);
	CHECK_TRUE("arrives", receive(&r, 0, &got));
	drop(&r, 0, &got);
	check_all_back(&r);
	close_ports(&r);
}

/* PITFALLS 23: what a turn collected goes out at its end, were it one frame; and not before, or a batch would be none. */
static void
test_port_a_batch_goes_out_at_the_end_of_the_turn(void **state)
{
	struct frame f = { .hdr_len_octets = 60 };
	struct net_frame got;
	struct rig r;

	(void)state;
	open_ports(&r, "net_ring16", "net_ring17");
	r.io[0]->ops->tx(r.io[0], &f, 1);
	CHECK_EQ("waits for more", r.io[0]->ops->rx(r.io[0], &got, 1), 0);
	r.io[0]->ops->flush(r.io[0]);
	CHECK_EQ("not beyond the turn", r.io[0]->ops->rx(r.io[0], &got, 1), 1);
	drop(&r, 0, &got);
	check_all_back(&r);
	close_ports(&r);
}

/* ---- start ---- */

static int
start_eal(void **state)
{
	static char args[2048];
	const struct conf_port port = { .device = "net_ring13", .mtu = 1500 };
	struct port_conf conf = { .ports = &port,
		.n_ports = 1,
		.n_workers = WORKERS,
		.memory_mb = 160,
		.eal_args = args,
		.instance = "test" };
	static const uint8_t key[FLOW_KEY_OCTETS] = { 1 };
	size_t n = 0;
	char why[256];

	(void)state;
	n += (size_t)snprintf(args + n, sizeof(args) - n, "--no-huge") + 1;
	n += (size_t)snprintf(args + n, sizeof(args) - n, "--no-pci") + 1;
	n += (size_t)snprintf(args + n, sizeof(args) - n, "--log-level=error") + 1;
	for (uint32_t i = 0; i < 18; i++)
		n += i == 13 ? 0 : (size_t)snprintf(args + n, sizeof(args) - n, "--vdev=net_ring%u", i) + 1;
	if (mkdtemp(memif_path) == NULL)
		return -1;
	for (uint32_t i = 0; i < 2; i++) {
		snprintf(memif_device[i], sizeof(memif_device[i]),
			"net_memif%u,role=%s,id=0,socket=%s/s,socket-abstract=no", i, i == 0 ? "server" : "client",
			memif_path);
		n += (size_t)snprintf(args + n, sizeof(args) - n, "--vdev=%s", memif_device[i]) + 1;
	}
	conf.eal_args_octets = n;
	flow_steering_init(&steering, key, WORKERS);
	if (port_eal_start(&conf, why, sizeof(why)) != 0) {
		fprintf(stderr, "%s\n", why);
		return -1;
	}
	return 0;
}

static int
remove_socket(void **state)
{
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "%s/s", memif_path);
	unlink(path);
	return rmdir(memif_path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_port_frames_arrive_whole),
		cmocka_unit_test(test_port_lent_octets_are_copied),
		cmocka_unit_test(test_port_drops_what_it_cannot_build_or_send),
		cmocka_unit_test(test_port_redirect_carries_the_whole_frame),
		cmocka_unit_test(test_port_neighbours_are_told),
		cmocka_unit_test(test_port_two_workers_with_a_queue_each),
		cmocka_unit_test(test_port_one_queue_is_shared_through_its_owner),
		cmocka_unit_test(test_port_a_link_that_is_down_is_given_nothing),
		cmocka_unit_test(test_port_a_batch_goes_out_at_the_end_of_the_turn),
		cmocka_unit_test(test_port_open_says_what_is_missing),
	};

	return cmocka_run_group_tests(tests, start_eal, remove_socket);
}
