"""Copies of models without what is heavy in them."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message

_M = TypeVar("_M", bound=Message)


def shell(message: _M, *leave_out: str) -> _M:
    """A copy of a message without some of its fields.

    Args:
        message: the original.
        leave_out: names of the fields that the copy lacks.
    """
    copy: _M = type(message)()
    for field, value in message.ListFields():
        if field.name in leave_out:
            continue
        if isinstance(value, Message):
            getattr(copy, field.name).CopyFrom(value)
        elif hasattr(value, "MergeFrom"):  # repeated
            getattr(copy, field.name).MergeFrom(value)
        elif field.type == field.TYPE_STRING and isinstance(value, bytes):
            copy.MergeFromString(_encoded(field.number, value))
        else:
            setattr(copy, field.name, value)
    return copy


def _encoded(number: int, text: bytes) -> bytes:
    """A string field on the wire: what is not UTF-8 (a doc string in GBK) cannot be assigned."""
    return _varint(number << 3 | 2) + _varint(len(text)) + text


def _varint(number: int) -> bytes:
    found = b""
    while number > 0x7F:
        found += bytes([number & 0x7F | 0x80])
        number >>= 7
    return found + bytes([number])
