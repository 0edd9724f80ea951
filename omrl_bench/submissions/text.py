"""What was found of a submission, as the text of a comment: nothing that it says is more than text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from omrl_bench.submissions.checking import Checked

MOST_LINES = 60
MARKER = "<!-- omrl-bench submit check -->"


def report_text(checked: Checked, tables: Sequence[str]) -> str:
    """Markdown for a comment below a pull request.

    Args:
        checked: What was found.
        tables: Of the rows that it would make, Markdown already.
    """
    title = (
        f"{checked.declaration.name}, version {checked.declaration.version}" if checked.declaration else "submission"
    )
    verdict = (
        "must be mended first" if checked.problems else "can be merged; until somebody runs it again: self-reported"
    )
    blocks = [MARKER, f"### {title}: {verdict}"]
    for name, lines in (("Problems", checked.problems), ("Notes", checked.notes)):
        if lines:
            blocks.append(f"**{name}**\n\n{_quoted(lines)}")
    return "\n\n".join([*blocks, *tables]) + "\n"


def _quoted(lines: Iterable[str]) -> str:
    """Lines of plain text in a block of code, which no line can end."""
    shown = [line.replace("`", "'") for line in lines]
    if len(shown) > MOST_LINES:
        shown = [*shown[:MOST_LINES], f"and {len(shown) - MOST_LINES} more"]
    return "\n".join(["```text", *shown, "```"])
