"""Says what is wrong with bytes that do not parse as a message.

protobuf only reports that parsing failed. This walks the wire format beside the message's descriptor and names the
first field that breaks it, so that the caller hears "parts[3].text.text is not valid UTF-8" rather than a riddle.
Source: the protobuf encoding specification (tags, varints, length-delimited fields).
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 16


class _Broken(Exception):
    """The message breaks here; the text says how."""


def explain(data: bytes, descriptor: Descriptor) -> tuple[str, str]:
    """(field path, sentence) for bytes that failed to parse as ``descriptor``; the path may be empty."""
    try:
        found = _walk(memoryview(data), descriptor, "", 0)
    except _Broken as broken:
        return "", f"the request is not a valid {descriptor.name} message: {broken}"
    if found is not None:
        return found, f"{found} is not valid UTF-8"
    return "", f"the request is not a valid {descriptor.name} message"


def salvage_ids(data: bytes) -> tuple[str, str]:
    """(request_id, content_id) of a ModerateRequest that does not parse, as far as they can be read; else empty.

    They are fields 1 and 2, so that a stream can still answer the right item.
    """
    ids = ["", ""]
    view = memoryview(data)
    position = 0
    try:
        while position < len(view):
            tag, position = _varint(view, position, "")
            if tag & 7 == _VARINT:
                _, position = _varint(view, position, "")
            elif tag & 7 in (_FIXED64, _FIXED32):
                position += 8 if tag & 7 == _FIXED64 else 4
            elif tag & 7 == _BYTES:
                length, position = _varint(view, position, "")
                if length > len(view) - position:
                    break
                if tag >> 3 in (1, 2):
                    ids[(tag >> 3) - 1] = str(view[position : position + length], "utf-8")
                position += length
            else:
                break
    except (_Broken, UnicodeDecodeError):
        pass
    return ids[0], ids[1]


def _walk(data: memoryview, descriptor: Descriptor, path: str, depth: int) -> str | None:
    """The path of the first string field that is not UTF-8, if any."""
    position = 0
    seen: dict[int, int] = {}
    while position < len(data):
        tag, position = _varint(data, position, path)
        number, wire_type = tag >> 3, tag & 7
        field = descriptor.fields_by_number.get(number)
        name = _join(path, field, seen) if field is not None else f"{path or 'message'} field {number}"
        if wire_type == _VARINT:
            _, position = _varint(data, position, name)
        elif wire_type in (_FIXED64, _FIXED32):
            position += 8 if wire_type == _FIXED64 else 4
        elif wire_type == _BYTES:
            length, position = _varint(data, position, name)
            if length > len(data) - position:
                raise _Broken(f"{name} says {length} bytes and {len(data) - position} are left")
            value = data[position : position + length]
            position += length
            if field is None:
                continue
            if field.type == FieldDescriptor.TYPE_STRING:
                try:
                    str(value, "utf-8")
                except UnicodeDecodeError:
                    return name
            elif field.message_type is not None and depth < _MAX_DEPTH:
                found = _walk(value, field.message_type, name, depth + 1)
                if found is not None:
                    return found
        else:
            raise _Broken(f"{name} has wire type {wire_type}")
        if position > len(data):
            raise _Broken(f"{name} is cut short")
    return None


def _join(path: str, field: FieldDescriptor, seen: dict[int, int]) -> str:
    name = str(field.name)
    if field.is_repeated:
        index = seen.get(field.number, 0)
        seen[field.number] = index + 1
        name = f"{name}[{index}]"
    return f"{path}.{name}" if path else name


def _varint(data: memoryview, position: int, name: str) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data):
            raise _Broken(f"{name or 'the message'} is cut short")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise _Broken(f"{name or 'the message'} holds a number of more than 64 bits")
