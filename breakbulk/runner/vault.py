"""Secret parameters, sealed before they are written down.

A run's parameters lie in the ledger as JSON for as long as the run does, and are read by whoever
may read that database: operators, backups, replicas. What is marked ``Masked`` is therefore
encrypted with a key that the database has not, and only opened where a job is built.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from breakbulk.errors import ConfigurationError, ParameterError
from breakbulk.jobs import JobSpec, parameters_hash

#: Where the key comes from when the application gives none; several are parted by commas.
VARIABLE = "BREAKBULK_SECRET_KEY"
_SHORTEST = 32
#: A value that is an object with this one name is a sealed one.
_SEALED = "sealed"
#: What a sealed text begins with.
_MARK = "sealed:"


class Vault:
    """Seals and opens what is marked ``Masked``.

    Args:
        keys: texts of at least 32 characters that nobody can guess. The first one seals, each may
            open: to change it, put the new one in front and leave the old one until its runs
            have been pruned.

    Raises:
        ConfigurationError: a key is too short, or the package that encrypts is not installed.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        for key in keys:
            if len(key) < _SHORTEST:
                raise ConfigurationError(
                    f"secret_key must have at least {_SHORTEST} characters that nobody can guess:"
                    " python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one."
                )
        self._keys = [hashlib.sha256(key.encode()).digest() for key in keys]
        self._box = _box(self._keys) if keys else None

    @classmethod
    def of(cls, given: str | Sequence[str] | None) -> Vault:
        """With the keys that the application gives, or those of the environment.

        Raises:
            ConfigurationError: as above.
        """
        if given is None:
            given = os.environ.get(VARIABLE, "")
        parts = given.split(",") if isinstance(given, str) else given
        return cls([key.strip() for key in parts if key.strip()])

    @property
    def closed(self) -> bool:
        """Whether there is no key."""
        return self._box is None

    def seal(self, spec: JobSpec, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters as they are stored.

        Raises:
            ConfigurationError: one is secret, and there is no key.
        """
        sealed = dict(parameters)
        for name in _secrets(spec, parameters):
            token = self._box_for(spec, name).encrypt(json.dumps(parameters[name]).encode())
            sealed[name] = {_SEALED: token.decode("ascii")}
        return sealed

    def open(self, spec: JobSpec, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Stored parameters as they were given.

        Raises:
            ConfigurationError: one is secret, and there is no key.
            ParameterError: one was sealed with another key.
        """
        opened = dict(stored)
        for name in _secrets(spec, stored):
            value = stored[name]
            # Written before the parameter was marked, it lies there as it is.
            if isinstance(value, dict) and set(value) == {_SEALED}:
                opened[name] = json.loads(self._opened(spec, name, value[_SEALED]))
        return opened

    def seal_text(self, text: str) -> str:
        """A secret of an endpoint as it is stored: sealed, where there is a key."""
        if self._box is None:
            return text
        return _MARK + str(self._box.encrypt(text.encode()).decode("ascii"))

    def open_text(self, stored: str) -> str:
        """A secret of an endpoint as it is.

        Raises:
            ConfigurationError: it was sealed with a key that this process has not.
        """
        if not stored.startswith(_MARK):
            return stored
        if self._box is not None:
            # Without a key the package need not be there, either.
            from cryptography.fernet import InvalidToken

            with suppress(InvalidToken):
                return str(self._box.decrypt(stored.removeprefix(_MARK)).decode())
        raise ConfigurationError(
            "The endpoint's secret was sealed with another secret_key than this process has: give"
            " all processes the same ones, or register the endpoint anew."
        )

    def digests(self, spec: JobSpec, parameters: Mapping[str, Any]) -> list[str]:
        """What tells whether two runs have the same parameters, and nobody what they are.

        The first is what a new run is known by; by the others runs are known that began before the
        key was changed.

        Raises:
            ConfigurationError: one is secret, and there is no key.
        """
        secrets = _secrets(spec, parameters)
        for name in secrets:
            self._box_for(spec, name)
        return [
            parameters_hash(spec.name, _blinded(parameters, secrets, key))
            # Without secrets all would be the same.
            for key in (self._keys if secrets else [b""])
        ]

    def _opened(self, spec: JobSpec, name: str, token: str) -> bytes:
        from cryptography.fernet import InvalidToken

        try:
            opened: bytes = self._box_for(spec, name).decrypt(token)
        except InvalidToken:
            raise ParameterError(
                f"The parameter {name!r} of {spec.name} was sealed with another secret_key than"
                " this process has: give all processes the same ones, the older ones last."
            ) from None
        return opened

    def _box_for(self, spec: JobSpec, name: str) -> Any:
        if self._box is None:
            raise ConfigurationError(
                f"The parameter {name!r} of {spec.name} is secret, so it is stored sealed: give"
                f" Breakbulk(secret_key=…) or set {VARIABLE}, the same text everywhere."
            )
        return self._box


def _blinded(parameters: Mapping[str, Any], secrets: list[str], key: bytes) -> dict[str, Any]:
    # Of a short secret a bare hash would be as good as the secret itself.
    blind = dict(parameters)
    for name in secrets:
        text = json.dumps(parameters[name], sort_keys=True).encode()
        blind[name] = hmac.new(key, text, hashlib.sha256).hexdigest()
    return blind


def _secrets(spec: JobSpec, values: Mapping[str, Any]) -> list[str]:
    return [one.name for one in spec.parameters.values() if one.masked and one.name in values]


def _box(keys: Sequence[bytes]) -> Any:
    from base64 import urlsafe_b64encode

    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError:
        raise ConfigurationError(
            "secret_key needs a package that encrypts: pip install 'breakbulk[masked]'."
        ) from None
    return MultiFernet([Fernet(urlsafe_b64encode(key)) for key in keys])
