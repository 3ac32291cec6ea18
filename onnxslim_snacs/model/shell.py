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
        else:
            setattr(copy, field.name, value)
    return copy
