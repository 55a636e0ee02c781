"""Configurations of Exim: the MTA behind the gateway, and the sender on the client's side. Root "exim" (the heavy daemon).

Exim reads a configuration as itself only from a place it trusts, so both files are named in the root's trusted_configs.
"""
import os

from . import addresses as a
from . import mta

ROOT = "exim"
MTA_NAME, SENDER_NAME = "exim.lab.example", "eximsender.lab.example"
SENDER_PORT = 2611          # on 127.0.0.1 of the client's namespace: what is said there is sent through the gateway
TRUSTED = "/etc/exim4/trusted_configs"

COMMON = """
primary_hostname = %(name)s
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = /lab/%(folder)s/spool
log_file_path = /lab/log/%(folder)s-%%s.log
pid_file_path = /lab/%(folder)s/exim.pid
log_selector = +smtp_connection +received_recipients +pipelining +smtp_no_mail +incoming_port +subject
keep_environment =
local_interfaces = <; %(interfaces)s
daemon_smtp_ports = %(ports)s
message_size_limit = 40M
smtp_accept_max = 300
smtp_accept_max_per_host = 300
smtp_accept_queue_per_connection = 0
recipients_max = 0
smtp_max_unknown_commands = 1000
smtp_max_synprot_errors = 1000
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
tls_advertise_hosts =
host_lookup =
rfc1413_hosts =
helo_allow_chars = _
bounce_return_size_limit = 10K
"""

# 2700 demands a PROXY header of either version from everybody; 2701 is plain. CHUNKING is offered by itself.
MTA = """
hosts_proxy = ${if eq{$received_port}{%(proxy)d}{*}{}}
domainlist local_domains = %(domains)s
acl_smtp_rcpt = acl_rcpt
acl_smtp_data = acl_data
begin acl
acl_rcpt:
  deny    local_parts = ^unknown
          message = 5.1.1 nobody of that name
  accept  domains = +local_domains
          endpass
  deny    message = 5.7.1 relay not permitted
acl_data:
  discard senders = *@corpus.example : *@smuggled.example
  accept
begin routers
here:
  driver = accept
  domains = +local_domains
  transport = maildir
begin transports
maildir:
  driver = appendfile
  directory = /lab/mail/exim
  maildir_format
  user = %(uid)d
  group = %(uid)d
  return_path_add
begin retry
*  *  F,1h,5s
"""

# A line of routes names the address and the port a domain's mail goes to: "v1.exim4.example: 198.18.0.2 26".
SENDER = """
acl_smtp_rcpt = accept
queue_run_max = 20
begin routers
local:
  driver = accept
  domains = returns.example
  transport = maildir
out:
  driver = manualroute
  address_data = ${lookup{$domain}lsearch{/lab/%(folder)s/routes}}
  route_data = <;${extract{1}{ }{$address_data}}
  transport = remote
  self = send
begin transports
maildir:
  driver = appendfile
  directory = /lab/mail/eximsender
  maildir_format
  user = %(uid)d
  group = %(uid)d
remote:
  driver = smtp
  port = ${extract{2}{ }{$address_data}}
  interface = <; %(address)s ; %(address6)s
  helo_data = $primary_hostname
  hosts_try_fastopen =
  dnssec_request_domains =
  multi_domain = false
begin retry
*  *  F,1h,5s
"""


def _user(root, name):
    with open(os.path.join(root, "etc", "passwd")) as f:
        fields = next(line.split(":") for line in f if line.startswith(name + ":"))
    return int(fields[2]), int(fields[3])


def _instance(root, lab_folder, folder, text):
    uid, gid = _user(root, "Debian-exim")
    spool = os.path.join(lab_folder, folder, "spool")
    os.makedirs(spool)
    os.chown(spool, uid, gid)
    os.chown(os.path.dirname(spool), uid, gid)
    with open(os.path.join(lab_folder, folder, "exim.conf"), "w") as f:
        f.write(text)
    with open(os.path.join(root, TRUSTED.lstrip("/")), "w") as f:
        f.write("/lab/exim/exim.conf\n/lab/eximsender/exim.conf\n")


def configure_mta(lab_folder, root, domains):
    values = dict(folder="exim", name=MTA_NAME, interfaces="%s ; %s" % (a.BACKEND4, a.BACKEND6),
                  ports="%d : %d" % (a.EXIM_PORT_PROXY, a.EXIM_PORT_PLAIN), proxy=a.EXIM_PORT_PROXY,
                  domains=" : ".join(domains), uid=mta.MAIL_UID)
    _instance(root, lab_folder, "exim", COMMON % values + MTA % values)


def configure_sender(lab_folder, root, routes, address, address6):
    """routes: domain -> (address, port)."""
    values = dict(folder="eximsender", name=SENDER_NAME, interfaces="127.0.0.1", ports=str(SENDER_PORT), uid=mta.MAIL_UID,
                  address=address, address6=address6)
    _instance(root, lab_folder, "eximsender", COMMON % values + SENDER % values)
    with open(os.path.join(lab_folder, "eximsender", "routes"), "w") as f:
        for domain, (address, port) in routes.items():
            f.write("%s: %s %d\n" % (domain, address, port))


def service(folder):
    return ["/usr/sbin/exim4", "-C", "/lab/%s/exim.conf" % folder, "-bdf", "-q5s"]
