"""Random requests made from the OpenAPI document, checked against it. Importing this takes two seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

if TYPE_CHECKING:
    from collections.abc import Sequence

# Not positive_data_acceptance: what fits the shapes may still speak of a customer that is not one's own.
CHECKS = (
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.missing_required_header,
    checks.ignored_auth,
)


def check_operation(
    document: dict[str, Any], operation: str, *, base: str, token: str, ids: Sequence[int], cases: int
) -> None:
    """Make so many requests of one operation such as `GET /x/{id}/`; a part of them with one of the ids."""
    refusals = {"negative_data_rejection": {"expected-statuses": [400, 401, 403, 404, 409, 413, 429]}}
    config = schemathesis.Config.from_dict(
        {
            "base-url": base,
            "checks": refusals,
            "generation": {"with-security-parameters": False},  # the token is given below
        }
    )
    schema = schemathesis.openapi.from_dict(document, config=config)
    method, _, path = operation.partition(" ")
    made = schema[path][method]
    headers = {"Authorization": f"Bearer {token}"}

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=made.as_strategy(generation_mode=GenerationMode.POSITIVE)
        | made.as_strategy(generation_mode=GenerationMode.NEGATIVE),
        row_id=st.sampled_from([None, *ids]),
    )
    def check(case: Any, row_id: int | None) -> None:
        if (
            row_id is not None
            and case.meta.generation.mode is GenerationMode.POSITIVE
            and "id" in (case.path_parameters or {})
        ):
            case.path_parameters["id"] = row_id
        case.call_and_validate(headers=headers, checks=list(CHECKS))

    check()
