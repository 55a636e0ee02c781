/*
 * test_api.c - greyline-control as a process: the socket, its lines, settings that survive, a reload refused, SIGKILL, a second instance, and
 * the rings with a data plane played by the test.
 *
 * The program's path is the first argument.
 */
#include "tests/unit/control/daemon_play.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <time.h>

#include "dataplane/base/marks.h"
#include "dataplane/link/log_record.h"
#include "dataplane/link/segment.h"
#include "dataplane/link/snapshot.h"
#include "dataplane/policy/policy.h"

static void
test_api_lines(void **state)
{
	static const struct {
		const char *line, *path, *want;
	} rows[] = {
		{ "{\"cmd\":\"status\"}", "result/hostname", "gw.example.org" },
		{ "{\"cmd\":\"status\",\"args\":null}", "ok", "true" },
		{ "{\"cmd\":\"status\",\"args\":{}}", "result/dataplane/state", "none" },
		{ "{\"cmd\":\"status\"}", "result/well", "false" },
		{ "{\"cmd\":\"status\"}", "result/alarms/0", "the data plane is not there: no mail is taken" },
		{ "{\"cmd\":\"status\"}", "result/alarms/1",
			"pool default has no backend in service: its mail is deferred" },
		{ "{\"cmd\":\"status\",\"args\":{\"x\":1}}", "error/code", "usage" },
		{ "{\"cmd\":\"status\",\"args\":[]}", "error/code", "usage" },
		{ "{\"cmd\":\"frobnicate\"}", "error/code", "usage" },
		{ "{\"cmd\":5}", "error/code", "usage" },
		{ "{}", "error/code", "usage" },
		{ "[]", "error/code", "usage" },
		{ "", "error/code", "usage" },
		{ "\x01\xff{", "error/code", "usage" },
		{ "{\"cmd\":\"status\",\"cmd\":\"status\"}", "error/code", "usage" },
		{ "{\"cmd\":\"set\",\"args\":{\"option\":\"greylist.block\"}}", "error/code", "usage" },
		{ "{\"cmd\":\"set\",\"args\":{\"option\":\"greylist.blok\",\"value\":\"1s\"}}", "error/message",
			"greylist.blok: unknown setting; did you mean greylist.block?" },
		{ "{\"cmd\":\"set\",\"args\":{\"option\":\"greylist.block\",\"value\":\"-1\"}}", "error/code",
			"bad-value" },
		{ "{\"cmd\":\"set\",\"args\":{\"option\":\"greylist.block\",\"value\":\"\"}}", "error/code",
			"bad-value" },
		{ "{\"cmd\":\"set\",\"args\":{\"option\":\"greylist.block\",\"value\":\"7h\"}}", "error/code",
			"bad-value" },
		{ "{\"cmd\":\"set\",\"args\":{\"option\":\"run_dir\",\"value\":\"/x\"}}", "error/code", "bad-value" },
		{ "{\"cmd\":\"set\",\"args\":{\"option\":\"clients.allow\",\"value\":\"x\"}}", "error/code",
			"bad-value" },
		{ "{\"cmd\":\"set\",\"args\":{\"option\":\"dataplane.workers\",\"value\":\"2\"}}", "result/counts",
			"start" },
		{ "{\"cmd\":\"status\"}", "result/options_waiting_for_start/0", "dataplane.workers" },
		{ "{\"cmd\":\"unset\",\"args\":{\"option\":\"dataplane.workers\"}}", "ok", "true" },
		{ "{\"cmd\":\"unset\",\"args\":{\"option\":\"mode\"}}", "error/code", "not-found" },
		{ "{\"cmd\":\"config\",\"args\":{\"option\":\"nothing.such\"}}", "error/code", "not-found" },
		{ "{\"cmd\":\"stats\",\"args\":{\"group\":\"dns\"}}", "result/dns/clients", "0" },
		{ "{\"cmd\":\"stats\",\"args\":{\"group\":\"nope\"}}", "error/code", "not-found" },
		{ "{\"cmd\":\"grey list\"}", "result/entries", "0 elements" },
		{ "{\"cmd\":\"grey show\",\"args\":{\"ref\":\"00000000\"}}", "error/code", "not-found" },
		{ "{\"cmd\":\"grey show\",\"args\":{\"client\":\"192.0.2.1\"}}", "error/code", "usage" },
		{ "{\"cmd\":\"grey del\"}", "error/code", "usage" },
		{ "{\"cmd\":\"grey list\",\"args\":{\"state\":\"blue\"}}", "error/code", "usage" },
		{ "{\"cmd\":\"grey list\",\"args\":{\"network\":\"x\"}}", "error/code", "usage" },
		{ "{\"cmd\":\"why\",\"args\":{\"ref\":\"!\"}}", "error/code", "not-found" },
		{ "{\"cmd\":\"client deny\",\"args\":{\"client\":\"192.0.2.7/24\"}}", "error/message",
			"192.0.2.7/24 has host bits set; right is 192.0.2.0/24" },
		{ "{\"cmd\":\"client deny\",\"args\":{\"client\":\"192.0\"}}", "error/code", "bad-value" },
		{ "{\"cmd\":\"client allow\",\"args\":{\"client\":\"*\"}}", "error/code", "bad-value" },
		{ "{\"cmd\":\"client forget\",\"args\":{\"client\":\"192.0.2.1\"}}", "error/code", "not-found" },
		{ "{\"cmd\":\"explain\",\"args\":{\"client\":\"x\"}}", "error/code", "usage" },
		{ "{\"cmd\":\"explain\",\"args\":{\"client\":\"192.0.2.1\"}}", "result/text",
			"Greylisted, please try again in 240 seconds" },
		{ "{\"cmd\":\"explain\",\"args\":{\"client\":\"192.0.2.1\",\"rcpt\":\"x@elsewhere.example\"}}",
			"result/rule", "2" },
		{ "{\"cmd\":\"explain\",\"args\":{\"client\":\"192.0.2.1\",\"rcpt\":\"postmaster@example.org\"}}",
			"result/rule", "3" },
		{ "{\"cmd\":\"dnsbl test\",\"args\":{\"client\":\"192.0.2.1\"}}", "error/code", "unavailable" },
		{ "{\"cmd\":\"dnsbl status\"}", "result/zones_off", "false" },
		{ "{\"cmd\":\"dnsbl disable\"}", "error/code", "usage" },
		{ "{\"cmd\":\"dnsbl disable\",\"args\":{\"zone\":\"x\"}}", "error/code", "not-found" },
		{ "{\"cmd\":\"dns cache show\"}", "result/cached", "0" },
		{ "{\"cmd\":\"dns cache show\",\"args\":{\"client\":\"192.0.2.1\"}}", "error/code", "not-found" },
		{ "{\"cmd\":\"dns cache flush\"}", "result/removed", "0" },
		{ "{\"cmd\":\"dns cache flush\",\"args\":{\"client\":\"x\"}}", "error/code", "usage" },
		{ "{\"cmd\":\"backend list\"}", "result/backends/0/state", "unprobed" },
		{ "{\"cmd\":\"backend probe\",\"args\":{\"backend\":\"mta1\"}}", "error/code", "unavailable" },
		{ "{\"cmd\":\"backend drain\",\"args\":{\"backend\":\"nobody\"}}", "error/code", "not-found" },
		{ "{\"cmd\":\"backend drain\"}", "error/code", "usage" },
		{ "{\"cmd\":\"backend drain\",\"args\":{\"backend\":\"mta1\"}}", "result/backends/0/state", "drained" },
		{ "{\"cmd\":\"backend ready\",\"args\":{\"backend\":\"mta1\"}}", "result/backends/0/state",
			"unprobed" },
		{ "{\"cmd\":\"db stats\"}", "result/state", "ready" },
		{ "{\"cmd\":\"log reopen\"}", "ok", "true" },
	};
	struct daemon d;
	char *big;
	json_t *j;

	(void)state;
	daemon_start(&d, "");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check(&d, rows[i].line, rows[i].path, rows[i].want);
	/* requests one after another in one write: answers in their order */
	assert_true(write(d.fd, "{\"cmd\":\"why\",\"args\":{\"ref\":\"!\"}}\n", 33) == 33);
	j = ask_line(&d, "{\"cmd\":\"status\"}");
	CHECK_STR("first answer", value_at(j, "error/code"), "not-found");
	json_decref(j);
	/* the answer to the second is still to be read */
	check(&d, "{\"cmd\":\"report\"}", "result/version", "0.1.0");
	check(&d, "{\"cmd\":\"report\"}", "result/passed", "0");
	/* a line beyond the cap ends its client, and nobody else */
	big = malloc(200000);
	assert_non_null(big);
	memset(big, 'x', 200000);
	assert_true(write(d.fd, big, 200000) > 0);
	free(big);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < 500 && write(d.fd, "x", 1) == 1; i++)
		usleep(10000);
	CHECK_TRUE("closed", write(d.fd, "x", 1) < 0);
	close(d.fd);
	connect_to(&d);
	daemon_end(&d);
}

