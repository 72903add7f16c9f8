"""Secrets of the environment, in all spellings, and credentials in URIs and headers: what is masked, and what is left as it is."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from trainers.redaction import redacted, traceback_text

VALUE = 'p@ss w"ord/é+%='


NAMES = ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "RAY_AUTH_TOKEN", "WANDB_API_KEY", "PGPASSWORD")


@pytest.mark.parametrize("name", NAMES)
def test_secret_variables_are_masked_wherever_their_value_stands(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, VALUE)
    spelled = [VALUE, quote(VALUE), quote(VALUE, safe=""), json.dumps({"key": VALUE})]
    assert not [text for text in map(redacted, spelled) if "ord" in text]
    assert redacted(f"401 for {VALUE}!") == "401 for ***!"


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "RAY_AUTH_TOKEN_PATH", "AWS_SHARED_CREDENTIALS_FILE", "MONKEYS", "PWD"])
def test_other_variables_are_left(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "disabled")
    assert redacted("the cache is disabled") == "the cache is disabled"


def test_values_too_short_to_be_told_from_words_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "at")
    assert redacted("what is that") == "what is that"


def test_a_secret_that_begins_with_another_is_masked_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "abcdef")
    monkeypatch.setenv("B_TOKEN", "abcdef-and-more")
    assert redacted("with abcdef-and-more") == "with ***"


def test_the_password_in_a_uri_of_the_environment_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:p%40ssword@host/db")
    assert redacted('password authentication failed: "p@ssword"') == 'password authentication failed: "***"'


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("{'Authorization': 'Basic YWRtaW46cGFzcw=='}", "{'Authorization': 'Basic ***'}"),
        ("authorization: Bearer abc.def", "authorization: Bearer ***"),
        ("at https://me:pa/ss@host:80/x, then y@z", "at https://***@host:80/x, then y@z"),
        ("s3://bucket/x?secret_key=abc&region=eu", "s3://bucket/x?secret_key=***&region=eu"),
        ("ssh://host:22/a@b and mail me@here", "ssh://host:22/a@b and mail me@here"),
    ],
)
def test_credentials_in_uris_and_headers_are_masked(text: str, masked: str) -> None:
    assert redacted(text) == masked


def test_a_long_message_keeps_its_beginning_and_the_trace_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "abc-secret")
    try:
        raise RuntimeError(f"cannot log in with abc-secret{'x' * 20_000}")
    except RuntimeError as error:
        text = traceback_text(error)
    assert text.startswith("Traceback") and text.splitlines()[-1].startswith("RuntimeError: cannot log in with ***xx")
    assert len(text) < 3000 and "... (20" in text
