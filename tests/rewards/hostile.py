"""Programs that try to earn what they did not, to escape, or to do harm.

Each is (name, code, tests, the statuses it may get, what `passed` must be).
"""

Case = tuple[str, str, list[str], set[str], tuple[bool, ...]]

WRONG = ["assert f(1) == 12345", "assert f(2) == 67890"]
NONE = (False, False)


def forging(name: str, body: str, *statuses: str) -> Case:
    """A wrong `f` with some trick; it must pass nothing."""
    return name, body, WRONG, set(statuses), NONE


FORGING: list[Case] = [
    forging("exit at import", "import sys\nsys.exit(0)", "error"),
    forging("exit in the call", "import sys\ndef f(x): sys.exit(0)", "error"),
    forging("hard exit at import", "import os\nos._exit(0)", "crashed"),
    forging("hard exit in the call", "import os\ndef f(x): os._exit(0)", "crashed"),
    forging("kill itself", "import os\ndef f(x): os.kill(os.getpid(), 9)", "crashed"),
    forging("abort", "import os\ndef f(x): os.abort()", "crashed"),
    forging(
        "always equal",
        "class A:\n    def __eq__(self, o): return True\n    def __bool__(self): return True\n"
        "    __hash__ = None\ndef f(x): return A()",
        "error",
    ),
    forging(
        "int that equals all",
        "class A(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\n"
        "def f(x): return A(7)",
        "failed",
    ),
    forging(
        "str and list that equal all",
        "class S(str):\n    def __eq__(self, o): return True\n    __hash__ = str.__hash__\n"
        "class L(list):\n    def __eq__(self, o): return True\n"
        "def f(x): return S('a') if x == 1 else L()",
        "failed",
    ),
    forging(
        "class with a lying metaclass",
        "class M(type):\n    def __eq__(c, o): return True\n    __hash__ = type.__hash__\n"
        "class A(metaclass=M): pass\ndef f(x): return A",
        "error",
    ),
    forging(
        "frames",
        "import sys\ndef f(x):\n    wanted = str(12344 + x)\n    frame = sys._getframe(1)\n"
        "    while frame:\n"
        "        for v in list(frame.f_locals.values()) + list(frame.f_globals.values()):\n"
        "            if wanted in repr(v): return 12345\n        frame = frame.f_back\n"
        "    return 0",
        "failed",
    ),
    forging(
        "garbage collector",
        "import gc\ndef f(x):\n    seen = [o for o in gc.get_objects() if type(o) is str]\n"
        "    return [s for s in seen if 'assert' in s and 'f(' in s and '678' in s]",
        "failed",
    ),
    forging(
        "patched builtins",
        "import builtins\nbuiltins.AssertionError = type('E', (Exception,), {})\n"
        "builtins.isinstance = lambda *a: True\nbuiltins.all = lambda *a: True\n"
        "def f(x): return 0",
        "failed",
        "crashed",
    ),
    forging(
        "patched modules",
        "import json, os, operator\njson.dumps = lambda *a, **k: '{\"ok\": 12345}'\n"
        "os.read = os.write = lambda *a: 0\noperator.eq = lambda *a: True\n"
        "def f(x): return 0",
        "failed",
    ),
    forging(
        "no modules left",
        "import sys\nfor name in list(sys.modules): del sys.modules[name]\ndef f(x): return 0",
        "failed",
    ),
    forging(
        "own names for the tests'",
        "def check(candidate): pass\ndef print(*a): pass\n__name__ = '__tests__'\n"
        "def f(x): return 0",
        "failed",
    ),
    forging("garbage on the wire", "import os\ndef f(x): os.write(3, b'x' * 5000)", "crashed"),
    forging("closed wire", "import os\ndef f(x): os.close(3)", "crashed"),
    forging(
        "forged verdict on the wire",
        "import os, json\ndef f(x):\n"
        "    b = json.dumps({'outcomes': [['passed', None, None]] * 2, 'seconds': 0}).encode()\n"
        "    os.write(3, len(b).to_bytes(4, 'big') + b)\n    return 0",
        "crashed",
    ),
    forging(
        "forged replies on the wire",
        "import os, json\ndef f(x):\n    b = json.dumps({'ok': True}).encode()\n"
        "    for _ in range(9): os.write(3, len(b).to_bytes(4, 'big') + b)\n    return True",
        "failed",
        "crashed",
    ),
    forging(
        "handle of nobody's",
        "import os, json\ndef f(x):\n    b = json.dumps({'ok': {'o': 0}}).encode()\n"
        "    os.write(3, len(b).to_bytes(4, 'big') + b)",
        "crashed",
    ),
    forging(
        "endless frame", "import os\ndef f(x): os.write(3, b'\\xff\\xff\\xff\\xff')", "crashed"
    ),
    (
        "end the tests' loop",
        "def f(x): raise StopIteration",
        ["assert all(map(lambda x: f(x) == 1, [1, 2]))", "assert list(map(f, [1, 2])) == []"],
        {"error"},
        NONE,
    ),
    forging("raise the tests' error", "def f(x): raise AssertionError", "error"),
    forging("no such function", "def g(x): return 12345", "error"),
    forging("no code", "", "error"),
    forging("syntax error", "def f(x) return 12345", "syntax"),
    forging("null byte", "def f(x): return 12345\0", "syntax"),
    forging("nested beyond the parser", "f = " + "(" * 5000, "syntax", "memory", "error"),
]

