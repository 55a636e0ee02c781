/*
 * main.c - the data plane's process: start, watch, end.
 *
 * Flow:   options -> snapshot and segment (waited for) -> EAL -> ports -> a worker on each lcore -> watch until SIGTERM -> drain
 * Touches: files of the run directory, the segment, signals, threads, the EAL by port_dpdk.h.
 * Keeps:  no port is opened without a valid segment and snapshot; one data plane a segment (its lock); a bad snapshot never replaces a
 *         good one; the main thread sleeps between looks; an old snapshot is unmapped after every worker has confirmed the new one.
 *
 * Exit status: 0 ended in order, 1 could not start, 2 usage, 75 (EX_TEMPFAIL) the segment went away and a restart attaches to the new one.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/large.h"
#include "dataplane/base/siphash.h"
#include "dataplane/link/kept.h"
#include "dataplane/link/pages.h"
#include "dataplane/link/segment.h"
#include "dataplane/link/snapshot.h"
#include "dataplane/port/port_dpdk.h"
#include "dataplane/tls_keeper.h"
#include "dataplane/worker/goes_on.h"
#include "dataplane/worker/worker.h"

#define RUN_DIR_DEFAULT "/run/greyline"
#define EXIT_USAGE      2
#define EXIT_SEGMENT    75

#define WAIT_MAX_US      UINT64_C(60000000) /* for control's files at start; the supervisor starts us again */
#define WAIT_STEP_US     50000
#define WAIT_SAY_US      UINT64_C(5000000)
#define WATCH_US         20000 /* between two looks of the main thread */
#define HEARTBEAT_US     UINT64_C(250000)
#define LINK_WATCH_US    UINT64_C(1000000)
#define PAGES_WATCH_US   UINT64_C(60000000)
#define SEGMENT_WATCH_US UINT64_C(500000) /* a deleted segment is noticed within a second */
#define LINK_WAIT_MS     1000
#define CONFIRM_MAX_US   UINT64_C(5000000) /* for a worker to take over a snapshot: more than any turn can last */
#define SEGMENT_LOST_US  UINT64_C(1000000) /* messages in flight may end before a restart for a new segment */
#define MARKS_VERSION    UINT64_C(2)       /* of what lies in the file of marks */
#define LAST_SEGMENTS_US UINT64_C(100000)  /* after the last session closed: its FIN and ACK */

/* Napping. Within NAP_AFTER_TURNS empty turns (some 100 us) nothing sleeps; then a nap is a hundredth of the time since the last work. */
#define NAP_AFTER_TURNS 64
#define NAP_MIN_US      50
#define NAP_MAX_US      1000 /* what a first segment waits at most after a long silence */
#define NAP_SHARE       100

enum dataplane_state { DATAPLANE_NONE, DATAPLANE_STARTING, DATAPLANE_SERVING, DATAPLANE_DRAINING };

struct lcore {
	struct worker *worker;
	struct process *process;
	uint32_t index;
};

struct process {
	const char *run_dir;
	char snapshot_path[4096];
	int signal_fd;
	struct snapshot *snapshot;   /* the one in force; workers read it, so it is never written again */
	uint64_t generation_refused; /* was looked at and could not be used */
	struct segment segment;
	struct port_set *ports;
	struct worker_shared shared;
	struct tls_keeper *tls;
	uint32_t n_workers;
	struct lcore lcore[CONF_WORKERS_MAX];
	atomic_bool nap, stop;
};

static void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fputs("greyline-dataplane: ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
}

