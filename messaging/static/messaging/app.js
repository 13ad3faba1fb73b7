// Wiring: who is signed in, one connection, the room list and the open room.

import { Changes } from "./changes.js";
import { ChatClient } from "./chat-client.js";
import { Drafts } from "./drafts.js";
import { call, getSession } from "./rest.js";
import { Rooms } from "./rooms.js";
import { ConnectionView } from "./views/connection.js";
import { avatar } from "./views/elements.js";
import { NewRoomView } from "./views/new_room.js";
import { RoomView } from "./views/room.js";
import { RoomListView } from "./views/room_list.js";
import { SearchView } from "./views/search.js";
import { SignInView } from "./views/sign_in.js";

const AGAIN = 3_000; // milliseconds until the server is asked again who is signed in
const chat = document.getElementById("chat");

async function start() {
  const starting = document.getElementById("starting");
  try {
    const { user } = await getSession();
    starting.hidden = true;
    enter(user ? user.id : await new SignInView().ask());
  } catch (problem) {
    starting.textContent = problem.message;
    setTimeout(start, AGAIN);
  }
}

function enter(user) {
  document.getElementById("me").textContent = user;
  document.getElementById("my-avatar").replaceWith(avatar(user));
  chat.hidden = false;

  const client = new ChatClient({ storageKey: `chat.outbox.${user}` });
  const rooms = new Rooms();
  const drafts = new Drafts(user);
  const changes = new Changes({ client });
  const status = new ConnectionView({ client });
  const room = new RoomView({
    user, client, rooms, changes, drafts, onOpen: (id) => go(id), onNewest: (id) => go(id),
  });
  const list = new RoomListView({ rooms, onChoose: (id) => go(id) });
  new SearchView({ rooms, onChoose: (id, cursor) => go(id, cursor) });
  new NewRoomView({ rooms, onCreated: (id) => go(id) });

  // The address names the open room: reload, back and forward do what people expect.
  addEventListener("hashchange", () => show(chosen()));
  document.getElementById("back").onclick = () => go(null);
  document.getElementById("sign-out").onclick = signOut;

  async function show(id) {
    chat.classList.toggle("in-room", id !== null);
    list.mark(id);
    try {
      const found = id === null ? null : await rooms.fetch(id);
      if (id === chosen()) room.show(found, place());
    } catch (problem) {
      if (id !== chosen()) return;
      if (!room.has(id)) room.show(null); // another one would stand under this address
      if (problem.passing) setTimeout(() => id === chosen() && show(id), Math.max(AGAIN, problem.retryAfter));
      else go(null);
      status.say(problem.message);
    }
  }

  async function readRooms() {
    try {
      await rooms.resume(client);
    } catch (problem) {
      status.say(problem.message);
      setTimeout(() => client.connected && readRooms(), AGAIN);
    }
  }

  async function signOut() {
    try {
      await call("DELETE", "/session");
    } catch (problem) {
      if (problem.code !== "unauthenticated") {
        status.say(problem.message);
        return;
      }
    }
    client.close();
    // The next person at this machine is not to find what was left unsent.
    client.discardAll();
    drafts.clear();
    location.assign("/");
  }

  client.addEventListener("open", ({ detail: welcome }) => {
    // Somebody else has signed in in another tab; this page is about a person who is gone.
    // Its script runs on until the page is gone, and must not say this person's words as the other.
    if (welcome.user !== user) {
      client.close();
      location.reload();
      return;
    }
    readRooms();
    room.resume();
  });
  client.addEventListener("frame", ({ detail: frame }) => {
    rooms.take(frame);
    // On the way into a room, word of an earlier removal may still come; what the server answers tells more.
    const removed = frame.type === "removed" && room.has(frame.room) && !client.resumes(frame.room);
    if ((removed || frame.type === "room_deleted") && frame.room === chosen()) {
      go(null);
      status.say(ENDINGS[frame.reason] ?? ENDINGS.deleted);
    }
  });
  client.addEventListener("state", async ({ detail: { state } }) => {
    if (state !== "signed-out") return;
    const session = await getSession().catch(() => null);
    if (session && session.user?.id !== user) location.reload();
    else client.openLater();
  });
  rooms.addEventListener("change", () => {
    document.title = rooms.unread ? `(${rooms.unread}) Chat` : "Chat";
  });

  client.open();
  show(chosen());
}

const ENDINGS = {
  left: "You have left the room.",
  kicked: "You were removed from the room.",
  banned: "You are banned from the room.",
  deleted: "The room was deleted.",
};

/** The room that the address names, or null. */
function chosen() {
  const id = Number(location.hash.match(/^#\/rooms\/(\d+)(\/at\/|$)/)?.[1]);
  return id || null;
}

/** The cursor that the address names, or null: the room's newest messages. */
function place() {
  return location.hash.match(/\/at\/([\d-]+)$/)?.[1] ?? null;
}

function go(id, cursor = null) {
  const hash = id === null ? "#/" : `#/rooms/${id}${cursor === null ? "" : `/at/${cursor}`}`;
  // The same place once more: the person may have gone on from there.
  if (location.hash === hash) dispatchEvent(new Event("hashchange"));
  else location.hash = hash;
}

start();
