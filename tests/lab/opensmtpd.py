"""Configurations of OpenSMTPD: the MTA behind the gateway, and the sender on the client's side. Root "opensmtpd".

The places of its queue and its control socket are built in, so each instance gets folders of the lab bound there.
"""
import os

from . import addresses as a

ROOT = "opensmtpd"
MTA_NAME, SENDER_NAME = "opensmtpd.lab.example", "opensmtpdsender.lab.example"
SENDER_PORT = 2612          # on 127.0.0.1 of the client's namespace: what is said there is sent through the gateway
RETRY_S = 400               # its first retry, built in: BACKOFF_TRANSFER of its scheduler
MAIL_USER = "mail"          # a user of the root; OpenSMTPD delivers to nobody without one

SPOOL = "/var/spool/smtpd"

MTA = """
smtp max-message-size "40M"
listen on %(address)s port %(proxy)d hostname %(name)s proxy-v2
listen on %(address6)s port %(proxy)d hostname %(name)s proxy-v2
listen on %(address)s port %(plain)d hostname %(name)s
listen on %(address6)s port %(plain)d hostname %(name)s
table domains { %(domains)s }
action "here" maildir "/lab/mail/opensmtpd" virtual { "@" = "%(user)s" }
match from any for domain <domains> action "here"
"""

SENDER = """
smtp max-message-size "40M"
listen on 127.0.0.1 port %(port)d hostname %(name)s
action "here" maildir "/lab/mail/opensmtpdsender" virtual { "@" = "%(user)s" }
match from any for domain "returns.example" action "here"
"""


def _user(root, name):
    with open(os.path.join(root, "etc", "passwd")) as f:
        fields = next(line.split(":") for line in f if line.startswith(name + ":"))
    return int(fields[2]), int(fields[3])


def _instance(root, lab_folder, folder, text):
    for sub in ("", "spool", "run"):
        os.makedirs(os.path.join(lab_folder, folder, sub), exist_ok=True)
    os.chmod(os.path.join(lab_folder, folder, "spool"), 0o711)
    os.makedirs(root + SPOOL, exist_ok=True)
    mail = os.path.join(lab_folder, "mail", folder)
    os.makedirs(mail)
    os.chown(mail, *_user(root, MAIL_USER))
    path = os.path.join(lab_folder, folder, "smtpd.conf")
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, 0o600)


def _quoted(words):
    return ", ".join('"%s"' % w for w in words)


def configure_mta(lab_folder, root, domains):
    _instance(root, lab_folder, "opensmtpd", MTA % dict(
        name=MTA_NAME, address=a.BACKEND4, address6=a.BACKEND6, proxy=a.OPENSMTPD_PORT_PROXY, plain=a.OPENSMTPD_PORT_PLAIN,
        domains=_quoted(domains), user=MAIL_USER))


def configure_sender(lab_folder, root, routes, address, address6):
    """routes: domain -> (address, port)."""
    text = SENDER % dict(port=SENDER_PORT, name=SENDER_NAME, user=MAIL_USER)
    for number, target in enumerate(sorted(set(routes.values()))):
        host = "[%s]" % target[0] if ":" in target[0] else target[0]
        text += 'action "out%d" relay host "smtp://%s:%d" src "%s" helo "%s"\n' % (
            number, host, target[1], address6 if ":" in target[0] else address, SENDER_NAME)
        text += 'match from any for domain { %s } action "out%d"\n' % (
            _quoted(d for d, t in routes.items() if t == target), number)
    _instance(root, lab_folder, "opensmtpdsender", text)


def binds(folder):
    return [[folder + "/spool", SPOOL], [folder + "/run", "/run"]]


def service(folder):
    return ["/usr/sbin/smtpd", "-d", "-f", "/lab/%s/smtpd.conf" % folder]