static uint64_t
clock_us(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t
boot_us(void)
{
	return clock_us(CLOCK_BOOTTIME);
}

static void
nap_us(uint64_t us)
{
	const struct timespec t = { .tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000 };

	clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

/* ---- a worker's thread ---- */

/* What a worker's thread may do as root goes: it opens nothing any more. Each thread has capabilities of its own. */
static void
drop_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	syscall(SYS_capset, &head, none); /* nothing to do when it fails: it can only take away */
}

static int
worker_run(void *arg)
{
	struct lcore *l = arg;
	struct process *p = l->process;
	uint32_t empty_turns = 0;
	uint64_t worked_us = boot_us();
	char name[16];

	snprintf(name, sizeof(name), "gl-worker-%u", l->index);
	pthread_setname_np(pthread_self(), name);
	prctl(PR_SET_TIMERSLACK, 1UL); /* the default of 50 us would be as long as the shortest nap */
	drop_capabilities();
	while (!atomic_load_explicit(&p->stop, memory_order_relaxed)) {
		const uint64_t now_us = boot_us();
		uint64_t deadline_us, us;

		if (worker_turn(l->worker, now_us)) {
			empty_turns = 0;
			worked_us = now_us;
			continue;
		}
		if (++empty_turns < NAP_AFTER_TURNS || !atomic_load_explicit(&p->nap, memory_order_relaxed))
			continue;
		us = (now_us - worked_us) / NAP_SHARE;
		us = us < NAP_MIN_US ? NAP_MIN_US : us > NAP_MAX_US ? NAP_MAX_US : us;
		deadline_us = worker_deadline_us(l->worker);
		if (deadline_us <= now_us)
			continue;
		nap_us(MIN(us, deadline_us - now_us));
	}
	return 0;
}

/* ---- signals ---- */

/* Before any thread exists, so that all inherit the mask: signals reach the main thread's descriptor alone. */
static int
signals_open(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Sleeps up to us; whether SIGTERM or SIGINT came. */
static bool
sleep_or_signal(const struct process *p, uint64_t us)
{
	struct pollfd fd = { .fd = p->signal_fd, .events = POLLIN };
	const struct timespec t = { .tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000 };
	struct signalfd_siginfo info;

	if (ppoll(&fd, 1, &t, NULL) <= 0)
		return false;
	return read(p->signal_fd, &info, sizeof(info)) == sizeof(info);
}

/* ---- start ---- */

/* Waits for the first valid snapshot and its segment. 0, or -1 after a message. */
static int
wait_for_control(struct process *p)
{
	const uint64_t began_us = boot_us();
	uint64_t said_us = 0;
	char why[512];

	p->snapshot = calloc(1, sizeof(*p->snapshot));
	if (p->snapshot == NULL)
		return -1;
	for (;;) {
		const uint64_t now_us = boot_us();
		int rc = snapshot_map(p->snapshot, p->snapshot_path, why, sizeof(why));

		if (rc == 0) {
			if (!p->snapshot->conf->huge_pages)
				large_forbid();
			rc = segment_open_dataplane(&p->segment, p->snapshot->segment_path, why, sizeof(why));
			if (rc == 0 && p->segment.n_workers >= p->snapshot->conf->workers)
				return 0;
			if (rc == 0) { /* of an older configuration: control makes a larger one */
				snprintf(why, sizeof(why), "%s has room for %u workers, %u are wanted", p->segment.path,
					p->segment.n_workers, p->snapshot->conf->workers);
				segment_close(&p->segment, true);
			} else if (rc == -EWOULDBLOCK) {
				say("%s: another data plane serves here: %s", p->snapshot->segment_path, why);
				return -1;
			}
			snapshot_unmap(p->snapshot);
		}
		if (now_us - began_us >= WAIT_MAX_US) {
			say("gave up waiting for greyline-control: %s", why);
			return -1;
		}
		if (said_us == 0 || now_us - said_us >= WAIT_SAY_US) {
			say("waiting for greyline-control: %s", why);
			said_us = now_us;
		}
		if (sleep_or_signal(p, WAIT_STEP_US))
			return -1;
	}
}

static int
random_octets(void *arg, void *out, size_t octets)
{
	(void)arg;
	return getrandom(out, octets, 0) == (ssize_t)octets ? 0 : -1;
}

/*
 * Where the configuration names no MAC address, the device's own is the port's: it is written into our private mapping of the snapshot
 * before anybody else sees it, so that all readers find it in one place.
 */
static int
fill_macs(const struct process *p, const struct snapshot *s)
{
	static const uint8_t none[6];
	struct conf_port *ports = (struct conf_port *)(uintptr_t)s->ports;

	if (mprotect(s->base, s->octets, PROT_READ | PROT_WRITE) != 0)
		return -errno;
	for (uint32_t i = 0; i < s->n_ports; i++)
		if (memcmp(ports[i].mac, none, sizeof(none)) == 0)
			port_mac(p->ports, i, ports[i].mac);
	return mprotect(s->base, s->octets, PROT_READ) != 0 ? -errno : 0;
}

static int
start_ports(struct process *p)
{
	const struct siphash_key no_key = { 0 };
	const struct conf *conf = p->snapshot->conf;
	uint8_t key[FLOW_KEY_OCTETS];
	char instance[40], why[512], line[256];
	const struct port_conf pc = { .ports = p->snapshot->ports,
		.n_ports = p->snapshot->n_ports,
		.n_workers = p->n_workers,
		.memory_mb = conf->memory_mb,
		.spin = conf->idle == IDLE_SPIN,
		.eal_args = p->snapshot->eal_args,
		.eal_args_octets = p->snapshot->eal_args_octets,
		.instance = instance };

	snprintf(instance, sizeof(instance), "greyline-%016" PRIx64, siphash(&no_key, p->run_dir, strlen(p->run_dir)));
	if (random_octets(NULL, key, sizeof(key)) != 0) {
		say("no random octets: %s", strerror(errno));
		return -1;
	}
	flow_steering_init(&p->shared.steering, key, p->n_workers);
	if (port_eal_start(&pc, why, sizeof(why)) != 0) {
		say("%s", why);
		return -1;
	}
	p->ports = port_open(&pc, &p->shared.steering, p->segment.counters, why, sizeof(why));
	if (p->ports == NULL) {
		say("%s", why);
		return -1;
	}
	port_wait_links(p->ports, LINK_WAIT_MS);
	for (uint32_t i = 0; i < p->snapshot->n_ports; i++)
		say("%s", port_describe(p->ports, i, line, sizeof(line)));
	return 0;
}

/*
 * Where the workers mark their connections for the next life of this process: a file of ours beside the segment. NULL where it cannot be had;
 * then peers of a killed process find out by their own time-outs.
 */
static uint8_t *
open_marks(const struct process *p, uint64_t octets_each)
{
	char path[SEGMENT_PATH_OCTETS + 8], why[512];
	uint8_t *marks;

	snprintf(path, sizeof(path), "%s.conns", p->segment.path);
	marks = kept_open(path, MARKS_VERSION << 32 | p->n_workers, p->n_workers * octets_each, why, sizeof(why));
	if (marks == NULL)
		say("connections are not marked for the next life: %s", why);
	return marks;
}

/*
 * Where timestamps, numbers and ports of connections to backends go on after a kill: a file of its own, for its shape does not follow from the
 * configuration. Where it cannot be had it is this process's memory, so that all workers have the same clock at least. NULL: there is none, said.
 */
static struct tcp_kept *
open_kept(const struct process *p)
{
	char path[SEGMENT_PATH_OCTETS + 8], why[512];
	uint8_t random[GOES_ON_RANDOM_OCTETS];
	struct tcp_kept *kept;

	if (random_octets(NULL, random, sizeof(random)) != 0) {
		say("no random octets: %s", strerror(errno));
		return NULL;
	}
	snprintf(path, sizeof(path), "%s.ports", p->segment.path);
	kept = kept_open(path, goes_on_version(), goes_on_octets(), why, sizeof(why));
	if (kept == NULL) {
		say("source ports and timestamps begin anew with each life: %s", why);
		kept = calloc(1, goes_on_octets());
	}
	if (kept == NULL) {
		say("no memory for source ports");
		return NULL;
	}
	if (!goes_on_begin(kept, random, boot_us()) && p->segment.was_unclean)
		say("the life before left no source ports and timestamps to go on from: they begin anew");
	return kept;
}

/* What all pools take when they are full: of a worker, for they are all made alike, and of the process. */
static void
say_memory(const struct process *p)
{
	const struct buf_pool *bufs = port_io_of(p->ports, 0)->pool;
	struct memory_list list = { 0 };

	worker_memory(p->lcore[0].worker, &list);
	for (uint32_t i = 0; i < list.n_lines; i++) {
		const struct memory_line *l = &list.line[i];

		say("memory of a worker: %s: %" PRIu64 " of %" PRIu64 " octets, %" PRIu64 " KiB", l->name, l->n,
			l->octets, (l->n * l->octets + 1023) / 1024);
	}
	say("buffers of a worker: %u of %u octets, within dataplane.memory_mb", bufs->n_bufs, bufs->room_octets);
	say("memory at most: %u MiB of buffers and rings, %" PRIu64 " MiB a worker, %" PRIu64 " MiB of TLS, %" PRIu64
	    " MiB of segment",
		p->snapshot->conf->memory_mb, memory_list_octets(&list) >> 20, tls_keeper_memory_octets(p->tls) >> 20,
		p->segment.octets >> 20);
}

static int
start_workers(struct process *p)
{
	const uint64_t marks_octets = worker_marks_octets(p->snapshot->conf);
	struct worker_bounds bounds;
	struct tcp_kept *kept = open_kept(p);
	uint8_t *marks;
	char why[512] = "";

	if (kept == NULL)
		return -1;

	if (fill_macs(p, p->snapshot) != 0) {
		say("cannot write MAC addresses into the snapshot: %s", strerror(errno));
		return -1;
	}
	p->shared.n_workers = p->n_workers;
	worker_publish(&p->shared, p->snapshot);
	atomic_store(&p->nap, p->snapshot->conf->idle == IDLE_NAP);
	marks = open_marks(p, marks_octets);
	for (uint32_t i = 0; i < p->n_workers; i++) {
		struct worker_conf conf = { .index = i,
			.shared = &p->shared,
			.io = port_io_of(p->ports, i),
			.segment = &p->segment,
			.tls = tls_keeper_context(p->tls, i),
			.kept = kept,
			.entropy = random_octets };

		if (marks != NULL)
			conf.marks = (struct tcp_mark *)(void *)(marks + i * marks_octets);
		if (random_octets(NULL, conf.random, sizeof(conf.random)) != 0)
			return -1;
		p->lcore[i] = (struct lcore){
			.worker = worker_create(&conf, boot_us(), why, sizeof(why)), .process = p, .index = i
		};
		if (p->lcore[i].worker == NULL) {
			say("worker %u: %s", i, why);
			return -1;
		}
	}
	say_memory(p);
	worker_bounds(p->snapshot->conf, &bounds);
	say("sessions of a worker: %u, of which %u may be other than at rest; at most %u octets each at rest, %u "
	    "otherwise",
		bounds.sessions, bounds.busy_sessions, bounds.rest_octets, bounds.busy_octets);
	for (uint32_t i = 0; i < p->n_workers; i++) {
		const int rc = port_launch(p->ports, i, worker_run, &p->lcore[i]);

		if (rc != 0) {
			say("worker %u does not start: %s", i, strerror(-rc));
			return -1;
		}
	}
	return 0;
}

/* Before the first key is read, after the EAL has looked at its own /proc: no core dump, and nobody of the same user looks into our memory. */
static void
hide_memory(void)
{
#ifndef __SANITIZE_ADDRESS__ /* its leak check traces us */
	prctl(PR_SET_DUMPABLE, 0UL);
#endif
}

static void
set_state(struct process *p, enum dataplane_state state)
{
	__atomic_store_n(&p->segment.live->dataplane_state, (uint32_t)state, __ATOMIC_RELAXED);
}

/* ---- snapshots ---- */

/* What only a restart can change. */
static bool
is_same_for_life(const struct snapshot *a, const struct snapshot *b)
{
	if (a->n_ports != b->n_ports || a->conf->workers != b->conf->workers ||
		a->conf->memory_mb != b->conf->memory_mb || a->conf->tls_memory_mb != b->conf->tls_memory_mb ||
		a->conf->sessions != b->conf->sessions || a->conf->huge_pages != b->conf->huge_pages ||
		a->conf->busy_sessions != b->conf->busy_sessions)
		return false;
	for (uint32_t i = 0; i < a->n_ports; i++)
		if (strcmp(a->ports[i].device, b->ports[i].device) != 0 || a->ports[i].mtu != b->ports[i].mtu ||
			a->ports[i].vlan != b->ports[i].vlan)
			return false;
	return true;
}

static void
snapshot_drop(struct snapshot *s)
{
	snapshot_unmap(s);
	free(s);
}

/* The snapshot that lies there now, checked, with MAC addresses; NULL with the reason in why. */
static struct snapshot *
snapshot_take(const struct process *p, char *why, uint32_t why_octets)
{
	struct snapshot *s = calloc(1, sizeof(*s));

	if (s == NULL || snapshot_map(s, p->snapshot_path, why, why_octets) != 0) {
		free(s);
		return NULL;
	}
	if (s->n_ports != p->snapshot->n_ports)
		snprintf(why, why_octets, "it has another number of ports: a restart is needed");
	else if (fill_macs(p, s) != 0)
		snprintf(why, why_octets, "MAC addresses: %s", strerror(errno));
	else
		return s;
	snapshot_drop(s);
	return NULL;
}

/* Until every worker has passed a turn with this snapshot; false: not in time. */
static bool
wait_for_workers(const struct process *p, uint64_t generation)
{
	const uint64_t began_us = boot_us();

	for (uint32_t i = 0; i < p->n_workers; i++) {
		while (worker_generation(p->lcore[i].worker) != generation) {
			if (boot_us() - began_us >= CONFIRM_MAX_US)
				return false;
			nap_us(1000);
		}
	}
	return true;
}

/*
 * Control wants another snapshot: it is mapped and checked, published, and the old one is unmapped when all workers have passed a turn
 * with the new. A worker that does not confirm in time may still read the old one: that is then kept for ever (and said).
 */
static void
look_for_snapshot(struct process *p)
{
	const uint64_t wanted = __atomic_load_n(&p->segment.live->snapshot_generation, __ATOMIC_ACQUIRE);
	struct snapshot *old = p->snapshot, *next;
	char why[512] = "";

	if (wanted == p->snapshot->generation || wanted == p->generation_refused)
		return;
	next = snapshot_take(p, why, sizeof(why));
	if (next == NULL) {
		say("snapshot %" PRIu64 " is not used: %s", wanted, why);
		p->generation_refused = wanted;
		return;
	}
	if (next->generation == old->generation) { /* the word came before the file: it is looked at again */
		snapshot_drop(next);
		return;
	}
	if (!is_same_for_life(old, next))
		say("snapshot %" PRIu64 " changes ports or sizes: those count at the next start", next->generation);
	p->snapshot = next;
	worker_publish(&p->shared, next);
	atomic_store(&p->nap, next->conf->idle == IDLE_NAP);
	if (wait_for_workers(p, next->generation))
		snapshot_drop(old);
	else
		say("a worker has not confirmed snapshot %" PRIu64 "; the old one stays mapped", next->generation);
}

/* ---- watch and end ---- */

static uint32_t
sessions_open(const struct process *p)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->n_workers; i++)
		n += worker_sessions(p->lcore[i].worker);
	return n;
}

