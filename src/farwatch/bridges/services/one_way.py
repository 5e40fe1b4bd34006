"""What the services have in common that only take what they are told: nobody answers there, and most change nothing afterwards."""

from farwatch.bridges.base import Address, Condition, Incoming, Message, Outcome, Receipt, Receive


class OneWay:
    """The part of `farwatch.bridges.base.Bridge` that is the same for each of them; `check`, `send` and more are its own.

    `sent`: what it calls that which has been sent, for the sentences that refuse to change it. `condition`: until something is sent.
    """

    sent = "what has been sent"

    def __init__(self, condition: Condition = Condition(True)) -> None:
        self._condition = condition

    async def open(self, receive: Receive) -> None:
        """Nothing to listen to."""

    async def close(self) -> None:
        """Nothing is kept open."""

    def condition(self) -> Condition:
        return self._condition

    async def edit(self, to: Address, message_id: str, message: Message) -> Receipt:
        return Receipt(Outcome.REFUSED, reason=f"{self.sent} cannot be changed")

    async def delete(self, to: Address, message_id: str) -> Receipt:
        return Receipt(Outcome.REFUSED, reason=f"{self.sent} cannot be taken back")

    async def acknowledge(self, incoming: Incoming, text: str = "") -> None:
        """Nobody presses anything here."""

    def _learn(self, receipt: Receipt, meaning: str, lost: frozenset[Outcome] = frozenset({Outcome.REVOKED})) -> None:
        """Take from a receipt how the channel is. `meaning`: of an outcome that is among `lost`."""
        if receipt.outcome is Outcome.SENT:
            self._condition = Condition(True)
        elif receipt.outcome in lost:
            self._condition = Condition(False, "revoked", f"{meaning}: {receipt.reason}")
