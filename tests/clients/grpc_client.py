"""gRPC's own Python client, which knows nothing of the gateway: it learns the services by reflection, tails the log, resumes,
asks for usage, and reads errors. CLIENT_TEST (JSON) says where, with which key, and what HTTP answers."""
import json
import os

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

TEST = json.loads(os.environ["CLIENT_TEST"])
KEY = (("authorization", f"Bearer {TEST['key']}"),)
SECONDS = 30


def same(got, wanted, what):
    if got != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {got!r}")


class Method:
    """A method that answers with a stream, by its name."""

    def __init__(self, channel, pool, service, name):
        method = pool.FindServiceByName(service).methods_by_name[name]
        self.Request = GetMessageClass(method.input_type)
        reply = GetMessageClass(method.output_type)
        call = channel.unary_stream if method.server_streaming else channel.unary_unary
        self.call = call(
            f"/{service}/{name}", request_serializer=self.Request.SerializeToString, response_deserializer=reply.FromString)

    def __call__(self, metadata=KEY, **fields):
        return self.call(self.Request(**fields), metadata=metadata, timeout=SECONDS)


def refused(call, status, code):
    try:
        list(call)
    except grpc.RpcError as error:
        metadata = dict(error.initial_metadata() or ()) | dict(error.trailing_metadata() or ())
        same((error.code(), metadata.get("ledgerway-code")), (status, code), error.details())
        return metadata
    raise AssertionError(f"no {code}")


# Holds: grpc.tail
def check_tail(tail):
    whole = list(tail())
    same([json.loads(event.canonical) for event in whole], TEST["events"], "the log")
    same([event.position for event in whole], list(range(1, len(whole) + 1)), "positions")
    # A client that leaves in the middle has each event once when it comes back.
    begun = tail(follow=True)
    seen = [next(begun).position for _ in range(5)]
    begun.cancel()
    seen += [event.position for event in tail(after=seen[-1])]
    same(seen, [event.position for event in whole], "positions after a resume")
    money = list(tail(types=["budget.settled.v1"]))
    same(len(money) > 0 and {event.type for event in money} == {"budget.settled.v1"}, True, "events of one type")


# Holds: grpc.usage
def check_report(report):
    parts = list(report(group_by=["model"], min_position=len(TEST["events"])))
    same([part.WhichOneof("part") for part in parts], ["page"] + ["group"] * len(TEST["usage"]) + ["totals"], "parts")
    for part, item in zip(parts[1:-1], TEST["usage"]):
        for name in ("model", "requests", "refused", "failed", "output_text_tokens", "cost_usd", "adjusted_usd"):
            same(value_of(part.group, name), item[name], name)


def value_of(message, name):
    """A field that is not set is null in JSON."""
    is_absent = message.DESCRIPTOR.fields_by_name[name].has_presence and not message.HasField(name)
    return None if is_absent else getattr(message, name)


# Holds: grpc.errors
def check_errors(tail, report):
    refused(tail(metadata=()), grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    said = refused(tail(types=["no.such"]), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    same(json.loads(said["ledgerway-details-bin"])["field"], "types", "the field in the details")
    refused(report(group_by=["colour"]), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


# Holds: grpc.reflection
def main():
    with grpc.insecure_channel(TEST["address"]) as channel:
        reflection = ProtoReflectionDescriptorDatabase(channel)
        ours = {"grpc.health.v1.Health", "ledgerway.v1.Events", "ledgerway.v1.Usage"}
        same(ours <= set(reflection.get_services()), True, "the services")
        pool = DescriptorPool(reflection)
        check = Method(channel, pool, "grpc.health.v1.Health", "Check")
        same(check(metadata=()).status, 1, "health: SERVING")
        tail, report = (
            Method(channel, pool, f"ledgerway.v1.{service}", name) for service, name in (("Events", "Tail"), ("Usage", "Report")))
        check_tail(tail)
        check_report(report)
        check_errors(tail, report)


main()
