"""The GitHub Actions workflow is valid and takes no more rights than it needs."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from paths import ROOT

PATH = ROOT / ".github" / "workflows" / "ci.yml"
WORKFLOW = yaml.safe_load(PATH.read_text(encoding="utf-8"))
JOBS = WORKFLOW["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]
SCRIPTS = "\n".join(step.get("run", "") for step in STEPS)


def test_workflow_is_valid():
    """By the schema that the checker carries; no network."""
    result = subprocess.run([sys.executable, "-m", "check_jsonschema", "--builtin-schema",
                             "vendor.github-workflows", str(PATH)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_actions_are_pinned_to_a_commit_whose_version_is_told():
    used = re.findall(r"uses: (.*)", PATH.read_text(encoding="utf-8"))
    assert len(used) == sum("uses" in step for step in STEPS) > 0
    for action in used:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_rights_are_minimal():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    rights = {name: job["permissions"] for name, job in JOBS.items() if "permissions" in job}
    assert rights == {"compare": {"contents": "read", "pull-requests": "write"}}
    assert "pull_request_target" not in WORKFLOW[True]  # YAML reads the key `on` so
    for step in STEPS:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_no_text_of_others_is_put_into_a_script():
    """An expression inside of `run` would be code; values come by the environment."""
    assert "${{" not in SCRIPTS


def test_packages_are_cached_by_their_pins():
    pythons = [step["with"] for step in STEPS
               if step.get("uses", "").startswith("actions/setup-python@")]
    assert pythons
    for options in pythons:
        assert options["cache"] == "pip"
        for name in options["cache-dependency-path"].split():
            assert (ROOT / name).is_file()


def test_targets_that_are_called_are_in_the_makefile():
    targets = re.findall(r"^make ([\w-]+)$", SCRIPTS, re.M)
    assert {"setup", "repro", "report", "test", "test-browser"} == set(targets)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_dvc_alone_is_installed_by_its_pin():
    assert len(re.findall(r"^dvc==", (ROOT / "requirements.txt").read_text(), re.M)) == 1
    assert "install --quiet \"$(grep '^dvc==' requirements.txt)\" -c constraints.txt" in SCRIPTS


def git(folder, *command):
    return subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=folder, check=True,
        capture_output=True, text=True).stdout.strip()


def compare(folder, dvc):
    """Run the script that compares a branch with where it left another that has gone on since.

    `dvc` is its dvc, and writes down what it is asked.
    """
    commits = {}
    git(folder, "init", "-q", "-b", "main")
    for name, start in (("left", None), ("main", None), ("branch", "left")):
        if start:
            git(folder, "checkout", "-q", "-b", name, commits[start])
        git(folder, "commit", "-q", "--allow-empty", "-m", name)
        commits[name] = git(folder, "rev-parse", "HEAD")
    (folder / "expected").write_text(f"exp diff {commits['left']} {commits['branch']} --md\n")
    [script] = [step["run"] for step in STEPS if "dvc exp diff" in step.get("run", "")]
    program = folder / "dvc"
    program.write_text(f'#!/bin/sh\necho "$1 $2 $3 $4 $5" > asked\n{dvc}\n')
    program.chmod(0o755)
    return subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=folder, env={
        "PATH": f"{folder}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": "summary.md",
        "BASE": commits["main"], "HEAD": commits["branch"]})


def test_comparison_that_fails_ends_the_step(tmp_path):
    """Of a pipe too: GitHub runs bash so where it is named."""
    assert WORKFLOW["defaults"] == {"run": {"shell": "bash"}}
    assert compare(tmp_path, "exit 3").returncode == 3
    assert not (tmp_path / "summary.md").exists()


@pytest.mark.parametrize("rows", [3, 5000])
def test_comparison_fits_a_comment_and_the_summary_has_all_of_it(tmp_path, rows):
    """GitHub takes a comment of 65,536 characters."""
    table = [f"| metrics/evaluate/onnx_fp32.json   | by_class.{row:05} | {0.5:9} |"
             for row in range(rows)]
    (tmp_path / "table.md").write_text("\n".join(table) + "\n")
    assert compare(tmp_path, "cat table.md").returncode == 0
    assert (tmp_path / "asked").read_text() == (tmp_path / "expected").read_text()
    comment, summary = ((tmp_path / name).read_text() for name in ("shown-page.md", "summary.md"))
    assert len(comment) < 65_536
    assert comment.endswith("</details>\n")
    assert ("Cut here" in comment) is (rows > 3)
    assert re.findall(r"by_class\.\d+", summary) == re.findall(r"by_class\.\d+", "".join(table))
    shown = [line for line in comment.splitlines() if line.startswith("|")]
    assert shown == summary.splitlines()[4:4 + len(shown)]
    assert len(shown) >= min(rows, 1000)
