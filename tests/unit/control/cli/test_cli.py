#!/usr/bin/env python3
"""greylinectl against a scripted control socket and a small database.

usage: test_cli.py GREYLINECTL MAKE_DB PACKAGING

Each test says what the daemon would answer, runs the command and checks the request, the exit code and what was printed.
"""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

CTL, MAKE_DB, PACKAGING = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
TIMEOUT_S = 30


class Server:
    """Answers one connection after another with scripted octets and keeps what was asked."""

    def __init__(self, folder, answer):
        self.path = str(folder / "control.sock")
        self.answer = answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n"
        self.requests = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen(4)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            with peer:
                line = b""
                while not line.endswith(b"\n"):
                    more = peer.recv(65536)
                    if not more:
                        break
                    line += more
                self.requests.append(line)
                try:
                    peer.sendall(self.answer)
                except OSError:
                    pass

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def ctl(*args, env=None):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GREYLINE_")}
    clean.update({"TZ": "UTC", "LC_ALL": "C"})
    clean.update(env or {})
    return subprocess.run([CTL, *args], capture_output=True, text=True, timeout=TIMEOUT_S, env=clean)


def ok(result):
    return {"ok": True, "result": result}


def error(code, message, **more):
    return {"ok": False, "error": {"code": code, "message": message, **more}}


