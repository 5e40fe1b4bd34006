"""What looks like a secret never reaches a journal."""

import json
import time

import pytest

from farwatch.sdk.redact import MASK, REDACT, is_secret_name, mask_argv, mask_mapping, mask_text, mask_url

CANARY = "hf_canaryXXXXXXXXXXXX"


@pytest.mark.parametrize(
    "name",
    "token hub_token hubToken HUB-TOKEN HF_TOKEN opt/hub_token wandb.api_key OPENAI_API_KEY apikey apiKey api_keys"
    " password db_passwd secret client-secret aws_secret_access_key AWSAccessKey private_key credentials auth"
    " basic_auth slack_webhook passphrase".split(),
)
def test_a_secret_name_is_recognised_however_it_is_written(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    "author authority tokenizer tokenizer_name max_tokens num_tokens tokens tokens_per_s token_dropout eos_token"
    " pad_token eos_token_id key keys monkey secretary lr batch_size n_heads key_dim keyboard cross_attention".split(),
)
def test_a_name_that_only_resembles_one_is_left_alone(name: str) -> None:
    assert not is_secret_name(name)


def test_patterns_of_the_caller_are_words_or_globs() -> None:
    assert is_secret_name("customer_id", (*REDACT, "customer_id"))
    assert is_secret_name("internal_host", ("internal_*",))
    assert not is_secret_name("password", ("customer_id",))


def test_mapping_hides_every_leaf_below_a_secret_name() -> None:
    config = {
        "lr": 0.1,
        "hub_token": CANARY,
        "use_auth_token": True,
        "password": 1234,
        "credentials": {"user": "me", "pin": [1, "x"], "none": None},
        "nested": [{"api_key": "k"}, {"url": "https://u:canary@h/x"}],
        "note": f"pushed with {CANARY} today",
        "empty_secret": "",
    }

    masked = mask_mapping(config, REDACT)

    assert masked == {
        "lr": 0.1,
        "hub_token": MASK,
        "use_auth_token": True,
        "password": MASK,
        "credentials": {"user": MASK, "pin": [MASK, MASK], "none": None},
        "nested": [{"api_key": MASK}, {"url": f"https://{MASK}@h/x"}],
        "note": f"pushed with {MASK} today",
        "empty_secret": "",
    }
    assert config["hub_token"] == CANARY


def test_without_patterns_only_shapes_are_hidden() -> None:
    assert mask_mapping({"password": "x", "a": CANARY}, ()) == {"password": "x", "a": MASK}


def test_a_command_line_in_the_config_is_masked_like_one() -> None:
    assert mask_mapping({"cmd": ["run", "--password", "canary"]}) == {"cmd": ["run", "--password", MASK]}


def test_command_line_of_the_security_row_keeps_no_canary() -> None:
    argv = ["t.py", "--hub_token", CANARY, "--url", "https://u:canary@h/x", "--lr", "-0.1"]

    masked = mask_argv(argv, REDACT)

    assert masked == ["t.py", "--hub_token", MASK, "--url", f"https://{MASK}@h/x", "--lr", "-0.1"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--key=a", "--api-key=canary"], ["--key=a", f"--api-key={MASK}"]),
        (["hub.token=canary", "+db.password=canary"], [f"hub.token={MASK}", f"+db.password={MASK}"]),
        (["--use_auth_token", "--epochs", "3"], ["--use_auth_token", "--epochs", "3"]),
        (["--password", "-canary1-"], ["--password", MASK]),
        (["-password", "canary"], ["-password", MASK]),
        (["--json", '{"api_key": "canary", "lr": 1}'], ["--json", f'{{"api_key": "{MASK}", "lr": 1}}']),
        (["--header", "Authorization: Bearer canary-123456"], ["--header", f"Authorization: Bearer {MASK}"]),
        (["--max_tokens", "512", "--tokenizer", "gpt2"], ["--max_tokens", "512", "--tokenizer", "gpt2"]),
        (["--secret"], ["--secret"]),
        ([], []),
    ],
)
def test_command_lines(argv: list[str], expected: list[str]) -> None:
    assert mask_argv(argv, REDACT) == expected


@pytest.mark.parametrize(
    "secret",
    [
        CANARY,
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "a1_B2" * 8,
        "sk-" + "abcd1234" * 4,
        "sk-proj-" + "abcd-123" * 4,
        "AKIAIOSFODNN7EXAMPLE",
        "fw_loc_" + "0123abcd" * 4,
        "fw_" + "0123abcd" * 4,
        "xoxb-123456789-abcdef",
        "123456789:" + "AbCdEfGh-_" * 4,
        "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
    ],
)
def test_token_shapes_are_hidden_anywhere(secret: str) -> None:
    assert mask_text(f"before {secret} after") == f"before {MASK} after"
    assert secret not in json.dumps(mask_argv([f"--x={secret}", secret]))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://u:pw@h/x", f"https://{MASK}@h/x"),
        ("https://tok123@github.com/a/b.git", f"https://{MASK}@github.com/a/b.git"),
        ("ssh://git@github.com/a/b.git", "ssh://git@github.com/a/b.git"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("postgresql://u:p@ss@h/db", f"postgresql://{MASK}@h/db"),
        ("postgresql://u:p/ss@h/db", f"postgresql://{MASK}@h/db"),
        ("https://h:8080/a@v1", "https://h:8080/a@v1"),
        ("https://h/x?token=canary&b=1", f"https://h/x?token={MASK}&b=1"),
        ("https://hooks.slack.com/services/T0/B0/canary", f"https://hooks.slack.com/services/{MASK}"),
        ("https://h/x", "https://h/x"),
    ],
)
def test_addresses(url: str, expected: str) -> None:
    assert mask_url(url) == expected


def test_private_key_block_is_hidden_even_when_cut_off() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIcanary\n"

    assert "canary" not in mask_text("x " + key + "-----END RSA PRIVATE KEY----- y")
    assert mask_text("x " + key + "-----END RSA PRIVATE KEY----- y").endswith(" y")
    assert "canary" not in mask_text(key)


def test_ordinary_text_stays_as_it_is() -> None:
    text = "epoch 3: loss=0.5 tokens=1000 token=12 lr: 1e-3 http://h:1/p?step=3 author=me at 12:30, key: v"

    assert mask_text(text) == text


def test_long_text_is_masked_in_linear_time() -> None:
    def cost(text: str) -> float:
        start = time.process_time()
        mask_text(text)
        return time.process_time() - start

    for piece in (
        "a",
        "a:",
        "a=",
        "http://a:",
        "http://a:b/",
        "eyJ-",
        "a.",
        "x@",
        "-----BEGIN PRIVATE KEY-----",
        "token ",
    ):
        assert cost("=:http://" + piece * (40_000 // len(piece))) < 1.0, piece
