"""TLS at the gateway, seen from outside: versions and keys, clients of all kinds, certificates that change, TLS to the backend."""
import json
import os
import re
import shutil
import ssl
import threading
import time

from lab import addresses as a
from lab import certs

from .harness import TLS_BAD_PORT, case
from .smtp import Closed, Session, stuffed

ONCE = dict(variants=("packet", "packet2", "sanitized"), families=(None,))


def _context(t, verify=True, ciphers=None, lowest=None, highest=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if verify:
        context.load_verify_locations(t.lab.path("ca", "ca.pem"))
    else:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if ciphers:
        context.set_ciphers(ciphers)
    context.minimum_version = lowest or ssl.TLSVersion.TLSv1_2
    context.maximum_version = highest or ssl.TLSVersion.MAXIMUM_SUPPORTED
    return context


def _s_client(t, *words, source=None, port=a.SMTP_PORT):
    source = source or t.allowed(5)
    dest = t.gateway if ":" not in t.gateway else "[%s]" % t.gateway
    if ":" in source:
        source = "[%s]" % source
    starttls = ("-starttls", "smtp", "-name", "client.lab.example") if port != 465 else ()
    return t.lab.net.exec("client", "openssl", "s_client", "-connect", "%s:%d" % (dest, port), "-bind", source + ":0", *starttls,
                          "-CAfile", t.lab.path("ca", "ca.pem"), *words, check=False, text="QUIT\r\n")


def _ctl_json(t, *words, check=True):
    done = t.lab.ctl("--json", *words, check=check)
    return json.loads(done.stdout)


@case("STARTTLS: every version, cipher and kind of key; older ones by option alone", variants=("packet", "xdp", "sanitized"), families=(4, 6))
def matrix(t):
    rows = (
        (("-tls1_3",), "TLSv1.3", "TLS_AES_256_GCM_SHA384", "ECDSA"),
        (("-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"), "TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256", "ECDSA"),
        (("-tls1_3", "-sigalgs", "RSA-PSS+SHA256"), "TLSv1.3", "TLS_AES_256_GCM_SHA384", "RSA-PSS"),
        (("-tls1_3", "-groups", "P-384"), "TLSv1.3", "TLS_AES_256_GCM_SHA384", "ECDSA"),
        (("-tls1_2",), "TLSv1.2", "ECDHE-ECDSA-AES", "ECDSA"),
        (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), "TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256", "RSA"),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"), "TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDSA"),
        (("-tls1_2", "-cipher", "AES128-SHA"), "TLSv1.2", "AES128-SHA", None),
    )
    for words, version, cipher, key in rows:
        out = _s_client(t, "-servername", certs.GATEWAY_NAME, "-verify_return_error", "-verify_hostname", certs.GATEWAY_NAME, *words)
        what = " ".join(words)
        t.check("Verify return code: 0 (ok)" in out, "%s: verified: %s" % (what, out[-1500:]))
        t.check(version in out and cipher in out, "%s: %s %s: %s" % (what, version, cipher, out[-1500:]))
        t.check(key is None or re.search("Peer signature type: .*%s" % key, out), "%s: signed by %s: %s" % (what, key, out[-1500:]))
    for words in (("-tls1",), ("-tls1_1",)):
        out = _s_client(t, *words, "-cipher", "ALL:@SECLEVEL=0")
        t.check("Cipher is (NONE)" in out or "alert" in out, "%s is refused: %s" % (words[0], out[-800:]))
    if t.family == 4:
        t.lab.ctl("set", "tls.min_version", "1.0")
        try:
            for words, version in ((("-tls1",), "TLSv1"), (("-tls1_1",), "TLSv1.1")):
                t.wait("%s by option" % words[0], lambda: re.search(r"Protocol *: %s\b|New, %s," % (version, version), _s_client(
                    t, *words, "-cipher", "ALL:@SECLEVEL=0")), 5)
        finally:
            t.lab.ctl("unset", "tls.min_version")


