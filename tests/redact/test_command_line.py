from __future__ import annotations

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.redact.command_line import ARGUMENTS, LONGEST, redact_command_line, redact_word

R = "[redacted]"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("nginx -g 'daemon off;'", "nginx -g daemon off;"),
        ("prog --password=SECRET --port 80", f"prog --password={R} --port 80"),
        ("prog --password SECRET --port 80", f"prog --password {R} --port 80"),
        ("prog -token SECRET", f"prog -token {R}"),
        ("prog --api-key SECRET", f"prog --api-key {R}"),
        ("prog --max-tokens 100 --token-type x", "prog --max-tokens 100 --token-type x"),
        ("prog --token --password SECRET", f"prog --token {R} {R}"),
        ("mysql -pSECRET -u root", f"mysql -p{R} -u root"),
        ("mysql -p -u root db", "mysql -p -u root db"),
        ("mkdir -p SECRET", "mkdir -p SECRET"),
        ("curl -u alice:SECRET https://h/", f"curl -u {R} https://h/"),
        ("curl -ualice:SECRET https://h/", f"curl -u{R} https://h/"),
        ("curl --user=alice:SECRET h", f"curl --user={R} h"),
        ("tool -u alice:SECRET", f"tool -u {R}"),
        ("docker run -u 1000:1000 -p 8080:80 x", "docker run -u 1000:1000 -p 8080:80 x"),
        ("docker login -p SECRET", f"docker login -p {R}"),
        (
            "curl -H 'Authorization: Bearer SECRET' -H 'Accept: */*'",
            f"curl -H Authorization: Bearer {R} -H Accept: */*",
        ),
        ("curl '-HX-Api-Key: SECRET'", f"curl -HX-Api-Key: {R}"),
        ("curl --header='Cookie: a=SECRET'", f"curl --header=Cookie: a={R}"),
        ("curl -b a=SECRET https://h/", f"curl -b {R} https://h/"),
        ("curl --cookie a=SECRET https://h/", f"curl --cookie {R} https://h/"),
        ("curl -d user=a&x=SECRET https://h/", f"curl -d {R} https://h/"),
        ("curl 'https://a:SECRET@h/x?token=SECRET&y=1'", f"curl https://{R}@h/x?token={R}&y=1"),
        ("worker redis://:SECRET@cache:6379/0", f"worker redis://{R}@cache:6379/0"),
        ("env DB_PASSWORD=SECRET A=b app", f"env DB_PASSWORD={R} A=b app"),
        (
            "java -Djavax.net.ssl.keyStorePassword=SECRET -jar a.jar",
            f"java -Djavax.net.ssl.keyStorePassword={R} -jar a.jar",
        ),
        ("sshpass -p SECRET ssh host", f"sshpass -p {R} ssh host"),
        ("sudo -E mysql -pSECRET", f"sudo -E mysql -p{R}"),
        ("redis-cli -a SECRET ping", f"redis-cli -a {R} ping"),
        ("sh -c \"curl -H 'X-Token: SECRET' h; mysql -pSECRET\"", f"sh -c curl -H X-Token: {R} h; mysql -p{R}"),
        ("bash -lc 'echo unclosed \" SECRET'", f"bash -lc {R}"),
        ("app AKIAIOSFODNN7EXAMPLE", f"app {R}"),
        ("app --mail alice@example.com", "app --mail a***@example.com"),
        ("app 4111111111111111", f"app {R}"),
        ("python -u app.py", "python -u app.py"),
    ],
)
def test_lines(line: str, expected: str) -> None:
    assert redact_command_line([word.encode() for word in shlex.split(line)]) == expected


def test_title_written_over_the_arguments() -> None:
    assert redact_command_line([b"nginx: master process /usr/sbin/nginx"]) == "nginx: master process /usr/sbin/nginx"
    assert redact_command_line([b"worker --password SECRET x"]) == f"worker --password {R} x"


def test_bounds() -> None:
    assert redact_command_line([]) == ""
    long = redact_command_line([b"x" * 10_000, b"--password=abc"])
    assert len(long) == LONGEST
    assert long.endswith("...")
    many = redact_command_line([b"a"] * (ARGUMENTS + 1) + [b"hidden"])
    assert many.endswith("...")
    assert "hidden" not in many
    assert redact_command_line([b"\xff", b"x"]) == "\ufffd x"


def test_word() -> None:
    assert redact_word("shop") == "shop"
    assert redact_word("AKIAIOSFODNN7EXAMPLE") == R


SECRETS = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_!.", min_size=8).map(lambda text: f"Z9{text}9Z")
WORDS = st.sampled_from(["app", "run", "--port", "80", "-v", "curl", "mysql", "docker", "x.py", "sh"])
PLACES = st.sampled_from(
    [
        ["--password={}"],
        ["--password", "{}"],
        ["--secret-key", "{}"],
        ["API_TOKEN={}"],
        ["curl", "-u", "alice:{}"],
        ["curl", "-H", "Authorization: Bearer {}"],
        ["curl", "-H", "X-Api-Key: {}"],
        ["mysql", "-p{}"],
        ["postgres://alice:{}@db/x"],
        ["https://h/?access_token={}"],
        ["sh", "-c", "run --password {} now"],
        ["sh", "-c", "curl -H 'Authorization: Bearer {}' h"],
    ]
)


@settings(deadline=None)  # the machine may be busy
@given(SECRETS, PLACES, st.lists(WORDS, max_size=4), st.lists(WORDS, max_size=4))
def test_secrets_stay(secret: str, place: list[str], before: list[str], after: list[str]) -> None:
    words = before + [part.format(secret) for part in place] + after
    assert secret not in redact_command_line([word.encode() for word in words])


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_never_raises(arguments: list[bytes]) -> None:
    assert len(redact_command_line(arguments)) <= LONGEST
