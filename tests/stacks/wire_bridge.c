/*
 * wire_bridge.c - the simulator's wire between two real devices: what comes in at one goes out at the other, as far as the wire lets it.
 *
 * usage: wire_bridge [--seed N] [--loss PM] [--duplicate PM] [--reorder PM] [--corrupt PM] [--delay-us N] [--jitter-us N] [--mtu N]
 *                    [--mtu-silent] [--vlan N] DEVICE DEVICE       (PM: in a thousand frames)
 *
 * With --vlan the second device is a trunk: what goes out there gets the tag of that VLAN (802.1Q, with a priority, as switches do), what comes in
 * there without it is strange: lost and counted. The kernel has taken its tag off already and tells it beside the frame.
 *
 * Flow:    AF_PACKET -> wire_send() -> [tests/sim/wire.c] -> wire_land() -> AF_PACKET
 * Touches: the two devices, which it makes promiscuous; the clock. Ends at SIGTERM or SIGINT and says on stdout what it carried.
 * Keeps:   what is not sent on at once is held by the wire alone, at most FLYING_MAX frames; beyond that frames are lost and counted.
 */
#include "tests/sim/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/base/bug.h"

#define FLYING_MAX    65536
#define BURST_MAX     256
#define SOCKET_OCTETS (16 << 20)

static volatile sig_atomic_t ended;
static uint64_t carried[2], refused, full, strange;
static uint16_t vlan; /* of the second device; 0: none */

static void
on_signal(int number)
{
	(void)number;
	ended = 1;
}

static uint64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t
next_random(void *arg)
{
	uint64_t *s = arg, a = s[0];
	const uint64_t b = s[1];

	s[0] = b;
	a ^= a << 23;
	a ^= a >> 17;
	a ^= b ^ (b >> 26);
	s[1] = a;
	return a + b;
}

static int
open_device(const char *name)
{
	const int one = 1, octets = SOCKET_OCTETS;
	const unsigned index = if_nametoindex(name);
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)index
	};
	struct packet_mreq promiscuous = { .mr_ifindex = (int)index, .mr_type = PACKET_MR_PROMISC };
	const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (index == 0 || fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) != 0 ||
		setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous)) != 0 ||
		setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &octets, sizeof(octets)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &octets, sizeof(octets)) != 0 ||
		bind(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
		fprintf(stderr, "wire_bridge: %s: %s\n", name, strerror(errno));
		exit(2);
	}
	return fd;
}

/* Whether a frame with what the kernel told of it belongs to side: to the VLAN where that is the trunk. */
static bool
is_of(int side, struct msghdr *m, const uint8_t *frame)
{
	struct tpacket_auxdata told = { 0 };

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA)
			memcpy(&told, CMSG_DATA(c), sizeof(told));
	if (side == 0 || vlan == 0)
		return (told.tp_status & TP_STATUS_VLAN_VALID) == 0;
	return (told.tp_status & TP_STATUS_VLAN_VALID) != 0 && told.tp_vlan_tci == vlan &&
	       told.tp_vlan_tpid == 0x8100 && frame[12] != 0x81;
}

/* Frames of side 0 are "of a host", those of side 1 "of the gateway": so the wire sends what it answers back to who sent. */
static void
take(struct wire *wire, int fd, int from)
{
	static uint8_t frame[WIRE_FRAME_MAX_OCTETS];

	for (uint32_t i = 0; i < BURST_MAX; i++) {
		uint8_t control[CMSG_SPACE(sizeof(struct tpacket_auxdata))] __attribute__((aligned(8)));
		struct iovec at = { .iov_base = frame, .iov_len = sizeof(frame) };
		struct msghdr m = {
			.msg_iov = &at, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
		};
		const ssize_t n = recvmsg(fd, &m, MSG_TRUNC);
		struct wire_frame *f;

		if (n < 14)
			return;
		if ((size_t)n > sizeof(frame) || wire->n_flying >= FLYING_MAX) {
			full++;
			continue;
		}
		if (!is_of(from != 0, &m, frame)) {
			strange++;
			continue;
		}
		f = wire_frame_new(0, from, (uint32_t)n);
		memcpy(f->data, frame, (size_t)n);
		wire_send(wire, f, now_us());
	}
}