static void
heartbeat(struct process *p, uint64_t now_us)
{
	__atomic_store_n(&p->segment.live->heartbeat_us[SEGMENT_DATAPLANE], now_us, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < p->n_workers; i++)
		if (p->lcore[i].worker != NULL)
			__atomic_store_n(&p->segment.live->sessions_open[i], worker_sessions(p->lcore[i].worker),
				__ATOMIC_RELAXED);
}

/* Which pages are behind our memory, for status: the kernel alone knows. Walks the page tables, so not often. */
static bool
look_at_pages(struct process *p)
{
	struct segment_live *live = p->segment.live;
	struct pages of_segment = { 0 }, of_memory = { 0 };

	if (pages_look(p->segment.base, p->segment.octets, &of_segment, &of_memory) != 0)
		return false;
	__atomic_store_n(&live->pages_octets, of_segment.octets, __ATOMIC_RELAXED);
	__atomic_store_n(&live->pages_huge_octets, of_segment.huge_octets, __ATOMIC_RELAXED);
	__atomic_store_n(&live->memory_octets, of_memory.octets, __ATOMIC_RELAXED);
	__atomic_store_n(&live->memory_huge_octets, of_memory.huge_octets, __ATOMIC_RELAXED);
	return true;
}

static void
say_pages(struct process *p)
{
	const struct segment_live *live = p->segment.live;

	if (!look_at_pages(p))
		say("the kernel does not tell which pages are behind our memory");
	else
		say("in pages of 2 MiB: %" PRIu64 " of %" PRIu64 " MiB of the segment, %" PRIu64 " of %" PRIu64
		    " MiB of other memory in use",
			live->pages_huge_octets >> 20, live->pages_octets >> 20, live->memory_huge_octets >> 20,
			live->memory_octets >> 20);
}

