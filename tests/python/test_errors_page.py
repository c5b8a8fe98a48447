"""docs/errors.md names the reasons that the server gives, each with its code."""

from __future__ import annotations

import re

from server_process import ROOT

# Told at a start, in a log, as the failure of a model, or by `tightfit pack`: never the answer to a
# call.
NOT_FOR_CALLERS = {
    "ADDRESS_IN_USE",
    "ADDRESS_UNUSABLE",
    "ALREADY_PACKED",
    "BAD_ADDRESS",
    "BAD_CONFIGURATION",
    "BAD_MODEL_DIRECTORY",
    "BAD_TOKENIZER",
    "BUDGET_TOO_SMALL",
    "CANNOT_WRITE",
    "CHECKSUM_MISMATCH",
    "COMPUTE_DTYPE_UNAVAILABLE",
    "DEVICE_UNAVAILABLE",
    "DIRECTORY_IS_CUT",
    "DISK_FULL",
    "FILE_MISSING",
    "FILE_TRUNCATED",
    "FORBIDDEN_OPERATOR",
    "LOAD_STOPPED",
    "NOTHING_TO_CUT",
    "NOT_CONNECTED",
    "NOT_CUT",
    "NOT_PACKED",
    "NOT_UNPACKED",
    "NO_ANSWER",
    "PACKING_STOPPED",
    "SENSITIVITY_MISSING",
    "TOO_MANY_SHARDS",
    "UNSUPPORTED_MODEL",
    "UNSUPPORTED_SCHEDULER",
}


def given_by_the_server() -> dict[str, str]:
    """Code by reason, as the sources make a Status of them."""
    sources = [path for path in (ROOT / "server").rglob("*") if path.suffix in (".cc", ".h")]
    text = "".join(path.read_text("utf-8") for path in sources)
    made = re.findall(r'StatusCode::k(\w+),\s*"([A-Z][A-Z0-9_]+)"', text)
    named = dict(re.findall(r'constexpr char (k\w+)\[\] = "([A-Z_]+)"', text))
    made += [
        (code, named[name])
        for code, name in re.findall(r"StatusCode::k(\w+),\s*(k\w+)", text)
        if name in named
    ]
    return {reason: re.sub(r"(?<!^)(?=[A-Z])", "_", code).upper() for code, reason in made}


def told_by_the_page() -> dict[str, str]:
    section = (ROOT / "docs" / "errors.md").read_text("utf-8").partition("\n## Codes\n")[2]
    rows = re.findall(r"^\| ([A-Z_]+) \| (.*?) \|", section.partition("\n## ")[0], re.MULTILINE)
    return {reason: code for code, cell in rows for reason in re.findall(r"`([A-Z_]+)`", cell)}


def test_every_reason_is_told_with_its_code() -> None:
    given = {r: code for r, code in given_by_the_server().items() if r not in NOT_FOR_CALLERS}
    assert len(given) > 15  # or this proves nothing
    told = told_by_the_page()
    assert {reason: told.get(reason) for reason in given} == given
    assert set(told) <= set(given), set(told) - set(given)
