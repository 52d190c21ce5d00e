"""What `service install` writes and runs, from what is asked and what the host has."""

from __future__ import annotations

from pathlib import PurePosixPath as Path

import pytest

from reconciler.cli.units import (
    SYSUSERS,
    TMPFILES,
    UNIT_DIR,
    File,
    Plan,
    Present,
    Program,
    files_of,
    plan_install,
    program_settings,
    settings_file,
    variables_of,
    with_variables,
)

SERVER, AGENT = "reconciler-server.service", "reconciler-agent.service"
PROGRAM = Program(Path("/opt/reconciler/bin/python"), "", (Path("/opt/reconciler"),), "1.0")
SOURCES = {
    SERVER: "[Service]\n@PROGRAM_SETTINGS@\nExecStart=@PROGRAM@ server\n",
    AGENT: "[Service]\n@PROGRAM_SETTINGS@\nExecStart=@PROGRAM@ agent\n",
    "sysusers.conf": "u reconciler\n",
    "tmpfiles.conf": "d /etc/reconciler\n",
}
NOTHING = Present({}, frozenset(), frozenset())
BOTH = ("server", "agent")


def files(settings=None, *, roles=BOTH, present=NOTHING, program=PROGRAM) -> tuple[File, ...]:
    return files_of(roles, program, settings=settings or {}, sources=SOURCES, present=present)


def installed(written: tuple[File, ...], *, active=(SERVER, AGENT)) -> Present:
    return Present({file.path: file.content for file in written}, frozenset((SERVER, AGENT)), frozenset(active))


def test_a_first_installation_makes_the_user_before_the_services_and_starts_the_server_first():
    commands = plan_install(files(), NOTHING).commands
    assert commands == (
        ("systemd-sysusers", str(SYSUSERS)),
        ("systemd-tmpfiles", "--create", str(TMPFILES)),
        ("systemctl", "daemon-reload"),
        ("systemctl", "enable", SERVER, AGENT),
        ("systemctl", "start", SERVER),
        ("systemctl", "start", AGENT),
    )


def test_installing_again_does_nothing():
    settings = {"server": {"RECONCILER_SOURCE": "https://git.test/a b"}}
    present = installed(files(settings))
    assert plan_install(files(settings, present=present), present) == Plan((), ())
    assert plan_install(files(present=present), present) == Plan((), ())


def test_only_the_service_whose_settings_changed_is_restarted():
    present = installed(files({"server": {"RECONCILER_REF": "main"}}))
    plan = plan_install(files({"server": {"RECONCILER_REF": "v2"}}, present=present), present)
    assert [file.path for file in plan.writes] == [settings_file("server")]
    assert plan.commands == (("systemctl", "restart", SERVER),)


def test_another_version_restarts_both():
    present = installed(files())
    newer = Program(PROGRAM.python, "", PROGRAM.directories, "1.1")
    assert plan_install(files(program=newer, present=present), present).commands == (
        ("systemctl", "daemon-reload"),
        ("systemctl", "restart", SERVER),
        ("systemctl", "restart", AGENT),
    )


def test_a_service_that_was_stopped_is_started():
    present = installed(files(), active=(AGENT,))
    assert plan_install(files(present=present), present).commands == (("systemctl", "start", SERVER),)


def test_a_host_with_an_agent_alone_gets_no_user():
    assert [file.path for file in files(roles=("agent",))] == [UNIT_DIR / AGENT]


def test_settings_written_by_hand_stay():
    text = "# ours\nOTHER=1\nRECONCILER_REF=main\n"
    assert with_variables(text, {"RECONCILER_REF": "v2"}) == "# ours\nOTHER=1\nRECONCILER_REF=v2\n"
    assert with_variables(text, {}) == text


@pytest.mark.parametrize("value", ["plain", "", "two words", 'a "quote"', "back\\slash", "$HOME `id`", "ümlaut", "'"])
def test_a_value_is_read_as_it_was_written(value):
    assert variables_of(with_variables("", {"NAME": value})) == {"NAME": value}


def test_a_source_in_a_home_directory_is_readable_by_the_server_alone():
    written = {file.path.name: file.content for file in files({"server": {"RECONCILER_SOURCE": "/root/deploy"}})}
    assert "BindReadOnlyPaths=/root/deploy\n" in written[SERVER]
    assert "BindReadOnlyPaths" not in written[AGENT]


def test_of_nested_directories_the_outer_one_is_enough():
    paths = [Path("/root/code/.venv"), Path("/root/code"), Path("/usr/lib"), Path("/homestead")]
    assert program_settings(PROGRAM, paths)[1:] == ["BindReadOnlyPaths=/root/code"]


def test_a_checkout_is_named_to_its_interpreter_whatever_its_path():
    program = Program(Path("/srv/my $code/python"), "/srv/my 100% code", (), "(checkout)")
    unit = next(file.content for file in files(program=program) if file.path.name == AGENT)
    assert 'Environment="PYTHONPATH=/srv/my 100%% code"\n' in unit
    assert 'ExecStart="/srv/my $$code/python" -P -m reconciler.cli.main agent\n' in unit
