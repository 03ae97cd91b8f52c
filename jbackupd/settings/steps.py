"""What an operator may write as a step of a continuity plan: its kind, what it needs, what happens when it fails."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from jbackupd.model.units import Address
from jbackupd.settings.problem import WrongError
from jbackupd.settings.programs import Container, Script, WholePath
from jbackupd.settings.schema import At, DatasetName, Duration, Many, OfficerName, Table, Text

StepName = OfficerName
"""A step's id is a word like any other id."""

Mode = Literal["disaster", "planned", "rehearse", "failback"]
"""Why a plan is run: a site is lost; it hands over; nothing is meant (a drill); it takes its work back."""

OnFailure = Literal["halt", "continue", "ask", "rollback"]

TIMEOUT_DEFAULT = timedelta(hours=1)
"""For a step that no drill has timed."""

LEFT_OUT_OF_DRILLS = ("fence", "hook", "notify")
"""Kinds that reach beyond this site: a drill must not."""


def _web(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise WrongError("is not the address of a page", "write for example http://127.0.0.1:8080/health")
    return value


PointChoice = Annotated[str, Field(pattern=r"^(latest|latest-verified|\d{1,15}|before:\S+)$")]


class AnyStep(Table):
    """What every step has."""

    id: StepName = Field(description="Name of the step")
    purpose: Text | None = Field(default=None, description="What it is for, for people")
    needs: Many[StepName] = Field(default=(), description="Steps that must be done before")
    tier: Annotated[int, Field(ge=1, le=5)] = Field(
        default=3, description="1 comes first: nothing of a worse tier begins while a better one has work to do"
    )
    essential: bool = Field(
        default=True, description="Whether the services count as back without it; what is not, only leaves gaps"
    )
    timeout: Duration | None = Field(
        default=None,
        description="After this long it has failed; without it three times what it took in drills, else 1h",
    )
    on_failure: OnFailure = Field(
        default="halt",
        description="halt: nothing more begins; continue: only what needs this step is left out; "
        "ask: a person says what happens; rollback: everything is undone",
    )
    phase: Literal["prepare", "commit"] = Field(
        default="prepare", description="commit: begins only after a person has looked at what was prepared"
    )
    modes: Many[Mode] = Field(default=(), description="In which modes it is done; in all without it")


class UnlockStep(AnyStep):
    """kind = "unlock": the tenant's keys from shares."""

    kind: Literal["unlock"]


class FenceStep(AnyStep):
    """kind = "fence": every site knows that the lost one may not act, and a script may cut it off."""

    kind: Literal["fence"]
    sites_min: Annotated[int, Field(ge=0)] = Field(
        default=0, description="How many other sites must have been told, at least"
    )
    cut: Script | None = Field(default=None, description="Cuts the lost site off: its power, its port, its address")


class RestoreStep(AnyStep):
    """kind = "restore": a dataset's point into a folder of the run."""

    kind: Literal["restore"]
    dataset: DatasetName = Field(description="TENANT/NAME")
    point: PointChoice = Field(
        default="latest", description="Which point: latest, latest-verified, a sequence number, or before:TIME"
    )


class ExportStep(AnyStep):
    """kind = "export": a file of a point as a network block device, before it is restored."""

    kind: Literal["export"]
    dataset: DatasetName = Field(description="TENANT/NAME")
    point: PointChoice = Field(default="latest", description="Which point")
    file: Text = Field(description="The file's path in the point")
    listen: Text | None = Field(
        default=None, description="HOST:PORT or a whole path of a socket; without it a socket in the run's folder"
    )
    writable: bool = Field(default=True, description="Whether writes go to an overlay in the run's folder")
    fill: bool = Field(default=True, description="Whether the rest is fetched in the background")


class MountStep(AnyStep):
    """kind = "mount": a point as a folder, before it is restored."""

    kind: Literal["mount"]
    dataset: DatasetName = Field(description="TENANT/NAME")
    point: PointChoice = Field(default="latest", description="Which point")
    writable: bool = Field(default=True, description="Whether writes go to an overlay in the run's folder")
    fill: bool = Field(default=True, description="Whether the rest is brought there in the background")


class PostgresStep(AnyStep):
    """kind = "postgres": a PostgreSQL server over a restored or mounted base backup."""

    kind: Literal["postgres"]
    data: StepName = Field(description="The restore or mount step that brings the cluster")
    directory: Text = Field(default=".", description="The cluster's folder in the point")
    listen: At = Field(default=Address("127.0.0.1", 5432), description="Where it answers")
    programs: WholePath | None = Field(default=None, description="Folder of postgres and pg_ctl; searched without it")
    user: OfficerName = Field(default="postgres", description="Who it runs as, where the daemon may change to him")
    promote: bool = Field(default=True, description="Whether it takes writes")
    database: Text = Field(default="postgres", description="Which database a check asks")
    wal: Text | None = Field(default=None, description="Folder of archived WAL in the point, replayed after the base's")


class ServiceStep(AnyStep):
    """kind = "service": a unit of systemd, a container, or a process of the run."""

    kind: Literal["service"]
    unit: Annotated[str, Field(pattern=r"^[A-Za-z0-9@_.\\:-]{1,200}\.(service|target|socket)$")] | None = Field(
        default=None, description="A unit that systemd starts, and stops when the run is undone"
    )
    process: Script | None = Field(default=None, description="A program that runs as long as the run is open")
    container: Container | None = Field(default=None, description="A container that runs as long as the run is open")
    data: StepName | None = Field(default=None, description="A restore or mount step whose folder it is told")

    @property
    def ways(self) -> tuple[str, ...]:
        """How it is run: exactly one of these in a sound plan."""
        return tuple(way for way in ("unit", "process", "container") if getattr(self, way) is not None)


class InspectStep(AnyStep):
    """kind = "inspect": files that a restore step must have brought."""

    kind: Literal["inspect"]
    data: StepName = Field(description="The restore or mount step that brings them")
    files: Many[Text] = Field(default=(), description="Paths in the point that must be there and not be empty")
    files_min: Annotated[int, Field(ge=1)] = Field(default=1, description="How many files there must be at least")


class DeskStep(AnyStep):
    """kind = "desk": the look-up page over a restored resident extract."""

    kind: Literal["desk"]
    data: StepName = Field(description="The restore step that brings the extract")
    file: Text = Field(description="The extract's path in the point")
    encoding: Literal["cp932", "utf-8"] = Field(default="cp932", description="The extract's encoding")
    columns: Annotated[dict[str, str], Field(min_length=2)] = Field(
        description="Which column of the extract fills which field of the desk"
    )
    ignore: Many[Text] = Field(default=(), description="Columns that are known and left out")
    restrictions: Text | None = Field(
        default=None, description="Path in the point of the table of support measures: columns 宛名番号 and 支援措置"
    )
    font: WholePath | None = Field(default=None, description="TrueType or OpenType font with the shapes of 外字")
    title: Text = Field(description="The municipality's name, on every page")
    listen: At = Field(default=Address("127.0.0.1", 7480), description="Where the page is served")
    certificate: WholePath | None = Field(default=None, description="PEM certificate chain, for https")
    private_key: WholePath | None = Field(default=None, description="PEM key, for https")
    accounts: Annotated[Many[OfficerName], Field(min_length=1)] = Field(description="Clerks; passwords are drawn")
    roles: dict[OfficerName, Text] = Field(
        default_factory=dict, description="The role of an account; one that is not named has `issue`"
    )


class CheckStep(AnyStep):
    """kind = "check": one thing that must answer; tried again until it does or the step's time is over."""

    kind: Literal["check"]
    desk: StepName | None = Field(default=None, description="The desk step in which residents are looked up")
    query: Text | None = Field(default=None, description="Desk: what to search; without it residents are drawn")
    samples: Annotated[int, Field(ge=1, le=20)] = Field(default=3, description="Desk: how many residents are drawn")
    tcp: At | None = Field(default=None, description="Something must accept a connection here")
    http: Annotated[str, AfterValidator(_web)] | None = Field(default=None, description="This page must be answered")
    status: Annotated[int, Field(ge=100, le=599)] = Field(default=200, description="Http: with this status")
    postgres: StepName | None = Field(default=None, description="The postgres step that is asked `sql`")
    sql: Text | None = Field(default=None, description="One statement with one value as its answer")
    count_min: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Sql: the value is a number, at least this"
    )
    run: Script | None = Field(default=None, description="This program must end with 0")
    expect: Text | None = Field(default=None, description="What the answer must hold")

    @property
    def ways(self) -> tuple[str, ...]:
        """What it asks: exactly one of these in a sound plan."""
        return tuple(way for way in ("desk", "tcp", "http", "postgres", "run") if getattr(self, way) is not None)


