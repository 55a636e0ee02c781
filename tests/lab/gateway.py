"""The gateway's configuration file for the lab, from the template and a few choices."""
import os

from . import addresses as a

EAL = ["--no-huge", "--no-pci", "--no-shconf", "--no-telemetry"]


def _device(driver, number, interface):
    if driver == "net_memif":
        raise ValueError("the lab's wires are veth: use net_af_packet or net_af_xdp")
    return "%s%d,iface=%s" % (driver, number, interface)


def _quoted(words):
    return "[ " + ", ".join('"%s"' % w for w in words) + " ]" if words else "[ ]"


def backend(name="mta1", address=a.BACKEND4, port=a.MTA_PORT_PROXY, client_address="proxy_v2", more=""):
    return '{ name = "%s"; address = "%s"; port = %d; client_address = "%s";%s }' % (name, address, port, client_address, more)


def render(folder, driver="net_af_packet", workers=1, backends=None, block="4m", **extra):
    """Text of greyline.conf. `extra` replaces any @key@ of the template: mode, dnsbl_zones, log_format, ..."""
    with open(os.path.join(os.path.dirname(__file__), "greyline.conf.in")) as f:
        text = f.read()
    values = {
        "folder": folder, "workers": str(workers), "mtu": "1500", "wan_more": "", "lan_more": "",
        "lcores": ",".join("%d@%d" % (n, n % (os.cpu_count() or 1)) for n in range(workers + 1)) if workers > 1 else "",
        "memory_mb": "256", "sessions": "4096", "eal": _quoted(EAL),
        "wan_device": _device(driver, 0, "wan0"), "lan_device": _device(driver, 1, "lan0"),
        "mode": "enforce", "reject_at": "rcpt", "block": block, "pass": "6h", "expire": "36d",
        "grey_reference": "false", "bare_lf": "normalize", "log_format": "kv", "unconfirmed": "nothing",
        "tls": "", "MTA_FINGERPRINT": "00" * 32, "more_pools": "", "more_listeners": "", "domains": _quoted([a.DOMAIN]), "mx_pools": _quoted(["default"]),
        "state_entries": "65536", "deny": "", "allow": "", "client_rate": "0",
        "backends": ",\n              ".join(backends or [backend()]),
        "submission_backend": backend("submission1", port=a.MTA_PORT_SUBMISSION),
        "zones": '{ zone = "%s"; filters = [ "127.0.0.[2..11]*5" ]; decisive = true; },\n\t\t"%s=127.0.0.2*2"' % (
            a.BLOCKLIST, a.GREYLIST_ZONE),
    }
    for name in ("GATEWAY4", "GATEWAY6", "ROUTER4", "ROUTER6", "LAN4", "LAN6", "RESOLVER4", "DOMAIN"):
        values[name] = getattr(a, name)
    unknown = set(extra) - set(values)
    if unknown:
        raise KeyError("greyline.conf.in has no %s" % ", ".join(sorted(unknown)))
    values.update(extra)
    for _ in range(2):          # a value may name another one
        for key, value in values.items():
            text = text.replace("@%s@" % key, str(value))
    return text
