"""The Flask example in a real browser, with a real mail server."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from applications import running
from conftest import ROOT, sample
from mail import MailServer
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from celeriac import Client
from celeriac.testing import Host, RedisServer
from celeriac.testing.process import free_port

PICTURES = ROOT / "docs/images"


@pytest.fixture(scope="module")
def mail_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailServer]:
    server = MailServer(tmp_path_factory.mktemp("mail"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def broker(mail_server: MailServer) -> Iterator[str]:
    with RedisServer() as redis, Host(redis.url, "--config", str(mail_server.settings())) as host:
        with Client(host.url) as client:
            client.push(sample("basics"))
            client.push(sample("mail"))
        yield host.url


@pytest.fixture(scope="module")
def url(broker: str) -> Iterator[str]:
    with running("flask/app.py", broker=broker) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=900,760",
    ):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    yield browser
    browser.quit()


def until(browser: webdriver.Chrome, fact: Callable[[webdriver.Chrome], Any]) -> Any:
    return WebDriverWait(browser, 30, poll_frequency=0.02).until(fact)


def picture(browser: webdriver.Chrome, name: str) -> None:
    """Renews the pictures of the documentation when asked to."""
    if os.environ.get("UPDATE_DOCS"):
        PICTURES.mkdir(exist_ok=True)
        browser.save_screenshot(str(PICTURES / f"{name}.png"))


def newest(browser: webdriver.Chrome) -> WebElement:
    return browser.find_elements(By.CLASS_NAME, "task")[0]


def test_the_bar_moves_and_the_result_appears(browser: webdriver.Chrome, url: str) -> None:
    browser.get(url)
    browser.find_element(By.ID, "start").click()
    until(browser, lambda browser: browser.find_elements(By.CLASS_NAME, "task"))
    row = newest(browser)
    seen: list[float] = []
    deadline = time.monotonic() + 60
    while row.get_attribute("data-state") != "succeeded":
        assert time.monotonic() < deadline
        position = float(str(row.find_element(By.TAG_NAME, "progress").get_property("position") or 0))
        if not seen or position != seen[-1]:
            seen.append(position)
            if 0.5 <= position < 0.7:
                picture(browser, "flask-running")
        time.sleep(0.02)
    # It moved in many steps, forwards only.
    assert len(seen) > 5
    assert seen == sorted(seen)
    assert row.find_element(By.CLASS_NAME, "percent").text == "100 %"
    assert row.find_element(By.CLASS_NAME, "result").text == 'Result: {"steps":20,"cancelled":false}'
    picture(browser, "flask-done")


def test_an_error_is_shown(browser: webdriver.Chrome, url: str) -> None:
    browser.get(url)
    browser.find_element(By.ID, "start-bad").click()
    until(browser, lambda browser: browser.find_elements(By.CSS_SELECTOR, ".task.failed"))
    row = newest(browser)
    assert row.get_attribute("data-state") == "failed"
    assert "negative" in row.find_element(By.CLASS_NAME, "state").text
    picture(browser, "flask-failed")


def test_two_tasks_have_two_bars(browser: webdriver.Chrome, url: str) -> None:
    browser.get(url)
    for _ in range(2):
        browser.find_element(By.ID, "start").click()
    done = '.task[data-state="succeeded"]'
    until(browser, lambda browser: len(browser.find_elements(By.CSS_SELECTOR, done)) == 2)


def test_the_mail_form_sends_a_mail(browser: webdriver.Chrome, url: str, mail_server: MailServer) -> None:
    browser.get(url)
    browser.find_element(By.NAME, "email").send_keys("somebody@example.org")
    browser.find_element(By.CSS_SELECTOR, 'button[value="Send"]').click()
    note = until(browser, lambda browser: browser.find_element(By.CLASS_NAME, "note"))
    assert note.text == "Sending a mail to somebody@example.org"
    picture(browser, "flask-mail")
    until(browser, lambda _: mail_server.envelopes)
    [envelope] = mail_server.envelopes
    assert envelope.rcpt_tos == ["somebody@example.org"]
    assert b"Subject: Hello from Flask" in (envelope.content or b"")


def test_a_mail_in_one_minute_waits_at_the_broker(url: str, broker: str) -> None:
    before = _scheduled(broker)
    with httpx.Client(base_url=url) as http:
        page = http.post("/", data={"email": "later@example.org", "submit": "Later"}, follow_redirects=True)
        assert "will be sent in one minute" in page.text
    assert _scheduled(broker) == before + 1


def _scheduled(broker: str) -> int:
    import redis

    waiting = redis.Redis.from_url(broker).hget("cel:{0}:scheduled", "default")
    return int(waiting or 0)


def test_the_status_is_there_for_clients_that_ask(url: str) -> None:
    with httpx.Client(base_url=url) as http:
        started = http.post("/longtask", data={"seconds": "0.2"})
        assert started.status_code == 202
        place = started.headers["Location"]
        assert re.fullmatch(r"/status/[0-9a-f-]{36}", place)
        while (document := http.get(place).json())["state"] != "succeeded":
            assert document["state"] in ("queued", "running")
        assert document["result"] == {"steps": 20, "cancelled": False}


def test_what_nobody_knows_is_not_found_before_a_stream_begins(url: str) -> None:
    with httpx.Client(base_url=url) as http:
        for place in ("status", "events"):
            for unknown in ("01890a5d-ac96-774b-bcce-b302099a8057", "zzz"):
                answer = http.get(f"/{place}/{unknown}")
                assert (answer.status_code, answer.json()["state"]) == (404, "unknown")
                assert unknown in answer.json()["status"]


def test_seconds_that_are_no_number_are_refused_and_shown(browser: webdriver.Chrome, url: str) -> None:
    for wrong in ("x", "", "nan", "1e999"):
        answer = httpx.post(url + "/longtask", data={"seconds": wrong})
        assert answer.status_code == 400
        assert "seconds" in answer.json()["status"]
    browser.get(url)
    field = browser.find_element(By.ID, "seconds")
    field.clear()
    field.send_keys("x")
    browser.find_element(By.ID, "start").click()
    until(browser, lambda browser: browser.find_elements(By.CSS_SELECTOR, ".task.failed"))
    assert newest(browser).find_element(By.CLASS_NAME, "state").text == "seconds is not a number"


def test_a_mail_that_cannot_be_sent_is_said_on_the_page(browser: webdriver.Chrome, stage: str) -> None:
    # The broker of this one has no module `mail`.
    with running("flask/app.py", broker=stage) as url:
        answer = httpx.post(url, data={"email": "somebody@example.org", "submit": "Send"})
        assert answer.status_code == 503
        browser.get(url)
        field = browser.find_element(By.NAME, "email")
        # It may hold the address of another test: cookies know no ports.
        field.clear()
        field.send_keys("somebody@example.org")
        browser.find_element(By.CSS_SELECTOR, 'button[value="Send"]').click()
        [note] = until(browser, lambda browser: browser.find_elements(By.CSS_SELECTOR, ".note.failed"))
        assert note.text.startswith("No mail was sent: there is no module `mail`")
        assert browser.find_element(By.NAME, "email").get_attribute("value") == "somebody@example.org"


def test_a_broker_that_is_away_is_said_on_the_page(browser: webdriver.Chrome) -> None:
    with running("flask/app.py", broker=f"redis://127.0.0.1:{free_port()}/") as url:
        assert httpx.post(url + "/longtask", timeout=30).status_code == 503
        browser.get(url)
        browser.find_element(By.ID, "start").click()
        until(browser, lambda browser: browser.find_elements(By.CSS_SELECTOR, ".task.failed"))
        assert "does not answer" in newest(browser).find_element(By.CLASS_NAME, "state").text


def test_pictures_are_in_the_documentation() -> None:
    for name in ("flask-running", "flask-done", "flask-failed", "flask-mail"):
        assert Path(PICTURES / f"{name}.png").stat().st_size > 5_000
