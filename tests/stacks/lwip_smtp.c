/*
 * lwip_smtp.c - one mail by a TCP that is neither ours nor Linux's: lwIP on a device, with frames lost on purpose.
 *
 * usage: lwip_smtp DEVICE OWN-ADDRESS TO-ADDRESS PORT FROM RCPT FILE LOSS-PM SEED     (/24 and /64 are on the link; loss both ways)
 *
 * Flow:    FILE (the content on the wire, dots stuffed, with its end) -> lwIP's netconn -> AF_PACKET on DEVICE, beside the kernel's own stack
 * Touches: the device, which it makes promiscuous. Ends with the session or after LIMIT_S; says on stdout what came of it, as JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <lwip/api.h>
#include <lwip/etharp.h>
#include <lwip/ethip6.h>
#include <lwip/netif.h>
#include <lwip/tcpip.h>

#define LIMIT_S          120
#define FRAME_MAX_OCTETS 2048
#define CONTENT_MAX      (8 << 20)
#define REPLY_LIMIT_MS   60000

static int device = -1;
static unsigned loss_pm;
static uint64_t random_in, random_out; /* one of each thread */
static unsigned lost_in, lost_out;     /* written by one thread each, read at the end */

static bool
is_lost(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (*state >> 33) % 1000 < loss_pm;
}

static err_t
output(struct netif *netif, struct pbuf *p)
{
	uint8_t frame[FRAME_MAX_OCTETS];
	const uint16_t n = pbuf_copy_partial(p, frame, sizeof(frame), 0);

	(void)netif;
	if (is_lost(&random_out)) {
		lost_out++;
		return ERR_OK;
	}
	return send(device, frame, n, 0) == n ? ERR_OK : ERR_IF;
}

static err_t
init(struct netif *netif)
{
	static const uint8_t mac[6] = { 2, 0x6c, 0x77, 0x69, 0x70, 1 };

	netif->name[0] = 'g';
	netif->name[1] = 'l';
	netif->output = etharp_output;
	netif->output_ip6 = ethip6_output;
	netif->linkoutput = output;
	netif->mtu = 1500;
	netif->hwaddr_len = 6;
	memcpy(netif->hwaddr, mac, 6);
	netif->flags =
		NETIF_FLAG_BROADCAST | NETIF_FLAG_MLD6 | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
	return ERR_OK;
}

static void
reader(void *arg)
{
	struct netif *netif = arg;

	for (;;) {
		uint8_t frame[FRAME_MAX_OCTETS];
		const ssize_t n = recv(device, frame, sizeof(frame), MSG_TRUNC);
		struct pbuf *p;

		if (n < 14 || (size_t)n > sizeof(frame) ||
			(memcmp(frame, netif->hwaddr, 6) != 0 && (frame[0] & 1) == 0))
			continue;
		if (is_lost(&random_in)) {
			lost_in++;
			continue;
		}
		p = pbuf_alloc(PBUF_RAW, (uint16_t)n, PBUF_POOL);
		if (p == NULL)
			continue;
		pbuf_take(p, frame, (uint16_t)n);
		if (netif->input(p, netif) != ERR_OK)
			pbuf_free(p);
	}
}

static void
open_device(const char *name)
{
	const unsigned index = if_nametoindex(name);
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)index
	};
	struct packet_mreq promiscuous = { .mr_ifindex = (int)index, .mr_type = PACKET_MR_PROMISC };
	const int one = 1;

	device = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (index == 0 || device < 0 ||
		setsockopt(device, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) != 0 ||
		setsockopt(device, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous)) != 0 ||
		bind(device, (struct sockaddr *)&to, sizeof(to)) != 0) {
		fprintf(stderr, "lwip_smtp: %s: %s\n", name, strerror(errno));
		exit(2);
	}
}

static struct netconn *conn;
static char heard[65536];
static size_t heard_octets;

static void __attribute__((noreturn)) fail(const char *stage, int why)
{
	printf("{\"ok\": false, \"stage\": \"%s\", \"lwip_error\": %d, \"heard\": \"%.*s\"}\n", stage, why,
		(int)strcspn(heard, "\r\n\""), heard);
	exit(1);
}

