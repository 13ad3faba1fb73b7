from playwright.sync_api import Browser

from accounts.errors import ErrorCode
from tests.acceptance.processes import Web

MESSAGES = """async (codes) => {
    const { Problem } = await import("/static/messaging/problems.js");
    return codes.map((code) => new Problem({ code }).message);
}"""


def test_every_error_code_has_a_sentence_of_its_own(browser: Browser, server: Web):
    page = browser.new_page()
    page.goto(server.url)
    messages = page.evaluate(MESSAGES, [code.value for code in ErrorCode])
    assert len(set(messages)) == len(ErrorCode), "Add a sentence for the new code to problems.js."
