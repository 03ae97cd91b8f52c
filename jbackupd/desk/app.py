"""The desk as an application: groups of pages (sign_in, lookup, intake) over what they share (web)."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from jbackupd.desk.account_pages import AccountPages
from jbackupd.desk.intake_forms import IntakeForms
from jbackupd.desk.intake_pages import IntakePages
from jbackupd.desk.lookup_pages import RESULTS_MAX, LookUpPages
from jbackupd.desk.oidc_pages import ProviderPages
from jbackupd.desk.own_pages import OwnPages
from jbackupd.desk.record_pages import RecordPages
from jbackupd.desk.sign_in_pages import SignInPages
from jbackupd.desk.web import SESSION_COOKIE, DeskSettings, Web, no_audit
from jbackupd.model.errors import JbackupdError

__all__ = ["RESULTS_MAX", "SESSION_COOKIE", "DeskSettings", "create_app"]


def create_app(settings: DeskSettings) -> Starlette:
    """Return the desk as an ASGI application; blocking: opens the database and records that it opened.

    Raises:
        NotFoundError, DamageError: The database cannot be used.
        TryLaterError: The audit log cannot be written.
    """
    web = Web(settings)
    facts = web.residents.facts
    try:
        settings.audit.opened(
            loaded_from=facts.loaded_from, as_of=facts.as_of.isoformat(), rows=facts.rows,
            accounts=web.accounts.current,
        )
    except JbackupdError as error:
        raise no_audit() from error
    sign_in = SignInPages(web)
    routes = [*sign_in.routes(), *OwnPages(web).routes(), *LookUpPages(web).routes()]
    routes += [*AccountPages(web).routes(), *RecordPages(web).routes()]
    if settings.provider is not None:
        routes += ProviderPages(web, settings.provider).routes()
    if settings.book is not None:
        pages = IntakePages(web, settings.book)
        routes += [*pages.routes(), *IntakeForms(web, settings.book, pages).routes()]
    handlers = dict.fromkeys((JbackupdError, HTTPException, Exception), sign_in.on_error)
    return Starlette(routes=routes, exception_handlers=handlers)
