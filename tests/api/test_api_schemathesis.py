"""Random requests made from the OpenAPI document: no 5xx, no answer that the document does not know.

NOTIFIER_TEST_API_CASES=50 makes that many for each operation instead of a few.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from notifier.api.application import endpoints

if TYPE_CHECKING:
    from tests.support.api_server import Api

CASES = int(os.environ.get("NOTIFIER_TEST_API_CASES", "7"))
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
DOCUMENT: dict[str, Any] = endpoints().openapi()
OPERATIONS = [f"{method.upper()} {path}" for path, found in DOCUMENT["paths"].items() for method in found]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_request_breaks_the_api_or_its_document(api: Api, operation: str) -> None:
    customer = api.customer()
    person = api.person("admin", customer)
    ids = [api.smtp(customer), api.preference(customer, person.id), *api.mail(customer, status="failed")]
    refusals = {"negative_data_rejection": {"expected-statuses": [400, 401, 403, 404, 409, 413, 429]}}
    config = schemathesis.Config.from_dict(
        {
            "base-url": api.base,
            "checks": refusals,
            "generation": {"with-security-parameters": False},  # the token is given below
        }
    )
    schema = schemathesis.openapi.from_dict(DOCUMENT, config=config)
    method, _, path = operation.partition(" ")
    made = schema[path][method]
    headers = {"Authorization": f"Bearer {person.token}"}

    @settings(
        max_examples=CASES,
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
