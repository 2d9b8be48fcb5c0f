"""`drivebay serve`: sets the data folder up, starts the processes, watches them, ends them.

The parent does no work of its own once it serves.  HTTP workers, NBD servers and the job worker are
forked from it after everything is imported, so they share its memory; they share nothing else but
the listening sockets, the data folder, an eventfd that wakes the job worker, and a pipe whose end
tells them that the parent is gone.
"""

import asyncio
import gc
import logging
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from drivebay import folder, log
from drivebay.client.profiles import store_profile
from drivebay.errors import SetupFailed
from drivebay.http.app import App
from drivebay.http.connection import Connection
from drivebay.http.now import NowAnswers
from drivebay.http.streams import Streams
from drivebay.jobs import JobWorker
from drivebay.keys import MasterKey
from drivebay.nbd import listening
from drivebay.nbd.listening import Listening
from drivebay.nbd.server import Server as NbdServer
from drivebay.service import accounts
from drivebay.service.context import Context
from drivebay.service.recovery import recover
from drivebay.service.sessions import Serving
from drivebay.settings import Settings, client_config_file

_log = logging.getLogger("drivebay.serve")

READY_WITHIN_S = 60.0
COUNTERS_FLUSH_S = 1.0

# TASK_COMM_LEN of <linux/sched.h> without its end; "drivebay-http-0" is as long.
COMM_BYTES_MAX = 15

# Two a connection, and some for volumes.
DESCRIPTORS_MAX = 65_536

# A child that dies sooner than this after its start waits as long before the next try.
_RESPAWN_PAUSE_S = 1.0


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SetupFailed: the service cannot start as configured; nothing was served.
    """
    log.start(settings.log_level)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # A core would hold keys.
    _allow_descriptors()
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    hold = folder.hold(settings.data)
    folder.prepare(settings.data)
    key = _open_folder(settings)
    listener = _listen(settings)
    offered = listening.listen(settings)
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    _first_start(settings, url)
    tree = _Tree(settings, key, listener, offered)
    tree.start()
    sys.stdout.write(f"ready {url}\n")
    sys.stdout.flush()
    tree.watch()
    offered.remove()
    os.close(hold)


def _allow_descriptors() -> None:
    """Take as many descriptors as we may: the usual 1,024 are for programs that use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _open_folder(settings: Settings) -> MasterKey:
    catalog = folder.catalog_of(settings.data)
    try:
        key, made = folder.master_key(settings, catalog)
    finally:
        catalog.close()
    if made:
        _tell(f"master key made: {settings.master_key} (keep a copy; without it no drive opens)")
    names = [*_http_names(settings), *_nbd_names(settings), "jobs", "serve"]
    folder.make_counter_files(settings.data, names)
    ctx = folder.context(settings, key, writer="serve")
    for store in ctx.stores.values():
        if not store.is_reachable():
            _log.error("store %s is not reachable: its drives are inactive", store.name)
    recover(ctx)
    # The children inherit what is open when they are forked, and nobody would ever close it.
    for store in ctx.stores.values():
        store.close_idle(unused_s=0.0)
    ctx.counters.close()
    ctx.catalog.close()
    return key


def _first_start(settings: Settings, url: str) -> None:
    catalog = folder.catalog_of(settings.data)
    try:
        if not folder.is_first_start(catalog):
            return
        with catalog.write() as tx:
            user, api_key = accounts.add(tx, "first", drives=None, size_bytes=None)
        reach = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
        path = client_config_file()
        moved = store_profile(path, "default", reach, str(user.uuid), api_key)
        _tell(f"data folder made: {settings.data}")
        _tell(f"first user made, its API key is shown this once: {user.uuid}:{api_key}")
        _tell(f"stored as the command line's profile 'default' in {path}")
        if moved:
            _tell(f"the 'default' profile that was there is now called {moved!r}")
        folder.end_first_start(catalog)
    finally:
        catalog.close()


def _tell(sentence: str) -> None:
    sys.stderr.write(f"drivebay: {sentence}\n")


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.listen_address()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise SetupFailed(reason=f"cannot listen on {settings.http}: {error.strerror}") from error
    listener.listen(2048)
    return listener


def _http_names(settings: Settings) -> list[str]:
    return [f"http-{index}" for index in range(settings.workers)]


