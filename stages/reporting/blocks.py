"""The parts of a page that programs write: what stands between two markers."""

import re
from pathlib import Path

from stages.config.errors import UserError
from stages.files.atomic import replacing


def write_block(path: Path, name: str, content: str) -> None:
    """Put `content` between `<!-- name -->` and `<!-- /name -->` of the page at `path`, in place.

    Raises:
        UserError: the page has no such markers; it stays as it was.
    """
    page = path.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.S)
    if not pattern.search(page):
        raise UserError(f"{path}: has no markers '<!-- {name} -->' and '<!-- /{name} -->', between "
                        "which a block goes")
    with replacing(path) as partial:
        partial.write_text(pattern.sub(lambda found: f"{found[1]}\n{content}\n{found[2]}", page),
                           encoding="utf-8")
