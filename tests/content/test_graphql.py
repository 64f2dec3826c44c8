"""The scanner of GraphQL documents, beside graphql-core's parser."""

from __future__ import annotations

import pytest
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    SelectionSetNode,
    get_introspection_query,
    parse,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.content.graphql import TOKENS, Selection, selections
from apisensor.content.identifiers import FIELDS, OPERATIONS

Plain = tuple[str, str | None, set[str]]


def of_core(document: str) -> list[Plain] | None:
    """What graphql-core makes of it; None: it refuses the document, or it defines types."""
    try:
        found = parse(document, no_location=True)
    except GraphQLError:
        return None
    fragments = {one.name.value: one for one in found.definitions if isinstance(one, FragmentDefinitionNode)}
    operations = [one for one in found.definitions if isinstance(one, OperationDefinitionNode)]
    if not all(isinstance(one, FragmentDefinitionNode | OperationDefinitionNode) for one in found.definitions):
        return None

    def fields(selected: SelectionSetNode, seen: frozenset[str]) -> set[str]:
        names: set[str] = set()
        for one in selected.selections:
            if isinstance(one, FieldNode):
                names.add(one.name.value)
            elif isinstance(one, FragmentSpreadNode):
                name = one.name.value
                if name in fragments and name not in seen:
                    names |= fields(fragments[name].selection_set, seen | {name})
            else:
                names |= fields(one.selection_set, seen)  # type: ignore[attr-defined]
        return names

    return [
        (one.operation.value, one.name.value if one.name else None, fields(one.selection_set, frozenset()))
        for one in operations
    ]


def plain(found: list[Selection]) -> list[Plain]:
    return [
        (one.kind.decode(), None if one.name is None else one.name.decode(), {f.decode() for f in one.fields})
        for one in found
    ]


DOCUMENTS = [
    "{ user }",
    "query { user }",
    "query Q { user }",
    'mutation M($a: In = {x: [1, 2], y: "}"}) @d(x: "{") { login(a: $a) { token } logout }',
    "subscription S { ticks(every: 1.5) }",
    "query Q { a: b c: d(x: 1) { e } ... on Query @include(if: $x) { f { g } } ...F @d ... { h } ... @d { i } }"
    " fragment F on Query { j ...G } fragment G on Query { k ...F }",
    "query A { a } mutation B { b } { c }",
    "# { not this }\r\n{ a # nor } this\n b }",
    '{ a(x: """ block } " \\""" still } """) b }',
    '{ a(x: "\\"}") b(y: "\\\\") c }',
    '{ a(x: "") b(y: """""") }',
    "\ufeff{a,b,,c}",
    "query query { query }",
    "{ fragment on mutation }",
    "query Q{user(id:$id){...on User{name}}}",
    get_introspection_query(),
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_agrees_with_graphql_core(document: str) -> None:
    expected = of_core(document)
    assert expected
    assert plain(selections(document.encode())) == expected


@pytest.mark.parametrize(
    "document",
    ["", "x", "query", "query Q", "{", "{ a", "{ a }}", "{ a(", '{ a(x: "', "shoes and boots", "query shoes", "{ a-b }",
     "type A { b: C }", "{ a } type B { c: D }", '{"a": 1}', "fragment F on A", '{ a(x: "\n") }', "{ a.b }", "}"],
)  # fmt: skip
def test_no_executable_document(document: str) -> None:
    assert of_core(document) is None
    assert selections(document.encode()) == []


NAME = st.sampled_from(["a", "b", "query", "on2", "_x", "Fragment", "mutation", "type"])
ARGUMENTS = st.sampled_from(["", '(x: "}")', "(x: {y: [1]})", '(x: """ { \\""" """)', "(x: $v, y: E)"])
DIRECTIVE = st.sampled_from(["", "@d", '@ d(x: "{")', "@d @e"])
BLANK = st.sampled_from([" ", "\n", ",", '# {}"\n', "\r\n\t"])


def selection_set(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    field = st.builds(
        lambda alias, name, arguments, directive, blank, child: (
            f"{alias}{name}{blank}{arguments}{directive}{blank}{child}"
        ),
        st.sampled_from(["", "z: ", "z:"]), NAME, ARGUMENTS, DIRECTIVE, BLANK, st.one_of(st.just(""), children),
    )  # fmt: skip
    inline = st.builds(
        lambda head, directive, child: f"...{head} {directive}{child}",
        st.sampled_from(["", "on T", " on T"]), DIRECTIVE, children,
    )  # fmt: skip
    spread = st.builds(lambda name, directive: f"...{name} {directive}", st.sampled_from(["F", "G", "H"]), DIRECTIVE)
    one = st.one_of(field, inline, spread)
    return st.lists(one, min_size=1, max_size=4).map(lambda parts: "{" + " ".join(parts) + "}")


SELECTIONS = st.recursive(st.just("{a}"), selection_set, max_leaves=12)
DEFINITION = st.one_of(
    SELECTIONS,
    st.builds(
        lambda kind, name, variables, directive, body: f"{kind} {name}{variables}{directive} {body}",
        st.sampled_from(["query", "mutation", "subscription"]), st.one_of(st.just(""), NAME),
        st.sampled_from(["", "($v: Int = 1)", '($v: [T!]! = "{")']), DIRECTIVE, SELECTIONS,
    ),
    st.builds(
        lambda name, directive, body: f"fragment {name} on T {directive}{body}",
        st.sampled_from(["F", "G", "H"]), DIRECTIVE, SELECTIONS,
    ),
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(DEFINITION, min_size=1, max_size=5).map("\n".join))
def test_agrees_on_documents_of_any_form(document: str) -> None:
    expected = of_core(document)
    assert expected is not None
    assert plain(selections(document.encode())) == expected


@settings(max_examples=200)
@given(DEFINITION, st.data())
def test_a_cut_document_is_none(document: str, data: st.DataObject) -> None:
    cut = document[: data.draw(st.integers(0, len(document)))]
    if of_core(cut) is None:
        assert selections(cut.encode()) == []


@settings(max_examples=300)
@given(st.binary(max_size=200), st.text(alphabet='{}()"#\\.@: \na', max_size=200))
def test_anything_is_read_without_failing(raw: bytes, text: str) -> None:
    selections(raw)
    selections(text.encode())


def test_bounds() -> None:
    many = " ".join(f"f{number}" for number in range(FIELDS + 1))
    (found,) = selections(f"{{{many}}}".encode())
    assert len(found.fields) == FIELDS
    assert found.cut
    assert len(selections(b"query A { a }" * (OPERATIONS + 5))) == OPERATIONS
    assert selections(b"{" + b"a " * TOKENS + b"}") == []
    assert selections(b"{ " + b"a" * 129 + b" }") == []
    for hostile in (
        b"{a(x:" + b'"' * 65_001,
        b'"""' + b'\\"""' * 16_000,
        b"{" + b"...a " * 9_000 + b"}",
        b"#\n" * 32_000,
    ):
        selections(hostile)
