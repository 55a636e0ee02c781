"""What one check came to."""


class Result:
    def __init__(self, name, why, seconds, **figures):
        self.name, self.why, self.seconds, self.figures = name, why, seconds, figures

    @property
    def ok(self):
        return not self.why

    def line(self):
        return "%-4s %6.1f s  %s%s%s" % ("OK" if self.ok else "FAIL", self.seconds, self.name, "".join(
            "; %s %s" % (key.replace("_", " "), value) for key, value in self.figures.items()
            if key not in ("octets", "loss_percent") and not isinstance(value, (list, dict))), ": " + self.why if self.why else "")

    def data(self):
        return dict(name=self.name, ok=self.ok, why=self.why, took_s=round(self.seconds, 2), **self.figures)
