"""Configurations of the two Postfix instances: the MTA behind the gateway, and the sender on the client's side.

They have different names (LAB.md: else "loops back to myself") and folders; both run from the same root.
"""
import os

from . import addresses as a

MTA_NAME = "mta.lab.example"
SENDER_NAME = "sender.lab.example"
MAIL_UID = 5000

COMMON = """
compatibility_level = 3.6
queue_directory = /lab/%(folder)s/spool
data_directory = /lab/%(folder)s/lib
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = %(name)s
mydestination =
local_recipient_maps =
local_transport = error:no local mail here
alias_maps =
alias_database =
inet_interfaces = all
inet_protocols = all
biff = no
message_size_limit = 40000000
mailbox_size_limit = 0
virtual_mailbox_limit = 0
default_process_limit = 300
maillog_file = /lab/log/%(folder)s.log
maillog_file_prefixes = /lab/log
in_flow_delay = 0
append_dot_mydomain = no
smtputf8_enable = yes
"""

MTA = """
mynetworks = 127.0.0.0/8
smtpd_banner = $myhostname ESMTP
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 2000
smtpd_client_connection_count_limit = 0
smtpd_recipient_limit = 1000
smtpd_upstream_proxy_timeout = 5s
smtpd_forbid_bare_newline = no
smtpd_tls_security_level = may
smtpd_tls_chain_files = /lab/mta/tls.pem
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
local_header_rewrite_clients =
anvil_status_update_time = 3600s
minimal_backoff_time = 2s
maximal_backoff_time = 5s
queue_run_delay = 2s
virtual_mailbox_domains = %(domains)s
transport_maps = inline:{ %(corpus)s=discard: }
postscreen_greet_wait = 1s
virtual_mailbox_base = /lab/mail
virtual_mailbox_maps = regexp:/lab/mta/mailboxes
virtual_minimum_uid = 1000
virtual_uid_maps = static:%(uid)d
virtual_gid_maps = static:%(uid)d
"""

SENDER = """
mynetworks = 127.0.0.0/8
relayhost = [%(gateway)s]:%(port)d
disable_dns_lookups = yes
smtp_host_lookup = native
smtp_bind_address = %(address)s
smtp_bind_address6 = %(address6)s
smtp_line_length_limit = 0
smtp_helo_name = $myhostname
minimal_backoff_time = 5s
maximal_backoff_time = 5s
queue_run_delay = 2s
smtp_connection_cache_on_demand = no
smtp_destination_recipient_limit = 200
smtp_tls_security_level = %(sender_tls)s
smtp_tls_CAfile = /lab/ca/ca.pem
smtp_tls_loglevel = 1
smtp_tls_fingerprint_digest = sha256
smtp_tls_policy_maps = texthash:/lab/sender/tls
transport_maps = texthash:/lab/sender/transport
virtual_mailbox_domains = %(returns)s
virtual_mailbox_base = /lab/mail
virtual_mailbox_maps = static:sender/
virtual_minimum_uid = 1000
virtual_uid_maps = static:%(uid)d
virtual_gid_maps = static:%(uid)d
"""

# What is said there is sent through the gateway.
SENDER_PORT = 2610
SENDER_PORTS = """
127.0.0.1:%(injection)d inet n - n - - smtpd
    -o smtpd_error_sleep_time=0
"""

# name type private unpriv chroot wakeup maxproc command
SERVICES = """
postlog   unix-dgram n - n - 1 postlogd
pickup    unix n - n 2  1 pickup
cleanup   unix n - n -  0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n -  - trivial-rewrite
bounce    unix - - n -  0 bounce
defer     unix - - n -  0 bounce
trace     unix - - n -  0 bounce
verify    unix - - n -  1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n -  - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix - - n -  - smtp
relay     unix - - n -  - smtp
showq     unix n - n -  - showq
error     unix - - n -  - error
retry     unix - - n -  - error
discard   unix - - n -  - discard
virtual   unix - n n -  - virtual
anvil     unix - - n -  1 anvil
scache    unix - - n -  1 scache
tlsmgr    unix - - n 1000? 1 tlsmgr
"""

MTA_PORTS = """
%(proxy)d inet n - n - - smtpd
    -o smtpd_upstream_proxy_protocol=haproxy
%(xclient)d inet n - n - - smtpd
    -o smtpd_authorized_xclient_hosts=%(lan4)s,[%(lan6)s]
%(plain)d inet n - n - - smtpd
%(tls_proxy)d inet n - n - - smtpd
    -o smtpd_upstream_proxy_protocol=haproxy
    -o smtpd_tls_security_level=encrypt
%(tls_xclient)d inet n - n - - smtpd
    -o smtpd_authorized_xclient_hosts=%(lan4)s,[%(lan6)s]
    -o smtpd_tls_security_level=encrypt
%(tls_open)d inet n - n - - smtpd
    -o smtpd_upstream_proxy_protocol=haproxy
    -o smtpd_tls_security_level=encrypt
    -o mynetworks=0.0.0.0/0,[::]/0
%(postscreen)d inet n - n - 1 postscreen
    -o postscreen_upstream_proxy_protocol=haproxy
smtpd     pass - - n -  - smtpd
tlsproxy  unix - - n -  0 tlsproxy
dnsblog   unix - - n -  0 dnsblog
%(submission)d inet n - n - - smtpd
    -o smtpd_upstream_proxy_protocol=haproxy
    -o smtpd_banner=submission.lab.example
"""

