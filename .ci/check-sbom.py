# Validates bills of materials with the libraries of their formats: check-sbom.py FILE...
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

failed = False
for path in sys.argv[1:]:
    if path.endswith(".cdx.json"):
        with open(path, encoding="utf-8") as file:
            error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read())
        messages = [error] if error else []
    else:
        messages = [one.validation_message for one in validate_full_spdx_document(parse_file(path))]
    failed = failed or bool(messages)
    print(f"{path}: {len(messages)} errors")
    for message in messages[:20]:
        print(f"  {message}")
sys.exit(1 if failed else 0)
