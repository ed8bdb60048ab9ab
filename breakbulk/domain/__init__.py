"""Plain values, states and policies: no I/O, no clock, no SQLAlchemy, no Celery."""
