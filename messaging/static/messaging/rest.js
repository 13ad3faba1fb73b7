// REST calls: JSON in and out, the CSRF token on unsafe ones, refusals as `Problem`.

import { Problem } from "./problems.js";

const PATIENCE = 15_000; // milliseconds until an answer is given up

let sessionToken = null;

export async function getSession() {
  const session = await call("GET", "/session");
  sessionToken = session.csrf_token;
  return session;
}

export async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRFToken"] = csrfToken();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  let answer;
  try {
    response = await fetch(`/api/v1${path}`, {
      method, headers, body: body && JSON.stringify(body), credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE),
    });
    answer = response.status === 204 ? null : await response.json();
  } catch {
    // No answer at all, or one that no chat server gives, such as a proxy's page.
    throw new Problem({ code: response?.ok === false && response.status < 500 ? "internal" : "unavailable" });
  }
  if (!response.ok) throw new Problem({ code: "internal", ...answer });
  return answer;
}

/** The cookie changes with each sign-in, in another tab too; the session's answer may be older. */
function csrfToken() {
  return document.cookie.match(/(?:^|; )csrftoken=([^;]*)/)?.[1] ?? sessionToken;
}
