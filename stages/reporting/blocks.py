"""The parts of a page that programs write: what stands between two markers."""

import re
from pathlib import Path

from stages.config.errors import UserError
from stages.files.atomic import replacing


def replace_block(page: str, name: str, content: str) -> str:
    """Put `content` between `<!-- name -->` and `<!-- /name -->` of `page`.

    Raises:
        UserError: the page has no such markers.
    """
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.S)
    if not pattern.search(page):
        raise UserError(f"has no markers '<!-- {name} -->' and '<!-- /{name} -->', between which "
                        "a block goes")
    return pattern.sub(lambda found: found[1] + "\n" + content + "\n" + found[2], page)


def write_block(path: Path, name: str, content: str) -> None:
    """Put `content` between the markers called `name` of the page at `path`, in place.

    Raises:
        UserError: the page has no such markers; it stays as it was.
    """
    try:
        page = replace_block(path.read_text(encoding="utf-8"), name, content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")
