"""A simulation of ranks that agree: never do two of them act at different counts, and never does one wait without an end.

Each rank is a thread, and only one runs at a time: every word it reads from or writes on the board hands over to a rank that a
seed chooses, or kills it there. So all interleavings of the real `Root` and `Member` are in reach, at any speed.
"""

import random
import threading
from typing import Any

import pytest

from farwatch.sdk.accord import Agreed, Member, Root, Stride
from farwatch.sdk.board import BoardGone

WAIT_S = 2.0


class Killed(BaseException):
    """This rank is dead."""


class World:
    """Board, clock and scheduler of one game."""

    def __init__(self, seed: int, ranks: int, *, lockstep: bool, deaths: bool, decides: bool = True) -> None:
        self.dice = random.Random(seed)
        self.words: dict[str, str] = {}
        self.now = 0.0
        self.lockstep = lockstep
        self.decides = decides
        self.turns = {rank: threading.Semaphore(0) for rank in range(ranks)}
        self.alive = set(range(ranks))
        self.speed = {rank: self.dice.choice([1, 1, 1, 2, 5] if not lockstep else [1, 1, 2]) for rank in range(ranks)}
        self.at = dict.fromkeys(range(ranks), 0)  # step of each rank
        self.last = {rank: self.dice.choice([150, 180, 200] if self.dice.random() < 0.3 else [180]) for rank in range(ranks)}
        self.doomed = {rank: self.dice.randrange(2_000) for rank in range(ranks) if deaths and self.dice.random() < 0.4}
        self.moves = dict.fromkeys(range(ranks), 0)
        self.did: dict[int, dict[int, int]] = {}  # by proposal, at which step each rank did it
        self.dead: set[int] = set()
        self.troubles: list[BaseException] = []

    def hand_over(self, rank: int) -> None:
        """Let another rank go on, or this one."""
        self.now += self.dice.random() * 0.004 * self.speed[rank]
        self.moves[rank] += 1
        if self.moves[rank] == self.doomed.get(rank):
            self.dead.add(rank)
            raise Killed
        self.give_turn()
        self.turns[rank].acquire()

    def give_turn(self) -> None:
        ready = [rank for rank in self.alive if not self.lockstep or self.at[rank] <= min(self.at[one] for one in self.alive) + 1]
        weights = [1 / self.speed[rank] for rank in ready]
        if ready:
            self.turns[self.dice.choices(ready, weights)[0]].release()

    def over(self, rank: int) -> None:
        self.alive.discard(rank)
        self.give_turn()


class PlayedBoard:
    """The board as one rank sees it; some reads fail for good, as those of a store whose host is gone."""

    def __init__(self, world: World, rank: int) -> None:
        self.world, self.rank = world, rank

    def get(self, key: str) -> str:
        self.world.hand_over(self.rank)
        if key not in self.world.words:
            raise BoardGone(key)
        return self.world.words[key]

    def set(self, key: str, text: str) -> None:
        self.world.hand_over(self.rank)
        self.world.words[key] = text

    def first(self, key: str, text: str) -> str:
        self.world.hand_over(self.rank)
        if key.startswith("word/") and not self.world.decides:
            self.world.words[key] = text  # whoever comes later is right: the mistake that one word prevents
            return text
        return self.world.words.setdefault(key, text)

    def there(self, keys: list[str]) -> bool:
        self.world.hand_over(self.rank)
        return all(key in self.world.words for key in keys)


def train(world: World, rank: int, ranks: int) -> None:
    """One rank: steps, a safe point each, and the root asks for something now and then."""
    board = PlayedBoard(world, rank)
    clock = lambda: world.now  # noqa: E731
    root = Root(board, ranks, WAIT_S, clock) if rank == 0 else None
    member = None if rank == 0 else Member(board, rank, ranks, WAIT_S, clock)
    wanted: list[dict[str, Any]] = []
    for count in range(1, world.last[rank] + 1):
        world.at[rank] = count
        world.hand_over(rank)
        if root is not None:
            if world.dice.random() < 0.1:
                wanted.append({"id": f"c{count}", "op": "stop", "args": {}})
            root.pace.strides["log"] = Stride(count, world.now, 0.05, True)
            counts = {"all": 0, "poll": 0, "step": 0, "log": count}
            if world.now >= root.pace.next_s:
                root.look(counts)
            if wanted and not root.eager:
                root.propose(counts, list(wanted))
            note(world, rank, count, agreed := root.come("log", count, count, True))
            if agreed is not None:
                wanted = [one for one in wanted if one not in agreed.orders]
                root.idle()
            if root.off is not None and not root.eager:
                return
        elif member is not None:
            member.pace.strides["log"] = Stride(count, world.now, 0.05, True)
            member.here("log")
            if world.now >= member.pace.next_s:
                member.look()
            note(world, rank, count, member.come("log", count, count, True, lambda orders: {}))
            if member.off is not None and not member.eager:
                return
    if root is not None:
        root.leave("the run has ended")
    elif member is not None:
        member.leave("the run has ended")


def note(world: World, rank: int, count: int, agreed: Agreed | None) -> None:
    if agreed is not None:
        world.did.setdefault(agreed.number, {})[rank] = count


def play(seed: int, **how: bool) -> World:
    ranks = random.Random(seed).choice([2, 3, 4])
    world = World(seed, ranks, **how)

    def live(rank: int) -> None:
        world.turns[rank].acquire()
        try:
            train(world, rank, ranks)
        except (Killed, BoardGone):
            pass
        except BaseException as error:
            world.troubles.append(error)
        world.over(rank)

    threads = [threading.Thread(target=live, args=(rank,), daemon=True) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    world.give_turn()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads), f"seed {seed}: a rank hangs"
    assert world.troubles == [], seed
    return world


def torn(world: World) -> list[int]:
    """Proposals that some rank did at another count than others, or not at all although it came by and lived."""
    found = []
    for number, did in world.did.items():
        (first, *others) = set(did.values())
        missed = [rank for rank in world.at if rank not in did and rank not in world.dead and world.at[rank] > first]
        if others or missed:
            found.append(number)
    return found


@pytest.mark.parametrize("lockstep", [True, False])
@pytest.mark.parametrize("deaths", [True, False])
def test_all_ranks_act_at_one_count_or_none_does(lockstep: bool, deaths: bool) -> None:
    worlds = [play(seed, lockstep=lockstep, deaths=deaths) for seed in range(60)]

    assert [torn(world) for world in worlds] == [[]] * len(worlds)
    if lockstep:
        assert sum(len(world.did) for world in worlds) > len(worlds), "the game would prove nothing"


def test_game_can_be_lost() -> None:
    """Without the one word that stands, ranks come apart: the simulation sees it."""
    worlds = [play(seed, lockstep=False, deaths=False, decides=False) for seed in range(60)]

    assert any(torn(world) for world in worlds)


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(8))
def test_thousands_of_games(block: int) -> None:
    for seed in range(1000 + block * 500, 1500 + block * 500):
        world = play(seed, lockstep=seed % 3 > 0, deaths=seed % 2 > 0)
        assert torn(world) == [], seed
