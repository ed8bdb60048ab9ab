"""The ledger: our SQL tables, the only truth, and the only code that writes them."""

from __future__ import annotations

from breakbulk.ledger.backlog import Backlogs
from breakbulk.ledger.charts import Charts
from breakbulk.ledger.chunks import Chunks
from breakbulk.ledger.claims import Claims
from breakbulk.ledger.database import Database
from breakbulk.ledger.deliveries import Deliveries
from breakbulk.ledger.endpoints import Endpoints
from breakbulk.ledger.failures import Failures
from breakbulk.ledger.finishers import Finishers
from breakbulk.ledger.folding import Folding
from breakbulk.ledger.keptmarks import KeptMarks
from breakbulk.ledger.lanes import Lanes
from breakbulk.ledger.loads import Loads
from breakbulk.ledger.outbox import Outbox
from breakbulk.ledger.pruning import Pruning
from breakbulk.ledger.quarantine import Quarantine
from breakbulk.ledger.reports import Reports
from breakbulk.ledger.results import Results
from breakbulk.ledger.retries import Retries
from breakbulk.ledger.returns import Returns
from breakbulk.ledger.runs import Runs
from breakbulk.ledger.scalers import Scalers
from breakbulk.ledger.signs import SignReader
from breakbulk.ledger.sizes import Sizes
from breakbulk.ledger.stays import Stays
from breakbulk.ledger.takeovers import Takeovers
from breakbulk.ledger.throttles import Throttles
from breakbulk.ledger.tokens import Tokens
from breakbulk.ledger.vitals import Vitals
from breakbulk.ledger.workers import Workers


class Ledger:
    """All of a ledger's tables behind their verbs.

    Args:
        database: where the tables are.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.runs = Runs(database)
        self.finishers = Finishers(database)
        self.claims = Claims(database)
        self.returns = Returns(database)
        self.takeovers = Takeovers(database)
        self.chunks = Chunks(database)
        self.failures = Failures(database)
        self.quarantine = Quarantine(database)
        self.results = Results(database)
        self.keptmarks = KeptMarks(database, self.chunks)
        self.retries = Retries(database)
        self.lanes = Lanes(database)
        self.signs = SignReader(database)
        self.sizes = Sizes(database)
        self.stays = Stays(database)
        self.loads = Loads(database)
        self.workers = Workers(database)
        self.reports = Reports(database)
        self.charts = Charts(database)
        self.endpoints = Endpoints(database)
        self.outbox = Outbox(database)
        self.deliveries = Deliveries(database)
        self.backlogs = Backlogs(database)
        self.scalers = Scalers(database)
        self.tokens = Tokens(database)
        self.folding = Folding(database)
        self.throttles = Throttles(database)
        self.vitals = Vitals(database)
        self.pruning = Pruning(database)


__all__ = ["Database", "Ledger"]
