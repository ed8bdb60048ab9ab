"""Secret parameters are sealed where they are stored, and opened by whoever has a key."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from breakbulk import Breakbulk, Masked
from breakbulk.errors import ConfigurationError, ParameterError
from breakbulk.runner.vault import VARIABLE, Vault

if TYPE_CHECKING:
    from breakbulk.jobs import JobSpec

_KEY, _OLDER = "k" * 32, "o" * 40


@pytest.fixture
def spec() -> JobSpec:
    bulk = Breakbulk("sqlite://")

    @bulk.job
    class Mails:
        rate: int = 3
        token: Annotated[str, Masked] = "hush"

        def source(self) -> Any: ...

        def process(self, chunk: Any) -> None: ...

    return bulk.jobs.get("Mails")


def test_only_secrets_are_sealed(spec: JobSpec) -> None:
    vault = Vault([_KEY])
    stored = vault.seal(spec, {"rate": 3, "token": "s3cret"})
    assert stored["rate"] == 3
    assert set(stored["token"]) == {"sealed"}
    assert "s3cret" not in str(stored)
    assert vault.open(spec, stored) == {"rate": 3, "token": "s3cret"}


def test_the_same_secret_looks_another_way_each_time_and_counts_as_the_same(spec: JobSpec) -> None:
    vault, given = Vault([_KEY]), {"rate": 3, "token": "s3cret"}
    assert vault.seal(spec, given) != vault.seal(spec, given)
    (known,) = vault.digests(spec, given)
    (older,) = Vault([_OLDER]).digests(spec, given)
    assert known != older, "nobody can guess it"
    assert Vault([_KEY, _OLDER]).digests(spec, given) == [known, older]
    assert vault.digests(spec, given | {"token": "other"}) != [known]
    bare = {"rate": 3}
    assert Vault([_KEY, _OLDER]).digests(spec, bare) == Vault().digests(spec, bare)


def test_a_key_is_changed_by_putting_the_new_one_in_front(spec: JobSpec) -> None:
    stored = Vault([_OLDER]).seal(spec, {"token": "s3cret"})
    assert Vault([_KEY, _OLDER]).open(spec, stored) == {"token": "s3cret"}
    with pytest.raises(ParameterError, match="another secret_key"):
        Vault([_KEY]).open(spec, stored)


def test_what_was_written_before_it_was_marked_is_read_as_it_is(spec: JobSpec) -> None:
    assert Vault([_KEY]).open(spec, {"token": "plain"}) == {"token": "plain"}


@pytest.mark.parametrize("what", ["seal", "digests"])
def test_without_a_key_no_secret_is_stored(spec: JobSpec, what: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'token' of .*Mails is secret.*{VARIABLE}"):
        getattr(Vault(), what)(spec, {"rate": 3, "token": "s3cret"})
    sealed = Vault([_KEY]).seal(spec, {"token": "s3cret"})
    with pytest.raises(ConfigurationError, match="secret_key"):
        Vault().open(spec, sealed)


def test_a_key_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least 32 characters"):
        Vault(["changeme"])


def test_keys_come_from_the_environment_unless_given(
    spec: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"{_KEY}, {_OLDER},")
    stored = Vault([_OLDER]).seal(spec, {"token": "s3cret"})
    assert Vault.of(None).open(spec, stored) == {"token": "s3cret"}
    with pytest.raises(ParameterError):
        Vault.of(_KEY).open(spec, stored)


def test_the_package_that_encrypts_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'breakbulk\[masked\]'"):
        Vault([_KEY])
    Vault()
