"""A namespace of a test module's own, and what a person does in it."""

from __future__ import annotations

import itertools
import json
import secrets
from dataclasses import dataclass
from typing import Any

from loop.following import Following, Object
from viridian_demo.commands import CommandFailed, Tools

_nonces = itertools.count(1)


@dataclass(frozen=True)
class Space:
    """A namespace under the restricted pod security standard."""

    tools: Tools
    name: str

    @classmethod
    def create(cls, tools: Tools, purpose: str) -> Space:
        """A namespace that no earlier run has used, so that streams and models named after it are new, too."""
        name = f"{purpose}-{secrets.token_hex(2)}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": name, "labels": labels}
        space = cls(tools, name)
        space.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, namespaced=False)
        return space

    def delete(self) -> None:
        """Delete it with all that is in it."""
        self.tools.kubectl("delete", "namespace", self.name, "--wait=false", "--ignore-not-found")

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl in the namespace."""
        return self.tools.kubectl(*arguments, "-n", self.name, stdin=stdin)

    def apply(self, *manifests: Object, namespaced: bool = True) -> None:
        """Apply manifests, as a commit would."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
        where = ("-n", self.name) if namespaced else ()
        self.tools.kubectl("apply", "-f", "-", *where, stdin=text)

    def get(self, kind: str, name: str) -> Object:
        """One object."""
        return self.tools.get(kind, name, self.name)

    def exists(self, kind: str, name: str) -> bool:
        """Whether there is such an object."""
        return bool(self.kubectl("get", kind, name, "--ignore-not-found", "-o", "name"))

    def list(self, kind: str, selector: str = "") -> list[Object]:
        """All objects of a kind."""
        chosen = ("-l", selector) if selector else ()
        found: list[Object] = json.loads(self.kubectl("get", kind, *chosen, "-o", "json"))["items"]
        return found

    def status(self, name: str) -> dict[str, Any]:
        """Status of a ModelUpdate."""
        found: dict[str, Any] = self.get("modelupdate", name).get("status") or {}
        return found

    def follow(self, name: str) -> Following:
        """All states of a ModelUpdate from now on."""
        # As a list: of a single object kubectl drops the first event, and with it what changed since its get.
        return Following(self.tools, "modelupdate", f"--field-selector=metadata.name={name}", "-n", self.name)

    def request(self, name: str, verb: str) -> str:
        """Ask for something with a new nonce; returns the text that will be acknowledged."""
        text = f"{verb}/{next(_nonces)}-{secrets.token_hex(2)}"
        self.kubectl("annotate", "modelupdate", name, "--overwrite", f"viridian.dev/request={text}")
        return text

    def wait_for(self, what: str, condition: str, seconds: float, selector: str = "") -> None:
        """``kubectl wait``."""
        chosen = ("-l", selector) if selector else ()
        try:
            self.kubectl("wait", what, *chosen, f"--for={condition}", f"--timeout={seconds:.0f}s")
        except CommandFailed as problem:
            raise AssertionError(f"{what} {condition}: not within {seconds:.0f} s: {problem}") from None
