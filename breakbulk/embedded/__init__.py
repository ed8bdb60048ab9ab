"""PostgreSQL and Valkey from wheels: real servers with nothing to install on the machine.

They come with the extra ``embedded`` and are meant for the demo, for tests and for a first
try, not for production. Both listen on the loopback interface only, behind a random
password; both run as root and as an ordinary user; and neither outlives the process that
started it, however that one ends::

    with scratch_directory() as home, EmbeddedPostgres(home / "postgres") as postgres:
        engine = create_engine(postgres.url)

The objects belong to the process that started them: a forked child may use ``url`` but must
leave ``stop`` to its parent.
"""

from breakbulk.embedded.account import scratch_directory
from breakbulk.embedded.postgres import EmbeddedPostgres
from breakbulk.embedded.process import StopMode
from breakbulk.embedded.valkey import EmbeddedValkey

__all__ = ["EmbeddedPostgres", "EmbeddedValkey", "StopMode", "scratch_directory"]
