"""A real HAProxy in front of the gateway, on the router's addresses; it tells the gateway its clients by PROXY. Root "haproxy"."""
import os

from . import addresses as a

ROOT = "haproxy"
PORTS = {"v1": 2601, "v2": 2602}            # where its clients connect, by the version it speaks to the gateway

CONFIG = """
global
    maxconn 400
    log stdout format raw local0
defaults
    mode tcp
    log global
    option tcplog
    timeout connect 5s
    timeout client 600s
    timeout server 600s
"""

# The health check of v2 is a LOCAL header: the gateway must take it for the balancer's own. It is made often, and two failures are said.
ROAD = """
frontend in_%(version)s_%(family)d
    bind %(router)s:%(port)d
    default_backend gw_%(version)s_%(family)d
backend gw_%(version)s_%(family)d
    option smtpchk EHLO haproxy.lab.example
    server gateway %(gateway)s:%(gateway_port)d source %(router)s send-proxy%(suffix)s check check-send-proxy inter 500ms fall 2 rise 1
"""


def configure(lab_folder, gateway_port=a.BALANCED_PORT):
    text = CONFIG
    for version, port in PORTS.items():
        for family, router, gateway in ((4, a.ROUTER4, a.GATEWAY4), (6, "[%s]" % a.ROUTER6, "[%s]" % a.GATEWAY6)):
            text += ROAD % dict(version=version, family=family, router=router, port=port, gateway=gateway,
                                gateway_port=gateway_port, suffix="-v2" if version == "v2" else "")
    os.makedirs(os.path.join(lab_folder, "haproxy"), exist_ok=True)
    with open(os.path.join(lab_folder, "haproxy", "haproxy.cfg"), "w") as f:
        f.write(text)


def service():
    return ["/usr/sbin/haproxy", "-db", "-f", "/lab/haproxy/haproxy.cfg"]
