"""Where every command line begins, as ``ssbench`` and as ``python -m ssbench``."""

import signal
import sys
from importlib import import_module

from ssbench.cli.dependencies import explain

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until a command begins there is nothing to be saved, and Ctrl-C prints no traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> None:
    """Run the command line; a missing package gives one message and exit code 2."""
    try:
        import_module("ssbench.cli.app").main()
    except ImportError as error:
        reason = explain(error)
        if reason is None:
            raise
        sys.stderr.write(f"error: {reason}\n(ssbench doctor shows all packages)\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
