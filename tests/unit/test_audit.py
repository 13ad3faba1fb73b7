"""The audit of packages in continuous integration."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).resolve().parents[2] / ".ci" / "audit.py"
FLAW = {"id": "CVE-2026-1", "fix_versions": ["1.1"]}


def audit(folder: Path, answer: str) -> "subprocess.CompletedProcess[str]":
    """What comes of it when pip-audit prints this."""
    pip_audit = folder / "pip_audit.py"
    pip_audit.write_text(f"import sys\nprint({answer!r})\nsys.exit(1)")
    command = [sys.executable, AUDIT, sys.executable, str(pip_audit)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("package", "code", "said"),
    [
        ({"version": "1.0", "vulns": [FLAW]}, 1, "spam 1.0: CVE-2026-1, fixed in 1.1"),
        ({"version": "1.0", "vulns": []}, 0, "1 packages audited, 0 vulnerabilities"),
        ({"skip_reason": "not found"}, 0, "::warning::1 of 1 packages could not be audited, such as spam"),
    ],
)
def test_a_vulnerability_is_a_failure_and_a_package_that_is_not_known_a_warning(
    tmp_path: Path, package: dict[str, Any], code: int, said: str
):
    result = audit(tmp_path, json.dumps({"dependencies": [{"name": "spam", **package}]}))
    assert (result.returncode, said in result.stdout + result.stderr) == (code, True), result


def test_a_database_that_cannot_be_reached_is_a_warning(tmp_path: Path):
    result = audit(tmp_path, "")
    assert result.returncode == 0 and "::warning::No package was audited" in result.stderr
