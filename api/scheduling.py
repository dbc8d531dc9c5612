"""Whose turn it is on two cores: intake answers while searches, merges and erasures run in the same process.

Threads share the interpreter: one that computes keeps it for a whole interval before another gets in, and a push asks
for it a dozen times between its first byte and its answer. So intervals are short, and what nobody waits for on a
telephone exchange's timeout stands back: its threads have a lower priority, for the time that they spend outside the
interpreter, in compiled loops, ciphers and codecs.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Final

INTERVAL_SECONDS: Final = 0.0005
"""The default of 5 ms is as long as a push may take altogether."""
NICENESS: Final = 10


def take_short_turns() -> None:
    """Let waiting threads have the interpreter sooner, in the whole process."""
    sys.setswitchinterval(INTERVAL_SECONDS)


def stand_back() -> None:
    """Lower the priority of the calling thread, for good: only a privileged process may raise it again."""
    if not hasattr(os, "setpriority"):
        return
    if threading.current_thread() is threading.main_thread():  # a command has the process to itself
        return
    thread = threading.get_native_id()
    if os.getpriority(os.PRIO_PROCESS, thread) < NICENESS:
        os.setpriority(os.PRIO_PROCESS, thread, NICENESS)
