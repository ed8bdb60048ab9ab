"""For ``celery -A pyramid_shop.celery worker --ini development.ini``."""

from breakbulk.pyramid.celery import celery_app

app = celery_app("pyramid_shop")
