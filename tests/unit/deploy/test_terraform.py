"""The Terraform files: their form, and their settings against AWS's own service model.

They were never applied. What can be known without an account is whether each setting exists, has
the right type and is within its bounds: AWS's SDK checks that before it sends anything.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
import hcl2
import pytest
from botocore.validate import ParamValidator

from breakbulk.runner.grace import GRACE_VARIABLE
from tests.support.deployment import DEPLOY
from tests.support.terraform import formatted

if TYPE_CHECKING:
    from pathlib import Path

_HOME = DEPLOY / "terraform"
_FILES = sorted(_HOME.glob("*.tf"))
#: What each resource is to AWS: a service, an operation.
_CALLS = {
    "aws_iam_role": ("iam", "CreateRole"),
    "aws_iam_role_policy": ("iam", "PutRolePolicy"),
    "aws_iam_instance_profile": ("iam", "AddRoleToInstanceProfile"),
    "aws_launch_template": ("ec2", "CreateLaunchTemplate"),
    "aws_autoscaling_group": ("autoscaling", "CreateAutoScalingGroup"),
    "aws_autoscaling_lifecycle_hook": ("autoscaling", "PutLifecycleHook"),
    "aws_autoscaling_policy": ("autoscaling", "PutScalingPolicy"),
}
#: Where Terraform's name is not AWS's in another case.
_RENAMED = {
    "aws_iam_role": {"name": "RoleName", "assume_role_policy": "AssumeRolePolicyDocument"},
    "aws_iam_role_policy": {"name": "PolicyName", "role": "RoleName", "policy": "PolicyDocument"},
    "aws_iam_instance_profile": {"name": "InstanceProfileName", "role": "RoleName"},
    "aws_autoscaling_group": {"name": "AutoScalingGroupName", "autoscaling_group_name": ""},
    "aws_autoscaling_lifecycle_hook": {
        "name": "LifecycleHookName",
        "autoscaling_group_name": "AutoScalingGroupName",
    },
    "aws_autoscaling_policy": {
        "name": "PolicyName",
        "autoscaling_group_name": "AutoScalingGroupName",
    },
}
_NESTED = {
    "vpc_zone_identifier": "VPCZoneIdentifier",
    "metric_dimension": "Dimensions",
    "vpc_security_group_ids": "SecurityGroupIds",
    "spot_allocation_strategy": "SpotAllocationStrategy",
}
_LISTS = {"Dimensions"}


def plain(value: Any) -> Any:
    """A value as it is written, without the parser's quotes and remarks."""
    if isinstance(value, dict):
        found = {key.strip('"'): plain(one) for key, one in value.items()}
        return {key: one for key, one in found.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, str) and value[:1] == value[-1:] == '"':
        return value[1:-1]
    return value


@cache
def defaults() -> dict[str, Any]:
    """What variables are unless somebody says otherwise."""
    with (_HOME / "variables.tf").open() as file:
        parsed = plain(hcl2.load(file))
    found = {name: one for block in parsed["variable"] for name, one in block.items()}
    return {name: one["default"] for name, one in found.items() if "default" in one}


def resources() -> dict[str, dict[str, Any]]:
    """Every resource, by its type; there is one of each."""
    found: dict[str, dict[str, Any]] = {}
    for path in _FILES:
        with path.open() as file:
            parsed = plain(hcl2.load(file))
        for block in parsed.get("resource", []):
            for kind, named in block.items():
                (settings,) = named.values()
                assert kind not in found
                found[kind] = settings
    return found


