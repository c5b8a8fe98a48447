"""From messages of the contract to this package's dataclasses, by the names of their fields.

A field is read from the message's field of the same name, `x_seconds` from the Duration
`x_duration`; metadata `message_field` names any other. So a new field of the contract is one line
in a dataclass.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from datetime import datetime, timezone
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

T = TypeVar("T")


def from_message(kind: type[T], message: Message) -> T:
    """`kind`: a dataclass, or a NamedTuple whose fields are scalars."""
    hashable: Any = kind
    fields = fields_of(hashable)
    return kind(**{name: _value(hint, message, source) for name, (source, hint) in fields.items()})


@functools.cache
def fields_of(kind: Any) -> dict[str, tuple[str, Any]]:
    """Name of each field -> the message's field that it is read from, and its type."""
    hints = typing.get_type_hints(kind)
    if not dataclasses.is_dataclass(kind):
        return {name: (name, hint) for name, hint in hints.items()}
    fields = {}
    for each in dataclasses.fields(kind):
        source = each.metadata.get("message_field", each.name)
        if source.endswith("_seconds"):
            source = source.removesuffix("_seconds") + "_duration"
        fields[each.name] = (source, hints[each.name])
    return fields


def _value(hint: Any, message: Message, source: str) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if not message.HasField(source):
            return None
        (hint,) = (each for each in typing.get_args(hint) if each is not type(None))
    value = getattr(message, source)
    if typing.get_origin(hint) is tuple:
        return tuple(_single(typing.get_args(hint)[0], each) for each in value)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _member(hint, message, source, value)
    return _single(hint, value)


def _single(hint: Any, value: Any) -> Any:
    if isinstance(value, Duration):
        return value.seconds + value.nanos / 1e9
    if isinstance(value, Timestamp):
        return datetime.fromtimestamp(value.seconds + value.nanos / 1e9, timezone.utc)
    if isinstance(value, Message):
        return from_message(hint, value)
    return value


def _member(kind: type[enum.Enum], message: Message, source: str, number: int) -> enum.Enum:
    """STAGE_DENOISE -> Stage("denoise"); a number of a newer server -> UNSPECIFIED."""
    described = message.DESCRIPTOR.fields_by_name[source].enum_type
    values = {} if described is None else described.values_by_number
    if number in values:
        prefix = values[0].name.removesuffix("UNSPECIFIED")
        name = values[number].name.removeprefix(prefix).lower()
        if name in {str(member.value) for member in kind}:
            return kind(name)
    return kind("unspecified")
