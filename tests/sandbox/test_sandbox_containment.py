"""What holds candidates in: tiers, system calls, and processes that end when they should."""

import os
import platform
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from diffucoder.sandbox import TIERS, Program, Sandbox, Verdict
from diffucoder.sandbox.tiers import flaw


def run(sandbox: Sandbox, code: str, *tests: str) -> Verdict:
    return sandbox.run([Program(textwrap.dedent(code), tests)])[0]


# A kernel that has no such call, for a process and all that it starts: what is left is chosen.
REFUSING = """
import os, struct, sys
from diffucoder.errors import SandboxUnavailable
from diffucoder.sandbox import Program, Sandbox
from diffucoder.sandbox.inside import lockdown
X86 = os.uname().machine == "x86_64"
CALLS = {"landlock": 444, "namespaces": 272 if X86 else 97, "seccomp": 317 if X86 else 277}
PROGRAM = Program("def f(): return 1", ["assert f() == 1"])
def without(*names):
    if os.fork():
        return os.wait()
    steps = [(0x20, 0, 0, 0)]
    for name in names:
        steps += [(0x15, 0, 1, CALLS[name]), (0x06, 0, 0, 0x00050000 | 38)]
    steps.append((0x06, 0, 0, 0x7FFF0000))
    lockdown.libc.prctl(38, 1, 0, 0, 0)
    lockdown.filter_calls(b"".join(struct.pack("=HBBI", *step) for step in steps))
    try:
        with Sandbox(workers=1) as sandbox:
            print(*names, "->", sandbox.tier, sandbox.run([PROGRAM])[0].status)
    except SandboxUnavailable as error:
        with Sandbox(workers=1, tier="unsafe") as sandbox:
            print(*names, "->", "tier='unsafe'" in str(error), sandbox.run([PROGRAM])[0].status)
    sys.stdout.flush()
    os._exit(0)
without("namespaces")
without("landlock")
without("landlock", "namespaces")
without("seccomp")
"""


def test_takes_what_the_kernel_offers_and_refuses_where_that_is_too_little() -> None:
    for tier in TIERS[:3]:
        if reason := flaw(tier):
            pytest.skip(f"{tier} is not on this machine: {reason}")
    done = subprocess.run(
        [sys.executable, "-c", REFUSING], capture_output=True, text=True, timeout=200
    )
    assert done.stdout.splitlines() == [
        "namespaces -> landlock+seccomp passed",
        "landlock -> namespaces+seccomp passed",
        "landlock namespaces -> True passed",
        "seccomp -> True passed",
    ], done.stderr


def test_unsafe_contains_nothing_and_is_never_chosen() -> None:
    with Sandbox(workers=1, tier="unsafe") as sandbox:
        assert sandbox.tier == "unsafe"
        verdict = run(sandbox, "def f(): return len(open('/etc/passwd').read())", "assert f() > 0")
        assert verdict.status == "passed"
    assert Sandbox(workers=1).tier != "unsafe"


def test_namespaces_hide_what_is_not_the_librarys() -> None:
    if reason := flaw(TIERS[0]):
        pytest.skip(f"no namespaces on this machine: {reason}")
    code = """
    import ctypes, os, sys
    def processes():
        return os.getppid() == 1 and os.getpid() < 1000
    def user():
        return os.getuid()
    def host():
        return os.uname().nodename
    def devices():
        libc = ctypes.CDLL(None)
        return [libc.if_nametoindex(name) for name in (b"lo", b"eth0")]
    def size(path):
        try:
            return os.stat(path).st_size
        except OSError as error:
            return type(error).__name__
    """
    hidden = [__file__, "/etc/passwd", "/proc/self/stat", sys.executable]
    tests = ["assert processes()", "assert host() == 'sandbox'"]
    tests += ["assert user() != 0"] if os.getuid() == 0 else []
    tests += [f"assert size({path!r}) in ('PermissionError', 0)" for path in hidden]
    with Sandbox(workers=1, tier=TIERS[0]) as sandbox:
        verdict = run(sandbox, code, *tests)
    assert verdict.passed == (True,) * len(tests)


def test_threads_are_counted_where_namespaces_allow_it() -> None:
    if reason := flaw(TIERS[0]):
        pytest.skip(f"no namespaces on this machine: {reason}")
    code = """
    import threading, time
    threading.stack_size(2 ** 15)
    def f():
        started = 0
        try:
            while started < 2000:
                threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
                started += 1
        except RuntimeError:
            return started
    """
    with Sandbox(workers=1, memory_mb=512, cpu_s=10, tier=TIERS[0]) as sandbox:
        assert run(sandbox, code, "assert 150 < f() <= 256").status == "passed"


