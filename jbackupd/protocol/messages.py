"""The messages of the line as msgspec structs, and their one decoder.

A payload is a msgpack map with exactly the fields of its struct: an unknown, missing, mistyped or out-of-range
field is a ProtocolError. Names are 32 raw bytes, kinds the numbers of model.ids.ObjectKind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

import msgspec

from jbackupd.model.errors import ProtocolError
from jbackupd.model.ids import DatasetId, ObjectKind, ObjectName, ObjectRef
from jbackupd.protocol.framing import Frame, FrameType, encode_frame

NONCE_BYTES = 32
OBJECT_BYTES_MAX = 1 << 30
"""Packs end at 16 MiB; the index of a first run of terabytes is the largest object there is."""
HAVE_ITEMS_MAX = 1024
HEADS_MAX = 256
LOSSES_MAX = 64
DECLARATION_BYTES_MAX = 120 * 1024
POINTS_MAX = 256
RECEIPTS_MAX = 8
BOOKS_MAX = 100
PROMISES_BYTES_MAX = 120 * 1024
"""32 promises are 112 KiB."""
DEPOSIT_BYTES_MAX = 192 * 1024
"""A piece of a journal; a head of at most 4 KiB goes with the first."""
GET_BYTES_MAX = 1 << 20
"""One piece of the disk executor's work, and as much as a cancelled reader may still have to throw away per ask."""

Word = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z", max_length=32)]
Name = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Nonce = Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Size = Annotated[int, msgspec.Meta(ge=1, le=OBJECT_BYTES_MAX)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=OBJECT_BYTES_MAX)]
Version = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Text = Annotated[str, msgspec.Meta(max_length=1000)]


