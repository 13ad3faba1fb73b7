// The account page: a form for each thing that can be done.

import { call, getSession } from "./rest.js";
import { avatar } from "./views/elements.js";

const AGAIN = 3_000; // milliseconds until the server is asked again

async function start() {
  const starting = document.getElementById("starting");
  try {
    const { user } = await getSession();
    if (!user) return leave();
    show(await call("GET", "/me"));
    starting.hidden = true;
  } catch (problem) {
    starting.textContent = problem.message;
    setTimeout(start, AGAIN);
  }
}

function show(me) {
  document.getElementById("me").textContent = me.id;
  document.getElementById("my-avatar").replaceWith(avatar(me.id));
  document.getElementById("since").textContent = `Here since ${new Date(me.created).toLocaleDateString()}`;
  document.getElementById("password-form").elements.username.value = me.id;
  document.getElementById("email").value = document.getElementById("email").defaultValue = me.email ?? "";
  document.getElementById("account").hidden = false;
}

onSubmit("password-form", async (form) => {
  await call("PUT", "/me/password", { old: form.elements.old.value, new: form.elements.new.value });
  form.elements.old.value = form.elements.new.value = "";
  return "The password is changed.";
});

onSubmit("email-form", async (form) => {
  const { email, password } = form.elements;
  const me = await call("PUT", "/me/email", { email: email.value || null, password: password.value });
  email.value = me.email ?? "";
  password.value = "";
  return me.email ? "The address is saved." : "There is no address any more.";
});

onSubmit("token-form", async (form) => {
  const { token, expires } = await call("POST", "/tokens", { days: Number(form.elements.days.value) });
  const shown = document.getElementById("token");
  shown.value = token;
  shown.hidden = false;
  shown.select();
  return `Copy it now, it is not shown again. It expires on ${new Date(expires).toLocaleDateString()}.`;
});

onSubmit("sessions-form", async () => {
  await call("DELETE", "/sessions");
  leave();
});

onSubmit("deactivate-form", async (form) => {
  await call("DELETE", "/me", { password: form.elements.password.value });
  leave();
});

onSubmit("erase-form", async (form) => {
  if (form.elements.id.value !== document.getElementById("me").textContent) throw new Error("That is not your user id.");
  await call("DELETE", "/me/data", { password: form.elements.password.value });
  leave();
});

/** `act` returns the sentence that says that it is done. */
function onSubmit(id, act) {
  const form = document.getElementById(id);
  const [error, done, button] = [".error", ".done", "[type=submit]"].map((part) => form.querySelector(part));
  form.onsubmit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    error.hidden = true;
    done.textContent = "";
    try {
      done.textContent = (await act(form)) ?? "";
    } catch (problem) {
      if (problem.code === "unauthenticated") return leave();
      error.textContent = problem.message;
      error.hidden = false;
      form.querySelector("[type=password]")?.select();
    } finally {
      button.disabled = false;
    }
  };
}

/** To the page where one signs in. The next person at this machine is not to find what was left unsent. */
function leave() {
  sessionStorage.clear();
  location.assign("/");
}

start();
