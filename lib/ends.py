"""How a stage ends before its time: with one line at most, and never later than its run.

Imported by lib/rows.py, so by everything that a person calls.
"""

import atexit
import ctypes
import io
import os
import signal
import sys
import threading
import time

# run_all.sh tells its stages the numbers of the processes without which they have no purpose.
RUN_PID = "RUN_PID"
PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
PACKAGES = ("torch", "transformers", "numpy", "tqdm")


def name_of_program():
    """What messages begin with."""
    return os.path.basename(sys.argv[0])


def stop(message):
    """Bad input ends a stage with one line on stderr and exit status 2."""
    print(f"{name_of_program()}: {message}", file=sys.stderr)
    raise SystemExit(2)


def explain(kind, error, trace):
    """What is said of an exception that nothing has caught: a line where no fault of ours shows."""
    if issubclass(kind, KeyboardInterrupt):
        print(f"\n{name_of_program()}: cut off", file=sys.stderr)
    elif issubclass(kind, BrokenPipeError):
        leave_stdout()  # whoever read it has had enough
    elif issubclass(kind, ModuleNotFoundError) and error.name in PACKAGES:
        missing = f"the package {error.name} is missing; run_all.sh installs it, in .venv"
        print(f"{name_of_program()}: {missing}", file=sys.stderr, flush=True)
        os._exit(2)  # Python's own status would be 1
    else:
        sys.__excepthook__(kind, error, trace)


def leave_stdout():
    """What is still to be printed goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def flush_stdout():
    """The last of the output, which `| head -1` does not wait for."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        leave_stdout()


def outlive_nothing(processes):
    """End this process soon after the first of these has ended, whatever ended it.

    Linux itself ends a process at once with its parent, if asked to. A thread looks after the rest.
    """
    while True:
        for process in processes:
            try:
                os.kill(process, 0)  # asks, and sends nothing
            except OSError:
                os._exit(3)
        time.sleep(0.3)


def prepare():
    """Set all this up, once."""
    sys.excepthook = explain
    # A terminal or file that is not in UTF-8 gets \u03c6 for φ.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
        atexit.register(flush_stdout)
    if os.environ.get(RUN_PID):
        processes = [int(number) for number in os.environ[RUN_PID].split()]
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        threading.Thread(target=outlive_nothing, args=[processes], daemon=True).start()


prepare()
