"""Where every command line begins, as ``ssbench`` and as ``python -m ssbench``."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until a command begins there is nothing to be saved, and Ctrl-C prints no traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from ssbench.cli.app import main

if __name__ == "__main__":
    main()