def parameters(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A resource as what AWS is asked for."""
    given = {}
    for name, value in settings.items():
        renamed = _RENAMED.get(kind, {}).get(name) or _NESTED.get(name) or camel(name)
        given[renamed] = known(name, value, inside=kind, listed=renamed in _LISTS)
    return given


def known(name: str, value: Any, *, inside: str, listed: bool = False) -> Any:
    """A value with what is not known before somebody applies it filled in."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        nested = [parameters("", one) for one in value]
        return nested if listed else nested[0]
    if isinstance(value, dict):
        return parameters("", value)
    if isinstance(value, str) and (reference := re.fullmatch(r"\$\{var\.(\w+)\}", value)):
        value = defaults().get(reference[1], "given")
        return ["given"] if name.endswith("_ids") else value
    if name == "vpc_zone_identifier":
        return "given"
    return value


def camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def shape(service: str, operation: str) -> Any:
    client = boto3.client(
        service, region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    return client.meta.service_model.operation_model(operation).input_shape


def refused(kind: str, settings: dict[str, Any]) -> str:
    """What AWS's SDK would say before it sends anything; empty when it would send it."""
    service, operation = _CALLS[kind]
    given = parameters(kind, settings)
    if kind == "aws_launch_template":
        # Terraform makes a name of its prefix.
        given = {"LaunchTemplateName": given.pop("NamePrefix"), "LaunchTemplateData": given}
    model = shape(service, operation)
    report = ParamValidator().validate(given, model)
    told = str(report.generate_report())
    return "\n".join([told, *wrong_words(given, model)]).strip()


def wrong_words(given: Any, model: Any, path: str = "") -> list[str]:
    """Words that are none of those that AWS lists."""
    if model.type_name == "structure":
        return [
            one
            for name, value in given.items()
            if name in model.members
            for one in wrong_words(value, model.members[name], f"{path}.{name}")
        ]
    if model.type_name == "list":
        return [one for value in given for one in wrong_words(value, model.member, path)]
    words = getattr(model, "enum", None)
    return [f"{path}: {given} is none of {words}"] if words and given not in words else []


@pytest.mark.thorough
@pytest.mark.parametrize("kind", sorted(_CALLS))
def test_aws_knows_every_setting(kind: str) -> None:
    assert refused(kind, resources()[kind]) == ""


def test_every_resource_is_looked_at() -> None:
    assert set(resources()) == set(_CALLS)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("aws_autoscaling_group", {"min_sise": 1}, "MinSise"),
        ("aws_autoscaling_group", {"min_size": "one"}, "MinSize"),
        ("aws_autoscaling_policy", {"policy_type": ""}, "PolicyType"),
        ("aws_launch_template", {"metadata_options": [{"http_tokens": "must"}]}, "HttpTokens"),
    ],
)
def test_a_slip_would_be_noticed(kind: str, changes: dict[str, Any], says: str) -> None:
    assert says in refused(kind, {**resources()[kind], **changes})


@pytest.mark.parametrize("path", _FILES, ids=lambda path: str(path.name))
def test_it_is_laid_out_as_terraform_does_it(path: Path) -> None:
    assert path.read_text() == formatted(path.read_text())


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("  min_size                  = 1\n", "  min_size = 1\n"),
        ("  min_size                  = 1\n", "    min_size                  = 1\n"),
        ("  min_size                  = 1\n", "\tmin_size                  = 1\n"),
        ("  min_size                  = 1\n", "  min_size                  =  1\n"),
        ("  min_size                  = 1\n", "  min_size                  = 1 \n"),
        ("    Statement = [{\n", "    Statement   = [{\n"),
        ('      Effect    = "Allow"\n', '        Effect    = "Allow"\n'),
        ("    }]\n  })\n", "  }]\n  })\n"),
        ("  name = var.name\n  assume_role", "  name               = var.name\n  assume_role"),
    ],
)
def test_another_layout_would_be_noticed(right: str, wrong: str) -> None:
    text = (_HOME / "main.tf").read_text()
    assert right in text
    changed = text.replace(right, wrong, 1)
    assert formatted(changed) != changed
    assert formatted(changed) == text


@pytest.mark.parametrize("path", _FILES, ids=lambda path: str(path.name))
def test_terraform_itself_would_change_nothing(path: Path) -> None:
    terraform = shutil.which("terraform") or shutil.which("tofu")
    if terraform is None:
        pytest.skip("no terraform: it is in none of Debian's packages")
    done = subprocess.run(
        [terraform, "fmt", "-check", "-diff", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_an_instance_runs_is_a_shell_script() -> None:
    script = _HOME / "user_data.sh"
    subprocess.run(["sh", "-n", str(script)], check=True)
    given = set(re.findall(r"(?<!\$)\$\{(\w+)\}", script.read_text()))
    told = re.search(r"user_data\.sh\", \{(.*?)\}\)", (_HOME / "main.tf").read_text(), re.DOTALL)
    assert told is not None
    assert set(re.findall(r"^\s*(\w+)\s*=", told[1], re.MULTILINE)) == given


def test_the_hook_waits_as_long_as_the_unit_does() -> None:
    unit = (DEPLOY / "systemd" / "shop-worker@.service").read_text()
    assert f"{GRACE_VARIABLE}={defaults()['grace_seconds']}\n" in unit
