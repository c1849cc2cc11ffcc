"""The call filters of both architectures, run by an interpreter of their instructions."""

import errno
import fcntl
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffucoder.sandbox.inside import seccomp

ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM = ERRNO | errno.EPERM
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
GUEST = 4321
# What a candidate must never be able to call: (x86-64, aarch64).
FORBIDDEN = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "sendmsg": (46, 211),
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "ptrace": (101, 117), "prctl": (157, 167), "seccomp": (317, 277), "unshare": (272, 97),
    "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "chroot": (161, 51),
    "pivot_root": (155, 41), "io_uring_setup": (425, 425), "bpf": (321, 280),
    "perf_event_open": (298, 241), "memfd_create": (319, 279), "userfaultfd": (323, 282),
    "keyctl": (250, 219), "add_key": (248, 217), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "setuid": (105, 146), "setgid": (106, 144),
    "setgroups": (116, 159), "setsid": (112, 157), "setpgid": (109, 154), "capset": (126, 91),
    "chmod": (90, None), "fchmodat": (268, 53), "fchownat": (260, 54), "utimensat": (280, 88),
    "truncate": (76, 45), "unlinkat": (263, 35), "mkdirat": (258, 34), "symlinkat": (266, 36),
    "linkat": (265, 37), "mknodat": (259, 33), "setxattr": (188, 5), "chdir": (80, 49),
    "clock_settime": (227, 112), "settimeofday": (164, 170), "adjtimex": (159, 171),
    "sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122), "setpriority": (141, 140),
    "sched_setattr": (314, 274), "ioprio_set": (251, 30), "sethostname": (170, 161),
    "reboot": (169, 142), "init_module": (175, 105), "kexec_load": (246, 104), "swapon": (167, 224),
    "personality": (135, 92), "quotactl": (179, 60), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "landlock_restrict_self": (446, 446), "mlock": (149, 228),
    "timer_create": (222, 107), "wait4": (61, 260),
}  # fmt: skip


