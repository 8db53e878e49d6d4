"""`python -m cloudtask.emulator`."""

import sys

from cloudtask.emulator.commandline import main

if __name__ == "__main__":
    sys.exit(main())
