"""How each sender is made to send: real MTAs get the message on a port of their own and do the rest by themselves."""
import base64
import json
import os
import re
import shutil
import threading
import time

from e2e.smtp import Session, stuffed
from lab import addresses as a
from lab import exim, haproxy, mta, opensmtpd

from . import roads

INJECTION = {"postfix": mta.SENDER_PORT, "exim": exim.SENDER_PORT, "opensmtpd": opensmtpd.SENDER_PORT}
SWAKS_ATTEMPTS_MAX = 20
SWAKS_AT_ONCE = 3


def target(send):
    """(address, port) the sender connects to."""
    if send.kind.startswith("haproxy"):
        return (a.ROUTER4 if send.family == 4 else a.ROUTER6), haproxy.PORTS["v" + send.kind[-1]]
    return a.gateway(send.family), roads.LISTENERS[send.backend]


def _source(send):
    return roads.SENDERS[send.sender][0 if send.family == 4 else 1]


def inject(lab, rows):
    """Give each row to its MTA's queue."""
    for send in rows:
        with Session(lab, None, dest="127.0.0.1", port=INJECTION[send.sender], wait_s=30) as s:
            s.open("user.lab.example")
            commands = [" ".join(["MAIL FROM:<%s>" % send.mail_from] + send.mail_options)]
            commands += [" ".join(["RCPT TO:<%s>" % r] + send.rcpt_options) for r in send.recipients] + ["DATA"]
            for command in commands:
                reply = s.ask(command)
                if reply.code not in (250, 354):
                    raise RuntimeError("%s: its own MTA says to '%s': %s" % (send.name, command, reply))
            s.send(stuffed(send.content))
            reply = s.reply()
            if reply.code != 250:
                raise RuntimeError("%s: its own MTA says after the dot: %s" % (send.name, reply))
            s.ask("QUIT")


def run_smtplib(lab, rows, starttls=False):
    """All rows in one process inside the root; it waits and retries by itself."""
    shutil.copy(os.path.join(os.path.dirname(__file__), "smtplib_sender.py"), lab.path("smtplib_sender.py"))
    wanted = []
    for send in rows:
        host, port = target(send)
        wanted.append(dict(marker=send.marker, kind=send.kind, host=host, port=port, source=_source(send),
                           mail_from=send.mail_from, recipients=send.recipients, mail_options=send.mail_options,
                           rcpt_options=send.rcpt_options, starttls=starttls, content=base64.b64encode(send.content).decode()))
    out = lab.in_root("client", "/usr/bin/python3", "/lab/smtplib_sender.py", text=json.dumps(wanted), root="clients",
                      timeout=600)
    results = {r["marker"]: r for r in json.loads(out)}
    for send in rows:
        send.result.update(results[send.marker])
        if "error" in send.result:
            send.fail(send.result["error"])


def _swaks_once(lab, send, starttls):
    host, port = target(send)
    argv = ["/usr/bin/swaks", "--server", host, "--port", str(port), "--local-interface", _source(send), "--helo", "swaks.lab.example",
            "--from", send.mail_from, "--to", ",".join(send.recipients), "--timeout", "60s", "--no-data-fixup", "--hide-send",
            "--data", "@/lab/swaks/" + send.marker]
    if send.kind == "many":
        argv.append("--pipeline")
    if send.family == 6:
        argv.append("-6")
    if starttls:
        argv.append("--tls-optional")
    return lab.in_root("client", *argv, check=False, root="clients", timeout=300)


def _swaks(lab, send, starttls):
    with open(lab.path("swaks", send.marker), "wb") as f:
        f.write(stuffed(send.content)[:-2])             # swaks adds the last line end, and nothing else
    send.result["attempts"] = 0
    while send.result["attempts"] < SWAKS_ATTEMPTS_MAX:
        send.result["attempts"] += 1
        out = _swaks_once(lab, send, starttls)
        found = re.search(r"451 4\.7\.1 Greylisted, please try again in (\d+) seconds", out)
        if not found:
            break
        time.sleep(int(found.group(1)))
    if not re.search(r"^<[-~*]\*?\s+250 .*\n(?:.*\n)*<[-~*]\*?\s+221 ", out, re.M):
        send.fail("swaks says: %s" % out[-300:])


def run_swaks(lab, rows, starttls=False):
    os.makedirs(lab.path("swaks"), exist_ok=True)
    left, lock = iter(rows), threading.Lock()

    def work():
        while True:
            with lock:
                send = next(left, None)
            if send is None:
                return
            try:
                _swaks(lab, send, starttls)
            except Exception as error:
                send.fail("swaks: %s" % error)
    threads = [threading.Thread(target=work) for _ in range(SWAKS_AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