def _nbd_names(settings: Settings) -> list[str]:
    return [f"nbd-{index}" for index in range(settings.nbd_workers)]


@dataclass
class _Child:
    name: str
    body: Callable[[int], None]
    pid: int = 0
    started_at: float = 0.0
    ready_fd: int = -1


class _Tree:
    """The processes: start, watch, end."""

    def __init__(
        self, settings: Settings, key: MasterKey, listener: socket.socket, offered: Listening
    ) -> None:
        self._settings = settings
        self._key = key
        self._listener = listener
        self._offered = offered
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lifeline, self._lifeline_end = os.pipe()
        self._children = [
            *(_Child(name, self._http_body(name)) for name in _http_names(settings)),
            *(_Child(name, self._nbd_body(name)) for name in _nbd_names(settings)),
            _Child("jobs", self._jobs_body),
        ]
        self._signals = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}

    def start(self) -> None:
        """Start every child, and return when all of them are ready.

        Raises:
            SetupFailed: one was not ready in time.
        """
        gc.collect()
        gc.freeze()  # Keeps the collector from touching, and so copying, the shared pages.
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        for child in self._children:
            self._spawn(child)
        deadline = time.monotonic() + READY_WITHIN_S
        for child in self._children:
            left = max(0.0, deadline - time.monotonic())
            has_word = bool(select.select([child.ready_fd], [], [], left)[0])
            if not has_word or os.read(child.ready_fd, 1) != b"1":
                self._end()
                reason = f"the process {child.name} did not start; the log says why"
                raise SetupFailed(reason=reason)

    def watch(self) -> None:
        """Restart children that die, until a signal says to end; then end them."""
        while True:
            caught = signal.sigwait(self._signals)
            if caught != signal.SIGCHLD:
                break
            for child in self._reap():
                _log.error("process %s (pid %d) died; starting it again", child.name, child.pid)
                if time.monotonic() - child.started_at < _RESPAWN_PAUSE_S:
                    time.sleep(_RESPAWN_PAUSE_S)
                os.close(child.ready_fd)
                self._spawn(child)
        self._end()

    def _spawn(self, child: _Child) -> None:
        # The reading end stays open as long as the child lives, whether anybody listens or not.
        child.ready_fd, ready_write = os.pipe()
        child.started_at = time.monotonic()
        child.pid = os.fork()
        if child.pid:
            os.close(ready_write)
            return
        status = 1
        try:
            os.close(child.ready_fd)
            os.close(self._lifeline_end)
            _show_name(child.name)
            # A Ctrl-C goes to the whole group; the parent alone acts on it.  A SIGTERM waits until the
            # body can act on it, and lets it through then.
            signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGINT, signal.SIGTERM})
            signal.signal(signal.SIGTERM, lambda *_: None)
            child.body(ready_write)
            status = 0
        except BaseException:  # noqa: BLE001 - the child ends here, whatever it was
            _log.exception("process %s failed", child.name)
        finally:
            logging.shutdown()
            os._exit(status)

    def _reap(self) -> list[_Child]:
        dead = []
        for child in self._children:
            with suppress(ChildProcessError):
                pid, _ = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    dead.append(child)
        return dead

    def _end(self) -> None:
        self._listener.close()
        self._offered.close()
        living = {child.pid for child in self._children if child.pid}
        for pid in living:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + self._settings.stop_timeout_s + 5.0
        while living:
            for pid in list(living):
                try:
                    ended, _ = os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    ended = pid
                if ended:
                    living.discard(pid)
            if not living:
                break
            if time.monotonic() > deadline:
                _log.error("%d processes did not end in time; killing them", len(living))
                for pid in living:
                    os.kill(pid, signal.SIGKILL)
                deadline = float("inf")
            signal.sigtimedwait({signal.SIGCHLD}, 0.2)

    def _http_body(self, name: str) -> Callable[[int], None]:
        def body(ready_fd: int) -> None:
            ctx = folder.context(
                self._settings,
                self._key,
                writer=name,
                wake_imaging=lambda: os.eventfd_write(self._wake_fd, 1),
                export_uri=self._offered.uri,
            )
            self._offered.close()
            serve_http(self._settings, ctx, self._listener, ready_fd, self._lifeline)

        return body

    def _nbd_body(self, name: str) -> Callable[[int], None]:
        def body(ready_fd: int) -> None:
            self._listener.close()
            ctx = folder.context(self._settings, self._key, writer=name)
            serve_nbd(self._settings, ctx, self._offered, name, ready_fd, self._lifeline)

        return body

    def _jobs_body(self, ready_fd: int) -> None:
        self._listener.close()
        self._offered.close()
        ctx = folder.context(self._settings, self._key, writer="jobs")
        worker = JobWorker(
            ctx,
            runners=self._settings.imaging_jobs,
            wake_fd=self._wake_fd,
            lifeline_fd=self._lifeline,
        )
        os.write(ready_fd, b"1")
        worker.run()
        ctx.counters.close()
        ctx.catalog.close()


