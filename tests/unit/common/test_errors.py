"""Every reason has one class, and a class survives the road to another process."""

import grpc
import grpc.aio
import pytest
from google.rpc import code_pb2, error_details_pb2

from haas.common.v1 import error_reason_pb2
from haas_common import errors


def sent(error: errors.HaasError) -> grpc.aio.AioRpcError:
    """The error as a peer receives it."""
    trailers = grpc.aio.Metadata((errors.DETAILS_KEY, error.to_status().SerializeToString()))
    return grpc.aio.AioRpcError(error.code, grpc.aio.Metadata(), trailers, error.message)


def bare(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    """An error that no service of ours sent."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "Socket closed")


def test_every_reason_of_the_contract_has_a_class_named_after_it_and_no_class_has_another():
    contract = {
        v.name.removeprefix("ERROR_REASON_") for v in error_reason_pb2.ErrorReason.DESCRIPTOR.values if v.number
    }
    assert set(errors.BY_REASON) == contract
    for reason, cls in errors.BY_REASON.items():
        assert cls.__name__.lower() == reason.replace("_", "").lower()
        assert cls.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("reason", sorted(errors.BY_REASON))
def test_an_error_is_rebuilt_as_its_class_with_its_sentence_and_metadata(reason):
    error = errors.BY_REASON[reason]("Es así: «sí».", resource="plan", id="pl-1")
    rebuilt = errors.from_rpc(sent(error))
    assert type(rebuilt) is type(error)
    assert (rebuilt.message, rebuilt.metadata, rebuilt.code) == (error.message, error.metadata, error.code)


@pytest.mark.parametrize("reason", sorted(errors.BY_REASON))
def test_the_status_is_aip_193(reason):
    error = errors.BY_REASON[reason]()
    status = error.to_status()
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("haas", reason)
    assert status.code == code_pb2.Code.Value(error.code.name)
    assert status.message


def test_a_reason_of_another_domain_is_not_ours():
    status = errors.RateLimited().to_status()
    status.details[0].Pack(error_details_pb2.ErrorInfo(domain="example.com", reason="RATE_LIMITED"))
    assert errors.from_status(status) is None


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_PASSED"),
        (grpc.StatusCode.CANCELLED, "CALL_CANCELLED"),
        (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
        (grpc.StatusCode.UNKNOWN, "INTERNAL_ERROR"),
    ],
)
def test_a_status_without_details_becomes_the_nearest_class_and_its_text_stays_behind(code, reason):
    rebuilt = errors.from_rpc(bare(code))
    assert rebuilt.reason == reason
    assert "Socket" not in rebuilt.message


def test_an_internal_error_makes_up_its_id_and_keeps_a_given_one():
    assert errors.InternalError().metadata["error_id"] != errors.InternalError().metadata["error_id"]
    assert errors.InternalError(error_id="e-1").metadata == {"error_id": "e-1"}


def test_waiting_times_and_fields_travel_as_googles_own_details_too():
    retry, bad = error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    assert errors.RateLimited(retry_after_s=1.5).to_status().details[1].Unpack(retry)
    assert retry.retry_delay.ToNanoseconds() == 1_500_000_000
    assert errors.FieldInvalid(field="tool", rule="string.pattern").to_status().details[1].Unpack(bad)
    assert bad.field_violations[0].field == "tool"


def test_what_leaves_is_bounded():
    error = errors.ToolFailed("x" * 100_000, cause="y" * 100_000, tool=None)
    assert len(error.to_status().SerializeToString()) < 8192
    assert "tool" not in error.metadata
