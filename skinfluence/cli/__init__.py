"""The command line: ``skinfluence audit FILE --target COLUMN``, ``apply``, ``explain``.

Parsing and talking only; the work is done in `skinfluence.cleaning`. A command is imported when it
runs, inside `main`, where an interruption is answered in one line.
"""

import contextlib
import os
import shlex
import signal
import sys
import threading
from importlib import import_module

OK, USER_ERROR, INTERRUPTED = 0, 2, 130
# The module of each command, with its `run`.
COMMANDS = {name: f"skinfluence.cli.{name}" for name in ("audit", "apply", "explain")}


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments without the program name. ``sys.argv[1:]`` by default.

    Returns
    -------
    code : int
        0 when all went well, 2 for a mistake in the input (one line on stderr says which), 130 when
        interrupted.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    name = f"skinfluence {argv[0]}" if argv[:1] and argv[0] in COMMANDS else "skinfluence"
    try:
        with _terminated_like_interrupted():
            try:
                arguments = import_module("skinfluence.cli.arguments").parser().parse_args(argv)
            except SystemExit as stop:
                sys.stdout.flush()
                return int(stop.code or 0)
            command = import_module(COMMANDS[arguments.command])
            command.run(arguments, "skinfluence " + shlex.join(argv))
            sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has seen enough. Files are written before anything is printed.
        _discard_output()
        return OK
    except KeyboardInterrupt:
        print(f"{name}: interrupted, nothing written", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, ArithmeticError, MemoryError, ImportError, OSError) as error:
        # InputError and numpy's LinAlgError are ValueErrors. Anything else is a bug worth a traceback.
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"{name}: error: {reason}", file=sys.stderr)
        return USER_ERROR
    return OK


def _discard_output():
    """Send what is still to be flushed nowhere, so that the interpreter ends without a complaint."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def _terminated_like_interrupted():
    """SIGTERM raises KeyboardInterrupt, so that nothing half-written is left."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
