"""What the doctor makes of what it sees: mounts, syncs, clock, certificates, rates."""

import ssl
from pathlib import Path

import pytest

from edge.doctor import certificates, clock, disk, run
from edge.doctor.clock import Kernel
from edge.doctor.disk import Mount
from edge.doctor.findings import Grade, exit_code, failed, ok, skipped, unreachable, warning
from edge.doctor.reach import Address

MOUNTINFO = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 22 8:2 / /var rw,relatime shared:2 - xfs /dev/sda2 rw
31 30 0:40 / /var/lib\\040x rw - tmpfs tmpfs rw,size=1k
broken line
32 22 0:41 / /run rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("directory", "point", "kind"),
    [
        ("/", "/", "ext4"),
        ("/var/lib/fleetfold-edge/spool", "/var", "xfs"),
        ("/variant", "/", "ext4"),
        ("/var/lib x/spool", "/var/lib x", "tmpfs"),
        ("/run", "/run", "tmpfs"),
    ],
)
def test_a_directory_lies_on_the_longest_mount_above_it(directory, point, kind):
    mount = disk.mount_of(Path(directory), MOUNTINFO)
    assert mount is not None
    assert (mount.point, mount.kind) == (point, kind)


@pytest.mark.parametrize(
    ("kind", "options", "grade"),
    [
        ("ext4", {"rw"}, Grade.OK),
        ("f2fs", {"rw"}, Grade.OK),
        ("tmpfs", {"rw"}, Grade.FAILED),
        ("ext4", {"ro"}, Grade.FAILED),
        ("ext4", {"rw", "barrier=0"}, Grade.FAILED),
        ("xfs", {"rw", "nobarrier"}, Grade.FAILED),
        ("overlay", {"rw"}, Grade.WARNING),
        ("nfs4", {"rw"}, Grade.WARNING),
        ("vfat", {"rw"}, Grade.WARNING),
    ],
)
def test_a_file_system_is_judged_by_what_a_power_cut_leaves(kind, options, grade):
    found = disk.judge_mount(Mount("/data", kind, frozenset(options), "8:1"), "")
    assert found.grade is grade
    assert bool(found.advice) == (grade is not Grade.OK)


@pytest.mark.parametrize(
    ("times_ms", "grade"),
    [([1.0] * 9, Grade.OK), ([0.004] * 9, Grade.WARNING), ([1.0] * 8 + [900.0], Grade.WARNING)],
)
def test_syncs_are_neither_too_slow_nor_too_fast_to_be_true(times_ms, grade):
    assert disk.judge_syncs(times_ms).grade is grade


def test_the_probe_writes_and_leaves_nothing_behind(tmp_path):
    spool = tmp_path / "not" / "there" / "yet"
    grades = {finding.check: finding.grade for finding in disk.check(spool, 1_000)}
    assert grades.keys() == {"disk file system", "disk sync", "disk space"}
    assert grades["disk space"] is Grade.OK
    assert list(tmp_path.iterdir()) == []


def test_a_spool_larger_than_the_disk_is_a_warning(tmp_path):
    found = {finding.check: finding for finding in disk.check(tmp_path, 10**18)}
    assert found["disk space"].grade is Grade.WARNING


def test_days_of_outage_are_the_limit_by_the_rate():
    assert disk.outage(1_000_000_000, 1_000, "as given").detail.startswith("11.6 days at 1,000 bytes/s")
    assert disk.outage(1_000_000, 1_000, "as given").grade is Grade.WARNING
    assert disk.outage(1_000_000, None, "").grade is Grade.SKIPPED


NOW_S = 1_800_000_000.0
WELL = Kernel(True, 0.01)


@pytest.mark.parametrize(
    ("now_s", "state", "newest_s", "grade"),
    [
        (NOW_S, WELL, None, Grade.OK),
        (NOW_S, WELL, NOW_S - 10, Grade.OK),
        (1_000.0, WELL, None, Grade.FAILED),
        (NOW_S, WELL, NOW_S + 3_600, Grade.WARNING),
        (NOW_S, Kernel(False, 16.0), None, Grade.WARNING),
        (NOW_S, Kernel(True, 2.0), None, Grade.WARNING),
        (NOW_S, None, None, Grade.SKIPPED),
    ],
)
def test_a_clock_is_judged_by_itself_the_kernel_and_the_spool(now_s, state, newest_s, grade):
    assert clock.judge(now_s, state, newest_s).grade is grade


def test_the_kernel_tells_of_its_clock():
    state = clock.kernel()
    assert state is None or 0 <= state.error_s_max < 10_000


CERTIFICATE = {
    "subject": ((("commonName", "broker"),),),
    "notBefore": "Jan  1 00:00:00 2027 GMT",
    "notAfter": "Dec 31 00:00:00 2027 GMT",
}


@pytest.mark.parametrize(
    ("at", "grade"),
    [
        ("Jun  1 00:00:00 2027 GMT", Grade.OK),
        ("Dec 20 00:00:00 2027 GMT", Grade.WARNING),
        ("Jan  1 00:00:00 2028 GMT", Grade.FAILED),
        ("Jan  1 00:00:00 1970 GMT", Grade.FAILED),
    ],
)
def test_a_certificate_is_judged_by_its_dates(at, grade):
    found = certificates.judge("mqtt server certificate", CERTIFICATE, ssl.cert_time_to_seconds(at))
    assert found.grade is grade
    assert found.detail.startswith("broker, until")


def test_the_exit_code_is_that_of_the_worst():
    well, warned = ok("a", ""), warning("b", "", "do")
    away, bad = unreachable("c", "", "do"), failed("d", "", "do")
    assert exit_code([well, skipped("e", "")], strict=True) == 0
    assert (exit_code([well, warned], strict=False), exit_code([well, warned], strict=True)) == (0, 1)
    assert exit_code([well, warned, away], strict=False) == 3
    assert exit_code([away, bad], strict=False) == 1


def test_bootstrap_servers_are_hosts_with_ports():
    assert run.bootstrap("a:1, b,[::1]:9093,[::1]") == [
        Address("a", 1),
        Address("b", 9092),
        Address("::1", 9093),
        Address("::1", 9092),
    ]


def test_the_rate_is_what_an_agent_has_spooled_since_it_started():
    page = "fleetfold_edge_spool_written_bytes_total 6e+06\nfleetfold_edge_uptime_seconds 600.0\n"
    assert run.measured(page) == 10_000
    assert run.measured(page.replace("600.0", "5.0")) is None, "too short to say"
    assert run.measured("") is None
