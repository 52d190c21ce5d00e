"""Names are accepted and refused as upstream does, with its words."""

from __future__ import annotations

import pytest

from cluster.machinery import names


@pytest.mark.parametrize(
    ("check", "text", "accepted"),
    [
        (names.label_errors, "a-1", True),
        (names.label_errors, "A", False),
        (names.label_errors, "a.b", False),
        (names.label_errors, "a" * 63, True),
        (names.label_errors, "a" * 64, False),
        (names.label_errors, "a\n", False),
        (names.subdomain_errors, "a.b-c.d", True),
        (names.subdomain_errors, "a..b", False),
        (names.subdomain_errors, "", False),
        (names.service_name_errors, "1a", False),
        (names.service_name_errors, "a1", True),
        (names.path_segment_errors, "system:node", True),
        (names.path_segment_errors, "a/b", False),
        (names.path_segment_errors, "..", False),
        (names.qualified_name_errors, "app.kubernetes.io/name", True),
        (names.qualified_name_errors, "/name", False),
        (names.qualified_name_errors, "a/b/c", False),
        (names.qualified_name_errors, "a/", False),
        (names.label_value_errors, "", True),
        (names.label_value_errors, "a b", False),
        (names.config_key_errors, "a.conf", True),
        (names.config_key_errors, "..a", False),
        (names.config_key_errors, "a/b", False),
        (names.environment_name_errors, "A.B-c", True),
        (names.environment_name_errors, "A=B", False),
        (names.environment_name_errors, "", False),
        (names.port_name_errors, "http-2", True),
        (names.port_name_errors, "80", False),
        (names.port_name_errors, "a--b", False),
        (names.generated_prefix_errors, "web-", True),
        (names.generated_prefix_errors, "Web-", False),
    ],
)
def test_a_name_is_accepted_or_refused(check, text, accepted):
    assert (check(text) == ()) is accepted


def test_the_reason_quotes_the_rule():
    (reason,) = names.label_errors("A_b")
    assert reason.startswith("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-'")
    assert "regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')" in reason


def test_causes_name_the_map():
    assert [c.field for c in names.labels_causes({"a b": "c d"}, "metadata.labels")] == ["metadata.labels"] * 2
    assert names.annotations_causes({"Example.COM/x": "any thing"}, "metadata.annotations") == ()
    (cause,) = names.annotations_causes({"a": "x" * names.ANNOTATIONS_SIZE_MAX_BYTES}, "metadata.annotations")
    assert cause.reason == "FieldValueTooLong"
