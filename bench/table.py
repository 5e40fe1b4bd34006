"""What a measurement gives: rows of one table."""

from dataclasses import dataclass

TIMES = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Row:
    """One measured number. `goal`: what it must not pass (or, with `at_least`, must reach); None: no promise."""

    what: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def show(rows: list[Row]) -> str:
    """The table as text: what, measured, goal, met."""
    lines = [("what", "measured", "goal", "")]
    for row in rows:
        goal = "" if row.goal is None else f"{'≥' if row.at_least else '≤'} {_number(row.goal)} {row.unit}"
        mark = {True: "met", False: "MISSED", None: ""}[row.met]
        lines.append((row.what, f"{_number(row.value)} {row.unit}", goal, mark))
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    shown = [f"{w:<{widths[0]}}  {v:>{widths[1]}}  {g:>{widths[2]}}  {m}".rstrip() for w, v, g, m in lines]
    shown.insert(1, "  ".join("─" * width for width in widths[:3]))
    return "\n".join(shown)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
