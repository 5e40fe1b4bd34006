"""Identifiers: runs and writers, and the two words that people say instead.

A run id is 16 characters of a 32-letter alphabet without look-alikes. The first 7 are random, so that they tell runs
of one day apart and can be typed; the other 9 are the milliseconds of its creation, so that ids never collide.
"""

import os
import re
import time
import zlib

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
SHORT_ID_LENGTH = 7
RUN_ID_MAX = 128
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_WRITER_ID = re.compile(r"[0-9a-f]{32}")

_ADJECTIVES = (
    "able amber autumn bold brave bright brisk calm clear clever cool coral crisp dapper daring deep eager early fair fleet "
    "fond free fresh gentle glad golden grand green happy hardy honest humble jolly keen kind light lively lucky mellow "
    "merry mild misty neat nimble noble olive patient plain proud quick quiet rapid red royal rustic sharp shy silent "
    "silver sleek smart snowy soft solid spry steady still sunny swift tall tender tidy vivid warm wild wise witty young"
).split()
_ANIMALS = (
    "albatross badger bat bear beaver bison bittern boar buzzard camel cat cheetah cod condor coot cormorant crab crane "
    "cricket crow curlew deer dolphin dove duck eagle egret elk falcon ferret finch fox frog gannet gecko goose grebe gull "
    "hare hawk heron hornet horse ibex ibis jackal jay kestrel kite koala lark lemur leopard lion llama loon lynx magpie "
    "marlin marten mole moose moth mouse newt orca osprey otter owl panda pelican petrel pike plover puffin puma quail "
    "rabbit raven robin salmon seal shark skua sparrow squid stork swan swift tern thrush tiger toad trout tuna turtle "
    "viper vole walrus wasp weasel whale wolf wombat wren yak zebra"
).split()


def _base32(number: int, length: int) -> str:
    letters = []
    for _ in range(length):
        letters.append(ALPHABET[number & 31])
        number >>= 5
    return "".join(reversed(letters))


def new_run_id() -> str:
    """Make a run id that nobody else has."""
    return _base32(int.from_bytes(os.urandom(5)), SHORT_ID_LENGTH) + _base32(time.time_ns() // 1_000_000, 9)


def new_writer_id() -> str:
    """Make a writer id: 32 hexadecimal digits, random."""
    return os.urandom(16).hex()


def is_run_id(text: str) -> bool:
    """Whether `text` can be a run id: 1 to 128 of `A-Za-z0-9._-`, first one a letter or digit."""
    return _RUN_ID.fullmatch(text) is not None


def is_writer_id(text: str) -> bool:
    """Whether `text` is a writer id."""
    return _WRITER_ID.fullmatch(text) is not None


def short_id(run_id: str) -> str:
    """The part of a run id that people type: 7 letters of ours, all of a custom one."""
    ours = len(run_id) == 16 and all(letter in ALPHABET for letter in run_id)
    return run_id[:SHORT_ID_LENGTH] if ours else run_id


def run_name(run_id: str) -> str:
    """Two words made from the id, the same each time: `calm-heron`."""
    number = zlib.crc32(run_id.encode())
    return f"{_ADJECTIVES[number % len(_ADJECTIVES)]}-{_ANIMALS[number // 97 % len(_ANIMALS)]}"
