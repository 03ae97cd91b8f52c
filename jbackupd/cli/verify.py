"""`jbackupd verify`: are all stored bytes what they must be, and can every point be read?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.output import Frame, pass_frame, path_fields, show_path
from jbackupd.cli.progress import Progress
from jbackupd.model.errors import DamageError, NotFoundError, UsageError
from jbackupd.model.ids import DatasetId, TenantId
from jbackupd.model.texts import _
from jbackupd.model.units import parse_duration, parse_size, show_duration, show_size

if TYPE_CHECKING:
    from jbackupd.engine.verify import Allowance, Finding, VerifyReport
    from jbackupd.settings.schema import Settings
    from jbackupd.vault.soundness import Coverage


@click.command(help=_("Read stored objects and prove every byte of them; with --full decode every file."))
@click.argument("dataset", required=False)
@click.option(
    "--budget", metavar="TIME|SIZE", help=_("end after so much, such as 2h or 500GB; what waits longest comes first")
)
@click.option("--full", is_flag=True, help=_("decode every point and compare every file; needs the keys"))
@pass_frame
def verify(frame: Frame, dataset: str | None, full: bool, budget: str | None) -> int:
    """Verify one dataset, or every vault of this site; exit code 4 names objects and affected points."""
    from jbackupd.engine.verify import VerifyReport
    from jbackupd.service.wiring import tenants_here
    from jbackupd.storage.files import PosixFiles
    from jbackupd.vault.soundness import Coverage

    if full and budget is not None:
        raise UsageError("--full and --budget exclude each other", "--full reads points whole; leave one of them out")
    settings = frame.settings()
    wanted = DatasetId.parse(dataset) if dataset else None
    tenants = [wanted.tenant] if wanted else tenants_here(PosixFiles(settings.site.state))
    allowance = None if budget is None else _allowance(budget, len(tenants))
    total, covered = VerifyReport(), Coverage()
    with Progress(_("verifying"), quiet=frame.quiet) as progress:
        for tenant in tenants:
            _verify_tenant(settings, tenant, wanted, total, full=full, allowance=allowance, progress=progress)
            covered = covered.joined(_coverage(settings, tenant))
    frame.emit(_document(total, covered, full=full), lambda: _show(total, covered, settings))
    return DamageError.exit_code if total.findings else 0


def _verify_tenant(
    settings: Settings, tenant: TenantId, wanted: DatasetId | None, total: VerifyReport, *, full: bool,
    allowance: Allowance | None, progress: Progress,
) -> None:
    """Verify one vault and add what was found; objects need no keys and no catalog, content needs both."""
    from jbackupd.engine.verify import verify_content, verify_objects
    from jbackupd.service.leases import reading
    from jbackupd.service.wiring import existing_store, open_vault, point_lists
    from jbackupd.storage.files import PosixFiles
    from jbackupd.vault.soundness import Soundness

    store = existing_store(PosixFiles(settings.site.state), tenant)
    (points,) = point_lists(settings, tenant)
    if wanted is not None and not points.listed(wanted) and not points.damaged:
        raise NotFoundError("{dataset} has no point", "take one with 'jbackupd backup {dataset}'", dataset=wanted)
    datasets = None if wanted is None else [wanted]
    before = total.bytes
    with reading(settings.site.state, tenant):
        report = verify_objects(
            store, points, datasets, soundness=Soundness(store), allowance=allowance,
            progress=lambda done: progress.update(before + done),
        )
    if full:
        with open_vault(settings, tenant) as vault:
            stored = [point for dataset in datasets or points.datasets() for point in points.listed(dataset)]
            verify_content(vault, stored, report, progress=lambda done: progress.update(before + done))
    _add(total, report)


def _allowance(budget: str, vaults: int) -> Allowance:
    """Return each vault's part of a budget.

    Raises:
        UsageError: It is neither a duration nor a size.
    """
    from jbackupd.engine.verify import Allowance

    try:
        return Allowance(seconds=parse_duration(budget).total_seconds() / max(vaults, 1))
    except UsageError:
        pass
    try:
        return Allowance(bytes=-(-parse_size(budget) // max(vaults, 1)))
    except UsageError:
        raise UsageError(
            "{text!r} is neither a duration nor a size", "write for example 90m, 2h, 500GB or 200GiB", text=budget
        ) from None


def _coverage(settings: Settings, tenant: TenantId) -> Coverage:
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.verifying import standing

    return standing(settings, tenant, SystemClock().now()).coverage


def _add(total: VerifyReport, report: VerifyReport) -> None:
    total.objects += report.objects
    total.bytes += report.bytes
    total.points += report.points
    total.files += report.files
    total.findings += report.findings
    total.closed_points += report.closed_points
    total.erased_points += report.erased_points
    total.left_objects += report.left_objects


def _document(report: VerifyReport, covered: Coverage, *, full: bool) -> dict[str, Any]:
    from jbackupd.service.checkfacts import coverage_document

    return coverage_document(covered) | {
        "full": full,
        "objects": report.objects,
        "left_objects": report.left_objects,
        "bytes": report.bytes,
        "points": report.points,
        "files": report.files,
        "closed_points": report.closed_points,
        "erased_points": report.erased_points,
        "findings": [_finding_fields(finding) for finding in report.findings],
    }


def _finding_fields(finding: Finding) -> dict[str, Any]:
    fields: dict[str, Any] = {"code": finding.error.code, "message": str(finding.error), "points": list(finding.points)}
    if finding.ref is not None:
        fields |= {"kind": finding.ref.kind.name.lower(), "object": finding.ref.name.hex()}
    if finding.path is not None:
        fields |= path_fields(finding.path)
    return fields


def _show(report: VerifyReport, covered: Coverage, settings: Settings) -> None:
    for finding in report.findings:
        click.echo(finding.error.render(_(finding.error.message)))
        if finding.ref is not None:
            click.echo(f"  {finding.ref.kind.name.lower()} {finding.ref.name.hex()}")
        if finding.path is not None:
            click.echo("  " + _("file: {path}").format(path=show_path(finding.path)))
        if finding.points:
            click.echo("  " + _("needed by: {points}").format(points=", ".join(finding.points)))
    for label in report.erased_points:
        click.echo(_("{point}: its content was erased on purpose").format(point=label))
    for label in report.closed_points:
        click.echo(_("{point}: its content was not looked at: this site no longer keeps the key").format(point=label))
    summary = _("{objects} objects, {size}, {points} points, {files} files verified; damaged: {damaged}").format(
        objects=report.objects, size=show_size(report.bytes), points=report.points,
        files=report.files, damaged=len(report.findings),
    )
    click.echo(summary)
    if report.left_objects:
        click.echo(_("{count} objects were left to the next run").format(count=report.left_objects))
    click.echo(_("verified within {span}: {part:.1%} of {count} objects; never read: {never}").format(
        span=show_duration(settings.verify.cover.total_seconds()), part=covered.ratio, count=covered.objects,
        never=covered.never,
    ))
    if report.findings:
        click.echo(_("Now run 'jbackupd vault repair'."))
