"""The served OpenAPI document is what the contracts say today."""

import importlib.util
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_openapi_document_is_generated_from_todays_contracts():
    spec = importlib.util.spec_from_file_location("openapi", ROOT / "scripts" / "openapi.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.TARGET.read_text(encoding="utf-8") == generator.generate(), "run scripts/openapi.py"


def test_every_reference_of_the_document_leads_somewhere_and_no_operation_repeats_an_id():
    text = (ROOT / "services/gateway/haas_gateway/openapi.json").read_text(encoding="utf-8")
    document = json.loads(text)
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= set(document["components"]["schemas"])
    operations = [operation for verbs in document["paths"].values() for operation in verbs.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) > 20
    assert all(operation["description"] for operation in operations)
