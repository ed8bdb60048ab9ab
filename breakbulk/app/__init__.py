"""The application: what users, the command line, the web and the worker talk to."""

from breakbulk.app.facade import Breakbulk
from breakbulk.app.handle import RunHandle

__all__ = ["Breakbulk", "RunHandle"]
