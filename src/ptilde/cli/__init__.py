"""`ptilde`: the command line. `main` is its door; every failure becomes one or two lines and an exit code.

Modules: `commands` says what each command takes and does, `demo` is the long one, `console` and `progress` are what a
person sees, `errors` turns exceptions into words, `signals` makes sure of Ctrl-C.
"""

from ptilde.cli.errors import main

__all__ = ["main"]
