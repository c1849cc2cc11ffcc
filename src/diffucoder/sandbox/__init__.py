"""Runs untrusted programs against tests that they cannot see.

Each program runs in a process of its own that can read nothing but the standard library, cannot
write files, start processes or use the network. The tests run in another process and call the
program's functions over a channel that carries plain data only, so no candidate can forge a
verdict.
"""

from diffucoder.sandbox.pool import Sandbox
from diffucoder.sandbox.records import Program, Status, Verdict
from diffucoder.sandbox.tiers import TIERS

__all__ = ["TIERS", "Program", "Sandbox", "Status", "Verdict"]