static void
test_api_what_was_set_survives(void **state)
{
	static const char *const ats[] = { "connect", "syn" };
	struct daemon d;

	(void)state;
	daemon_start(&d, "greylist = { block = \"100s\"; };");
	check(&d, "{\"cmd\":\"set\",\"args\":{\"option\":\"greylist.block\",\"value\":\"20s\"}}", "result/old", "100s");
	check(&d, "{\"cmd\":\"client deny\",\"args\":{\"client\":\"192.0.2.0/24\",\"note\":\"a note\"}}", "ok", "true");
	check(&d,
		"{\"cmd\":\"grey "
		"pass\",\"args\":{\"client\":\"198.51.100.1\",\"sender\":\"A@B.example\",\"recipient\":\"c@example."
		"org\"}}",
		"result/state", "white");
	check(&d, "{\"cmd\":\"backend drain\",\"args\":{\"backend\":\"mta1\"}}", "result/backends/0/state", "drained");
	for (unsigned i = 0; i < 3; i++) {
		usleep(1100000); /* WHITE is durable within a second */
		kill(d.pid, SIGKILL);
		waitpid(d.pid, NULL, 0);
		close(d.fd);
		d.pid = run(&d);
		connect_to(&d);
		check(&d, "{\"cmd\":\"config\",\"args\":{\"option\":\"greylist.block\"}}", "result/options/0/value",
			"20s");
		check(&d, "{\"cmd\":\"config\",\"args\":{\"option\":\"greylist.block\"}}", "result/options/0/origin",
			"set");
		check(&d, "{\"cmd\":\"explain\",\"args\":{\"client\":\"192.0.2.9\"}}", "result/rule", "6");
		check(&d, "{\"cmd\":\"explain\",\"args\":{\"client\":\"192.0.2.9\"}}", "result/refused_at", "");
		for (size_t k = 0; k < ARRAY_LEN(ats); k++) {
			char set[128];

			snprintf(set, sizeof(set),
				"{\"cmd\":\"set\",\"args\":{\"option\":\"reject_at\",\"value\":\"%s\"}}", ats[k]);
			check(&d, set, "ok", "true");
			check(&d, "{\"cmd\":\"explain\",\"args\":{\"client\":\"192.0.2.9\"}}", "result/refused_at",
				ats[k]);
			check(&d, "{\"cmd\":\"explain\",\"args\":{\"client\":\"198.51.100.9\"}}", "result/refused_at",
				"");
		}
		check(&d, "{\"cmd\":\"unset\",\"args\":{\"option\":\"reject_at\"}}", "ok", "true");
		check(&d,
			"{\"cmd\":\"explain\",\"args\":{\"client\":\"198.51.100.77\",\"from\":\"a@b.example\",\"rcpt\":"
			"\"c@example.org\"}}",
			"result/verdict", "pass");
		check(&d, "{\"cmd\":\"backend list\"}", "result/backends/0/state", "drained");
		if (i == 1) { /* once with the memory gone as well */
			json_t *s = ask_line(&d, "{\"cmd\":\"status\"}");

			unlink(value_at(s, "result/segment"));
			json_decref(s);
			for (unsigned k = 0; k < 300; k++) {
				s = ask_line(&d, "{\"cmd\":\"stats\",\"args\":{\"group\":\"control\"}}");
				if (strcmp(value_at(s, "result/control/segments_lost"), "1") == 0)
					k = 1000;
				json_decref(s);
				usleep(10000);
			}
			check(&d, "{\"cmd\":\"stats\",\"args\":{\"group\":\"control\"}}",
				"result/control/segments_lost", "1");
			check(&d,
				"{\"cmd\":\"explain\",\"args\":{\"client\":\"198.51.100.77\",\"from\":\"a@b.example\","
				"\"rcpt\":\"c@example.org\"}}",
				"result/verdict", "pass");
			check(&d, "{\"cmd\":\"backend list\"}", "result/backends/0/state", "drained");
		}
	}
	check(&d, "{\"cmd\":\"grey list\",\"args\":{\"sender\":\"a@b.example\"}}", "result/entries/0/recipient",
		"c@example.org");
	check(&d, "{\"cmd\":\"unset\",\"args\":{\"option\":\"greylist.block\"}}", "result/value", "100s");
	check(&d, "{\"cmd\":\"client forget\",\"args\":{\"client\":\"192.0.2.0/24\"}}", "ok", "true");
	check(&d, "{\"cmd\":\"explain\",\"args\":{\"client\":\"192.0.2.9\"}}", "result/rule", "12");
	check(&d, "{\"cmd\":\"grey del\",\"args\":{\"sender\":\"a@b.example\"}}", "result/deleted", "1");
	check(&d, "{\"cmd\":\"grey list\",\"args\":{\"sender\":\"a@b.example\"}}", "result/entries", "0 elements");
	daemon_end(&d);
}

