"""Headless Chromium without a network."""

import os
import shutil

import pytest

NAMES = ("google-chrome", "chromium", "chromium-browser")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, NAMES)), None)
    assert program, "no Chromium on this machine; on Debian: apt-get install chromium"
    options = ["--disable-gpu", "--disable-background-networking"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")
    with sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=program, args=options)
        yield launched
        launched.close()
