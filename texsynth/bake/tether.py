"""`python -m texsynth.bake.tether ARGUMENTS`: the command line of texsynth, tied to the process that started it.

Standard input is the tie. A byte asks for the end with a checkpoint, as Ctrl-C does. When it closes, the other process
is gone and this one goes at once: a bake or an actor that was killed leaves nobody behind who writes to the folder in
which the next try works already. Signals would not do, for Ray's workers block SIGINT and their children inherit that.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from texsynth.cli import main


def _listen() -> None:
    while os.read(0, 1):  # not sys.stdin: a thread that waits there would hold its lock when the interpreter ends
        os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_listen, daemon=True).start()
    sys.exit(main())