static void
watch_links(struct process *p)
{
	uint32_t up, changed = port_watch_links(p->ports, &up);
	char line[256];

	for (uint32_t i = 0; changed != 0 && i < p->snapshot->n_ports; i++)
		if ((changed >> i & 1) != 0)
			say("%s", port_describe(p->ports, i, line, sizeof(line)));
}

/* Returns the exit status to be: EXIT_SUCCESS when a signal came. */
static int
watch(struct process *p)
{
	uint64_t beat_us = 0, link_us = 0, segment_us = 0, pages_us = boot_us();

	while (!sleep_or_signal(p, WATCH_US)) {
		const uint64_t now_us = boot_us();

		look_for_snapshot(p);
		tls_keeper_tick(p->tls, p->snapshot, now_us);
		if (now_us - beat_us >= HEARTBEAT_US) {
			heartbeat(p, now_us);
			beat_us = now_us;
		}
		if (now_us - link_us >= LINK_WATCH_US) {
			watch_links(p);
			link_us = now_us;
		}
		if (now_us - segment_us >= SEGMENT_WATCH_US) {
			if (!segment_is_current(&p->segment)) {
				say("%s was deleted or replaced", p->segment.path);
				return EXIT_SEGMENT;
			}
			segment_us = now_us;
		}
		if (now_us - pages_us >= PAGES_WATCH_US) {
			look_at_pages(p);
			pages_us = now_us;
		}
	}
	return EXIT_SUCCESS;
}