# Everybody has a mailbox, except those whose name begins with "unknown". All mail lies in one Maildir.
MAILBOXES = "if !/^unknown/\n/@/ all/\nendif\n"


def _postfix_ids(root):
    with open(os.path.join(root, "etc", "passwd")) as f:
        user = next(line.split(":") for line in f if line.startswith("postfix:"))
    with open(os.path.join(root, "etc", "group")) as f:
        group = next(line.split(":") for line in f if line.startswith("postdrop:"))
    return int(user[2]), int(user[3]), int(group[2])


def _instance(root, folder, main_cf, master_cf):
    """A Postfix instance in `folder`: configuration, queue with the owners the programs insist on."""
    uid, gid, postdrop = _postfix_ids(root)
    for sub in ("", "spool", "lib"):
        os.makedirs(os.path.join(folder, sub), exist_ok=True)
    os.chown(os.path.join(folder, "lib"), uid, gid)
    os.chmod(os.path.join(folder, "lib"), 0o700)
    for queue, mode, group in (
            ("active", 0o700, -1), ("bounce", 0o700, -1), ("corrupt", 0o700, -1), ("defer", 0o700, -1),
            ("deferred", 0o700, -1), ("flush", 0o700, -1), ("hold", 0o700, -1), ("incoming", 0o700, -1),
            ("private", 0o700, -1), ("saved", 0o700, -1), ("trace", 0o700, -1),
            ("maildrop", 0o1730, postdrop), ("public", 0o2710, postdrop)):
        path = os.path.join(folder, "spool", queue)
        os.makedirs(path, exist_ok=True)
        os.chown(path, uid, group if group >= 0 else 0)
        os.chmod(path, mode)
    os.makedirs(os.path.join(folder, "spool", "pid"), exist_ok=True)
    for name, text in (("main.cf", main_cf), ("master.cf", master_cf)):
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)


def configure(lab_folder, root, more_domains=(), routes=None, senders=None, sender_tls="none"):
    """Write both instances below `lab_folder`, which the services see as /lab.

    routes: domain -> (address, port) of the gateway, for the sender; what is not named goes to its IPv4 address.
    senders: the sender's addresses, IPv4 and IPv6, if not the usual ones. sender_tls: its security level.
    """
    senders = senders or (a.client4("sender"), a.client6("sender"))
    domains = a.DOMAINS + (a.CORPUS_DOMAIN, a.RETURNS_DOMAIN) + tuple(more_domains)
    values = dict(domains=" ".join(domains), corpus=a.CORPUS_DOMAIN, returns=a.RETURNS_DOMAIN, uid=MAIL_UID,
                  sender_tls=sender_tls, postscreen=a.POSTSCREEN_PORT, injection=SENDER_PORT, proxy=a.MTA_PORT_PROXY, xclient=a.MTA_PORT_XCLIENT,
                  plain=a.MTA_PORT_PLAIN, tls_proxy=a.MTA_PORT_TLS_PROXY, tls_xclient=a.MTA_PORT_TLS_XCLIENT,
                  tls_open=a.MTA_PORT_TLS_OPEN, submission=a.MTA_PORT_SUBMISSION, lan4=a.LAN4, lan6=a.LAN6,
                  gateway=a.GATEWAY4, port=a.SMTP_PORT, address=senders[0], address6=senders[1])
    _instance(root, os.path.join(lab_folder, "mta"), COMMON % dict(folder="mta", name=MTA_NAME) + MTA % values,
              SERVICES + MTA_PORTS % values)
    _instance(root, os.path.join(lab_folder, "sender"),
              COMMON % dict(folder="sender", name=SENDER_NAME) + SENDER % values, SERVICES + SENDER_PORTS % values)
    with open(os.path.join(lab_folder, "sender", "transport"), "w") as f:
        for domain, (address, port) in (routes or {}).items():
            f.write("%s smtp:[%s]:%d\n" % (domain, address, port))
    open(os.path.join(lab_folder, "sender", "tls"), "w").close()
    with open(os.path.join(lab_folder, "mta", "mailboxes"), "w") as f:
        f.write(MAILBOXES)
    mail = os.path.join(lab_folder, "mail")
    for path in (mail, os.path.join(mail, "all"), os.path.join(mail, "sender")):
        os.makedirs(path, exist_ok=True)
        os.chown(path, MAIL_UID, MAIL_UID)


def command(folder, *argv):
    """argv of a Postfix command for the instance, inside the root."""
    return [argv[0], "-c", "/lab/" + folder] + list(argv[1:])


def service(folder):
    # -i: as process 1 of a PID namespace; -d would keep the terminal; -s keeps the streams for the supervisor's log.
    return ["/usr/lib/postfix/sbin/master", "-c", "/lab/" + folder, "-s", "-i"]
