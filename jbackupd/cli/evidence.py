"""`jbackupd site evidence|observe|all-clear`: what is known of a site, and what people saw, before it is declared."""

from __future__ import annotations

from typing import Any

import click

from jbackupd.cli.deciding import BY, login
from jbackupd.cli.declarations import ask, when, zone
from jbackupd.cli.output import Frame, pass_frame, show_path, show_time
from jbackupd.continuity.decision import ITEMS, SAYS
from jbackupd.model.errors import UsageError
from jbackupd.model.texts import _

LOCAL = click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))


@click.command(help=_("Show all that is known of a site, asked of the others too; with --html as a page to sign (A4)."))
@click.argument("about", metavar="[SITE]", required=False)
@click.option("--declaration", metavar="ID", help=_("as it was when this declaration was begun: what officers sign"))
@click.option("--html", metavar="FILE", help=_("write it as a page to print"))
@LOCAL
@pass_frame
def evidence(frame: Frame, about: str | None, declaration: str | None, html: str | None, local: bool) -> None:
    """Show the evidence about a site."""
    if (about is None) == (declaration is None):
        raise UsageError("it is not clear what to show", "name a SITE, or --declaration ID")
    answer = ask(frame, "site.evidence", local=local, site=about or "", declaration=declaration or "")
    if html is not None:
        from jbackupd.cli.recovery import write_text
        from jbackupd.continuity.evidencepage import evidence_page

        write_text(html, evidence_page(answer, lambda moment: show_time(moment, zone(frame))))
        frame.say(_("the page is in {path}").format(path=html))
    frame.emit(answer, lambda: _show(frame, answer))


def _show(frame: Frame, answer: dict[str, Any]) -> None:
    for each in answer["contacts"]:
        if each["error"]:
            text = _("not told: {reason}").format(reason=each["error"])
        elif each["up"]:
            text = _("in contact now")
        else:
            text = when(frame, each["last_contact"]) if each["last_contact"] else _("no contact is known")
        click.echo(_("{site}: last contact with {about}: {text}").format(
            site=each["site"], about=answer["about"], text=text
        ))
    for each in answer["datasets"]:
        if "error" in each:
            click.echo(f"{each['dataset']}: {each['error']}")
        else:
            click.echo(_("held here: {dataset}@{sequence} of {time}; {verified} of {objects} objects verified").format(
                **each, time=when(frame, each["taken_at"])
            ))
    for each in answer["checklist"]:
        click.echo(observation_line(frame, each))
    missing = [item for item in ITEMS if item not in {each["item"] for each in answer["checklist"]} | {"other"}]
    if missing and not answer["declaration"]:
        frame.say(_("not asked yet: {items}; note it with 'jbackupd site observe {site} ITEM WORDS'").format(
            items=", ".join(missing), site=answer["about"]
        ))


def observation_line(frame: Frame, each: dict[str, Any]) -> str:
    """Return what somebody saw on one line; of whatever version noted it."""
    item, says = (_(texts.get(each[key], each[key])) for texts, key in ((ITEMS, "item"), (SAYS, "says")))
    words, by = (show_path(each[key].encode()) for key in ("words", "by"))
    return f"{when(frame, each['at'])}  {item}: {words} ({says}; {by})"


@click.command(help=_("Note what somebody saw or was told of a site that may be lost, for the record."))
@click.argument("about", metavar="SITE")
@click.argument("item", type=click.Choice(list(ITEMS)))
@click.argument("words")
@click.option("--says", type=click.Choice(list(SAYS)), default="unclear", show_default=True,
              help=_("whether it speaks for a loss"))
@BY
@LOCAL
@pass_frame
def observe(frame: Frame, about: str, item: str, words: str, says: str, by: str, local: bool) -> None:
    """Note an observation."""
    answer = ask(frame, "site.observe", local=local, site=about, item=item, words=words, says=says, by=by or login())
    frame.emit(answer, lambda: click.echo(_("noted; {count} observations about {site}").format(
        count=answer["observations"], site=about
    )))


@click.command("all-clear", help=_("Note that nothing is wrong with a site: what was noted before is over."))
@click.argument("about", metavar="SITE")
@click.argument("words")
@BY
@LOCAL
@pass_frame
def all_clear(frame: Frame, about: str, words: str, by: str, local: bool) -> None:
    """End a case."""
    answer = ask(frame, "site.observe", local=local, site=about, words=words, by=by or login())
    frame.emit(answer, lambda: click.echo(_("noted; {count} observations about {site}").format(
        count=answer["observations"], site=about
    )))
