#!/usr/bin/env python3
"""Writes docs/reference.md from the comments in proto/tightfit/v1.

make_reference.py            writes the page
make_reference.py --check    exit code 1 if the page is not what would be written

Needs protoc (Debian's protobuf-compiler) and Python's protobuf.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf import descriptor_pb2 as pb

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference.md"
FILES = ("image_generation", "model", "server")
COLUMNS = 100
# Field numbers of descriptor.proto: a path through them leads from a file to a comment.
FILE_MESSAGE, FILE_ENUM, FILE_SERVICE, FILE_SYNTAX = 4, 5, 6, 12
MESSAGE_FIELD, MESSAGE_NESTED, MESSAGE_ENUM = 2, 3, 4
ENUM_VALUE = 2
SERVICE_METHOD = 2
CommentPath = tuple[int, ...]


def descriptors() -> list[pb.FileDescriptorProto]:
    """The contract's files as protoc reads them, with their comments."""
    names = [f"tightfit/v1/{name}.proto" for name in FILES]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "descriptors"
        subprocess.run(
            ["protoc", "-Iproto", "--include_source_info", f"--descriptor_set_out={out}", *names],
            cwd=ROOT,
            check=True,
        )
        files = pb.FileDescriptorSet.FromString(out.read_bytes()).file
    return sorted(files, key=lambda file: names.index(file.name))


class Comments:
    """The comments of one file by path."""

    def __init__(self, file: pb.FileDescriptorProto) -> None:
        self._by_path = {
            tuple(place.path): place.leading_comments or place.trailing_comments
            for place in file.source_code_info.location
            if place.leading_comments or place.trailing_comments
        }

    def lines(self, path: CommentPath) -> list[str]:
        return [line.removeprefix(" ") for line in self._by_path.get(path, "").splitlines()]

    def cell(self, path: CommentPath) -> str:
        """For a table: one line; each item of a list begins a new one on the page."""
        text = ""
        for line in self.lines(path):
            is_item = line.startswith("  ") and not line.startswith("   ")
            text += ("\n" if is_item else " ") + " ".join(line.split())
        for mark, escaped in (("|", r"\|"), ("<", "&lt;"), ("*", r"\*"), ("__", r"\_\_")):
            text = text.replace(mark, escaped)
        return text.strip().replace("\n", "<br>")

    def prose(self, path: CommentPath) -> Iterator[str]:
        """Paragraphs; what is set out in columns stays so."""
        lines = self.lines(path)
        if not lines:
            return
        if any(line.startswith("  ") for line in lines):
            yield from ("```text", *lines, "```", "")
            return
        for paragraph in "\n".join(lines).split("\n\n"):
            yield from textwrap.wrap(
                " ".join(paragraph.split()),
                COLUMNS,
                break_long_words=False,
                break_on_hyphens=False,
            )
            yield ""


def anchor(name: str) -> str:
    return name.lower().replace(".", "")


def short(type_name: str) -> str:
    return type_name.removeprefix(".tightfit.v1.")


def link(type_name: str) -> str:
    """A type by its name, with a link if this page has it."""
    if not type_name.startswith(".tightfit.v1."):
        return f"`{type_name.removeprefix('.')}`"
    return f"[{short(type_name)}](#{anchor(short(type_name))})"


def type_of(field: pb.FieldDescriptorProto, message: pb.DescriptorProto) -> str:
    kind = pb.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    name = link(field.type_name) if field.type_name else f"`{kind}`"
    if field.label == pb.FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    if field.proto3_optional:
        return f"optional {name}"
    if field.HasField("oneof_index"):
        return f"{name} (one of `{message.oneof_decl[field.oneof_index].name}`)"
    return name


def enum(
    kind: pb.EnumDescriptorProto, name: str, path: CommentPath, comments: Comments
) -> Iterator[str]:
    yield from (f"### {name}", *comments.prose(path))
    yield from ("| value | number | meaning |", "|---|---:|---|")
    for index, value in enumerate(kind.value):
        yield f"| `{value.name}` | {value.number} | {comments.cell((*path, ENUM_VALUE, index))} |"
    yield ""


def message(
    kind: pb.DescriptorProto, name: str, path: CommentPath, comments: Comments
) -> Iterator[str]:
    yield from (f"### {name}", *comments.prose(path))
    # A comment above a oneof belongs to all of it.
    for index, group in enumerate(kind.oneof_decl):
        if not group.name.startswith("_"):
            yield from comments.prose((*path, 8, index))
    if kind.field:
        yield from ("| field | number | type | meaning |", "|---|---:|---|---|")
    for index, field in enumerate(kind.field):
        meaning = comments.cell((*path, MESSAGE_FIELD, index))
        yield f"| `{field.name}` | {field.number} | {type_of(field, kind)} | {meaning} |"
    yield from ([""] if kind.field else ["No fields.", ""])
    for index, nested in enumerate(kind.enum_type):
        yield from enum(nested, f"{name}.{nested.name}", (*path, MESSAGE_ENUM, index), comments)
    for index, inner_message in enumerate(kind.nested_type):
        inner = f"{name}.{inner_message.name}"
        yield from message(inner_message, inner, (*path, MESSAGE_NESTED, index), comments)


def service(
    kind: pb.ServiceDescriptorProto, path: CommentPath, comments: Comments
) -> Iterator[str]:
    yield from (f"## {kind.name}", *comments.prose(path))
    for index, method in enumerate(kind.method):
        stream = "a stream of " if method.server_streaming else ""
        yield from (
            f"### {method.name}",
            f"{link(method.input_type)} → {stream}{link(method.output_type)}",
            "",
            *comments.prose((*path, SERVICE_METHOD, index)),
        )


def heading(file: pb.FileDescriptorProto) -> str:
    return f"Messages of {Path(file.name).name}"


def page(files: Sequence[pb.FileDescriptorProto]) -> str:
    services = [kind.name for file in files for kind in file.service]
    parts = [*services, *(heading(file) for file in files)]
    out = [
        "# Reference of the gRPC contract",
        "",
        "<!-- Written by docs/make_reference.py from proto/tightfit/v1. Do not edit. -->",
        "",
        *(f"- [{part}](#{anchor(part).replace(' ', '-')})" for part in parts),
        "",
        "Package `tightfit.v1`. What errors mean and when to try again: [errors.md](errors.md).",
        "",
    ]
    for file in files:
        comments = Comments(file)
        for index, kind in enumerate(file.service):
            out += service(kind, (FILE_SERVICE, index), comments)
    for file in files:
        comments = Comments(file)
        out += [f"## {heading(file)}"]
        out += comments.prose((FILE_SYNTAX,))
        for index, message_kind in enumerate(file.message_type):
            out += message(message_kind, message_kind.name, (FILE_MESSAGE, index), comments)
        for index, enum_kind in enumerate(file.enum_type):
            out += enum(enum_kind, enum_kind.name, (FILE_ENUM, index), comments)
    return "\n".join(out).rstrip("\n") + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    text = page(descriptors())
    if not arguments.check:
        PAGE.write_text(text, "utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text("utf-8") == text:
        return 0
    print("docs/reference.md is out of date: run docs/make_reference.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
