from __future__ import annotations

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.enrich.service import LONGEST, service_name


def test_order() -> None:
    sources = ["otel", "service.name=attribute", "unit", "/usr/bin/python3.11", ["python3", "app.py"]]
    names = []
    for known in range(6):
        values = [None] * known + sources[known:] if known < 4 else [None, None, None, sources[3], []]
        if known == 5:
            values = [None, None, None, None, []]
        names.append(service_name(*values))  # type: ignore[arg-type]
    assert names == ["otel", "attribute", "unit", "app", "python3.11", None]


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ("service.name=shop", "shop"),
        ("a=b, service.name = my%20shop ,c=d", "my shop"),
        ("service.name=a,service.name=b", "b"),
        ("service.name=", None),
        ("service.namespace=x", None),
        ("service.name", None),
        ("", None),
    ],
)
def test_resource_attributes(attributes: str, name: str | None) -> None:
    assert service_name(None, attributes, None, None, []) == name


def test_empty_names_are_none() -> None:
    assert service_name(" ", "service.name=", None, "/usr/sbin/nginx", []) == "nginx"


@pytest.mark.parametrize(
    ("executable", "command", "name"),
    [
        ("/usr/sbin/nginx", "nginx: worker process", "nginx"),
        ("/usr/sbin/nginx (deleted)", "nginx", "nginx"),
        ("/usr/bin/python3.11", "python3 /srv/shop/app.py --port 80", "app"),
        ("/usr/bin/python3.11", "/usr/bin/python3 -u -X dev -W ignore app.py", "app"),
        ("/usr/bin/python3.11", "python3 -m shop.api --port 80", "shop.api"),
        ("/usr/bin/python3.11", "python3 -um shop.api", "shop.api"),
        ("/usr/bin/python3.11", "python3 -mshop", "shop"),
        ("/usr/bin/python3.11", "python3 -m uvicorn --host 0.0.0.0 --reload shop.main:app", "shop.main"),
        (
            "/usr/bin/python3.11",
            "/usr/bin/python3 /usr/local/bin/gunicorn -w 4 -b :80 shop.wsgi:application",
            "shop.wsgi",
        ),
        ("/usr/bin/python3.11", "python3 /usr/bin/gunicorn -w4 'shop:create_app()'", "shop"),
        ("/usr/bin/python3.11", "python3 /usr/bin/uvicorn --port=80 shop:app", "shop"),
        ("/usr/bin/python3.11", "python3 /usr/bin/uvicorn --port 80", "uvicorn"),
        ("/usr/bin/python3.11", "python3 /usr/bin/celery -A shop.tasks worker", "shop.tasks"),
        ("/usr/bin/python3.11", "python3 /usr/bin/flask --app=shop:app run", "shop"),
        ("/usr/bin/python3.11", "python3 -c 'import x'", "python3.11"),
        ("/usr/bin/python3.11", "python3", "python3.11"),
        ("/usr/bin/python3.11", "python3 -", "python3.11"),
        ("/usr/bin/node", "node --require ./trace.js --max-old-space-size=4096 /srv/server.js", "server"),
        ("/usr/bin/node", "node -e 1", "node"),
        ("/usr/bin/node", "node --no-warnings -e 'secret code'", "node"),
        ("/usr/bin/node", "node --import ./trace.mjs dist/main.mjs -e x", "main"),
        ("/usr/bin/bash", "bash -eu --norc /opt/start.sh -c x", "start"),
        ("/usr/bin/bash", "bash -euc 'x y'", "bash"),
        ("/usr/bin/perl", "perl -w /srv/shop.pl", "shop"),
        ("/usr/bin/perl", "perl -ne 'x y'", "perl"),
        ("/opt/jdk/bin/java", "java -Xmx1g -cp a.jar:b.jar com.example.Main x", "com.example.Main"),
        ("/opt/jdk/bin/java", "java -javaagent:otel.jar -Dx=y -jar /srv/shop-1.2.jar --x", "shop-1.2"),
        ("/opt/jdk/bin/java", "java -p mods -m shop/com.example.Main", "shop/com.example.Main"),
        ("/usr/bin/ruby3.1", "ruby /srv/shop.rb", "shop"),
        ("/usr/bin/dash", "sh /opt/start.sh", "start"),
        ("/usr/bin/dash", "sh -c 'x y'", "dash"),
        ("/usr/bin/dotnet", "dotnet /srv/Shop.dll", "Shop"),
        ("/usr/bin/deno", "deno run --allow-net main.ts", "main"),
        ("/usr/bin/curl", "curl http://x", "curl"),
        (None, "python3 app.py", "app"),
    ],
)
def test_programs(executable: str | None, command: str, name: str) -> None:
    assert service_name(None, None, None, executable, shlex.split(command)) == name


def test_titles() -> None:
    assert (
        service_name(None, None, None, "/usr/bin/python3", ["gunicorn: worker [shop.wsgi:application]"]) == "shop.wsgi"
    )


def test_bound() -> None:
    assert service_name("x" * 1000, None, None, None, []) == "x" * LONGEST


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from(["python3", "node", "java", "sh", "deno", "gunicorn", "x"]), st.lists(st.text(max_size=8)))
def test_never_raises(program: str, arguments: list[str]) -> None:
    service_name(None, ",".join(arguments), None, f"/bin/{program}", [program, *arguments])