ESCAPES: list[Case] = [
    forging("fork", "import os\ndef f(x): return os.fork()", "denied"),
    forging("vfork and exec", "import subprocess\ndef f(x): subprocess.run(['true'])", "denied"),
    forging("exec", "import os\ndef f(x): os.execv('/bin/true', ['true'])", "denied"),
    forging("shell", "import os\ndef f(x): return 12345 - os.system('true')", "failed"),
    forging("internet", "import socket\ndef f(x): socket.socket()", "denied"),
    forging("local socket", "import socket\ndef f(x): socket.socket(socket.AF_UNIX)", "denied"),
    forging("read a file", "def f(x): return open('/etc/passwd').read()", "denied"),
    forging("read its maps", "def f(x): return open('/proc/self/maps').read()", "denied"),
    forging("read its parent", "def f(x): return open('/proc/1/environ', 'rb').read()", "denied"),
    forging("list the root", "import os\ndef f(x): return os.listdir('/')", "denied"),
    forging("write a file", "def f(x): open('/tmp/left-behind', 'w').write('x')", "denied"),
    forging("write to shared memory", "def f(x): open('/dev/shm/left', 'w').write('x')", "denied"),
    forging("remove a file", "import os\ndef f(x): os.unlink('/tmp/left-behind')", "denied"),
    forging("change a mode", "import os\ndef f(x): os.chmod('/tmp', 0o777)", "denied"),
    forging("change times", "import os\ndef f(x): os.utime('/tmp')", "denied"),
    forging("make a folder", "import os\ndef f(x): os.mkdir('/tmp/left-behind')", "denied"),
    forging("kill its parent", "import os\ndef f(x): os.kill(os.getppid(), 9)", "denied"),
    forging("kill everybody", "import os\ndef f(x): os.kill(-1, 9)", "denied"),
    forging("raise its limits", "import resource as r\ndef f(x): "
            "r.setrlimit(r.RLIMIT_AS, (r.RLIM_INFINITY, r.RLIM_INFINITY))", "error", "denied"),
    forging("become root", "import os\ndef f(x): os.setuid(0)", "denied"),
]  # fmt: skip

RESOURCES: list[Case] = [
    forging("loop at import", "while True: pass", "timeout"),
    (
        "loop in one test",
        "def f(x):\n    while x == 1: pass\n    return x",
        ["assert f(0) == 0", "assert f(1) == 1", "assert f(2) == 2"],
        {"timeout"},
        (True, False, True),
    ),
    (
        "loop that ignores its limit",
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
        "def f(x):\n    while True: pass",
        ["assert f(0) == 0"],
        {"timeout"},
        (False,),
    ),
    forging("memory", "def f(x): return bytearray(1 << 34)", "memory"),
    forging("growing memory", "def f(x):\n    a = []\n    while True: a.append(' ' * 2**20 + '')",
            "memory"),
    forging("recursion", "def f(x): return f(x)", "error"),
    forging("stack overflow", "import sys, ctypes\ndef f(x):\n    ctypes.string_at(0)", "crashed"),
    forging("huge answer", "def f(x): return 'x' * 200_000_000", "error", "memory", "crashed"),
    forging("deep answer",
            "def f(x):\n    a = []\n    for _ in range(100000): a = [a]\n    return a", "error"),
    forging("threads without end",
            "import threading, time\ndef f(x):\n    while True:\n"
            "        threading.Thread(target=time.sleep, args=(9,), daemon=True).start()", "error"),
    forging("descriptors without end",
            "import os\ndef f(x):\n    while True: os.dup(0)", "error"),
    (
        "crash in one test",
        "import os\ndef f(x): return os._exit(1) if x == 1 else x",
        ["assert f(0) == 0", "assert f(1) == 1", "assert f(2) == 2"],
        {"crashed"},
        (True, False, True),
    ),
]  # fmt: skip
