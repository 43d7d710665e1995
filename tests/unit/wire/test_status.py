"""The error model has no holes: every core code becomes a Python error, every Python error a gRPC status, and back."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2

from floodgate import _core, errors
from floodgate.errors import CORE_ERRORS, ContentError, FloodgateError, InvalidRequest, Overloaded, StartupError
from floodgate.wire.status import INTERNAL_TEXT, STATUS_OF, from_status, status_code, to_status


def all_errors() -> list[type[FloodgateError]]:
    found = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, FloodgateError)]
    return sorted(set(found) - {FloodgateError}, key=lambda cls: cls.__name__)


@pytest.mark.parametrize("code", _core.CODES)
def test_every_core_code_becomes_its_python_error(code: str) -> None:
    with pytest.raises(CORE_ERRORS[code], match="because") as raised:
        _core.raise_code(code, "because")
    assert raised.value.code == code


def test_the_core_has_no_other_codes() -> None:
    assert set(_core.CODES) == set(CORE_ERRORS)


@pytest.mark.parametrize("cls", all_errors())
def test_every_error_has_a_grpc_status(cls: type[FloodgateError]) -> None:
    code = status_code(cls("message"))
    assert code in set(STATUS_OF.values())
    if not issubclass(cls, (ContentError, StartupError, errors.InternalError)):
        assert code is not grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("cls", [c for c in all_errors() if c in STATUS_OF and c not in (ContentError, StartupError)])
def test_a_client_sees_the_error_the_server_raised(cls: type[FloodgateError]) -> None:
    assert type(from_status(to_status(cls("message"), "r-1"))) is cls


def test_internal_errors_hide_their_detail_and_give_the_request_id() -> None:
    status = to_status(ZeroDivisionError("secret path /etc"), "r-1")
    assert status.message == f"{INTERNAL_TEXT} (request r-1)"
    assert "secret" not in str(status)


def test_overload_says_when_to_come_back() -> None:
    status = to_status(Overloaded("full", retry_after_ms=250), "r-1")
    error = from_status(status)
    assert isinstance(error, Overloaded)
    assert error.retry_after_ms == 250


def test_an_invalid_request_names_its_field_in_bad_request() -> None:
    status = to_status(InvalidRequest("lane is odd", field="lane"), "")
    bad = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad)
    assert bad.field_violations[0].field == "lane"
    error = from_status(status)
    assert isinstance(error, InvalidRequest)
    assert error.field == "lane"


def test_a_refusal_fits_into_trailers_whatever_it_quotes() -> None:
    status = to_status(InvalidRequest("é" * 100_000, field="x" * 100_000), "r" * 100_000)
    # gRPC allows 16 KiB: the message percent-encoded, and the status with it again in base64.
    assert 3 * len(status.message.encode()) + 4 * status.ByteSize() / 3 < 8 << 10
    assert status.message.endswith("é…")
    assert from_status(status).message == status.message
