"""For ``celery -A breakbulk.demo.shop.celery worker --ini demo.ini``."""

from breakbulk.pyramid.celery import celery_app

app = celery_app("shop")
