"""A control group of its own for what is measured: all CPU time its processes and their ended children used, and their memory.

Version 1 (cpuacct, memory) and version 2 of control groups. CPU time of a group holds what softirqs did while its processes were on the
CPU; what they did in idle or strange processes' time is added by softirq_s() (README).
"""
import os
import time

from bench import common

V1 = "/sys/fs/cgroup/%s"
V2 = "/sys/fs/cgroup"


class Group:
    def __init__(self, name):
        self.v2 = os.path.exists(os.path.join(V2, "cgroup.controllers"))
        if self.v2:
            self.folders = {"cpu": os.path.join(V2, name), "memory": os.path.join(V2, name)}
        else:
            self.folders = {"cpu": os.path.join(V1 % "cpuacct", name), "memory": os.path.join(V1 % "memory", name)}
        for folder in set(self.folders.values()):
            try:
                os.mkdir(folder)
            except FileExistsError:
                pass
            except OSError as error:
                raise common.BenchError("no control group for the server's CPU time: %s" % error)

    def enter(self):
        """Words to put before a command: it joins, then becomes the command."""
        joins = " && ".join("echo $$ >%s/cgroup.procs" % f for f in sorted(set(self.folders.values())))
        return ["sh", "-c", joins + ' && exec "$@"', "sh"]

    def _read(self, which, name):
        with open(os.path.join(self.folders[which], name)) as f:
            return f.read()

    def cpu_s(self):
        if self.v2:
            return int(self._read("cpu", "cpu.stat").split()[1]) / 1e6
        return int(self._read("cpu", "cpuacct.usage")) / 1e9

    def memory_octets(self):
        """Without the page cache: what processes and the kernel for them hold."""
        words = dict(line.split() for line in self._read("memory", "memory.stat").splitlines())
        if self.v2:
            return int(words["anon"]) + int(words.get("shmem", 0)) + int(words.get("kernel", 0)) + int(words.get("sock", 0))
        return int(self._read("memory", "memory.usage_in_bytes")) - int(words["cache"]) + int(words.get("shmem", 0))

    def close(self):
        for folder in set(self.folders.values()):
            for _ in range(50):
                try:
                    os.rmdir(folder)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.1)


def softirq_s(cpu):
    """Seconds this CPU spent in softirqs since boot (in ticks)."""
    with open("/proc/stat") as f:
        for line in f:
            words = line.split()
            if words[0] == "cpu%d" % cpu:
                return int(words[7]) / os.sysconf("SC_CLK_TCK")
    raise common.BenchError("/proc/stat has no cpu%d" % cpu)
