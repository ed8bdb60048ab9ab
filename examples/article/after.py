"""The article's listing as it stands there, corrected where it does not run; see README.md."""

import shop
from breakbulk.canvas import chain, group
from shop import celery


class YourClass:
    @staticmethod
    @celery.task(bind=True, acks_late=True, max_retries=5)
    def processSomeProducts(self, start, end):
        try:
            shop.process(start, end)
            return True
        except Exception as exc:
            # Error management/logging
            # Will retry in 60 seconds
            raise YourClass.processSomeProducts.retry(exc=exc, countdown=shop.RETRY_SECONDS)

    @staticmethod
    @celery.task(bind=True, acks_late=True, max_retries=5)
    def processFinished(self, results):
        try:
            shop.finish()
            return True
        except Exception as exc:
            # Error management/logging
            # Will retry in 60 seconds
            raise YourClass.processFinished.retry(exc=exc, countdown=shop.RETRY_SECONDS)


def processWholeWarehouse():
    task_list = []
    for x in range(0, shop.count(), 500):
        start = x
        end = x + 500

        # Note the .s() is a Celery shortcut for .subtask()
        task_list.append(YourClass.processSomeProducts.s(start, end))

    if len(task_list) > 0:
        product_group = group(task_list)

        chain(product_group, YourClass.processFinished.s()).apply_async()