/* The next whole reply must have this code. */
static void
reply(const char *stage, int want)
{
	for (;;) {
		struct netbuf *buf;
		char *nl;
		err_t rc;

		while ((nl = memchr(heard, '\n', heard_octets)) != NULL) {
			const bool last = heard[3] == ' ';
			const int code = atoi(heard);

			if (last && code != want)
				fail(stage, 0);
			heard_octets -= (size_t)(nl + 1 - heard);
			memmove(heard, nl + 1, heard_octets);
			heard[heard_octets] = '\0';
			if (last)
				return;
		}
		rc = netconn_recv(conn, &buf);
		if (rc != ERR_OK)
			fail(stage, rc);
		if (heard_octets + netbuf_len(buf) >= sizeof(heard))
			fail(stage, 0);
		heard_octets += netbuf_copy(buf, heard + heard_octets, sizeof(heard) - 1 - heard_octets);
		heard[heard_octets] = '\0';
		netbuf_delete(buf);
	}
}

static void
say(const char *stage, const char *text, size_t octets)
{
	const err_t rc = netconn_write(conn, text, octets, NETCONN_COPY);

	if (rc != ERR_OK)
		fail(stage, rc);
}

static void
start(const char *own, bool v6, struct netif *netif)
{
	ip_addr_t address;
	ip4_addr_t v4 = { 0 }, mask, none = { 0 };

	IP4_ADDR(&mask, 255, 255, 255, 0);
	if (ipaddr_aton(own, &address) == 0)
		exit(2);
	if (!v6)
		v4 = *ip_2_ip4(&address);
	tcpip_init(NULL, NULL);
	LOCK_TCPIP_CORE();
	netif_add(netif, &v4, &mask, &none, NULL, init, tcpip_input);
	netif_set_default(netif);
	netif_set_up(netif);
	if (v6) {
		int8_t index = -1;

		netif_add_ip6_address(netif, ip_2_ip6(&address), &index);
		if (index >= 0)
			netif_ip6_addr_set_state(netif, index, IP6_ADDR_PREFERRED);
	}
	UNLOCK_TCPIP_CORE();
	sys_thread_new("reader", reader, netif, 0, 0);
}

int
main(int argc, char **argv)
{
	static struct netif netif;
	static char content[CONTENT_MAX];
	struct timespec begin, end;
	char line[1024];
	ip_addr_t to;
	FILE *f;
	size_t octets;
	bool v6;
	err_t rc;

	if (argc != 10 || (f = fopen(argv[7], "rb")) == NULL || ipaddr_aton(argv[3], &to) == 0) {
		fprintf(stderr, "usage: %s DEVICE OWN-ADDRESS TO-ADDRESS PORT FROM RCPT FILE LOSS-PM SEED\n", argv[0]);
		return 2;
	}
	octets = fread(content, 1, sizeof(content), f);
	fclose(f);
	alarm(LIMIT_S);
	v6 = strchr(argv[3], ':') != NULL;
	loss_pm = (unsigned)atoi(argv[8]);
	random_in = strtoull(argv[9], NULL, 10) * 2 + 1;
	random_out = random_in + UINT64_C(0x9e3779b97f4a7c15);
	open_device(argv[1]);
	start(argv[2], v6, &netif);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	conn = netconn_new(v6 ? NETCONN_TCP_IPV6 : NETCONN_TCP);
	if (conn == NULL)
		fail("socket", 0);
	netconn_set_recvtimeout(conn, REPLY_LIMIT_MS);
	rc = netconn_connect(conn, &to, (uint16_t)atoi(argv[4]));
	if (rc != ERR_OK)
		fail("connect", rc);
	reply("banner", 220);
	say("EHLO", "EHLO lwip.lab.example\r\n", 23);
	reply("EHLO", 250);
	say("MAIL", line, (size_t)snprintf(line, sizeof(line), "MAIL FROM:<%s>\r\n", argv[5]));
	reply("MAIL", 250);
	say("RCPT", line, (size_t)snprintf(line, sizeof(line), "RCPT TO:<%s>\r\n", argv[6]));
	reply("RCPT", 250);
	say("DATA", "DATA\r\n", 6);
	reply("DATA", 354);
	say("text", content, octets);
	reply("dot", 250);
	say("QUIT", "QUIT\r\n", 6);
	reply("QUIT", 221);
	netconn_close(conn);
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("{\"ok\": true, \"seconds\": %.3f, \"lost_in\": %u, \"lost_out\": %u}\n",
		(double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9, lost_in, lost_out);
	fflush(stdout);
	_exit(0); /* lwIP's threads have no end of their own */
}
