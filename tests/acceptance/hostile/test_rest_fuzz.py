"""The REST door under random requests, judged by its own OpenAPI document."""

import json
import zlib

import pytest
import schemathesis
from hypothesis import seed
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi import checks

from chatproject.api import api
from tests.acceptance.hostile.world import MARKER, Caller, World
from tests.fuzzing import SEED, examples

# Three processes start for the first test.
pytestmark = pytest.mark.timeout(300)

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
    checks.allow_header_conformance,
]
REPLACED = {ParameterLocation.PATH, ParameterLocation.HEADER, ParameterLocation.COOKIE}
WHO = ["nobody", "session", "session", "token", "token"]
DOCUMENT = json.loads(json.dumps(api.get_openapi_schema(path_prefix="/api/v1/")))

schema = schemathesis.openapi.from_dict(DOCUMENT)
# One that a call does not take is as good as five.
schema.config.phases.coverage.unexpected_methods = {"patch"}


class Callers:
    """One caller of each kind, and a room of each one's own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.each = {kind: Caller(world.url, kind) for kind in ("nobody", "session", "token")}
        self.own = {kind: self.each[kind].create_room("public", "Own") for kind in ("session", "token")}

    def aim(self, case: Case) -> tuple[Caller, bool]:
        """Who makes this call, the same one whenever it is tried; and most calls meet rooms and people that there
        are. Also whether that has made a call valid that was to be invalid."""
        chance = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode(errors="replace"))
        caller = self.each[WHO[chance % len(WHO)]]
        targets = {
            "room_id": [self.world.hidden, self.world.open, self.own.get(caller.kind, self.world.open)],
            "username": [caller.name, self.world.stranger.name],
            "message": [self.world.hidden_message],
        }
        components = case.meta.components.items() if case.meta is not None else ()
        invalid = {location for location, component in components if component.mode.is_negative}
        is_replaced = False
        for name in set(targets).intersection(case.path_parameters or ()):
            choices = targets[name]
            if (pick := chance // len(WHO) % (len(choices) + 1)) < len(choices):
                case.path_parameters[name] = choices[pick]
                is_replaced = True
        return caller, is_replaced and ParameterLocation.PATH in invalid and invalid <= REPLACED

    def mend(self, caller: Caller) -> None:
        """Give back what a call has ended: the caller's sign-in, and a room of one's own."""
        if caller.kind == "nobody":
            caller.begin()
        elif (answer := caller.ask("GET", f"/rooms/{self.own[caller.kind]}")).status_code != 200:
            if answer.status_code != 404:
                caller.begin()
            self.own[caller.kind] = caller.create_room("public", "Own")


@pytest.fixture(scope="module")
def callers(world: World) -> Callers:
    return Callers(world)


@schema.parametrize()
@seed(SEED)
@examples(10)
def test_no_request_is_answered_otherwise_than_the_document_says(callers: Callers, case: Case):
    caller, is_mended = callers.aim(case)
    response = case.call(base_url=callers.world.url, session=caller.http, headers=caller.headers)
    assert MARKER not in response.text
    excluded = [checks.negative_data_rejection] if is_mended else []
    case.validate_response(response, checks=CHECKS, excluded_checks=excluded)
    if case.method == "DELETE" or response.status_code == 401 or "password" in case.path:
        callers.mend(caller)


async def test_all_is_well_after_it(world: World):
    await world.assert_well()