class ObjectItem(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An object and its size in bytes, as sites speak of it."""

    kind: ObjectKind
    name: Name
    size: Size

    @property
    def ref(self) -> ObjectRef:
        """The object's kind and name."""
        return ObjectRef(self.kind, ObjectName(self.name))

    @classmethod
    def of(cls, ref: ObjectRef, size: int) -> ObjectItem:
        """Return the item of an object."""
        return cls(ref.kind, ref.name, size)


class HeadItem(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The newest point of a dataset that a site holds whole, with the receipts it has for it."""

    dataset: Word
    sequence: Count
    name: Name
    size: Size
    receipts: Annotated[list[Name], msgspec.Meta(max_length=RECEIPTS_MAX)]


class PointItem(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One point of a dataset's chain."""

    sequence: Count
    name: Name
    size: Size


@dataclass(frozen=True, slots=True)
class Head:
    """What a site says is its newest point of a dataset; the bytes fit their names, no signature is checked yet.

    Attributes:
        point: The point object's bytes.
        receipts: Receipt objects for this point that the site has, its own among them.
    """

    dataset: DatasetId
    sequence: int
    point: bytes
    receipts: tuple[bytes, ...]


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Root of all messages; each class knows its frame type."""

    frame_type: ClassVar[FrameType]


class Hello(Message, frozen=True):
    """The first message of either side.

    Attributes:
        versions: Protocol versions the sender speaks.
        epoch: The epoch that the sender acts under.
        epochs: The epochs of all other sites that the sender knows of.
    """

    frame_type: ClassVar[FrameType] = FrameType.HELLO
    site: Word
    versions: Annotated[list[Version], msgspec.Meta(min_length=1, max_length=8)]
    epoch: Count
    epochs: Annotated[dict[Word, Count], msgspec.Meta(max_length=300)]
    nonce: Nonce


class Prove(Message, frozen=True):
    """The sender's signature over the transcript (handshake.py)."""

    frame_type: ClassVar[FrameType] = FrameType.PROVE
    signature: Annotated[bytes, msgspec.Meta(max_length=4000)]


class Error(Message, frozen=True):
    """The answer to a request that failed, or (closing) the last words of a side that closes the link.

    Attributes:
        code: JbackupdError.code.
        message: What, on what, why; English, filled in.
        hint: What to do next; may be empty.
    """

    frame_type: ClassVar[FrameType] = FrameType.ERROR
    code: Annotated[str, msgspec.Meta(pattern=r"^[a-z-]{1,32}\Z", max_length=32)]
    message: Text
    hint: Text
    closing: bool


class Ping(Message, frozen=True):
    """Asks for a Pong with the same number, at once and out of order."""

    frame_type: ClassVar[FrameType] = FrameType.PING
    number: Count


class Pong(Message, frozen=True):
    """The answer to Ping."""

    frame_type: ClassVar[FrameType] = FrameType.PONG
    number: Count


class Have(Message, frozen=True):
    """Asks from which offset on the answerer wants each object; answered by Offsets."""

    frame_type: ClassVar[FrameType] = FrameType.HAVE
    tenant: Word
    items: Annotated[list[ObjectItem], msgspec.Meta(min_length=1, max_length=HAVE_ITEMS_MAX)]


class Put(Message, frozen=True):
    """Announces size - offset bytes in data frames; answered by Kept now and then, and by Stored at the end."""

    frame_type: ClassVar[FrameType] = FrameType.PUT
    tenant: Word
    item: ObjectItem
    offset: Offset


class Stop(Message, frozen=True):
    """Ends a put before all of its bytes came; answered by a last Kept, unless the put was refused before."""

    frame_type: ClassVar[FrameType] = FrameType.STOP


class Commit(Message, frozen=True):
    """Asks to check and list a point that was put; answered by Receipt."""

    frame_type: ClassVar[FrameType] = FrameType.COMMIT
    tenant: Word
    point: Name


class Get(Message, frozen=True):
    """Asks for a range of an object; answered by data frames and End."""

    frame_type: ClassVar[FrameType] = FrameType.GET
    tenant: Word
    kind: ObjectKind
    name: Name
    offset: Offset
    length: Annotated[int, msgspec.Meta(ge=1, le=GET_BYTES_MAX)]

    @property
    def ref(self) -> ObjectRef:
        """The object's kind and name."""
        return ObjectRef(self.kind, ObjectName(self.name))


class Heads(Message, frozen=True):
    """Asks for the newest point of each dataset of a tenant; answered by HeadsAre."""

    frame_type: ClassVar[FrameType] = FrameType.HEADS
    tenant: Word


class Points(Message, frozen=True):
    """Asks for a dataset's points from a sequence number on; answered by PointsAre, at most 256."""

    frame_type: ClassVar[FrameType] = FrameType.POINTS
    tenant: Word
    dataset: Word
    from_sequence: Count


class Declare(Message, frozen=True):
    """Hands over a site-loss declaration; answered by Declared once it is durable."""

    frame_type: ClassVar[FrameType] = FrameType.DECLARE
    declaration: Annotated[bytes, msgspec.Meta(max_length=DECLARATION_BYTES_MAX)]


class Losses(Message, frozen=True):
    """Asks for the declarations above these epochs, a site's in order; answered by LossesAre."""

    frame_type: ClassVar[FrameType] = FrameType.LOSSES
    epochs: Annotated[dict[Word, Count], msgspec.Meta(max_length=300)]


class Deposit(Message, frozen=True):
    """Hands over a piece of a desk's journal, which only grows (format/deposit.py); answered by Deposited.

    Attributes:
        journal: Its id.
        head: Empty where the answerer has it.
        offset: Where the piece belongs; nothing is written where bytes before it are missing.
    """

    frame_type: ClassVar[FrameType] = FrameType.DEPOSIT
    tenant: Word
    journal: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    head: Annotated[bytes, msgspec.Meta(max_length=4096)]
    offset: Count
    data: Annotated[bytes, msgspec.Meta(max_length=DEPOSIT_BYTES_MAX)]


class Contact(Message, frozen=True):
    """Asks when the answerer was last in touch with a third site; answered by ContactIs."""

    frame_type: ClassVar[FrameType] = FrameType.CONTACT
    site: Word


class Promises(Message, frozen=True):
    """Hands over a piece of an officer's book of promises (format/promise.py), or nothing; answered by PromisesAre."""

    frame_type: ClassVar[FrameType] = FrameType.PROMISES
    promises: Annotated[bytes, msgspec.Meta(max_length=PROMISES_BYTES_MAX)]


class Offsets(Message, frozen=True):
    """For each item asked for: durable bytes already there; the object's size when it is whole."""

    frame_type: ClassVar[FrameType] = FrameType.OFFSETS
    offsets: Annotated[list[Offset], msgspec.Meta(max_length=HAVE_ITEMS_MAX)]


class Kept(Message, frozen=True):
    """How far a put has come; `last` ends a stopped one."""

    frame_type: ClassVar[FrameType] = FrameType.KEPT
    offset: Offset
    last: bool


class Stored(Message, frozen=True):
    """The object of a put is whole, verified and durable."""

    frame_type: ClassVar[FrameType] = FrameType.STORED


class Receipt(Message, frozen=True):
    """The receipt object's bytes (format/receipt.py)."""

    frame_type: ClassVar[FrameType] = FrameType.RECEIPT
    receipt: Annotated[bytes, msgspec.Meta(max_length=7 * 1024)]


class End(Message, frozen=True):
    """All data frames of a get were sent; fewer bytes than asked for mean that the object ends there.

    Attributes:
        size: Bytes of the whole object.
    """

    frame_type: ClassVar[FrameType] = FrameType.END
    size: Size


class HeadsAre(Message, frozen=True):
    """The answer to Heads."""

    frame_type: ClassVar[FrameType] = FrameType.HEADS_ARE
    heads: Annotated[list[HeadItem], msgspec.Meta(max_length=HEADS_MAX)]


class PointsAre(Message, frozen=True):
    """The answer to Points: in order, without a gap; empty when there are none from there on."""

    frame_type: ClassVar[FrameType] = FrameType.POINTS_ARE
    points: Annotated[list[PointItem], msgspec.Meta(max_length=POINTS_MAX)]


class Declared(Message, frozen=True):
    """The declaration was verified and is durable."""

    frame_type: ClassVar[FrameType] = FrameType.DECLARED


class LossesAre(Message, frozen=True):
    """Some of the declarations that were asked for, as many as fit; none when there are no more."""

    frame_type: ClassVar[FrameType] = FrameType.LOSSES_ARE
    declarations: Annotated[
        list[Annotated[bytes, msgspec.Meta(max_length=DECLARATION_BYTES_MAX)]], msgspec.Meta(max_length=LOSSES_MAX)
    ]


class Deposited(Message, frozen=True):
    """How many bytes of the journal are durable at the answerer."""

    frame_type: ClassVar[FrameType] = FrameType.DEPOSITED
    size: Count


class ContactIs(Message, frozen=True):
    """What a site knows of its contact with a third one, by its own clock; microseconds since 1970, 0 for never.

    Attributes:
        up: Whether there is a link between the two now.
        at: When there was one last.
        receipt: When the third site last signed for a point of the answerer.
    """

    frame_type: ClassVar[FrameType] = FrameType.CONTACT_IS
    up: bool
    at: Count
    receipt: Count


class PromisesAre(Message, frozen=True):
    """The books that the answerer has: by officer, when it was made (microseconds since 1970), and its promises."""

    frame_type: ClassVar[FrameType] = FrameType.PROMISES_ARE
    books: Annotated[dict[Word, tuple[Count, Count]], msgspec.Meta(max_length=BOOKS_MAX)]


MESSAGES: Final[dict[FrameType, type[Message]]] = {
    kind.frame_type: kind
    for kind in (
        Hello, Prove, Error, Ping, Pong, Have, Put, Stop, Commit, Get, Heads, Points, Declare, Losses, Deposit, Contact,
        Promises,
        Offsets, Kept, Stored, Receipt, End, HeadsAre, PointsAre, Declared, LossesAre, Deposited, ContactIs,
        PromisesAre,
    )
}  # fmt: skip
_DECODERS = {kind: msgspec.msgpack.Decoder(message) for kind, message in MESSAGES.items()}
_ENCODER = msgspec.msgpack.Encoder()


def encode_message(message: Message) -> bytes:
    """Return a message as a frame.

    Raises:
        ProtocolError: It is over its type's bound.
    """
    return encode_frame(message.frame_type, _ENCODER.encode(message))


def decode_message(frame: Frame) -> Message:
    """Return the message in a frame of any type but DATA.

    Raises:
        ProtocolError: The payload is not exactly a message of this type.
    """
    decoder = _DECODERS.get(frame.type)
    if decoder is None:
        raise ProtocolError("unable to read a {kind} frame as a message", kind=frame.type.name.lower())
    try:
        return decoder.decode(frame.payload)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise ProtocolError(
            "unable to read a {kind} message: {reason}",
            kind=frame.type.name.lower(), reason=str(error)[:200],
        ) from error
