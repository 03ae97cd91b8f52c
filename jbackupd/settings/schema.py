"""What an operator may write: every table and key, with what it means and what it may hold.

The classes are frozen and strict: nothing is ever turned into another type. Times are timedeltas,
rates bytes per second, paths absolute. Load them with `jbackupd.settings.load.load`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import timedelta, timezone, tzinfo
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)

from jbackupd.model.errors import UsageError
from jbackupd.model.ids import DatasetId, SiteId, TenantId, is_word
from jbackupd.model.units import Address, duration_text, parse_address, parse_duration, parse_rate, rate_text
from jbackupd.policy.retention import Rules
from jbackupd.settings.problem import WrongError
from jbackupd.settings.schedule import Schedule

T = TypeVar("T")

HISTORY_DAYS = 35
"""Session keys are kept this long by default: five weeks, so that yesterday's file needs no officers."""
RPO_DEFAULT = timedelta(hours=26)
"""A day, and the time that taking and carrying the daily point may need."""
_JST = timezone(timedelta(hours=9), "JST")


def _parsed(parse: Callable[[str], Any]) -> PlainValidator:
    """Validate a string by one of our parsers."""

    def validate(value: object) -> object:
        if not isinstance(value, str):
            raise WrongError("must be a text in quotes")
        try:
            return parse(value)
        except UsageError as error:
            raise WrongError.of(error) from error

    return PlainValidator(validate)


def _text_schema(example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "examples": [example]})


def _word(value: str) -> str:
    if not is_word(value):
        raise WrongError("{text!r} is not a name", "use a-z, 0-9 and inner hyphens, at most 32", text=value)
    return value


def _absolute(value: str, info: ValidationInfo) -> str:
    """Resolve a path against the configuration file's folder."""
    if not value or "\0" in value:
        raise WrongError("a path cannot be empty or hold a zero byte")
    base = info.context["folder"] if info.context else os.curdir
    return os.path.normpath(os.path.join(os.path.abspath(base), value))


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _municipal_code(value: str) -> str:
    """Check a 団体コード: two digits of prefecture, three of municipality, and the check digit.

    Source: 全国地方公共団体コード: weights 6 5 4 3 2, eleven minus the sum modulo eleven, its last digit.
    """
    if len(value) != 6 or not (value.isascii() and value.isdigit()):
        raise WrongError("{text!r} is not a municipal code", "write six digits, for example 412058", text=value)
    total = sum(int(digit) * weight for digit, weight in zip(value[:5], (6, 5, 4, 3, 2), strict=True))
    expected = (11 - total % 11) % 10
    if int(value[5]) != expected:
        raise WrongError(
            "the check digit of {text!r} does not fit",
            "one of the digits is wrong: {first} would end in {expected}",
            text=value, first=value[:5], expected=expected,
        )
    return value


def _history_days(value: object) -> int:
    if value == "closed":
        return 0
    days = value.get("days") if isinstance(value, dict) and set(value) == {"days"} else None
    if type(days) is not int or not 1 <= days <= 36600:
        raise WrongError("is not a history", 'write { days = 35 } or "closed"')
    return days