static void
test_api_reload_takes_good_files_alone(void **state)
{
	struct daemon d;
	json_t *j;

	(void)state;
	daemon_start(&d, "");
	write_config(&d, "greylist = { block = \"77s\"; };");
	check(&d, "{\"cmd\":\"reload\"}", "ok", "true");
	check(&d, "{\"cmd\":\"explain\",\"args\":{\"client\":\"192.0.2.9\"}}", "result/wait_s", "77");
	write_config(&d, "greylist = { blok = \"1s\"; };\nmode = \"enforced\";");
	j = ask_line(&d, "{\"cmd\":\"reload\"}");
	CHECK_STR("refused", value_at(j, "error/code"), "bad-value");
	CHECK_STR("every error", value_at(j, "error/lines"), "2 elements");
	CHECK_TRUE("file and line",
		strstr(value_at(j, "error/lines/0"),
			"greyline.conf:6: greylist.blok: unknown setting; did you mean greylist.block?") != NULL);
	json_decref(j);
	check(&d, "{\"cmd\":\"explain\",\"args\":{\"client\":\"192.0.2.9\"}}", "result/wait_s", "77");
	unlink(d.config);
	check(&d, "{\"cmd\":\"reload\"}", "error/code", "bad-value");
	kill(d.pid, SIGHUP);
	check(&d, "{\"cmd\":\"explain\",\"args\":{\"client\":\"192.0.2.9\"}}", "result/wait_s", "77");
	daemon_end(&d);
}

