"""Path sets as real APIs have them."""

from __future__ import annotations

import random

import pytest

from tests.inventory.calls import fed, routes, served

chance = random.Random(3)


def name() -> str:
    """A name that people give: two words."""
    words = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty", "knoll", "larch")
    return f"{chance.choice(words)}-{chance.choice(words)}"


def hexadecimal(digits: int) -> str:
    return f"{chance.getrandbits(4 * digits):0{digits}x}"


def pod() -> str:
    alphabet = "bcdfghjklmnpqrstvwxz2456789"
    return f"{name()}-5{''.join(chance.choices(alphabet, k=8))}-{''.join(chance.choices(alphabet, k=5))}"


SETS: dict[str, tuple[list[str], set[str]]] = {
    "REST": (
        [
            path
            for n in range(200)
            for path in (
                "/api/v1/users",
                f"/api/v1/users/{n}?expand=all",
                "/api/v1/users/me",
                "/api/v1/users/search?q=x",
                f"/api/v1/users/{n}/orders/{hexadecimal(24)}",
                f"/api/v1/orders/{hexadecimal(8)}-{hexadecimal(4)}-4{hexadecimal(3)}-a{hexadecimal(3)}-{hexadecimal(12)}",
                f"/api/v1/reports/2024-05-{n % 28 + 1:02d}",
                f"/api/v1/invites/a***@example{n}.com",
            )
        ],
        {
            "/api/v1/users",
            "/api/v1/users/{id}",
            "/api/v1/users/me",
            "/api/v1/users/search",
            "/api/v1/users/{id}/orders/{hash}",
            "/api/v1/orders/{uuid}",
            "/api/v1/reports/{date}",
            "/api/v1/invites/{email}",
        },
    ),
    "GitHub": (
        [
            path
            for n in range(300)
            for repo in [f"{name()}x{chance.choice('qzw')}/{name()}"]
            for path in (
                f"/repos/{repo}",
                f"/repos/{repo}/issues",
                f"/repos/{repo}/issues/{n}",
                f"/repos/{repo}/commits/{hexadecimal(40)}",
                "/user",
                "/user/repos",
                f"/users/{name()}",
                "/search/code",
            )
        ],
        {
            "/repos/{value}/{value}",
            "/repos/{value}/{value}/issues",
            "/repos/{value}/{value}/issues/{id}",
            "/repos/{value}/{value}/commits/{hash}",
            "/user",
            "/user/repos",
            "/users/{value}",
            "/search/code",
        },
    ),
    "Kubernetes": (
        [
            path
            for _ in range(400)
            for path in (
                "/healthz",
                "/api/v1/nodes",
                f"/api/v1/namespaces/{name()}/pods",
                f"/api/v1/namespaces/{name()}/pods/{pod()}",
                f"/api/v1/namespaces/{name()}/pods/{pod()}/log",
                f"/apis/apps/v1/namespaces/{name()}/deployments/{name()}",
                f"/apis/apps/v1/namespaces/{name()}/deployments/{name()}/scale",
            )
        ],
        {
            "/healthz",
            "/api/v1/nodes",
            "/api/v1/namespaces/{value}/pods",
            "/api/v1/namespaces/{value}/pods/{pod}",
            "/api/v1/namespaces/{value}/pods/{pod}/log",
            "/apis/apps/v1/namespaces/{value}/deployments/{value}",
            "/apis/apps/v1/namespaces/{value}/deployments/{value}/scale",
        },
    ),
    "object store": (
        [f"/{name()}-{chance.choice(('eu', 'us'))}/photos/2024/05/{name()}-{n}.jpg" for n in range(2000)],
        {"/{value}/photos/{id}/{id}/{value}"},
    ),
    "locales and slugs": (
        [
            path
            for n in range(200)
            for path in (
                f"/{chance.choice(('en-US', 'de-DE', 'pt-BR'))}/blog/2024/05/17/{name()}-{name()}",
                f"/{chance.choice(('en', 'de', 'fr'))}/about",
            )
        ],
        {"/{locale}/blog/{id}/{id}/{id}/{value}", "/en/about", "/de/about", "/fr/about"},
    ),
    "single-page application": (
        ["/", "/index.html", *(f"/assets/index-{t}.js" for t in ("BkZ3xT1q", "D4fGh7Jk")), "/static/app.3f9a1c.css"],
        {"/", "/index.html", "/assets/index-{hash}.js", "/static/app.{hash}.css"},
    ),
}


@pytest.mark.parametrize("kind", SETS)
def test_templates(kind: str) -> None:
    paths, expected = SETS[kind]
    for _ in range(3):
        chance.shuffle(paths)
        assert routes(fed([served(path) for path in paths])) == {f"GET {route}" for route in expected}
