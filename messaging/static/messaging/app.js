// Wiring: who is signed in, one connection, the room list and the open room.

import { Connection } from "./connection.js";
import { Outbox } from "./outbox.js";
import { call, getSession } from "./rest.js";
import { RoomView } from "./views/room.js";
import { RoomListView } from "./views/room_list.js";
import { SignInView } from "./views/sign_in.js";

const chat = document.getElementById("chat");
const signIn = new SignInView();

async function start() {
  const { user } = await getSession();
  if (user) enter(user.id);
  else enter(await signIn.ask());
}

function enter(user) {
  document.getElementById("me").textContent = user;
  chat.hidden = false;
  const connection = new Connection();
  const room = new RoomView({ user, connection, outbox: new Outbox(user) });
  const list = new RoomListView({ connection, onChoose: (chosen) => show(chosen) });

  function show(chosen) {
    chat.classList.toggle("in-room", chosen !== null);
    list.mark(chosen?.id ?? null);
    room.show(chosen);
  }

  document.getElementById("back").onclick = () => show(null);
  document.getElementById("sign-out").onclick = async () => {
    connection.close();
    await call("DELETE", "/session").catch(() => null);
    location.reload();
  };
  connection.addEventListener("open", () => {
    list.resume();
    room.resume();
  });
  connection.addEventListener("frame", ({ detail: frame }) => {
    list.take(frame);
    room.take(frame);
    if (frame.type === "removed" && frame.room === room.id) show(null);
    if (frame.type === "room_deleted" && frame.room === room.id) show(null);
  });
  connection.addEventListener("state", ({ detail }) => tell(detail));
  connection.open();
}

function tell({ state, seconds }) {
  const sentences = {
    connecting: "Connecting …",
    connected: "",
    waiting: `Connection lost. Trying again in ${seconds} s …`,
    offline: "You are offline. What you write is sent when you are back.",
    deactivated: "This account is deactivated.",
  };
  document.getElementById("connection").textContent = sentences[state] ?? "";
  document.body.dataset.connection = state;
  if (state === "signed-out") location.reload();
}

start();