static void
test_api_second_instance_is_refused(void **state)
{
	struct daemon d;
	int status = 0;
	pid_t second;

	(void)state;
	daemon_start(&d, "");
	second = run(&d);
	waitpid(second, &status, 0);
	CHECK_EQ("refused", WIFEXITED(status) && WEXITSTATUS(status) == 1, 1);
	check(&d, "{\"cmd\":\"status\"}", "ok", "true");
	daemon_end(&d);
}

/* The segment of a daemon, as a data plane has it that came up and tells nothing yet. */
static void
segment_of(struct daemon *d, struct segment *s)
{
	char why[256];

	daemon_ask_segment(d);
	assert_int_equal(segment_open_dataplane(s, d->segment, why, sizeof(why)), 0);
}

/* The test plays the data plane: a question, a name, log lines, garbage on the ring. */
static void
test_events_through_the_rings(void **state)
{
	json_t *stats;
	struct ip_addr client = ip_addr_v4(0xc0000207), network = ip_addr_v4(0xc0000200);
	struct daemon d;
	struct segment s;
	char path[160];
	union link_answer a;
	struct link_event_client *q;
	struct link_event_name *name;
	struct link_event_log rec;
	uint64_t tag;

	(void)state;
	daemon_start(&d, "dns = { resolvers = [ \"127.0.0.1:9\" ]; };");
	segment_of(&d, &s);

	q = ring_reserve(&s.event[0]);
	assert_non_null(q);
	memset(q, 0, sizeof(*q));
	q->head = (struct link_head){
		.type = LINK_EVENT_CLIENT, .len_octets = sizeof(*q), .dataplane_incarnation = s.incarnation
	};
	q->session = 4711;
	q->client = client;
	q->deadline_ms = 1500;
	ring_publish(&s.event[0]);
	for (int i = 0; i < 500 && link_answer_take(&s.answer[0], &a) != LINK_TAKEN; i++)
		usleep(10000);
	CHECK_EQ("an answer", a.head.type, LINK_ANSWER_CLIENT);
	CHECK_EQ("for the session", a.client.session, 4711);
	CHECK_EQ("of this life", a.head.dataplane_incarnation, s.incarnation);
	CHECK_TRUE("of this client", ip_addr_equal(&a.client.client, &client));
	CHECK_TRUE("an error is no absence", a.client.verdict.ptr_state != PTR_NONE);

	/* what is known of a client ends when other names are allowed: it may be one of them */
	{
		struct vt_entry e;

		CHECK_TRUE("its verdict is in the table",
			verdict_table_find(&s.table, policy_client_tag(&s.table, &client), &e) &&
				vt_kind(&e) == VT_CLIENT);
		check(&d, "{\"cmd\":\"client allow\",\"args\":{\"client\":\".example.net\"}}", "ok", "true");
		CHECK_TRUE("and no longer", !verdict_table_find(&s.table, policy_client_tag(&s.table, &client), &e));
	}

	/* a question of another life */
	q = ring_reserve(&s.event[0]);
	memset(q, 0, sizeof(*q));
	q->head = (struct link_head){
		.type = LINK_EVENT_CLIENT, .len_octets = sizeof(*q), .dataplane_incarnation = s.incarnation + 1
	};
	q->session = 4712;
	q->client = client;
	ring_publish(&s.event[0]);
	/* garbage */
	memset(ring_reserve(&s.event[0]), 0xff, LINK_EVENT_OCTETS);
	ring_publish(&s.event[0]);

	tag = policy_triplet_tag(&s.table, &client, "a@b.example", "c@example.org");
	{
		struct vt_entry e = { .tag = tag, .time_s = 1, .kind_state = vt_kind_state(VT_TRIPLET, VT_GREY) };
		const struct vt_ages ages = {
			.now_s = 1, .grey_s = 1000, .white_s = 1000, .client_s = 1000, .auto_s = 1000
		};

		e.time_s = segment_policy_now_s(&s, segment_boot_us());
		assert_int_equal(verdict_table_put(&s.table, NULL, &e, &ages, NULL), VT_PUT_DONE);
	}
	name = ring_reserve(&s.event[0]);
	memset(name, 0, sizeof(*name));
	name->head = (struct link_head){
		.type = LINK_EVENT_NAME, .len_octets = sizeof(*name), .dataplane_incarnation = s.incarnation
	};
	name->tag = tag;
	name->kind = VT_TRIPLET;
	name->network = network;
	name->sender_len = 11;
	name->rcpt_len = 13;
	memcpy(name->text, "a@b.examplec@example.org", 24);
	ring_publish(&s.event[0]);

	log_record_start(&rec, LINK_LOG_RCPT, 100);
	rec.verdict = VERDICT_REJECT;
	rec.rule = RULE_CLIENT;
	rec.ref = 0x123456789a;
	rec.client = client;
	log_record_put_text(&rec, LOG_client, "192.0.2.7");
	log_record_put_text(&rec, LOG_from, "evil\n\"@b.example");
	log_record_put_text(&rec, LOG_reply, "554 5.7.1 Sending address not accepted");
	log_record_put_number(&rec, LOG_score, 7);
	memcpy(ring_reserve(&s.event[0]), &rec, sizeof(rec));
	ring_publish(&s.event[0]);
	log_record_start(&rec, LINK_LOG_RCPT,
		segment_policy_now_s(&s, segment_boot_us()) - 600); /* it lay in the ring for ten minutes */
	rec.verdict = VERDICT_PASS;
	rec.rule = RULE_GREYLIST;
	rec.client = client;
	log_record_put_number(&rec, LOG_waited_s, 300);
	memcpy(ring_reserve(&s.event[0]), &rec, sizeof(rec));
	ring_publish(&s.event[0]);
	for (int i = 0; i < 500 && ring_count(&s.event[0]) > 0; i++)
		usleep(10000);
	usleep(100000);

	/* a worker's counters, each drop by its name, are there as it counts them */
	for (unsigned i = 0; i < COUNTER_N; i++)
		if (strcmp(counter_names[i].group, "tcp") == 0)
			counter_add(&s.counters[0], (enum counter)i, 1000 + i);
	stats = ask_line(&d, "{\"cmd\":\"stats\",\"args\":{\"group\":\"tcp\"}}");
	for (unsigned i = 0; i < COUNTER_N; i++) {
		char at[96], number[24];

		if (strcmp(counter_names[i].group, "tcp") != 0)
			continue;
		snprintf(at, sizeof(at), "result/tcp/%s", counter_names[i].name);
		snprintf(number, sizeof(number), "%u", 1000 + i);
		assert_string_equal(value_at(stats, at), number);
	}
	json_decref(stats);
	check(&d, "{\"cmd\":\"stats\",\"args\":{\"group\":\"control\"}}", "result/control/events_stale", "1");
	check(&d, "{\"cmd\":\"stats\",\"args\":{\"group\":\"control\"}}", "result/control/events_malformed", "1");
	check(&d, "{\"cmd\":\"grey list\"}", "result/entries/0/sender", "a@b.example");
	check(&d,
		"{\"cmd\":\"grey "
		"show\",\"args\":{\"client\":\"192.0.2.99\",\"sender\":\"A@B.EXAMPLE\",\"recipient\":\"C@example.org\"}"
		"}",
		"result/state", "grey");
	snprintf(path, sizeof(path), "{\"cmd\":\"why\",\"args\":{\"ref\":\"%s\"}}",
		policy_ref_format(0x123456789a, (char[9]){ 0 }));
	check(&d, path, "result/kind", "reject");
	check(&d, path, "result/from", "evil\\x0a\"@b.example");
	check(&d, path, "result/code", "554");
	snprintf(path, sizeof(path), "{\"cmd\":\"why\",\"args\":{\"ref\":\"%s\"}}",
		policy_ref_format(policy_ref_of_tag(tag), (char[9]){ 0 }));
	check(&d, path, "result/kind", "greylist");
	check(&d, path, "result/recipient", "c@example.org");
	check(&d, "{\"cmd\":\"report\"}", "result/refused_networks/0/network", "192.0.2.0/24");
	check(&d, "{\"cmd\":\"report\"}", "result/passed", "1");
	snprintf(path, sizeof(path), "%s/mail.log", d.dir);
	{
		char text[4096] = "";
		FILE *f = fopen(path, "r");

		assert_non_null(f);
		CHECK_TRUE("read", fread(text, 1, sizeof(text) - 1, f) > 0);
		fclose(f);
		CHECK_TRUE("the line", strstr(text, " from=\"evil\\x0a\\\"@b.example\" ") != NULL);
		{
			const char *line = strstr(text, " waited_s=300");
			struct tm tm = { 0 };
			long late_s;

			assert_non_null(line);
			while (line > text && line[-1] != '\n')
				line--;
			assert_non_null(strptime(line, "time=%Y-%m-%dT%H:%M:%S", &tm));
			late_s = (long)(time(NULL) - timegm(&tm));
			CHECK_TRUE("has the time it happened at", late_s >= 600 && late_s < 630);
		}
	}
	segment_close(&s, true);
	daemon_end(&d);
}