@case("SNI: exact name, wildcard, another name's certificate, an unknown name and none", **ONCE)
def sni(t):
    t.family = 4
    for name, subject in ((certs.GATEWAY_NAME, certs.GATEWAY_NAME), (certs.OTHER_NAME, certs.OTHER_NAME),
                          (certs.OTHER_NAME.upper(), certs.OTHER_NAME), ("a.wild.lab.example", certs.GATEWAY_NAME),
                          ("a.b.wild.lab.example", certs.GATEWAY_NAME), ("nobody.example", certs.GATEWAY_NAME), (None, certs.GATEWAY_NAME)):
        out = _s_client(t, *(("-servername", name) if name else ("-noservername",)))
        t.check(re.search(r"subject=CN ?= ?%s" % re.escape(subject), out), "%s gets %s: %s" % (name, subject, out[-1500:]))


@case("what was said before TLS is forgotten, octets behind STARTTLS are dropped, STARTTLS twice is refused",
      variants=("packet", "packet2", "xdp", "sanitized"))
def state_reset(t):
    context = _context(t)
    with t.session(t.allowed(6)) as s:
        t.check("STARTTLS" in str(s.open()), "STARTTLS is offered")
        t.code("MAIL in plain text", s.ask("MAIL FROM:<%s>" % t.sender()), 250)
        s.send(b"STARTTLS\r\nMAIL FROM:<evil@from-x.example>\r\nRCPT TO:<ok@sink.example>\r\n")
        t.code("STARTTLS", s.reply(), 220)
        s.socket = context.wrap_socket(s.socket, server_hostname=certs.GATEWAY_NAME)
        s.socket.settimeout(10)
        t.code("no transaction is left, nor a greeting", s.ask("RCPT TO:<ok@sink.example>"), 503)
        ehlo = s.ask("EHLO client.lab.example")
        t.check("STARTTLS" not in str(ehlo), "not offered again: %s" % ehlo)
        t.code("STARTTLS twice", s.ask("STARTTLS"), 503)
        t.code("MAIL", s.ask("MAIL FROM:<%s>" % t.sender()), 250)
        t.code("QUIT", s.ask("QUIT"), 221)
        t.equal("an orderly end", s.socket.recv(10), b"")


@case("messages of every shape pass octet for octet under TLS, and the log has version and cipher",
      variants=("packet", "packet2", "xdp", "sanitized"), limit_s=120)