/* No new sessions; idle ones get 421, messages finish. A second signal ends at once. */
static void
drain(struct process *p, uint64_t at_most_us)
{
	const uint64_t began_us = boot_us();
	uint64_t empty_us = 0;

	set_state(p, DATAPLANE_DRAINING);
	atomic_store(&p->shared.drain, 1);
	say("draining, %u sessions", sessions_open(p));
	while (!sleep_or_signal(p, WATCH_US)) {
		const uint64_t now_us = boot_us();

		heartbeat(p, now_us);
		if (sessions_open(p) > 0)
			empty_us = 0;
		else if (empty_us == 0)
			empty_us = now_us;
		if (now_us - began_us >= at_most_us || (empty_us != 0 && now_us - empty_us >= LAST_SEGMENTS_US))
			return;
	}
}

static void
end(struct process *p, bool clean)
{
	const uint32_t left = sessions_open(p);
	struct port_stats s;

	atomic_store(&p->stop, true);
	for (uint32_t i = 0; i < p->n_workers; i++)
		port_wait(p->ports, i);
	for (uint32_t i = 0; i < p->n_workers; i++)
		worker_destroy(p->lcore[i].worker);
	for (uint32_t i = 0; i < p->snapshot->n_ports; i++) {
		port_stats(p->ports, i, &s);
		say("port %s: %" PRIu64 " frames in (%" PRIu64 " missed, %" PRIu64 " errors), %" PRIu64 " out (%" PRIu64
		    " errors)",
			p->snapshot->ports[i].name, s.rx_frames, s.rx_missed, s.rx_errors, s.tx_frames, s.tx_errors);
	}
	port_close(p->ports);
	tls_keeper_destroy(p->tls);
	set_state(p, DATAPLANE_NONE);
	segment_close(&p->segment, clean);
	snapshot_drop(p->snapshot);
	say("ended, %u sessions were open", left);
}

