"""Everything that debugrun creates on an engine: one list of kinds, and the proof that a thing is one of them. Pure.

A label or a name proves nothing: images bring labels, and anybody gives names. What is ours carries a keyed digest
(RFC 2104) over its kind, its name and the labels that count, made with a secret of this machine's journal; and it must
look as things of its kind do. To add a kind, write it into KINDS, and create the thing with `ownership.marked`.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import field

from debugrun.values import dataclass

LABEL_KIND = "debugrun.kind"
LABEL_PROOF = "debugrun.proof"
LABEL_SESSION = "debugrun.session"  # tells this thing from all others, in hexadecimal
LABEL_CREATED = "debugrun.created"  # seconds of the epoch, by the client's clock
LABEL_MAKER = "debugrun.maker"  # the process that made it: `ownership.maker`
LABEL_TARGET = "debugrun.target"  # the id of the container that a sidecar looks at
LABEL_TOOL = "debugrun.tool"
LABEL_RECORD = "debugrun.recreated"  # on a stand-in: what it takes to go back, as JSON (`transaction.Record`)
LABEL_LAYER = "debugrun.layer"  # on an image that holds an original's writable layer: the original's id
LABEL_KEPT = "debugrun.kept"  # on an image that holds what a stand-in wrote to its own layer: the stand-in's id
LABEL_VOLUME = "debugrun.volume"  # on the toolbox's volume, and on what fills it: the id of the toolbox image
COMMON = (LABEL_KIND, LABEL_SESSION, LABEL_CREATED, LABEL_MAKER)

_ID = r"[0-9a-f]{64}"
_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"  # moby daemon/names/names.go
_HIDDEN_IN = {"AutoRemove": "True|False", "ReadonlyRootfs": "True", "PidMode": f"(container:{_ID})?"}


class Thing(enum.Enum):
    """What kinds are of, in the engine's own terms."""

    CONTAINER = "container"
    IMAGE = "image"
    VOLUME = "volume"


