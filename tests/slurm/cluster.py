"""A real Slurm cluster on one machine: munge, a controller, and nodes that have a network and processes of their own.

    python tests/slurm/cluster.py bash       # a shell on the login node; the cluster goes when the shell ends

Needs root and Debian's packages `slurm-wlm`, `munge` and `iproute2` (with `accounting=True` also `slurmdbd`,
`mariadb-server-core`, `mariadb-client-core`). Each machine of the cluster is a box: a process that holds a mount,
process, network and host name space. When the box goes, all that runs in it goes, as in a power cut, and without a
word on the network; when the process that made the cluster goes, all boxes go. The boxes are joined by a bridge
that reaches nothing else. All files are in one folder.
"""

import contextlib
import ctypes
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

PACKAGES = {"slurmctld": "slurm-wlm", "munged": "munge", "ip": "iproute2"}
ACCOUNTING_PACKAGES = {
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server-core",
    "mariadb": "mariadb-client-core",
}

_LIBC = ctypes.CDLL(None, use_errno=True)
_ENTERED = ("net", "uts")
_PR_SET_PDEATHSIG = 1

_CONF = """
ClusterName=test
SlurmctldHost=login({address}.1)
SlurmctldPort=6817
SlurmdPort=6818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MailProg=/bin/true
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory,CR_LLN
DefMemPerCPU={per_cpu}
MaxArraySize={max_array}
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
SlurmdTimeout=10
ReturnToService=2
KillWait=2
JobRequeue=1
MinJobAge=300
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
"""


class MissingError(RuntimeError):
    """What the cluster needs is not here; the message says what."""