/* With the tag between addresses and EtherType. */
static bool
send_tagged(int fd, const struct wire_frame *f)
{
	uint8_t tag[4] = { 0x81, 0, (uint8_t)(0xa0 | vlan >> 8), (uint8_t)vlan };
	struct iovec part[3] = { { (void *)(uintptr_t)f->data, 12 }, { tag, 4 },
		{ (void *)(uintptr_t)(f->data + 12), f->octets - 12 } };

	return writev(fd, part, 3) == (ssize_t)(f->octets + 4);
}

static void
give(struct wire *wire, const int fd[2])
{
	struct wire_frame *f;

	while ((f = wire_land(wire, now_us())) != NULL) {
		const int to = f->from >= 0;

		if (to == 1 && vlan != 0 ? send_tagged(fd[to], f)
					 : send(fd[to], f->data, f->octets, 0) == (ssize_t)f->octets)
			carried[to]++;
		else
			refused++;
		free(f);
	}
}

static uint64_t
number(int argc, char **argv, int *i)
{
	char *end;
	uint64_t n;

	if (*i + 1 >= argc) {
		fprintf(stderr, "wire_bridge: %s needs a number\n", argv[*i]);
		exit(2);
	}
	n = strtoull(argv[++*i], &end, 10);
	if (*end != '\0' || end == argv[*i]) {
		fprintf(stderr, "wire_bridge: %s: \"%s\" is no number\n", argv[*i - 1], argv[*i]);
		exit(2);
	}
	return n;
}

int
main(int argc, char **argv)
{
	struct wire wire = { .random = next_random };
	uint64_t seed = 1, state[2];
	int fd[2], i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		const char *o = argv[i] + 2;

		if (strcmp(o, "seed") == 0)
			seed = number(argc, argv, &i);
		else if (strcmp(o, "loss") == 0)
			wire.how.loss = (uint32_t)number(argc, argv, &i);
		else if (strcmp(o, "duplicate") == 0)
			wire.how.duplicate = (uint32_t)number(argc, argv, &i);
		else if (strcmp(o, "reorder") == 0)
			wire.how.reorder = (uint32_t)number(argc, argv, &i);
		else if (strcmp(o, "corrupt") == 0)
			wire.how.corrupt = (uint32_t)number(argc, argv, &i);
		else if (strcmp(o, "delay-us") == 0)
			wire.how.delay_us = number(argc, argv, &i);
		else if (strcmp(o, "jitter-us") == 0)
			wire.how.jitter_us = number(argc, argv, &i);
		else if (strcmp(o, "mtu") == 0)
			wire.how.mtu = (uint32_t)number(argc, argv, &i);
		else if (strcmp(o, "vlan") == 0)
			vlan = (uint16_t)number(argc, argv, &i);
		else if (strcmp(o, "mtu-silent") == 0)
			wire.how.mtu_silent = true;
		else
			break;
	}
	if (i + 2 != argc) {
		fprintf(stderr,
			"usage: %s [--seed N] [--loss PM] [--duplicate PM] [--reorder PM] [--corrupt PM] [--delay-us "
			"N] "
			"[--jitter-us N] [--mtu N] [--mtu-silent] [--vlan N] DEVICE DEVICE\n",
			argv[0]);
		return 2;
	}
	state[0] = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	state[1] = seed ^ UINT64_C(0xd1b54a32d192ed03);
	wire.random_arg = state;
	fd[0] = open_device(argv[i]);
	fd[1] = open_device(argv[i + 1]);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	printf("ready\n");
	fflush(stdout);
	while (!ended) {
		struct pollfd p[2] = { { .fd = fd[0], .events = POLLIN }, { .fd = fd[1], .events = POLLIN } };
		const uint64_t now = now_us(), due = MIN(wire_deadline_us(&wire), now + 200000);
		const struct timespec wait = { .tv_nsec = due > now ? (long)(due - now) * 1000 : 0 };

		if (ppoll(p, 2, &wait, NULL) < 0 && errno != EINTR)
			break;
		take(&wire, fd[0], 0);
		take(&wire, fd[1], WIRE_FROM_GATEWAY);
		give(&wire, fd);
	}
	printf("{\"sent\": %llu, \"carried\": [%llu, %llu], \"refused\": %llu, \"full\": %llu, \"strange\": %llu}\n",
		(unsigned long long)wire.frames, (unsigned long long)carried[0], (unsigned long long)carried[1],
		(unsigned long long)refused, (unsigned long long)full, (unsigned long long)strange);
	wire_fini(&wire);
	return 0;
}
