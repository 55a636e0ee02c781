"""A mailer as a script of somebody would be: Python's smtplib, and a retry when the reply says in how many seconds.

Runs inside the root "clients": rows as JSON on standard input, a result for each as JSON on standard output.
"""
import base64
import json
import re
import smtplib
import sys
import threading
import time

ATTEMPTS_MAX = 20


class Client(smtplib.SMTP):
    def bdat(self, row, content):
        """Three chunks, pipelined: RFC 3030 section 3."""
        if not self.has_extn("chunking"):
            raise smtplib.SMTPNotSupportedError("CHUNKING is not offered")
        for code, reply in [self.mail(row["mail_from"])] + [self.rcpt(r) for r in row["recipients"]]:
            if code != 250:
                self.rset()
                raise smtplib.SMTPRecipientsRefused({row["recipients"][0]: (code, reply)})
        cuts = [0, len(content) // 3, 2 * len(content) // 3, len(content)]
        octets = b""
        for n in range(3):
            chunk = content[cuts[n]:cuts[n + 1]]
            octets += b"BDAT %d%s\r\n" % (len(chunk), b" LAST" if n == 2 else b"") + chunk
        self.sock.sendall(octets)
        replies = [self.getreply() for _ in range(3)]
        if any(code != 250 for code, _ in replies):
            raise smtplib.SMTPDataError(*next(r for r in replies if r[0] != 250))


def attempt(row, content):
    """Seconds to wait, or None when it was taken."""
    client = Client(row["host"], row["port"], "smtplib.lab.example", 60, (row["source"], 0))
    try:
        client.ehlo()
        if row["starttls"] and client.has_extn("starttls"):
            import ssl
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            client.starttls(context=context)
            client.ehlo()
        if row["kind"] == "bdat":
            client.bdat(row, content)
        else:
            client.sendmail(row["mail_from"], row["recipients"], content, row["mail_options"], row["rcpt_options"])
    except smtplib.SMTPRecipientsRefused as error:
        code, reply = list(error.recipients.values())[0]
        found = re.search(rb"again in (\d+) seconds", reply)
        if code // 100 != 4 or not found:
            raise
        return int(found.group(1))
    finally:
        client.close()
    return None


def deliver(row, results):
    result = {"marker": row["marker"], "attempts": 0}
    content = base64.b64decode(row["content"])
    try:
        while result["attempts"] < ATTEMPTS_MAX:
            result["attempts"] += 1
            wait_s = attempt(row, content)
            if wait_s is None:
                break
            time.sleep(wait_s)
    except smtplib.SMTPNotSupportedError as error:
        result["not_offered"] = str(error)
    except (smtplib.SMTPException, OSError) as error:
        result["error"] = "%s: %s" % (type(error).__name__, error)
    results.append(result)


def main():
    rows, results = json.load(sys.stdin), []
    limit = threading.Semaphore(8)

    def one(row):
        with limit:
            deliver(row, results)
    threads = [threading.Thread(target=one, args=(row,)) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