static int
run(struct process *p)
{
	int status;

	if (wait_for_control(p) != 0)
		return EXIT_FAILURE;
	p->n_workers = p->snapshot->conf->workers;
	if (p->n_workers == 0 || p->n_workers > CONF_WORKERS_MAX || p->snapshot->n_ports == 0) {
		say("the snapshot has %u workers and %u ports", p->n_workers, p->snapshot->n_ports);
		return EXIT_FAILURE;
	}
	set_state(p, DATAPLANE_STARTING);
	__atomic_store_n(&p->segment.live->dataplane_pid, (uint32_t)getpid(), __ATOMIC_RELAXED);
	heartbeat(p, boot_us());
	/* what fails from here on leaves it to the kernel to take ports, memory and lock back */
	p->tls = tls_keeper_create(&p->segment, p->snapshot, say); /* before the EAL: its libraries might use OpenSSL */
	if (p->tls == NULL || start_ports(p) != 0)
		return EXIT_FAILURE;
	hide_memory();
	tls_keeper_start(p->tls, p->snapshot, boot_us());
	if (start_workers(p) != 0)
		return EXIT_FAILURE;
	prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL); /* from here on nothing is executed */
	say_pages(p);
	set_state(p, DATAPLANE_SERVING);
	say("ready");
	status = watch(p);
	drain(p, status == EXIT_SEGMENT ? SEGMENT_LOST_US : (uint64_t)p->snapshot->conf->drain_s * 1000000);
	end(p, true);
	return status;
}

