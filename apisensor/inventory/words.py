"""Words that stay words in every place of a path, however many other words were seen there.

/users/me is never /users/{value}. They do not count towards learning. Small letters; any case matches.
"""

from __future__ import annotations

_WHO = """
me self current mine own default latest new all any none first last next previous random recent popular trending
featured active archived deleted draft drafts pending public private shared starred favorites unread
"""
"""Who is asked for, and what there is beside the items of a collection."""

_ACTIONS = """
login logout signin signout signup register auth oauth oauth2 authorize token tokens callback verify confirm
activate reset refresh revoke introspect userinfo session sessions password passwords sso saml search find query
filter suggest autocomplete lookup list count stats statistics metrics summary report reports create add edit update
delete remove copy move merge rename import export upload uploads download downloads bulk batch preview validate
check test start stop cancel approve reject enable disable lock unlock publish subscribe unsubscribe restore sync
clone share invite join leave follow unfollow like unlike history diff
"""
"""What is done."""

_PARTS = """
api rest graphql rpc ws websocket socket.io webhook webhooks hooks events stream health healthz healthcheck livez
readyz live ready ping status version info debug actuator metrics.json admin internal static assets css js img
images fonts media files docs swagger openapi swagger.json openapi.json openapi.yaml redoc favicon.ico robots.txt
sitemap.xml index.html .well-known cgi-bin config settings preferences profile about help terms
"""
"""What runs beside an API."""

_NOUNS = """
user users account accounts customer customers member members people person team teams group groups org orgs
organization organizations project projects role roles permission permissions item items product products category
categories order orders cart carts checkout payment payments invoice invoices transaction transactions subscription
subscriptions plan plans price prices inventory shipment shipments address addresses message messages notification
notifications comment comments post posts article articles blog review reviews tag tags label labels document
documents file folder folders photo photos video videos event job jobs task tasks ticket tickets repo repos issue
issues pulls commits branches contents releases namespaces pods services deployments nodes apis buckets objects keys
"""
"""What APIs are about."""

WORDS = frozenset(f"{_WHO} {_ACTIONS} {_PARTS} {_NOUNS}".split())