def _zone_name(value: str) -> str:
    try:
        zone_of(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise WrongError("{text!r} is not a time zone", "write for example Asia/Tokyo", text=value) from error
    return value


def zone_of(name: str) -> tzinfo:
    """Return a time zone; Japan's (no summer time since 1951) also without a time zone database."""
    return _JST if name == "Asia/Tokyo" else ZoneInfo(name)


Many = Annotated[tuple[T, ...], BeforeValidator(_tuple)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
SiteName = Annotated[SiteId, AfterValidator(_word)]
TenantName = Annotated[TenantId, AfterValidator(_word)]
OfficerName = Annotated[str, AfterValidator(_word)]
FilePath = Annotated[str, AfterValidator(_absolute)]
Duration = Annotated[
    timedelta, _parsed(parse_duration), PlainSerializer(duration_text, return_type=str), _text_schema("24h")
]
Rate = Annotated[
    int, _parsed(parse_rate), PlainSerializer(rate_text, return_type=str), _text_schema("10Mbit/s")
]
At = Annotated[
    Address, _parsed(parse_address), PlainSerializer(str, return_type=str), _text_schema("192.0.2.7:7420")
]
DatasetName = Annotated[
    DatasetId, _parsed(DatasetId.parse), PlainSerializer(str, return_type=str), _text_schema("imari/juki")
]
When = Annotated[
    Schedule, _parsed(Schedule.parse), PlainSerializer(str, return_type=str), _text_schema("daily 02:00")
]


class Table(BaseModel):
    """A table of the configuration: strict, frozen, no other keys.

    Attributes:
        page: Of a file as a whole, the page of the manual that tells its keys.
    """

    page: ClassVar[str] = "docs/operating/configuration.md"
    # Deferred: each table is built once, in the one that holds it; that is 40 ms of every command.
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", validate_default=False, defer_build=True
    )


class Site(Table):
    """[site]: this site."""

    id: SiteName = Field(description="The site's name, known to all peers")
    state: FilePath = Field(description="Folder for vaults, catalog, keys, journals; owned by the service user")
    name: Text | None = Field(default=None, description="The site's name for people")
    listen: At | None = Field(default=None, description="Where peers may dial this site; without it nobody can")
    timezone: Annotated[str, AfterValidator(_zone_name)] = Field(
        default="Asia/Tokyo", description="The time that schedules mean"
    )

    @property
    def zone(self) -> tzinfo:
        """The time that schedules mean."""
        return zone_of(self.timezone)


class Tenant(Table):
    """[[tenant]]: a municipality whose data this site takes."""

    id: TenantName = Field(description="The tenant's name")
    code: Annotated[str, AfterValidator(_municipal_code)] | None = Field(
        default=None, description="団体コード, six digits with the check digit"
    )
    name: Text | None = Field(default=None, description="The municipality's name for people")
    history_days: Annotated[
        int,
        PlainValidator(_history_days),
        PlainSerializer(lambda days: {"days": days} if days else "closed"),
        WithJsonSchema(
            {
                "anyOf": [
                    {"const": "closed"},
                    {
                        "type": "object",
                        "properties": {"days": {"type": "integer", "minimum": 1}},
                        "required": ["days"],
                        "additionalProperties": False,
                    },
                ]
            }
        ),
    ] = Field(
        default=HISTORY_DAYS,
        alias="history",
        description="How long this host can read its own points without officers: { days = 35 }, or "
        '"closed": only what the next delta needs',
    )


class FilesSource(Table):
    """source = { kind = "files" }: folders and files of this machine."""

    kind: Literal["files"]
    paths: Annotated[Many[FilePath], Field(min_length=1)] = Field(description="Folders or files to take")
    exclude: Many[Text] = Field(default=(), description="Patterns of names or paths that are left out")
    one_file_system: bool = Field(
        default=False, description="Whether other file systems that are mounted below are left out"
    )


class CommandSource(Table):
    """source = { kind = "command" }: what a command writes to its standard output, as one file."""

    kind: Literal["command"]
    command: Annotated[Many[str], Field(min_length=1)] = Field(
        description="Program and arguments; no shell; its exit code decides"
    )
    file_name: Annotated[str, StringConstraints(pattern=r"^[^/\x00]{1,255}$")] = Field(
        description="Name of the file in the point"
    )
    allow_empty: bool = Field(default=False, description="Whether no output at all is a good result")
    timeout: Duration = Field(
        default=timedelta(hours=2), description="After this long the command is stopped and has failed"
    )


Count = Annotated[int, Field(ge=0, le=36_600)]


class Retention(Table):
    """[dataset.retention]: which points of a dataset stay; without any of its keys all of them."""

    last: Count = Field(default=0, description="So many newest points")
    daily: Count = Field(default=0, description="The newest point of each of so many newest days that have one")
    weekly: Count = Field(default=0, description="The same of weeks, from Monday")
    monthly: Count = Field(default=0, description="The same of months")
    yearly: Count = Field(default=0, description="The same of fiscal years, from April 1")
    min_points: Annotated[int, Field(ge=1, le=36_600)] = Field(
        default=1, description="So many newest complete points are never removed"
    )
    min_age: Duration | None = Field(default=None, description="No younger point is removed")
    max_age: Duration | None = Field(default=None, description="Every older point is removed, whatever the counts say")
    disposal_years: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=None, description="保存年限: points are removed so many years after the April 1 that follows them"
    )
    wait_for_peers: bool = Field(
        default=True, description="Whether points stay until every peer of the dataset has signed for them"
    )

    @property
    def rules(self) -> Rules:
        """What of it decides by time and number."""
        return Rules(
            self.last, self.daily, self.weekly, self.monthly, self.yearly, self.min_points,
            self.min_age or timedelta(0), self.max_age, self.disposal_years or 0,
        )


