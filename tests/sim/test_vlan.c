/*
 * test_vlan.c - a whole gateway whose ports are in VLANs: the main job, hand-over between workers, and what is dropped.
 *
 * The switch of the simulator (sim_port.c) puts tags in and takes them off, and dies of a frame of the gateway without the right one.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <string.h>

static struct scene s; /* one at a time */

static void
start(uint32_t n_workers, uint16_t wan, uint16_t lan)
{
	scene_conf(&s);
	s.config.port[0].vlan = wan;
	s.config.port[1].vlan = lan;
	s.config.conf.workers = n_workers;
	scene_start(&s, 1, n_workers, (struct sim_wire){ .delay_us = 500 });
	scene_settle(&s);
}

/* A message in segments of the full MTU, both ways through the gateway: with the tag four octets longer than any without. */
static int
deliver_large(const char *client, const char *gateway, const char *from)
{
	static char body[60002];
	struct sim_conn *c = scene_open(&s, client, gateway);
	int code;

	for (size_t k = 0; k < sizeof(body) - 2; k += 100)
		memset(body + k, 'x', 98), memcpy(body + k + 98, "\r\n", 2);
	CHECK_EQ("recipient", scene_rcpt(&s, c, from, "u@example.org"), 250);
	CHECK_EQ("DATA", scene_chat(&s, c, "DATA"), 354);
	scene_send_all(&s, c, body, sizeof(body) - 2);
	code = scene_chat(&s, c, ".");
	scene_quit(&s, c);
	return code;
}

/* Greylist, wait, retry, relay: over both families, with ARP and neighbour discovery before, through one worker and handed over among three. */
static void
test_vlan_carries_the_main_job(void **state)
{
	static const struct {
		const char *label;
		uint32_t n_workers;
		uint16_t wan, lan;
	} rows[] = {
		{ "both ports, each its own", 1, 7, 4094 },
		{ "one port of two", 1, 0, 100 },
		{ "the other", 1, 1, 0 },
		{ "workers that hand frames over", 3, 300, 300 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		start(rows[i].n_workers, rows[i].wan, rows[i].lan);
		scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
		scene_make_white(&s, CLIENT6, "b@sender.example", "u@example.org");
		CHECK_EQ(rows[i].label, deliver_large(CLIENT4, GATEWAY4, "a@sender.example"), 250);
		CHECK_EQ(rows[i].label, deliver_large(CLIENT6, GATEWAY6, "b@sender.example"), 250);
		if (rows[i].n_workers > 1)
			CHECK_TRUE("frames were handed over", scene_count(&s, CTR_port_redirect_in) > 20);
		CHECK_TRUE("ARP was heard", scene_count(&s, CTR_net_arp_in) > 0);
		CHECK_TRUE("neighbours were heard", scene_count(&s, CTR_net_nd_in) > 0);
		CHECK_EQ("nothing of ours is dropped", scene_count(&s, CTR_net_drop_vlan), 0);
		CHECK_EQ("nothing of ours is dropped", scene_count(&s, CTR_net_drop_untagged), 0);
		CHECK_EQ("nothing of ours is dropped", scene_count(&s, CTR_net_drop_double_tag), 0);
		scene_end(&s);
	}
}

/* An ARP question for the gateway's address, with what stands between addresses and EtherType. Returns its length. */
static uint32_t
question(uint8_t *f, const char *tags, uint32_t tags_octets)
{
	static const uint8_t addresses[12] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0x77 };
	static const uint8_t arp[30] = { 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0x77, 198, 18, 0, 77, 0, 0,
		0, 0, 0, 0, 198, 18, 0, 2 };

	memcpy(f, addresses, 12);
	memcpy(f + 12, tags, tags_octets);
	memcpy(f + 12 + tags_octets, arp, sizeof(arp));
	return 12 + tags_octets + sizeof(arp);
}

/* Each of them is a good question but for its tags; who is answered was taken. */
static void
test_vlan_drops_what_is_not_of_it(void **state)
{
	static const struct {
		const char *label;
		const char *tags;
		uint32_t octets;
		uint16_t vlan;
		int dropped; /* -1: taken */
	} rows[] = {
		{ "its own", "\x81\0\0\x07", 4, 7, -1 },
		{ "its own with a priority", "\x81\0\xe0\x07", 4, 7, -1 },
		{ "without", "", 0, 7, CTR_net_drop_untagged },
		{ "a priority alone", "\x81\0\xe0\0", 4, 7, CTR_net_drop_untagged },
		{ "another", "\x81\0\0\x08", 4, 7, CTR_net_drop_vlan },
		{ "a provider's", "\x88\xa8\0\x07", 4, 7, CTR_net_drop_vlan },
		{ "two", "\x81\0\0\x07\x81\0\0\x07", 8, 7, CTR_net_drop_double_tag },
		{ "two behind another's", "\x88\xa8\0\x07\x81\0\0\x07", 8, 7, CTR_net_drop_vlan },
		{ "no VLAN: without", "", 0, 0, -1 },
		{ "no VLAN: a priority alone", "\x81\0\xe0\0", 4, 0, -1 },
		{ "no VLAN: one", "\x81\0\0\x07", 4, 0, CTR_net_drop_vlan },
		{ "no VLAN: one behind a priority", "\x81\0\0\0\x81\0\0\x07", 8, 0, CTR_net_drop_vlan },
		{ "no VLAN: a provider's", "\x88\xa8\0\x07", 4, 0, CTR_net_drop_ethertype },
	};
	static const enum counter reasons[] = { CTR_net_drop_vlan, CTR_net_drop_untagged, CTR_net_drop_double_tag,
		CTR_net_drop_ethertype, CTR_net_arp_in };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t before[ARRAY_LEN(reasons)];
		uint8_t f[64];

		start(1, rows[i].vlan, 0);
		for (size_t k = 0; k < ARRAY_LEN(reasons); k++)
			before[k] = scene_count(&s, reasons[k]);
		sim_trunk_rx(s.sim, 0, f, question(f, rows[i].tags, rows[i].octets));
		sim_run(s.sim, 1000);
		for (size_t k = 0; k < ARRAY_LEN(reasons); k++)
			CHECK_EQ(rows[i].label, scene_count(&s, reasons[k]) - before[k],
				(int)reasons[k] == (rows[i].dropped < 0 ? CTR_net_arp_in : rows[i].dropped));
		scene_end(&s);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vlan_carries_the_main_job),
		cmocka_unit_test(test_vlan_drops_what_is_not_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
