"""Where a job's rows come from, and how they are cut into chunks."""

from breakbulk.sources.base import Source
from breakbulk.sources.guard import guard_key
from breakbulk.sources.items import Items, StoredItems
from breakbulk.sources.table import TableSource, table_source

__all__ = ["Items", "Source", "StoredItems", "TableSource", "guard_key", "table_source"]