def serve_http(
    settings: Settings, ctx: Context, listener: socket.socket, ready_fd: int, lifeline_fd: int
) -> None:
    """Answer requests on *listener* until SIGTERM, or until *lifeline_fd* ends."""
    streams = Streams(
        stall_timeout_s=settings.stall_timeout_s, transfers_per_user=settings.transfers_per_user
    )
    authenticator = accounts.Authenticator(ctx.catalog, ctx.rows)
    app = App(ctx, authenticator, streams)
    protocol = type(
        "Protocol",
        (Connection,),
        {
            "header_timeout_s": settings.header_timeout_s,
            "stall_timeout_s": settings.stall_timeout_s,
            "answer_now": staticmethod(NowAnswers(ctx, authenticator)),
        },
    )
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type]  # a float works
        timeout_graceful_shutdown=settings.stop_timeout_s,  # type: ignore[arg-type]  # the same
    )
    ended = threading.Event()
    flusher = threading.Thread(target=_tend, args=(ctx, ended), daemon=True)
    flusher.start()
    _Server(config, ready_fd, lifeline_fd).run(sockets=[listener])
    ended.set()
    flusher.join()
    streams.close()
    ctx.counters.close()
    ctx.catalog.close()


def serve_nbd(
    settings: Settings,
    ctx: Context,
    offered: Listening,
    name: str,
    ready_fd: int,
    lifeline_fd: int,
) -> None:
    """Serve claimed drives to who comes to *offered* until SIGTERM, or *lifeline_fd* ends."""
    serving = Serving(settings.data / folder.SESSIONS, name)
    server = NbdServer(
        ctx,
        serving,
        offered,
        handshake_timeout_s=settings.header_timeout_s,
        stall_timeout_s=settings.stall_timeout_s,
    )
    ended = threading.Event()
    tending = threading.Thread(target=_tend, args=(ctx, ended), daemon=True)
    tending.start()
    os.write(ready_fd, b"1")
    os.close(ready_fd)
    server.run(lifeline_fd, stop_timeout_s=settings.stop_timeout_s)
    ended.set()
    tending.join()
    ctx.counters.close()
    ctx.catalog.close()
    serving.close()


class _Server(uvicorn.Server):
    """uvicorn, telling the parent when it listens and ending with it."""

    def __init__(self, config: uvicorn.Config, ready_fd: int, lifeline_fd: int) -> None:
        super().__init__(config)
        self._ready_fd = ready_fd
        self._lifeline_fd = lifeline_fd

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        asyncio.get_running_loop().add_reader(self._lifeline_fd, self._parent_is_gone)
        os.write(self._ready_fd, b"1")
        os.close(self._ready_fd)

    def _parent_is_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self._lifeline_fd)
        self.should_exit = True


def _show_name(name: str) -> None:
    """Let `ps` and `top` tell this process from the others of the service."""
    # Without it, in a container that hides /proc, all is as well.
    with suppress(OSError):
        Path("/proc/self/comm").write_bytes(f"drivebay-{name}".encode()[:COMM_BYTES_MAX])


def _tend(ctx: Context, ended: threading.Event) -> None:
    """Every second make the counters durable, and close what nobody uses."""
    while not ended.wait(COUNTERS_FLUSH_S):
        try:
            ctx.counters.flush()
        except OSError:
            _log.exception("the counters could not be made durable")
        for store in ctx.stores.values():
            store.close_idle()