def missing(packages: dict[str, str]) -> list[str]:
    """The packages of those programs that are not installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return [package for program, package in packages.items() if shutil.which(program, path=path) is None]


def install(packages: dict[str, str]) -> None:
    """Install what is missing, where this is Debian and we are root. Raises `MissingError` if it cannot be."""
    names = missing(packages)
    if os.geteuid() != 0:
        raise MissingError("a Slurm cluster of its own needs root, to make network name spaces")
    if not names:
        return
    if shutil.which("apt-get") is None:
        raise MissingError(f"not installed: {', '.join(names)}; and there is no apt-get to install them")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "-qq", "update"],
        ["apt-get", "-qq", "-y", "--no-install-recommends", "install", *names],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0 or missing(packages):
        raise MissingError(f"apt-get cannot install {', '.join(names)}: {done.stderr.strip()[-500:]}")


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Wait for something that happens in other processes."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)


class _Box:
    """A machine: the processes in it see one another, and a network interface `eth0`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._started: list[subprocess.Popen[bytes]] = []
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--uts"]
        self._holder = subprocess.Popen(
            [*command, "bash", "-c", "sleep infinity & wait"],
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 (it calls nothing that takes a lock)
            start_new_session=True,
        )
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        wait_until(lambda: bool(children.read_text().split()), f"box {name}")
        self.pid = int(children.read_text().split()[0])
        wait_until(
            lambda: Path(f"/proc/{self.pid}/comm").read_text().strip() == "bash", f"the shell of box {name}"
        )
        self.run("hostname", name)
        self.ip("link", "set", "lo", "up")

    def enter(self, *command: str) -> list[str]:
        """The command that runs `command` in here."""
        here = os.getcwd()
        return ["nsenter", f"--target={self.pid}", "-m", "-p", "-n", "-u", f"--wdns={here}", "--", *command]

    def run(self, *command: str) -> str:
        return subprocess.run(self.enter(*command), check=True, capture_output=True, text=True).stdout

    def ip(self, *words: str) -> None:
        """Run `ip` on this network, with the process numbers of the machine."""
        subprocess.run(["nsenter", f"--target={self.pid}", "-n", "--", "ip", *words], check=True)

    def start(
        self, *command: str, log: Path, environment: dict[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        with log.open("ab") as output:
            started = subprocess.Popen(
                self.enter(*command),
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._started.append(started)
        return started

    def power_off(self) -> None:
        self._holder.kill()
        for process in (self._holder, *self._started):
            process.wait()


class Cluster:
    """A cluster of a login node and `nodes` nodes.

    `sinfo` shows two partitions, `cpu` (the default) and `urgent`, whose jobs push out those of `cpu`. Slurm's commands
    work in processes that are started within `entered`, or by `run`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 2,
        cpus: int = 8,
        memory: int = 8000,
        max_array: int = 1001,
        accounting: bool = False,
        network: str = "10.77.0",
    ) -> None:
        install(PACKAGES | (ACCOUNTING_PACKAGES if accounting else {}))
        if subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--net", "--uts", "true"], check=False
        ).returncode:
            raise MissingError("no name spaces can be made here (a container without CAP_SYS_ADMIN?)")
        # the control groups of two clusters with nodes of the same names would be the same
        self._alone = (Path(tempfile.gettempdir()) / "blockflow-slurm-cluster.lock").open("w")
        fcntl.flock(self._alone, fcntl.LOCK_EX)
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self.accounting = accounting
        self.limits_memory = Path("/sys/fs/cgroup/memory").is_dir()
        self._network = network
        self._nodes = [f"n{number + 1}" for number in range(nodes)]
        self._boxes: dict[str, _Box] = {}
        self._slurmds: dict[str, subprocess.Popen[bytes]] = {}
        os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
        for name in ("log", "state"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        self.conf.write_text(self._configuration(cpus, memory, max_array))
        hosts = [f"{self.address_of(name)} {name}" for name in ("login", *self._nodes)]
        (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *hosts, ""]))
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))

    def _configuration(self, cpus: int, memory: int, max_array: int) -> str:
        lines = [
            _CONF.format(
                address=self._network, folder=self.folder, per_cpu=memory // cpus, max_array=max_array
            )
        ]
        if self.limits_memory:
            lines += ["ProctrackType=proctrack/cgroup", "TaskPlugin=task/cgroup"]
            (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\n")
        else:
            lines += [
                "ProctrackType=proctrack/linuxproc",
                "TaskPlugin=task/none",
                "JobAcctGatherParams=OverMemoryKill",
            ]
        if self.accounting:
            lines += [
                "AccountingStorageType=accounting_storage/slurmdbd",
                f"AccountingStorageHost={self._network}.1",
                "AccountingStoragePort=6819",
                f"AccountingStoragePass={self.folder}/munge.sock",
            ]
        lines += [
            f"NodeName={name} NodeAddr={self.address_of(name)} CPUs={cpus} RealMemory={memory} State=UNKNOWN"
            for name in self._nodes
        ]
        lines.append(
            "PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=1"
        )
        lines.append("PartitionName=urgent Nodes=ALL MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=9")
        return "\n".join([*lines, ""])

    def address_of(self, name: str) -> str:
        return f"{self._network}.{1 if name == 'login' else 11 + self._nodes.index(name)}"

    def up(self) -> None:
        """Bring up what is not up."""
        if "login" not in self._boxes:
            login = self._box("login")
            login.ip("link", "add", "eth0", "type", "bridge")
            self._join(login)
            folder = self.folder
            login.start(
                *("munged", "--foreground", "--force", f"--key-file={folder}/munge.key"),
                *(f"--socket={folder}/munge.sock", f"--pid-file={folder}/munged.pid"),
                *(f"--log-file={folder}/log/munged.log", f"--seed-file={folder}/munged.seed"),
                log=folder / "log" / "munged.out",
            )
            wait_until((folder / "munge.sock").exists, "munged")
            if self.accounting:
                self._start_accounting(login)
            self.start_controller()
        for name in self._nodes:
            if name not in self._boxes:
                self._start_node(name)
            elif self._slurmds[name].poll() is not None:
                self._start_slurmd(name)
        wait_until(self._is_ready, f"the nodes of the cluster (see {self.folder}/log)")

    def _box(self, name: str) -> _Box:
        box = self._boxes[name] = _Box(name)
        box.run("mount", "--bind", str(self.folder / "hosts"), "/etc/hosts")
        return box

    def _join(self, box: _Box) -> None:
        box.ip("address", "add", f"{self.address_of(box.name)}/24", "dev", "eth0")
        box.ip("link", "set", "eth0", "up")

    def _start_node(self, name: str) -> None:
        box, login = self._box(name), self._boxes["login"]
        login.ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(box.pid))
        login.ip("link", "set", name, "master", "eth0", "up")
        self._join(box)
        self._start_slurmd(name)

    def _start_slurmd(self, name: str) -> None:
        log = self.folder / "log" / f"slurmd-{name}.out"
        # -b: the node has started anew, so no job of its can have lived on
        self._slurmds[name] = self._boxes[name].start(
            *("slurmd", "-D", "-b", "-N", name, "-f", str(self.conf)),
            log=log,
            environment={"SLURM_CONF": str(self.conf)},
        )

    def start_controller(self) -> None:
        log = self.folder / "log" / "slurmctld.out"
        self._boxes["login"].start(
            "slurmctld", "-D", "-f", str(self.conf), log=log, environment={"SLURM_CONF": str(self.conf)}
        )
        wait_until(
            lambda: "UP" in (self._try("scontrol", "ping") or ""), f"slurmctld (see {self.folder}/log)"
        )

    def stop_controller(self) -> None:
        """End the controller at once; `start_controller` brings it back with what it has saved."""
        self._boxes["login"].run("kill", "-9", (self.folder / "slurmctld.pid").read_text().strip())

    def _start_accounting(self, login: _Box) -> None:
        folder, log = self.folder, self.folder / "log" / "accounting.out"
        data, socket = folder / "mysql", folder / "mysql.sock"
        login.run(
            *("mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root", "--skip-test-db"),
            *("--auth-root-authentication-method=normal", "--skip-name-resolve"),
        )
        login.start(
            *("mariadbd", "--no-defaults", f"--datadir={data}", "--user=root", f"--socket={socket}"),
            *("--skip-networking", "--innodb-lock-wait-timeout=900"),
            log=log,
        )
        wait_until(
            lambda: bool(
                self._try("mariadb", "--no-defaults", f"--socket={socket}", "-u", "root", "-e", "select 1")
            ),
            "mariadb",
        )
        conf = folder / "slurmdbd.conf"
        conf.touch(mode=0o600)
        conf.write_text(
            f"DbdHost=login\nDbdAddr={self._network}.1\nDbdPort=6819\nSlurmUser=root\nAuthType=auth/munge\n"
            f"AuthInfo=socket={folder}/munge.sock\nPidFile={folder}/slurmdbd.pid\n"
            f"LogFile={folder}/log/slurmdbd.log\nStorageType=accounting_storage/mysql\nStorageHost=localhost\n"
            "StorageUser=root\n"
        )
        login.start(
            *("slurmdbd", "-D"),
            log=log,
            environment={"SLURM_CONF": str(self.conf), "MYSQL_UNIX_PORT": str(socket)},
        )
        wait_until(lambda: self._try("sacctmgr", "-n", "list", "cluster") is not None, "slurmdbd")

    def _try(self, *command: str) -> str | None:
        """What a command prints on the login node, if it succeeds."""
        done = subprocess.run(
            self._boxes["login"].enter("env", f"SLURM_CONF={self.conf}", *command),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout if done.returncode == 0 else None

    def _is_ready(self) -> bool:
        states = (self._try("sinfo", "-h", "-N", "-p", "cpu", "-o", "%t") or "").split()
        return len(states) == len(self._nodes) and all(state in ("idle", "mix", "alloc") for state in states)

    def run(self, *command: str, on: str = "login") -> str:
        """What `command` prints on a node; it must succeed."""
        return self._boxes[on].run("env", f"SLURM_CONF={self.conf}", *command)

    def enter_names(self, node: str) -> list[str]:
        """The beginning of a command that is to see the host names of a node, but all else as it is here."""
        return ["nsenter", f"--target={self._boxes[node].pid}", "-m", "-u", '--wdns="$PWD"', "--"]

    def queue(self) -> list[str]:
        """The jobs that wait or run, as `ID STATE`."""
        return self.run("squeue", "-h", "-r", "-o", "%i %T").splitlines()

    def power_off(self, node: str) -> None:
        """Everything on the node vanishes."""
        self._boxes.pop(node).power_off()

    def declare_down(self, node: str) -> None:
        """Let the controller know at once what it would find out by itself after half a minute."""
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def kill_slurmd(self, node: str) -> None:
        """End the node's slurmd alone: its jobs run on."""
        self._boxes[node].run("kill", "-9", (self.folder / f"slurmd-{node}.pid").read_text().strip())
        self._slurmds[node].wait()

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and what it starts, is on the login node's network, and called so; Slurm's commands work."""
        conf = os.environ.get("SLURM_CONF")
        own = [os.open(f"/proc/thread-self/ns/{name}", os.O_RDONLY) for name in _ENTERED]
        login = [os.open(f"/proc/{self._boxes['login'].pid}/ns/{name}", os.O_RDONLY) for name in _ENTERED]
        _enter(login)
        os.environ["SLURM_CONF"] = str(self.conf)
        try:
            yield
        finally:
            _enter(own)
            for name_space in (*own, *login):
                os.close(name_space)
            if conf is None:
                del os.environ["SLURM_CONF"]
            else:
                os.environ["SLURM_CONF"] = conf

    def down(self) -> None:
        """Everything goes; the folder stays."""
        for name in ("login", *self._nodes):
            if name in self._boxes:
                self._boxes.pop(name).power_off()
        self._alone.close()


def _enter(name_spaces: Sequence[int]) -> None:
    for name_space in name_spaces:
        if _LIBC.setns(name_space, 0) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def main(command: Sequence[str]) -> int:
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(folder)
    cluster.up()
    try:
        with cluster.entered():
            return subprocess.run(list(command) or ["bash"], check=False).returncode
    finally:
        cluster.down()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
