"""The ASGI application: names the caller, finds the route, turns every failure into an answer."""

import logging
from importlib import resources

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drivebay.errors import DrivebayError
from drivebay.http.auth import credentials
from drivebay.http.connection import Exchange
from drivebay.http.drives import DriveRoutes
from drivebay.http.errors import STATUS, Refusal, answer
from drivebay.http.streams import Streams
from drivebay.service.accounts import Authenticator
from drivebay.service.context import Context
from drivebay.wire import ErrorWord

_log = logging.getLogger("drivebay.http")


class App:
    """The whole API.

    Checks come in one order: credentials, path, method, whether the drive is there for this
    caller, input, state, space.
    """

    def __init__(self, ctx: Context, authenticator: Authenticator, streams: Streams) -> None:
        """Serve *ctx* to whom *authenticator* knows."""
        self._authenticator = authenticator
        self._streams = streams
        routes = DriveRoutes(ctx, streams)
        self._router = Router(routes.routes(), redirect_slashes=False)
        self._bulk: dict[tuple[str, str], ASGIApp] = {
            ("GET", "read"): routes.read,
            ("POST", "read"): routes.read,
            ("POST", "write"): routes.write,
        }
        self._openapi = resources.files(__package__).joinpath("openapi.json").read_bytes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = _Exchange(scope, receive, send)
        try:
            await self._answer(scope, exchange)
        except (DrivebayError, Refusal) as failure:
            _log_failure(scope, failure)
            await self._refuse(scope, exchange, failure)
        except HTTPException as failure:
            await self._refuse(scope, exchange, _not_routed(failure))
        except Exception:  # noqa: BLE001 - the edge: whatever it was, the caller gets an answer
            _log.exception("%s: unexpected failure", _name(scope))
            sentence = "internal error; the service's log has more"
            await self._refuse(scope, exchange, Refusal(500, ErrorWord.SYSTEM, sentence))

    async def _answer(self, scope: Scope, exchange: "_Exchange") -> None:
        # Slashes may be doubled: old tools join an end point with a slash and a path with one.
        # Escapes are not decoded: nothing in a valid path needs one.
        raw = scope["raw_path"].decode("ascii", "replace")
        scope["path"] = "/" + "/".join(part for part in raw.split("/") if part)
        scope["app"] = self
        if scope["path"] == "/openapi.json":
            await self._describe(scope, exchange)
            return
        user, key = credentials(Headers(scope=scope).getlist("authorization"))
        caller = self._authenticator.user_now(user, key)
        if caller is None:
            caller = await self._streams.call(self._authenticator.user, user, key)
        scope["drivebay.caller"] = caller.uuid
        answering: ASGIApp = self._bulk_call(scope) or self._router
        await answering(scope, exchange.receive, exchange.send)

    def _bulk_call(self, scope: Scope) -> ASGIApp | None:
        """Return what answers a read or a write: the router's long list costs more than the call."""
        match scope["path"].split("/"):
            case ["", "drives", drive, "read", offset, size]:
                call, parameters = "read", {"drive": drive, "offset": offset, "size": size}
            case ["", "drives", drive, "write"]:
                call, parameters = "write", {"drive": drive}
            case ["", "drives", drive, "write", offset]:
                call, parameters = "write", {"drive": drive, "offset": offset}
            case _:
                return None
        scope["path_params"] = parameters
        return self._bulk.get((scope["method"], call))

    async def _describe(self, scope: Scope, exchange: "_Exchange") -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        await self._streams.small_body(scope, exchange.receive)
        response = Response(self._openapi, media_type="application/json")
        await response(scope, exchange.receive, exchange.send)

    async def _refuse(
        self, scope: Scope, exchange: "_Exchange", failure: DrivebayError | Refusal
    ) -> None:
        if exchange.answered:
            exchange.abort()
            return
        response = answer(failure)
        if not (
            exchange.body_taken
            or "connection" in response.headers
            or await self._streams.ignore_body(scope, exchange.receive)
        ):
            response.headers["connection"] = "close"
        await response(scope, exchange.receive, exchange.send)


class _Exchange:
    """A request's two ends, and how far each has come."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._direct: Exchange | None = scope.get("extensions", {}).get("drivebay.exchange")
        self._was_received = (
            self._direct is None and Headers(scope=scope).get("content-length", "0") == "0"
        )
        self.answered = False

    @property
    def body_taken(self) -> bool:
        if self._direct is not None:
            return not self._direct.body_left
        return self._was_received

    def abort(self) -> None:
        if self._direct is not None:
            self._direct.abort()

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._was_received = True
        return message

    async def send(self, message: Message) -> None:
        self.answered = True
        await self._send(message)


def _not_routed(failure: HTTPException) -> Refusal:
    if failure.status_code == 405:
        # Starlette keeps them in a set, whose order differs from one process to the next.
        allowed = ", ".join(sorted((failure.headers or {}).get("Allow", "POST").split(", ")))
        sentence = f"this call takes {allowed}"
        return Refusal(405, ErrorWord.METHOD, sentence, {"Allow": allowed})
    return Refusal(404, ErrorWord.MISSING, "command not found")


def _log_failure(scope: Scope, failure: DrivebayError | Refusal) -> None:
    status = failure.status if isinstance(failure, Refusal) else STATUS[type(failure)][0]
    if status >= 500 and status != 507:
        _log.error("%s: %s", _name(scope), failure, exc_info=failure)
    else:
        _log.debug("%s: %d %s", _name(scope), status, failure)


def _name(scope: Scope) -> str:
    return f"{scope['method']} {scope['path'][:256]}"