class End(enum.Enum):
    """What `debugrun gc` does with a thing whose maker is gone."""

    LEASE = "a running one is told to stop, when a person says so: it may hold a process"
    FORCE = "removed, running or not: it holds nothing of anybody's"
    STARTED = "removed unless it was ever started: then it shall stay"
    RESTORE = "left to `debugrun restore`"
    UNUSED = "removed when nothing uses it"
    STAYS = "never removed: it holds what a person may want"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of thing. `named` is what its name may be; `host` what HostConfig must say, by key, as patterns.

    `facts` are the labels that it has beside COMMON: the proof covers them. A thing that is `renamed` by us is proven
    without its name.
    """

    name: str
    thing: Thing
    named: str
    end: End
    facts: tuple[str, ...] = ()
    host: Mapping[str, str] = field(default_factory=dict)
    renamed: bool = False


SIDECAR = Kind(
    name="sidecar", thing=Thing.CONTAINER, named=rf"debugrun-{_NAME}-[0-9a-f]{{10}}", end=End.LEASE,
    facts=(LABEL_TARGET, LABEL_TOOL), host=_HIDDEN_IN,
)  # fmt: skip
SCOUT = Kind(
    name="scout", thing=Thing.CONTAINER, named=r"debugrun-scout-[0-9a-f]{12}", end=End.FORCE,
    facts=(LABEL_TARGET,), host=_HIDDEN_IN,
)  # fmt: skip
LOOK = Kind(  # never started: shows what an image would start
    name="look", thing=Thing.CONTAINER, named=r"debugrun-look-[0-9a-f]{10}", end=End.FORCE,
    facts=(LABEL_TOOL,), host={"AutoRemove": "False"},
)  # fmt: skip
PROGRAM = Kind(  # `debugrun run`, with a name of the user's or of ours
    name="program", thing=Thing.CONTAINER, named=_NAME, end=End.LEASE, facts=(LABEL_TOOL,), host={"AutoRemove": "True"}
)
LASTING = Kind(  # `debugrun run --no-rm`
    name="lasting", thing=Thing.CONTAINER, named=_NAME, end=End.STARTED, facts=(LABEL_TOOL,),
    host={"AutoRemove": "False"},
)  # fmt: skip
SELFTEST = Kind(
    name="selftest", thing=Thing.CONTAINER, named=r"debugrun-selftest-[0-9a-f]{8}", end=End.FORCE,
    host={"AutoRemove": "True"},
)  # fmt: skip
COPIER = Kind(  # fills a volume
    name="copier", thing=Thing.CONTAINER, named=r"debugrun-toolbox-[0-9a-f]{12}-copy", end=End.FORCE,
    facts=(LABEL_VOLUME,), host={"AutoRemove": "False"},
)  # fmt: skip
TRIAL = Kind(  # somebody's `docker run` line with another grant: `debugrun minimize`
    name="trial", thing=Thing.CONTAINER, named=r"debugrun-minimize-[0-9a-f]{10}", end=End.FORCE, facts=(LABEL_TOOL,)
)
STAND_IN = Kind(
    name="stand-in", thing=Thing.CONTAINER, named=_NAME, end=End.RESTORE, facts=(LABEL_RECORD,), renamed=True
)
LAYER = Kind(name="layer", thing=Thing.IMAGE, named="", end=End.UNUSED, facts=(LABEL_LAYER,))
KEPT = Kind(name="kept", thing=Thing.IMAGE, named=r"debugrun-kept:.+", end=End.STAYS, facts=(LABEL_KEPT,))
VOLUME = Kind(
    name="volume", thing=Thing.VOLUME, named=r"debugrun-toolbox-[0-9a-f]{12}", end=End.UNUSED, facts=(LABEL_VOLUME,)
)

INHERITED = "its labels are those of its image"

KINDS: Mapping[str, Kind] = {
    each.name: each
    for each in (SIDECAR, SCOUT, LOOK, PROGRAM, LASTING, SELFTEST, COPIER, TRIAL, STAND_IN, LAYER, KEPT, VOLUME)
}


def is_helper(name: str, labels: Mapping[str, object]) -> bool:
    """Whether a container looks like one that we made for ourselves, and nobody's program: to leave it out of a list.

    No proof, but nothing is done to it: an image may bring the label, and not the name.
    """
    kind = KINDS.get(str(labels.get(LABEL_KIND, "")))
    helps = kind is not None and kind.thing is Thing.CONTAINER and kind.named != _NAME
    return kind is not None and helps and re.fullmatch(kind.named, name) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A thing as the engine has it. `id` is a volume's name; `names` has no leading slash and no digest.

    `inherited` are the labels of a container's image, or of the image that an image stands on.
    """

    id: str
    names: tuple[str, ...]
    labels: Mapping[str, str]
    host: Mapping[str, object] = field(default_factory=dict)
    inherited: Mapping[str, str] = field(default_factory=dict)


def proof(kind: Kind, name: str, labels: Mapping[str, str], secret: bytes) -> str:
    """The digest that goes into LABEL_PROOF, in hexadecimal; `name` counts where the kind keeps it."""
    fixed = "" if kind.renamed or kind.thing is Thing.IMAGE else name
    told = [fixed, *(labels.get(key, "") for key in (*COMMON, *kind.facts))]
    return hmac.new(secret, json.dumps(told).encode(), hashlib.sha256).hexdigest()


def doubt(found: Found, thing: Thing, secret: bytes) -> str:
    """Why it is not one of ours by proof, in a few words; "" when it is.

    `secret` is this machine's: a thing that was made on another machine, or by another user, can't be proven here.
    """
    kind = KINDS.get(found.labels.get(LABEL_KIND, ""))
    told = found.labels.get(LABEL_PROOF, "")
    if kind is None or kind.thing is not thing:
        return "its label names no kind of ours"
    if found.inherited.get(LABEL_PROOF) == told:
        return INHERITED
    if thing is not Thing.VOLUME and re.fullmatch(rf"(sha256:)?{_ID}", found.id) is None:
        return "its id is no id"
    if not all(re.fullmatch(kind.named, each) for each in found.names or ("",)):
        return f"its name is not that of a {kind.name}"
    name = found.names[0] if found.names else ""
    if not hmac.compare_digest(proof(kind, name, found.labels, secret).encode(), told.encode()):
        return "its proof is not of this machine's secret: another machine or user made it, or it is forged"
    wrong = [key for key, pattern in kind.host.items() if re.fullmatch(pattern, str(found.host.get(key))) is None]
    return f"its {', '.join(wrong)} is not that of a {kind.name}" if wrong else ""