def test_libraries_can_be_imported_and_nothing_beside_them() -> None:
    code = "import numpy\ndef f(): return numpy.arange(3).sum()"
    with Sandbox(workers=1, libraries=["numpy", "there_is_no_such_package"]) as sandbox:
        assert run(sandbox, code, "assert f() == 3").status == "passed"
        assert run(sandbox, "import pytest\ndef f(): pass", "f()").error_type == (
            "ModuleNotFoundError"
        )
    with Sandbox(workers=1, libraries=[]) as sandbox:
        assert run(sandbox, code, "assert f() == 3").error_type == "ModuleNotFoundError"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="call numbers of x86-64")
def test_forbidden_calls_fail_however_they_are_made(sandbox: Sandbox) -> None:
    names = {
        "ptrace": 101, "unshare": 272, "io_uring_setup": 425, "bpf": 321, "mount": 165,
        "process_vm_readv": 310, "memfd_create": 319, "keyctl": 250, "chmod": 90, "fchmodat": 268,
        "utimensat": 280, "setns": 308, "shmget": 29, "msgget": 68, "perf_event_open": 298,
        "socket": 41, "fork": 57, "vfork": 58, "execve": 59, "clone3": 435, "setuid": 105,
        "prctl": 157, "pidfd_open": 434, "tkill": 200, "truncate": 76, "userfaultfd": 323,
        "x32 socket": 0x40000000 + 41,
    }  # fmt: skip
    code = (
        "import ctypes\nlibc = ctypes.CDLL(None)\ndef f(n): return libc.syscall(n, 0, 0, 0, 0, 0)"
    )
    tests = [f"assert f({number}) == -1" for number in names.values()]
    verdict = run(sandbox, code, *tests)
    assert dict(zip(names, verdict.passed, strict=True)) == dict.fromkeys(names, True)


def _descendants(pid: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found, size = {pid}, 0
    while len(found) != size:
        size = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return found - {pid}


def _settled(pid: int) -> set[int]:
    """Descendants, once no guest is being replaced."""
    now = _descendants(pid)
    for _ in range(100):
        before = now
        time.sleep(0.2)
        now = _descendants(pid)
        if now == before:
            break
    return now


def _wait_until_gone(pids: set[int]) -> set[int]:
    for _ in range(100):
        pids = {pid for pid in pids if _alive(pid)}
        if not pids:
            break
        time.sleep(0.1)
    return pids


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_closing_leaves_no_process_and_no_descriptor() -> None:
    # Sandboxes of other tests may be open, and make guests of their own at any time.
    before, descriptors = _settled(os.getpid()), len(os.listdir("/proc/self/fd"))
    with Sandbox(workers=2) as sandbox:
        stream = sandbox.stream(
            Program("import time\ndef f(): time.sleep(60)", ["assert f() is None"])
            for _ in range(4)
        )
        del stream
        sandbox.run([Program("def f(): return 1", ["assert f() == 1"])] * 4)
        started = _settled(os.getpid()) - before
        assert len(started) >= 6
    assert _wait_until_gone(started) == set()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    sandbox.close()


@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_a_killed_parent_leaves_no_process(how: str) -> None:
    # A shell that starts tests in the background has them ignore SIGINT, and so their children.
    script = """
    import signal
    from diffucoder.sandbox import Program, Sandbox
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Sandbox(workers=2, cpu_s=60, wall_s=60) as sandbox:
        sandbox.run([Program("def f(): return 1", ["assert f() == 1"])] * 2)
        print("ready", flush=True)
        sandbox.run([Program("while True: pass", ["assert True"])] * 4)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    for _ in range(200):
        started = _descendants(parent.pid)
        if len(started) >= 6:
            break
        time.sleep(0.05)
    assert len(started) >= 6
    parent.send_signal(signal.Signals[how])
    parent.wait(timeout=40)
    parent.stdout.close()
    assert _wait_until_gone(started) == set()


def test_works_without_privileges() -> None:
    # Gives up all capabilities, for good, before it opens the sandbox.
    script = """
    from diffucoder.sandbox import Program, Sandbox
    from diffucoder.sandbox.inside import lockdown
    lockdown.drop_privileges()
    with Sandbox(workers=1) as sandbox:
        codes = ["def f(): return 1", "def f(): return open('/etc/passwd').read() and 1"]
        print(*[v.status for v in sandbox.run([Program(c, ["assert f() == 1"]) for c in codes])])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "passed denied\n", done.stderr


def test_many_programs_leave_nothing_behind(sandbox: Sandbox) -> None:
    programs = [
        Program("def f(): return list(range(1000))", ["assert f() == list(range(1000))"]),
        Program("import os\ndef f(): os._exit(1)", ["assert f()"]),
        Program("def f(", ["assert f()"]),
    ]
    sandbox.run(programs * 10)
    before = {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in _settled(os.getpid())}
    sandbox.run(programs * 30)
    after = {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in _settled(os.getpid())}
    # All but the guests that wait for the next program are the same, and have opened nothing.
    lasting = before.keys() & after.keys()
    assert len(after) == len(before) == len(lasting) + sandbox.workers
    assert {pid: after[pid] for pid in lasting} == {pid: before[pid] for pid in lasting}
