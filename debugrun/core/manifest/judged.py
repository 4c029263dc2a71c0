"""A whole file reviewed: every container, the text with the narrowest grants, and the profiles that it names. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from debugrun.core.export import FORMATS, Privileges
from debugrun.core.know.facts import Facts
from debugrun.core.manifest.edit import WORDS, rewritten
from debugrun.core.manifest.holding import Holding
from debugrun.core.manifest.read import holdings
from debugrun.core.manifest.review import PROFILE, Asked, Finding, Review, review
from debugrun.core.manifest.unread import Unread, unread
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One file. `after` is its text with the narrowest grants, None where no edit of ours says them.

    `profiles` are the files that `after` names, by name: JSON texts. `unread` is what can't be told from the file.
    """

    where: str
    text: str
    reviews: tuple[tuple[Holding, Review], ...]
    after: str | None
    profiles: tuple[tuple[str, str], ...] = ()
    unread: tuple[Unread, ...] = ()

    @property
    def wider(self) -> list[tuple[Holding, Finding]]:
        """What is granted and not needed, in the order in which it stands."""
        return [(held, each) for held, found in self.reviews for each in found.wider]

    @property
    def diff(self) -> str:
        """The change as a unified diff; "" where there is none."""
        if self.after is None:
            return ""
        name = self.where.lstrip("/")
        lines = difflib.unified_diff(_lines(self.text), _lines(self.after), f"a/{name}", f"b/{name}")
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def judged(text: str, where: str, asked: Sequence[Asked], host: Facts, *, form: str = "") -> Judged:
    """The review of a manifest for the tools that are asked about. Raises UsageError with file, line and column."""
    found = holdings(text, where, form)
    reviews, profiles, wanted = [], dict[str, str](), list[Privileges | None]()
    for held in found:
        verdict = _with_profile_of_its_own(_reviewed(held, asked, host), profiles)
        reviews.append((held, verdict))
        wanted.append(verdict.narrowest if verdict.wider and held.format in WORDS else None)
    after = rewritten(text, where, wanted, form) if any(wanted) else text
    if any(verdict.wider and held.format not in WORDS for held, verdict in reviews):
        after = None
    used = tuple((name, made) for made, name in profiles.items())
    left = tuple(unread(text, where, form))
    return Judged(where=where, text=text, reviews=tuple(reviews), after=after, profiles=used, unread=left)


def _reviewed(held: Holding, asked: Sequence[Asked], host: Facts) -> Review:
    """The review, and nothing changed where the format has no words for what the tools need instead."""
    verdict = review(held.parts, held.privileges, asked, host)
    said = FORMATS[held.format].missing(verdict.narrowest) if held.format in FORMATS else ()
    if not said:
        return verdict
    kept = tuple(replace(each, needed=True, why=f"{each.why}, but {'; '.join(said)}") for each in verdict.findings)
    return Review(findings=kept, narrowest=held.privileges)


def _with_profile_of_its_own(verdict: Review, profiles: dict[str, str]) -> Review:
    """The review with a name for its profile: one for all containers that take the same."""
    if verdict.profile is None:
        return verdict
    stem = PROFILE.removesuffix(".json")
    name = profiles.setdefault(verdict.profile, f"{stem}-{len(profiles) + 1}.json" if profiles else PROFILE)
    return replace(verdict, narrowest=replace(verdict.narrowest, seccomp=name))
