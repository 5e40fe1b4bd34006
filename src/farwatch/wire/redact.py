"""Hide what looks like a secret, before it is written anywhere.

Used on captured command lines, config, git remotes and outgoing log tails. Two independent nets: the *name*
(of a key, a flag, a query parameter) and the *shape* of the value (tokens of well-known services, passwords
in addresses, private keys). The name can be configured with `init(redact=…)`; the shapes always apply.

A name is cut into words (`hubToken`, `hub-token` and `opt/hub_token` all end in `token`), so `author`,
`tokenizer` and `max_tokens` are no secrets.
"""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

MASK = "•••"

REDACT: tuple[str, ...] = (
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "api_key",
    "apikey",
    "access_key",
    "account_key",
    "secret_key",
    "private_key",
    "signing_key",
    "encryption_key",
    "license_key",
    "ssh_key",
    "credential",
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "jwt",
    "webhook",
    "connection_string",
)
"""Names of keys and flags whose values are hidden by default: words, joined with `_`, `*` matches
anything."""

# Words before `token` that speak of text, not of access: tokenizers and language models are full of them.
_BEFORE_TOKEN = """
    additional audio begin bos cls decoder delimiter end eos fim image img infix mask max min next num object pad per prefix
    sep separator special start stop suffix target text think unk video vision word
"""
_TEXT_TOKENS = frozenset(_BEFORE_TOKEN.split())
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")

_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"hf_[A-Za-z0-9]{14,}"
    r"|gh[opsur]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{20,}|gl[a-z]{2,5}-[\w-]{16,}"
    r"|sk-[\w-]{16,}|[rs]k_(?:live|test)_[A-Za-z0-9]{10,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{12,}|AIza[\w-]{30,}|ya29\.[\w-]{20,}"
    r"|xox[a-z]-[\w-]{10,}|xapp-[\w-]{10,}"
    r"|fw_(?:[a-z]{2,8}_)?[A-Za-z0-9_-]{16,}"
    r"|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{30,}|dop_v1_[0-9a-f]{30,}|tskey-[\w-]{16,}"
    r"|(?<![\w-])SG\.[\w-]{16,80}\.[\w-]{16,80}"
    r"|\d{6,12}:[A-Za-z0-9_-]{30,}"  # a Telegram bot
    r"|(?<![\w-])eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*"  # a JSON web token
    r")"
)
_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z ]{0,40}PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL)
_HOOK = re.compile(
    r"(https://(?:hooks\.slack\.com/(?:services|workflows|triggers)|(?:\w+\.)?discord(?:app)?\.com/api/webhooks"
    r"|(?:\w+\.)*webhook\.office\.com)/)[^\s\"'<>]+"
)
# Lengths are bounded and starts anchored so that no text, however made, costs more than linear time.
_AUTHORITY = re.compile(r"((?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{0,30}://)([^\s/?#\"'<>]{0,300})@")
# A raw `/`, `?` or `#` in a password is no valid address, and people write it all the same. A port is not a
# password.
_LOOSE_AUTHORITY = re.compile(
    r"((?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{0,30}://)[^\s/:@\"'<>]{0,100}:(?!\d{0,5}(?:/|$))[^\s@\"'<>]{0,300}@"
)
_SCHEME_WORD = re.compile(
    r"(?i)\b(bearer|basic|digest|token)(\s{1,4})(?=\S{0,200}[\d=_\-.+/])([A-Za-z0-9._~+/=-]{8,})"
)
_ASSIGNMENT = re.compile(
    r"""(?<![\w.\-])([A-Za-z_][\w.\-]*+)(["']?\s{0,4}[:=]\s{0,4})("[^"\n]*"|'[^'\n]*'|[^\s"',;&)}\]]+)"""
)
_SHORT_NUMBER = re.compile(r"[\d.,]{1,7}")


@functools.lru_cache(maxsize=4096)
def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(name))


def is_secret_name(name: str, patterns: Iterable[str] = REDACT) -> bool:
    """Whether a key, flag or parameter of this name holds a secret by the given patterns.

    A pattern matches whole words, singular or plural: `api_key` matches `openai-api-key` and `apiKeys`.
    `token` matches as the last word only, and not after words such as `eos` or `pad`. A pattern with `*` or
    `?` is compared with the whole name, its words joined by `_`.
    """
    words = _words(name)
    joined = "_".join(words)
    squeezed = "_" + joined + "_"
    for pattern in patterns:
        if "*" in pattern or "?" in pattern:
            if fnmatchcase(joined, pattern.lower()) or fnmatchcase(name.lower(), pattern.lower()):
                return True
            continue
        wanted = "_".join(_words(pattern))
        if not wanted:
            continue
        if wanted == "token":
            if words and words[-1] == "token" and (len(words) == 1 or words[-2] not in _TEXT_TOKENS):
                return True
        elif f"_{wanted}_" in squeezed or f"_{wanted}s_" in squeezed:
            return True
    return False


