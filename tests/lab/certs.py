"""Certificates of a lab: an authority of its own, pairs for the gateway (ECDSA beside RSA) and for the MTA.

Flow:   labs.py makes them before any service starts; tests make more and replace them as certbot does.
Keeps:  a pair is written in the order chain, key, each by a rename; the gap between the two is what the gateway has to bear.
"""
import hashlib
import os
import ssl
import subprocess
import tempfile

GATEWAY_NAME, OTHER_NAME, WILD_NAME = "gw.lab.example", "mx2.lab.example", "*.wild.lab.example"
MTA_NAME = "mta.lab.example"

KEYS = {
    "ecdsa": ("ec", "ec_paramgen_curve:prime256v1"),
    "ecdsa384": ("ec", "ec_paramgen_curve:secp384r1"),
    "rsa": ("rsa", "rsa_keygen_bits:2048"),
}


class Pair:
    """Chain and key as PEM texts."""

    def __init__(self, chain, key):
        self.chain, self.key = chain, key
        self.der = ssl.PEM_cert_to_DER_cert(chain[:chain.index("-----END") + len("-----END CERTIFICATE-----")] + "\n")

    @property
    def sha256(self):
        """Of the leaf as a whole: what `openssl x509 -fingerprint -sha256` says."""
        return hashlib.sha256(self.der).hexdigest()


class Authority:
    """An authority whose certificate lies in folder/ca.pem."""

    def __init__(self, folder, name="Lab CA"):
        self.folder, self.ca, self.key = folder, os.path.join(folder, "ca.pem"), os.path.join(folder, "ca.key")
        if not os.path.exists(self.ca):
            os.makedirs(folder, exist_ok=True)
            _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "300",
                     "-subj", "/CN=" + name, "-keyout", self.key, "-out", self.ca)

    def pair(self, names, key="ecdsa", days=60):
        algorithm, option = KEYS[key]
        with tempfile.TemporaryDirectory() as work:
            at = os.path.join(work, "key"), os.path.join(work, "certificate")
            _openssl("req", "-x509", "-newkey", algorithm, "-pkeyopt", option, "-nodes", "-days", str(days), "-CA", self.ca,
                     "-CAkey", self.key, "-subj", "/CN=" + names[0].replace("*", "any"), "-addext",
                     "subjectAltName=" + ",".join("DNS:" + name for name in names), "-addext", "basicConstraints=critical,CA:FALSE",
                     "-keyout", at[0], "-out", at[1])
            with open(at[0]) as k, open(at[1]) as c, open(self.ca) as ca:
                return Pair(c.read() + ca.read(), k.read())


def _openssl(*words):
    done = subprocess.run(("openssl",) + words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, timeout=60)
    if done.returncode:
        raise RuntimeError("openssl %s: %s" % (" ".join(words), done.stdout))
    return done.stdout


def write(path, text, mode=0o644):
    """By a temporary name and a rename, as tools do that replace certificates."""
    new = os.path.join(os.path.dirname(path), "." + os.path.basename(path))
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as f:
        f.write(text)
    os.chmod(new, mode)
    os.rename(new, path)


def install(folder, label, pair):
    """fullchain.pem and privkey.pem in folder/label."""
    at = os.path.join(folder, label)
    os.makedirs(at, mode=0o755, exist_ok=True)
    write(os.path.join(at, "fullchain.pem"), pair.chain)
    write(os.path.join(at, "privkey.pem"), pair.key, 0o400)


def configure(lab_folder):
    """What a lab begins with: folder tls for the gateway, mta/tls.pem, ca/ca.pem."""
    authority = Authority(os.path.join(lab_folder, "ca"))
    tls = os.path.join(lab_folder, "tls")
    os.makedirs(tls, mode=0o755, exist_ok=True)
    for key in ("ecdsa", "rsa"):
        install(tls, "gw-" + key, authority.pair([GATEWAY_NAME, WILD_NAME], key))
    install(tls, "mx2", authority.pair([OTHER_NAME], "ecdsa384"))
    mta = authority.pair([MTA_NAME, "submission.lab.example"])
    write(os.path.join(lab_folder, "mta", "tls.pem"), mta.key + mta.chain, 0o600)
    return mta
