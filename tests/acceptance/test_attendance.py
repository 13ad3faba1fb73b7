"""Entering and leaving is told once a person, on every server, also when a connection just dies."""

from tests.acceptance.chat import Chat, create_room
from tests.acceptance.client import ChatClient, Frame


def comings(client: ChatClient, user: str) -> list[Frame]:
    return [frame for frame in client.of_type("joined", "left") if frame["user"] == user]


async def test_a_person_enters_with_the_first_socket_and_leaves_with_the_last(chat: Chat):
    first, second = chat.web("web1"), chat.web("web2")
    (_, alice_token), (bob, bob_token) = chat.tokens(2).items()
    room = create_room(first.url, alice_token)
    async with ChatClient(first.url, alice_token) as alice:
        await alice.subscribe(room)
        async with ChatClient(second.url, bob_token) as member:
            await member.subscribe(room)  # becomes a member, so that what follows is a mere coming and going
        await alice.until(lambda client: comings(client, bob)[-1:] == [{"type": "left", "room": room, "user": bob}])
        async with ChatClient(first.url, bob_token) as one:
            await one.subscribe(room)
            await alice.until(
                lambda client: comings(client, bob)[-1:] == [{"type": "joined", "room": room, "user": bob}]
            )
            before = len(comings(alice, bob))
            async with ChatClient(second.url, bob_token) as two:
                await two.subscribe(room)
                await two.say(room, "twice here")
            await alice.until(lambda client: client.texts(room) == ["twice here"])
            assert len(comings(alice, bob)) == before
        await alice.until(lambda client: comings(client, bob)[-1]["type"] == "left")
        assert len(comings(alice, bob)) == before + 1


async def test_a_connection_that_dies_is_told_too(chat: Chat):
    web = chat.web()
    (_, alice_token), (bob, bob_token) = chat.tokens(2).items()
    room = create_room(web.url, alice_token)
    async with ChatClient(web.url, alice_token) as alice, ChatClient(web.url, bob_token) as two:
        await alice.subscribe(room)
        await two.subscribe(room)
        two.cut()
        await alice.until(lambda client: comings(client, bob)[-1:] == [{"type": "left", "room": room, "user": bob}])
