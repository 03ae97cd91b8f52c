"""Both cores face to face: the handshake, the tables, and what each refuses."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from jbackupd.model.errors import (
    ChainError,
    IdentityError,
    InvariantError,
    NoSpaceError,
    PeerError,
    ProtocolError,
)
from jbackupd.model.ids import ObjectKind, SiteId
from jbackupd.protocol.answerer import ANSWERER, Answerer, AnswererState, Asked, Body, BodyEnd
from jbackupd.protocol.asker import ASKER, Answer, Asker, AskerState, Opened, Piece, Ponged
from jbackupd.protocol.framing import FrameReader, FrameType, encode_frame
from jbackupd.protocol.handshake import Binding, Handshake, Other, Own, Role
from jbackupd.protocol.messages import (
    Commit,
    End,
    Error,
    Get,
    Have,
    Heads,
    Hello,
    Kept,
    ObjectItem,
    Offsets,
    Pong,
    Prove,
    Put,
    Stop,
    Stored,
    decode_message,
    encode_message,
)
from jbackupd.protocol.refusal import closes_link, from_message, to_message

SAGA, KYOTO = SiteId("saga"), SiteId("kyoto")
BINDING = Binding(b"saga host key", b"kyoto host key", b"ssh session id")
ITEM = ObjectItem(ObjectKind.PACK, b"n" * 32, 100)


class Seal:
    def __init__(self, secret):
        self.secret = secret

    def sign(self, context, message):
        return hashlib.blake2b(context + b"|" + message, key=self.secret).digest()

    def verify(self, context, message, signature):
        if signature != self.sign(context, message):
            raise IdentityError("no")


class Book:
    def __init__(self, **epochs):
        self.epochs = epochs

    def epoch_of(self, site):
        return self.epochs.get(site, 1)

    def known(self):
        return self.epochs

    def may_author(self, site, epoch):
        return epoch >= self.epoch_of(site)

    def news_for(self, epochs):
        return []

    def learn(self, declaration):
        raise NotImplementedError


def handshake(role, *, binding=BINDING, versions=(1,), book=None, own_secret=None, other_secret=None, site=None):
    mine, theirs = (SAGA, KYOTO) if role is Role.ASKER else (KYOTO, SAGA)
    own = Own(site or mine, Seal(own_secret or mine.encode()), book or Book(), versions)
    return Handshake(role, own, Other(theirs, Seal(other_secret or theirs.encode())), binding)


def cores(asker=None, answerer=None):
    return (
        Asker(handshake(Role.ASKER, **(asker or {}))),
        Answerer(handshake(Role.ANSWERER, **(answerer or {}))),
    )


def out(core):
    return b"".join(core.take_output())


def opened():
    asker, answerer = cores()
    assert list(answerer.receive(out(asker))) == []
    assert list(asker.receive(out(answerer))) == []
    assert list(answerer.receive(out(asker))) == [Opened(1)]
    assert list(asker.receive(out(answerer))) == [Opened(1)]
    return asker, answerer


def messages(data):
    return [decode_message(frame) for frame in FrameReader().feed(data)]


def test_both_sides_prove_themselves_and_agree_on_the_newest_common_version():
    asker, answerer = cores({"versions": (3, 2, 1)}, {"versions": (4, 3, 2)})
    list(answerer.receive(out(asker)))
    list(asker.receive(out(answerer)))
    assert list(answerer.receive(out(asker))) == [Opened(3)]
    assert list(asker.receive(out(answerer))) == [Opened(3)]


def test_no_common_version_is_named_at_both_sides():
    asker, answerer = cores({"versions": (3, 2)}, {"versions": (1,)})
    with pytest.raises(ProtocolError, match="speaks versions"):
        list(answerer.receive(out(asker)))
    with pytest.raises(ProtocolError, match="kyoto answers"):
        list(asker.receive(out(answerer)))


def test_a_stripped_version_is_found_by_the_proof():
    asker, answerer = cores({"versions": (3, 2, 1)}, {"versions": (3, 2, 1)})
    (hello,) = messages(out(asker))
    downgraded = Hello(hello.site, [1], hello.epoch, hello.epochs, hello.nonce)
    list(answerer.receive(encode_message(downgraded)))
    list(asker.receive(out(answerer)))
    with pytest.raises(IdentityError):
        list(answerer.receive(out(asker)))


def test_a_replayed_proof_is_worth_nothing_in_another_session():
    asker, answerer = cores()
    list(answerer.receive(first_hello := out(asker)))
    list(asker.receive(out(answerer)))
    recorded = out(asker)
    assert list(answerer.receive(recorded)) == [Opened(1)]
    _, fresh = cores()
    list(fresh.receive(first_hello))
    with pytest.raises(IdentityError):
        list(fresh.receive(recorded))


@pytest.mark.parametrize(
    "binding",
    [
        replace(BINDING, asker_key=b"x"), replace(BINDING, answerer_key=b"x"), replace(BINDING, session_id=b"x"),
        Binding(b"saga host keyk", b"yoto host key", b"ssh session id"),
    ],
)
def test_a_proof_holds_for_one_ssh_connection_only(binding):
    asker, answerer = cores({"binding": binding})
    list(answerer.receive(out(asker)))
    list(asker.receive(out(answerer)))
    with pytest.raises(IdentityError):
        list(answerer.receive(out(asker)))


def test_a_reflected_proof_is_refused():
    asker, answerer = cores({"other_secret": b"saga"})
    list(answerer.receive(out(asker)))
    list(asker.receive(out(answerer)))
    proof = out(asker)
    with pytest.raises(IdentityError):
        list(asker.receive(proof))


def test_a_wrong_signing_key_is_refused_by_either_side():
    asker, answerer = cores({"own_secret": b"thief"})
    list(answerer.receive(out(asker)))
    list(asker.receive(out(answerer)))
    with pytest.raises(IdentityError, match="pinned card"):
        list(answerer.receive(out(asker)))
    asker, answerer = cores({}, {"own_secret": b"thief"})
    list(answerer.receive(out(asker)))
    list(asker.receive(out(answerer)))
    list(answerer.receive(out(asker)))
    with pytest.raises(IdentityError, match="pinned card"):
        list(asker.receive(out(answerer)))


def test_a_hello_of_another_site_is_refused():
    asker, answerer = cores({"site": SiteId("hokkaido")})
    with pytest.raises(IdentityError, match="it says that it is hokkaido"):
        list(answerer.receive(out(asker)))


@pytest.mark.parametrize(
    ("asker_knows", "answerer_knows", "who"),
    [({}, {"saga": 2}, "saga"), ({"kyoto": 2}, {}, "kyoto"), ({"saga": 1}, {"saga": 3}, "saga")],
)
def test_a_site_with_an_old_epoch_is_told_apart_whoever_dials(asker_knows, answerer_knows, who):
    asker, answerer = cores({"book": Book(**asker_knows)}, {"book": Book(**answerer_knows)})
    list(answerer.receive(out(asker)))
    list(asker.receive(out(answerer)))
    for side in (asker, answerer):
        # Both know: the one by its own book, the other since it was told.
        assert side.handshake.fenced is not None
        assert f"{who} is fenced" in str(side.handshake.fenced)


def test_a_session_of_every_verb_runs_in_the_order_of_the_requests():
    asker, answerer = opened()
    have = asker.ask(Have(tenant="imari", items=[ITEM]))
    put = asker.put("imari", ITEM, 40)
    asker.data(b"x" * 50)
    asker.ping(7)
    asker.data(b"y" * 10)
    get = asker.ask(Get(tenant="imari", kind=ObjectKind.PACK, name=ITEM.name, offset=0, length=20))
    heard = list(answerer.receive(out(asker)))
    assert [type(event) for event in heard] == [Asked, Asked, Body, Body, BodyEnd, Asked]
    assert not heard[4].stopped
    answerer.answer(Offsets(offsets=[40]))
    answerer.answer(Kept(offset=90, last=False))
    answerer.answer(Stored())
    answerer.data(b"z" * 20)
    answerer.answer(End(size=100))
    assert list(asker.receive(out(answerer))) == [
        Ponged(7),
        Answer(have, Offsets(offsets=[40]), True),
        Answer(put, Kept(offset=90, last=False), False),
        Answer(put, Stored(), True),
        Piece(get, b"z" * 20),
        Answer(get, End(size=100), True),
    ]
    assert (asker.state, answerer.state) == (AskerState.OPEN, AnswererState.OPEN)


def test_a_refused_put_is_skipped_to_its_end_and_the_link_goes_on():
    asker, answerer = opened()
    asker.put("imari", ITEM, 0)
    asker.data(b"x" * 60)
    events = answerer.receive(out(asker))
    assert isinstance(next(events), Asked)
    answerer.refuse(NoSpaceError("full"))
    assert list(events) == []
    (answer,) = asker.receive(out(answerer))
    assert (answer.final, answer.message.code) == (True, "no-space")
    asker.stop()
    asker.ask(Heads(tenant="imari"))
    assert [type(event) for event in answerer.receive(out(asker))] == [Asked]


def test_a_refused_put_may_also_run_to_its_last_byte():
    asker, answerer = opened()
    asker.put("imari", ITEM, 0)
    asker.data(b"x" * 100)
    events = answerer.receive(out(asker))
    next(events)
    answerer.refuse(NoSpaceError("full"))
    assert list(events) == []
    assert answerer.state is AnswererState.OPEN


def test_a_stopped_put_is_answered_with_how_far_it_came():
    asker, answerer = opened()
    token = asker.put("imari", ITEM, 10)
    asker.data(b"x" * 30)
    asker.stop()
    assert list(answerer.receive(out(asker)))[-1] == BodyEnd(stopped=True)
    answerer.answer(Kept(offset=40, last=True))
    assert list(asker.receive(out(answerer))) == [Answer(token, Kept(offset=40, last=True), True)]


def test_an_error_that_shows_a_hostile_peer_closes_the_link():
    asker, answerer = opened()
    asker.ask(Commit(tenant="imari", point=b"p" * 32))
    list(answerer.receive(out(asker)))
    answerer.refuse(ChainError("a step back"))
    assert answerer.closed
    with pytest.raises(ChainError, match="kyoto answers: a step back"):
        list(asker.receive(out(answerer)))
    assert asker.state is AskerState.CLOSED


STRAY = {
    "data without a put": encode_frame(FrameType.DATA, b"x"),
    "stop without a put": encode_message(Stop()),
    "an answer": encode_message(Stored()),
    "a second hello": encode_message(Hello("saga", [1], 1, {}, b"n" * 32)),
    "a second proof": encode_message(Prove(b"x")),
    "a pong": encode_message(Pong(1)),
    "a put behind the end": encode_message(Put("imari", ITEM, 101)),
    "a malformed message": encode_frame(FrameType.HAVE, b"\xc1"),
    "an unknown field": encode_frame(FrameType.HEADS, b"\x82\xa6tenant\xa5imari\xa1x\x01"),
}


@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY.keys())
def test_what_an_answerer_does_not_foresee_closes_the_link_with_a_named_error(stray):
    _, answerer = opened()
    with pytest.raises(ProtocolError):
        list(answerer.receive(stray))
    (last,) = messages(out(answerer))
    assert (last.code, last.closing) == ("protocol", True)
    assert answerer.closed


@pytest.mark.parametrize(
    "frame", [encode_message(Heads(tenant="imari")), encode_message(Prove(b"x")), encode_frame(FrameType.PING, b"")]
)
def test_nothing_but_hello_is_heard_before_hello(frame):
    _, answerer = cores()
    with pytest.raises(ProtocolError, match="not foreseen while greeting"):
        list(answerer.receive(frame))


def test_more_data_than_announced_closes_the_link():
    asker, answerer = opened()
    asker.put("imari", ITEM, 90)
    data = out(asker) + encode_frame(FrameType.DATA, b"x" * 11)
    with pytest.raises(ProtocolError, match="more bytes"):
        list(answerer.receive(data))


ANSWERS = {
    "fewer offsets than items": Offsets(offsets=[]),
    "an offset behind the end": Offsets(offsets=[101]),
    "another answer": Stored(),
    "an end": End(size=3),
    "a request": Heads(tenant="imari"),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_that_cannot_be_true_closes_the_link(answer):
    asker, _ = opened()
    asker.ask(Have(tenant="imari", items=[ITEM]))
    out(asker)
    with pytest.raises(ProtocolError):
        list(asker.receive(encode_message(answer)))
    assert asker.state is AskerState.CLOSED
    (last,) = messages(out(asker))
    assert isinstance(last, Error)


@pytest.mark.parametrize(
    "answer", [Stored(), Kept(offset=61, last=False), Kept(offset=0, last=False), Kept(offset=60, last=True)]
)
def test_an_answer_to_a_put_that_cannot_be_true_closes_the_link(answer):
    asker, _ = opened()
    asker.put("imari", ITEM, 10)
    asker.data(b"x" * 50)
    with pytest.raises(ProtocolError):
        list(asker.receive(encode_message(answer)))


def test_more_data_than_asked_for_closes_the_link():
    asker, _ = opened()
    asker.ask(Get(tenant="imari", kind=ObjectKind.PACK, name=ITEM.name, offset=0, length=20))
    with pytest.raises(ProtocolError):
        list(asker.receive(encode_frame(FrameType.DATA, b"z" * 21)))


def test_answers_and_pongs_that_nobody_asked_for_close_the_link():
    for message in (Stored(), Pong(1), Error("refused", "x", "", False)):
        asker, _ = opened()
        with pytest.raises(ProtocolError):
            list(asker.receive(encode_message(message)))


def test_our_own_misuse_is_a_defect():
    asker, _ = opened()
    asker.put("imari", ITEM, 0)
    with pytest.raises(InvariantError):
        asker.ask(Heads(tenant="imari"))


def test_the_tables_have_no_way_out_of_closed():
    for machine, closed in ((ASKER, AskerState.CLOSED), (ANSWERER, AnswererState.CLOSED)):
        assert {target for (state, _), target in machine.table.items() if state is closed} == {closed}


def test_errors_come_back_as_the_same_class_and_never_as_templates():
    error = NoSpaceError("unable to write {path}: {reason}", "free {path}", path="/x", reason="full {reason}")
    back = from_message(KYOTO, to_message(error, closing=False))
    assert type(back) is NoSpaceError
    assert str(back) == "kyoto answers: unable to write /x: full {reason}"
    assert back.render(back.hint) == "free /x"
    hostile = Error("no-space", "{site.__class__}\x1b[2J", "{0}", False)
    assert str(from_message(KYOTO, hostile)) == "kyoto answers: {site.__class__}\N{REPLACEMENT CHARACTER}[2J"
    assert type(from_message(KYOTO, Error("of-the-future", "x", "", False))) is PeerError


def test_what_the_other_side_can_put_right_does_not_close_the_link():
    assert not closes_link(NoSpaceError("full"))
    assert closes_link(ProtocolError("x"))
