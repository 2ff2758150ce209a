"""What schemathesis needs to know of this API that its document cannot say."""

import json

import schemathesis

SKUS = ["RUNNER-42", "RUNNER-43", "CAP-NAVY", "POSTER-A2"]


@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx, value):
    """A batch: the generated line, three times."""
    return b"\n".join([json.dumps(value).encode()] * 3)


@schemathesis.deserializer("application/x-ndjson")
def first_line(ctx, response):
    return json.loads(response.content.split(b"\n")[0])


@schemathesis.hook
def map_path_parameters(ctx, path_parameters):
    """Half of the generated sales are the demo's: the others end in 404."""
    sale = path_parameters.get("sale") if path_parameters else None
    if isinstance(sale, str) and len(sale) % 2:
        path_parameters["sale"] = "demo"
    return path_parameters


@schemathesis.hook
def map_body(ctx, body):
    """Most well-formed SKUs are ones that the demo has."""
    lines = body.get("lines") if isinstance(body, dict) else None
    for i, line in enumerate(lines if isinstance(lines, list) else []):
        sku = line.get("sku") if isinstance(line, dict) else None
        if isinstance(sku, str) and 0 < len(sku) <= 64 and len(sku) % 4:
            line["sku"] = SKUS[(len(sku) + i) % len(SKUS)]
    return body
