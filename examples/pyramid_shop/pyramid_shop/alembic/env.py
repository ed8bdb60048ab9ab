"""Alembic, with the settings of a Pyramid application."""

from __future__ import annotations

from alembic import context
from pyramid.paster import bootstrap, setup_logging

from pyramid_shop.models import get_engine
from pyramid_shop.models.meta import Base

config = context.config
assert config.config_file_name is not None
setup_logging(config.config_file_name)

with bootstrap(config.config_file_name) as env:
    settings = env["registry"].settings
    # On SQLite, Breakbulk's tables are beside ours: they are none of autogenerate's business.
    include_name = env["registry"]["breakbulk"].include_name


def run_offline() -> None:
    """Print the SQL."""
    context.configure(
        url=settings["sqlalchemy.url"],
        target_metadata=Base.metadata,
        include_name=include_name,
        literal_binds=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    """Change the database."""
    engine = get_engine(settings)
    with engine.connect() as connection:
        context.configure(
            connection=connection, target_metadata=Base.metadata, include_name=include_name
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
