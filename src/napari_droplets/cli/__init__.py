"""The command line: options, what it shows while it runs, and the commands themselves."""

from .commands import main as main
