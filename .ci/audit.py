"""Ask pip-audit about every installed package. A known vulnerability is a failure; what could not be asked about, be it
everything since the database cannot be reached, is a warning."""

import json
import subprocess
import sys

DEADLINE = 300  # seconds

# pip-audit answers 1 for a vulnerability and for a database that is away alike.
COMMAND = [*sys.argv[1:], "--local", "--format", "json", "--progress-spinner", "off", "--timeout", "10"]


def main() -> int:
    try:
        result = subprocess.run(COMMAND, capture_output=True, text=True, timeout=DEADLINE, check=False)  # noqa: S603
        packages = json.loads(result.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError) as error:
        reason = str(error) if isinstance(error, subprocess.TimeoutExpired) else result.stderr.strip()[-300:]
        return _warn(f"No package was audited: {reason}")
    found = [(package, flaw) for package in packages for flaw in package.get("vulns", [])]
    for package, flaw in found:
        fixed = ", ".join(flaw["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {flaw['id']}, fixed in {fixed}")
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        _warn(f"{len(skipped)} of {len(packages)} packages could not be audited, such as {skipped[0]}.")
    print(f"{len(packages) - len(skipped)} packages audited, {len(found)} vulnerabilities known.")
    return 1 if found else 0


def _warn(text: str) -> int:
    print(f"::warning::{text}", file=sys.stderr)
    return 0


sys.exit(main())
