"""A profile as a picture: one HTML file that needs nothing else, or an SVG for a page. Pure."""

from __future__ import annotations

import html
import json

from debugrun.core import package_data
from debugrun.core.know.printable import printable
from debugrun.core.oncall.profile import Node, Profile, as_data, kind, tree

WIDTH, ROW, LEAST = 1200, 17, 0.4  # pixels: of the picture, of a row, of the narrowest frame that is drawn
FONT = 6.6  # pixels of a character, about
COLOURS = {
    "target": "#e8734a", "libc": "#d9b23c", "kernel": "#6a8fd8", "interpreter": "#58a878", "generated": "#9a76c9",
    "thread": "#9aa0a6", "unknown": "#b8b8b8",
}  # fmt: skip


def page(profile: Profile, title: str, *, before: Profile | None = None) -> str:
    """The interactive picture. Names of the target come into it as JSON text only, and are shown as text."""
    told = {
        "title": printable(title),
        "compared": before is not None,
        "unresolved": profile.unresolved,
        "colours": COLOURS,
        "root": as_data(tree(profile, before)),
    }
    data = json.dumps(told)
    for character in "<>&\u2028\u2029":  # so that nothing in it ends the element that holds it
        data = data.replace(character, f"\\u{ord(character):04x}")
    text = package_data.text("oncall/flame.html")
    return text.replace("{{TITLE}}", html.escape(printable(title))).replace("{{DATA}}", data)


def svg(profile: Profile, title: str) -> str:
    """A still picture, the outermost functions below; each frame has its count as a tooltip."""
    root = tree(profile)
    shapes: list[str] = []
    depth = 0
    waiting: list[tuple[Node, float, int]] = [(root, 0.0, 0)]
    while waiting:
        node, left, level = waiting.pop()
        depth = max(depth, level)
        shapes.append(_shape(node, left, level, root.count))
        for child in sorted(node.children.values(), key=lambda one: one.frame.function):
            wide = child.count * WIDTH / max(1, root.count)
            if wide >= LEAST:
                waiting.append((child, left, level + 1))
            left += wide
    height = (depth + 3) * ROW
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="ui-monospace, monospace" font-size="11">'
        f'<rect width="100%" height="100%" fill="#fff"/><text x="4" y="13">{html.escape(_clean(title))}</text>'
        f'<g transform="translate(0 {height - ROW}) scale(1 1)">'
    )
    return f"{head}{''.join(shapes)}</g></svg>\n"


def _shape(node: Node, left: float, level: int, total: int) -> str:
    wide = node.count * WIDTH / max(1, total)
    top = -level * ROW
    colour = COLOURS["thread" if level == 1 else "unknown" if level == 0 else kind(node.frame.module)]
    name = _clean(node.frame.function)
    said = f"{name} ({_clean(node.frame.module)}): {node.count} samples, {100 * node.count / max(1, total):.1f} %"
    letters = int((wide - 4) / FONT)
    label = name if len(name) <= letters else f"{name[: letters - 1]}\u2026" if letters > 3 else ""  # noqa: PLR2004
    text = f'<text x="{left + 2:.1f}" y="{top + 12}">{html.escape(label)}</text>' if label else ""
    return (
        f'<g><title>{html.escape(said)}</title><rect x="{left:.2f}" y="{top}" width="{max(0.3, wide - 0.5):.2f}" '
        f'height="{ROW - 1}" rx="1" fill="{colour}"/>{text}</g>'
    )


def _clean(text: str) -> str:
    """Also without what XML has no way to write."""
    return "".join(each for each in printable(text) if each >= " " and each not in "\ufffe\uffff")