def integrity(t):
    for lowest, highest in ((ssl.TLSVersion.TLSv1_3, None), (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)):
        context = _context(t, lowest=lowest, highest=highest)
        mark = t.log.mark()
        for size in (0, 1, 1000, 16383, 16384, 16385, 300000, 4000000 if t.family == 4 else 100000):
            sender, line = t.sender(), os.urandom(30).hex().encode() + b"\r\n"
            content = (b"Subject: x\r\n\r\n" + line * (size // len(line) + 1))[:max(size - 2, 0)]
            content = (content[:-1] + b"x" if content.endswith(b"\r") else content) + b"\r\n"
            attempt = t.deliver(t.allowed(7), sender, "ok@sink.example", content, tls=context, name=certs.GATEWAY_NAME)
            t.check(attempt.accepted, "%d octets: %s" % (size, attempt))
            found = t.sink.find(sender=sender, complete=True)
            t.equal("%d octets: messages" % size, len(found), 1)
            t.check(found[0].wire + b".\r\n" == stuffed(content), "%d octets arrive as they were sent" % size)
        rows = t.log.find("rcpt", mark)
        t.check(rows and all(re.match(r"TLSv1\.[23]:\S+", r.get("tls", "")) for r in rows), "tls= in the log: %s" % [r.line for r in rows[:2]])


@case("a stranger under TLS is greylisted and passes as in plain text; a listed one is refused", variants=("packet", "packet2"), families=(6,))
def policy_under_tls(t):
    context, source, sender, word = _context(t), t.stranger(), t.sender(), t.word("tls")
    first = t.deliver(source, sender, "alice@example.org", t.content(word), tls=context, name=certs.GATEWAY_NAME)
    t.check(first.last is not None and first.last.seconds is not None, "greylisted: %s" % first)
    time.sleep(first.last.seconds)
    second = t.deliver(source, sender, "alice@example.org", t.content(word), tls=context, name=certs.GATEWAY_NAME)
    t.check(second.accepted, "passes: %s" % second)
    t.equal("delivered", t.maildir.content(t.maildir.raw(word.encode())[0]), t.content(word))
    refused = t.deliver(t.client("listed"), t.sender(), "alice@example.org", t.content(word), tls=context, name=certs.GATEWAY_NAME)
    t.check(refused.last.code == 554, "listed: %s" % refused)


@case("clients: swaks --tls, Python's smtplib, posttls-finger by CA, by name and by fingerprint", variants=("packet", "xdp"), families=(4, 6))
def clients(t):
    word = t.word("swaks")
    out = t.lab.net.exec("client", "swaks", "--server", t.gateway, "--local-interface", t.allowed(4), "--from", t.sender(), "--to",
                         "alice@example.org", "--helo", "swaks.lab.example", "--header", "Subject: " + word, "--tls", "--tls-verify",
                         "--tls-ca-path", t.lab.path("ca", "ca.pem"), "--tls-sni", certs.GATEWAY_NAME, "--timeout", "30s",
                         *(["-6"] if t.family == 6 else []), check=False)
    t.check(re.search(r"<~\s+250 2\.0\.0 Ok: queued as", out), "swaks says: %s" % out)
    t.equal("delivered", len(t.maildir.raw(word.encode())), 1)
    import smtplib
    word = t.word("smtplib")
    with t.session(t.allowed(4)) as s:
        client = smtplib.SMTP(local_hostname="python.lab.example")
        client.sock, client._host = s.socket, certs.GATEWAY_NAME
        client.getreply()
        client.starttls(context=_context(t))
        client.sendmail(t.sender(), ["alice@example.org"], t.content(word).replace(b"\r\n", b"\n"))
        client.quit()
    t.equal("smtplib delivered", len(t.maildir.raw(word.encode())), 1)
    host = "[%s]" % t.gateway
    with open(t.lab.path("tls", "gw-ecdsa", "fullchain.pem")) as f:
        chain = f.read()
    digest = certs.Pair(chain, "").sha256
    digest = ":".join(digest[i:i + 2] for i in range(0, 64, 2)).upper()
    for words, want in ((("-l", "secure", "-F", "/lab/ca/ca.pem", host, certs.GATEWAY_NAME), "Verified TLS connection established"),
                        (("-l", "secure", "-F", "/lab/ca/ca.pem", host, "other.example"), "hostname mismatch"),
                        (("-l", "fingerprint", "-d", "sha256", host, digest), "Verified TLS connection established"),
                        (("-l", "fingerprint", "-d", "sha256", host, "00:" * 31 + "00"), "[Uu]ntrusted|not verified")):
        out = t.lab.in_root("client", "/usr/sbin/posttls-finger", "-c", "-t", "20", "-o", "inet_protocols=ipv%d" % t.family, *words, check=False)
        t.check(re.search(want, out), "posttls-finger %s: %s" % (" ".join(words), out))


@case("Postfix as sender: levels may, encrypt, secure and fingerprint deliver, a wrong fingerprint does not", variants=("packet",), families=(None,),
      limit_s=120)
def postfix_levels(t):
    with open(t.lab.path("tls", "gw-ecdsa", "fullchain.pem")) as f:
        digest = certs.Pair(f.read(), "").sha256
    digest = ":".join(digest[i:i + 2] for i in range(0, 64, 2)).upper()
    hop = "[%s]:%d" % (a.GATEWAY4, a.SMTP_PORT)
    t.family = 4
    t.lab.ctl("client", "allow", a.client4("sender") + "/32")
    try:
        for level, delivered in (("may", True), ("encrypt", True), ("secure match=" + certs.GATEWAY_NAME, True),
                                 ("fingerprint match=" + digest, True),
                                 ("fingerprint match=" + "00:" * 31 + "00", False)):
            word = t.word("level")
            mark = t.log.mark()
            t.lab.stop("sender")        # its programs have read the table
            certs.write(t.lab.path("sender", "tls"), "%s %s\n" % (hop, level))
            t.lab.start("sender")
            t.wait("the sender", lambda: os.path.exists(t.lab.path("sender", "spool", "public", "pickup")))
            sender = t.word("x").rstrip("0123456789") + "@sender.lab.example"
            t.lab.in_root("client", "/usr/sbin/sendmail", "-C", "/lab/sender", "-f", sender, "alice@example.org",
                          text="Subject: %s\n\nunder %s\n" % (word, level.split()[0]))
            raw = t.maildir.raw(word.encode(), wait_s=30 if delivered else 4)
            t.equal("%s: delivered" % level, len(raw), 1 if delivered else 0)
            rows = t.log.find("rcpt", mark, wait_s=1)
            t.check(all(r.get("tls", "").startswith("TLSv1.3:") for r in rows) and (rows or not delivered), "%s: under TLS: %s" % (level, [r.line for r in rows]))
    finally:
        certs.write(t.lab.path("sender", "tls"), "")
        t.lab.in_root("client", "/usr/sbin/postsuper", "-c", "/lab/sender", "-d", "ALL", check=False)
        t.lab.stop("sender")
        t.lab.ctl("client", "forget", a.client4("sender") + "/32", check=False)


def _offered(t, source):
    with t.session(source) as s:
        return "STARTTLS" in str(s.open())


@case("STARTTLS is hidden, by option, after two failed handshakes, from that address alone and never from one that completed one",
      variants=("packet", "packet2", "xdp2", "sanitized"), limit_s=90)
def hidden(t):
    def fail_twice(source):
        for _ in range(2):
            out = _s_client(t, "-verify_return_error", "-verify_hostname", "nobody.example", source=source)
            t.check("Hostname mismatch" in out or "hostname mismatch" in out, "openssl turns away: %s" % out[-800:])
        # OpenSSL is gone before its alert has been looked at
        time.sleep(0.3)

    broken, other, good = t.stranger(), t.stranger(), t.stranger()
    fail_twice(broken)
    t.check(_offered(t, broken), "the option is off by default")
    mark = t.log.mark()
    t.lab.ctl("set", "tls.hide_after_failures", "true")
    try:
        t.check("Verify return code: 0 (ok)" in _s_client(t, "-servername", certs.GATEWAY_NAME, source=good), "a good client")
        fail_twice(broken)
        t.wait("hidden", lambda: not _offered(t, broken), 5)
        t.check(_offered(t, other), "another address is offered it")
        attempt = t.deliver(broken, t.sender(), "alice@example.org", t.content(t.word("plain")))
        t.check(attempt.last is not None and attempt.last.code == 451, "in plain text it is a stranger like any other: %s" % attempt)
        t.check(t.log.find("rcpt", mark, client=broken, tls="hidden"), "tls=hidden in the log")
        told = [e for e in t.log.find("notice", mark, client=broken) if "STARTTLS is hidden" in e.line]
        t.equal("told once", len(told), 1)
        known = _ctl_json(t, "explain", broken)["starttls"]
        t.equal("explain", (known["hidden"], known["handshakes"]), ("yes", "failed twice"))
        t.check(0 < known["left_s"] <= 600, "for ten minutes at most: %s" % known)
        t.check("STARTTLS hidden" in t.lab.ctl("explain", broken).stdout, "for people, too")
        counts = _ctl_json(t, "stats", "tls")["tls"]
        t.check(counts["hides"] >= 1 and counts["hidden"] >= 2, "counted: %s" % counts)
        fail_twice(good)
        t.check(_offered(t, good), "one that completed a handshake is never touched")
        t.equal("explain", _ctl_json(t, "explain", good)["starttls"]["handshakes"], "completed")
        t.lab.ctl("client", "forget", broken)
        t.check(_offered(t, broken), "the operator forgets")
    finally:
        t.lab.ctl("unset", "tls.hide_after_failures")


def _restore(t, kept):
    shutil.rmtree(t.lab.path("tls"))
    shutil.copytree(kept, t.lab.path("tls"))
    shutil.rmtree(kept)
    t.lab.ctl("cert", "reload", check=False)


def _keep(t):
    kept = t.lab.path("tls.kept")
    shutil.copytree(t.lab.path("tls"), kept)
    return kept


def _row(t, label):
    return next(r for r in _ctl_json(t, "cert", "list")["certificates"] if r["certificate"] == label)


@case("a bad pair keeps the good one; cert list, check, reload and status say what is wrong, and it is mended unasked", **ONCE)
def bad_pair(t):
    t.family = 4
    kept = _keep(t)
    authority = certs.Authority(t.lab.path("ca"))
    try:
        before = _row(t, "gw-ecdsa")
        t.equal("in use", before["state"], "in use")
        errors = [f["about"] for f in json.loads(t.lab.ctl("--json", "cert", "check", check=False).stdout)["findings"] if f["severity"] == "error"]
        t.equal("check complains of the one backend that the lab gives a wrong fingerprint", errors, ["tlsbadpin1"])
        certs.write(t.lab.path("tls", "gw-ecdsa", "privkey.pem"), authority.pair(["x.example"]).key, 0o400)
        after = next(r for r in _ctl_json(t, "cert", "reload")["certificates"] if r["certificate"] == "gw-ecdsa")
        t.equal("kept", (after["state"], after["cert_sha256"]), ("kept", before["cert_sha256"]))
        t.check("do not belong together" in after["why"], "why: %s" % after["why"])
        done = t.lab.ctl("cert", "check", check=False)
        t.equal("check complains", done.returncode, 1)
        t.check("gw-ecdsa" in done.stdout and "do not belong together" in done.stdout, done.stdout)
        t.check("gw-ecdsa" in t.lab.ctl("status", check=False).stdout, "an alarm in status")
        out = _s_client(t, "-servername", certs.GATEWAY_NAME, "-tls1_3")
        t.check("Verify return code: 0 (ok)" in out and "ECDSA" in out, "the old one serves: %s" % out[-800:])
        os.chmod(t.lab.path("tls", "gw-rsa", "privkey.pem"), 0o644)
        t.wait("readable by all", lambda: "mode 0644" in _row(t, "gw-rsa")["why"], 6)
        for name in os.listdir(t.lab.path("tls")):
            shutil.rmtree(t.lab.path("tls", name))
        t.lab.ctl("cert", "reload")
        t.check("no usable pair any more" in t.lab.ctl("cert", "list").stdout, "an emptied folder is told")
        out = _s_client(t, "-servername", certs.GATEWAY_NAME)
        t.check("Verify return code: 0 (ok)" in out, "and takes nothing away: %s" % out[-800:])
        certs.install(t.lab.path("tls"), "gw-ecdsa", authority.pair([certs.GATEWAY_NAME]))
        t.wait("a good one comes in by itself", lambda: _row(t, "gw-ecdsa")["state"] == "in use"
               and _row(t, "gw-ecdsa")["cert_sha256"] != before["cert_sha256"], 8)
        t.check("no private key is told of", "PRIVATE" not in t.lab.ctl("--json", "cert", "list").stdout)
    finally:
        _restore(t, kept)


@case("certificates replaced while clients shake hands: none fails, both are seen", limit_s=90, **ONCE)
def replaced(t):
    t.family = 4
    kept = _keep(t)
    authority = certs.Authority(t.lab.path("ca"))
    pairs = [authority.pair([certs.GATEWAY_NAME]) for _ in range(2)]
    seen, failures, stop = {}, [], threading.Event()

    def shake(host):
        context = _context(t)
        while not stop.is_set():
            try:
                with Session(t.lab, t.allowed(host), dest=t.gateway, wait_s=20) as s:
                    s.open()
                    s.starttls(context, certs.GATEWAY_NAME)
                    der = s.socket.getpeercert(binary_form=True)
                    seen[der] = seen.get(der, 0) + 1
                    s.ask("QUIT")
            except (Closed, OSError) as error:
                failures.append(str(error))

    threads = [threading.Thread(target=shake, args=(20 + i,)) for i in range(4)]
    try:
        for thread in threads:
            thread.start()
        for i in range(8):
            certs.install(t.lab.path("tls"), "gw-ecdsa", pairs[i % 2])
            t.lab.ctl("cert", "reload")
            time.sleep(0.3)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        _restore(t, kept)
    t.equal("failed handshakes", failures[:3], [])
    t.check(all(p.der in seen for p in pairs), "both certificates were seen: %s" % list(seen.values()))
    t.notes.append("%d handshakes" % sum(seen.values()))


@case("TLS to the backend: may, require, CA, name, fingerprint; what does not fit is 451 and never plain text", variants=("packet", "packet2", "sanitized"),
      families=(None,))
def to_backend(t):
    t.family = 4
    for domain, version in (("tlsmay.example", True), ("tlsca.example", True), ("tlspin.example", True), ("example.org", False)):
        word = t.word("backendtls")
        attempt = t.deliver(t.allowed(3), t.sender(), "alice@" + domain, t.content(word))
        t.check(attempt.accepted, "%s: %s" % (domain, attempt))
        raw = t.maildir.raw(word.encode())
        t.equal("%s: under TLS" % domain, b"using TLSv1.3" in raw[0], version)
        t.equal("%s: content" % domain, t.maildir.content(raw[0]), t.content(word))
        t.check("[%s]" % t.allowed(3) in t.maildir.received(raw[0]), "%s: the client's address: %s" % (domain, t.maildir.received(raw[0])))
    for domain in ("tlsbadname.example", "tlsbadpin.example", "tlsbadca.example", "tlssink.example"):
        attempt = t.deliver(t.allowed(3), t.sender(), "alice@" + domain, b"x\r\n", port=TLS_BAD_PORT)
        t.check(attempt.last.code == 451, "%s: %s" % (domain, attempt))


@case("backends that demand TLS are asked inside it: health, extensions, open relays; PROXY and XCLIENT before and behind STARTTLS",
      variants=("packet", "packet2", "sanitized"), families=(None,), limit_s=120)
def probes_inside_tls(t):
    t.family = 4

    def found(name):
        return next(b for b in _ctl_json(t, "backend", "list")["backends"] if b["name"] == name)

    for name in ("tlsdemand1", "tlsxclient1", "tlsmay1", "tlspin1"):
        b = t.wait("%s is up" % name, lambda: found(name) if found(name)["state"] == "up" else None, 20)
        t.check(b["under_tls"] and "8BITMIME" in b["extensions"] and b["size"] == 40000000, "%s was asked under TLS: %s" % (name, b))
        t.check("relaytest_at" in b, "%s was tested as a stranger: %s" % (name, b))
    plain = found("mta1")
    t.check(plain["state"] == "up" and not plain["under_tls"], "tls = never stays plain: %s" % plain)
    b = t.wait("the open relay is found out", lambda: found("tlsopen1") if found("tlsopen1")["state"] == "open-relay" else None, 20)
    t.check("mynetworks" in b["words"] + b["advice"], "and says what to do: %s" % b)
    for name, words in (("tlsbadname1", "tls-unverified"), ("tlsbadpin1", "tls-unverified"), ("tlsbadca1", "tls-unverified"),
                        ("tlssink1", "STARTTLS is not offered")):
        b = t.wait("%s is down" % name, lambda: found(name) if found(name)["state"] == "down" else None, 40)
        t.check(words in b["words"], "%s says why: %s" % (name, b["words"]))
    for domain in ("tlsdemand.example", "tlsxclient.example"):
        word = t.word("demand")
        attempt = t.deliver(t.allowed(3), t.sender(), "alice@" + domain, t.content(word))
        t.check(attempt.accepted, "%s: %s" % (domain, attempt))
        raw = t.maildir.raw(word.encode())
        t.check(b"using TLSv1.3" in raw[0], "%s: under TLS" % domain)
        t.check("[%s]" % t.allowed(3) in t.maildir.received(raw[0]), "%s: the client's address: %s" % (domain, t.maildir.received(raw[0])))
    attempt = t.deliver(t.allowed(3), t.sender(), "alice@tlsopen.example", b"x\r\n", port=TLS_BAD_PORT)
    t.check(attempt.last.code == 451, "no session with an open relay: %s" % attempt)


@case("cert check asks the MTA itself: its own key, another one, ours, none there", variants=("packet", "sanitized"), families=(None,), limit_s=120)
def cert_check(t):
    t.family = 4
    kept, mta = _keep(t), t.lab.path("mta", "tls.pem")
    with open(mta) as f:
        mta_before = f.read()

    def checked():
        done = t.lab.ctl("--json", "cert", "check", check=False)
        result = json.loads(done.stdout)
        return done.returncode, result, [f for f in result["findings"] if f["about"] == "mta1"]

    def mta_shows(text):
        certs.write(mta, text, 0o600)
        t.lab.stop("mta")
        t.lab.start("mta")
        t.wait("the MTA", lambda: t.lab.banner("mta", a.BACKEND4, a.MTA_PORT_PLAIN))

    try:
        code, result, about = checked()
        t.check(about and all(f["severity"] == "note" for f in about), "nobody is spliced to it: notes alone: %s" % about)
        wrong = [f for f in result["findings"] if f["about"] == "tlsbadpin1"]
        t.check(code == 1 and "none of its tls_fingerprints" in wrong[0]["text"], "a fingerprint that nothing fits is an error: %s" % wrong)
        row = next(m for m in result["mtas"] if m["backend"] == "mta1" and m["key"] == "ECDSA 256")
        digest = t.lab.net.exec("client", "sh", "-c", "openssl x509 -in %s -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum" % mta).split()[0]
        t.equal("its key, as TLSA 3 1 1 has it", row["spki_sha256"], digest)
        t.check(not row["same"] and not row["spliced"] and row["names"].split()[0] == certs.MTA_NAME, "what it shows: %s" % row)
        t.lab.ctl("set", "smtp.known_clients", "splice")
        code, result, about = checked()
        ours = next(r for r in _ctl_json(t, "cert", "list")["certificates"] if r["certificate"] == "gw-ecdsa")["spki_sha256"]
        t.equal("spliced: a warning", (code, about[0]["severity"]), (1, "warning"))
        text = " ".join(f["text"] for f in about)
        t.check("TLSA must list both" in text and digest in text and ours in text, "both digests: %s" % text)
        t.check("is not for %s" % certs.GATEWAY_NAME in text, "and the names: %s" % text)
        out = t.lab.ctl("cert", "check", check=False)
        t.check(out.returncode == 1 and "TLSA must list both" in out.stdout and digest in out.stdout, "as text: %s" % out.stdout)
        # both of our keys at the MTA, as one who splices has to have it; the other name's certificate is not there
        shutil.rmtree(t.lab.path("tls", "mx2"))
        t.lab.ctl("cert", "reload")
        text = ""
        for label in ("gw-ecdsa", "gw-rsa"):
            for name in ("privkey.pem", "fullchain.pem"):
                with open(t.lab.path("tls", label, name)) as f:
                    text += f.read()
        mta_shows(text)
        code, result, about = checked()
        t.equal("our keys: nothing to say of it", about, [])
        rows = [m for m in result["mtas"] if m["backend"] == "mta1" and m["name"] == certs.GATEWAY_NAME]
        t.equal("ECDSA and RSA were compared", sorted(m["key"] for m in rows if m["same"] and m["holds_name"]), ["ECDSA 256", "RSA 2048"])
        t.lab.stop("mta")
        code, result, about = checked()
        t.equal("no MTA: an error", (code, [f["severity"] for f in about]), (1, ["error"]))
        t.check("could not be asked" in about[0]["text"], "why: %s" % about)
    finally:
        t.lab.ctl("unset", "smtp.known_clients", check=False)
        t.lab.start("mta") if not t.lab.banner("mta", a.BACKEND4, a.MTA_PORT_PLAIN) else None
        mta_shows(mta_before)
        _restore(t, kept)
        t.wait("mta1 is up again", lambda: next(b for b in _ctl_json(t, "backend", "list")["backends"] if b["name"] == "mta1")["state"] == "up", 40)
