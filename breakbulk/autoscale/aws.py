"""The way to AWS: boto3 when it is installed, and its refusals in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from breakbulk.errors import ConfigurationError, ProviderRefused


def client(service: str, region: str | None) -> Any:
    """A client of one of AWS' services.

    Raises:
        ConfigurationError: boto3 is not installed, or there is no region.
    """
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"There is no {error.name} here: pip install 'breakbulk[aws]'."
        ) from error
    try:
        return boto3.client(service, region_name=region)
    except BotoCoreError as error:
        raise ConfigurationError(
            f"AWS cannot be asked ({str(error).rstrip('.')}): give --region, or set"
            " AWS_DEFAULT_REGION."
        ) from error


@contextmanager
def refusals(who: str) -> Iterator[None]:
    """What AWS refuses, or cannot be asked, as an error of ours.

    Raises:
        ProviderRefused: it does.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise ProviderRefused(f"{who} refuses: {str(error).rstrip('.')}.") from error
