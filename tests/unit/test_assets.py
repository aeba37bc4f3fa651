"""Which form of the page a browser gets, and which scripts may run in it."""

import base64
import hashlib
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from ttybridge.web.assets import FIRST, INDEX, LOGIN, REPLAY, Page, PageNotBuilt, load_page

SCRIPT = "app-1A.js"
NAMES = (INDEX, FIRST, LOGIN, REPLAY, SCRIPT)


def write_page(folder: Path) -> None:
    meta = f'<meta name="ttybridge-script" content="./{SCRIPT}" />'
    (folder / INDEX).write_text(f'{meta}<script>start()</script><script src="{SCRIPT}"></script>')
    (folder / FIRST).write_text(
        f'{meta}<script>start()</script><script type="module">app()</script>'
    )
    for name in (LOGIN, REPLAY, SCRIPT):
        (folder / name).write_text(name)
    files = ", ".join(f'{{"name": "{name}"}}' for name in NAMES)
    (folder / "manifest.json").write_text(f'{{"files": [{files}]}}')


@pytest.fixture
def page(tmp_path: Path) -> Page:
    write_page(tmp_path)
    return load_page(tmp_path)


@pytest.mark.parametrize(
    ("cookie", "name"),
    [("", FIRST), (f"ttybridge-page=./{SCRIPT}", INDEX), (f"ttybridge-page={SCRIPT}", INDEX),
     ("ttybridge-page=./app-0B.js", FIRST), ("ttybridge-page=", FIRST)],
)  # fmt: skip
async def test_a_browser_without_a_copy_of_the_script_gets_it_inside(
    page: Page, cookie: str, name: str
) -> None:
    request = make_mocked_request("GET", "/", headers={"Cookie": cookie} if cookie else {})
    response = await page.serve(request)
    assert response.body == page.files[name].forms["identity"]
    assert "Cache-Control" not in response.headers


def test_the_scripts_in_the_page_are_told_by_their_hashes(page: Page) -> None:
    digests = (hashlib.sha256(text).digest() for text in (b"start()", b"app()"))
    expected = {f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests}
    assert set(page.scripts_inside) == expected


def test_only_files_with_a_hash_in_their_name_are_public(page: Page) -> None:
    assert page.public == {SCRIPT}


@pytest.mark.parametrize("name", [INDEX, FIRST, LOGIN, REPLAY])
def test_a_page_that_is_not_whole_is_refused(tmp_path: Path, name: str) -> None:
    write_page(tmp_path)
    text = (tmp_path / "manifest.json").read_text().replace(f'{{"name": "{name}"}}, ', "")
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(PageNotBuilt):
        load_page(tmp_path)