class ConfirmStep(AnyStep):
    """kind = "confirm": a person says yes, or no."""

    kind: Literal["confirm"]
    question: Text = Field(description="What is asked")
    who: Text | None = Field(default=None, description="Who should answer, for people")


class NotifyStep(AnyStep):
    """kind = "notify": people are told; the text goes to the log, and to a script's standard input."""

    kind: Literal["notify"]
    text: Text = Field(description="What they are told")
    by: Script | None = Field(default=None, description="Carries it: mail, the town's loudspeakers")


class HookStep(AnyStep):
    """kind = "hook": an approved script turns the town's traffic to this site: an address, a name, a route."""

    kind: Literal["hook"]
    do: Script = Field(description="Turns it here")
    undo: Script | None = Field(default=None, description="Turns it back, when the run is undone")
    phase: Literal["prepare", "commit"] = Field(
        default="commit", description="commit: begins only after a person has looked at what was prepared"
    )


Step = (
    UnlockStep | FenceStep | RestoreStep | ExportStep | MountStep | PostgresStep | ServiceStep | InspectStep | DeskStep
    | CheckStep | ConfirmStep | NotifyStep | HookStep
)


def scripts_of(step: Step) -> tuple[tuple[str, Script], ...]:
    """Return the operator's programs that a step may call, each with its key."""
    return tuple(
        (key, value) for key in ("cut", "process", "run", "by", "do", "undo")
        if isinstance(value := getattr(step, key, None), Script)
    )
