"""`jbackupd verify`: are all stored bytes what they must be, and can every point be read?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.output import Frame, pass_frame, path_fields, show_path
from jbackupd.cli.progress import Progress
from jbackupd.model.errors import DamageError, NotFoundError
from jbackupd.model.ids import DatasetId, TenantId
from jbackupd.model.texts import _
from jbackupd.model.units import show_size

if TYPE_CHECKING:
    from jbackupd.engine.verify import Finding, VerifyReport
    from jbackupd.settings.schema import Settings


@click.command(help=_("Read stored objects and prove every byte of them; with --full decode every file."))
@click.argument("dataset", required=False)
@click.option("--full", is_flag=True, help=_("decode every point and compare every file; needs the keys"))
@pass_frame
def verify(frame: Frame, dataset: str | None, full: bool) -> int:
    """Verify one dataset, or every vault of this site; exit code 4 names objects and affected points."""
    from jbackupd.engine.verify import VerifyReport
    from jbackupd.service.wiring import tenants_here
    from jbackupd.storage.files import PosixFiles

    settings = frame.settings()
    wanted = DatasetId.parse(dataset) if dataset else None
    total = VerifyReport()
    with Progress(_("verifying"), quiet=frame.quiet) as progress:
        for tenant in [wanted.tenant] if wanted else tenants_here(PosixFiles(settings.site.state)):
            _verify_tenant(settings, tenant, wanted, total, full=full, progress=progress)
    frame.emit(_document(total, full=full), lambda: _show(total, full=full))
    return DamageError.exit_code if total.findings else 0


def _verify_tenant(
    settings: Settings, tenant: TenantId, wanted: DatasetId | None, total: VerifyReport, *, full: bool,
    progress: Progress,
) -> None:
    """Verify one vault and add what was found; objects need no keys and no catalog, content needs both."""
    from jbackupd.engine.verify import verify_content, verify_objects
    from jbackupd.service.leases import reading
    from jbackupd.service.wiring import existing_store, open_vault, point_lists
    from jbackupd.storage.files import PosixFiles

    store = existing_store(PosixFiles(settings.site.state), tenant)
    (points,) = point_lists(settings, tenant)
    if wanted is not None and not points.listed(wanted) and not points.damaged:
        raise NotFoundError("{dataset} has no point", "take one with 'jbackupd backup {dataset}'", dataset=wanted)
    datasets = None if wanted is None else [wanted]
    before = total.bytes
    with reading(settings.site.state, tenant):
        report = verify_objects(store, points, datasets, progress=lambda done: progress.update(before + done))
    if full:
        with open_vault(settings, tenant) as vault:
            stored = [point for dataset in datasets or points.datasets() for point in points.listed(dataset)]
            verify_content(vault, stored, report, progress=lambda done: progress.update(before + done))
    _add(total, report)


def _add(total: VerifyReport, report: VerifyReport) -> None:
    total.objects += report.objects
    total.bytes += report.bytes
    total.points += report.points
    total.files += report.files
    total.findings += report.findings
    total.closed_points += report.closed_points
    total.erased_points += report.erased_points


def _document(report: VerifyReport, *, full: bool) -> dict[str, Any]:
    return {
        "full": full,
        "objects": report.objects,
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


def _show(report: VerifyReport, *, full: bool) -> None:
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
