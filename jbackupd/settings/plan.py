"""What an operator writes as a continuity plan: steps, what each needs, and what to do when one fails.

Loaded like the configuration: every problem at once, with file, line, key and the word that was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Annotated, ClassVar, Literal

import tomli
from pydantic import AfterValidator, Field, ValidationError

from jbackupd.model.errors import ConfigError
from jbackupd.model.units import Address
from jbackupd.settings.load import load_as
from jbackupd.settings.problem import KeyPath, Place, Problem, WrongError
from jbackupd.settings.schema import At, DatasetName, Duration, Many, OfficerName, SiteName, Table, TenantName, Text
from jbackupd.settings.suggest import nearest

StepName = OfficerName
"""A step's id is a word like any other id."""


def _whole(value: str) -> str:
    if not value.startswith("/") or "\0" in value:
        raise WrongError("is not a whole path", "begin it with /: the daemon reads it, wherever the plan lies")
    return value


WholePath = Annotated[str, AfterValidator(_whole)]


class AnyStep(Table):
    """What every step has."""

    id: StepName = Field(description="Name of the step")
    needs: Many[StepName] = Field(default=(), description="Steps that must be done before")
    tier: Annotated[int, Field(ge=1, le=5)] = Field(default=3, description="Of steps that are ready, 1 begins first")
    timeout: Duration = Field(default=timedelta(hours=1), description="After this long the step has failed")
    on_failure: Literal["halt", "continue"] = Field(
        default="halt", description="halt: nothing more begins; continue: only what needs this step is left out"
    )


class UnlockStep(AnyStep):
    """kind = "unlock": the tenant's keys from shares."""

    kind: Literal["unlock"]


class RestoreStep(AnyStep):
    """kind = "restore": a dataset's point into a folder of the run."""

    kind: Literal["restore"]
    dataset: DatasetName = Field(description="TENANT/NAME")
    point: Annotated[str, Field(pattern=r"^(latest|\d{1,15}|before:\S+)$")] = Field(
        default="latest", description="Which point: latest, a sequence number, or before:TIME"
    )


class InspectStep(AnyStep):
    """kind = "inspect": files that a restore step must have brought."""

    kind: Literal["inspect"]
    data: StepName = Field(description="The restore step that brings them")
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
    title: Text = Field(description="The municipality's name, on every page")
    listen: At = Field(default=Address("127.0.0.1", 7480), description="Where the page is served")
    certificate: WholePath | None = Field(default=None, description="PEM certificate chain, for https")
    private_key: WholePath | None = Field(default=None, description="PEM key, for https")
    accounts: Annotated[Many[OfficerName], Field(min_length=1)] = Field(description="Clerks; passwords are drawn")


class CheckStep(AnyStep):
    """kind = "check": real look-ups through the desk's page."""

    kind: Literal["check"]
    desk: StepName = Field(description="The desk step that is asked")
    query: Text | None = Field(default=None, description="What to search; without it residents are drawn")
    expect: Text | None = Field(default=None, description="What the found page must show")
    samples: Annotated[int, Field(ge=1, le=20)] = Field(default=3, description="How many residents are drawn")


Step = UnlockStep | RestoreStep | InspectStep | DeskStep | CheckStep


class Plan(Table):
    """A continuity plan."""

    page: ClassVar[str] = "docs/operating/recovery.md"
    version: Literal[1] = Field(description="Version of the plan's format")
    id: StepName = Field(description="Name of the plan")
    title: Text = Field(description="What it brings back, for people")
    tenant: TenantName = Field(description="Whose services it brings back")
    home: SiteName = Field(description="The site whose loss it is for")
    rto: Duration = Field(default=timedelta(hours=3), description="Services must be back within this time")
    rpo: Duration = Field(default=timedelta(hours=26), description="The data may at most be this old")
    steps: Annotated[Many[Annotated[Step, Field(discriminator="kind")]], Field(min_length=1)] = Field(
        alias="step", description="What is done"
    )

    def step(self, wanted: str) -> Step:
        """Return a step by its id, which the plan has."""
        return next(step for step in self.steps if step.id == wanted)


def load_plan(file: str) -> Plan:
    """Read a plan.

    Raises:
        ConfigError: Anything is wrong with it, the graph of its steps included; every problem is named.
    """
    return load_as(Plan, [file], _graph_problems)


def parse_plan(text: str) -> Plan:
    """Make a plan of a text that was checked when it was loaded from its file.

    Raises:
        ConfigError: It is none.
    """
    try:
        return Plan.model_validate(tomli.loads(text))
    except (tomli.TOMLDecodeError, ValidationError) as error:
        raise ConfigError("the text is not a plan of this version", "load the plan from its file again") from error


def _graph_problems(plan: Plan, place: Callable[[KeyPath], Place]) -> Iterator[Problem]:
    for path, wrong in _contradictions(plan):
        yield Problem(place(path), path, wrong)


def _contradictions(plan: Plan) -> Iterator[tuple[KeyPath, WrongError]]:
    ids = [step.id for step in plan.steps]
    kinds = {step.id: step.kind for step in plan.steps}
    for index, step in enumerate(plan.steps):
        if step.id in ids[:index]:
            yield ("step", index, "id"), WrongError("{text!r} names two steps", "give one another id", text=step.id)
        for position, need in enumerate(step.needs):
            if need not in kinds:
                yield ("step", index, "needs", position), _unknown(need, ids)
        for key, kind, named in _references(step):
            if kinds.get(named) != kind:
                known = [other for other in ids if kinds[other] == kind]
                yield ("step", index, key), _unknown(named, known)
            elif named not in step.needs:
                yield ("step", index, "needs"), WrongError("does not name {text!r}", "add it", text=named)
        if isinstance(step, RestoreStep) and step.dataset.tenant != plan.tenant:
            yield (
                ("step", index, "dataset"),
                WrongError("is of another tenant than the plan", "a plan is of one tenant; write one for each"),
            )
    if (circle := _circle(plan)) is not None:
        yield ("step",), WrongError("steps need each other in a circle: {steps}", steps=" -> ".join(circle))


def _references(step: Step) -> Iterator[tuple[str, str, str]]:
    if isinstance(step, (DeskStep, InspectStep)):
        yield "data", "restore", step.data
    if isinstance(step, CheckStep):
        yield "desk", "desk", step.desk


def _unknown(name: str, known: list[str]) -> WrongError:
    meant = nearest(name, known)
    hint = "did you mean {meant!r}?" if meant else "the steps are {known}"
    return WrongError("there is no such step: {text!r}", hint, text=name, meant=meant, known=", ".join(known))


def _circle(plan: Plan) -> list[str] | None:
    """Return steps that need each other in a circle, if there are any."""
    needs = {step.id: step.needs for step in plan.steps}
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str] | None:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done or name not in needs:
            return None
        for need in needs[name]:
            if (found := visit(need, [*way, name])) is not None:
                return found
        done.add(name)
        return None

    for name in needs:
        if (found := visit(name, [])) is not None:
            return found
    return None
