"""What the control API says of itself, read by a validator that is not ours."""

import os

import requests
from openapi_spec_validator import OpenAPIV31SpecValidator


def main():
    document = requests.get(os.environ["CONTROL"] + "/openapi.json", timeout=10).json()
    errors = list(OpenAPIV31SpecValidator(document).iter_errors())
    for error in errors:
        print("/".join(map(str, error.absolute_path)), error.message)
    assert not errors
    print("ok", len(document["paths"]), "paths")


if __name__ == "__main__":
    main()
