"""What an operator writes as a continuity plan: steps, what each needs, and what to do when one fails.

Loaded like the configuration: every problem at once, with file, line, key and the word that was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Annotated, ClassVar, Literal

import tomli
from pydantic import Field, ValidationError

from jbackupd.model.errors import ConfigError
from jbackupd.settings.load import load_as
from jbackupd.settings.people import Person, PlaceOf
from jbackupd.settings.problem import KeyPath, Place, Problem, WrongError
from jbackupd.settings.programs import Container
from jbackupd.settings.schema import Duration, Many, SiteName, Table, TenantName, Text
from jbackupd.settings.steps import (
    LEFT_OUT_OF_DRILLS,
    CheckStep,
    DeskStep,
    ExportStep,
    InspectStep,
    Mode,
    MountStep,
    PostgresStep,
    RestoreStep,
    ServiceStep,
    Step,
    StepName,
)
from jbackupd.settings.suggest import nearest

Wrong = tuple[KeyPath, WrongError]
FOLDERS = ("restore", "mount")
"""Kinds of steps that bring a folder."""


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
    commit: Literal["ask", "auto"] = Field(
        default="ask", description="ask: steps of the phase commit wait for a person; auto: only for the others"
    )
    prove_within: Duration = Field(
        default=timedelta(days=365), description="After so long without a drill that proved it, it is overdue"
    )
    people: Many[Person] = Field(default=(), alias="person", description="Who is called")
    people_confirmed: date | None = Field(
        default=None, description="The day on which somebody last called all of them and found the list right"
    )
    people_within: Duration = Field(
        default=timedelta(days=180), description="After so long the list of people is to be confirmed again"
    )
    places: Many[PlaceOf] = Field(default=(), alias="place", description="Where shares, keys and machines lie")
    steps: Annotated[Many[Annotated[Step, Field(discriminator="kind")]], Field(min_length=1)] = Field(
        alias="step", description="What is done"
    )

    def step(self, wanted: str) -> Step:
        """Return a step by its id, which the plan has."""
        return next(step for step in self.steps if step.id == wanted)


def is_left_out(step: Step, mode: Mode) -> bool:
    """Tell whether a step is not done in a mode; what needs it goes on without."""
    if mode == "rehearse" and step.kind in LEFT_OUT_OF_DRILLS:
        return True
    return bool(step.modes) and mode not in step.modes


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


def _contradictions(plan: Plan) -> Iterator[Wrong]:
    ids = [step.id for step in plan.steps]
    for index, step in enumerate(plan.steps):
        if step.id in ids[:index]:
            yield ("step", index, "id"), WrongError("{text!r} names two steps", "give one another id", text=step.id)
        for position, need in enumerate(step.needs):
            if need not in ids:
                yield ("step", index, "needs", position), _unknown(need, ids)
        yield from _wrong_references(plan, index, step)
        yield from _wrong_needs(plan, index, step)
        yield from _wrong_choice(index, step)
        if isinstance(step, (RestoreStep, ExportStep, MountStep)) and step.dataset.tenant != plan.tenant:
            yield (
                ("step", index, "dataset"),
                WrongError("is of another tenant than the plan", "a plan is of one tenant; write one for each"),
            )
    if (circle := _circle(plan)) is not None:
        yield ("step",), WrongError("steps need each other in a circle: {steps}", steps=" -> ".join(circle))


def _wrong_references(plan: Plan, index: int, step: Step) -> Iterator[Wrong]:
    kinds = {other.id: other.kind for other in plan.steps}
    for key, wanted, named in _references(step):
        if kinds.get(named) not in wanted:
            yield ("step", index, *key), _unknown(named, [other for other in kinds if kinds[other] in wanted])
        elif named not in step.needs:
            yield ("step", index, "needs"), WrongError("does not name {text!r}", "add it", text=named)
        elif any(is_left_out(plan.step(named), mode) and not is_left_out(step, mode) for mode in _modes()):
            yield ("step", index, "modes"), WrongError(
                "works with {text!r}, which is left out of some of its modes", "give both the same modes", text=named
            )


def _references(step: Step) -> Iterator[tuple[KeyPath, tuple[str, ...], str]]:
    match step:
        case DeskStep(data=data) | InspectStep(data=data) | PostgresStep(data=data):
            yield ("data",), FOLDERS, data
        case ServiceStep():
            if step.data is not None:
                yield ("data",), FOLDERS, step.data
            for position, mount in enumerate(step.container.mounts if step.container is not None else ()):
                yield ("container", "mount", position, "data"), FOLDERS, mount.data
        case CheckStep():
            if step.desk is not None:
                yield ("desk",), ("desk",), step.desk
            if step.postgres is not None:
                yield ("postgres",), ("postgres",), step.postgres


def _wrong_needs(plan: Plan, index: int, step: Step) -> Iterator[Wrong]:
    """Name needs that would turn the plan's order upside down."""
    known = {other.id: other for other in plan.steps}
    for position, need in enumerate(step.needs):
        other = known.get(need)
        if other is None:
            continue
        if step.phase == "prepare" and other.phase == "commit":
            yield ("step", index, "needs", position), WrongError(
                "{text!r} begins only after the commit", "write phase = \"commit\" here too", text=need
            )
        if step.essential and not other.essential:
            yield ("step", index, "needs", position), WrongError(
                "{text!r} is not essential, but this step is", "write essential = true there, or false here", text=need
            )


def _wrong_choice(index: int, step: Step) -> Iterator[Wrong]:
    """Name what a step must say exactly once."""
    if isinstance(step, CheckStep):
        if len(step.ways) != 1:
            yield ("step", index), WrongError(
                "must ask one thing", "write one of desk, tcp, http, postgres with sql, or step.run"
            )
        if (step.postgres is None) != (step.sql is None):
            yield ("step", index, "sql"), WrongError("belongs to postgres", "write both, or none")
    if isinstance(step, ServiceStep):
        if len(step.ways) != 1:
            yield ("step", index), WrongError("must be one thing", "write unit, step.process or step.container")
        if step.container is not None:
            yield from _wrong_image(index, step, step.container)


def _wrong_image(index: int, step: ServiceStep, container: Container) -> Iterator[Wrong]:
    """Name what is contradictory in where a container's image comes from."""
    place: KeyPath = ("step", index, "container")
    if (container.image is None) == (container.archive is None):
        yield place, WrongError("must have one image", "write image, or archive with the step's data")
    if container.image is not None and container.sha256 is None:
        yield (*place, "image"), WrongError(
            "names no approved image", "add sha256: the id that 'podman images --no-trunc' shows"
        )
    if container.archive is not None and step.data is None:
        yield (*place, "archive"), WrongError("lies in no step's folder", "name the step by data")


def _modes() -> tuple[Mode, ...]:
    return ("disaster", "planned", "rehearse", "failback")


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