def run(program: bytes, number: int, arguments: tuple[int, ...] = (), audit: int = 0) -> int:
    """What a filter answers to a call: classic BPF, as far as filters of this kind use it."""
    padded = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", number, audit, 0, *padded)
    steps = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    while True:
        code, jump_true, jump_false, value = steps[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x15:
            at += jump_true if accumulator == value else jump_false
        elif code == 0x45:
            at += jump_true if accumulator & value else jump_false
        elif code == 0x06:
            return value
        else:
            raise AssertionError(f"instruction {code:#x}")


class Guest:
    """What the two filters of a guest answer together: the lesser value wins, as in the kernel."""

    def __init__(self, architecture: str) -> None:
        self.audit = AUDIT[architecture]
        self.column = list(AUDIT).index(architecture)
        self.filters = (
            seccomp.shared_filter(architecture),
            seccomp.guest_filter(architecture, GUEST),
        )

    def answer(self, numbers: tuple[int | None, int | None], *arguments: int) -> int | None:
        number = numbers[self.column]
        if number is None:
            return None
        return min(run(f, number, arguments, self.audit) for f in self.filters)


@pytest.fixture(params=list(AUDIT))
def guest(request: pytest.FixtureRequest) -> Guest:
    return Guest(request.param)


def test_forbidden_calls_are_refused(guest: Guest) -> None:
    answers = {name: guest.answer(numbers, 1, 1) for name, numbers in FORBIDDEN.items()}
    assert set(answers.values()) <= {EPERM, None}, answers


def test_what_an_interpreter_needs_is_allowed(guest: Guest) -> None:
    needed = {
        "read": (0, 63), "write": (1, 64), "openat": (257, 56), "close": (3, 57), "mmap": (9, 222),
        "brk": (12, 214), "futex": (202, 98), "exit_group": (231, 94), "getrandom": (318, 278),
        "clock_nanosleep": (230, 115), "rt_sigreturn": (15, 139), "newfstatat": (262, 79),
        "munmap": (11, 215), "mprotect": (10, 226), "epoll_pwait": (281, 22), "ppoll": (271, 73),
    }  # fmt: skip
    answers = {name: guest.answer(numbers) for name, numbers in needed.items()}
    assert set(answers.values()) == {ALLOW}, answers


def test_nothing_is_allowed_that_is_not_in_the_table(guest: Guest) -> None:
    tabled = {numbers[guest.column] for numbers in seccomp._CALLS.values()}
    special = ("_IOCTL", "_FCNTL", "_SOCKETPAIR", "_SENDTO", "_CLONE3")
    tabled |= {getattr(seccomp, name)[guest.column] for name in special}
    for number in set(range(600)) - tabled:
        assert guest.answer((number, number), 1, 1) == EPERM


@pytest.mark.parametrize("other", [0x40000003, 0xC00000B7, 0xC000003E, 0])
def test_calls_of_another_architecture_end_the_process(guest: Guest, other: int) -> None:
    answers = {run(program, 0, (), other) for program in guest.filters}
    assert (answers == {KILL}) == (other != guest.audit)


def test_numbers_of_the_third_abi_are_refused() -> None:
    guest = Guest("x86_64")
    for number in (0, 1, 41, 59):
        assert guest.answer((0x40000000 + number, None)) == EPERM


def test_signals_reach_the_guest_alone(guest: Guest) -> None:
    kill, tgkill = (62, 129), (234, 131)
    for call in (kill, tgkill):
        assert guest.answer(call, GUEST, 9) == ALLOW
        for other in (1, 0, 2**32 - 1, 2**64 - 1, GUEST + 1):
            assert guest.answer(call, other, 9) == EPERM


def test_descriptors_send_no_signals(guest: Guest) -> None:
    call = (72, 25)
    for command in (fcntl.F_DUPFD, fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_DUPFD_CLOEXEC):
        assert guest.answer(call, 3, command) == ALLOW
    set_owner_ex, set_signal, notify, set_lease, set_pipe_size = 15, 10, 1026, 1024, 1031
    forbidden = (fcntl.F_SETOWN, set_owner_ex, set_signal, notify, set_lease, set_pipe_size)
    for command in forbidden:
        assert guest.answer(call, 3, command) == EPERM


def test_devices_take_no_orders(guest: Guest) -> None:
    call, non_blocking = (16, 29), 0x5421
    assert guest.answer(call, 3, non_blocking) == ALLOW
    for request in (0x5412, 0x5413, 0x5401, 0x8901, 0x8902, 0x5452):
        assert guest.answer(call, 0, request) == ERRNO | errno.ENOTTY


def test_sockets_are_local_pairs_and_send_to_no_address(guest: Guest) -> None:
    pair, send_to = (53, 199), (44, 206)
    assert guest.answer(pair, 1, 1) == ALLOW
    for family in (0, 2, 10, 16, 17, 38, 40):
        assert guest.answer(pair, family, 1) == EPERM
    assert guest.answer(send_to, 3, 1, 1, 0, 0, 0) == ALLOW
    for address in (1, 2**31, 2**32, 2**40, 0x7FFF_0000_0000):
        assert guest.answer(send_to, 3, 1, 1, 0, address, 0) == EPERM


def test_new_tasks_are_threads(guest: Guest) -> None:
    clone, clone3, thread = (56, 220), (435, 435), 0x3D0F00
    assert guest.answer(clone, thread) == ALLOW
    for flags in (0, 17, 0x01200011, 0x10000000, 0x20000000 | 17, 0x4000 | 17):
        assert guest.answer(clone, flags) == EPERM
    # libc then falls back on the call whose flags a filter can see.
    assert guest.answer(clone3, 0x3D0F00) == ERRNO | errno.ENOSYS


def test_limits_of_others_are_out_of_reach(guest: Guest) -> None:
    call = (302, 261)
    assert guest.answer(call, 0, 7) == ALLOW
    assert guest.answer(call, 1, 7) == EPERM


def _numbers(header: Path) -> Iterator[tuple[str, int]]:
    pattern = r"#define __NR(?:3264)?_(\w+)\s+(\d+)"
    for name, number in re.findall(pattern, header.read_text()):
        yield ("newfstatat" if name == "fstatat" else name), int(number)


@pytest.mark.parametrize("architecture", AUDIT)
def test_numbers_are_those_of_the_kernels_headers(architecture: str) -> None:
    header = HEADERS[architecture]
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    numbers = dict(reversed(list(_numbers(header))))
    column = list(AUDIT).index(architecture)
    tables = seccomp._CALLS | FORBIDDEN
    ours = {name: row[column] for name, row in tables.items() if name in numbers}
    assert {name: numbers[name] for name in ours} == ours
    assert len(ours) > 100