/* A zone that is switched off, by its public name: kept as an option, and the key is shown nowhere. */
static void
test_api_zone_is_switched(void **state)
{
	static const struct {
		const char *line, *path, *want;
	} rows[] = {
		{ "{\"cmd\":\"dnsbl status\"}", "result/zones/0/state", "unproven" },
		{ "{\"cmd\":\"dnsbl status\"}", "result/zones/0/zone", "bl.example" },
		{ "{\"cmd\":\"dnsbl disable\",\"args\":{\"zone\":\"secretkey.bl.example\"}}", "error/code",
			"not-found" },
		{ "{\"cmd\":\"dnsbl disable\",\"args\":{\"zone\":\"BL.example\"}}", "result/disabled", "true" },
		{ "{\"cmd\":\"dnsbl disable\",\"args\":{\"zone\":\"wl.example\"}}", "result/disabled", "true" },
		{ "{\"cmd\":\"dnsbl status\"}", "result/zones/0/state", "disabled" },
		{ "{\"cmd\":\"config\",\"args\":{\"option\":\"dnsbl.disabled\"}}", "result/options/0/value",
			"bl.example wl.example" },
		{ "{\"cmd\":\"dnsbl enable\",\"args\":{\"zone\":\"bl.example\"}}", "result/disabled", "false" },
		{ "{\"cmd\":\"dnsbl status\"}", "result/zones/0/state", "unproven" },
		{ "{\"cmd\":\"dnsbl status\"}", "result/zones/1/state6", "disabled" },
		{ "{\"cmd\":\"dnsbl status\"}", "result/resolvers/0/server", "127.0.0.1:9" },
	};
	struct daemon d;

	(void)state;
	daemon_start(&d, "dns = { resolvers = [ \"127.0.0.1:9\" ]; };\n"
			 "dnsbl = { zones = ( { zone = \"secretkey.bl.example\"; name = \"bl.example\"; filters = [ "
			 "\"127.0.0.2*4\" ]; }, \"wl.example*-2\" ); };");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check(&d, rows[i].line, rows[i].path, rows[i].want);
	daemon_end(&d);
}