class Dataset(Table):
    """[[dataset]]: one protected thing of a tenant."""

    id: DatasetName = Field(description="TENANT/NAME")
    name: Text | None = Field(default=None, description="The dataset's name for people")
    source: Annotated[FilesSource | CommandSource, Field(discriminator="kind")] = Field(
        description="How the dataset is read"
    )
    schedule: When = Field(
        default=Schedule.parse("daily 02:00"),
        description="When a point is taken: interval, calendar word or cron fields",
    )
    preset: Literal["fast", "balanced", "thin-line"] = Field(
        default="balanced",
        description="fast: several times the speed for a seventh more bytes of new content; thin-line: a tenth fewer "
        "bytes for a fifth of the speed; the bytes of a day's changes differ less",
    )
    access: Literal["stream", "random"] = Field(
        default="stream",
        description="random: short frames, for disk images and databases that are to be used before they are restored; "
        "a day's changes take more bytes",
    )
    tier: Annotated[int, Field(ge=1, le=5)] = Field(default=3, description="1 is sent and restored first, 5 last")
    rpo: Duration = Field(default=RPO_DEFAULT, description="How old the newest point at every peer may become")
    peers: Many[SiteName] | None = Field(default=None, description="Sites that hold copies; without it all peers")
    retention: Retention = Field(default=Retention(), description="Which points stay; all without it")


class Peer(Table):
    """[[peer]]: another site."""

    id: SiteName = Field(description="The other site's name")
    address: At | None = Field(default=None, description="Where to dial it; without it the other site dials us")
    card: FilePath = Field(description="Its site card: the public keys that it must prove")
    limit_bytes_per_second: Rate | None = Field(
        default=None, alias="limit", description="The most that is sent to it; without it all that the line carries"
    )
    holds: Many[TenantName] = Field(default=(), description="Tenants of that site whose objects are accepted here")


class Officer(Table):
    """[[officer]]: a person whose approval counts."""

    id: OfficerName = Field(description="Short name of the person or office")
    name: Text | None = Field(default=None, description="Name and office for people")
    card: FilePath = Field(description="The person's card: the public keys of their approvals")


class Approval(Table):
    """[approval]: how many officers must agree."""

    declare_lost: Annotated[int, Field(ge=1, le=16)] = Field(
        default=2, description="Approvals needed to declare a site lost"
    )
    wait: Duration | None = Field(
        default=None, description="This site acts for a lost one only so long after its last contact with it"
    )


DeskRight = Literal["look-up", "print", "list", "take-in", "issue", "reveal", "supervise"]


def _issuer(value: str) -> str:
    """Accept https, and http on this machine alone: whoever listens on the way could sign in as anybody."""
    if not re.fullmatch(r"https://[^\s?#@]+|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/[^\s?#]*)?", value):
        raise WrongError("must be an https address without a question mark")
    return value


