"""The handshake beside a plain model of what has been negotiated, over random histories."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from drivebay.nbd.protocol import Ask, Begin, End, Event, Handshake, Reply, StartTls, Tls
from unit.nbd_wire import (
    ABORT,
    ACK,
    CONTEXT,
    EXPORT_NAME,
    EXPORTS,
    EXTENDED,
    GO,
    INFO,
    INFORMATION,
    INVALID,
    LIST,
    LIST_CONTEXTS,
    SERVER,
    SET_CONTEXTS,
    STARTTLS,
    STRUCTURED,
    TLS_REQD,
    TOO_BIG,
    UNKNOWN,
    UNSUP,
    Answer,
    answers,
    contexts,
    info,
    option,
    string,
)

NAMES = st.sampled_from([*EXPORTS, "absent"])
QUERIES = st.lists(st.sampled_from(["base:allocation", "base:", "base:x", "x:y"]), max_size=3)
SHARES = st.floats(0, 1)


class Negotiation(RuleBasedStateMachine):
    """Sends one option at a time, cut in two, and knows what each has to be answered with."""

    @initialize(tls=st.sampled_from(Tls), flags=st.sampled_from([1, 3]))
    def begin(self, tls, flags):
        self.handshake = Handshake(tls)
        self.tls = tls
        self.is_secure = self.is_over = False
        self.count = 0
        self.padding = 0 if flags == 3 else 124
        self.forget()
        assert self.handshake.receive(flags.to_bytes(4)) == []

    def forget(self):
        self.structured = False
        self.known = self.chosen_for = None

    def send(self, number: int, data: bytes, share: float) -> tuple[list[Answer], Event | None]:
        """Return the replies to an option, and the event behind them."""
        sent = option(number, data)
        cut = int(share * len(sent))
        self.count += 1
        events = self.handshake.receive(sent[:cut])
        if 0 < cut < len(sent):
            assert events == []
        events += self.handshake.receive(sent[cut:])
        if events and isinstance(events[-1], Ask):
            events = self.handshake.answer(EXPORTS.get(events[-1].name))
        replies = b"".join(event.data for event in events if isinstance(event, Reply))
        last = events[-1] if events and not isinstance(events[-1], Reply) else None
        self.raw = replies
        return ([] if number == EXPORT_NAME else answers(replies)), last

    def expect(self, number: int, data: bytes, share: float, *kinds: int) -> list[Answer]:
        """Send an option after which the handshake goes on, and return the replies to it."""
        found, last = self.send(number, data, share)
        if self.lacks_tls:
            kinds = (TLS_REQD,)
        assert [answer.kind for answer in found] == list(kinds)
        assert last is None
        return found

    @property
    def lacks_tls(self) -> bool:
        return self.tls is Tls.REQUIRED and not self.is_secure

    @precondition(lambda self: not self.is_over)
    @rule(share=SHARES)
    def agree_structured(self, share):
        self.expect(STRUCTURED, b"", share, ACK)
        self.structured = not self.lacks_tls

    @precondition(lambda self: not self.is_over)
    @rule(share=SHARES)
    def list_exports(self, share):
        found = self.expect(LIST, b"", share, *[SERVER] * (self.known is not None), ACK)

        if self.known:
            described = string(self.known.name) + self.known.description.encode()
            assert found[0].data == described

    @precondition(lambda self: not self.is_over)
    @rule(share=SHARES, name=NAMES, asked=st.lists(st.integers(0, 4), max_size=5))
    def describe(self, share, name, asked):
        export = EXPORTS.get(name)
        if export is None:
            self.expect(INFO, info(name, *asked), share, UNKNOWN)
            return
        more = (1 in asked) + (2 in asked and bool(export.description))
        self.expect(INFO, info(name, *asked), share, *[INFORMATION] * (2 + more), ACK)
        if not self.lacks_tls:
            self.known = export

    @precondition(lambda self: not self.is_over)
    @rule(share=SHARES, name=NAMES, queries=QUERIES)
    def list_contexts(self, share, name, queries):
        is_found = not queries or "base:" in queries or "base:allocation" in queries
        kinds = self.context_kinds(name, is_found=is_found)
        self.expect(LIST_CONTEXTS, contexts(name, *queries), share, *kinds)

    @precondition(lambda self: not self.is_over)
    @rule(share=SHARES, name=NAMES, queries=QUERIES)
    def set_contexts(self, share, name, queries):
        kinds = self.context_kinds(name, is_found="base:allocation" in queries)
        self.expect(SET_CONTEXTS, contexts(name, *queries), share, *kinds)
        is_set = CONTEXT in kinds and not self.lacks_tls
        self.chosen_for = name if is_set else None

    def context_kinds(self, name, *, is_found):
        if not self.structured:
            return [INVALID]
        if name not in EXPORTS:
            return [UNKNOWN]
        return [CONTEXT, ACK] if is_found else [ACK]

    @precondition(lambda self: not self.is_over)
    @rule(share=SHARES, number=st.sampled_from([INFO, GO, SET_CONTEXTS, LIST_CONTEXTS]))
    def send_what_is_invalid(self, share, number):
        self.expect(number, b"\0\0\0\1", share, INVALID)
        if number == SET_CONTEXTS:
            self.chosen_for = None

    @precondition(lambda self: not self.is_over)
    @rule(
        share=SHARES,
        number=st.sampled_from([INFO, GO, SET_CONTEXTS, LIST, STRUCTURED, EXTENDED, 99]),
        length=st.integers(8193, 65536),
    )
    def send_too_much(self, share, number, length):
        self.expect(number, bytes(length), share, UNSUP if number in {EXTENDED, 99} else TOO_BIG)
        if number == SET_CONTEXTS:
            self.chosen_for = None

    @precondition(lambda self: not self.is_over)
    @rule(share=SHARES)
    def start_tls(self, share):
        found, last = self.send(STARTTLS, b"", share)

        if self.tls is Tls.ABSENT:
            assert ([answer.kind for answer in found], last) == ([UNSUP], None)
        elif self.is_secure:
            assert ([answer.kind for answer in found], last) == ([INVALID], None)
        else:
            assert (found, last) == ([Answer(STARTTLS, ACK, b"")], StartTls())
            self.is_secure = True
            self.forget()

    @precondition(lambda self: not self.is_over and self.count > 3)
    @rule(share=SHARES, name=NAMES, rest=st.binary(max_size=5))
    def go(self, share, name, rest):
        if name not in EXPORTS or self.lacks_tls:
            self.expect(GO, info(name), share, UNKNOWN)
            return
        found, last = self.send(GO, info(name), share)
        assert [answer.kind for answer in found] == [INFORMATION, INFORMATION, ACK]
        self.check_begin(name, last)
        assert self.handshake.receive(rest) == []

    @precondition(lambda self: not self.is_over and self.count > 5)
    @rule(share=SHARES, name=NAMES)
    def name_an_export(self, share, name):
        _, last = self.send(EXPORT_NAME, name.encode(), share)
        if name in EXPORTS and not self.lacks_tls:
            assert len(self.raw) == 10 + self.padding
            self.check_begin(name, last)
        else:
            assert self.raw == b""
            assert isinstance(last, End)
        self.is_over = True

    def check_begin(self, name, last):
        assert last == Begin(
            EXPORTS[name],
            structured=self.structured,
            allocation=self.chosen_for == name,
            rest=b"",
        )
        self.is_over = True

    @precondition(lambda self: not self.is_over and self.count > 8)
    @rule(share=SHARES)
    def leave(self, share):
        found, last = self.send(ABORT, b"", share)
        assert found == [Answer(ABORT, ACK, b"")]
        assert isinstance(last, End)
        self.is_over = True

    @precondition(lambda self: self.is_over)
    @rule(data=st.binary(max_size=40) | st.just(option(LIST)))
    def send_after_the_end(self, data):
        assert self.handshake.receive(data) == []

    @invariant()
    def nothing_is_kept(self):
        assert len(self.handshake._inbox) == 0


def test_the_handshake_answers_as_the_model_says():
    run_state_machine_as_test(
        Negotiation, settings=settings(max_examples=100, stateful_step_count=20)
    )