/* A port of loopback that is free now. */
static struct sockaddr_in
free_port(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t octets = sizeof(at);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &octets), 0);
	close(fd);
	return at;
}

/* A daemon that serves metrics at what is given back. */
static struct sockaddr_in
daemon_start_metrics(struct daemon *d)
{
	const struct sockaddr_in at = free_port();
	char listen_at[32];

	snprintf(listen_at, sizeof(listen_at), "127.0.0.1:%u", ntohs(at.sin_port));
	daemon_start_at(d, "", listen_at);
	return at;
}

static void
dataplane_serves(struct segment *s)
{
	__atomic_store_n(&s->live->dataplane_state, 2, __ATOMIC_RELAXED);
	__atomic_store_n(&s->live->heartbeat_us[SEGMENT_DATAPLANE], segment_boot_us(), __ATOMIC_RELAXED);
}

/* The value of a line of /metrics; -1: there is no such line. */
static int
metric(const struct sockaddr_in *at, const char *name)
{
	static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
	static char page[1 << 20];
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t n = 0;
	ssize_t got;
	const char *line;

	assert_int_equal(connect(fd, (const struct sockaddr *)at, sizeof(*at)), 0);
	assert_int_equal(write(fd, request, sizeof(request) - 1), (ssize_t)sizeof(request) - 1);
	while ((got = read(fd, page + n, sizeof(page) - 1 - n)) > 0)
		n += (size_t)got;
	close(fd);
	page[n] = '\0';
	for (line = page; (line = strstr(line, name)) != NULL; line += strlen(name))
		if (line[-1] == '\n' && line[strlen(name)] == ' ')
			return atoi(line + strlen(name));
	return -1;
}

