"""Random requests made from the OpenAPI document: no 5xx, no answer that the document does not know.

NOTIFIER_TEST_API_CASES=60 makes that many for each operation instead of a few.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from notifier.api.application import endpoints

if TYPE_CHECKING:
    from tests.support.api_server import Api

CASES = int(os.environ.get("NOTIFIER_TEST_API_CASES", "7"))
DOCUMENT: dict[str, Any] = endpoints().openapi()
OPERATIONS = [f"{method.upper()} {path}" for path, found in DOCUMENT["paths"].items() for method in found]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_request_breaks_the_api_or_its_document(api: Api, operation: str) -> None:
    from tests.support.random_requests import check_operation  # noqa: PLC0415 - two seconds of one worker

    customer = api.customer()
    person = api.person("admin", customer)
    ids = [api.smtp(customer), api.preference(customer, person.id), *api.mail(customer, status="failed")]
    check_operation(DOCUMENT, operation, base=api.base, token=person.token, ids=ids, cases=CASES)