static void
usage(FILE *to)
{
	fputs("usage: greyline-dataplane [--run-dir DIR]\n"
	      "\n"
	      "  --run-dir DIR   the run directory of greyline-control (default " RUN_DIR_DEFAULT
	      "): the snapshot there names\n"
	      "                  ports, workers, EAL arguments and the shared segment; both are waited for up to a "
	      "minute\n"
	      "  --help          this text\n"
	      "  --version       version\n"
	      "\n"
	      "SIGTERM: no new sessions, messages finish (dataplane.drain), then it ends. A second SIGTERM ends it at "
	      "once.\n",
		to);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = { { "run-dir", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 } };
	static struct process process; /* large, and read by threads that end after main() would have returned */
	int option;

	process.run_dir = RUN_DIR_DEFAULT;
	while ((option = getopt_long(argc, argv, "r:hV", options, NULL)) != -1) {
		switch (option) {
		case 'r':
			process.run_dir = optarg;
			break;
		case 'h':
			usage(stdout);
			return EXIT_SUCCESS;
		case 'V':
			puts("greyline-dataplane " GREYLINE_VERSION " (" GREYLINE_LAYOUT ")");
			return EXIT_SUCCESS;
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (optind != argc || (size_t)snprintf(process.snapshot_path, sizeof(process.snapshot_path),
				      "%s/policy.snapshot", process.run_dir) >= sizeof(process.snapshot_path)) {
		usage(stderr);
		return EXIT_USAGE;
	}
	setvbuf(stderr, NULL, _IOLBF, 0);
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
	process.signal_fd = signals_open();
	if (process.signal_fd < 0) {
		say("signals: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	return run(&process);
}
