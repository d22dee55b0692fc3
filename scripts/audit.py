"""`make audit`: bandit over the package, known vulnerabilities of the pinned dependencies, and a bill of materials.

A finding of bandit counts unless its line has the reason why it is none, as `noqa: S…` of the same number, which the
linter checks too.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BILL = ROOT / "build" / "sbom.json"
#: Tests of bandit that are none of a package like this one, and why.
SKIPPED = {
    "B101": "asserts are for the type checker, none guards anything",
    "B311": "chance is for jitter, samples of tests and the demo; what must not be guessed comes from secrets",
    "B403": "pickle is imported for the file that a user names as a model of his own",
    "B404": "programs are started: Prometheus, PostgreSQL, Compose",
    "B603": "without a shell, with arguments of ours",
    "B607": "by name, so that they are found on the PATH of whoever runs them",
    "B704": "Markup is made of templates that escape; tests send a hundred payloads through every page",
}


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of this environment."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def findings() -> list[dict[str, Any]]:
    """Return what bandit found and no line explains."""
    done = run("bandit", "-q", "-f", "json", "-s", ",".join(SKIPPED), "-r", "src")
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["results"]
    except ValueError:
        sys.exit(f"bandit: gave no answer ({done.stderr.strip()[-200:]}). Run `make audit` again.")
    return [one for one in found if not _is_explained(one)]


def _is_explained(finding: dict[str, Any]) -> bool:
    lines = Path(ROOT, finding["filename"]).read_text(encoding="utf-8").splitlines()
    first, last = finding["line_range"][0], finding["line_range"][-1]
    number = finding["test_id"].removeprefix("B")
    codes = re.findall(r"noqa: ([A-Z0-9, ]+)", "\n".join(lines[first - 1 : last + 1]))
    return any(f"S{number}" in code for code in codes)


def main() -> int:
    """Return 1 when something is to be mended."""
    found = findings()
    for one in found:
        sys.stdout.write(f"{one['filename']}:{one['line_number']}: {one['test_id']} {one['issue_text']}\n")
    sys.stdout.write(f"bandit: {len(found)} findings that no line explains\n")
    known = run("pip_audit", "-r", "constraints.txt", "--no-deps", "--disable-pip", "--progress-spinner", "off")
    told = (known.stdout + known.stderr).strip().splitlines()
    unknown = sum("could not be audited" in line for line in told)
    sys.stdout.write("\n".join(line for line in told if "could not be audited" not in line) + "\n")
    if unknown:
        sys.stdout.write(f"pip-audit: {unknown} packages could not be looked up; run it where the index answers\n")
    BILL.parent.mkdir(exist_ok=True)
    bill = run("cyclonedx_py", "environment", "--of", "JSON", "-o", str(BILL))
    sys.stdout.write(f"{BILL.relative_to(ROOT)}: written\n" if bill.returncode == 0 else bill.stderr)
    return int(bool(found) or known.returncode != 0 or bill.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