class DeskProvider(Table):
    """[[desk.oidc]]: a municipality's own sign-in service (OpenID Connect) at its desks."""

    tenant: TenantName = Field(description="Whose desks")
    issuer: Annotated[str, AfterValidator(_issuer)] = Field(description="Its https address, as it names itself")
    client_id: Annotated[str, Field(min_length=1)] = Field(description="The desk's name there")
    secret_file: FilePath = Field(description="File with the desk's secret there, mode 0600")
    url: Annotated[str, AfterValidator(_issuer)] = Field(
        description="The desk's address in browsers; registered there with /sign-in/provider/back behind it"
    )
    name: Annotated[str, Field(min_length=1)] = Field(default="OpenID", description="What the button says")
    claim: Annotated[str, Field(min_length=1)] = Field(
        default="preferred_username", description="The claim that names the account"
    )
    groups_claim: Annotated[str, Field(min_length=1)] = Field(default="groups", description="The claim of the groups")
    roles: Annotated[dict[str, str], Field(min_length=1)] = Field(
        description="The role of each group; the first that fits counts, without one nobody is let in"
    )
    ca_file: FilePath | None = Field(
        default=None, description="Whose certificates are trusted; default: those that this machine trusts"
    )


class Desk(Table):
    """[desk]: the minimal service after a recovery."""

    listen: At = Field(default=Address("127.0.0.1", 7480), description="Where the desk's page is served")
    roles: dict[str, Many[DeskRight]] = Field(
        default_factory=dict, description="Roles of accounts and their rights, beside the built-in ones or instead"
    )
    oidc: Many[DeskProvider] = Field(default=(), description="Sign-in services of municipalities")


class Metrics(Table):
    """[metrics]: numbers for Prometheus; without the table no port is opened."""

    listen: At = Field(default=Address("127.0.0.1", 9420), description="Where /metrics is served")


class Reclaim(Table):
    """[reclaim]: removing what retention has given up."""

    schedule: When = Field(
        default=Schedule.parse("weekly sun 04:00"),
        description="When it runs; only where a dataset has a retention",
    )
    rewrite_below_percent: Annotated[int, Field(ge=0, le=90)] = Field(
        default=25,
        description="Packs of which less is needed are written anew, and sent again to the peers; 0 for none",
    )


class Verify(Table):
    """[verify]: reading what is stored again and again, so that damage is found while another site has a copy."""

    schedule: When = Field(default=Schedule.parse("daily 01:30"), description="When the daemon reads a part of it")
    cover: Duration = Field(default=timedelta(days=30), description="Within this time everything is read once")
    repair: bool = Field(
        default=True, description="Take what is damaged or missing again from the other sites, unasked"
    )


class Sample(Table):
    """[sample]: sample restores (復元確認) of every dataset that can be read here."""

    enabled: bool = Field(default=True, description="Whether the daemon does them unasked")
    within: Duration = Field(
        default=timedelta(days=30), description="For so long a sample counts; each dataset is sampled again in time"
    )


class PlanFile(Table):
    """[[plan]]: a continuity plan that this site may have to run."""

    file: FilePath = Field(description="The plan")
    check: When = Field(
        default=Schedule.parse("daily 07:00"), description="When the daemon looks whether it could be run"
    )
    drill: When | None = Field(
        default=None, description="When people are called for a drill of it; without it nobody is"
    )
    drill_within: Duration = Field(
        default=timedelta(0), description="Unannounced: the call comes at any moment of this time after the schedule's"
    )


class Feed(Table):
    """[[feed]]: residents as a file for another system (被災者支援システム), made of the newest point."""

    id: OfficerName = Field(description="Name of the feed, and of its files")
    dataset: DatasetName = Field(description="TENANT/NAME: the dataset of the resident extract")
    file: Text = Field(description="The extract's path in the point")
    map: FilePath = Field(description="Column map of the extract, as for `desk load`")
    restrictions: Text | None = Field(
        default=None, description="Path in the point of the table of support measures: columns 宛名番号 and 支援措置"
    )
    to: FilePath = Field(description="Folder for the files; for the service's user alone, or a group that reads it")
    schedule: When = Field(default=Schedule.parse("daily 06:00"), description="When it is made")
    encoding: Literal["cp932", "euc-jp", "utf-8"] = Field(default="cp932", description="Encoding of the files")
    columns: Annotated[dict[str, str], Field(min_length=1)] | None = Field(
        default=None, description="Columns of the file in their order, each with the desk's field that fills it; "
        "without it all fields under their own names",
    )
    current_only: bool = Field(default=True, description="Only who lives there now, not who has left or died")
    unknown_restrictions: Literal["hide", "refuse"] = Field(
        default="hide",
        description="Where nobody knows who is protected: hide writes no address at all, refuse makes no file",
    )
    keep: Annotated[int, Field(ge=1, le=1000)] = Field(default=3, description="So many files stay")


