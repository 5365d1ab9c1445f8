"""Protobuf classes for Caffe's messages, in a descriptor pool of their own.

The pool is our own so that the real `caffe` can be imported beside this package: protobuf refuses
two files that define the same names in its default pool.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal import enum_type_wrapper

from lbpmap.caffe.formats.schema import SCHEMA

# The classes are made at run time: a type checker cannot know their fields.
Message = Any

_FIELD = re.compile(
    r"(?:(?P<label>repeated|required) )?(?P<type>\w+) (?P<name>\w+) = (?P<number>\d+)"
    r"(?: \((?P<default>.*)\))?(?P<packed> packed)?"
)
_ENUM_VALUE = re.compile(r"(\w+)=(\d+)")
_KIND = descriptor_pb2.FieldDescriptorProto


def _enum(text: str) -> Any:
    name, *values = text.split()
    enum = descriptor_pb2.EnumDescriptorProto(name=name)
    for value in values:
        key, number = value.split("=")
        enum.value.add(name=key, number=int(number))
    return enum


def _fields(text: str, enums: set[str], message: str) -> Iterator[Any]:
    """Describe the fields of one message; `enums` are the names of its own."""
    for line in text.split(";"):
        match = _FIELD.fullmatch(line.strip())
        if match is None:
            raise AssertionError(f"schema: cannot read {line!r} of {message}")
        kind, label = match["type"], match["label"] or "optional"
        field = _KIND(name=match["name"], number=int(match["number"]))
        field.label = getattr(_KIND, f"LABEL_{label.upper()}")
        if kind in enums or kind == "Phase":
            field.type = _KIND.TYPE_ENUM
            field.type_name = f".caffe.{message}.{kind}" if kind in enums else ".caffe.Phase"
        elif kind[0].isupper():
            field.type, field.type_name = _KIND.TYPE_MESSAGE, f".caffe.{kind}"
        else:
            field.type = getattr(_KIND, f"TYPE_{kind.upper()}")
        if match["default"] is not None:
            field.default_value = match["default"]
        if match["packed"]:
            field.options.packed = True
        yield field


def _file() -> Any:
    """Turn the table into the description that protobuf compiles."""
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for block in re.split(r"\n(?=\S)", SCHEMA.strip()):
        kind, _, body = block.partition(" ")
        if kind == "enum":
            file.enum_type.append(_enum(body))
            continue
        name, *lines = body.splitlines()
        message = file.message_type.add(name=name)
        rest: list[str] = []
        enums: list[str] = []
        for line in lines:
            if line.strip().startswith("enum "):
                enums.append(line.strip()[5:])
            elif _ENUM_VALUE.match(line.strip()):
                enums[-1] += " " + line.strip()
            else:
                rest.append(line.strip())
        message.enum_type.extend(map(_enum, enums))
        own = {enum.name for enum in message.enum_type}
        message.field.extend(_fields(" ".join(rest), own, name))
    return file


def _classes() -> tuple[dict[str, Message], dict[str, Any]]:
    pool = descriptor_pool.DescriptorPool()
    file = _file()
    pool.AddSerializedFile(file.SerializeToString())
    if hasattr(message_factory, "GetMessageClass"):
        make = message_factory.GetMessageClass
    else:  # protobuf 4.21
        make = message_factory.MessageFactory(pool).GetPrototype  # type: ignore[attr-defined]
    messages = {
        m.name: make(pool.FindMessageTypeByName(f"caffe.{m.name}")) for m in file.message_type
    }
    enums = {
        e.name: enum_type_wrapper.EnumTypeWrapper(pool.FindEnumTypeByName(f"caffe.{e.name}"))
        for e in file.enum_type
    }
    return messages, enums


MESSAGES, ENUMS = _classes()

NetParameter: Message = MESSAGES["NetParameter"]
LayerParameter: Message = MESSAGES["LayerParameter"]
SolverParameter: Message = MESSAGES["SolverParameter"]
SolverState: Message = MESSAGES["SolverState"]
FillerParameter: Message = MESSAGES["FillerParameter"]
BlobProto: Message = MESSAGES["BlobProto"]
BlobProtoVector: Message = MESSAGES["BlobProtoVector"]
BlobShape: Message = MESSAGES["BlobShape"]
Datum: Message = MESSAGES["Datum"]

TRAIN: int = ENUMS["Phase"].Value("TRAIN")
TEST: int = ENUMS["Phase"].Value("TEST")
