"""The OpenAPI description as a judge of answers."""

import copy
import json
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator

from drivebay import wire
from live import Answer

FILE = resources.files("drivebay.http").joinpath("openapi.json")
METHODS = ("get", "head", "post")


class Description:
    """The document, with `$ref` followed.

    Clients must take records with more keys than are described; here there may be none.
    """

    def __init__(self) -> None:
        self.document: dict[str, Any] = json.loads(FILE.read_bytes())
        self._strict = copy.deepcopy(self.document["components"])
        for name in ("Drive", "Listed"):
            self._strict["schemas"][name]["additionalProperties"] = False

    def followed(self, node: dict[str, Any]) -> dict[str, Any]:
        """Return *node*, or what it refers to."""
        if "$ref" not in node:
            return node
        found: Any = self.document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return found

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield each path, method and operation."""
        for path, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield path, method, item[method]

    def template(self, target: str) -> str | None:
        """Return the path that *target* is a case of: of several the most literal."""
        parts = [part for part in target.partition("?")[0].split("/") if part]
        fitting = []
        for path in self.document["paths"]:
            names = path.strip("/").split("/")
            literal = [name for name in names if not name.startswith("{")]
            if len(names) == len(parts) and all(
                name.startswith("{") or name == part
                for name, part in zip(names, parts, strict=True)
            ):
                fitting.append((len(literal), path))
        return max(fitting)[1] if fitting else None

    def judge(self, method: str, target: str, answer: Answer) -> None:
        """Check that *answer* is one that the description has for the call."""
        path = self.template(target)
        if path is None:
            assert answer.status in {400, 401, 404, 408, 411, 414, 417, 431}, (target, answer)
            return
        operation = self.document["paths"][path].get(method.lower())
        if operation is None:
            assert answer.status in {400, 401, 405, 408, 411, 414, 417, 431}, (target, answer)
            return
        assert str(answer.status) in operation["responses"], (method, path, answer)
        response = self.followed(operation["responses"][str(answer.status)])
        self._judge_headers(response, answer)
        if method != "HEAD":
            self._judge_body(response.get("content", {}), answer)

    def conforms(self, value: object, schema: dict[str, Any]) -> None:
        """Check that *value* is what *schema* describes."""
        Draft202012Validator({**schema, "components": self._strict}).validate(value)

    def _judge_headers(self, response: dict[str, Any], answer: Answer) -> None:
        for name, header in response.get("headers", {}).items():
            value = answer.headers.get(name.lower())
            assert value is not None or not header.get("required"), (name, answer)
            if value is not None:
                self.conforms(value, header["schema"])

    def _judge_body(self, content: dict[str, Any], answer: Answer) -> None:
        if not content:
            assert answer.body == b""
            assert "content-type" not in answer.headers
            return
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind in content, (kind, answer)
        if kind == "application/json":
            self.conforms(json.loads(answer.body), content[kind]["schema"])
        elif answer.headers.get("x-elastic-output") == "properties":
            for record in wire.parse_records(answer.body):
                document = {**record, "size": int(record["size"])}
                self.conforms(document, {"$ref": "#/components/schemas/Drive"})


DESCRIPTION = Description()


def documented_table(text: str, heading: str) -> list[list[str]]:
    """Return the rows of the table below *heading* in a Markdown document."""
    section = text.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("| ") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines[2:]]