class Package(Table):
    """[[package]]: 市町村パッケージ, residents and a desk in a folder that one laptop without a network can open."""

    id: OfficerName = Field(description="Name of the package")
    dataset: DatasetName = Field(description="TENANT/NAME: the dataset of the resident extract")
    file: Text = Field(description="The extract's path in the point")
    map: FilePath = Field(description="Column map of the extract, as for `desk load`")
    restrictions: Text | None = Field(
        default=None, description="Path in the point of the table of support measures: columns 宛名番号 and 支援措置"
    )
    to: FilePath = Field(description="Folder of the package: on a stick, or on the municipality's laptop")
    title: Text | None = Field(default=None, description="The municipality's name on the pages; default: the tenant's")
    font: FilePath | None = Field(default=None, description="TrueType or OpenType font with the shapes of 外字")
    expires: Duration = Field(default=timedelta(days=31), description="So long after it was written it can be opened")


class Log(Table):
    """[log]: how the daemon writes what it does."""

    format: Literal["journal", "json", "text"] = Field(
        default="journal",
        description="journal: lines for systemd; json: one document per line; text: for a terminal",
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is written"
    )


class Settings(Table):
    """Everything an operator has written, checked and complete."""

    version: Literal[1] = Field(description="Version of the configuration's format")
    language: Literal["ja", "en"] | None = Field(
        default=None, description="Language of the daemon's messages and of the desk; without it the locale's"
    )
    site: Site = Field(description="This site")
    tenants: Many[Tenant] = Field(default=(), alias="tenant", description="Municipalities whose data this site takes")
    datasets: Many[Dataset] = Field(default=(), alias="dataset", description="What is taken")
    peers: Many[Peer] = Field(default=(), alias="peer", description="Other sites")
    officers: Many[Officer] = Field(default=(), alias="officer", description="Persons whose approval counts")
    approval: Approval = Field(default=Approval(), description="How many officers must agree")
    plans: Many[PlanFile] = Field(
        default=(), alias="plan", description="Continuity plans that this site may have to run"
    )
    feeds: Many[Feed] = Field(default=(), alias="feed", description="Residents as files for other systems")
    packages: Many[Package] = Field(
        default=(), alias="package", description="Residents and a desk in a folder, for a laptop without a network"
    )
    desk: Desk = Field(default=Desk(), description="The minimal service after a recovery")
    metrics: Metrics | None = Field(default=None, description="Numbers for Prometheus")
    reclaim: Reclaim = Field(default=Reclaim(), description="Removing what retention has given up")
    verify: Verify = Field(default=Verify(), description="Reading what is stored again and again")
    sample: Sample = Field(default=Sample(), description="Sample restores of every dataset")
    log: Log = Field(default=Log(), description="How the daemon writes what it does")

    def dataset(self, wanted: DatasetId) -> Dataset | None:
        """Return a dataset by its name."""
        return next((dataset for dataset in self.datasets if dataset.id == wanted), None)

    def tenant(self, wanted: TenantId) -> Tenant | None:
        """Return a tenant of this site by its name."""
        return next((tenant for tenant in self.tenants if tenant.id == wanted), None)

    def peer(self, wanted: SiteId) -> Peer | None:
        """Return a peer by its name."""
        return next((peer for peer in self.peers if peer.id == wanted), None)

    def peers_of(self, dataset: Dataset) -> tuple[Peer, ...]:
        """Return the peers that hold a dataset's points."""
        return tuple(peer for peer in self.peers if dataset.peers is None or peer.id in dataset.peers)
