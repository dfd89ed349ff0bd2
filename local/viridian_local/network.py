"""The cluster's own bridge, kernel settings and packet filter rules, and their removal."""

import contextlib
import json
from pathlib import Path

from viridian_local import addresses as at
from viridian_local.commands import run
from viridian_local.errors import Problem

# Pods reach Services only if bridged packets pass the packet filter and the host forwards them. The kubelet sets the
# rest by itself; all are listed so that `down` can put back what was there before.
_SETTINGS = {"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"}
_TOUCHED = (*_SETTINGS, "vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
_SYS = Path("/proc/sys")
_MARK = "viridian-local"


def create_bridge() -> None:
    """Make the bridge of pods with the host's address on it, unless it is there."""
    if not Path("/sys/class/net", at.BRIDGE).exists():
        _refuse_taken_range()
        run(["ip", "link", "add", at.BRIDGE, "address", at.BRIDGE_MAC, "type", "bridge"])
    run(["ip", "address", "replace", f"{at.HOST}/{at.POD_CIDR.split('/')[1]}", "dev", at.BRIDGE])
    run(["ip", "link", "set", at.BRIDGE, "up"])


def _refuse_taken_range() -> None:
    for cidr in (at.POD_CIDR, at.SERVICE_CIDR):
        for route in json.loads(run(["ip", "-json", "route", "show", "root", cidr]).stdout or "[]"):
            raise Problem(
                f"The address range {cidr} is in use on this machine by the interface {route.get('dev', '?')}.",
                "Stop what made it, most likely another Kubernetes or a VPN.",
            )


def settings() -> dict[str, str]:
    """The kernel settings that a running cluster changes, as they are now."""
    return {name: (_SYS / name).read_text().strip() for name in _TOUCHED if (_SYS / name).exists()}


def apply_settings() -> None:
    """Let the kernel forward between pods and Services."""
    if not (_SYS / "net/bridge").exists():
        run(["modprobe", "br_netfilter"], check=False)
    for name, value in _SETTINGS.items():
        if not (_SYS / name).exists():
            raise Problem(f"The kernel has no setting {name}.", "Load the module br_netfilter.")
        if (_SYS / name).read_text().strip() != value:
            (_SYS / name).write_text(value)


def restore_settings(before: dict[str, str]) -> None:
    """Put back the kernel settings that were found before the start."""
    for name, value in before.items():
        if name in _TOUCHED:
            with contextlib.suppress(OSError):
                (_SYS / name).write_text(value)


def allow_forwarding() -> None:
    """Let pods talk even where the FORWARD chain drops by default, as Docker sets it."""
    for direction in ("-i", "-o"):
        _put_first("FORWARD", direction, at.BRIDGE, target="ACCEPT")


def refuse_unserved() -> None:
    """Refuse connections to addresses of Services behind which there is nothing.

    kube-proxy says so itself, but a moment after it took the last endpoint away: it writes one table of the packet
    filter after the other. In between a connection would leave this machine, and whoever answers there would keep it.
    Comes after ``allow_forwarding``, whose rules would let such packets through if they stood before.
    """
    for chain in ("OUTPUT", "FORWARD"):
        _put_first(chain, "-d", at.SERVICE_CIDR, target="REJECT")


def _put_first(chain: str, *match: str, target: str) -> None:
    """Put a rule before all others of its chain, unless the chain has it."""
    rule = [chain, *match, "-m", "comment", "--comment", _MARK, "-j", target]
    if run(["iptables", "-w", "-C", *rule], check=False).returncode != 0:
        run(["iptables", "-w", "-I", *rule])


def remove_bridge() -> None:
    """Remove the bridge and the host ends of the pods' cables."""
    ports = Path("/sys/class/net", at.BRIDGE, "brif")
    names = [port.name for port in ports.iterdir()] if ports.exists() else []
    for name in names:
        run(["ip", "link", "delete", name], check=False)
    if ports.parent.exists():
        run(["ip", "link", "delete", at.BRIDGE], check=False)


def remove_rules() -> None:
    """Remove the chains of kube-proxy and of port mappings, and our own rules; leave all others."""
    for family in ("iptables", "ip6tables"):
        saved = run([f"{family}-save"], check=False).stdout
        kept = without_our_rules(saved)
        if kept != saved:
            run([f"{family}-restore", "-w"], stdin=kept, check=False)


def without_our_rules(saved: str) -> str:
    """The output of ``iptables-save`` without every line that the cluster caused."""
    ours = ("KUBE-", "CNI-", _MARK)
    return "".join(line for line in saved.splitlines(keepends=True) if not any(word in line for word in ours))
