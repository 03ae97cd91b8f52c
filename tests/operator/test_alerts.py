"""The alert rules fire for what must wake somebody, name metrics that exist, and tell what to type next."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from jbackupd.cli.main import _root
from jbackupd.service.metrics import render
from jbackupd.service.status import Facts
from jbackupd.settings.load import load

RULES = Path("config/prometheus/alerts.yml")
TEXT = RULES.read_text()
ALERTS = re.findall(r"- alert: (\w+)\n +expr: '(.*)'\n +for: (\w+)\n", TEXT)
DATASET = 'dataset="imari/juki"'
SERIES = {
    # What makes each fire; beside it a value that must not.
    "JbackupdPointLate": (f"jbackupd_rpo_met{{{DATASET}}}", 0, 1),
    "JbackupdBackupFailed": (f"jbackupd_last_backup_failed{{{DATASET}}}", 1, 0),
    "JbackupdBackupIncomplete": (f"jbackupd_last_backup_unreadable_files{{{DATASET}}}", 2, 0),
    "JbackupdLinkDown": ('jbackupd_link_up{peer="kyoto"}', 0, 1),
    "JbackupdPeerRefuses": ('jbackupd_refused_datasets{peer="kyoto"}', 1, 0),
    "JbackupdVaultUnreadable": (f"jbackupd_vault_error{{{DATASET}}}", 1, 0),
    "JbackupdVaultDamaged": ('jbackupd_verify_unsound_objects{tenant="imari"}', 3, 0),
    "JbackupdVerifyFails": ('jbackupd_verify_error{tenant="imari"}', 1, 0),
    "JbackupdReclaimFails": ('jbackupd_reclaim_error{tenant="imari"}', 1, 0),
    "JbackupdRestoreImpossible": (f'jbackupd_sample_state{{{DATASET},state="failed"}}', 1, 0),
    "JbackupdRestoreUnproved": (f'jbackupd_sample_state{{{DATASET},state="unproved"}}', 1, 0),
    "JbackupdPlanNotReady": ('jbackupd_plan_ready{plan="counter"}', 0, 1),
    "JbackupdPlanUnproved": ('jbackupd_plan_proof{plan="counter",state="overdue"}', 1, 0),
    "JbackupdDrillCalled": ('jbackupd_plan_drill_called_time_seconds{plan="counter"}', -60, 9e18),
    "JbackupdDrillLeftovers": ("jbackupd_drill_leftovers", 1, 0),
    "JbackupdRecoveryAsks": ("jbackupd_recovery_asking", 1, 0),
    "JbackupdTwoSitesClaim": ("jbackupd_declarations_disputed", 1, 0),
    "JbackupdReceptionsHereAlone": ('jbackupd_intake_undeposited_bytes{tenant="imari",desk="counter"}', 100, 0),
    "JbackupdFeedLate": ('jbackupd_feed_late{feed="shien"}', 1, 0),
    "JbackupdPackageExpires": ('jbackupd_package_expires_time_seconds{package="office"}', 86400, 9e18),
    "JbackupdDiskNearlyFull": ("jbackupd_state_free_bytes", 5e9, 50e9),
    "JbackupdConfigurationRefused": ("jbackupd_config_error", 1, 0),
    "JbackupdDaemonGone": ('up{job="jbackupd",instance="kyoto"}', 0, 1),
}


def case(name: str, series: dict[str, object], *, fires: bool) -> dict[str, object]:
    """Return a test of promtool's: whether an alert stands after a week of unchanged values."""
    wanted = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
    return {
        "interval": "5m",
        "input_series": [{"series": known, "values": f"{value}x2016"} for known, value in series.items()],
        "promql_expr_test": [
            {"expr": wanted, "eval_time": "7d", "exp_samples": [{"labels": "{}", "value": int(fires)}]}
        ],
    }


def test_prometheus_takes_the_rules_and_each_tells_what_to_do_in_both_languages() -> None:
    subprocess.run(["promtool", "check", "rules", str(RULES)], check=True, capture_output=True)
    assert {name for name, _expr, _for in ALERTS} == {*SERIES, "JbackupdNothingScraped"}
    for key in ("summary", "summary_ja", "next"):
        assert len(re.findall(rf"^ +{key}: \"", TEXT, re.M)) == len(ALERTS)
    known = set(_root().list_commands(None))  # type: ignore[arg-type]
    for command in re.findall(r'next: "(.*)"', TEXT):
        if command.startswith("jbackupd "):
            assert command.split()[1] in known, command


def test_each_fires_for_what_it_is_for_and_for_nothing_else_and_silence_fires_too(tmp_path: Path) -> None:
    beside: dict[str, object] = {f"jbackupd_rpo_seconds{{{DATASET}}}": 93600, "jbackupd_start_time_seconds": 1}
    cases = [case("JbackupdNothingScraped", {"up": 1}, fires=True)]
    for name, (series, bad, good) in SERIES.items():
        cases += [case(name, {series: bad, **beside}, fires=True), case(name, {series: good, **beside}, fires=False)]
    path = tmp_path / "test.yml"
    document = {"rule_files": [str(RULES.resolve())], "evaluation_interval": "2h", "tests": cases}
    path.write_text(json.dumps(document))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_of_the_rules_is_on_the_daemons_page(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(f'version = 1\n[site]\nid = "saga"\nstate = "{tmp_path}"\n')
    facts = Facts(load(str(tmp_path / "site.toml")), datetime(2026, 11, 23, tzinfo=UTC), 1)
    page = render(facts, datetime(2026, 11, 23, tzinfo=UTC)).decode()
    there = set(re.findall(r"^# HELP (\w+)", page, re.M))
    named = {metric for _name, expr, _for in ALERTS for metric in re.findall(r"jbackupd_\w+", expr)}
    assert named <= there, named - there