class Asked(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def ask(self, answer, *args, env=None):
        server = Server(pathlib.Path(self.folder.name), answer)
        try:
            done = ctl("--socket", server.path, *args, env=env)
        finally:
            server.close()
            os.unlink(server.path)
        self.request = json.loads(server.requests[0]) if server.requests else None
        self.assertLessEqual(len(server.requests), 1)
        return done

    def check(self, answer, args, request, exit_code=0, shown=(), err=()):
        done = self.ask(answer, *args)
        self.assertEqual(self.request, request)
        self.assertEqual(done.returncode, exit_code, done.stderr)
        for text in shown:
            self.assertIn(text, done.stdout)
        for text in err:
            self.assertIn(text, done.stderr)
        return done


STATUS = {"version": "0.1.0", "hostname": "gw.example.org", "mode": "enforce", "uptime_s": 93784, "control_pid": 12,
          "dataplane": {"state": "serving", "pid": 13, "alive": True, "sessions": 4, "workers": 2, "memory_octets": 369098752,
                        "memory_huge_octets": 23068672},
          "snapshot": {"generation": 7, "in_force": [7, 7]},
          "table": {"entries_wanted": 1048576, "entries": 1048576, "used": 3, "grey": 2, "white": 1, "load": 0.25, "loading": False,
                    "memory_octets": 373293056, "memory_huge_octets": 371195904},
          "store": {"state": "ready", "map_octets": 67108864, "used_octets": 1048576, "lag": 0},
          "resolver": {"state": "up", "servers": [], "in_flight": 0, "cached": 9}, "backends": {"up": 1, "total": 2},
          "options_waiting_for_start": ["dataplane.workers"]}
ENTRY = {"ref": "04D2A0QF", "network": "192.0.2.0/24", "sender": "alice@sender.example", "recipient": "bob@example.org", "state": "grey",
         "first_at": 1700000000, "wait_s": 215, "lapsed": 1, "expires_in_s": 626400}
EXPLAIN = {"verdict": "pass", "would": "reject", "rule": 8, "rule_name": "client", "code": 0, "enhanced": "", "text": "", "reason": "dnsbl",
           "wait_s": 0, "score": 6, "ref": "04D2A0QF", "mode": "observe", "listener": "mx",
           "client": {"known": "known", "ptr_state": "confirmed", "ptr": "mail.sender.example", "score": 6, "zone": "bl.lab.example"},
           "asked_dns": True,
           "steps": [{"rule": 1, "name": "syntax", "matched": False, "detail": "the dialogue checks it before"},
                     {"rule": 8, "name": "client", "matched": True, "detail": "score 6"}]}


class Commands(Asked):
    def test_status(self):
        self.check(ok(STATUS), ["status"], {"cmd": "status"},
                   shown=["hostname", "gw.example.org", "1d 2h", "25.0 %", "64.0 MiB", "dataplane.workers", "7 7", "in pages of 2 MiB    354.0 MiB", "in pages of 2 MiB    22.0 MiB"])

    def test_status_says_first_whether_all_is_well(self):
        done = self.check(ok(dict(STATUS, well=True, alarms=[])), ["status"], {"cmd": "status"}, shown=["all is well"])
        self.assertTrue(done.stdout.startswith("all is well\n"), done.stdout)
        done = self.check(ok(dict(STATUS, well=True, alarms=[], mode="observe")), ["status"], {"cmd": "status"}, shown=["mode observe"])
        self.assertTrue(done.stdout.startswith("all is well; mode observe: nobody is refused or delayed\n"), done.stdout)
        done = self.check(ok(dict(STATUS, well=False, alarms=["backend mta1 is down: no\x1b connection"])), ["status"], {"cmd": "status"}, shown=[])
        self.assertTrue(done.stdout.startswith("ALARM  backend mta1 is down: no\\x1B connection\n"), done.stdout)
        self.assertNotIn("all is well", done.stdout)

    def test_stats_leaves_out_zeroes(self):
        answer = ok({"policy": {"judged": 12, "waits": 0}, "tcp": {"in_segs": 99}})
        done = self.check(answer, ["stats"], {"cmd": "stats", "args": {}}, shown=["policy.judged", "12", "tcp.in_segs"])
        self.assertNotIn("policy.waits", done.stdout)
        done = self.check(answer, ["stats", "policy", "--all"], {"cmd": "stats", "args": {"group": "policy"}}, shown=["policy.waits"])

    def test_set_and_unset(self):
        answer = ok({"option": "greylist.block", "value": "10s", "old": "4m", "generation": 8, "counts": "live", "confirmed": True})
        self.check(answer, ["set", "greylist.block", "10s"], {"cmd": "set", "args": {"option": "greylist.block", "value": "10s"}},
                   shown=["greylist.block = 10s (was 4m), in force at every worker"])
        answer = ok({"option": "dataplane.workers", "value": "1", "old": "2", "generation": 8, "counts": "start", "confirmed": True})
        self.check(answer, ["unset", "dataplane.workers"], {"cmd": "unset", "args": {"option": "dataplane.workers"}},
                   shown=["counts at the next start"])

    def test_set_takes_a_value_that_looks_like_an_option(self):
        answer = ok({"option": "dnsbl.x", "value": "-3", "old": "0", "counts": "live", "confirmed": False})
        self.check(answer, ["set", "dnsbl.x", "-3"], {"cmd": "set", "args": {"option": "dnsbl.x", "value": "-3"}}, shown=["no data plane confirmed"])
        self.check(answer, ["set", "dnsbl.x", "--", "--json"], {"cmd": "set", "args": {"option": "dnsbl.x", "value": "--json"}})

    def test_set_refused_value_is_usage(self):
        self.check(error("bad-value", "greylist.block: 0s is below 1s"), ["set", "greylist.block", "0s"],
                   {"cmd": "set", "args": {"option": "greylist.block", "value": "0s"}}, 2, err=["greylist.block: 0s is below 1s"])

    def test_config(self):
        rows = [{"option": "greylist.block", "value": "10s", "origin": "set", "default": "4m", "help": "How long"},
                {"option": "mode", "value": "enforce", "origin": "default", "default": "enforce", "help": "What"}]
        self.check(ok({"options": rows}), ["config", "--changed"], {"cmd": "config", "args": {"changed": True}}, shown=["OPTION", "ORIGIN", "10s", "set"])
        self.check(ok({"options": rows[:1]}), ["config", "greylist.block"], {"cmd": "config", "args": {"option": "greylist.block"}},
                   shown=["help", "How long"])
        self.check(ok({"options": []}), ["config", "show", "--changed"], {"cmd": "config", "args": {"changed": True}}, shown=["default"])

    def test_reload_prints_every_error(self):
        self.check(error("bad-value", "the file is refused: 2 errors", lines=["greyline.conf:3: no such option", "greyline.conf:9: missing"]),
                   ["reload"], {"cmd": "reload"}, 2, err=["greyline.conf:3: no such option", "greyline.conf:9: missing", "2 errors"])
        self.check(ok({"generation": 9, "confirmed": True, "workers": [9], "waiting": ["state.entries"]}), ["reload"], {"cmd": "reload"},
                   shown=["configuration 9 in force at every worker", "counts at the next start: state.entries"])

    def test_grey_list(self):
        self.check(ok({"entries": [ENTRY], "more": True, "after": "123"}),
                   ["grey", "list", "--sender", "<>", "--network=192.0.2.0/24", "--state", "grey", "--limit", "5"],
                   {"cmd": "grey list", "args": {"sender": "", "network": "192.0.2.0/24", "state": "grey", "limit": 5}},
                   shown=["04D2A0QF", "3m 35s", "2023-11-14 22:13:20", "--after 123"])
        self.check(ok({"entries": [], "more": False}), ["grey", "list"], {"cmd": "grey list", "args": {}}, shown=["no records"])

    def test_grey_show_pass_del(self):
        self.check(ok(ENTRY), ["grey", "show", "04D2A0QF"], {"cmd": "grey show", "args": {"ref": "04D2A0QF"}}, shown=["windows lapsed", "7d 6h"])
        self.check(ok(ENTRY), ["grey", "pass", "192.0.2.1", "<>", "bob@example.org"],
                   {"cmd": "grey pass", "args": {"client": "192.0.2.1", "sender": "", "recipient": "bob@example.org"}})
        self.check(ok({"deleted": 3}), ["grey", "del", "--recipient", "bob@example.org"],
                   {"cmd": "grey del", "args": {"recipient": "bob@example.org"}}, shown=["3 deleted"])
        self.check(error("not-found", "no such record"), ["grey", "show", "00000000"], {"cmd": "grey show", "args": {"ref": "00000000"}}, 1,
                   err=["no such record"])

    def test_client(self):
        show = {"client": "192.0.2.1", "network": "192.0.2.0/24", "verdict": {"known": "known", "ptr_state": "none", "score": 0, "age_s": 61},
                "auto": {"count": 2, "at": 1700000000}, "lists": [{"list": "deny", "network": "192.0.2.0/24", "source": "greyline.conf", "line": 12}], "triplets": {"grey": 4, "white": 77}}
        self.check(ok(show), ["client", "show", "192.0.2.1"], {"cmd": "client show", "args": {"client": "192.0.2.1"}},
                   shown=["none", "1m 1s", "greyline.conf", "12", "77"])
        self.check(ok({"network": "192.0.2.0/24", "list": "allow", "generation": 3, "confirmed": True}),
                   ["client", "allow", "192.0.2.0/24", "a partner"], {"cmd": "client allow", "args": {"client": "192.0.2.0/24", "note": "a partner"}},
                   shown=["192.0.2.0/24: allow, in force"])
        self.check(ok({"network": ".x.example", "list": "deny", "confirmed": False}), ["client", "deny", ".x.example"],
                   {"cmd": "client deny", "args": {"client": ".x.example"}}, shown=["no data plane"])
        self.check(ok({"removed": 2}), ["client", "forget", "192.0.2.1"], {"cmd": "client forget", "args": {"client": "192.0.2.1"}}, shown=["2 removed"])
        self.check(ok({"entries": []}), ["client", "list"], {"cmd": "client list"}, shown=["no clients"])

    def test_explain(self):
        self.check(ok(EXPLAIN), ["explain", "192.0.2.1", "mail.x", "<>", "bob@example.org", "--listener", "mx"],
                   {"cmd": "explain", "args": {"client": "192.0.2.1", "helo": "mail.x", "from": "", "rcpt": "bob@example.org", "listener": "mx"}},
                   shown=["RULE", "score 6", "bl.lab.example", "verdict  pass", "by rule  8 client (dnsbl)", "would reject (mode is observe)"])

    def test_why(self):
        self.check(ok({"kind": "reject", "at": 1700000000, "client": "203.0.113.9", "rule": 8, "rule_name": "client", "reply": "554 5.7.1 x"}),
                   ["why", "04D2A0QF"], {"cmd": "why", "args": {"ref": "04D2A0QF"}}, shown=["203.0.113.9", "554 5.7.1 x", "client"])
        self.check(ok(dict(ENTRY, kind="greylist")), ["why", "04D2A0QF"], {"cmd": "why", "args": {"ref": "04D2A0QF"}}, shown=["greylist", "alice@"])
        self.check(error("not-found", "nothing"), ["why", "04D2A0QF"], {"cmd": "why", "args": {"ref": "04D2A0QF"}}, 1)

    def test_dnsbl(self):
        answer = {"client": "192.0.2.1", "ptr_state": "confirmed", "ptr": "a.example", "score": 5, "dns_ms": 12, "effect": "reject",
                  "zones": [{"zone": "bl.lab.example", "listed": True, "answers": ["127.0.0.2"], "weight": 5, "dns_ms": 3}]}
        self.check(ok(answer), ["dnsbl", "test", "192.0.2.1"], {"cmd": "dnsbl test", "args": {"client": "192.0.2.1"}},
                   shown=["bl.lab.example", "127.0.0.2", "12 ms", "reject"])
        self.check(ok({"resolvers": [{"server": "198.18.2.3:53", "state": "up"}], "zones": []}), ["dnsbl", "status"], {"cmd": "dnsbl status"},
                   shown=["198.18.2.3:53", "no zones"])
        zone = {"zone": "bl.lab.example", "state": "lists-everything", "state6": "active", "weight_max": 5, "asked": 7, "answered": 6, "listed": 2,
                "errors": 1, "latency_ms": 4.0, "latency_max_ms": 31}
        self.check(ok({"resolvers": [{"server": "198.18.2.3:53", "state": "invents", "timeouts": 3}], "zones": [zone], "zones_off": True}),
                   ["dnsbl", "status"], {"cmd": "dnsbl status"}, shown=["lists-everything", "active", "31 ms", "invents", "ZONES ARE OFF"])

    def test_cert(self):
        row = {"certificate": "mx.example.org", "state": "kept", "in_use": True, "default": True, "key": "ECDSA 256", "names": ["mx.example.org", "example.org"],
               "not_after_at": 1700000000, "left_s": 86400 * 3, "spki_sha256": "ab" * 32, "why": "the key and the certificate do not belong together"}
        answer = {"folder": "/etc/greyline/tls", "generation": 3, "error": "", "note": "a note", "certificates": [row]}
        for words in (["cert", "list"], ["cert", "reload"]):
            self.check(ok(dict(answer, confirmed=True)), words, {"cmd": " ".join(words)},
                       shown=["mx.example.org", "example.org", "kept", "ECDSA 256", "ab" * 32, "do not belong together", "a note"])
        self.check(ok(dict(answer, confirmed=False)), ["cert", "reload"], {"cmd": "cert reload"}, shown=["not every worker"])
        self.check(ok({"folder": "/x", "certificates": [], "error": "cannot read /x", "note": ""}), ["cert", "list"], {"cmd": "cert list"},
                   shown=["no certificates", "cannot read /x"])
        found = {"severity": "error", "about": "mx.example.org", "text": "has expired"}
        self.check(ok({"well": False, "findings": [found]}), ["cert", "check"], {"cmd": "cert check"}, 1, shown=["error", "has expired"])
        self.check(ok({"well": True, "findings": [dict(found, severity="note")]}), ["cert", "check"], {"cmd": "cert check"}, shown=["note"])
        self.check(ok({"well": True, "findings": []}), ["cert", "check"], {"cmd": "cert check"}, shown=["all is well"])
        self.check(error("unavailable", "the data plane does not serve"), ["cert", "reload"], {"cmd": "cert reload"}, 3)

    def test_dnsbl_switch(self):
        for word, value in (("disable", True), ("enable", False)):
            self.check(ok({"zone": "bl.lab.example", "disabled": value}), ["dnsbl", word, "bl.lab.example"],
                       {"cmd": "dnsbl " + word, "args": {"zone": "bl.lab.example"}}, shown=["bl.lab.example", "yes" if value else "no"])
            self.check(error("not-found", "there is no zone x"), ["dnsbl", word, "x"], {"cmd": "dnsbl " + word, "args": {"zone": "x"}}, 1)

    def test_dns_cache(self):
        row = {"client": "192.0.2.1", "ptr_state": "confirmed", "ptr": "a.example", "score": 5, "zone": "bl.lab.example", "ttl_s": 90, "complete": True}
        self.check(ok({"entries": [row], "cached": 1}), ["dns", "cache", "show"], {"cmd": "dns cache show", "args": {}}, shown=["192.0.2.1", "bl.lab.example", "a.example"])
        self.check(ok({"entries": [], "cached": 0}), ["dns", "cache", "show", "--limit", "5"], {"cmd": "dns cache show", "args": {"limit": 5}},
                   shown=["nothing is cached"])
        self.check(ok({"removed": 3}), ["dns", "cache", "flush"], {"cmd": "dns cache flush", "args": {}}, shown=["3"])
        self.check(ok({"removed": 1}), ["dns", "cache", "flush", "192.0.2.1"], {"cmd": "dns cache flush", "args": {"client": "192.0.2.1"}}, shown=["1"])

    def test_backend(self):
        row = {"name": "mta1", "address": "198.18.1.3", "port": 25, "pool": "default", "client_address": "proxy_v2", "state": "up", "up": True,
               "extensions": ["PIPELINING", "SIZE"], "size": 40000000, "probed_at": 1700000000, "words": "220 mta"}
        self.check(ok({"backends": [row]}), ["backend", "list"], {"cmd": "backend list"}, shown=["mta1", "PIPELINING SIZE", "38.1 MiB", "220 mta"])
        self.check(ok({"backends": [row]}), ["backend", "probe", "mta1"], {"cmd": "backend probe", "args": {"backend": "mta1"}}, shown=["up"])
        for word in ("drain", "ready"):
            self.check(ok({"backends": [dict(row, state="drained")]}), ["backend", word, "mta1"],
                       {"cmd": "backend " + word, "args": {"backend": "mta1"}}, shown=["drained"])
            self.check(error("not-found", "there is no backend x"), ["backend", word, "x"], {"cmd": "backend " + word, "args": {"backend": "x"}}, 1)
        self.check(ok(row), ["backend", "probe", "mta1"], {"cmd": "backend probe", "args": {"backend": "mta1"}}, shown=["up"])

    def test_report(self):
        answer = {"since_at": 1700000000, "greylisted": 100, "passed": 60, "never_came_back": 38, "lapsed": 2, "delay_p50_s": 300, "delay_p95_s": 1800,
                  "rejected": 9, "refused_networks": [{"network": "203.0.113.0/24", "rule": 8, "rule_name": "client", "count": 9}]}
        self.check(ok(answer), ["report", "--limit", "3"], {"cmd": "report", "args": {"limit": 3}},
                   shown=["never came back", "38", "5m", "30m", "203.0.113.0/24"])

    def test_log_reopen(self):
        self.check(ok({}), ["log", "reopen"], {"cmd": "log reopen"})


class Everywhere(Asked):
    def test_json_is_the_raw_result(self):
        for args in (["--json", "status"], ["status", "--json"]):
            done = self.ask(ok(STATUS), *args)
            self.assertEqual(json.loads(done.stdout), STATUS)
            self.assertEqual(done.returncode, 0)

    def test_json_error(self):
        done = self.ask(error("not-found", "no such record"), "--json", "why", "04D2A0QF")
        self.assertEqual(json.loads(done.stdout), {"error": {"code": "not-found", "message": "no such record"}})
        self.assertEqual(done.returncode, 1)

    def test_exit_codes(self):
        for code, want in (("not-found", 1), ("usage", 2), ("bad-value", 2), ("unavailable", 3), ("of-the-future", 3)):
            self.assertEqual(self.ask(error(code, "x"), "status").returncode, want, code)

    def test_socket_from_the_environment(self):
        server = Server(pathlib.Path(self.folder.name), ok(STATUS))
        self.addCleanup(server.close)
        self.assertEqual(ctl("status", env={"GREYLINE_SOCKET": server.path}).returncode, 0)

    def test_nobody_there(self):
        done = ctl("--socket", self.folder.name + "/none", "status")
        self.assertEqual(done.returncode, 3)
        self.assertIn("is greyline-control running?", done.stderr)
        self.assertEqual(ctl("--socket", "x" * 200, "status").returncode, 3)

    def test_answers_that_are_none(self):
        for answer in (b"", b"{", b"nonsense\n", b"[]\n", b"{}\n", b'{"ok":1}\n', b'{"ok":true,"ok":false}\n', b'{"ok":false}\n', b'{"ok":false,"error":7}\n',
                       b"\xff\xfe\n", b"\0\0\n"):
            self.assertEqual(self.ask(answer, "status").returncode, 3, answer)

    def test_answers_of_other_shapes_print_something_and_never_crash(self):
        wild = [1, None, "x", [], {}]
        lists = {k: wild for k in ("entries", "options", "steps", "zones", "resolvers", "backends", "lists", "refused_networks", "waiting", "tcp")}
        for result in (None, "x", [], lists, dict.fromkeys(lists, 7), {"tcp": {"x": [1]}, "after": {}, "more": True, "verdict": [], "value": {}}):
            for args in (["status"], ["stats"], ["config"], ["config", "a"], ["grey", "list"], ["grey", "show", "04D2A0QF"], ["client", "show", "x"],
                         ["explain", "x"], ["why", "x"], ["dnsbl", "test", "x"], ["dnsbl", "status"], ["dnsbl", "disable", "x"], ["dns", "cache", "show"],
                         ["dns", "cache", "flush"], ["backend", "list"], ["backend", "probe", "x"],
                         ["report"], ["reload"], ["set", "a", "b"], ["client", "allow", "x"], ["client", "list"]):
                done = self.ask(ok(result), *args)
                self.assertEqual(done.returncode, 0, (result, args, done.stderr))

    def test_terminal_is_safe(self):
        done = self.ask(ok({"entries": [dict(ENTRY, sender="a\x1b[2J\u202e@x")]}), "grey", "list")
        self.assertIn("a\\x1B[2J\\xE2\\x80\\xAE@x", done.stdout)
        done = self.ask(error("not-found", "a\x1b[2J"), "status")
        self.assertNotIn("\x1b", done.stderr)
        self.assertTrue(all(c == "\n" or " " <= c <= "~" for c in done.stderr))

    def test_large_answers(self):
        entries = [dict(ENTRY, recipient="%05d@example.org" % i) for i in range(10000)]
        done = self.ask(ok({"entries": entries, "more": False}), "grey", "list", "--limit", "10000")
        self.assertEqual(len(done.stdout.splitlines()), 10001)


class Usage(unittest.TestCase):
    def test_wrong_arguments(self):
        for args in ([], ["bogus"], ["grey"], ["grey", "bogus"], ["status", "x"], ["set"], ["set", "a"], ["set", "a", "b", "c"], ["unset"], ["stats", "a", "b"],
                     ["grey", "show"], ["grey", "show", "a", "b"], ["grey", "del"], ["grey", "del", "a", "b"], ["grey", "del", "REF", "--sender", "x"], ["grey", "del", "--sender", "x", "--limit", "3"],
                     ["grey", "list", "x"], ["grey", "list", "--limit", "0"], ["grey", "list", "--limit", "x"], ["grey", "list", "--limit", ""],
                     ["dns", "cache", "show", "--limit", "many"], ["grey", "list", "--sender"],
                     ["grey", "list", "--bogus"], ["client", "show"], ["explain"], ["explain", "1", "2", "3", "4", "5"], ["why"], ["dnsbl", "test"],
                     ["dnsbl", "disable"], ["dnsbl", "enable", "a", "b"], ["dns"], ["dns", "cache", "flush", "a", "b"],
                     ["backend", "probe"], ["report", "--limit", "-1"], ["--socket"], ["db", "show", "nonsense!"], ["db", "list", "--kind", "x"],
                     ["db", "list", "--limit", "0"], ["help", "bogus"]):
            done = ctl(*args)
            self.assertEqual(done.returncode, 2, args)
            self.assertNotEqual(done.stderr, "", args)
            self.assertEqual(done.stdout, "", args)

    def test_help(self):
        self.assertEqual(ctl("help").returncode, 0)
        self.assertEqual(ctl("--help").stdout, ctl("help").stdout)
        for line in ctl("help").stdout.splitlines():
            if line.startswith("  "):
                words = line[2:17].split()
                for done in (ctl("help", *words), ctl(*words, "--help")):
                    self.assertEqual(done.returncode, 0, words)
                    self.assertTrue(done.stdout.startswith("usage: greylinectl " + " ".join(words)), words)
        self.assertIn("grey pass", ctl("help", "grey").stdout)


class Packaging(unittest.TestCase):
    """The man page and the completion name every command there is."""

    def commands(self):
        return [" ".join(line[2:17].split()) for line in ctl("help").stdout.splitlines() if line.startswith("  ")]

    def test_man_page_has_every_command_and_its_options(self):
        text = re.sub(r"\\f[RPBI]", "", (PACKAGING / "greylinectl.1").read_text()).replace("\\-", "-").replace('"', "")
        for words in self.commands():
            self.assertRegex(text, r"(?m)^\.BI? " + re.escape(words) + r"( |$)", words)
            synopsis = ctl("help", *words.split()).stdout.splitlines()[0].removeprefix("usage: greylinectl ")
            for word in re.findall(r"--[a-z-]+|[A-Z]{2,}", synopsis):
                entry = re.search(r"(?m)^\.BI? " + re.escape(words) + r"( .*|)$", text)[0]
                self.assertIn(word, entry, words)

    def test_man_page_is_well_formed(self):
        text = (PACKAGING / "greylinectl.1").read_text()
        for line in text.splitlines():
            if line.startswith("."):
                self.assertRegex(line, r'^\.(\\"|TH|SH|SS|TP|B|BI|BR|I|IR|RB|RI|PP|nf|fi|br)( |$)')
        self.assertEqual(text.count("\n.nf\n"), text.count("\n.fi\n"))
        if shutil.which("groff") is not None: # a second opinion where there is one
            done = subprocess.run(["groff", "-man", "-ww", "-z", "-Tascii", str(PACKAGING / "greylinectl.1")], capture_output=True, text=True,
                                  timeout=TIMEOUT_S)
            self.assertEqual(done.stderr, "")

    def complete(self, *words):
        script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _greylinectl; printf "%s\\n" "${COMPREPLY[@]}"'
        return subprocess.run(["bash", "-c", script, "bash", str(PACKAGING / "greylinectl.bash-completion"), "greylinectl", *words],
                              capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout.split()

    def test_completion_has_every_command(self):
        for words in self.commands():
            first, *rest = words.split()
            self.assertIn(first, self.complete(first[:-1]), words)
            if rest:
                self.assertIn(rest[0], self.complete(first, rest[0][:-1]), words)
        self.assertEqual(self.complete("--json", "grey", "li"), ["list"])
        self.assertIn("--after", self.complete("grey", "list", "--"))
        self.assertEqual(self.complete("grey", "list", "--state", "w"), ["white"])


class Database(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = self.folder.name + "/greyline.mdb"

    def make(self, *more):
        subprocess.run([MAKE_DB, self.path, *more], check=True, timeout=TIMEOUT_S)

    def db(self, *args):
        return ctl("db", *args, "--state-dir", self.folder.name)

    def test_stats(self):
        self.make()
        done = self.db("stats")
        self.assertEqual(done.returncode, 0, done.stderr)
        for text in ("current", "2023-11-14 22:13:19", "entries", "3", "names", "options", "why"):
            self.assertIn(text, done.stdout)
        self.assertEqual(json.loads(self.db("stats", "--json").stdout)["tables"]["entries"], 3)

    def test_the_secret_is_never_shown(self):
        self.make()
        for args in (["stats"], ["list", "--kind", "all"], ["check"], ["options"], ["backends"]):
            for more in ([], ["--json"]):
                out = self.db(*args, *more).stdout.lower()
                self.assertNotIn("5ec7", out)
                self.assertNotIn(str(0x5ec7e75ec7e75ec7), out)

    def test_list(self):
        self.make()
        done = self.db("list")
        self.assertIn("alice@sender.example", done.stdout)
        self.assertIn("bob\\x1B[2J@example.org", done.stdout)
        self.assertIn("192.0.2.0", done.stdout)
        rows = json.loads(self.db("list", "--json").stdout)["entries"]
        self.assertEqual([(r["ref"], r["state"]) for r in rows], [("04HMASW9", "white"), ("ZVEBN63P", "grey")])
        self.assertEqual(rows[1]["lapsed"], 2)
        rows = json.loads(self.db("list", "--kind", "client", "--json").stdout)["entries"]
        self.assertEqual(rows, [{"kind": "client", "score": 7, "at": 1700000050}])
        self.assertEqual(len(json.loads(self.db("list", "--kind", "all", "--json").stdout)["entries"]), 3)
        limited = json.loads(self.db("list", "--limit", "1", "--json").stdout)
        self.assertTrue(limited["more"])
        self.assertEqual(len(limited["entries"]), 1)

    def test_show(self):
        self.make()
        self.assertIn("alice@sender.example", self.db("show", "04HMASW9").stdout)
        done = self.db("show", "24H36H2N")
        self.assertIn("203.0.113.9", done.stdout)
        self.assertIn("554 5.7.1 no", done.stdout)
        self.assertEqual(self.db("show", "00000001").returncode, 1)

    def test_options_and_backends(self):
        self.make()
        self.assertIn("greylist.block", self.db("options").stdout)
        self.assertIn("10m", self.db("options").stdout)
        self.assertIn("220 mta.example ESMTP", self.db("backends").stdout)
        self.assertIn("38.1 MiB", self.db("backends").stdout)

    def test_check(self):
        self.make()
        self.assertEqual(self.db("check").returncode, 0)
        os.unlink(self.path)
        self.make("damaged")
        self.assertEqual(self.db("check").returncode, 1)
        self.assertIn("1 damaged", self.db("list").stdout)

    def test_no_file_or_no_database(self):
        self.assertEqual(self.db("stats").returncode, 3)
        pathlib.Path(self.path).write_bytes(b"this is no database" * 1000)
        done = self.db("stats")
        self.assertEqual(done.returncode, 3)
        self.assertIn("greylinectl: ", done.stderr)

    def test_cut_file(self):
        self.make()
        octets = pathlib.Path(self.path).read_bytes()
        for cut in (4096, 8192, 12288, len(octets) // 2):
            pathlib.Path(self.path).write_bytes(octets[:cut])
            for args in (["stats"], ["list"], ["check"]):
                done = self.db(*args)
                self.assertIn(done.returncode, (0, 1, 3), (cut, args, done.stderr))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[4:]])
