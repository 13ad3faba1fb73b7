from tests.browser.steps import SignUp, create_room

CHAT = """async (room) => {
    const { ChatClient } = await import("/static/messaging/chat-client.js");
    const client = new ChatClient();
    return await new Promise((resolve, reject) => {
        const seen = [];
        client.addEventListener("subscribed", () => client.write(room, "from a page of my own"));
        client.addEventListener("frame", ({ detail }) => detail.type === "message" && seen.push(detail.text));
        client.addEventListener("failed", ({ detail }) => reject(detail.failed));
        client.addEventListener("sent", ({ detail }) => {
            const look = () => (seen.length ? resolve([seen, client.unsent(room), detail.sent]) : setTimeout(look, 10));
            look();
        });
        client.subscribe(room);
        client.open();
    });
}"""


def test_another_page_chats_with_the_module_alone(sign_up: SignUp):
    page = sign_up("alice")
    create_room(page)
    room = int(page.evaluate("location.hash").rsplit("/", 1)[1])
    page.goto(page.url.split("#")[0] + "static/messaging/icon.svg")
    assert page.evaluate(CHAT, room) == [["from a page of my own"], [], True]
