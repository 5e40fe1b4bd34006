"""What logging costs a program, counted while it logs."""

# One call of so many is timed: two looks at the clock are a tenth of what they measure. A prime, for records are counted
# and a program that prints a line with each call would else never, or always, be timed.
METER_EVERY = 17
FIRST_CALLS = 64  # until so many the mean says little


class Cost:
    """Calls and the time in them: `total_ns` in all, `worst_ns` in the longest.

    *Threads*: any; two that add at the same moment may count one of them.
    """

    __slots__ = ("calls", "total_ns", "worst_ns")

    def __init__(self) -> None:
        self.calls = 0
        self.total_ns = 0
        self.worst_ns = 0

    def add(self, spent_ns: int, calls: int = 1) -> None:
        """Add what a call has cost. `calls`: how many calls this one stands for.

        It stands for its neighbours with no more than four times the mean so far: a page fault or an interruption
        happened to itself alone.
        """
        usual = spent_ns if self.calls < FIRST_CALLS else min(spent_ns, 4 * self.total_ns // self.calls)
        self.calls += calls
        self.add_time(spent_ns)
        self.total_ns += usual * (calls - 1)

    def add_time(self, spent_ns: int) -> None:
        """Add time that held up the program and was no call, such as drawing."""
        self.total_ns += spent_ns
        if spent_ns > self.worst_ns:
            self.worst_ns = spent_ns