static bool
has_alarm(struct daemon *d, const char *words)
{
	json_t *answer = ask_line(d, "{\"cmd\":\"status\"}"), *alarm;
	bool found = false;
	size_t i;

	json_array_foreach(json_object_get(json_object_get(answer, "result"), "alarms"), i, alarm) found |=
		strcmp(json_string_value(alarm), words) == 0;
	json_decref(answer);
	return found;
}

/* Each water mark that some worker has reached: a name in status, an alarm with what is done, a line of /metrics; gone when it is over, and of
 * no meaning when nobody serves. */
static void
test_api_water_marks(void **state)
{
	char line[64], words[256];
	struct sockaddr_in at;
	struct daemon d;
	struct segment s;

	(void)state;
	at = daemon_start_metrics(&d);
	segment_of(&d, &s);
	for (uint32_t m = 0; m < MARK_N; m++) {
		const struct mark_row *row = &mark_rows[m];

		snprintf(line, sizeof(line), "greyline_short_of{mark=\"%s\"}", row->name);
		snprintf(words, sizeof(words), "short of %s", row->help);
		dataplane_serves(&s);
		check(&d, "{\"cmd\":\"status\"}", "result/dataplane/short_of", "0 elements");
		CHECK_TRUE("no alarm", !has_alarm(&d, words));
		CHECK_EQ(line, metric(&at, line), 0);
		s.live->marks[m % 2] = UINT32_C(1) << m; /* of whichever worker */
		check(&d, "{\"cmd\":\"status\"}", "result/dataplane/short_of/0", row->name);
		check(&d, "{\"cmd\":\"status\"}", "result/dataplane/short_of", "1 elements");
		CHECK_TRUE(words, has_alarm(&d, words));
		CHECK_EQ(line, metric(&at, line), 1);
		__atomic_store_n(&s.live->dataplane_state, 1, __ATOMIC_RELAXED);
		check(&d, "{\"cmd\":\"status\"}", "result/dataplane/short_of", "0 elements");
		CHECK_TRUE("not while it starts", !has_alarm(&d, words));
		CHECK_EQ("nor in the metrics", metric(&at, line), 0);
		s.live->marks[m % 2] = 0;
	}
	segment_close(&s, false);
	daemon_end(&d);
}

/* The data plane says it, and only while it lives; a hostile number is a number. */
static void
test_api_pages_behind_the_memory(void **state)
{
	struct sockaddr_in at;
	struct daemon d;
	struct segment s;

	(void)state;
	at = daemon_start_metrics(&d);
	check(&d, "{\"cmd\":\"status\"}", "result/table/memory_octets", "");
	segment_of(&d, &s);
	s.live->pages_octets = 6 << 20;
	s.live->pages_huge_octets = 4 << 20;
	s.live->memory_octets = UINT64_MAX;
	s.live->memory_huge_octets = 2 << 20;
	CHECK_EQ("nor of one that does not live", metric(&at, "greyline_segment_octets"), -1);
	dataplane_serves(&s);
	check(&d, "{\"cmd\":\"status\"}", "result/table/memory_octets", "6291456");
	check(&d, "{\"cmd\":\"status\"}", "result/table/memory_huge_octets", "4194304");
	check(&d, "{\"cmd\":\"status\"}", "result/dataplane/memory_octets", "9223372036854775807");
	check(&d, "{\"cmd\":\"status\"}", "result/dataplane/memory_huge_octets", "2097152");
	CHECK_EQ("of the segment", metric(&at, "greyline_segment_octets"), 6 << 20);
	CHECK_EQ("huge", metric(&at, "greyline_segment_huge_octets"), 4 << 20);
	CHECK_EQ("of the rest", metric(&at, "greyline_memory_huge_octets"), 2 << 20);
	segment_close(&s, false);
	daemon_end(&d);
}

