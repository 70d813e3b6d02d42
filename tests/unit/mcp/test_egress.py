"""Where mcp.http may connect to."""

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haas_common.errors import EgressDenied, ToolArgumentsInvalid
from haas_mcp.policy.egress import check_address, is_public, target

HOSTS = ["api.example.com", "api.example.com:8443", "93.184.216.34", "127.0.0.1:18080", "localhost:18080", "2130706433"]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.8", "192.0.0.1", "192.0.0.170", "192.0.2.1",
        "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
        "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:53aa:64c::1",
        "2001:db8::1",
        "2002:7f00:1::", "2002:a9fe:a9fe::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0",
        "fec0::1", "ff02::1",
        "3fff::1", "5f00::1", "4000::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    wanted = target("https://api.example.com/", HOSTS, "prod")
    with pytest.raises(EgressDenied) as denied:
        check_address(address, wanted)
    assert denied.value.metadata == {"host": "api.example.com"}
    assert address not in denied.value.message


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::200e"])
def test_a_public_address_is_allowed(address: str) -> None:
    check_address(address, target("https://api.example.com/", HOSTS, "prod"))
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://api.example.com", "api.example.com", 443, "/"),
        ("http://API.example.com/a?b=c", "api.example.com", 80, "/a?b=c"),
        ("https://api.example.com:8443/x", "api.example.com", 8443, "/x"),
        ("https://api.example.com?q=1", "api.example.com", 443, "/?q=1"),
        ("http://93.184.216.34/", "93.184.216.34", 80, "/"),
    ],
)
def test_a_listed_host_is_reached(url: str, host: str, port: int, path: str) -> None:
    wanted = target(url, HOSTS, "prod")
    assert (wanted.host, wanted.port, wanted.path, wanted.loopback) == (host, port, path, False)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/", "https://api.example.com.evil.com/", "https://api.example.com.:443/",
        "https://xapi.example.com/", "https://api.example.com:444/", "http://api.example.com:443/", "http://2130706433/",
        "http://0x7f.1/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://127.0.0.1/",
        "http://127.0.0.1:18081/", "http://localhost/", "http://93.184.216.034/", "http://1/",
    ],
)  # fmt: skip
def test_a_host_outside_the_list_or_a_number_in_disguise_is_denied(url: str) -> None:
    with pytest.raises(EgressDenied):
        target(url, HOSTS, "prod")


@pytest.mark.parametrize(
    "url",
    [
        "", "api.example.com", "//api.example.com/", "ftp://api.example.com/", "file:///etc/passwd", "gopher://api.example.com/",
        "https://user@api.example.com/", "https://user:pw@api.example.com/", "https://api.example.com@evil.com/",
        "https://api.example.com\\@evil.com/", "https://api.example.com#@evil.com/", "https://api.example.com/#x",
        "https://[::1]/", "https://api.example.com/\r\nHost: x", "https://api.example.com/ x", "https://api.exámple.com/",
        "https://api.example.com:99999/", "https://api.example.com/" + "a" * 2100, "https://api.example.com/\0",
        "HTTPS://api.example.com/", "https:///api.example.com", "https://１２７.0.0.1/",
    ],
)  # fmt: skip
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises((ToolArgumentsInvalid, EgressDenied)):
        target(url, HOSTS, "dev")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_loopback_port_is_reached_in_development_only_and_only_where_listed(host: str) -> None:
    wanted = target(f"http://{host}:18080/", HOSTS, "dev")
    check_address("127.0.0.1", wanted)
    with pytest.raises(EgressDenied):
        check_address("10.0.0.1", wanted)
    with pytest.raises(EgressDenied):
        check_address("127.0.0.1", target(f"http://{host}:18080/", HOSTS, "prod"))


def test_a_listed_name_that_resolves_to_loopback_is_denied_even_in_development() -> None:
    with pytest.raises(EgressDenied):
        check_address("127.0.0.1", target("https://api.example.com:8443/", HOSTS, "dev"))


@given(st.text(max_size=80))
def test_any_text_is_a_listed_target_or_is_refused(url: str) -> None:
    with contextlib.suppress(ToolArgumentsInvalid, EgressDenied):
        wanted = target(url, HOSTS, "prod")
        assert wanted.host in HOSTS or f"{wanted.host}:{wanted.port}" in HOSTS