def mask_mapping(config: Mapping[str, object], patterns: Iterable[str] = REDACT) -> dict[str, object]:
    """Copy a nested mapping with every secret replaced by `•••`.

    Below a secret name all texts and numbers are hidden; true, false and null stay, they tell nothing. Texts
    under other names lose what has the shape of a secret. Raises nothing; the result shares no container with
    `config`.
    """
    listed = tuple(patterns)
    masked = _mask_value(config, listed, hidden=False)
    assert isinstance(masked, dict)
    return masked


def _mask_value(value: object, patterns: tuple[str, ...], *, hidden: bool) -> object:
    if isinstance(value, Mapping):
        return {
            key: _mask_value(item, patterns, hidden=hidden or is_secret_name(str(key), patterns))
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        if not hidden and value and all(isinstance(item, str) for item in value):
            return mask_argv(value, patterns)  # a list of texts may be somebody's command line
        return [_mask_value(item, patterns, hidden=hidden) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if hidden:
        return MASK if value != "" else ""
    return mask_text(value, patterns) if isinstance(value, str) else value


def mask_argv(argv: Sequence[str], patterns: Iterable[str] = REDACT) -> list[str]:
    """Copy a command line with secrets hidden, whether they stand as `--key X`, `--key=X`, `key=X` or by
    their shape."""
    listed = tuple(patterns)
    masked: list[str] = []
    hide_next = False
    for word in argv:
        flag, equals, value = word.partition("=")
        named = flag.lstrip("-+~")
        is_flag = word.startswith("-") and not _is_number(word)
        if hide_next and not _looks_like_flag(word):
            masked.append(MASK)
            hide_next = False
            continue
        hide_next = False
        plain = re.fullmatch(r"[\w.\-/@:]+", named) is not None
        if equals and plain and is_secret_name(named, listed):
            masked.append(f"{flag}={MASK if value else ''}")
            continue
        if is_flag and not equals and plain and is_secret_name(named, listed):
            hide_next = True
        masked.append(mask_text(word, listed))
    return masked


def _looks_like_flag(word: str) -> bool:
    return re.fullmatch(r"--[A-Za-z][\w.\-]*(?:=.*)?|-[A-Za-z]", word, re.DOTALL) is not None


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-?[\d.]+(?:[eE][+-]?\d+)?", word) is not None


def mask_url(url: str) -> str:
    """Hide user, password and secret query parameters of an address; a bare `git@` stays, it is a custom, not
    a secret."""

    def authority(match: re.Match[str]) -> str:
        user = match.group(2)
        return match.group(0) if user in ("git", "hg", "svn") else f"{match.group(1)}{MASK}@"

    def parameter(match: re.Match[str]) -> str:
        hidden = is_secret_name(match.group(2)) or match.group(2).lower() in (
            "key",
            "sig",
            "signature",
            "x-amz-signature",
        )
        return f"{match.group(1)}{match.group(2)}={MASK}" if hidden else match.group(0)

    url = _HOOK.sub(rf"\1{MASK}", url)
    url = _LOOSE_AUTHORITY.sub(rf"\1{MASK}@", url)
    url = _AUTHORITY.sub(authority, url)
    if "://" in url:
        url = re.sub(r"([?&;#])([\w.\-]+)=([^&\s#\"'<>]+)", parameter, url)
    return _SHAPES.sub(MASK, url)


def mask_shapes(text: str) -> str:
    """Hide only what has the shape of a secret, whatever its name: for code, where `token = next(words)` is
    none."""
    if "-----BEGIN" in text:
        text = _PRIVATE_KEY.sub(rf"-----BEGIN \1----- {MASK}", text)
    if "://" in text:
        text = mask_url(text)
    return _SHAPES.sub(MASK, text)


def mask_text(text: str, patterns: Iterable[str] = REDACT) -> str:
    """Hide secrets in free text: known shapes, passwords in addresses, private keys, and what follows
    `password=`.

    *Cost*: linear in the text. It errs on the side of hiding: `token: required` loses its second word.
    """
    listed = tuple(patterns)
    text = mask_shapes(text)
    text = _SCHEME_WORD.sub(rf"\1\2{MASK}", text)

    def assignment(match: re.Match[str]) -> str:
        name, between, value = match.groups()
        if MASK in value or value.lower() in _SAID or not is_secret_name(name, listed):
            return match.group(0)
        if _words(name)[-1] == "token" and _SHORT_NUMBER.fullmatch(value):
            return match.group(0)  # a count, not a secret
        quote = value[0] if value[0] in "\"'" else ""
        return f"{name}{between}{quote}{MASK}{quote}"

    if "=" in text or ":" in text:
        text = _ASSIGNMENT.sub(assignment, text)
    return text


# Values that tell nothing and that a reader needs, and words after which the secret follows and is already
# hidden.
_SAID = frozenset(("none", "null", "true", "false", "basic", "bearer", "digest", '""', "''"))