/* Certificates as a data plane tells of them, also one that lies: whatever stands in the segment, answers are bounded, printable and whole. */
static void
test_api_certificates(void **state)
{
	const int64_t now_s = (int64_t)time(NULL);
	struct cert_area *a;
	struct daemon d;
	struct segment s;
	json_t *j;

	(void)state;
	daemon_start(&d, "");
	check(&d, "{\"cmd\":\"cert reload\"}", "error/code", "unavailable");
	segment_of(&d, &s);
	a = s.certs;
	check(&d, "{\"cmd\":\"cert list\"}", "result/generation", "0");
	check(&d, "{\"cmd\":\"cert check\"}", "result/findings/0/text",
		"this listener offers no STARTTLS: no certificate is loaded");
	check(&d, "{\"cmd\":\"cert check\"}", "result/well", "true");

	a->generation = 7;
	a->n_rows = 3;
	a->row[0] = (struct cert_status){ .label = "mx",
		.state = CERT_GOOD,
		.in_use = 1,
		.is_default = 1,
		.key_type = CERT_KEY_RSA,
		.key_bits = 2048,
		.not_before = 1,
		.not_after = now_s + 5 * 86400 + 100,
		.n_names = 2,
		.names = "mx.example.org *.example.org",
		.spki_sha256 = { 0xab, 0xcd } };
	a->row[1] = (struct cert_status){ .label = "kept",
		.state = CERT_KEPT,
		.in_use = 1,
		.key_type = CERT_KEY_ECDSA,
		.key_bits = 256,
		.not_after = now_s - 5,
		.n_names = 1,
		.names = "other.example",
		.why = "they do not belong together" };
	a->row[2] = (struct cert_status){ .label = "bad", .state = CERT_BAD, .why = "it is empty" };
	check(&d, "{\"cmd\":\"cert list\"}", "result/certificates/0/names/1", "*.example.org");
	check(&d, "{\"cmd\":\"cert list\"}", "result/certificates/0/key", "RSA 2048");
	check(&d, "{\"cmd\":\"cert list\"}", "result/certificates/0/state", "in use");
	check(&d, "{\"cmd\":\"cert list\"}", "result/certificates/0/spki_sha256",
		"abcd000000000000000000000000000000000000000000000000000000000000");
	check(&d, "{\"cmd\":\"cert list\"}", "result/certificates/1/state", "kept");
	check(&d, "{\"cmd\":\"cert list\"}", "result/certificates/2/why", "it is empty");
	check(&d, "{\"cmd\":\"cert check\"}", "result/well", "false");
	check(&d, "{\"cmd\":\"cert check\"}", "result/findings/0/text", "expires in 5 days");
	check(&d, "{\"cmd\":\"cert check\"}", "result/findings/1/text",
		"its new files are not used, what was loaded before stays: they do not belong together");
	check(&d, "{\"cmd\":\"cert check\"}", "result/findings/2/text", "has expired");
	check(&d, "{\"cmd\":\"cert check\"}", "result/findings/3/text", "cannot be used: it is empty");
	check(&d, "{\"cmd\":\"cert check\"}", "result/findings/4/text",
		"no RSA certificate beside it for other.example: clients that know RSA alone will have no TLS");
	check(&d, "{\"cmd\":\"status\"}", "result/alarms/2", "certificate mx expires in 5 days");
	check(&d, "{\"cmd\":\"set\",\"args\":{\"option\":\"tls.warn_before\",\"value\":\"1d\"}}", "ok", "true");
	check(&d, "{\"cmd\":\"cert check\"}", "result/findings/0/about", "kept"); /* mx is well now */

	/* where known clients are spliced, an MTA that nobody can ask is a warning */
	write_config(&d, "smtp = { known_clients = \"splice\"; };");
	check(&d, "{\"cmd\":\"reload\"}", "ok", "true");
	check(&d, "{\"cmd\":\"cert check\"}", "result/findings/4/about", "mta1");
	check(&d, "{\"cmd\":\"cert check\"}", "result/findings/4/severity", "warning");
	write_config(&d, "");
	check(&d, "{\"cmd\":\"reload\"}", "ok", "true");
	check(&d, "{\"cmd\":\"cert check\"}", "result/findings/4/severity", "note");

	/* one that lies */
	a->n_rows = UINT32_MAX;
	memset(a->row, 0xff, sizeof(a->row));
	memset(a->folder_error, '"', sizeof(a->folder_error));
	j = ask_line(&d, "{\"cmd\":\"cert list\"}");
	CHECK_EQ("rows are bounded", json_array_size(json_object_get(json_object_get(j, "result"), "certificates")),
		CERT_ROWS_MAX);
	CHECK_STR("and tame", value_at(j, "result/certificates/0/state"), "bad");
	json_decref(j);
	check(&d, "{\"cmd\":\"cert check\"}", "result/well", "false");
	check(&d, "{\"cmd\":\"status\"}", "result/well", "false");
	a->sequence = 1; /* a writer that died in the middle */
	check(&d, "{\"cmd\":\"cert list\"}", "error/code", "unavailable");
	check(&d, "{\"cmd\":\"status\"}", "ok", "true");
	segment_close(&s, true);
	daemon_end(&d);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_api_lines),
		cmocka_unit_test(test_api_what_was_set_survives),
		cmocka_unit_test(test_api_reload_takes_good_files_alone),
		cmocka_unit_test(test_api_zone_is_switched),
		cmocka_unit_test(test_api_water_marks),
		cmocka_unit_test(test_api_pages_behind_the_memory),
		cmocka_unit_test(test_api_certificates),
		cmocka_unit_test(test_api_second_instance_is_refused),
		cmocka_unit_test(test_events_through_the_rings),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: test_api GREYLINE-CONTROL\n");
		return 2;
	}
	daemon_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
